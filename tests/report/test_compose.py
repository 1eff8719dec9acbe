"""The report: intervals with known truth, tables from predictions, claims, the page."""

import math
import re
import shutil
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from weam_ext.common.errors import InputError
from weam_ext.report import cli as report
from weam_ext.report.claims import Judge, roles_of
from weam_ext.report.page import Figures, Heading, Table, Text, to_html, to_markdown
from weam_ext.report.statistics import (
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    UNTESTABLE,
    estimate,
    holm,
    linearised_correlation,
    linearised_ratio,
    power,
    verdict,
)
from weam_ext.report.table import Results, average, gains
from weam_ext.transfer.results import (
    Cell,
    Evaluation,
    Failed,
    Finished,
    Score,
    read_all,
    write,
    write_failed,
)

Array = NDArray[np.float64]

# ------------------------------------------------------------------------------------- statistics


def jackknife(statistic: Any, *columns: Array) -> float:
    """The variance of a statistic by leaving out one example at a time."""
    count = len(columns[0])
    left = [statistic(*(np.delete(c, k) for c in columns)) for k in range(count)]
    return float((count - 1) / count * np.sum((np.array(left) - np.mean(left)) ** 2))


def test_the_linearised_ratio() -> None:
    generator = np.random.default_rng(0)
    whole = generator.integers(1, 20, 300).astype(float)
    part = generator.binomial(whole.astype(int), 0.7).astype(float)
    found = linearised_ratio(part, whole)
    assert found.mean() == pytest.approx(part.sum() / whole.sum())
    expected = jackknife(lambda a, b: a.sum() / b.sum(), part, whole)
    assert found.var(ddof=1) / 300 == pytest.approx(expected, rel=0.02)
    assert linearised_ratio(np.zeros(3), np.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_the_linearised_correlation(metric: str) -> None:
    generator = np.random.default_rng(1)
    gold = generator.integers(0, 11, 400) / 2.0  # with ties
    predictions = gold + generator.normal(0, 2, 400)
    function = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[metric]
    found = linearised_correlation(metric, gold, predictions)
    assert found.mean() == pytest.approx(function(gold, predictions).statistic)
    expected = jackknife(lambda a, b: function(a, b).statistic, gold, predictions)
    assert found.var(ddof=1) / 400 == pytest.approx(expected, rel=0.1)


def test_one_seed_is_the_paired_t_test() -> None:
    generator = np.random.default_rng(2)
    ours, theirs = (generator.random((1, 40)) < p for p in (0.7, 0.5))
    found = estimate(ours.astype(float), theirs.astype(float))
    expected = stats.ttest_rel(ours[0].astype(float), theirs[0].astype(float))
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_seeds_that_alone_differ_are_welch_s_test() -> None:
    """Without any variance over examples the components are those of the seeds' means."""
    ours, theirs = np.array([0.5, 0.6, 0.8]), np.array([0.2, 0.4, 0.3, 0.3])
    found = estimate(*(np.repeat(side[:, None], 50, axis=1) for side in (ours, theirs)))
    expected = stats.ttest_ind(ours, theirs, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)


def test_the_same_predictions_are_undecided() -> None:
    same = np.random.default_rng(0).random((1, 20))
    found = estimate(same, same)
    assert (found.value, found.p, verdict(found.value, found.p)) == (0.0, 1.0, UNDECIDED)
    sure = estimate(np.ones((1, 5)), np.zeros((1, 5)))
    assert (sure.value, sure.p) == (1.0, 0.0)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.6, 0.7]) == [1.0, 1.0]


@pytest.mark.parametrize(
    "value, p, expected",
    [(0.1, 0.04, SUPPORTED), (-0.1, 0.04, NOT_SUPPORTED), (0.1, 0.06, UNDECIDED)],
)
def test_verdicts(value: float, p: float, expected: str) -> None:
    assert verdict(value, p) == expected


