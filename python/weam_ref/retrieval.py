"""Retrieval from given vectors: what is found first, and where the right ones stand."""

import math
from collections.abc import Sequence

Vector = Sequence[float]

# Cosines are compared as multiples of this, so that rounding breaks no tie.
GRID = 2.0**-24


def retrieval_accuracy(
    source: Sequence[Vector], target: Sequence[Vector], *, centred: bool, method: str = "cosine"
) -> tuple[float, float]:
    """Shares of source and of target vectors [n][H] whose nearest neighbour is their own pair's.

    Pair k is source[k] and target[k]. `centred`: each side's mean vector is removed first.
    """
    if centred:
        source, target = _centre(source), _centre(target)
    count = len(source)
    forward = sum(k == found for k, found in enumerate(nearest(source, target, method)))
    backward = sum(k == found for k, found in enumerate(nearest(target, source, method)))
    return forward / count, backward / count


def nearest(
    queries: Sequence[Vector], candidates: Sequence[Vector], method: str = "cosine"
) -> list[int]:
    """For each query the candidate with the largest score; the first of several."""
    return [found[0] for found in ranking(queries, candidates, method)]


def ranking(
    queries: Sequence[Vector], candidates: Sequence[Vector], method: str = "cosine", near: int = 4
) -> list[list[int]]:
    """For each query all candidates, the largest score first; of equal ones, the first.

    The score is the cosine; or, m being the mean of the two vectors' mean cosines with their `near`
    nearest of the other side, cosine - m (csls: Conneau et al. 2018) or cosine / m (margin: Artetxe
    and Schwenk 2019).
    """
    table = [[cosine(query, candidate) for candidate in candidates] for query in queries]
    of_query = [_mean_of_best(row, near) for row in table]
    of_candidate = [_mean_of_best(column, near) for column in zip(*table, strict=True)]
    found = []
    for row, own in zip(table, of_query, strict=True):
        scores = []
        for value, other in zip(row, of_candidate, strict=True):
            usual = (own + other) / 2
            if method == "csls":
                value -= usual
            elif method == "margin":
                value /= 1e-12 if abs(usual) < 1e-12 else usual
            scores.append(round(value / GRID))
        found.append(sorted(range(len(scores)), key=scores.__getitem__, reverse=True))
    return found


def average_precision(found: Sequence[int], right: set[int]) -> float:
    """The mean, over the right ones, of the share of right ones down to where each stands."""
    hits = 0
    total = 0.0
    for place, candidate in enumerate(found, 1):
        if candidate in right:
            hits += 1
            total += hits / place
    return total / len(right)


def _mean_of_best(cosines: Sequence[float], near: int) -> float:
    best = sorted(cosines, reverse=True)[:near]
    return sum(best) / len(best)


def cosine(x: Vector, y: Vector) -> float:
    """x . y / (|x| |y|), and 0 where one of them is the zero vector."""
    lengths = math.hypot(*x) * math.hypot(*y)
    return sum(a * b for a, b in zip(x, y, strict=True)) / lengths if lengths else 0.0


def _centre(vectors: Sequence[Vector]) -> list[list[float]]:
    means = [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]
    return [[x - mean for x, mean in zip(vector, means, strict=True)] for vector in vectors]
