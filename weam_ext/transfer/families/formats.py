"""What all task families share: examples, published formats, and how a model is asked."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from transformers import DataCollatorWithPadding

from weam_ext.common.errors import InputError
from weam_ext.transfer.files import Source, sources
from weam_ext.transfer.languages import language_code
from weam_ext.transfer.results import Score

TRAIN, DEV, TEST, TRANSLATED = "train", "dev", "test", "translated"
IGNORED = -100
"""The label of what is not trained on."""
SPLITS = {
    "train": TRAIN, "dev": DEV, "val": DEV, "validation": DEV, "valid": DEV, "test": TEST,
    "translated_train": TRANSLATED, "dev_2k": DEV, "test_2k": TEST,
}  # fmt: skip
"""How data sets call their parts."""


@dataclass(frozen=True)
class Example:
    """What one prediction is made for."""

    key: str
    """The same for what is the same example in another language."""

    def content(self) -> list[object]:
        """What identifies the example in a cell's digest: its fields in their order."""
        return [getattr(self, field.name) for field in fields(self)]

    @property
    def group(self) -> str:
        """The same for examples that a cut in two leaves together."""
        return self.key

    @property
    def aligned(self) -> bool:
        """Whether the example can be trained on."""
        return True


class Part(NamedTuple):
    """A split of one language."""

    split: str
    language: str


class UnlabelledError(InputError):
    """A file from which the labels were taken off, as XTREME does with its test sets."""

    def __init__(self, source: Source, examples: Sequence[Any]) -> None:
        self.examples = list(examples)
        """What there is to predict."""
        super().__init__(f"{source}: no labels are in it, so that it cannot be scored")


class Format(NamedTuple):
    """A way in which a data set is published.

    The regular expression `pattern` finds the files by their names, with the groups `split` and
    `lang` where the name tells them; `split` and `language` say what it does not tell. Where a file
    holds several parts `parts` lists them. `read` gives the examples of one part.
    """

    folders: tuple[str, ...]
    pattern: str
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
                    match = re.search(way.pattern, source.name)
                    for part in _parts(way, source, match) if match else ():
                        if all(source != other for other, _ in here.get(part, ())):
                            loader = partial(way.read, source, part)
                            here.setdefault(part, []).append((source, loader))
        found |= {part: loaders for part, loaders in here.items() if part not in found}
    return found


def _parts(way: Format, source: Source, match: re.Match[str]) -> list[Part]:
    if way.parts is not None:
        return way.parts(source)
    groups = match.groupdict()
    split = SPLITS[groups["split"]] if "split" in groups else way.split
    language = language_code(groups["lang"]) if "lang" in groups else way.language
    if "question" in groups:
        language = f"{language}-{language_code(groups['question'])}"
    return [Part(split, language)]


class Family:
    """How the examples of a task are put to a model, and its answers read off.

    The subclasses `encode` examples as the rows of a model's inputs, and `decode` its outputs as
    one prediction an example. This class has what suits examples that have a label.
    """

    model_class: Any
    collator: Any = DataCollatorWithPadding
    """What makes a batch of rows, given the tokenizer."""
    metrics: tuple[str, ...] = ("accuracy",)
    """The first one selects the epoch."""
    head: Mapping[str, Any] = {}
    """What `from_pretrained` is told of the head."""

    def gold(self, example: Any) -> str:
        return str(example.label)

    def score(
        self, examples: Sequence[Any], predictions: Sequence[str], language: str
    ) -> dict[str, list[Score]]:
        """By metric what each example scores; `language` is that of the test set."""
        pairs = zip(examples, predictions, strict=True)
        return {"accuracy": [Score(float(self.gold(x) == found)) for x, found in pairs]}


def rows_of(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """A tokenizer's columns as a row an example."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
