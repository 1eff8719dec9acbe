"""Which of several is right: of causes and effects XCOPA, of answers on a passage Belebele.

XCOPA: Ponti et al. 2020, arXiv 2005.00333; English is COPA's (Roemmele et al. 2011), in SuperGLUE's
layout. Belebele: Bandarkar et al. 2023, arXiv 2308.16884, with the training set that its own script
assembles, if it is there.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import AutoModelForMultipleChoice, DataCollatorForMultipleChoice

from weam_ext.common.errors import InputError
from weam_ext.transfer.families.formats import (
    DEV,
    SPLITS,
    TEST,
    TRAIN,
    Example,
    Family,
    Format,
    Part,
    UnlabelledError,
)
from weam_ext.transfer.files import Source, read_lines, read_text

_FEW = 10
"""Choices whose right one may by chance be the first throughout: of ten in one of a thousand."""
# SuperGLUE's and XTREME's way to ask; COPA's question itself is English in every language.
_ASKED = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}


@dataclass(frozen=True)
class Choice(Example):
    """A premise, what is asked of it, the choices and the number of the right one."""

    premise: str
    question: str
    choices: tuple[str, ...]
    label: int
    shared: str = ""
    """The same for examples that share a premise."""

    @property
    def group(self) -> str:
        return self.shared or self.key

    @property
    def length(self) -> int:
        return len(self.premise) + sum(map(len, self.choices))


def _json_lines(source: Source, part: Part) -> list[Choice]:
    found = []
    for line in read_lines(source):
        try:
            item = json.loads(line.text)
            choices = str(item["choice1"]), str(item["choice2"])
            key = f"{part.split}-{item['idx']}"
            choice = Choice(key, item["premise"], item["question"], choices, item["label"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{line.where}: not an example of COPA ({error!r})") from error
        if choice.label not in (0, 1) or choice.question not in _ASKED:
            shown = f"{choice.label!r} or question {choice.question!r}"
            raise InputError(f"{line.where}: label {shown} is not one of 0, 1, cause and effect")
        found.append(choice)
    if part.split == TEST and len(found) >= _FEW and not any(x.label for x in found):
        raise UnlabelledError(source, found)  # XTREME writes 0 for all of them
    return found


XCOPA_FORMATS = (
    (
        Format(
            ("xcopa",), r"/(?P<split>train|val|test)[.-](?P<lang>[a-z]{2})\.jsonl$", _json_lines,
        ),
    ),
    (
        Format(
            ("copa", "superglue"), r"/(?i:copa)/(?P<split>train|val)\.jsonl$", _json_lines,
            language="en",
        ),
    ),
)  # fmt: skip


def _belebele(source: Source, part: Part) -> list[Choice]:
    found = []
    for line in read_lines(source):
        try:
            item = json.loads(line.text)
            passage, label = f"{item.get('split', '')}|{item['link']}", item["correct_answer_num"]
            key = f"{passage}|{item['question_number']}"
            choices = tuple(str(item[f"mc_answer{k}"]) for k in "1234")
            texts = str(item["flores_passage"]), str(item["question"])
            # A tuple: "1234".index("") is 0, which would make an answer of a missing label.
            right = ("1", "2", "3", "4").index(str(label))
            found.append(Choice(key, *texts, choices, right, passage))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{line.where}: not an example of Belebele ({error!r})") from error
    return found


def _assembled(source: Source, part: Part) -> list[Choice]:
    """What pandas wrote, with line breaks in quoted fields; rows of other than four choices go."""
    rows = csv.DictReader(io.StringIO(read_text(source), newline=""), delimiter="\t")
    found = []
    for number, row in enumerate(rows):
        try:
            choices = tuple(row[f"answer{k}"] for k in "1234")
            if SPLITS.get(row["split"]) != part.split or not all(choices):
                continue
            passage = f"{row['dataset']}|{row['passage_id']}"
            texts, label = (row["passage"], row["question"]), choices.index(row["correct_answer"])
            found.append(Choice(f"{passage}|{number}", *texts, choices, label, passage))
        except (ValueError, KeyError) as error:
            where = f"{source}, line {rows.line_num}"
            raise InputError(f"{where}: not an example to train on ({error!r})") from error
    return found


BELEBELE_FORMATS = ((
    Format(
        ("belebele",), r"/(?P<lang>[a-z]{3}_[A-Z][a-z]{3})\.jsonl$", _belebele, split="test",
    ),
    Format(
        ("belebele",), r"/belebele_training_set\.tsv$", _assembled,
        parts=lambda source: [
            Part(split, "en") for split in (TRAIN, DEV) if _assembled(source, Part(split, "en"))
        ],
    ),
),)  # fmt: skip


class MultipleChoice(Family):
    """How the choices are put to a model: premise and question with each."""

    model_class = AutoModelForMultipleChoice
    collator = DataCollatorForMultipleChoice

    def encode(
        self, tokenizer: Any, examples: Sequence[Choice], max_length: int
    ) -> list[dict[str, Any]]:
        rows = []
        for x in examples:
            asked = f"{x.premise} {_ASKED.get(x.question, x.question)}"
            tokens = tokenizer(
                [asked] * len(x.choices), list(x.choices), truncation=True,
                max_length=max_length, split_special_tokens=True,
            )  # fmt: skip
            rows.append(dict(tokens) | {"labels": x.label})
        return rows

    def decode(
        self, outputs: Any, rows: Sequence[dict[str, Any]], examples: Sequence[Choice]
    ) -> list[str]:
        return [str(k) for k in np.asarray(outputs).argmax(-1).tolist()]
