"""Predictions grouped: what was measured alike, and what each model scored there."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from report_files import cells, layered, many

from weam_ext.common.errors import InputError
from weam_ext.report.statistics import BETTER, CHECKPOINTS, NOT_LEARNT, UNTESTABLE, estimate
from weam_ext.report.table import (
    Measured,
    Pair,
    Results,
    Set,
    average,
    averages,
    gains,
    left_out,
    matched,
)
from weam_ext.transfer.results import read_all, read_models, record_models


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


@pytest.mark.parametrize("last", ["old", "new"])
def test_the_encoder_that_a_directory_held_last_counts(tmp_path: Path, last: str) -> None:
    """Whichever file is the younger one: a copy of the results has other times."""
    cells(tmp_path, "m", ["1111"], sha="old")
    cells(tmp_path, "m", ["0000"], sha="new")
    with pytest.raises(InputError, match="/runs/m held several encoders when m was evaluated"):
        Results(read_all(tmp_path))
    record_models(tmp_path, {"m": {"/runs/m": "another"}})
    record_models(tmp_path, {"m": {"/runs/m": last}})
    results = Results(read_all(tmp_path), read_models(tmp_path))
    assert {row.cell.model_sha256 for row in results.rows} == {last}


def test_models_stand_in_the_order_of_the_command_line(tmp_path: Path) -> None:
    for model in ("a", "b", "c"):
        cells(tmp_path, model, ["1100"])
    record_models(tmp_path, {"c": {}, "a": {}})
    results = Results(read_all(tmp_path), read_models(tmp_path))
    assert results.models == ["c", "a", "b"]
    assert Results(read_all(tmp_path)).models == ["a", "b", "c"]


def test_other_training_examples_are_another_condition(tmp_path: Path) -> None:
    for digest in ("1" * 64, "2" * 64):
        cells(tmp_path, "m", ["1100"], trained_on=digest)
    found = {condition.options for condition in Results(read_all(tmp_path)).conditions}
    assert found == {"training examples 11111111", "training examples 22222222"}


def test_one_condition_stands_for_a_task(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1100"], setting="translate-train")
    cells(tmp_path, "m", ["1100"], fine_tuning="random")
    cells(tmp_path, "m", ["1100"])
    layered(tmp_path, "m", {"de": ("1100",)})
    results = Results(read_all(tmp_path))
    found = results.primary
    assert str(found["xnli"]) == "zero-shot, english selection"
    assert str(found["tatoeba"]) == "frozen, raw, cosine"
    shown = [str(c) for c in results.plain if results.stands_out(c)]
    assert len(shown) == 4 and "frozen, centred, cosine" not in shown


def test_nothing_is_learnt_below_chance_or_the_most_frequent_label(tmp_path: Path) -> None:
    cells(tmp_path, "a", many(0.22, 1))
    cells(tmp_path, "b", many(0.24, 2))
    cells(tmp_path, "c", many(0.5, 3))
    results = Results(read_all(tmp_path))
    (condition,) = results.find(selection="english")
    assert [results.learnt(condition, model) for model in "abc"] == [False, False, True]
    (below, _), (above, _) = (gains(results, condition, *pair) for pair in ("ba", "cb"))
    assert below.verdict(0.001) == f"{UNTESTABLE}: {NOT_LEARNT}"
    assert above.verdict(0.001) == BETTER + CHECKPOINTS


def test_the_mean_gain_is_without_english(tmp_path: Path) -> None:
    for model, hits in (("tlm", "10101010"), ("weam", "11101010")):
        cells(tmp_path, model, [hits] * 2, languages=("de",))
        cells(tmp_path, model, ["1" * 8 if model == "weam" else "0" * 8] * 2, languages=("en",))
    results = Results(read_all(tmp_path))
    (condition,) = results.find(selection="english")
    mean, *single = gains(results, condition, "weam", "tlm")
    assert mean.estimate.value == pytest.approx(0.125) and mean.sets == 1
    assert [gain.language for gain in single] == ["de", "en"]


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


def test_several_sets_of_a_language_choose_no_layer_for_each_other(tmp_path: Path) -> None:
    bits = ("1111", "0000")
    layered(tmp_path, "m", {"one:de": bits[::-1], "two:de": bits, "two:fr": bits[::-1]})
    results = Results(read_all(tmp_path))
    condition = results.find(vectors="raw")[0]
    first = results.sets(condition)[0]
    assert first.languages == {"de"} and not first.is_english
    assert results.best_layer(condition, first, "m") == (1, True)
    assert Set("en-de:en", "").is_english and Set("en-en", "").is_english
    assert not Set("en:en-de", "").is_english


def test_gains_compare_what_both_models_took(tmp_path: Path) -> None:
    cells(tmp_path, "tlm", ["10101010"] * 2, languages=("de", "fr"))
    cells(tmp_path, "weam", ["11111010"] * 2, languages=("de",))
    results = Results(read_all(tmp_path))
    (condition,) = results.find(selection="english")
    mean, german = gains(results, condition, "weam", "tlm")
    assert (mean.better, mean.worse, mean.sets, german.language) == ("weam", "tlm", 1, "de")
    assert mean.estimate.value == pytest.approx(0.25)
    assert mean.varies == "examples, fine-tuning seeds"


def test_units_are_matched_by_what_they_are_not_by_when_they_were_written(tmp_path: Path) -> None:
    """Encoder "one" is good at everything and "two" at nothing, whichever file is the older."""
    for task, order in (("xnli", ("one", "two")), ("pawsx", ("two", "one"))):
        for when, sha in enumerate(order):
            known = set(tmp_path.glob("cells/*"))
            hits = ["1111" if sha == "one" else "0000"]
            cells(tmp_path, "m", hits, task=task, sha=sha, directory=f"/{sha}")
            (written,) = {*tmp_path.glob("cells/*")} - known
            os.utime(written, (when, when))
    results = Results(read_all(tmp_path))
    conditions = results.find(selection="english")
    found = [results.chosen(c, results.sets(c)[0], "m") for c in conditions]
    assert average([m for m in found if m], ["a", "b"]).mean(1) == pytest.approx([1, 0])


def test_a_mean_is_of_the_seeds_that_all_test_sets_have(tmp_path: Path) -> None:
    """German has three encoders, French two of them; the third is counted as left out."""
    for sha, hits in (("x", "1111"), ("y", "1100"), ("z", "0000")):
        languages = ("de",) if sha == "y" else ("de", "fr")
        cells(tmp_path, "m", [hits], sha=sha, directory=f"/{sha}", languages=languages)
    results = Results(read_all(tmp_path))
    (condition,) = results.find(selection="english")
    found = list(results.all_chosen(condition, "m").values())
    assert average(found).mean(1) == pytest.approx([1, 0])  # x and z, in every language
    assert left_out(found) == 1
    assert [m.values.tolist() for m in matched(found)] == [[1, 0], [1, 0]]


def test_without_a_shared_seed_there_is_no_mean(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1111"], sha="x", directory="/x", languages=("de",))
    cells(tmp_path, "m", ["1111"], sha="y", directory="/y", languages=("fr",))
    cells(tmp_path, "n", ["1010"] * 2, languages=("de", "fr"))
    results = Results(read_all(tmp_path))
    (condition,) = results.find(selection="english")
    assert average(list(results.all_chosen(condition, "m").values())).shape == (0, 0)
    assert {gain.language for gain in gains(results, condition, "n", "m")} == {"de", "fr"}


def test_tasks_weigh_the_same_in_a_mean_over_tasks(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1111"], languages=("de", "fr", "es"))
    cells(tmp_path, "m", ["0000"], task="pawsx", languages=("de",))
    results = Results(read_all(tmp_path))
    found = {c.task: results.all_chosen(c, "m") for c in results.find(selection="english")}
    measured = [m for own in found.values() for m in own.values()]
    names = [task for task, own in found.items() for _ in own]
    assert average(measured, names).mean() == pytest.approx(0.5)
    # An example of one key in three languages is one cluster; another task's is another.
    assert average(measured, names).shape == (1, 8)


def test_other_texts_with_the_same_labels_are_another_test_set(tmp_path: Path) -> None:
    cells(tmp_path, "tlm", ["1100"] * 2, texts="one")
    cells(tmp_path, "weam", ["1110"] * 2, texts="another")
    results = Results(read_all(tmp_path))
    (condition,) = results.find(selection="english")
    assert len(results.sets(condition)) == 2
    assert list(gains(results, condition, "weam", "tlm")) == []


def equal_models(generator: np.random.Generator, tasks: Sequence[str]) -> list[Pair]:
    """Two models of the same accuracy: encoders differ, alike on all tasks, and seeds among them.

    One model lacks an encoder on the last task, and every test set has them in another order.
    """
    effects = {model: generator.normal(0, 0.15, 4) for model in ("a", "b")}
    pairs = []
    for task in tasks:
        difficulty = generator.normal(0, 1, 150)
        sides = []
        for model, effect in effects.items():
            there = generator.permutation(3 if model == "a" and task == tasks[-1] else 4).tolist()
            seeds = {}
            for k in there:
                hits = effect[k] + difficulty + generator.normal(0, 0.5, 150) > -0.4
                seeds[f"{model}{k}", 0] = hits.astype(float)
            keys = [f"{task}{k}" for k in range(150)]
            sides.append(Measured("accuracy", keys, seeds, []))
        pairs.append(Pair(Set("de", task), *sides))
    return pairs


def test_equal_models_are_undecided_over_tasks_with_unequal_seeds() -> None:
    generator = np.random.default_rng(3)
    tasks = ["xnli", "pawsx", "udpos"]
    found = [estimate(*averages(equal_models(generator, tasks), tasks)) for _ in range(300)]
    assert np.mean([each.p >= 0.05 for each in found]) >= 0.93
