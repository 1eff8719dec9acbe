"""Masking: the random numbers, the choice of tokens, the rows."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_rows import (
    MASK_ID,
    ORACLE,
    REPLACEMENTS,
    SETTINGS,
    as_tensors,
    csr,
    each_implementation,
    each_other,
    random_batch,
)
from torch._subclasses.fake_tensor import FakeTensorMode

from weam_ext.errors import InputError
from weam_ext.mask import Links, capacity, mask_tokens

KNOWN_ANSWERS = {
    "zeros": "00000000 00000000 00000000 00000000 | 00000000 00000000"
    " | 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ones": "ffffffff ffffffff ffffffff ffffffff | ffffffff ffffffff"
    " | 408f276d 41c83b0e a20bc7c6 6d5451fd",
    "pi": "243f6a88 85a308d3 13198a2e 03707344 | a4093822 299f31d0"
    " | d16cfe09 94fdcceb 5001e420 24126ea1",
}
"""Random123's kat_vectors: counter | key | words."""


def known_answer(name: str) -> Iterator[tuple[int, ...]]:
    for words in KNOWN_ANSWERS[name].split("|"):
        yield tuple(int(word, 16) for word in words.split())


@each_implementation
@pytest.mark.parametrize("name", KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(implementation: Any, name: str) -> None:
    counter, key, answer = known_answer(name)
    assert implementation.philox4x32(counter, key) == answer


@each_implementation
@pytest.mark.parametrize("name", KNOWN_ANSWERS)
def test_words_put_seed_draw_position_and_stream_in_their_places(
    implementation: Any, name: str
) -> None:
    counter, key, answer = known_answer(name)
    draw = counter[0] | counter[1] << 32
    # Tensors hold the 64 bits of a draw as a signed number.
    signed = draw - 2**64 if draw >= 2**63 else draw
    words = implementation.words(key[0] | key[1] << 32, signed, counter[2], counter[3])
    assert words == answer


@each_other
@settings(max_examples=200, deadline=None)
@given(
    batch=st.builds(
        random_batch,
        st.integers(0, 2**32),
        st.integers(1, 4),
        st.integers(1, 12),
        density=st.sampled_from([0.0, 0.2, 1.0]),
        padding=st.sampled_from([0.0, 0.3, 1.0]),
    ),
    seed=st.integers(0, 2**64 - 1),
    probability=st.sampled_from([0.0, 0.15, 0.3, 0.9, 1.0]),
    shares=st.sampled_from([(0.8, 0.1, 0.1), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.3, 0.3, 0.4)]),
    capacities=st.tuples(st.integers(1, 50), st.integers(0, 50)),
)
def test_masks_are_those_of_the_reference(
    implementation: Any,
    batch: Any,
    seed: int,
    probability: float,
    shares: Any,
    capacities: tuple[int, int],
) -> None:
    chosen = SETTINGS | {
        "seed": seed,
        "probability": probability,
        "shares": shares,
        "capacity": capacities[0],
        "exchange_capacity": capacities[1],
    }
    assert implementation.mask_tokens(*batch, **chosen) == ORACLE.mask_tokens(*batch, **chosen)


@each_implementation
def test_a_mask_depends_on_the_sample_alone(implementation: Any) -> None:
    ids, words, draws, _ = random_batch(1, size=4, length=30)

    def masked(order: list[int], padding: int) -> list[list[int]]:
        return implementation.mask_tokens(
            [ids[i] + [0] * padding for i in order],
            [words[i] + [-1] * padding for i in order],
            [draws[i] for i in order],
            **SETTINGS,
        ).input_ids

    together = masked([0, 1, 2, 3], 0)
    assert together != ids
    assert masked([2, 0, 3, 1], 0) == [together[i] for i in (2, 0, 3, 1)]
    assert [masked([i], 0)[0] for i in range(4)] == together
    assert masked([0, 1, 2, 3], 17) == [row + [0] * 17 for row in together]
    assert masked([0, 0], 0) == [together[0]] * 2


