"""Choices: read as published, put to a model, and broken."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_tokenizers import FAMILIES, tokenizer
from transfer_files import counts, fault, read_parts, small_data, write

from weam_ext.transfer.families.choice import (
    BELEBELE_FORMATS,
    XCOPA_FORMATS,
    Choice,
    MultipleChoice,
)
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


def belebele(language: str, question: int = 1, **changes: Any) -> str:
    """A question on a passage of FLORES-200, as it is published."""
    fields = {f"mc_answer{k}": f"{language} {k}" for k in range(1, 5)} | {
        "link": "https://a", "question_number": question, "flores_passage": f"{language} text",
        "question": "who?", "correct_answer_num": "3", "dialect": language, "ds": "2023-05-03",
    }  # fmt: skip
    return json.dumps(fields | changes) + "\n"


def test_belebele_is_parallel_and_leaves_passages_together(tmp_path: Path) -> None:
    for code in ("eng_Latn", "deu_Latn", "npi_Deva", "npi_Latn"):
        text = belebele(code) + belebele(code, 2, correct_answer_num=1)
        write(tmp_path / f"Belebele/{code}.jsonl", text)
    found = read_parts(tmp_path, BELEBELE_FORMATS)
    assert set(found) == {Part("test", code) for code in ("en", "de", "ne", "ne-Latn")}
    assert len({tuple(x.key for x in examples) for examples in found.values()}) == 1
    first, second = found[Part("test", "de")]
    assert (first.label, second.label, first.group) == (2, 0, second.group)
    assert first.choices[2] == "deu_Latn 3" and first.key != second.key
    rows = MultipleChoice().encode(tokenizer("WordPiece"), [first], 16)
    assert len(rows[0]["input_ids"]) == 4 and rows[0]["labels"] == 2


def test_what_belebele_is_trained_on(tmp_path: Path) -> None:
    header = "\tdataset\tsplit\tpassage_id\tpassage\tquestion\tanswer1\tanswer2\tanswer3\tanswer4"
    right = "\tcorrect_answer\n"
    row = '0\tRACE\ttrain\t7\t"one\n""two"""\twho?\ta\tb\tc\td\tb\n'
    few, dev = row.replace("\td\tb\n", "\t\tb\n"), row.replace("train", "dev")
    path = write(tmp_path / "belebele/belebele_training_set.tsv", header + right + row + few + dev)
    found = read_parts(tmp_path, BELEBELE_FORMATS)
    assert {part: len(examples) for part, examples in found.items()} == {
        Part("train", "en"): 1, Part("dev", "en"): 1,
    }  # fmt: skip
    (example,) = found[Part("train", "en")]
    assert (example.premise, example.label) == ('one\n"two"', 1)
    write(path, header + right + row.replace("\tb\n", "\te\n"))
    assert fault(tmp_path, BELEBELE_FORMATS).startswith(
        f"{path}, line 3: not an example to train on"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"correct_answer_num": "5"},
        {"correct_answer_num": ""},
        {"correct_answer_num": None},
        {"link": None},
    ],
)
def test_lines_that_are_no_questions(changes: dict[str, Any], tmp_path: Path) -> None:
    item = json.loads(belebele("eng_Latn")) | changes
    kept = {name: value for name, value in item.items() if value is not None}
    path = write(tmp_path / "belebele/eng_Latn.jsonl", belebele("eng_Latn") + json.dumps(kept))
    message = fault(tmp_path, BELEBELE_FORMATS)
    assert message.startswith(f"{path}, line 2: not an example of Belebele")


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
