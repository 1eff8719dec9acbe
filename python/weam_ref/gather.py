"""The cross-lingual gather: the hidden vectors that the predictions read, and its backward."""

from collections.abc import Sequence

from weam_ref.mask import IGNORED, UNUSED, MaskedRows

Vector = list[float]


def gather_rows(
    hidden: Sequence[Sequence[Vector]],
    masked: MaskedRows,
    links: Sequence[Sequence[int]] | None,
    weights: Sequence[Sequence[float]] | None = None,
) -> list[Vector]:
    """The R + X rows read by the predictions, from hidden vectors [B][L][H].

    Row r is hidden[positions[r]] (multilingual prediction); row R + x is the mean of the vectors
    linked to the position of masked row exchanged[x] (cross-lingual prediction), weighted by the
    `weights` of the links, which add up to anything. Unused: zeros.
    """
    flat = [vector for sequence in hidden for vector in sequence]
    zeros = [0.0] * len(flat[0])
    rows = [zeros if p == UNUSED else list(flat[p]) for p in masked.positions]
    for row in masked.exchanged:
        shares = _shares(row, masked, links, weights)
        rows.append(
            [sum((share * flat[p][h] for p, share in shares), 0.0) for h in range(len(zeros))]
        )
    return rows


def gather_rows_backward(
    gradient: Sequence[Vector],
    masked: MaskedRows,
    links: Sequence[Sequence[int]] | None,
    weights: Sequence[Sequence[float]] | None = None,
) -> list[list[Vector]]:
    """The gradient [B][L][H] of the hidden vectors, from that of the R + X rows: the plain adjoint.

    Each row gives its gradient back to the vectors it read, an exchanged one in their shares.
    (`weam_ext` reads the same sums from the other end, since the links are symmetric.)
    """
    length = len(masked.input_ids[0])
    width = len(gradient[0])
    flat = [[0.0] * width for _ in masked.row_of]
    for row, position in enumerate(masked.positions):
        if position != UNUSED:
            for h in range(width):
                flat[position][h] += gradient[row][h]
    for exchanged_row, row in enumerate(masked.exchanged, start=len(masked.positions)):
        for position, share in _shares(row, masked, links, weights):
            for h in range(width):
                flat[position][h] += share * gradient[exchanged_row][h]
    return [flat[start : start + length] for start in range(0, len(flat), length)]


def row_weights(
    masked: MaskedRows, exchange_weight: float, paired: Sequence[bool] | None = None
) -> list[float]:
    """The weight of each of the R + X rows in L_mp + lambda * L_cp, lambda being `exchange_weight`.

    The two predictions of a masked token without a link are the same row, which counts for both; a
    token of monolingual text, whose row is not `paired`, has but one.
    """
    weights = []
    for row, position in enumerate(masked.positions):
        twice = paired is None or paired[row]
        weights.append(0.0 if position == UNUSED else 1.0 + exchange_weight * twice)
    for row in masked.exchanged:
        if row != UNUSED:
            weights[row] = 1.0
    return weights + [0.0 if row == UNUSED else exchange_weight for row in masked.exchanged]


def row_labels(masked: MaskedRows) -> list[int]:
    """The original token of each of the R + X rows, -100 where unused."""
    exchanged = [IGNORED if row == UNUSED else masked.labels[row] for row in masked.exchanged]
    return masked.labels + exchanged


def _shares(
    row: int,
    masked: MaskedRows,
    links: Sequence[Sequence[int]] | None,
    weights: Sequence[Sequence[float]] | None,
) -> list[tuple[int, float]]:
    """The positions that an exchanged row reads, and how much of it each is."""
    if row == UNUSED or links is None:
        return []
    position = masked.positions[row]
    own = [1.0] * len(links[position]) if weights is None else weights[position]
    return [(p, weight / sum(own)) for p, weight in zip(links[position], own, strict=True)]
