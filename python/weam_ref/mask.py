"""Alignment-aware masking: which tokens are predicted, and where their rows lie in the buffers."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from weam_ref import philox
from weam_ref.philox import MASKING, threshold

UNUSED = -1
IGNORED = -100

SPAN_LENGTHS = [Fraction(1, 5) * Fraction(4, 5) ** more for more in range(10)]
"""P(a span has 1, 2, .. 10 words), before renormalisation: SpanBERT's (Joshi et al. 2020)."""
LONGER = [sum(SPAN_LENGTHS[k:], Fraction(0)) / sum(SPAN_LENGTHS) for k in range(10)]
"""P(a span has more than 0, 1, .. 9 words)."""


@dataclass(frozen=True)
class MaskedRows:
    """`weam_ext.ops.mask.MaskedRows` as lists: the fields have the same names and meanings."""

    input_ids: list[list[int]]
    positions: list[int]
    labels: list[int]
    row_of: list[int]
    exchanged: list[int]
    exchanged_of: list[int]
    count: int
    exchanged_count: int
    overflow: int


def mask_tokens(
    input_ids: Sequence[Sequence[int]],
    words: Sequence[Sequence[int]],
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
    policy: str = "independent",
    unit: str = "token",
    exact: bool = False,
) -> MaskedRows:
    """Choose and mask tokens; the random words are those of `philox.words`.

    `links[a]` lists the flattened positions linked to flattened position a. A capacity of None is
    as many rows as there are; with an `exchange_capacity` of 0, or without links, no row is
    exchanged. What the policies and units are: `weam_ext.ops.mask`.
    """
    length = len(input_ids[0])
    masked_ids = [list(ids) for ids in input_ids]
    positions: list[int] = []
    overflow = 0
    for sequence, draw in enumerate(draws):
        start = sequence * length
        units = {
            start + position: position if unit == "token" else word
            for position, word in enumerate(words[sequence])
            if word >= 0
        }
        priorities = {u: priority(seed, draw, u, spans=unit == "span") for u in units.values()}
        chosen = choose(priorities, probability, spans=unit == "span", exact=exact)
        if policy == "exclusive":
            assert links is not None
            chosen -= losers(chosen, priorities, units, links)
        for place, number in units.items():
            if number not in chosen:
                continue
            if len(positions) == capacity:
                overflow += 1
                continue
            positions.append(place)
            _, kind, which, _ = philox.words(seed, draw, place - start, MASKING)
            if kind < threshold(shares[0]):
                masked_ids[sequence][place - start] = mask_id
            elif kind < threshold(shares[0] + shares[1]):
                random = replacements[(which * len(replacements)) >> 32]
                masked_ids[sequence][place - start] = random

    exchanged: list[int] = []
    if links is not None and exchange_capacity != 0:
        exchanged = [row for row, position in enumerate(positions) if links[position]]
        if exchange_capacity is not None and len(exchanged) > exchange_capacity:
            overflow += len(exchanged) - exchange_capacity
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


def priority(seed: int, draw: int, unit: int, *, spans: bool) -> int:
    """The number of a token, word or span; the lower, the sooner it is masked.

    A word is masked as soon as one of the spans that cover it: span e ends at word e.
    """
    if not spans:
        return philox.words(seed, draw, unit, MASKING)[0]
    covering = []
    for reach, longer in enumerate(LONGER):
        choice, _, _, length = philox.words(seed, draw, unit + reach, MASKING)
        if length < threshold(longer):
            covering.append(choice)
    return min(covering)


def span_probability(probability: float) -> float:
    """q such that spans chosen with q cover a word with `probability`."""
    low, high = 0.0, 1.0
    for _ in range(64):
        middle = (low + high) / 2
        uncovered = 1.0
        for longer in LONGER:
            uncovered *= 1 - middle * float(longer)
        if uncovered > 1 - probability:
            low = middle
        else:
            high = middle
    return high


def choose(priorities: dict[int, int], probability: float, *, spans: bool, exact: bool) -> set[int]:
    """The units of a sequence that are chosen: a fixed number of them, or those below a limit."""
    if exact:
        number = (len(priorities) * threshold(probability) + (1 << 31)) >> 32
        return set(sorted(priorities, key=lambda unit: (priorities[unit], unit))[:number])
    limit = threshold(span_probability(probability) if spans else probability)
    return {unit for unit, value in priorities.items() if value < limit}


def losers(
    chosen: set[int],
    priorities: dict[int, int],
    units: dict[int, int],
    links: Sequence[Sequence[int]],
) -> set[int]:
    """The chosen units linked to a chosen one that has a lower number, or the same."""
    return {
        own
        for place, own in units.items()
        for partner in (units.get(other, -1) for other in links[place])
        if own in chosen and partner in chosen and priorities[partner] <= priorities[own]
    }


def _filled(values: list[int], capacity: int | None, unused: int) -> list[int]:
    return values + [unused] * ((capacity or 0) - len(values))
