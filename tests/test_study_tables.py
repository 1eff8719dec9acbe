"""benchmarks/study_tables.py: what of a study is taken into the repository, and its tables."""

import json
from pathlib import Path

import pytest
import study_tables

from weam_ext.common.errors import InputError

CLAIMS = [["3", "WEAM beats the base", "+1.0", "[0, 2]", "supported", "zero-shot"],
          ["7", "XNLI is short", "–", "–", "not testable here", "because"]]  # fmt: skip
HEADER = ["", "claim", "measured", "interval", "verdict", "why"]
REPORT = {"title": "t", "parts": [
    {"kind": "text", "text": "WEAM is better on 1 task."},
    {"kind": "table", "header": ["task", "base"], "rows": [["XNLI", "49.0"]], "caption": "What."},
    {"kind": "heading", "text": "Claims of the paper", "level": 2},
    {"kind": "table", "header": HEADER, "rows": CLAIMS, "caption": ""},
    {"kind": "heading", "text": "Gains", "level": 2},
]}  # fmt: skip


def _study(directory: Path) -> Path:
    scores = directory / "scores"
    scores.mkdir(parents=True)
    for name in ("report.html", "report.md"):
        (scores / name).write_text(f"{name} of me/models/e5 and study/weam-0/step-1")
    (scores / "report.json").write_text(json.dumps(REPORT))
    run = str(directory / "weam-0" / "step-1")
    models = {"base": {"/home/me/models/e5": "1"}, "weam": {run: "2"}}
    (scores / "models.json").write_text(json.dumps({"models": models}))
    return directory


def test_the_answer_and_the_tested_claims() -> None:
    told = study_tables.tables(REPORT)
    assert told.startswith("WEAM is better on 1 task.\n\nWhat.\n\n| task | base |\n| --- | --- |\n")
    assert "## Claims of the paper" in told and "WEAM beats the base" in told
    assert "XNLI is short" not in told and "Gains" not in told


def test_what_is_taken(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    study_tables.collect(_study(tmp_path / "study"), kept)
    assert (kept / "report.html").read_text() == "report.html of e5 and weam-0/step-1"
    assert json.loads((kept / "report.json").read_text()) == REPORT
    with pytest.raises(InputError, match="no report there"):
        study_tables.collect(tmp_path, kept)
    assert (kept / "report.json").exists()


def test_the_page_is_that_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = study_tables.PAGE.read_bytes()
    monkeypatch.setattr(study_tables, "PAGE", tmp_path / "study.md")
    monkeypatch.setattr("sys.argv", ["study_tables.py"])
    study_tables.PAGE.write_bytes(page)
    study_tables.main()
    assert study_tables.PAGE.read_bytes() == page
