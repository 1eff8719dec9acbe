"""Intervals and verdicts from variance components over examples and seeds.

What is compared are matrices [units, examples] of linearised scores: a unit is a seed, and the mean
of a row is what that seed scored. Units and examples are crossed random effects (Brennan 2001,
"Generalizability Theory", ch. 3); the degrees of freedom of a sum of mean squares are
Satterthwaite's (1946). A percentile bootstrap over five seeds would cover some 84 %.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.05
Scores = NDArray[np.float64]


# ----------------------------------------------------------------------------------- linearisation


def linearised_ratio(part: Scores, whole: Scores) -> Scores:
    """[n] values whose mean is sum(part) / sum(whole) and whose variance is that of the ratio's
    influence function (Cochran 1977, "Sampling Techniques", 6.3); zeros where all wholes are 0."""
    total = whole.sum()
    if not total:
        return np.zeros(len(part))
    ratio = part.sum() / total
    found: Scores = ratio + (part - ratio * whole) / whole.mean()
    return found


def linearised_correlation(metric: str, gold: Scores, predictions: Scores) -> Scores:
    """[n] values whose mean is Pearson's or Spearman's correlation, likewise.

    Pearson's influence: zx zy - r (zx^2 + zy^2) / 2 (Devlin et al. 1975); Spearman's: Croux and
    Dehon 2010. Zeros where a side is constant.
    """
    if np.ptp(gold) == 0 or np.ptp(predictions) == 0:
        return np.zeros(len(gold))
    if metric == "pearson":
        x, y = ((side - side.mean()) / side.std() for side in (gold, predictions))
        value = float((x * y).mean())
        found: Scores = value + x * y - value * (x**2 + y**2) / 2
        return found
    value = float(stats.spearmanr(gold, predictions).statistic)
    u, v = ((stats.rankdata(side) - 0.5) / len(side) for side in (gold, predictions))
    influence = (u * v + _mean_above(u, v) + _mean_above(v, u)) / (u.std() * v.std())
    shifted: Scores = value + influence - influence.mean()
    return shifted


def _mean_above(by: Scores, of: Scores) -> Scores:
    """For each i the mean over j of `of[j]` where by[j] > by[i], half of it where equal, else 0."""
    order = np.argsort(-by, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(of[order])])
    ends = [np.searchsorted(-by[order], -by, side=side) for side in ("left", "right")]
    means: Scores = (sums[ends[0]] + sums[ends[1]]) / 2 / len(by)
    return means


# -------------------------------------------------------------------------------------- intervals


class Component(NamedTuple):
    """A mean square's share of a variance, and its degrees of freedom."""

    variance: float
    freedom: float


class Estimate(NamedTuple):
    """A mean or a difference of means with its 95 % interval."""

    value: float
    low: float
    high: float
    p: float
    """The two-sided p-value of the hypothesis that the value is 0."""
    error: float
    """The standard error."""
    freedom: float
    examples: float = 0.0
    """The part of the standard error that is due to the examples."""
    seeds: float = 0.0
    """The part of the standard error that is due to the units."""

    @classmethod
    def of(cls, value: float, error: float, freedom: float, *parts: float) -> "Estimate":
        """The estimate whose error follows Student's t."""
        half = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * error if error else 0.0
        p = _p(value, error, freedom)
        return cls(value, value - half, value + half, p, error, freedom, *parts)

    def against(self, bound: float) -> float:
        """The two-sided p-value of the hypothesis that the value is `bound`."""
        return _p(self.value - bound, self.error, self.freedom)

    @property
    def points(self) -> str:
        """The value in percentage points, as tables show it."""
        return points(self.value)

    @property
    def interval(self) -> str:
        """The interval in percentage points, as tables show it."""
        return f"[{points(self.low)}, {points(self.high)}]"


