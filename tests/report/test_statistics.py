"""Intervals and verdicts with known truth."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from weam_ext.report.statistics import (
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    estimate,
    holm,
    linearised_correlation,
    linearised_ratio,
    power,
    verdict,
)

Array = NDArray[np.float64]


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
    assert sure.value == 1.0 and 0 < sure.p < 0.01


@pytest.mark.parametrize("examples, decided", [(1, False), (2, False), (3, False), (5, True)])
def test_examples_that_all_agree_are_no_proof_where_they_are_few(
    examples: int, decided: bool
) -> None:
    found = estimate(np.ones((1, examples)), np.zeros((1, examples)))
    assert (found.p < 0.05) == (found.low > 0) == decided


def test_the_degrees_of_freedom_are_those_of_the_least_sure_part_at_the_least() -> None:
    generator = np.random.default_rng(1)
    found = [estimate(*generator.random((2, 2, 3))) for _ in range(300)]
    assert min(each.freedom for each in found) >= 1


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
