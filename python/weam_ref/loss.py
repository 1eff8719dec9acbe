"""The WEAM loss, written from its formulas (Yang et al. 2021, arXiv:2106.01732)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from weam_ref.mask import IGNORED

Vector = Sequence[float]


class Losses(NamedTuple):
    """Means over the masked positions, in nats; total = multilingual + lambda * cross_lingual."""

    multilingual: float
    cross_lingual: float
    total: float


def weam_loss(
    hidden: Sequence[Vector],
    tokens: Sequence[int],
    masked_positions: Sequence[int],
    links: Sequence[Sequence[int]],
    weight: Sequence[Vector],
    bias: Vector | None,
    *,
    exchange_weight: float = 1.0,
) -> Losses:
    """L = L_mp + lambda * L_cp from hidden vectors R [N][H] and one output layer [V][H], [V].

    For every masked position i the token x_i is predicted from R[i] (multilingual) and from the
    mean of R[j] over the j linked to i, or R[i] where i has no link (cross-lingual).
    `tokens[i]` is the original token x_i, `links[i]` lists the positions linked to i.
    """
    if not masked_positions:
        return Losses(0.0, 0.0, 0.0)
    multilingual = cross_lingual = 0.0
    for i in masked_positions:
        linked = links[i] or [i]
        exchanged = [sum(hidden[j][h] for j in linked) / len(linked) for h in range(len(hidden[i]))]
        multilingual += cross_entropy(hidden[i], weight, bias, tokens[i])
        cross_lingual += cross_entropy(exchanged, weight, bias, tokens[i])
    multilingual /= len(masked_positions)
    cross_lingual /= len(masked_positions)
    return Losses(multilingual, cross_lingual, multilingual + exchange_weight * cross_lingual)


def word_aligned_loss(
    hidden: Sequence[Vector],
    initial: Sequence[Vector],
    links: Sequence[tuple[int, int]],
    anchors: Sequence[int],
    *,
    regularization: float = 1.0,
) -> float:
    """Word-aligned (Cao et al. 2020) from hidden vectors [N][H], those of the initial model too.

    The squared distances of linked positions (each link once) and, weighted, of the anchors from
    where they were before training, over the number of links; 0 without any.
    """
    distance = sum(squared_distance(hidden[a], hidden[b]) for a, b in links)
    moved = sum(squared_distance(hidden[w], initial[w]) for w in anchors)
    return (distance + regularization * moved) / max(1, len(links))


def contrastive_loss(
    words: Sequence[Sequence[Vector]], partners: Sequence[int], *, temperature: float = 0.1
) -> float:
    """InfoNCE over linked words (Gaschi et al. 2023), a mean in nats; 0 without words.

    `words[a]` lists the hidden vectors [H] of the tokens of word a, `partners[a]` is the word that
    it is linked to. Similarity is the cosine of the words' mean vectors.
    """
    vectors = [_unit([sum(column) for column in zip(*tokens, strict=True)]) for tokens in words]
    total = 0.0
    for a, b in enumerate(partners):
        scores = [sum(x * y for x, y in zip(vectors[a], v, strict=True)) for v in vectors]
        others = [score / temperature for c, score in enumerate(scores) if c != a]
        largest = max(others)
        normaliser = math.log(sum(math.exp(z - largest) for z in others)) + largest
        total += normaliser - scores[b] / temperature
    return total / max(1, len(partners))


def _unit(vector: Vector) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def squared_distance(first: Vector, second: Vector) -> float:
    return sum((x - y) ** 2 for x, y in zip(first, second, strict=True))


def cross_entropy(row: Vector, weight: Sequence[Vector], bias: Vector | None, label: int) -> float:
    """-log softmax(weight row + bias)[label]."""
    logits = _logits(row, weight, bias)
    largest = max(logits)
    return math.log(sum(math.exp(z - largest) for z in logits)) + largest - logits[label]


def linear_cross_entropy(
    rows: Sequence[Vector],
    weight: Sequence[Vector],
    bias: Vector | None,
    labels: Sequence[int],
    weights: Vector,
) -> tuple[float, list[float], list[bool]]:
    """(weighted total, losses, whether the label has the largest logit) of rows.

    Rows with the label -100 are ignored: loss 0, not correct.
    """
    losses = []
    correct = []
    for row, label in zip(rows, labels, strict=True):
        if label == IGNORED:
            losses.append(0.0)
            correct.append(False)
            continue
        logits = _logits(row, weight, bias)
        losses.append(cross_entropy(row, weight, bias, label))
        correct.append(logits.index(max(logits)) == label)
    total = sum(loss * scale for loss, scale in zip(losses, weights, strict=True))
    return total, losses, correct


def _logits(row: Vector, weight: Sequence[Vector], bias: Vector | None) -> list[float]:
    products = [sum(x * w for x, w in zip(row, column, strict=True)) for column in weight]
    if bias is None:
        return products
    return [product + b for product, b in zip(products, bias, strict=True)]
