"""Predictions grouped: what was measured alike, and what each model scored there."""

from pathlib import Path

import pytest
from report_files import cells, layered

from weam_ext.report.table import Results, average, gains
from weam_ext.transfer.results import read_all


def test_the_mean_over_languages_clusters_what_is_parallel(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1101", "1000"], languages=("de", "fr"))
    results = Results(read_all(tmp_path))
    (condition,) = results.find(selection="english")
    found = [results.chosen(condition, test, "m") for test in results.sets(condition)]
    scores = average([m for m in found if m])
    assert scores.shape == (2, 4)  # two seeds, four items in both languages
    assert scores.mean(1) == pytest.approx([0.75, 0.25])
    # Both languages alike: an item's influence is that of one language, not half of it.
    assert scores[0] == pytest.approx([1, 1, 0, 1])


def test_pre_training_seeds_are_the_units_where_there_are_several(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1111", "1110"], sha="one", directory="/one")
    cells(tmp_path, "m", ["1100", "1000"], sha="two", directory="/two")
    results = Results(read_all(tmp_path))
    (condition,) = results.find(selection="english")
    found = results.chosen(condition, results.sets(condition)[0], "m")
    assert found is not None
    assert found.units == "pre-training seeds"
    assert sorted(found.values.tolist()) == pytest.approx([0.375, 0.875])


def test_a_seed_counts_once(tmp_path: Path) -> None:
    """What was made again with more noises or languages is no other seed."""
    cells(tmp_path, "m", ["1100", "1000"])
    cells(tmp_path, "m", ["1100", "1000"], languages=("de", "fr"), noises=["typos 0.1"])
    results = Results(read_all(tmp_path))
    (condition,) = results.find(selection="english")
    german = results.chosen(condition, results.sets(condition)[0], "m")
    assert german is not None and german.scores.shape == (2, 4)


def test_other_options_are_another_condition(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1100"])
    cells(tmp_path, "m", ["1111"], batch_size=8)
    results = Results(read_all(tmp_path))
    found = {condition.options for condition in results.conditions}
    assert found == {"batch_size 8", "batch_size 32"}


def test_another_encoder_in_a_directory_replaces_the_first(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1111"], sha="old")
    cells(tmp_path, "m", ["0000"], sha="new")
    results = Results(read_all(tmp_path))
    assert {row.cell.model_sha256 for row in results.rows} == {"new"}


def test_the_layer_is_chosen_on_other_languages(tmp_path: Path) -> None:
    layered(tmp_path, "m", {"de": ("1111", "1000", "0000"), "fr": ("0000", "1100", "1000")})
    results = Results(read_all(tmp_path))
    (condition,) = results.find(vectors="raw")
    german, french = results.sets(condition)
    assert results.best_layer(condition, german, "m") == (1, True)
    assert results.best_layer(condition, french, "m") == (0, True)
    layered(tmp_path / "alone", "m", {"de": ("0000", "1000", "1000")})
    alone = Results(read_all(tmp_path / "alone"))
    (condition,) = alone.find(vectors="raw")
    # Of equals the lowest; and it is said that it was chosen on what it reports.
    assert alone.best_layer(condition, alone.sets(condition)[0], "m") == (1, False)


def test_gains_compare_what_both_models_took(tmp_path: Path) -> None:
    cells(tmp_path, "tlm", ["10101010"] * 2, languages=("de", "fr"))
    cells(tmp_path, "weam", ["11111010"] * 2, languages=("de",))
    results = Results(read_all(tmp_path))
    (condition,) = results.find(selection="english")
    mean, german = gains(results, condition)
    assert (mean.better, mean.worse, mean.sets, german.language) == ("weam", "tlm", 1, "de")
    assert mean.estimate.value == pytest.approx(0.25)
    assert mean.varies == "examples, fine-tuning seeds"
