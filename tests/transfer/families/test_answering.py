"""Questions: read as published, put to a model in windows, and broken."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import real_data
from small_tokenizers import FAMILIES, tokenizer
from transfer_files import counts, fault, read_parts, run, squad, write

from weam_ext.transfer.families.answering import (
    MLQA_FORMATS,
    TYDIQA_FORMATS,
    XQUAD_FORMATS,
    Answering,
    Question,
    best_span,
)
from weam_ext.transfer.families.formats import Part
from weam_ext.transfer.results import Score


def test_mlqa() -> None:
    data = read_parts(real_data("mlqa-dev").parent, MLQA_FORMATS)
    found = {p.language: len(x) for p, x in data.items() if p.split == "dev"}
    own = {"ar": 517, "de": 512, "en": 1148, "es": 500, "hi": 507, "vi": 511, "zh": 504}
    assert {k: found[f"{k}-{k}"] for k in own} == own
    assert len(found) == 19
    assert all(
        found[f"en-{code}"] == found[f"{code}-en"] == own[code] for code in set(own) - {"en"}
    )
    assert all(question.aligned for x in data.values() for question in x)
    # The same question in another language has the same key.
    english = {question.key for question in data[Part("dev", "en-en")]}
    assert {question.key for question in data[Part("dev", "de-de")]} <= english


def test_xquad() -> None:
    found = counts("xquad", XQUAD_FORMATS)
    languages = ["ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"]
    assert {k: n for k, n in found.items() if k.startswith("test")} == {
        f"test-{code}": 1190 for code in languages
    }


def test_tydiqa() -> None:
    found = counts("tydiqa-goldp-train", TYDIQA_FORMATS)
    assert found == {"train-en": 3696, "train-ko": 1625, "train-sw": 2755}


def test_broken_json(tmp_path: Path) -> None:
    path = write(tmp_path / "xquad/xquad.de.json", '{"data": [\n{')
    assert fault(tmp_path, XQUAD_FORMATS).startswith(f"{path}, line 2: not valid JSON")
    write(path, json.dumps({"data": [{"paragraphs": [{"qas": []}, {"q": 1}]}]}))
    assert fault(tmp_path, XQUAD_FORMATS).startswith(f"{path}: not a file as SQuAD's")


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_survive_the_way_to_tokens_and_back(family: str) -> None:
    answering = Answering("squad")
    context = "ido mira dalo venn " * 12 + "今天 toku orlu " + "ido mira dalo " * 8
    start = context.index("toku")
    question = Question("k", context, "mira dalo", (("toku orlu", start),))
    rows = answering.encode(tokenizer(family), [question], 48)
    assert len(rows) > 2
    there = [row for row in rows if row["start_positions"]]
    assert there
    outputs: tuple[list[Any], list[Any]] = ([], [])
    for row in rows:
        for side, name in zip(outputs, ("start_positions", "end_positions"), strict=True):
            scores = np.zeros(len(row["input_ids"]))
            scores[row[name]] = 5.0  # of the first token where the answer is not there
            side.append(scores)
    assert answering.decode(outputs, rows, [question]) == ["toku orlu"]


def test_an_answer_that_is_not_there_is_not_trained_on(
    encoder: Path, data: Path, tmp_path: Path
) -> None:
    content = json.loads(squad([("s", "Ada lived in Paris.", "Where?", "Paris")] * 3))
    content["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 0
    copy = tmp_path / "data"
    write(copy / "squad/train-v1.1.json", json.dumps(content))
    (copy / "xquad").symlink_to(data / "xquad")
    rows = run(encoder, copy, tmp_path / "out", "--tasks", "xquad")
    assert (rows[0].facts["trained_on"], rows[0].facts["dropped_misaligned"]) == (2, 1)


def test_answers_are_in_the_language_of_the_text() -> None:
    question = Question("1", "Das Haus", "Where?", (("Haus", 4),))
    family = Answering("mlqa")
    scores = family.score([question], ["das Haus"], "de-en")
    assert scores == {"f1": [Score(1.0)], "em": [Score(1.0)]}
    assert family.score([question], ["das Haus"], "en-de")["em"] == [Score(0.0)]


def test_the_best_span() -> None:
    own = [(2, 10, 12), (3, 13, 15), (4, 16, 20)]
    start, end = np.array([9.0, 9, 1, 5, 2]), np.array([9.0, 9, 6, 1, 3])
    # The best start, 3, and the best end, 2, are in the wrong order; 2 to 2 is 7, 3 to 4 is 8.
    assert best_span(start, end, own) == (8.0, (13, 20))
    assert best_span(start, end, []) == (-math.inf, (0, 0))


def test_tydi_qa_as_first_published(tmp_path: Path) -> None:
    questions = [("swahili-1", "a b c", "?", "b"), ("korean-2", "a b c", "?", "c")]
    write(tmp_path / "tydiqa/tydiqa-goldp-v1.1-train.json", squad(questions))
    assert set(read_parts(tmp_path, TYDIQA_FORMATS)) == {Part("train", "sw"), Part("train", "ko")}


def test_a_question_without_an_answer(tmp_path: Path) -> None:
    content = json.loads(squad([("q1", "a b", "?", "b")]))
    content["data"][0]["paragraphs"][0]["qas"][0]["answers"] = []
    path = write(tmp_path / "xquad/xquad.de.json", json.dumps(content))
    assert fault(tmp_path, XQUAD_FORMATS) == f"{path}: question q1 has no answer"
    write(path, '{"data": []}')
    assert fault(tmp_path, XQUAD_FORMATS) == f"{path}: no questions"


def test_whether_an_answer_stands_where_it_is_said_to() -> None:
    assert Question("k", "Das Haus", "?", (("Haus", 4),)).aligned
    assert not Question("k", "Das Haus", "?", (("Haus", 3),)).aligned
    assert not Question("k", "Das Haus", "?", (("", 0),)).aligned
