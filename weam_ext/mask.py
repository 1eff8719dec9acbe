"""Alignment-aware masking: which tokens are predicted, and where their rows lie in the buffers.

Everything stays on the tensors' device and has a shape known to the host, so a step never waits.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from weam_ext.errors import InputError

UNUSED = -1
IGNORED = -100
MASKING = 0
"""The stream of the masking numbers: the last word of the Philox counter."""

Words = tuple[Tensor, Tensor, Tensor, Tensor]

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


class Links(NamedTuple):
    """The token links of a batch: a symmetric sparse matrix over its N = B * L flattened positions.

    `offsets` [N + 1] int64 and `positions` [nnz] int64: the positions linked to a are
    positions[offsets[a] : offsets[a + 1]], ascending, and if they hold b then those of b hold a.
    `positions` may be longer than offsets[N]; what lies beyond is not used, but must be valid.
    """

    offsets: Tensor
    positions: Tensor


@dataclass(frozen=True)
class MaskedRows:
    """The masked batch, its R masked rows and its X exchanged rows (capacities, not counts)."""

    input_ids: Tensor
    """[B, L] int64: the token ids after masking."""
    positions: Tensor
    """[R] int64: flattened position of each masked row, ascending; -1 where unused."""
    labels: Tensor
    """[R] int64: original token of each masked row; -100 where unused."""
    row_of: Tensor
    """[N] int64: masked row of each position, or -1."""
    exchanged: Tensor
    """[X] int64: masked row of each exchanged row (a masked token with a link); -1 where unused."""
    exchanged_of: Tensor
    """[N] int64: exchanged row of each position, or -1."""
    count: Tensor
    """0-dim int64: masked rows in use."""
    exchanged_count: Tensor
    """0-dim int64: exchanged rows in use."""
    overflow: Tensor
    """0-dim bool: more tokens were chosen, or more linked ones, than the capacities hold."""


def capacity(candidates: int, probability: float) -> int:
    """Rows to hold for `candidates` tokens each chosen with `probability`, on the host; at least 1.

    Mean plus 8 standard deviations of the binomial, so that an overflow means a bug, not bad luck.
    """
    deviation = math.sqrt(candidates * probability * (1 - probability))
    return max(1, min(candidates, math.ceil(candidates * probability + 8 * deviation)))


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10 (Salmon et al. 2011) on broadcastable int64 tensors that hold 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # The product of two 32-bit words wraps around int64: its bits are right, its sign is not.
        p0 = c0 * _MULTIPLIERS[0]
        p1 = c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = _high(p1) ^ c1 ^ k0, p1 & _LOW, _high(p0) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _KEY_STEPS[0]) & _LOW
        k1 = (k1 + _KEY_STEPS[1]) & _LOW
    return c0, c1, c2, c3


def philox_words(seed: int, draws: Tensor, positions: Tensor, stream: int) -> Words:
    """The four random words of each (draw, position), int64 tensors of their broadcast shape.

    `draws` int64: the sample's ordinal in the run; `positions` int64: within the sequence.
    """
    counter = (draws & _LOW, _high(draws), positions, positions.new_full((), stream))
    return philox4x32(counter, (seed & _LOW, (seed >> 32) & _LOW))


def threshold(probability: float) -> int:
    """The integer t with P(word < t) = `probability` for a uniform 32-bit word: floor(p * 2^32)."""
    return math.floor(probability * 2**32)


def mask_tokens(
    input_ids: Tensor,
    maskable: Tensor,
    draws: Tensor,
    links: Links | None,
    *,
    seed: int,
    probability: float,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    mask_id: int,
    replacements: Tensor,
    capacity: int,
    exchange_capacity: int,
) -> MaskedRows:
    """Choose each maskable token with `probability` and mask it (method.md, section 1).

    Of the chosen, `shares` become the mask token, become one of `replacements`, or stay. The
    outcome of a token depends on `seed`, its sample's draw and its position in the sequence only:
    not on the batch, its order or its padding.

    Args:
        input_ids: [B, L] int64.
        maskable: [B, L] bool, False on special tokens and padding.
        draws: [B] int64, the ordinal of each sample in the run.
        links: the token links of the batch; None needs an `exchange_capacity` of 0.
        replacements: [K] int64, the ids a random token is drawn from.
        capacity: R. Tokens chosen beyond it stay as they were, and `overflow` is set.
        exchange_capacity: X. Masked tokens with a link beyond it are predicted as if they had
            none, and `overflow` is set. 0 exchanges nothing and is never too small.

    Raises:
        InputError: a probability or share outside [0, 1], shares that do not add up to 1, no
            replacements, or exchanged rows without links.
    """
    _check(probability, shares, replacements, links, exchange_capacity)
    place = torch.arange(input_ids.shape[1], device=input_ids.device)
    choice, kind, which, _ = philox_words(seed, draws[:, None], place, MASKING)
    chosen = (maskable & (choice < threshold(probability))).reshape(-1)
    positions, row_of = _rows(chosen, capacity)
    masked = row_of >= 0

    exchangeable = torch.zeros_like(masked)
    if links is not None and exchange_capacity > 0:
        exchangeable = masked & (links.offsets.diff() > 0)
    exchanged_positions, exchanged_of = _rows(exchangeable, exchange_capacity)

    random = replacements[(which * replacements.numel()) >> 32]
    changed = torch.where(kind < threshold(shares[0] + shares[1]), random, input_ids)
    changed = changed.masked_fill(kind < threshold(shares[0]), mask_id)

    count = masked.sum()
    exchanged_count = (exchanged_of >= 0).sum()
    return MaskedRows(
        input_ids=torch.where(masked.view_as(input_ids), changed, input_ids),
        positions=positions,
        labels=take(input_ids.reshape(-1), positions, IGNORED),
        row_of=row_of,
        exchanged=take(row_of, exchanged_positions, UNUSED),
        exchanged_of=exchanged_of,
        count=count,
        exchanged_count=exchanged_count,
        overflow=(chosen.sum() > count) | (exchangeable.sum() > exchanged_count),
    )


def take(values: Tensor, indices: Tensor, unused: int) -> Tensor:
    """values[indices] along the first dimension, `unused` where the index is negative."""
    absent = (indices < 0).view(-1, *[1] * (values.dim() - 1))
    return values.index_select(0, indices.clamp(min=0)).masked_fill(absent, unused)


def _high(product: Tensor) -> Tensor:
    return (product >> 32) & _LOW


def _rows(chosen: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """Number the chosen positions: position of each row [capacity], row of each position [N]."""
    ranks = chosen.cumsum(0)
    slots = torch.arange(1, capacity + 1, device=chosen.device)
    # A search for each rank needs no scatter: its shape is static and every slot is written once.
    found = torch.searchsorted(ranks, slots)
    positions = found.masked_fill(found == chosen.numel(), UNUSED)
    return positions, torch.where(chosen & (ranks <= capacity), ranks - 1, UNUSED)


def _check(
    probability: float,
    shares: tuple[float, float, float],
    replacements: Tensor,
    links: Links | None,
    exchange_capacity: int,
) -> None:
    if not 0 <= probability <= 1:
        raise InputError(f"the masking probability must lie in [0, 1], not be {probability}")
    if min(shares) < 0 or not math.isclose(sum(shares), 1):
        raise InputError(f"the shares (mask, random, keep) must add up to 1, not be {shares}")
    if replacements.numel() == 0:
        raise InputError("there is no token to replace a masked one with: the table is empty")
    if links is None and exchange_capacity > 0:
        raise InputError("exchanged rows need the links of the batch")