def fine_tuned(
    generator: np.random.Generator, seeds: int, examples: int, spread: float, gain: float
) -> list[Array]:
    """Hits of two models whose true accuracies are 65 % and 65 % + gain.

    Examples differ in difficulty, seeds by `spread` (standard deviation of the accuracy), and the
    seeds of a model disagree on single examples.
    """
    noise = 0.5
    scale = math.sqrt(1 + noise**2)
    centre = float(stats.norm.ppf(0.65)) * scale
    slope = scale / float(stats.norm.pdf(centre / scale))
    difficulty = generator.normal(0, 1, examples)
    return [
        (
            centre + own * slope + difficulty
            + generator.normal(0, spread * slope, (seeds, 1))
            + generator.normal(0, noise, (seeds, examples))
            > 0
        ).astype(float)
        for own in (gain, 0.0)
    ]  # fmt: skip


def rates(
    repeats: int, seeds: int, examples: int, spread: float, gain: float
) -> tuple[float, float, float]:
    """The shares of undecided and of supported comparisons, and the power expected."""
    generator = np.random.default_rng(7)
    found = [
        estimate(*fine_tuned(generator, seeds, examples, spread, gain)) for _ in range(repeats)
    ]
    undecided = float(np.mean([x.p >= 0.05 for x in found]))
    supported = float(np.mean([x.low > 0 for x in found]))
    values = [x.value for x in found]
    expected = power(
        float(np.mean(values)), float(np.std(values)), float(np.median([x.freedom for x in found]))
    )
    return undecided, supported, expected


@pytest.mark.parametrize("seeds, spread", [(3, 0.0), (3, 0.01), (5, 0.03)])
def test_two_equal_models_come_out_undecided(seeds: int, spread: float) -> None:
    undecided, _, _ = rates(400, seeds, 400, spread, 0.0)
    assert undecided >= 0.93


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.03])
def test_a_single_seed_is_taken_to_vary_as_the_others(spread: float) -> None:
    generator = np.random.default_rng(11)
    undecided = 0
    for _ in range(400):
        ours, theirs = fine_tuned(generator, 5, 400, spread, 0.0)
        undecided += estimate(ours, theirs[:1]).p >= 0.05
    assert undecided >= 0.93 * 400


def test_a_real_gain_is_found_at_the_expected_power() -> None:
    _, supported, expected = rates(400, 5, 1000, 0.01, 0.02)
    assert 0.4 < expected < 0.6 and abs(supported - expected) < 0.08
    _, supported, _ = rates(200, 5, 4000, 0.003, 0.02)
    assert supported > 0.95


@pytest.mark.long
@pytest.mark.parametrize(
    "seeds, examples, spread", list(product((2, 3, 5, 10), (300, 1000), (0.0, 0.005, 0.01, 0.03)))
)
def test_rates_everywhere(seeds: int, examples: int, spread: float) -> None:
    undecided, _, _ = rates(2000, seeds, examples, spread, 0.0)
    assert undecided >= 0.93
    _, supported, expected = rates(1000, seeds, examples, spread, 0.02)
    assert expected - 0.15 < supported < expected + 0.05


# ----------------------------------------------------------------------------------------- tables


