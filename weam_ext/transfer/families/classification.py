"""Texts and pairs of texts with a label: XNLI, generalised XNLI, PAWS-X, SIB-200; and STS-B.

XNLI: Conneau et al. 2018, arXiv 1809.05053; generalised: Huang et al. 2021, arXiv 2104.08645;
PAWS-X: Yang et al. 2019, arXiv 1908.11828; SIB-200: Adelani et al. 2024, arXiv 2309.07445; STS-B
multi-MT: May 2021, after Cer et al. 2017. XTREME layout: Hu et al. 2020, arXiv 2003.11080.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from weam_ext.common.errors import InputError, say
from weam_ext.transfer.families.formats import (
    DEV,
    IGNORED,
    SPLITS,
    TEST,
    TRAIN,
    TRANSLATED,
    Example,
    Family,
    Format,
    Part,
    UnlabelledError,
    rows_of,
)
from weam_ext.transfer.files import Line, Source, fields, read_lines, read_text, table_rows
from weam_ext.transfer.languages import language_code
from weam_ext.transfer.results import Score

NLI = ("entailment", "neutral", "contradiction")
PARAPHRASE = ("0", "1")
TOPICS = (
    "entertainment", "geography", "health", "politics", "science/technology", "sports", "travel",
)  # fmt: skip
_NLI_NAMES = {name: name for name in NLI} | {"contradictory": "contradiction"}


@dataclass(frozen=True)
class Text(Example):
    """A text, or a pair of them, and its label; of a similarity, the number as text."""

    first: str
    second: str | None
    label: str
    shared: str = ""
    """The same for examples that share a text."""

    @property
    def group(self) -> str:
        return self.shared or self.key

    @property
    def length(self) -> int:
        return len(self.first) + len(self.second or "")

    @property
    def translated(self) -> bool:
        """Whether no text is one of PAWS-X's that nobody translated."""
        return all(
            text is None or text.strip() not in ("", "NS") for text in (self.first, self.second)
        )


# ---------------------------------------------------------------------------------------- readers


def _text(
    line: Line, key: str, texts: Sequence[str], label: str, labels: Sequence[str], shared: str = ""
) -> Text:
    """An example; `InputError` where a text is empty or the label is not one of those known."""
    if labels != PARAPHRASE:
        _check_filled(line, texts)
    if label not in labels:
        raise InputError(f"{line.where}: label {label!r} is not one of {', '.join(labels)}")
    return Text(key, texts[0], texts[1] if len(texts) > 1 else None, label, shared)


def _check_filled(line: Line, texts: Sequence[str]) -> None:
    if not all(text.strip() for text in texts):
        raise InputError(f"{line.where}: an empty text")


def _three_columns(labels: Sequence[str], texts_a_group: int) -> Any:
    """XTREME's layout, whose fields with quotation marks are quoted as in CSV."""

    def read(source: Source, part: Part) -> list[Text]:
        found = []
        for row, line in enumerate(read_lines(source)):
            columns = line.text.rstrip("\t").split("\t") if row == 0 else []
            if part.split == TEST and len(columns) == 2:
                raise UnlabelledError(source, list(_unlabelled(source, part)))
            *texts, label = map(_unquoted, fields(line, 3))
            label = _NLI_NAMES.get(label, label)
            group = f"{part.split}-{row // texts_a_group}"
            found.append(_text(line, f"{part.split}-{row}", texts, label, labels, group))
        return _told(source, found)

    return read


def _unlabelled(source: Source, part: Part) -> Iterator[Text]:
    for row, line in enumerate(read_lines(source)):
        first, second, *_ = [*map(_unquoted, line.text.split("\t")), ""]
        yield Text(f"{part.split}-{row}", first, second, "")


def _unquoted(field: str) -> str:
    quoted = re.fullmatch(r'"((?:[^"]|"")+)"', field)
    return quoted[1].replace('""', '"') if quoted and '""' in quoted[1] else field


def _told(source: Source, found: list[Text]) -> list[Text]:
    """The same: what PAWS-X did not translate stays, as XTREME counts it, but is told of."""
    if missing := sum(not x.translated for x in found):
        say(f"{source}: {missing} of {len(found)} examples are not translated, but count")
    return found


