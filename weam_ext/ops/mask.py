"""Alignment-aware masking: which tokens are predicted, and where their rows lie in the buffers.

What is chosen is a unit u of a sequence: a token, by its position, or a word, by its number. Philox
gives each (choice, kind, which, length), and a unit is chosen for the number

    priority(u) = choice(u)                                             tokens and words
    priority(u) = min of choice(u + d) over d with length(u + d) > d    spans

where span e covers the `length(e)` words that end at word e: 1 to 10 of them, geometric with 0.2
and renormalised, 3.8 in the mean (SpanBERT, Joshi et al. 2020), on from one sentence of a pair into
the other. Chosen are the units whose priority lies below a limit that gives each the asked
probability, or, with an exact rate, the units with the lowest: round(n * probability) of the n
units of each sequence; for spans these are the spans in the order of their numbers, the last one
cut.

The policy "independent" masks what is chosen (the paper's). "exclusive" never masks both ends of a
link: a chosen unit stays only if its priority is below that of every chosen unit linked to it, so
that a predicted token can always be read off its translation. A unit linked to d others, all
independent, stays when it comes first of d + 1 at x < p, which has the probability

    integral of (1 - x)^d over [0, p] = (1 - (1 - p)^(d + 1)) / (d + 1)

0.255 for p = 0.3 and d = 1. Equal priorities (one span over both ends; else 2^-32) lose both.

Everything stays on the tensors' device and has a shape known to the host, so a step never waits.
The operator of torch's is weam::mask_tokens: three Triton launches on a GPU, else the torch
operations below.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from weam_ext.common.errors import InputError
from weam_ext.common.registry import Registry
from weam_ext.ops.constants import IGNORED, LONGER, MASKING, NO_KEY, POLICIES, UNITS, UNUSED
from weam_ext.ops.philox import philox_words, threshold
from weam_ext.ops.token_links import Links
from weam_ext.ops.triton import launcher

_DEVIATIONS = 4


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
    """0-dim int64: tokens that the capacities left out. Some were chosen and yet are not masked;
    the others are masked and linked, and yet predicted as if they had no link."""


def capacity(
    candidates: int,
    probability: float,
    *,
    unit: str = "token",
    squares: int = 0,
    rounding: float = 0.0,
) -> int:
    """Rows to hold for `candidates` tokens each chosen with `probability`, on the host; at least 1.

    Mean plus 4 standard deviations of their number: some 3 batches in 100,000 have more. What is
    then left out is the end of the batch, so rarely that no loss shows it, and it is counted.
    `squares`, for words and spans, is the sum over the words of the squared number of candidates
    in each; `rounding`, for exact rates, the tokens that round(n * probability) may add.
    """
    variance = (candidates if unit == "token" else squares) * probability * (1 - probability)
    if unit == "span":
        variance *= _span_spread(probability)
    rows = math.ceil(candidates * probability + rounding + _DEVIATIONS * math.sqrt(variance))
    return max(1, min(candidates, rows))


@cache
def span_probability(probability: float) -> float:
    """q such that spans chosen with q cover each word with `probability`.

    Solves 1 - prod_d (1 - q P(length > d)) = probability by bisection.
    """
    low, high = 0.0, 1.0
    for _ in range(64):
        middle = (low + high) / 2
        if math.prod(1 - middle * longer for longer in LONGER) > 1 - probability:
            low = middle
        else:
            high = middle
    return high


def _span_spread(probability: float) -> float:
    """Variance of the number of masked words over that of independent ones: 1 + 2 sum_d rho_d.

    rho_d is the correlation of two words d apart. Neither is masked when none of the spans that
    cover the second is chosen (1 - p), and none of the d spans before them that cover the first.
    """
    apart = probability * (1 - probability)
    if apart == 0:
        return 1.0
    q = span_probability(probability)
    neither = 1 - probability
    spread = 1.0
    for longer in LONGER[:-1]:
        neither *= 1 - q * longer
        spread += 2 * (neither - (1 - probability) ** 2) / apart
    return spread


def mask_tokens(
    input_ids: Tensor,
    words: Tensor,
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
    policy: str = "independent",
    unit: str = "token",
    exact: bool = False,
) -> MaskedRows:
    """Choose each ordinary token with `probability` and mask it (BERT's way, Devlin et al. 2019).

    Of the chosen, `shares` become the mask token, become one of `replacements`, or stay. The
    outcome of a token depends on `seed`, on its sample's draw, on its position and its word in the
    sequence and, where the rate is exact or the policy exclusive, on the rest of the sequence: not
    on the batch, its order or its padding, unless a capacity is too small for what is chosen.

    Args:
        input_ids: [B, L] int64.
        words: [B, L] int64, the number of each token's word, -1 on special tokens and padding. The
            tokens of a word are adjacent; numbers do not decrease along a sequence.
        draws: [B] int64, the ordinal of each sample in the run.
        links: the token links of the batch, none of which leaves its sequence; None needs an
            `exchange_capacity` of 0 and the independent policy.
        replacements: [K] int64, the ids a random token is drawn from.
        capacity: R. Tokens chosen beyond it stay as they were, are not predicted, and are counted
            in `overflow`.
        exchange_capacity: X. Masked tokens with a link beyond it are predicted as if they had
            none, and are counted in `overflow`. 0 exchanges nothing and is never too small.
        policy: one of `POLICIES`; "exclusive" drops whole units, and so masks fewer (above).
        unit: one of `UNITS`; "span" chooses whole words, too.
        exact: the same share of the units of every sequence, rounded to a whole unit.

    Raises:
        InputError: a probability or share outside [0, 1], shares that do not add up to 1, an
            unknown policy or unit, shapes that do not fit, no replacements, or exchanged rows or
            exclusive masks without links.
    """
    _check(input_ids, words, draws, links, probability, shares, replacements, policy, unit)
    if links is None and (exchange_capacity > 0 or policy == "exclusive"):
        raise InputError("exchanged rows and exclusive masks need the links of the batch")
    if exchange_capacity == 0 and policy == "independent":
        links = None
    spread_out = unit == "span" and not exact
    outputs: _Outputs = _mask_op(
        input_ids,
        words,
        draws,
        *(links[:2] if links else (None, None)),
        replacements,
        (seed + 2**63) % 2**64 - 2**63,  # the same 64 bits as a signed number
        threshold(span_probability(probability) if spread_out else probability),
        threshold(shares[0]),
        threshold(shares[0] + shares[1]),
        mask_id,
        capacity,
        exchange_capacity,
        policy,
        unit,
        exact,
    )
    return MaskedRows(*outputs)


MASKING_POLICIES: Registry[Callable[..., MaskedRows]] = Registry("masking_policies")
"""What takes the arguments of `mask_tokens` but `policy`, and returns the masked rows."""
for _name in POLICIES:
    MASKING_POLICIES.add(_name)(partial(mask_tokens, policy=_name))


def take(values: Tensor, indices: Tensor, unused: int) -> Tensor:
    """values[indices] along the first dimension, `unused` where the index is negative."""
    absent = (indices < 0).view(-1, *[1] * (values.dim() - 1))
    return values.index_select(0, indices.clamp(min=0)).masked_fill(absent, unused)


_Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _mask(
    input_ids: Tensor,
    words: Tensor,
    draws: Tensor,
    offsets: Tensor | None,
    linked: Tensor | None,
    replacements: Tensor,
    seed: int,
    limit: int,
    mask_below: int,
    random_below: int,
    mask_id: int,
    capacity: int,
    exchange_capacity: int,
    policy: str,
    unit: str,
    exact: bool,
) -> _Outputs:
    """The fields of `MaskedRows`; `limit` and the two bounds are thresholds of 32-bit words."""
    keys = _keys(words, draws, seed, unit)
    below = _exact_limits(keys, limit) if exact else min(limit << 31, NO_KEY)
    chosen = (keys < below).reshape(-1)
    if policy == "exclusive" and offsets is not None and linked is not None:
        chosen = chosen & ~_beaten(keys, chosen, offsets, linked)
    positions, row_of = number_rows(chosen, capacity)
    masked = row_of >= 0

    exchangeable = torch.zeros_like(masked)
    if offsets is not None and exchange_capacity > 0:
        exchangeable = masked & (offsets.diff() > 0)
    exchanged_positions, exchanged_of = number_rows(exchangeable, exchange_capacity)

    place = torch.arange(input_ids.shape[1], device=input_ids.device)
    _, kind, which, _ = philox_words(seed, draws[:, None], place, MASKING)
    random = replacements[(which * replacements.numel()) >> 32]
    changed = torch.where(kind < random_below, random, input_ids)
    changed = changed.masked_fill(kind < mask_below, mask_id)

    count = masked.sum()
    exchanged_count = (exchanged_of >= 0).sum()
    return (
        torch.where(masked.view_as(input_ids), changed, input_ids),
        positions,
        take(input_ids.reshape(-1), positions, IGNORED),
        row_of,
        take(row_of, exchanged_positions, UNUSED),
        exchanged_of,
        count,
        exchanged_count,
        (chosen.sum() - count) + (exchangeable.sum() - exchanged_count),
    )


def _keys(words: Tensor, draws: Tensor, seed: int, unit: str) -> Tensor:
    """Priority and number of each token's unit in one integer [B, L], so that no two are equal."""
    place = torch.arange(words.shape[1], device=words.device)
    units = place.expand_as(words) if unit == "token" else words
    priority, *_ = philox_words(seed, draws[:, None], units, MASKING)
    if unit == "span":
        for d in range(1, len(LONGER)):
            choice, _, _, length = philox_words(seed, draws[:, None], units + d, MASKING)
            covers = length < threshold(LONGER[d])
            priority = torch.where(covers, torch.minimum(priority, choice), priority)
    return (priority << 31 | units).masked_fill(words < 0, NO_KEY)


def _exact_limits(keys: Tensor, limit: int) -> Tensor:
    """The key [B, 1] of the first unit of each sequence that is not chosen."""
    ordered = keys.masked_fill(~_heads(keys), NO_KEY).sort(dim=1).values
    units = (ordered < NO_KEY).sum(dim=1, keepdim=True)
    number = (units * limit + (1 << 31)) >> 32
    # Not F.pad: its value is a double, which has no such number.
    beyond = torch.full_like(ordered[:, :1], NO_KEY)
    return torch.cat([ordered, beyond], dim=1).gather(1, number)


def _beaten(keys: Tensor, chosen: Tensor, offsets: Tensor, linked: Tensor) -> Tensor:
    """The positions [N] whose unit is linked to a chosen one with its priority or a lower one."""
    priority = keys.reshape(-1) >> 31
    entries = torch.arange(linked.numel(), device=linked.device)
    # What lies beyond the last offset belongs to no position and is counted for none.
    owners = torch.searchsorted(offsets, entries, right=True).clamp(max=priority.numel()) - 1
    beats = chosen[linked] & (priority[linked] <= priority[owners])
    before = F.pad(beats.cumsum(0), (1, 0))
    first, last = _ends(keys)
    return before[offsets[last + 1]] > before[offsets[first]]


def _heads(keys: Tensor) -> Tensor:
    """Whether a token is the first of its unit [B, L]."""
    return F.pad(keys[:, 1:] != keys[:, :-1], (1, 0), value=True)


def _ends(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The flattened positions of the first and the last token of each token's unit, each [N]."""
    place = torch.arange(keys.numel(), device=keys.device).view_as(keys)
    heads = _heads(keys)
    tails = F.pad(heads[:, 1:], (0, 1), value=True)
    first = place.masked_fill(~heads, 0).cummax(dim=1).values
    last = place.masked_fill(~tails, keys.numel()).flip(1).cummin(dim=1).values.flip(1)
    return first.reshape(-1), last.reshape(-1)


def number_rows(chosen: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """Number the chosen positions: position of each row [capacity], row of each position [N]."""
    ranks = chosen.cumsum(0)
    slots = torch.arange(1, capacity + 1, device=chosen.device)
    # A search for each rank needs no scatter: its shape is static and every slot is written once.
    found = torch.searchsorted(ranks, slots)
    positions = found.masked_fill(found == chosen.numel(), UNUSED)
    return positions, torch.where(chosen & (ranks <= capacity), ranks - 1, UNUSED)


def _check(
    input_ids: Tensor,
    words: Tensor,
    draws: Tensor,
    links: Links | None,
    probability: float,
    shares: tuple[float, float, float],
    replacements: Tensor,
    policy: str,
    unit: str,
) -> None:
    if not 0 <= probability <= 1:
        raise InputError(f"the masking probability must lie in [0, 1], not be {probability}")
    check_shares(shares)
    if policy not in POLICIES:
        raise InputError(f"unknown masking policy {policy!r}; there are {', '.join(POLICIES)}")
    if unit not in UNITS:
        raise InputError(f"unknown masking unit {unit!r}; there are {', '.join(UNITS)}")
    if replacements.numel() == 0:
        raise InputError("there is no token to replace a masked one with: the table is empty")
    if input_ids.numel() == 0:
        raise InputError("an empty batch: there is no token to mask")
    # The kernels would read beyond the end of what is too short, or across what is narrower.
    given = (input_ids, words, draws, replacements, *(links[:2] if links else ()))
    if any(tensor.dtype != torch.int64 for tensor in given):
        raise InputError("ids, words, draws, links and replacements must be int64")
    fits = words.shape == input_ids.shape and draws.shape == input_ids.shape[:1]
    if not fits or (links is not None and links.offsets.numel() != input_ids.numel() + 1):
        raise InputError("the words, draws or links are not those of input_ids: another shape")


def check_shares(shares: Sequence[float]) -> None:
    """`InputError` unless these are the shares of masked, random and kept tokens."""
    if len(shares) != 3 or min(shares) < 0 or not math.isclose(sum(shares), 1):
        raise InputError(f"the shares (mask, random, keep) must add up to 1, not be {shares}")


# ---------------------------------------------------------------------------------- operators

_mask_op = torch.library.custom_op("weam::mask_tokens", _mask, mutates_args=())


@_mask_op.register_kernel("cuda")
def _(*arguments: Any) -> _Outputs:
    outputs: _Outputs = launcher("mask", "mask_tokens", _mask)(*arguments)
    return outputs


@_mask_op.register_fake
def _(input_ids: Tensor, *others: Any) -> tuple[Tensor, ...]:
    capacity, exchange_capacity = others[10:12]
    size = input_ids.numel()
    shapes = (
        input_ids.shape, (capacity,), (capacity,), (size,), (exchange_capacity,), (size,),
        (), (), (),
    )  # fmt: skip
    return tuple(input_ids.new_empty(shape) for shape in shapes)
