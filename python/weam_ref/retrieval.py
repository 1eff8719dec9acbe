"""Sentence retrieval from given vectors: accuracy@1 of cosine nearest neighbours."""

import math
from collections.abc import Sequence

Vector = Sequence[float]

# Cosines are compared as multiples of this, so that rounding breaks no tie.
GRID = 2.0**-24


def retrieval_accuracy(
    source: Sequence[Vector], target: Sequence[Vector], *, centred: bool
) -> tuple[float, float]:
    """Shares of source and of target vectors [n][H] whose nearest neighbour is their own pair's.

    Pair k is source[k] and target[k]. `centred`: each side's mean vector is removed first.
    """
    if centred:
        source, target = _centre(source), _centre(target)
    count = len(source)
    forward = sum(k == found for k, found in enumerate(nearest(source, target)))
    backward = sum(k == found for k, found in enumerate(nearest(target, source)))
    return forward / count, backward / count


def nearest(queries: Sequence[Vector], candidates: Sequence[Vector]) -> list[int]:
    """For each query the candidate with the largest cosine; the first of several."""
    found = []
    for query in queries:
        cosines = [round(cosine(query, candidate) / GRID) for candidate in candidates]
        found.append(cosines.index(max(cosines)))
    return found


def cosine(x: Vector, y: Vector) -> float:
    """x . y / (|x| |y|), and 0 where one of them is the zero vector."""
    lengths = math.hypot(*x) * math.hypot(*y)
    return sum(a * b for a, b in zip(x, y, strict=True)) / lengths if lengths else 0.0


def _centre(vectors: Sequence[Vector]) -> list[list[float]]:
    means = [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]
    return [[x - mean for x, mean in zip(vector, means, strict=True)] for vector in vectors]
