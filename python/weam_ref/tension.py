"""The feature of the diagonal prior, and the tension fitted to it: see `weam_ref.diagonal`."""

import math
from collections import Counter

TENSION_STEPS = 8
TENSION_RATE = 20.0
TENSION_RANGE = (0.1, 14.0)


def fit_tension(
    tension: float, posterior_feature: float, lengths: Counter[tuple[int, int]]
) -> float:
    """Gradient ascent on lambda: d log L / d lambda = E_posterior[h] - E_model[h], a target word.

    `lengths` counts the sentence pairs of each (J, I).
    """
    tokens = max(sum(pairs * length for (length, _), pairs in lengths.items()), 1)
    for _ in range(TENSION_STEPS):
        expected = 0.0
        for (target_length, source_length), pairs in lengths.items():
            for j in range(1, target_length + 1):
                expected += pairs * model_feature(j, target_length, source_length, tension)
        tension += TENSION_RATE * (posterior_feature - expected / tokens)
        tension = min(max(tension, TENSION_RANGE[0]), TENSION_RANGE[1])
    return tension


def model_feature(j: int, target_length: int, source_length: int, tension: float) -> float:
    """fast_align's d log Z / d lambda at the 1-based target position j.

    The numerator is sum_i h exp(lambda h), as it should be; but the program divides it by
    Z(j, I, J), the two lengths swapped, where Z(j, J, I) is meant.
    """
    weighted = 0.0
    for i in range(1, source_length + 1):
        h = feature(i, j, source_length, target_length)
        weighted += h * math.exp(tension * h)
    return weighted / geometric_normaliser(j, source_length, target_length, tension)


def geometric_normaliser(j: int, target_length: int, source_length: int, tension: float) -> float:
    """Z(j, J, I) = sum_{i=1..I} exp(lambda h(i, j, I, J)) as two geometric series (lambda > 0).

    One series descends from the position just below the diagonal to 1, one ascends from the
    position just above it to I. With the lengths swapped j may exceed J and so the diagonal I: the
    program's number of ascending terms, an unsigned I - below, then wraps to about 2^32, and as
    the terms vanish long before, the ascending series is the infinite one.
    """
    ratio = math.exp(-tension / source_length)
    below = int(j * source_length / target_length)

    def series(first: int, terms: float) -> float:
        largest = math.exp(tension * feature(first, j, source_length, target_length))
        return largest * (1.0 - math.pow(ratio, terms)) / (1.0 - ratio)

    descending = series(below, below) if below > 0 else 0.0
    above = source_length - below
    ascending = series(below + 1, above if above >= 0 else math.inf) if above != 0 else 0.0
    return descending + ascending


def feature(i: int, j: int, source_length: int, target_length: int) -> float:
    """h(i, j, I, J) = -|i/I - j/J|."""
    return -abs(i / source_length - j / target_length)
