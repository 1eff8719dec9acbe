"""Alignment-aware masking in three launches: keys, select, number.

What is chosen, and why: `weam_ext.ops.mask`. Between launches lie the two things that a program
cannot know alone: the keys of linked tokens, and the masked tokens of the sequences before its own.
Every element is written by one program: no atomics, the same bits every time.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from weam_ext.ops.constants import IGNORED, LONGER, MASKING, NO_KEY, UNUSED
from weam_ext.ops.philox import threshold

_NO_KEY = tl.constexpr(NO_KEY)
_UNUSED = tl.constexpr(UNUSED)
_IGNORED = tl.constexpr(IGNORED)
_MASKING = tl.constexpr(MASKING)
_LONGEST = tl.constexpr(len(LONGER))
_COVERS = tl.constexpr(tuple(threshold(longer) for longer in LONGER))
# Tokens a program has in hand. With 1024 in 8 or 16 warps ptxas spills: 16 to 48 bytes on sm_90.
_WIDTH = 512
# Of a thread at most. Where ptxas chooses itself it rounds down to 56 or 64 for a few lengths, and
# spills one register on sm_90 to keep there; 128 are never used up, and hold back no program.
_REGISTERS = 128


@triton.jit
def _philox(seed, draw, units):
    """`weam_ext.ops.philox.philox_words` of the masking stream."""
    zeros = (units * 0).to(tl.uint32)
    low, high = zeros + draw.to(tl.uint32), zeros + (draw >> 32).to(tl.uint32)
    choice, kind, which, length = tl.philox(seed, low, high, units.to(tl.uint32), zeros + _MASKING)
    return choice.to(tl.int64), kind.to(tl.int64), which.to(tl.int64), length.to(tl.int64)


@triton.jit(do_not_specialize=["seed"])
def _write_keys(
    words, draws, keys, seed, length, UNIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The key of each token's unit: its priority, then its number."""
    sequence = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < length
    word = tl.load(words + sequence * length + place, inside, -1)
    units = place.to(tl.int64) if UNIT == "token" else word
    draw = tl.load(draws + sequence)
    priority, _, _, _ = _philox(seed, draw, units)
    if UNIT == "span":
        for d in tl.static_range(1, _LONGEST):
            choice, _, _, reach = _philox(seed, draw, units + d)
            priority = tl.where(reach < _COVERS[d], tl.minimum(priority, choice), priority)
    key = tl.where(word >= 0, (priority << 31) | units, _NO_KEY)
    tl.store(keys + sequence * length + place, key, inside)


@triton.jit
def _units_below(keys, length, limit, BLOCK: tl.constexpr):
    """The units of a sequence whose key is below the limit, each counted at its first token."""
    count = tl.zeros([BLOCK], tl.int32)
    start = 0
    while start < length:
        place = start + tl.arange(0, BLOCK)
        key = tl.load(keys + place, place < length, _NO_KEY)
        before = tl.load(keys + place - 1, (place > 0) & (place < length), _NO_KEY)
        count += ((key < limit) & (key != before)).to(tl.int32)
        start += BLOCK
    return tl.sum(count, 0).to(tl.int64)


@triton.jit
def _exact_limit(keys, length, share, BLOCK: tl.constexpr):
    """A limit with round(n * share) of the n units of a sequence below it, bit by bit."""
    units = _units_below(keys, length, _NO_KEY, BLOCK)
    number = (units * share + (1 << 31)) >> 32
    limit = units * 0
    below = limit
    bit = limit + (1 << 62)
    # About log2(n) bits tell the numbers of n units apart; then no further one is needed.
    while (bit > 0) & (below < number):
        reached = _units_below(keys, length, limit + bit, BLOCK)
        if reached <= number:
            limit += bit
            below = reached
        bit = bit >> 1
    return limit


