"""Word alignment by an encoder's vectors: scores of words, their mixture with posteriors, links."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Link = tuple[int, int]
Matrix = NDArray[np.float64]


def token_scores(source: Matrix, target: Matrix, scale: float) -> Matrix:
    """[m, n]: the geometric mean of both softmaxes of the cosines of vectors [m, H] and [n, H].

    Of token a, softmax over the tokens b of the other sentence: exp(scale cos(a, b)) divided by its
    sum over b; and the same of b over a.
    """
    cosines = [[cosine(a, b) for b in target] for a in source]
    rows = [softmax([scale * x for x in row]) for row in cosines]
    columns = [softmax([scale * x for x in column]) for column in zip(*cosines, strict=True)]
    scores = [
        [math.sqrt(rows[a][b] * columns[b][a]) for b in range(len(target))]
        for a in range(len(source))
    ]
    return np.array(scores).reshape(len(source), len(target))


def cosine(a: Sequence[float] | Matrix, b: Sequence[float] | Matrix) -> float:
    return float(np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def softmax(values: Sequence[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def word_scores(
    scores: Matrix, source_words: Sequence[Sequence[int]], target_words: Sequence[Sequence[int]]
) -> Matrix:
    """[words, words]: the largest of `scores` of the tokens of two words.

    NaN where one of them has no token. `source_words[i]` are the tokens of source word i; words may
    share some.
    """
    found = np.full((len(source_words), len(target_words)), math.nan)
    for i, own in enumerate(source_words):
        for j, other in enumerate(target_words):
            if own and other:
                found[i, j] = max(scores[a, b] for a in own for b in other)
    return found


def mixture(posteriors: Matrix, scores: Matrix, weight: float) -> Matrix:
    """(1 - weight) posterior + weight score; the posterior where a score is NaN."""
    mixed = (1 - weight) * posteriors + weight * scores
    return np.array(np.where(np.isnan(scores), posteriors, mixed))


def decoded(scores: Matrix, heuristic: str, threshold: float) -> list[Link]:
    """The links of words with these scores [m, n].

    "posterior": those above the threshold. "forward": for each target word the source word with
    the highest score, of equal ones the first, if it is above half the threshold; "backward": for
    each source word likewise.
    """
    m, n = scores.shape
    if heuristic == "posterior":
        return [(i, j) for i in range(m) for j in range(n) if scores[i, j] > threshold]
    best = [(max(range(m), key=lambda i: scores[i, j]), j) for j in range(n) if m]
    if heuristic == "backward":
        best = [(i, max(range(n), key=lambda j: scores[i, j])) for i in range(m) if n]
    return sorted((i, j) for i, j in best if scores[i, j] > threshold / 2)
