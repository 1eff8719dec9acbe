"""A report's parts, and the same parts as one HTML page, as Markdown or as JSON.

The templates `page.html` and `page.md` lie beside this module, with the page's style and script.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, select_autoescape

from weam_ext.report.statistics import (
    BETTER,
    CHECKPOINTS,
    NOT_LEARNT,
    NOT_SUPPORTED,
    ONE_SEED,
    SUPPORTED,
    UNDECIDED,
    UNTESTABLE,
    WORSE,
)


@dataclass(frozen=True)
class Heading:
    kind: ClassVar[str] = "heading"
    text: str
    level: int = 2

    @property
    def anchor(self) -> str:
        """The name by which the page's links find it."""
        return re.sub(r"[\W_]", "-", self.text.lower())


@dataclass(frozen=True)
class Text:
    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds nothing but numbers, which stand on the right."""
        columns = zip(*self.rows, strict=True) if self.rows else [("none",)] * len(self.header)
        return [all(map(_NUMBER.fullmatch, column)) for column in columns]


@dataclass(frozen=True)
class Figures:
    """SVG texts side by side."""

    kind: ClassVar[str] = "figures"
    svgs: Sequence[str]
    caption: str


@dataclass(frozen=True)
class Fold:
    """Parts that are shown when their title is clicked."""

    kind: ClassVar[str] = "fold"
    title: str
    parts: Sequence["Part"]


Part = Heading | Text | Table | Figures | Fold
_NUMBER = re.compile(r"–?|[-+−[]*[\d,]*\.?\d[\d,]*[],%]*( .*)?")
_CLASSES = {
    SUPPORTED: "yes", BETTER: "yes", NOT_SUPPORTED: "no", WORSE: "no", UNDECIDED: "open",
    UNTESTABLE: "none", NOT_LEARNT: "none", ONE_SEED: "none",
}  # fmt: skip
_VERDICT = re.compile(rf"({'|'.join(_CLASSES)})(:.*|{CHECKPOINTS}| [+-][\d.]+ \[.*)?")
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
)


def to_html(title: str, parts: Iterable[Part]) -> str:
    """One page that needs nothing else; its tables sort when their headers are clicked."""
    page = _TEMPLATES.get_template("page.html")
    return page.render(title=title, parts=whole(parts), verdict=_verdict)


def to_markdown(title: str, parts: Iterable[Part]) -> str:
    """The same without the figures, which only the page has."""
    return _TEMPLATES.get_template("page.md").render(title=title, parts=whole(parts))


def to_json(title: str, parts: Iterable[Part]) -> str:
    """The same for programs: the title, and the parts but for the figures and folds' borders."""
    told = {"title": title, "parts": list(_plain(whole(parts)))}
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _plain(parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    for part in parts:
        if isinstance(part, Fold):
            yield {"kind": "heading", "text": part.title, "level": 3}
            yield from _plain(part.parts)
        elif not isinstance(part, Figures):
            yield {"kind": part.kind} | asdict(part)


def _verdict(text: str) -> str:
    """The class of a cell that is a verdict; nothing of others."""
    found = _VERDICT.fullmatch(text)
    return _CLASSES[found[1]] if found else ""


def whole(parts: Iterable[Part]) -> list[Part]:
    """The parts but for those without content, and headings that nothing would follow."""
    found: list[Part] = []
    for part in reversed(list(parts)):
        following = found[-1] if found else None
        match part:
            case Heading():
                ends = following is None or (
                    isinstance(following, Heading) and following.level <= part.level
                )
                found += [] if ends else [part]
            case Figures():
                found += [part] if part.svgs else []
            case Table():
                found += [part] if part.rows else []
            case Fold():
                own = whole(part.parts)
                found += [Fold(part.title, own)] if own else []
            case _:
                found.append(part)
    return found[::-1]
