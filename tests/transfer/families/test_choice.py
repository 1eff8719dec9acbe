"""Choices: read as published, put to a model, and broken."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_tokenizers import FAMILIES, tokenizer
from transfer_files import counts, fault, read_parts, small_data, write

from weam_ext.transfer.families.choice import XCOPA_FORMATS, Choice, MultipleChoice
from weam_ext.transfer.families.formats import Part
from weam_ext.transfer.results import Score


def test_xcopa() -> None:
    languages = ["et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"]
    expected = {f"dev-{code}": 100 for code in languages} | {f"test-{c}": 500 for c in languages}
    assert counts("xcopa", XCOPA_FORMATS) == expected


def test_parallel_examples_have_the_same_key(tmp_path: Path) -> None:
    found = read_parts(small_data(tmp_path), XCOPA_FORMATS)
    assert set(found) == {Part(s, c) for s in ("dev", "test") for c in ("en", "de")}
    english, german = (found[Part("dev", code)] for code in ("en", "de"))
    assert [x.key for x in english] == [x.key for x in german]
    assert [x.label for x in english] == [0, 1] * 4


def line(**changes: Any) -> str:
    """An example as it is published, with some fields changed or, for None, left out."""
    fields = {"premise": "p", "choice1": "a", "choice2": "b", "question": "cause", "label": 0}
    given = (fields | {"idx": 1} | changes).items()
    return json.dumps({name: value for name, value in given if value is not None})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not an example of COPA (JSONDecodeError"),
        ("[]", "not an example of COPA (TypeError"),
        (line(premise=None), "not an example of COPA (KeyError('premise'"),
        (line(question="why"), "label 0 or question 'why' is not one of 0, 1, cause and effect"),
        (line(label=2), "label 2 or question 'cause' is not one of 0, 1, cause and effect"),
    ],
)
def test_lines_that_are_no_choices(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "xcopa/et/val.et.jsonl", f"{line()}\n{text}\n")
    assert fault(tmp_path, XCOPA_FORMATS).startswith(f"{path}, line 2: {message}")


@pytest.mark.parametrize("family", FAMILIES)
def test_both_choices_are_put_beside_the_question(family: str) -> None:
    examples = [
        Choice("0", "ido mira", "cause", ("dalo", "venn " * 30), 1),
        Choice("1", "ido", "effect", ("mira", "toku"), 0),
    ]
    choice, own = MultipleChoice(), tokenizer(family)
    rows = choice.encode(own, examples, 16)
    assert [len(ids) for ids in rows[0]["input_ids"]][1] == 16
    batch = choice.collator(own)(rows)
    assert batch["input_ids"].shape == (2, 2, 16)
    assert torch.equal(batch["labels"], torch.tensor([1, 0]))
    decoded = choice.decode(np.eye(2)[[1, 1]], rows, examples)
    assert choice.score(examples, decoded, "en") == {"accuracy": [Score(1.0), Score(0.0)]}