@triton.jit
def _beaten(
    keys, offsets, linked, first_key, place, length, key, limit, chosen, UNIT: tl.constexpr
):
    """Whether the unit of a chosen token is linked to a chosen one of no higher priority."""
    first, last = place, place
    if UNIT != "token":
        going = chosen
        while tl.max(going.to(tl.int32), 0) > 0:
            going &= tl.load(keys + first - 1, going & (first > 0), _NO_KEY) == key
            first -= going.to(tl.int32)
        going = chosen
        while tl.max(going.to(tl.int32), 0) > 0:
            going &= tl.load(keys + last + 1, going & (last + 1 < length), _NO_KEY) == key
            last += going.to(tl.int32)
    at = tl.load(offsets + first, chosen, 0)
    end = tl.load(offsets + last + 1, chosen, 0)
    looking = at < end
    beaten = chosen & False
    while tl.max(looking.to(tl.int32), 0) > 0:
        other = tl.load(first_key + tl.load(linked + at, looking, 0), looking, _NO_KEY)
        beaten |= looking & (other < limit) & ((other >> 31) <= (key >> 31))
        at += 1
        looking = (at < end) & (beaten == 0)
    return beaten


@triton.jit(do_not_specialize=["seed", "mask_id", "limit"])
def _select(
    input_ids, draws, offsets, linked, replacements, keys, masked_ids, row_of, exchanged_of, counts,
    seed, limit, mask_below, random_below, mask_id, choices, length,
    EXCLUSIVE: tl.constexpr, UNIT: tl.constexpr, EXACT: tl.constexpr, EXCHANGE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The masked tokens of a sequence, its ids after masking, and each row's number within it."""
    sequence = tl.program_id(0).to(tl.int64)
    begin = sequence * length
    draw = tl.load(draws + sequence)
    if EXACT:
        limit = _exact_limit(keys + begin, length, limit, BLOCK)
    count = tl.zeros([], tl.int32)
    exchanged_count = tl.zeros([], tl.int32)
    start = 0
    while start < length:
        place = start + tl.arange(0, BLOCK)
        inside = place < length
        key = tl.load(keys + begin + place, inside, _NO_KEY)
        masked = key < limit
        if EXCLUSIVE:
            masked &= ~_beaten(
                keys + begin, offsets + begin, linked, keys, place, length, key, limit, masked, UNIT
            )
        rank = count + tl.cumsum(masked.to(tl.int32), 0) - 1
        tl.store(row_of + begin + place, tl.where(masked, rank, _UNUSED).to(tl.int64), inside)
        count += tl.sum(masked.to(tl.int32), 0)
        exchanged_rank = tl.full([BLOCK], _UNUSED, tl.int32)
        if EXCHANGE:
            here = tl.load(offsets + begin + place, inside, 0)
            following = tl.load(offsets + begin + place + 1, inside, 0)
            exchanged = masked & (following > here)
            ranks = exchanged_count + tl.cumsum(exchanged.to(tl.int32), 0) - 1
            exchanged_rank = tl.where(exchanged, ranks, _UNUSED)
            exchanged_count += tl.sum(exchanged.to(tl.int32), 0)
        tl.store(exchanged_of + begin + place, exchanged_rank.to(tl.int64), inside)

        token = tl.load(input_ids + begin + place, inside, 0)
        _, kind, which, _ = _philox(seed, draw, place.to(tl.int64))
        random = masked & (kind >= mask_below) & (kind < random_below)
        token = tl.where(masked & (kind < mask_below), mask_id, token)
        token = tl.where(
            random, tl.load(replacements + ((which * choices) >> 32), random, 0), token
        )
        tl.store(masked_ids + begin + place, token, inside)
        start += BLOCK
    tl.store(counts + 2 * sequence, count.to(tl.int64))
    tl.store(counts + 2 * sequence + 1, exchanged_count.to(tl.int64))


@triton.jit
def _sum_of_counts(counts, which, end, WIDTH: tl.constexpr):
    """The masked (0) or exchanged (1) tokens of the sequences before `end`."""
    total = tl.zeros([WIDTH], tl.int64)
    start = end * 0
    while start < end:
        sequence = start + tl.arange(0, WIDTH)
        total += tl.load(counts + 2 * sequence + which, sequence < end, 0)
        start += WIDTH
    return tl.sum(total, 0)


@triton.jit
def _fill(values, begin, end, value, WIDTH: tl.constexpr):
    while begin < end:
        slot = begin + tl.arange(0, WIDTH)
        tl.store(values + slot, tl.full([WIDTH], value, tl.int64), slot < end)
        begin += WIDTH


@triton.jit(do_not_specialize=["capacity", "exchange_capacity"])  # another for every batch
def _number(
    input_ids, masked_ids, row_of, exchanged_of, counts, positions, labels, exchanged,
    count, exchanged_count, overflow, length, capacity, exchange_capacity,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Ranks in a sequence into rows of the batch; what lies beyond the capacities is restored."""
    sequence = tl.program_id(0).to(tl.int64)
    sequences = tl.num_programs(0).to(tl.int64)
    begin = sequence * length
    first = _sum_of_counts(counts, 0, sequence, WIDTH)
    first_exchanged = _sum_of_counts(counts, 1, sequence, WIDTH)
    total = _sum_of_counts(counts, 0, sequences, WIDTH)
    exchanged_here = tl.zeros([BLOCK], tl.int64)
    start = 0
    while start < length:
        place = start + tl.arange(0, BLOCK)
        at = begin + place
        inside = place < length
        rank = tl.load(row_of + at, inside, _UNUSED)
        row = first + rank
        chosen = rank >= 0
        used = chosen & (row < capacity)
        token = tl.load(input_ids + at, chosen, 0)
        tl.store(positions + row, at, used)
        tl.store(labels + row, token, used)
        tl.store(row_of + at, tl.where(used, row, _UNUSED), inside)
        tl.store(masked_ids + at, token, chosen & (row >= capacity))

        rank = tl.load(exchanged_of + at, inside, _UNUSED)
        exchanged_row = first_exchanged + rank
        candidate = used & (rank >= 0)
        kept = candidate & (exchanged_row < exchange_capacity)
        tl.store(exchanged + exchanged_row, row, kept)
        tl.store(exchanged_of + at, tl.where(kept, exchanged_row, _UNUSED), inside)
        exchanged_here += candidate.to(tl.int64)
        start += BLOCK

    # The program of the last used row knows how many are exchanged, and fills what is left.
    rows = tl.minimum(total, capacity)
    end = first + tl.load(counts + 2 * sequence)
    if ((first < rows) | (sequence == 0)) & (end >= rows):
        candidates = first_exchanged + tl.sum(exchanged_here, 0)
        exchanged_rows = tl.minimum(candidates, exchange_capacity)
        tl.store(count, rows)
        tl.store(exchanged_count, exchanged_rows)
        tl.store(overflow, total - rows + candidates - exchanged_rows)
        _fill(positions, rows, capacity, _UNUSED, WIDTH)
        _fill(labels, rows, capacity, _IGNORED, WIDTH)
        _fill(exchanged, exchanged_rows, exchange_capacity, _UNUSED, WIDTH)


def mask_tokens(
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
) -> tuple[Tensor, ...]:
    """Launch the three kernels: the fields of `weam_ext.ops.mask.MaskedRows`."""
    input_ids, words, draws = input_ids.contiguous(), words.contiguous(), draws.contiguous()
    if offsets is not None and linked is not None:
        offsets, linked = offsets.contiguous(), linked.contiguous()
    sequences, length = input_ids.shape
    size = input_ids.numel()
    shapes = (size,), (2 * sequences,), (capacity,), (capacity,), (size,), (exchange_capacity,)
    keys, counts, positions, labels, row_of, exchanged = map(input_ids.new_empty, shapes)
    exchanged_of, masked_ids = torch.empty_like(row_of), torch.empty_like(input_ids)
    count, exchanged_count, overflow = (input_ids.new_empty(()) for _ in range(3))
    block = min(triton.next_power_of_2(length), _WIDTH)
    launch = {"BLOCK": block, "num_warps": max(1, block // 128), "maxnreg": _REGISTERS}

    _write_keys[(sequences, triton.cdiv(length, block))](
        words, draws, keys, seed, length, UNIT=unit, **launch
    )
    _select[(sequences,)](
        input_ids, draws, offsets, linked, replacements.contiguous(), keys, masked_ids, row_of,
        exchanged_of, counts, seed, limit if exact else min(limit << 31, NO_KEY), mask_below,
        random_below, mask_id, replacements.numel(), length,
        EXCLUSIVE=policy == "exclusive", UNIT=unit, EXACT=exact,
        EXCHANGE=exchange_capacity > 0, **launch,
    )  # fmt: skip
    _number[(sequences,)](
        input_ids, masked_ids, row_of, exchanged_of, counts, positions, labels, exchanged, count,
        exchanged_count, overflow, length, capacity, exchange_capacity, WIDTH=_WIDTH, **launch,
    )  # fmt: skip
    return (
        masked_ids, positions, labels, row_of, exchanged, exchanged_of, count, exchanged_count,
        overflow,
    )  # fmt: skip
