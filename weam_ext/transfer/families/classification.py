"""Texts and pairs of texts with a label: XNLI, generalised XNLI, PAWS-X, SIB-200; and STS-B.

XNLI: Conneau et al. 2018, arXiv 1809.05053; generalised: Huang et al. 2021, arXiv 2104.08645;
PAWS-X: Yang et al. 2019, arXiv 1908.11828; SIB-200: Adelani et al. 2024, arXiv 2309.07445; STS-B
multi-MT: May 2021, after Cer et al. 2017. XTREME layout: Hu et al. 2020, arXiv 2003.11080.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding

from weam_ext.common.errors import InputError
from weam_ext.transfer.families.formats import SPLITS, TRAIN, TRANSLATED, Format, Part
from weam_ext.transfer.files import Line, Source, fields, header_columns, read_lines, read_text
from weam_ext.transfer.languages import language_code
from weam_ext.transfer.results import Score

NLI = ("entailment", "neutral", "contradiction")
PARAPHRASE = ("0", "1")
TOPICS = (
    "entertainment", "geography", "health", "politics", "science/technology", "sports", "travel",
)  # fmt: skip
_NLI_NAMES = {name: name for name in NLI} | {"contradictory": "contradiction"}


@dataclass(frozen=True)
class Text:
    """A text, or a pair of them, and its label; of a similarity, the number as text."""

    key: str
    """The same for what is the same example in another language."""
    first: str
    second: str | None
    label: str
    shared: str = ""
    """The same for examples that share a text."""

    def content(self) -> list[object]:
        """What identifies it; each field is named, so that no other one changes a cell."""
        return [self.key, self.first, self.second, self.label, self.shared]

    @property
    def group(self) -> str:
        """What a cut in two leaves together."""
        return self.shared or self.key

    @property
    def length(self) -> int:
        return len(self.first) + len(self.second or "")


def label_of(text: str, labels: Sequence[str], line: Line) -> str:
    """A label; `InputError` if it is not one of `labels`."""
    if text not in labels:
        raise InputError(f"{line.where}: label {text!r} is not one of {', '.join(labels)}")
    return text


def _filled(line: Line, *texts: str) -> None:
    if not all(text.strip() for text in texts):
        raise InputError(f"{line.where}: an empty text")


# ---------------------------------------------------------------------------------------- readers


def _three_columns(labels: Sequence[str], texts_a_group: int) -> Any:
    def read(source: Source, part: Part) -> list[Text]:
        found = []
        for row, line in enumerate(read_lines(source)):
            first, second, label = fields(line, 3)
            _filled(line, first, second)
            label = label_of(_NLI_NAMES.get(label, label), labels, line)
            group = f"{part.split}-{row // texts_a_group}"
            found.append(Text(f"{part.split}-{row}", first, second, label, group))
        return found

    return read


def _with_header(names: tuple[str, str, str], labels: Sequence[str]) -> Any:
    """Tab-separated with a header that has the named columns: two texts and the label."""

    def read(source: Source, part: Part) -> list[Text]:
        lines = read_lines(source)
        columns = _header(lines, names, source)
        found = []
        for row, line in enumerate(lines):
            values = line.text.split("\t")
            if len(values) <= max(columns):
                raise InputError(f"{line.where}: only {len(values)} tab-separated fields")
            first, second, label = (values[column] for column in columns)
            if label == "-" and labels is NLI:  # MultiNLI: its annotators did not agree
                continue
            label = label.lower() if labels is NLI else label
            label = label_of(_NLI_NAMES.get(label, label), labels, line)
            _filled(line, first, second)
            key = f"{part.split}-{source.name.rsplit('/', 1)[-1]}-{row}"
            found.append(Text(key, first, second, label))
        return found

    return read


def _header(lines: Iterator[Line], names: tuple[str, ...], source: Source) -> list[int]:
    first = next(lines, None)
    columns = header_columns(first, names) if first else None
    if columns is None:
        raise InputError(f"{source}, line 1: no header with the columns {', '.join(names)}")
    return columns


def _paws_x(source: Source, part: Part) -> list[Text]:
    lines = read_lines(source)
    columns = _header(lines, ("id", "sentence1", "sentence2", "label"), source)
    found = []
    for line in lines:
        values = fields(line, 4)
        number, first, second, label = (values[column] for column in columns)
        if "NS" in (first, second) or not (first.strip() and second.strip()):
            continue  # not translated: the data set's own README
        split = TRAIN if part.split == TRANSLATED else part.split
        found.append(Text(f"{split}-{number}", first, second, label_of(label, PARAPHRASE, line)))
    return found


def _xnli_parts(source: Source) -> list[Part]:
    split = "dev" if ".dev." in source.name else "test"
    return [Part(split, language) for language in _xnli(source)]


@lru_cache(maxsize=4)
def _xnli(source: Source) -> dict[str, list[Text]]:
    """The original file: all languages, the items of each in the same order."""
    lines = read_lines(source)
    columns = _header(lines, ("language", "gold_label", "sentence1", "sentence2"), source)
    split = "dev" if ".dev." in source.name else "test"
    found: dict[str, list[Text]] = {}
    for line in lines:
        values = line.text.split("\t")
        if len(values) <= max(columns):
            raise InputError(f"{line.where}: only {len(values)} tab-separated fields")
        language, label, first, second = (values[column] for column in columns)
        texts = found.setdefault(language, [])
        row = len(texts)
        label = label_of(label, NLI, line)
        texts.append(Text(f"{split}-{row}", first, second, label, f"{split}-{row // 3}"))
    return found


@lru_cache(maxsize=2)
def _sib_all(source: Source) -> dict[Part, list[Text]]:
    lines = read_lines(source)
    columns = _header(lines, ("lang", "split", "index_id", "category", "text"), source)
    found: dict[Part, list[Text]] = {}
    for line in lines:
        values = fields(line, 5)
        language, split, number, label, text = (values[column] for column in columns)
        if split not in SPLITS:
            raise InputError(f"{line.where}: {split!r} is no split")
        _filled(line, text)
        part = Part(SPLITS[split], language_code(language))
        example = Text(number, text, None, label_of(label, TOPICS, line))
        found.setdefault(part, []).append(example)
    return found


def _sib(source: Source, part: Part) -> list[Text]:
    lines = read_lines(source)
    columns = _header(lines, ("index_id", "category", "text"), source)
    found = []
    for line in lines:
        values = fields(line, 3)
        number, label, text = (values[column] for column in columns)
        _filled(line, text)
        found.append(Text(number, text, None, label_of(label, TOPICS, line)))
    return found


def _similarity(line: Line, first: str, second: str, score: str, key: str) -> Text:
    _filled(line, first, second)
    try:
        value = float(score)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 5:
        raise InputError(f"{line.where}: {score!r} is no similarity from 0 to 5")
    return Text(key, first, second, str(value))


def _sts_multi(source: Source, part: Part) -> list[Text]:
    text = read_text(source)
    rows = csv.reader(text.splitlines(keepends=True))
    found: list[Text] = []
    for values in rows:
        line = Line("", source, rows.line_num)
        if len(values) != 3:
            raise InputError(f"{line.where}: {len(values)} comma-separated fields instead of 3")
        first, second, score = values
        found.append(_similarity(line, first, second, score, f"{part.split}-{len(found)}"))
    return found


def _sts_benchmark(source: Source, part: Part) -> list[Text]:
    found: list[Text] = []
    for line in read_lines(source):
        values = line.text.split("\t")
        if len(values) < 7:
            raise InputError(f"{line.where}: only {len(values)} tab-separated fields")
        key = f"{part.split}-{len(found)}"
        found.append(_similarity(line, values[5], values[6], values[4], key))
    return found


_XTREME = r"(?P<split>train|dev|test)-(?P<lang>[a-z]{2,3})\.tsv$"
_MNLI = ("sentence1", "sentence2", "gold_label")
XNLI_FORMATS = (
    (
        Format(("xnli",), re.compile("/" + _XTREME), _three_columns(NLI, 3)),
        Format(
            ("xnli",), re.compile(r"/xnli\.(dev|test)\.tsv$"),
            lambda source, part: _xnli(source)[part.language], parts=_xnli_parts,
        ),
        Format(
            ("xnli",), re.compile(r"multinli\.train\.(?P<lang>(?!en)[a-z]{2})\.tsv$"),
            _with_header(("premise", "hypo", "label"), NLI), split=TRANSLATED,
        ),
        Format(
            ("xnli",), re.compile(r"multinli\.train\.en\.tsv$"),
            _with_header(("premise", "hypo", "label"), NLI), split=TRAIN, language="en",
        ),
    ),
    (
        Format(
            ("multinli", "mnli"), re.compile(r"multinli_1\.0_train\.txt$"),
            _with_header(_MNLI, NLI), split=TRAIN, language="en",
        ),
        Format(
            ("mnli",), re.compile(r"/train\.tsv$"), _with_header(_MNLI, NLI),
            split=TRAIN, language="en",
        ),
    ),
    (
        Format(
            ("nli-train",), re.compile(r"cad-snli\.all_combined\.train\.tsv$"),
            _with_header(_MNLI, NLI), split=TRAIN, language="en",
        ),
        Format(
            ("nli-train", "sick"), re.compile(r"SICK_train\.txt$"),
            _with_header(("sentence_A", "sentence_B", "entailment_judgment"), NLI),
            split=TRAIN, language="en",
        ),
    ),
)  # fmt: skip
"""XTREME's and the original files; to train on MultiNLI where there is none, then SNLI and SICK."""
PAWSX_FORMATS = ((
    Format(("pawsx", "paws-x"), re.compile("/" + _XTREME), _three_columns(PARAPHRASE, 1)),
    Format(
        ("x-final", "pawsx", "paws-x"),
        re.compile(r"/(?P<lang>[a-z]{2})/(?P<split>translated_train|train|dev_2k|test_2k)\.tsv$"),
        _paws_x,
    ),
),)  # fmt: skip
SIB_FORMATS = ((
    Format(
        ("sib",), re.compile(r"/sib200\.tsv$"), lambda source, part: _sib_all(source)[part],
        parts=lambda source: list(_sib_all(source)),
    ),
    Format(
        ("sib", "annotated"),
        re.compile(r"/(?P<lang>[a-z]{3}_[A-Z][a-z]{3})/(?P<split>train|dev|test)\.tsv$"), _sib,
    ),
),)  # fmt: skip
STS_FORMATS = ((
    Format(
        ("stsb", "sts-b"), re.compile(r"stsb-(?P<lang>[a-z]{2})-(?P<split>train|dev|test)\.csv$"),
        _sts_multi,
    ),
    Format(
        ("stsb", "sts"), re.compile(r"/sts-(?P<split>train|dev|test)\.csv$"), _sts_benchmark,
        language="en",
    ),
),)  # fmt: skip


