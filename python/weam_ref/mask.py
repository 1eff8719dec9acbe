"""Alignment-aware masking: which tokens are predicted, and where their rows lie in the buffers."""

from collections.abc import Sequence
from dataclasses import dataclass

from weam_ref.philox import MASKING, threshold, words

UNUSED = -1
IGNORED = -100


@dataclass(frozen=True)
class MaskedRows:
    """`weam_ext.mask.MaskedRows` as lists: the fields have the same names and meanings."""

    input_ids: list[list[int]]
    positions: list[int]
    labels: list[int]
    row_of: list[int]
    exchanged: list[int]
    exchanged_of: list[int]
    count: int
    exchanged_count: int
    overflow: bool


def mask_tokens(
    input_ids: Sequence[Sequence[int]],
    maskable: Sequence[Sequence[bool]],
    draws: Sequence[int],
    links: Sequence[Sequence[int]] | None = None,
    *,
    seed: int,
    probability: float,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    mask_id: int,
    replacements: Sequence[int],
    capacity: int | None = None,
    exchange_capacity: int | None = None,
) -> MaskedRows:
    """Choose and mask tokens (method.md, section 1); the random words are those of `philox.words`.

    `links[a]` lists the flattened positions linked to flattened position a. A capacity of None is
    as many rows as there are; with an `exchange_capacity` of 0, or without links, no row is
    exchanged.
    """
    length = len(input_ids[0])
    masked_ids = [list(ids) for ids in input_ids]
    positions: list[int] = []
    overflow = False
    for sequence, draw in enumerate(draws):
        for position in range(length):
            w = words(seed, draw, position, MASKING)
            if not maskable[sequence][position] or w[0] >= threshold(probability):
                continue
            if len(positions) == capacity:
                overflow = True
                continue
            positions.append(sequence * length + position)
            if w[1] < threshold(shares[0]):
                masked_ids[sequence][position] = mask_id
            elif w[1] < threshold(shares[0] + shares[1]):
                masked_ids[sequence][position] = replacements[(w[2] * len(replacements)) >> 32]

    exchanged: list[int] = []
    if links is not None and exchange_capacity != 0:
        exchanged = [row for row, position in enumerate(positions) if links[position]]
        if exchange_capacity is not None and len(exchanged) > exchange_capacity:
            overflow = True
            exchanged = exchanged[:exchange_capacity]

    size = len(draws) * length
    row_of = [UNUSED] * size
    for row, position in enumerate(positions):
        row_of[position] = row
    exchanged_of = [UNUSED] * size
    for exchanged_row, row in enumerate(exchanged):
        exchanged_of[positions[row]] = exchanged_row

    return MaskedRows(
        input_ids=masked_ids,
        positions=_filled(positions, capacity, UNUSED),
        labels=_filled([input_ids[p // length][p % length] for p in positions], capacity, IGNORED),
        row_of=row_of,
        exchanged=_filled(exchanged, exchange_capacity, UNUSED),
        exchanged_of=exchanged_of,
        count=len(positions),
        exchanged_count=len(exchanged),
        overflow=overflow,
    )


def _filled(values: list[int], capacity: int | None, unused: int) -> list[int]:
    return values + [unused] * ((capacity or 0) - len(values))