def cells(
    output: Path,
    model: str,
    hits: Sequence[str],
    *,
    task: str = "xnli",
    setting: str = "zero-shot",
    languages: Sequence[str] = ("de",),
    sha: str = "",
    directory: str = "",
    noise: str = "",
    training: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """A cell for each seed: "1101" are hits on four examples, the same in every language."""
    for seed, bits in enumerate(hits):
        cell = Cell(model, sha or model, task, "data", setting, seed,
                    {"fine_tuning": "plain", "batch_size": 32} | options)  # fmt: skip
        rows = [
            Evaluation(
                language=language,
                metrics={"accuracy": [Score(float(bit)) for bit in bits]},
                keys=[f"k{k}" for k in range(len(bits))],
                selection=selection,
                noise=noise,
                lengths=[10 * (k + 1) for k in range(len(bits))],
                gold=["a"] * len(bits),
                predictions=["a" if bit == "1" else "b" for bit in bits],
            )
            for language in languages
            for selection in ("english", "oracle")
        ]
        known = {"objective": model, "lr": 5e-5, "exchange_weight": 1.0, "links": "true",
                 "bitext": [["en-de=x.tsv"]]}  # fmt: skip
        facts = {"training": known | (training or {}), "trained_on": 100, "cut": ["de"]}
        write(output, Finished(cell, directory or f"/runs/{model}", facts, rows))


def layered(output: Path, model: str, languages: dict[str, Sequence[str]]) -> None:
    """A frozen task: of each language the hits of every layer."""
    cell = Cell(model, model, "tatoeba", "data", "frozen", 0, {"max_length": 128})
    rows = [
        Evaluation(
            language=language,
            metrics={"accuracy": [Score(float(bit)) for bit in bits]},
            keys=[str(k) for k in range(len(bits))],
            layer=layer,
            vectors=vectors,
            method="cosine",
            lengths=[5] * len(bits),
            gold=[],
            predictions=[f"{k} {k}" for k in range(len(bits))],
        )
        for language, layers in languages.items()
        for layer, bits in enumerate(layers)
        for vectors in ("raw", "centred")
    ]
    write(output, Finished(cell, f"/runs/{model}", {"layers": 2}, rows))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1101", "1000"], languages=("de", "fr"))
    rows = read_all(tmp_path)
    assert len(rows) == 2 * 2 * 2
    assert rows[0].metrics["accuracy"][0].tolist() == [1, 1, 0, 1]
    assert rows[0].predictions == ["a", "a", "b", "a"] and rows[0].lengths.tolist() == [
        10,
        20,
        30,
        40,
    ]


def test_a_damaged_file_is_refused_whatever_byte_it_is(tmp_path: Path) -> None:
    """Arrow itself would take many for other results, and end the program over some."""
    cells(tmp_path, "m", ["1101"])
    (path,) = (tmp_path / "cells").iterdir()
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 5):
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        data[at] ^= 1 << at % 8
        with pytest.raises(InputError, match=r"\.arrow: not predictions .* or changed"):
            read_all(tmp_path)
    path.write_bytes(data)
    assert len(read_all(tmp_path)) == 2


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


# ----------------------------------------------------------------------------------------- claims


def claims(output: Path, **roles: str) -> dict[int, list[Any]]:
    results = Results(read_all(output))
    found: dict[int, list[Any]] = {}
    for claim in Judge(results, roles_of(results.models, roles)).claims():
        found.setdefault(claim.number, []).append(claim)
    return found


def many(share: float, seed: int) -> list[str]:
    """Three seeds' hits on 600 examples."""
    generator = np.random.default_rng(seed)
    return ["".join("1" if x < share else "0" for x in generator.random(600)) for _ in range(3)]


def test_claims_that_can_be_tested(tmp_path: Path) -> None:
    cells(tmp_path, "mbert", many(0.5, 0))
    cells(tmp_path, "tlm", many(0.7, 1))
    cells(tmp_path, "weam", many(0.9, 2))
    cells(tmp_path, "weam", many(0.9, 3), setting="translate-train")
    cells(tmp_path, "mlqa-model", ["1" * 30], task="mlqa", languages=("en",))
    found = claims(tmp_path)
    assert set(found) == set(range(1, 13))
    assert found[1][0].verdict == SUPPORTED  # 20 points, more than the two of a large margin
    assert found[2][0].verdict == UNTESTABLE and "translate-train" in found[2][0].reason
    assert found[3][0].verdict == SUPPORTED and found[3][1].verdict == UNTESTABLE
    assert found[4][0].reason == "because no model is word-aligned (--role)"
    assert found[5][0].verdict == SUPPORTED
    assert "points" in found[5][0].figure and found[5][0].interval.startswith("[+")
    assert found[6][0].verdict == UNDECIDED
    assert found[7][0].figure.startswith("3005 against 155 characters")
    assert found[7][0].verdict == NOT_SUPPORTED
    assert found[9][0].figure == "1 of 1 equal"
    assert found[10][0].verdict == found[11][0].verdict == found[12][0].verdict == SUPPORTED


SAME = {"step": 12, "steps": 16, "batch_size": None, "batch_tokens": 4096}