def _translated(labels: Sequence[str]) -> Any:
    """XTREME's translated training sets: two English texts, their translations, the label."""

    def read(source: Source, part: Part) -> list[Text]:
        found = []
        for row, line in enumerate(read_lines(source)):
            _, _, *texts, label = fields(line, 5)
            found.append(_text(line, f"train-{row}", texts, _NLI_NAMES.get(label, label), labels))
        return found

    return read


def _nli(*names: str) -> Any:
    """Tab-separated with a header that has the named columns: two texts and the label."""

    def read(source: Source, part: Part) -> list[Text]:
        found = []
        file = source.name.rsplit("/", 1)[-1]
        for row, (line, (*texts, label)) in enumerate(table_rows(source, names)):
            if label != "-":  # MultiNLI: its annotators did not agree
                label = _NLI_NAMES.get(label.lower(), label.lower())
                found.append(_text(line, f"{part.split}-{file}-{row}", texts, label, NLI))
        return found

    return read


def _paws_x(source: Source, part: Part) -> list[Text]:
    names = ("id", "sentence1", "sentence2", "label")
    split = TRAIN if part.split == TRANSLATED else part.split
    found = [
        _text(line, f"{split}-{number}", texts, label, PARAPHRASE)
        for line, (number, *texts, label) in table_rows(source, names, exact=True)
    ]
    return [x for x in found if x.translated] if split == TRAIN else _told(source, found)


def _xnli_split(source: Source) -> str:
    return DEV if ".dev." in source.name else TEST


@lru_cache(maxsize=4)
def _xnli_all(source: Source) -> dict[str, list[tuple[Line, list[str]]]]:
    """The rows of the original file: all languages, the items of each in the same order."""
    names = ("language", "sentence1", "sentence2", "gold_label")
    found: dict[str, list[tuple[Line, list[str]]]] = {}
    for line, (language, *values) in table_rows(source, names):
        found.setdefault(language, []).append((line, values))
    return found


def _xnli(source: Source, part: Part) -> list[Text]:
    return [
        _text(line, f"{part.split}-{row}", pair, label, NLI, f"{part.split}-{row // 3}")
        for row, (line, (*pair, label)) in enumerate(_xnli_all(source)[part.language])
    ]


_SIB_COLUMNS = ("index_id", "category", "text")


@lru_cache(maxsize=2)
def _sib_all(source: Source) -> dict[Part, list[tuple[Line, list[str]]]]:
    names = ("lang", "split", *_SIB_COLUMNS)
    found: dict[Part, list[tuple[Line, list[str]]]] = {}
    for line, (language, split, *values) in table_rows(source, names, exact=True):
        if split not in SPLITS:
            raise InputError(f"{line.where}: {split!r} is no split")
        part = Part(SPLITS[split], language_code(language))
        found.setdefault(part, []).append((line, values))
    return found


def _topics(rows: Iterable[tuple[Line, list[str]]]) -> list[Text]:
    return [_text(line, number, [text], label, TOPICS) for line, (number, label, text) in rows]


def _similarity(line: Line, first: str, second: str, score: str, key: str) -> Text:
    _check_filled(line, (first, second))
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


