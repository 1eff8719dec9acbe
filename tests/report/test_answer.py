"""The first screen: better or worse, task by task, and in the mean without XNLI and English."""

import re
from pathlib import Path

import pytest
from report_files import cells, layered, many

from weam_ext.report.answer import answer
from weam_ext.report.page import Table, Text
from weam_ext.report.table import Results
from weam_ext.transfer.results import read_all


def said(output: Path, base: str = "base") -> tuple[list[str], dict[str, list[str]], Table]:
    """The sentences, the table's rows by task, and the table."""
    *sentences, table = answer(Results(read_all(output)), base)
    assert isinstance(table, Table)
    texts = [part.text for part in sentences if isinstance(part, Text)]
    return texts, {row[0]: list(row) for row in table.rows}, table


def test_the_title_is_answered_task_by_task(tmp_path: Path) -> None:
    shares = {"base": (0.6, 0.6, 0.6), "weam": (0.9, 0.98, 0.4)}
    for model, own in shares.items():
        for task, share in zip(("xnli", "udpos", "pawsx"), own, strict=True):
            cells(tmp_path, model, many(share, len(model)), task=task, languages=("de", "fr"))
            cells(tmp_path, model, ["1" * 600] * 3, task=task, languages=("en",))
        layered(tmp_path, model, {"de": ("1100" * 5,)})
    (sentence,), rows, table = said(tmp_path)
    assert sentence.startswith(
        "weam against base on 3 tasks other than XNLI: better on 1 (UD parts of speech), worse on "
        "1 (PAWS-X), undecided on 1."
    )
    # XNLI, English and retrieval are no part of the mean, where a task contradicts it.
    found = re.search(
        r"the gain is (\+[\d.]+) points \[(\+[\d.]+), [^]]+\]: undecided\.$", sentence
    )
    assert found and float(found[1]) == pytest.approx(9, abs=3) and float(found[2]) > 0
    assert table.header == ["task", "languages", "base", "weam", "gap of base", "gap of weam"]
    assert rows["XNLI"][3].startswith("better +2") or rows["XNLI"][3].startswith("better +3")
    assert rows["PAWS-X"][1] == "2" and rows["PAWS-X"][3].startswith("worse -")
    mean = float(rows["PAWS-X"][2])
    assert float(rows["PAWS-X"][4]) == pytest.approx(100 - mean, abs=0.11)
    assert rows["Tatoeba retrieval"][4:] == ["–", "–"]  # no English there
    assert "what is said holds for these checkpoints" in table.caption


def test_what_neither_model_learnt_has_no_verdict(tmp_path: Path) -> None:
    for model in ("base", "weam"):
        cells(tmp_path, model, many(0.2, len(model)), task="sib200")
    (sentence,), rows, _ = said(tmp_path)
    assert rows["SIB-200 topics"][3].startswith("neither learnt it ")
    told = "weam against base on 1 task other than XNLI: better on 0, worse on 0, no verdict on 1."
    assert told in sentence


def test_one_model_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    cells(tmp_path, "m", many(0.5, 1))
    sentences, rows, _ = said(tmp_path, "m")
    assert sentences == ["Only m was evaluated, so that there is nothing to compare."]
    assert len(rows["XNLI"]) == 4