def points(share: float) -> str:
    """A difference of shares in percentage points, never as -0.0."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def _units(scores: Scores) -> tuple[Component, Component]:
    """What a model's units add to a variance, and what they share with that of the examples."""
    units, examples = scores.shape
    rows, columns = scores.mean(1), scores.mean(0)
    between = float(rows.var(ddof=1)) / units
    rest = scores - rows[:, None] - columns + scores.mean()
    freedom = (units - 1) * (examples - 1)
    shared = float((rest**2).sum()) / freedom / (units * examples) if freedom else 0.0
    return Component(between, units - 1), Component(shared, freedom)


def estimate(ours: Scores, theirs: Scores | None = None) -> Estimate:
    """The mean of a model's scores, or by how much it exceeds that of another's.

    ours, theirs: [units, examples], the same examples in the same order. The variance is that of
    the means over examples, of the (paired) means over units, plus, for each model, that of its
    units' means over examples; less the interaction, which both hold. A single unit is taken to
    vary as one of the other model's; where both are single, the interval is of the examples alone.
    """
    models = [ours] if theirs is None else [ours, theirs]
    paired = ours.mean(0) - (0.0 if theirs is None else theirs.mean(0))
    count = len(paired)
    components = [Component(float(paired.var(ddof=1)) / count, count - 1)] if count > 1 else []
    examples = sum(component.variance for component in components)
    seeds = 0.0
    single = any(len(model) == 1 for model in models)
    for model in models:
        if len(model) > 1:
            factor = 1 + len(model) if single else 1
            between, shared = (Component(c.variance * factor, c.freedom) for c in _units(model))
            seeds += between.variance - shared.variance
            components += [between, shared]
    seeds = max(0.0, seeds)
    total = examples + seeds
    freedom = _satterthwaite(total, [c for c in components if c.freedom])
    value, error = float(paired.mean()), math.sqrt(total)
    if not error and value:
        # No two examples differ: as if one more had shown no difference at all, since two or three
        # that agree are no proof.
        error, freedom = abs(value) / (count + 1), max(1, count - 1)
        examples = error**2
    return Estimate.of(value, error, freedom, math.sqrt(examples), math.sqrt(seeds))


def _satterthwaite(total: float, components: Sequence[Component]) -> float:
    """The degrees of freedom of a sum of variances; those of the least sure part at the least."""
    squares = sum(c.variance**2 / c.freedom for c in components)
    return max(total**2 / squares, min(c.freedom for c in components)) if squares else math.inf


def unpaired(ours: Scores, theirs: Scores) -> Estimate:
    """By how much the mean of some examples exceeds that of other ones, for the same units."""
    a, b = estimate(ours), estimate(theirs)
    error = math.hypot(a.error, b.error)
    return Estimate.of(a.value - b.value, error, min(a.freedom, b.freedom))


def _p(value: float, error: float, freedom: float) -> float:
    if not error:
        return 1.0 if value == 0 else 0.0
    return float(2 * stats.t.sf(abs(value) / error, freedom))


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the order given."""
    order = np.argsort(values, kind="stable")
    scaled = np.arange(len(values), 0, -1) * np.take(values, order)
    found = np.empty(len(values))
    found[order] = np.maximum.accumulate(scaled).clip(max=1)
    return found.tolist()


SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
BETTER, WORSE = "better", "worse"
UNTESTABLE = "not testable here"
NOT_LEARNT, ONE_SEED = "neither learnt it", "one seed"
"""Why there is no verdict on a gain."""
CHECKPOINTS = " for these checkpoints"
"""What a verdict is limited to where no model was pre-trained with a second seed."""


def verdict(value: float, p: float, words: tuple[str, str] = (SUPPORTED, NOT_SUPPORTED)) -> str:
    """On the claim that a difference is above 0, given its (corrected) p-value."""
    return UNDECIDED if p >= LEVEL else words[value <= 0]


def power(gain: float, error: float, freedom: float) -> float:
    """The chance that a true gain, estimated with that standard error, comes out supported."""
    critical = stats.t.ppf(1 - LEVEL / 2, freedom)
    return float(stats.nct.sf(critical, freedom, gain / error))