_XTREME = r"/(?P<split>train|dev|test)-(?P<lang>[a-z]{2,3})\.tsv$"
_XTREME_TRANSLATED = r"/en-(?P<lang>[a-z]{2,3})-translated\.tsv$"
_xtreme_mnli = _nli("premise", "hypo", "label")
_mnli = _nli("sentence1", "sentence2", "gold_label")
_sick = _nli("sentence_A", "sentence_B", "entailment_judgment")
XNLI_FORMATS = (
    (
        Format(("xnli",), _XTREME, _three_columns(NLI, 3)),
        Format(
            ("xnli",), r"/xnli\.(dev|test)\.tsv$", _xnli,
            parts=lambda source: [Part(_xnli_split(source), code) for code in _xnli_all(source)],
        ),
        Format(
            ("xnli",), r"multinli\.train\.(?P<lang>(?!en)[a-z]{2})\.tsv$", _xtreme_mnli, TRANSLATED,
        ),
        Format(("xnli",), _XTREME_TRANSLATED, _translated(NLI), TRANSLATED),
        Format(("xnli",), r"multinli\.train\.en\.tsv$", _xtreme_mnli, TRAIN, "en"),
    ),
    (
        Format(("multinli", "mnli"), r"multinli_1\.0_train\.txt$", _mnli, TRAIN, "en"),
        Format(("mnli",), r"/train\.tsv$", _mnli, TRAIN, "en"),
    ),
    (
        Format(("nli-train",), r"cad-snli\.all_combined\.train\.tsv$", _mnli, TRAIN, "en"),
        Format(("nli-train", "sick"), r"SICK_train\.txt$", _sick, TRAIN, "en"),
    ),
)  # fmt: skip
"""XTREME's and the original files; to train on MultiNLI where there is none, then SNLI and SICK."""
PAWSX_FORMATS = ((
    Format(("pawsx", "paws-x"), _XTREME, _three_columns(PARAPHRASE, 1)),
    Format(("pawsx", "paws-x"), _XTREME_TRANSLATED, _translated(PARAPHRASE), TRANSLATED),
    Format(
        ("x-final", "pawsx", "paws-x"),
        r"/(?P<lang>[a-z]{2})/(?P<split>translated_train|train|dev_2k|test_2k)\.tsv$", _paws_x,
    ),
),)  # fmt: skip
SIB_FORMATS = ((
    Format(
        ("sib",), r"/sib200\.tsv$", lambda source, part: _topics(_sib_all(source)[part]),
        parts=lambda source: list(_sib_all(source)),
    ),
    Format(
        ("sib", "annotated"), r"/(?P<lang>[a-z]{3}_[A-Z][a-z]{3})/(?P<split>train|dev|test)\.tsv$",
        lambda source, part: _topics(table_rows(source, _SIB_COLUMNS, exact=True)),
    ),
),)  # fmt: skip
STS_FORMATS = ((
    Format(
        ("stsb", "sts-b"), r"stsb-(?P<lang>[a-z]{2})-(?P<split>train|dev|test)\.csv$", _sts_multi,
    ),
    Format(
        ("stsb", "sts"), r"/sts-(?P<split>train|dev|test)\.csv$", _sts_benchmark, language="en",
    ),
),)  # fmt: skip


def crossed(parts: dict[str, list[Text]]) -> dict[str, list[Text]]:
    """Each first text in one language with its second text in another, by "FIRST-SECOND".

    Of a pair of languages what both have, translated and with the same label; what is left out is
    told of. Raises `InputError` where that is all.
    """
    usable = {code: {x.key: x for x in found if x.translated} for code, found in parts.items()}
    found = {
        f"{a}-{b}": [
            replace(x, second=seconds[key].second)
            for key, x in firsts.items()
            if key in seconds and seconds[key].label == x.label
        ]
        for a, firsts in usable.items()
        for b, seconds in usable.items()
    }
    if empty := [pair for pair, examples in found.items() if not examples]:
        raise InputError(f"the examples of {' and '.join(empty[0].split('-', 1))} are not parallel")
    whole = max(map(len, parts.values()), default=0) * len(found)
    if missing := whole - sum(map(len, found.values())):
        say(f"left out are {missing} of {whole} pairs that are not in both languages, or not alike")
    return found


# ------------------------------------------------------------------------------------ fine-tuning


class Classification(Family):
    """How texts with one of several labels are put to a model and back."""

    model_class = AutoModelForSequenceClassification

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.head = {"num_labels": len(labels), "problem_type": "single_label_classification"}

    def encode(
        self, tokenizer: Any, examples: Sequence[Text], max_length: int
    ) -> list[dict[str, Any]]:
        paired = bool(examples) and examples[0].second is not None
        seconds = [x.second for x in examples] if paired else None
        tokens = tokenizer(
            [x.first for x in examples],
            seconds,
            truncation=True,
            max_length=max_length,
            split_special_tokens=True,
        )
        return [
            row | {"labels": self.target(x)}
            for row, x in zip(rows_of(tokens), examples, strict=True)
        ]

    def target(self, example: Text) -> float:
        return self.labels.index(example.label) if example.label else IGNORED

    def decode(
        self, outputs: Any, rows: Sequence[dict[str, Any]], examples: Sequence[Text]
    ) -> list[str]:
        return [self.labels[k] for k in np.asarray(outputs).argmax(-1).tolist()]


class Similarity(Classification):
    """A number for a pair: regression on the gold score, compared by correlation."""

    metrics = ("spearman", "pearson")

    def __init__(self) -> None:
        super().__init__(())
        self.head = {"num_labels": 1, "problem_type": "regression"}

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