@pytest.mark.parametrize(
    ("weam", "figure", "named"),
    [
        ({}, "5 of 5 equal", "lr, step, steps, batch_size, batch_tokens of tlm, weam"),
        ({"step": 16}, "4 of 5 equal", "step of tlm, weam"),
        ({"batch_size": 32, "batch_tokens": None}, "3 of 5 equal", "batch_size, batch_tokens of "),
    ],
)
def test_claim_9_compares_what_was_done(
    tmp_path: Path, weam: dict[str, Any], figure: str, named: str
) -> None:
    cells(tmp_path, "tlm", ["1101"], training=SAME)
    cells(tmp_path, "weam", ["1101"], training=SAME | weam)
    (claim,) = claims(tmp_path)[9]
    assert (claim.figure, claim.verdict) == (figure, NOT_SUPPORTED if weam else SUPPORTED)
    assert claim.reason.startswith(named)


def test_claim_9_compares_every_pre_training_seed(tmp_path: Path) -> None:
    cells(tmp_path, "tlm", ["1101"], training=SAME)
    cells(tmp_path, "weam", ["1101"], training=SAME)
    cells(tmp_path, "weam", ["1100"], training=SAME | {"step": 13}, sha="b", directory="/runs/b")
    assert claims(tmp_path)[9][0].reason.startswith("step of tlm, weam")


def test_no_verdict_on_fine_tuning_with_one_seed(tmp_path: Path) -> None:
    for seeds, settled in ((1, False), (3, True)):
        output = tmp_path / str(seeds)
        cells(output, "tlm", many(0.5, 1)[:1])
        cells(output, "weam", many(0.9, 2)[:seeds])
        claim = claims(output)[5][0]
        assert claim.verdict == (SUPPORTED if settled else UNTESTABLE)
        assert settled or claim.reason.startswith("because neither model has a second seed")
        results = Results(read_all(output))
        (condition,) = results.find(selection="english")
        mean, *_ = gains(results, condition)
        assert mean.verdict(0.001) == (SUPPORTED if settled else f"{UNTESTABLE}: one seed")


def test_a_large_margin_is_more_than_any(tmp_path: Path) -> None:
    base = many(0.60, 0)
    cells(tmp_path, "a", base)
    better = [bits[:12].replace("0", "1") + bits[12:] for bits in base]  # about one point
    cells(tmp_path, "b", better)
    (claim,) = claims(tmp_path, base="a", tlm="b")[1]
    assert claim.estimate is not None and 0 < claim.estimate.value < 0.02
    assert claim.verdict != SUPPORTED


# ------------------------------------------------------------------------------------------- page


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
    for heading in ("Claims", "Gains", "Scores", "Layers", "Robustness", "What was used"):
        assert f">{heading}</h2>" in page
    assert page.count("<svg") >= 4
    assert "dev.json, line 3: not valid JSON &lt;x&gt;" in page
    assert 'class="verdict yes">supported' in page
    # Nothing is fetched from anywhere.
    assert not re.search(r"(src|href)=\"(?!#)", page.replace("xlink:href", "href"))
    for table in ("Distorted text", "Length of the input", "Robust against plain fine-tuning"):
        assert f">{table}</h3>" in page
    assert "With bitext: de, en." in page
    report.main([str(output)])
    assert (output / "report.html").read_text() == page  # the same bytes


def test_every_table_is_rectangular(whole: Path, tmp_path: Path) -> None:
    output = shutil.copytree(whole, tmp_path / "whole")
    report.main([str(output)])
    for table in re.findall(r"<table>.*?</table>", (output / "report.html").read_text(), re.S):
        widths = {row.count("<td") + row.count("<th") for row in re.findall("<tr>.*?</tr>", table)}
        assert len(widths) == 1


def test_parts_as_text() -> None:
    parts = [Heading("A & B"), Text("<i>"), Table(["a|b", "c"], [["1|2", "+3.0"]]), Figures([], "")]
    assert "| a\\|b | c |\n| --- | --- |\n| 1\\|2 | +3.0 |" in to_markdown("t", parts)
    page = to_html("<t>", parts)
    assert "&lt;t&gt;" in page and "&lt;i&gt;" in page and '<h2 id="a---b">' in page
    assert '<td class="number">+3.0</td>' in page


def test_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no results of weam_ext\.transfer there"):
        report.main([str(tmp_path)])


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"needs matplotlib: pip install 'weam-ext\[transfer\]'"):
        report.main([str(tmp_path)])


def test_a_role_without_a_model(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1101"])
    with pytest.raises(InputError, match="expected ROLE=MODEL"):
        report.main([str(tmp_path), "--role", "base"])