def crossed(parts: dict[str, list[Text]]) -> dict[str, list[Text]]:
    """Generalised XNLI: each premise in one language with its hypothesis in another.

    By "PREMISE-HYPOTHESIS"; the examples of all languages must be the same ones. Raises
    `InputError` where they are not.
    """
    found = {}
    for a, premises in parts.items():
        for b, hypotheses in parts.items():
            if [x.key for x in premises] != [x.key for x in hypotheses]:
                raise InputError(f"the examples of {a} and {b} are not parallel")
            found[f"{a}-{b}"] = [
                replace(x, second=y.second) for x, y in zip(premises, hypotheses, strict=True)
            ]
    return found


# ------------------------------------------------------------------------------------ fine-tuning


class Classification:
    """How texts with one of several labels are put to a model and back."""

    model_class: Any = AutoModelForSequenceClassification
    metrics: tuple[str, ...] = ("accuracy",)

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)

    @property
    def head(self) -> dict[str, Any]:
        return {"num_labels": len(self.labels), "problem_type": "single_label_classification"}

    def encode(
        self, tokenizer: Any, examples: Sequence[Text], max_length: int
    ) -> list[dict[str, Any]]:
        seconds = [x.second for x in examples] if examples and examples[0].second else None
        tokens = tokenizer(
            [x.first for x in examples],
            seconds,
            truncation=True,
            max_length=max_length,
            split_special_tokens=True,
        )
        rows = [{n: column[k] for n, column in tokens.items()} for k in range(len(examples))]
        for row, x in zip(rows, examples, strict=True):
            row["labels"] = self.target(x)
        return rows

    def target(self, example: Text) -> float:
        return self.labels.index(example.label)

    def collator(self, tokenizer: Any) -> Any:
        return DataCollatorWithPadding(tokenizer)

    def decode(
        self, outputs: Any, rows: Sequence[dict[str, Any]], examples: Sequence[Text]
    ) -> list[str]:
        return [self.labels[k] for k in np.asarray(outputs).argmax(-1).tolist()]

    def gold(self, example: Text) -> str:
        return example.label

    def score(
        self, examples: Sequence[Text], predictions: Sequence[str], language: str
    ) -> dict[str, list[Score]]:
        pairs = zip(examples, predictions, strict=True)
        return {"accuracy": [Score(float(x.label == found)) for x, found in pairs]}


class Similarity(Classification):
    """A number for a pair: regression on the gold score, compared by correlation."""

    metrics = ("spearman", "pearson")

    def __init__(self) -> None:
        super().__init__(())

    @property
    def head(self) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def target(self, example: Text) -> float:
        return float(example.label) / 5

    def decode(
        self, outputs: Any, rows: Sequence[dict[str, Any]], examples: Sequence[Text]
    ) -> list[str]:
        values: NDArray[np.float64] = 5 * np.asarray(outputs, np.float64).reshape(-1)
        return [repr(value) for value in values.tolist()]

    def score(
        self, examples: Sequence[Text], predictions: Sequence[str], language: str
    ) -> dict[str, list[Score]]:
        return {name: [] for name in self.metrics}