@each_implementation
def test_seeds_and_draws_give_other_masks(implementation: Any) -> None:
    ids, words, _, _ = random_batch(2, size=1, length=200)
    seeds = [0, 1, 1 << 32]
    draws = [0, 1, 1 << 32]
    masks = {
        str(implementation.mask_tokens(ids, words, [draw], **(SETTINGS | {"seed": seed})))
        for seed in seeds
        for draw in draws
    }
    assert len(masks) == 9


@each_implementation
def test_rates_are_those_asked_for(implementation: Any) -> None:
    batch = random_batch(3, size=4, length=4000, density=0.0)
    # A token outside the replacements tells a random one from one that was kept.
    ids = [[1 if word >= 0 else 0 for word in row] for row in batch.words]
    masked = implementation.mask_tokens(ids, batch.words, batch.draws, **SETTINGS)
    flat = [token for row in masked.input_ids for token in row]
    after = [flat[position] for position in masked.positions[: masked.count]]
    replaced = [token for token in after if token not in (1, MASK_ID)]

    def assert_binomial(successes: int, trials: int, probability: float) -> None:
        deviation = math.sqrt(trials * probability * (1 - probability))
        assert abs(successes - trials * probability) < 4 * deviation

    assert_binomial(masked.count, batch.ordinary, 0.3)
    assert_binomial(after.count(MASK_ID), masked.count, 0.8)
    assert_binomial(after.count(1), masked.count, 0.1)
    assert_binomial(len(replaced), masked.count, 0.1)
    assert set(replaced) == set(REPLACEMENTS)
    for token in REPLACEMENTS:
        assert_binomial(replaced.count(token), len(replaced), 1 / len(REPLACEMENTS))


@each_implementation
def test_special_tokens_are_neither_masked_nor_drawn(implementation: Any) -> None:
    batch = random_batch(4, size=4, length=200, density=0.0, padding=0.5)
    everything = {"probability": 1.0, "shares": (0.0, 1.0, 0.0)}
    masked = implementation.mask_tokens(*batch, **(SETTINGS | everything))
    for ids, words, after in zip(batch.input_ids, batch.words, masked.input_ids, strict=True):
        for token, word, new in zip(ids, words, after, strict=True):
            assert new in REPLACEMENTS if word >= 0 else new == token
    assert masked.count == batch.ordinary


@each_implementation
def test_rows_list_the_masked_positions_in_order(implementation: Any) -> None:
    batch = random_batch(5, size=3, length=20, density=0.03)
    masked = implementation.mask_tokens(*batch, **SETTINGS, capacity=60, exchange_capacity=60)
    used = masked.positions[: masked.count]
    linked = [row for row, position in enumerate(used) if batch.links[position]]
    original = [token for row in batch.input_ids for token in row]
    after = [token for row in masked.input_ids for token in row]

    assert used == sorted(used)
    assert 0 < len(linked) < len(used)
    assert masked.positions[masked.count :] == [-1] * (60 - masked.count)
    assert masked.labels == [original[p] for p in used] + [-100] * (60 - masked.count)
    assert masked.row_of == [used.index(p) if p in used else -1 for p in range(60)]
    assert masked.exchanged == linked + [-1] * (60 - len(linked))
    assert masked.exchanged_count == len(linked)
    assert [masked.exchanged_of[used[row]] for row in linked] == list(range(len(linked)))
    assert sum(x >= 0 for x in masked.exchanged_of) == len(linked)
    assert all(after[p] == original[p] for p in range(60) if p not in used)
    assert not masked.overflow


@each_implementation
def test_tokens_beyond_the_capacity_stay(implementation: Any) -> None:
    batch = random_batch(6, size=2, length=30)
    full = implementation.mask_tokens(*batch, **SETTINGS, capacity=60)
    fits = implementation.mask_tokens(*batch, **SETTINGS, capacity=full.count)
    short = implementation.mask_tokens(*batch, **SETTINGS, capacity=full.count - 2)

    assert fits.input_ids == full.input_ids
    assert not fits.overflow
    assert short.overflow
    assert short.count == full.count - 2
    assert short.positions == full.positions[: full.count - 2]
    first_lost = full.positions[full.count - 2]
    flat = [[token for row in ids for token in row] for ids in (batch.input_ids, full.input_ids)]
    expected = flat[1][:first_lost] + flat[0][first_lost:]
    assert [token for row in short.input_ids for token in row] == expected
    assert max(short.row_of) == short.count - 1


