"""A report's parts, and the same parts as one HTML page or as Markdown."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Table:
    """Cells as text; numbers sort by their first one. The `strong` first rows stand out."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Figures:
    """SVG texts side by side."""

    svgs: Sequence[str]
    caption: str


Part = Heading | Text | Table | Figures
_VERDICTS = {
    "supported": "yes", "not supported": "no", "undecided": "open", "not testable here": "none",
}  # fmt: skip
_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; margin: 0 auto;
  padding: 1.2rem 1.6rem 4rem; max-width: 76rem; }
h1 { font-size: 1.7rem; margin: .4rem 0 .8rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem;
  border-bottom: 1px solid #ddd; padding-bottom: .2rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .4rem; }
p { max-width: 52rem; }
nav { font-size: .9rem; columns: 3; margin-bottom: 1rem; }
nav a { display: block; color: #1b6ca8; text-decoration: none; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .87rem; margin: .4rem 0 1rem; }
caption { text-align: left; color: #555; padding-bottom: .3rem; }
th, td { padding: .22rem .7rem; border-bottom: 1px solid #e4e4e4; text-align: left;
  vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th { background: #f4f6f8; cursor: pointer; user-select: none; position: sticky; top: 0; }
th[aria-sort=ascending]::after { content: " \\25B2"; font-size: .7em; }
th[aria-sort=descending]::after { content: " \\25BC"; font-size: .7em; }
tr:hover td { background: #fafbe8; }
.verdict { border-radius: .6em; padding: 0 .5em; white-space: nowrap; }
.yes { background: #d9f0dc; } .no { background: #f8d9dc; } .open { background: #eee; }
.none { background: #fff; border: 1px dashed #bbb; color: #666; }
figure { margin: .6rem 0 1.4rem; } figure svg { max-width: 100%; height: auto; }
figure .side { display: flex; flex-wrap: wrap; gap: .8rem; align-items: flex-start; }
figcaption { color: #555; font-size: .87rem; max-width: 52rem; }
@media print { nav { display: none; } th { position: static; } }
"""
_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const text = row => row.cells[column].textContent.trim();
    const number = row => parseFloat(text(row).replace("\\u2212", "-").replace(/[,\\u202f]/g, ""));
    const rows = [...body.rows];
    const bare = row => text(row) === "" || text(row) === "\\u2013";
    const numeric = rows.every(row => bare(row) || !isNaN(number(row)));
    const order = (a, b) => numeric
      ? (isNaN(number(a)) ? -Infinity : number(a)) - (isNaN(number(b)) ? -Infinity : number(b))
      : text(a).localeCompare(text(b));
    rows.sort((a, b) => down ? order(b, a) : order(a, b));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  }));
}
"""


def to_html(title: str, parts: Iterable[Part]) -> str:
    """One page that needs nothing else; its tables sort when their headers are clicked."""
    parts = list(parts)
    headings = [part for part in parts if isinstance(part, Heading) and part.level == 2]
    links = "".join(f'<a href="#{_anchor(h.text)}">{html.escape(h.text)}</a>' for h in headings)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>"
        f"<h1>{html.escape(title)}</h1>\n<nav>{links}</nav>\n"
        + "\n".join(_html(part) for part in parts)
        + f"\n<script>{_SCRIPT}</script></body></html>\n"
    )


def _anchor(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.lower())


def _html(part: Part) -> str:
    match part:
        case Heading(text, level):
            return f'<h{level} id="{_anchor(text)}">{html.escape(text)}</h{level}>'
        case Text(text):
            return f"<p>{html.escape(text)}</p>"
        case Figures(svgs, caption):
            side = "".join(f"<div>{svg}</div>" for svg in svgs)
            return (
                f'<figure><div class="side">{side}</div>'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            )
        case Table(header, rows, caption):
            return _html_table(header, rows, caption)


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    numeric = [bool(rows) and all(_is_number(row[k]) for row in rows) for k in range(len(header))]
    kind = [' class="number"' if n else "" for n in numeric]
    head = "".join(f"<th{c}>{html.escape(t)}</th>" for c, t in zip(kind, header, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{c}>{_cell(t)}</td>" for c, t in zip(kind, row, strict=True))
        + "</tr>"
        for row in rows
    )
    told = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{told}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _is_number(text: str) -> bool:
    return not text or text == "–" or text.lstrip("+-−[").split(" ")[0].rstrip(",]%").replace(
        ".", "", 1).replace(",", "").isdigit()  # fmt: skip


def _cell(text: str) -> str:
    if text in _VERDICTS:
        return f'<span class="verdict {_VERDICTS[text]}">{text}</span>'
    return html.escape(text)


def to_markdown(title: str, parts: Iterable[Part]) -> str:
    """The same without the figures, which the page has."""
    lines = [f"# {title}", ""]
    for part in parts:
        match part:
            case Heading(text, level):
                lines += [f"{'#' * level} {text}", ""]
            case Text(text):
                lines += [text, ""]
            case Table(header, rows, caption):
                lines += [caption, ""] if caption else []
                for row in (header, ["---"] * len(header), *rows):
                    cells = (cell.replace("|", "\\|").replace("\n", " ") for cell in row)
                    lines.append(f"| {' | '.join(cells)} |")
                lines.append("")
            case Figures():
                pass
    return "\n".join(lines)
