"""Predictions as XTREME takes them."""

import json
from pathlib import Path
from typing import Any

import pytest

from weam_ext.common.errors import InputError
from weam_ext.report import cli as report
from weam_ext.transfer.results import Cell, Evaluation, Finished, record_models, write

PREDICTED = {
    "xnli": (["neutral", "entailment"], "test-de.tsv", "neutral\nentailment\n"),
    "pawsx": (["0", "1"], "test-de.tsv", "0\n1\n"),
    "panx": (["O B-PER", "O"], "test-de.tsv", "O\nB-PER\n\nO\n"),
    "xcopa": (["0", "1"], "test-de.jsonl", '{"label": 0}\n{"label": 1}\n'),
}


def cell(
    output: Path, task: str, predictions: list[str], model: str = "m", seed: int = 0,
    setting: str = "zero-shot", facts: dict[str, Any] | None = None, sha: str = "", **row: Any
) -> None:  # fmt: skip
    options = {"fine_tuning": "plain"}
    own = Cell(model, sha or model, task, json.dumps([task, row]), setting, seed, options)
    row = {"split": "unlabelled", "selection": "english"} | row
    found = Evaluation("de", {"accuracy": []}, [f"k{k}" for k in range(len(predictions))],
                       predictions=predictions, lengths=[1] * len(predictions),
                       gold=[""] * len(predictions), **row)  # fmt: skip
    write(output, Finished(own, f"/runs/{model}", {"cut": ["de"]} | (facts or {}), [found]))


@pytest.mark.parametrize("task", PREDICTED)
def test_a_file_for_each_task_and_language(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions, name, text = PREDICTED[task]
    cell(tmp_path, task, predictions)
    for other in ({"seed": 1}, {"setting": "few-shot-1"}, {"noise": "typos 0.1"},
                  {"selection": "oracle"}, {"split": "test"}):  # fmt: skip
        cell(tmp_path, task, ["1", "0"], **other)
    report.main([str(tmp_path), "--submission", str(tmp_path / "out")])
    assert capsys.readouterr().out == f"{tmp_path}/out/{task}/{name}\n"
    assert (tmp_path / "out" / task / name).read_text() == text


def test_the_encoder_that_counts_is_handed_in(tmp_path: Path) -> None:
    cell(tmp_path, "xnli", ["neutral"], sha="old")
    cell(tmp_path, "xnli", ["entailment"], sha="new")
    with pytest.raises(InputError, match="held several encoders"):
        report.main([str(tmp_path), "--submission", str(tmp_path / "out")])
    record_models(tmp_path, {"m": {"/runs/m": "old"}})
    report.main([str(tmp_path), "--submission", str(tmp_path / "out")])
    assert (tmp_path / "out/xnli/test-de.tsv").read_text() == "neutral\n"


def test_answers_go_by_the_ids_of_their_questions(tmp_path: Path) -> None:
    cell(tmp_path, "mlqa", ["Ähre", ""], facts={"cut": []}, split="test")
    cell(tmp_path, "mlqa", ["x", "x"], model="other")
    report.main([str(tmp_path), "--submission", str(tmp_path / "out"), "--model", "m"])
    text = (tmp_path / "out/mlqa/test-de.json").read_text()
    assert json.loads(text) == {"k0": "Ähre", "k1": ""}
    with pytest.raises(InputError, match="needs --model, one of m, other"):
        report.main([str(tmp_path), "--submission", str(tmp_path / "out")])


@pytest.mark.parametrize("facts", [{"cut": ["de"]}, {"cut": [], "test_limit": 2}])
def test_parts_of_a_test_set_are_not_handed_in(
    facts: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell(tmp_path, "xnli", ["neutral", "neutral"], facts=facts, split="test")
    with pytest.raises(InputError, match="no whole test set of XTREME was predicted by m, seed 0"):
        report.main([str(tmp_path), "--submission", str(tmp_path / "out")])
    assert "only a part of that test set was predicted" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
