"""Figures: well-formed SVG that says what it shows, and the same bytes every time."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_files import cells, layered

from weam_ext.report import figures
from weam_ext.report.table import Results, gains
from weam_ext.transfer.results import read_all


def texts(svg: str) -> list[str]:
    """What a figure says; its text stays text."""
    return [text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()]


def test_a_forest_has_a_label_for_each_gain(tmp_path: Path) -> None:
    cells(tmp_path, "tlm", ["10101010"] * 2, languages=("de", "fr"))
    cells(tmp_path, "weam", ["11111010", "11111011"], languages=("de", "fr"))
    results = Results(read_all(tmp_path))
    found = list(gains(results, results.find(selection="english")[0], "weam", "tlm"))
    svg = figures.forest(found, [gain.language for gain in found], "WEAM < TLM & 今天")
    assert {"mean", "de", "fr", "WEAM < TLM & 今天"} <= {*texts(svg)}
    assert figures.forest(found, [gain.language for gain in found], "WEAM < TLM & 今天") == svg


def test_a_curve_for_each_model_and_a_panel_for_each_method(tmp_path: Path) -> None:
    for model in ("tlm", "weam"):
        layered(tmp_path, model, {"de": ("1111", "1000", "0000"), "fr": ("0000", "1100", "1000")})
    results = Results(read_all(tmp_path))
    said = texts(figures.layer_curves(results, results.conditions, "Tatoeba"))
    curves = {f"{model}, {vectors}" for model in ("tlm", "weam") for vectors in ("raw", "centred")}
    assert curves | {"Tatoeba", "cosine"} <= {*said}


def test_a_matrix_leaves_empty_what_was_not_tested() -> None:
    values = {("en", "de"): 51.4, ("de", "en"): 25.0, ("de", "de"): 100.0}
    said = texts(figures.matrix(values, "G-XLT", "question", "text"))
    assert [text for text in said if text.isdecimal()] == ["100", "25", "51"]
    assert {"en", "de", "question", "text"} <= {*said}


@pytest.mark.parametrize("gold", ["0-1 1?0", "0-1", ""])
def test_a_heat_map_shows_words_of_all_scripts(gold: str) -> None:
    found = {"source": ["the", "house"], "target": ["今天", "<b>"], "gold": gold,
             "cosines": [[0.1, 0.9], [1.0, -0.2]]}  # fmt: skip
    assert {"the", "house", "今天", "<b>"} <= {*texts(figures.heat_map(found, "a pair", 0.0))}
