"""A report's parts, and the same parts as one HTML page or as Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2

    @property
    def anchor(self) -> str:
        """What links to it say."""
        return "".join(c if c.isalnum() else "-" for c in self.text.lower())


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Table:
    """Cells as text; numbers sort by their first one. The `strong` first rows stand out."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def kinds(self) -> list[Markup]:
        """Of each column what its cells are marked with: numbers are on the right."""
        columns = zip(*self.rows, strict=True) if self.rows else ([""],) * len(self.header)
        numeric = [bool(self.rows) and all(map(_is_number, column)) for column in columns]
        return [Markup(' class="number"' if each else "") for each in numeric]


def _is_number(text: str) -> bool:
    first = text.lstrip("+-−[").split(" ")[0].rstrip(",]%")
    return not text or text == "–" or first.replace(".", "", 1).replace(",", "").isdigit()


@dataclass(frozen=True)
class Figures:
    """SVG texts side by side."""

    svgs: Sequence[str]
    caption: str


Part = Heading | Text | Table | Figures
_VERDICTS = {
    "supported": "yes", "not supported": "no", "undecided": "open", "not testable here": "none",
}  # fmt: skip
_PAGES = Environment(
    loader=PackageLoader("weam_ext.report", ""), autoescape=select_autoescape(["jinja"])
)


def to_html(title: str, parts: Iterable[Part]) -> str:
    """One page that needs nothing else; its tables sort when their headers are clicked."""
    page = _PAGES.get_template("page.html.jinja")
    return page.render(title=title, parts=list(parts), verdicts=_VERDICTS) + "\n"


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
