"""The whole report: what it says of some results, and that all its tables are whole."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from report_files import cells, layered, many

from weam_ext.report import cli as report
from weam_ext.transfer.results import (
    Cell,
    Failed,
    write_failed,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole")
    for model, share in (("tlm", 0.5), ("weam", 0.8)):
        hits = many(share, len(model))
        cells(output, model, hits, languages=("de", "fr"))
        noisy = {"noise": "typos 0.1", "noises": ["typos 0.1"]}
        cells(output, model, hits, languages=("de", "fr"), task="pawsx", **noisy)
        cells(output, model, hits, languages=("de", "fr"), task="pawsx")
        cells(output, model, hits, fine_tuning="random")
        layered(output, model, {"de": ("1111", "1000", "0000"), "fr": ("0000", "1100", "1000")})
    cell = Cell("weam", "weam", "mlqa", "", "zero-shot", 0, {})
    write_failed(output, Failed(cell, "/runs/weam", "dev.json, line 3: not valid JSON <x>"))
    return output


def test_the_page(whole: Path, tmp_path: Path, capsys: Any) -> None:
    output = shutil.copytree(whole, tmp_path / "whole")
    report.main([str(output)])
    page = (output / "report.html").read_text()
    assert (output / "report.md").read_text() == capsys.readouterr().out
    told = json.loads((output / "report.json").read_text())
    assert "Claims of the paper" in {part.get("text") for part in told["parts"]}
    for heading in (
        "Claims of the paper",
        "Gains",
        "Scores",
        "Layers",
        "Robustness",
        "What was used",
    ):
        assert f">{heading}</h2>" in page
    assert page.count("<svg") >= 4
    assert "dev.json, line 3: not valid JSON &lt;x&gt;" in page
    assert 'class="verdict yes">supported' in page
    # Nothing is fetched from anywhere.
    assert not re.search(r"(src|href)=\"(?!#)", page.replace("xlink:href", "href"))
    for table in ("Distorted text", "Length of the input", "Robust against plain fine-tuning"):
        assert f">{table}</h3>" in page
    first = page[: page.index("<h2")]
    assert "weam against tlm on 2 tasks other than XNLI: better on 1 (PAWS-X)" in first
    assert "With bitext: de, en." in page
    report.main([str(output)])
    assert (output / "report.html").read_text() == page  # the same bytes


def test_figures_beside_the_scores(tmp_path: Path) -> None:
    """Medians and shares that are no ratio of sums, where a task has them."""
    for model, rank in (("tlm", 3), ("weam", 2.5)):
        hits = {"one:de": ("1111", "1000"), "one:fr": ("0000", "1100")}
        layered(tmp_path, model, hits, notes={"median_rank": [rank, 4]})
        layered(tmp_path, model, hits, "other", notes={"median_rank": [rank + 1, 4]})
    report.main([str(tmp_path)])
    said = (tmp_path / "report.md").read_text()
    table = said.partition("Median rank of the first right one")[2]
    for code in ("de", "fr"):
        assert f"| one:{code} | 3.5 / 4.0 | 3.0 / 4.0 |" in table
    assert "Questions whose first answer" not in said


def test_every_table_is_rectangular(whole: Path, tmp_path: Path) -> None:
    output = shutil.copytree(whole, tmp_path / "whole")
    report.main([str(output)])
    for table in re.findall(r"<table>.*?</table>", (output / "report.html").read_text(), re.S):
        widths = {row.count("<td") + row.count("<th") for row in re.findall("<tr>.*?</tr>", table)}
        assert len(widths) == 1


@pytest.mark.parametrize("first", ["languages", "noise", "layers"])
def test_a_grid_that_was_extended_is_reported(tmp_path: Path, first: str) -> None:
    """More seeds, languages or noises than before leave test sets with unequal seeds."""
    for model in ("tlm", "weam"):
        hits = many(0.6, len(model))
        cells(tmp_path, model, hits)
        if first == "noise":
            cells(tmp_path, model, hits[:2], noise="typos 0.1", noises=["typos 0.1"])
        elif first == "languages":
            cells(tmp_path, model, hits, sha="second", directory="/second")
            cells(tmp_path, model, hits, languages=("de", "fr"))
        else:
            both = {"de": ("1111", "1000"), "fr": ("0000", "1100")}
            layered(tmp_path, model, {"de": both["de"]}, sha="second")
            layered(tmp_path, model, both)
    report.main([str(tmp_path)])
    said = (tmp_path / "report.md").read_text()
    assert ("Seeds that means leave out" in said) == (first != "noise")
    if first == "noise":
        assert "| typos 0.1 |" in said
