"""Which of two is the cause or the effect: XCOPA (Ponti et al. 2020, arXiv 2005.00333).

English is COPA's (Roemmele et al. 2011), in SuperGLUE's layout.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import AutoModelForMultipleChoice, DataCollatorForMultipleChoice

from weam_ext.common.errors import InputError
from weam_ext.transfer.families.formats import TEST, Example, Family, Format, Part, UnlabelledError
from weam_ext.transfer.files import Source, read_lines

_FEW = 10
"""Choices whose right one may by chance be the first throughout: of ten in one of a thousand."""
# SuperGLUE's and XTREME's way to ask; the question itself is English in every language.
_ASKED = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}


@dataclass(frozen=True)
class Choice(Example):
    """A premise, what is asked of it, two choices and the number of the right one."""

    premise: str
    question: str
    choices: tuple[str, str]
    label: int

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
        raise UnlabelledError(source)  # XTREME writes 0 for all of them
    return found


XCOPA_FORMATS = (
    (Format(("xcopa",), r"/(?P<split>val|test)\.(?P<lang>[a-z]{2})\.jsonl$", _json_lines),),
    (
        Format(
            ("copa", "superglue"), r"/(?i:copa)/(?P<split>train|val)\.jsonl$", _json_lines,
            language="en",
        ),
    ),
)  # fmt: skip


class MultipleChoice(Family):
    """How the choices are put to a model: premise and question with either."""

    model_class = AutoModelForMultipleChoice
    collator = DataCollatorForMultipleChoice

    def encode(
        self, tokenizer: Any, examples: Sequence[Choice], max_length: int
    ) -> list[dict[str, Any]]:
        rows = []
        for x in examples:
            asked = f"{x.premise} {_ASKED[x.question]}"
            tokens = tokenizer(
                [asked, asked], list(x.choices), truncation=True, max_length=max_length,
                split_special_tokens=True,
            )  # fmt: skip
            rows.append(dict(tokens) | {"labels": x.label})
        return rows

    def decode(
        self, outputs: Any, rows: Sequence[dict[str, Any]], examples: Sequence[Choice]
    ) -> list[str]:
        return [str(k) for k in np.asarray(outputs).argmax(-1).tolist()]
