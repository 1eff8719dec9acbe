"""What the readers of all task families share: a published format, and what a directory holds."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from weam_ext.transfer.files import Source, sources
from weam_ext.transfer.languages import language_code

TRAIN, DEV, TEST, TRANSLATED = "train", "dev", "test", "translated"
SPLITS = {
    "train": TRAIN, "dev": DEV, "val": DEV, "validation": DEV, "valid": DEV, "test": TEST,
    "translated_train": TRANSLATED, "dev_2k": DEV, "test_2k": TEST,
}  # fmt: skip
"""How data sets call their parts."""


class Part(NamedTuple):
    """A split of one language."""

    split: str
    language: str


class Format(NamedTuple):
    """A way in which a data set is published.

    `pattern` finds the files by their names, with the groups `split` and `lang` where the name
    tells them; `split` and `lang` here are what it does not tell. Where a file holds several parts
    `parts` lists them. `read` gives the examples of one part.
    """

    folders: tuple[str, ...]
    pattern: re.Pattern[str]
    read: Callable[[Source, Part], list[Any]]
    split: str = ""
    language: str = ""
    parts: Callable[[Source], list[Part]] | None = None


Loader = Callable[[], list[Any]]


def find(
    data: Path, formats: Sequence[Sequence[Format]]
) -> dict[Part, list[tuple[Source, Loader]]]:
    """The files that hold each part; of the groups of formats the first that has it.

    Within a group the files of a part are read one after another.
    """
    found: dict[Part, list[tuple[Source, Loader]]] = {}
    for group in formats:
        here: dict[Part, list[tuple[Source, Loader]]] = {}
        for way in group:
            for folder in way.folders:
                for source in sources(data, folder):
                    match = way.pattern.search(source.name)
                    for part in _parts(way, source, match) if match else ():
                        loader = _loader(way, source, part)
                        if all(source != other for other, _ in here.get(part, ())):
                            here.setdefault(part, []).append((source, loader))
        for part, loaders in here.items():
            found.setdefault(part, loaders)
    return found


def _loader(way: Format, source: Source, part: Part) -> Loader:
    return lambda: way.read(source, part)


def _parts(way: Format, source: Source, match: re.Match[str]) -> list[Part]:
    if way.parts is not None:
        return way.parts(source)
    groups = match.groupdict()
    split = SPLITS[groups["split"]] if "split" in groups else way.split
    language = language_code(groups["lang"]) if "lang" in groups else way.language
    if "question" in groups:
        language = f"{language}-{language_code(groups['question'])}"
    return [Part(split, language)]