@each_implementation
def test_exchanged_rows_beyond_the_capacity_are_dropped(implementation: Any) -> None:
    batch = random_batch(6, size=2, length=30)
    full = implementation.mask_tokens(*batch, **SETTINGS, capacity=60, exchange_capacity=60)
    short = implementation.mask_tokens(
        *batch, **SETTINGS, capacity=60, exchange_capacity=full.exchanged_count - 1
    )
    off = implementation.mask_tokens(*batch, **SETTINGS, capacity=60, exchange_capacity=0)

    assert not full.overflow
    assert short.overflow
    assert short.exchanged == full.exchanged[: full.exchanged_count - 1]
    assert (short.input_ids, short.row_of) == (full.input_ids, full.row_of)
    assert replace(off, exchanged=full.exchanged, exchanged_of=full.exchanged_of) == replace(
        full, exchanged_count=0
    )


@pytest.mark.parametrize("candidates", [1, 2, 7, 40, 300, 3000])
@pytest.mark.parametrize("probability", [0.15, 0.3])
def test_capacity_is_exceeded_by_bugs_only(candidates: int, probability: float) -> None:
    rows = capacity(candidates, probability)
    tail = 0.0
    for k in range(rows + 1, candidates + 1):
        log_ways = (
            math.lgamma(candidates + 1) - math.lgamma(k + 1) - math.lgamma(candidates - k + 1)
        )
        tail += math.exp(
            log_ways + k * math.log(probability) + (candidates - k) * math.log1p(-probability)
        )
    assert rows <= candidates
    assert tail < 1e-9


def test_capacity_of_nothing_is_one_row() -> None:
    assert capacity(0, 0.3) == capacity(5, 0.0) == 1
    assert capacity(100_000, 0.3) == 30_000 + math.ceil(8 * math.sqrt(21_000))


def test_masking_reads_nothing_back_to_the_host() -> None:
    """A fake tensor has no values: reading one, or a shape that depends on one, raises."""
    with FakeTensorMode():
        ids = torch.ones(2, 5, dtype=torch.int64)
        links = Links(torch.zeros(11, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
        settings = SETTINGS | {"replacements": ids[0], "capacity": 7, "exchange_capacity": 3}
        masked = mask_tokens(ids, ids, ids[:, 0], links, **settings)
    assert masked.positions.shape == (7,)
    assert masked.exchanged.shape == (3,)


def test_memory_layout_does_not_matter() -> None:
    batch = random_batch(7, size=4, length=8)
    ids, words = torch.tensor(batch.input_ids), torch.tensor(batch.words)
    settings = SETTINGS | {"replacements": torch.tensor(REPLACEMENTS)}
    settings |= {"capacity": 32, "exchange_capacity": 32}
    masked = mask_tokens(
        ids.T.contiguous().T,
        words.T.contiguous().T,
        torch.tensor(batch.draws),
        csr(batch.links),
        **settings,
    )
    expected = as_tensors(batch.masked(capacity=32, exchange_capacity=32))
    assert torch.equal(masked.input_ids, expected.input_ids)
    assert torch.equal(masked.positions, expected.positions)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"probability": 1.5}, "masking probability"),
        ({"shares": (0.8, 0.1, 0.2)}, "add up to 1"),
        ({"shares": (1.1, -0.1, 0.0)}, "add up to 1"),
        ({"replacements": torch.zeros(0, dtype=torch.int64)}, "table is empty"),
        ({"exchange_capacity": 3}, "need the links"),
    ],
)
def test_bad_settings_get_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    ids = torch.ones(1, 4, dtype=torch.int64)
    usual = SETTINGS | {"replacements": ids[0], "capacity": 4, "exchange_capacity": 0}
    with pytest.raises(InputError, match=sentence):
        mask_tokens(ids, ids, ids[:, 0], None, **(usual | wrong))
