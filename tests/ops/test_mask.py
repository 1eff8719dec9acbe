"""Masking: the random numbers, the choice of tokens, the rows."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import weam_ref.mask
import weam_ref.philox
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_rows import (
    MASK_ID,
    ORACLE,
    REPLACEMENTS,
    SETTINGS,
    VARIANTS,
    Batch,
    csr,
    each_implementation,
    each_other,
    each_variant,
    random_batch,
    variant_settings,
)
from torch._subclasses.fake_tensor import FakeTensorMode
from weam_ref.mask import MaskedRows

from weam_ext.common.errors import InputError
from weam_ext.ops.constants import LONGER, POLICIES, UNITS
from weam_ext.ops.mask import _mask, capacity, mask_tokens, span_probability
from weam_ext.ops.token_links import Links

VARIANT = st.fixed_dictionaries(
    {
        "policy": st.sampled_from(POLICIES),
        "unit": st.sampled_from(UNITS),
        "exact": st.booleans(),
        "seed": st.integers(0, 2**64 - 1),
        "probability": st.sampled_from([0.0, 1e-9, 0.15, 0.3, 0.9, 1.0]),
        "shares": st.sampled_from(
            [(0.8, 0.1, 0.1), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.3, 0.3, 0.4)]
        ),
        "capacity": st.integers(1, 50),
        "exchange_capacity": st.integers(0, 50),
    }
)


@each_other
def test_masks_are_those_of_the_reference(implementation: Any) -> None:
    @settings(max_examples=implementation.examples)
    @given(
        batch=st.builds(
            random_batch,
            st.integers(0, 2**32),
            st.integers(1, 4),
            st.integers(1, 14),
            density=st.sampled_from([0.0, 0.05, 0.2, 1.0]),
            padding=st.sampled_from([0.0, 0.3, 1.0]),
        ),
        variant=VARIANT,
    )
    def same(batch: Any, variant: dict[str, Any]) -> None:
        chosen = SETTINGS | variant
        assert implementation.mask_tokens(*batch, **chosen) == ORACLE.mask_tokens(*batch, **chosen)

    same()


def one_sequence(words: list[int], pairs: list[tuple[int, int]]) -> Batch:
    links: list[list[int]] = [[] for _ in words]
    for a, b in pairs:
        links[a].append(b)
        links[b].append(a)
    ids = [7 + word if word >= 0 else 0 for word in words]
    return Batch([ids], [words], [5], [sorted(linked) for linked in links])


LONG = 1100  # several chunks of a kernel, and words across their edges
UGLY = {
    "one token": (one_sequence([0], []), 1.0, 1),
    "one special token": (one_sequence([-1], []), 1.0, 1),
    "one word": (one_sequence([3] * 6, []), 1.0, 4),
    "a word linked to itself": (one_sequence([0, 0, 1], [(0, 1)]), 1.0, 3),
    "twice the same draw, one linked": (
        Batch([[7, 7]] * 2, [[0, 0]] * 2, [5, 5], [[1], [0], [], []]),
        1.0,
        4,
    ),
    "length 1": (random_batch(1, size=3, length=1, padding=0.3), 0.5, 3),
    "no links": (random_batch(2, size=2, density=0.0), 0.5, 20),
    "all linked": (random_batch(3, size=1, density=1.0, padding=0.0), 1.0, 3),
    "padding only": (random_batch(4, size=2, padding=1.0), 1.0, 3),
    "long": (
        one_sequence(
            [-1, *(k // 3 for k in range(LONG - 2)), -1], [(k, LONG - k) for k in range(2, 500, 2)]
        ),
        0.5,
        400,
    ),
}
"""Batch, probability, capacity."""


@each_other
@each_variant
def test_ugly_batches(implementation: Any, variant: Any) -> None:
    for name, (batch, probability, rows) in UGLY.items():
        chosen = variant_settings(variant) | {"probability": probability}
        chosen |= {"capacity": rows, "exchange_capacity": rows // 2}
        expected = ORACLE.mask_tokens(*batch, **chosen)
        assert implementation.mask_tokens(*batch, **chosen) == expected, name


@each_implementation
@each_variant
def test_a_mask_depends_on_the_sample_alone(implementation: Any, variant: Any) -> None:
    length = 12
    ids, words, draws, links = random_batch(1, 3, length, density=0.04, padding=0.1)

    def masked(order: list[int], padding: int) -> list[list[int]]:
        wider = length + padding
        moved: list[list[int]] = [[] for _ in range(len(order) * wider)]
        for row, i in enumerate(order):
            for place in range(length):
                linked = links[i * length + place]
                moved[row * wider + place] = [row * wider + b % length for b in linked]
        return implementation.mask_tokens(
            [ids[i] + [0] * padding for i in order],
            [words[i] + [-1] * padding for i in order],
            [draws[i] for i in order],
            moved,
            **variant_settings(variant),
        ).input_ids

    together = masked([0, 1, 2], 0)
    assert together != ids
    assert masked([2, 0], 0) == [together[2], together[0]]
    assert masked([1], 5) == [together[1] + [0] * 5]


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


def assert_binomial(successes: int, trials: int, probability: float, spread: float = 1.0) -> None:
    """Within 4 deviations, of `spread` times the binomial variance."""
    deviation = math.sqrt(trials * probability * (1 - probability) * spread)
    assert abs(successes - trials * probability) <= 4 * deviation


@each_implementation
def test_masked_tokens_become_what_their_shares_say(implementation: Any) -> None:
    batch = random_batch(3, size=4, length=4000, density=0.0)
    # A token outside the replacements tells a random one from one that was kept.
    ids = [[1 if word >= 0 else 0 for word in row] for row in batch.words]
    masked = implementation.mask_tokens(ids, batch.words, batch.draws, **SETTINGS)
    flat = [token for row in masked.input_ids for token in row]
    after = [flat[position] for position in masked.positions[: masked.count]]
    replaced = [token for token in after if token not in (1, MASK_ID)]

    assert_binomial(masked.count, batch.ordinary, 0.3)
    assert_binomial(after.count(MASK_ID), masked.count, 0.8)
    assert_binomial(after.count(1), masked.count, 0.1)
    assert_binomial(len(replaced), masked.count, 0.1)
    assert set(replaced) == set(REPLACEMENTS)
    for token in REPLACEMENTS:
        assert_binomial(replaced.count(token), len(replaced), 1 / len(REPLACEMENTS))


def masked_units(batch: Batch, masked: MaskedRows, unit: str) -> list[dict[int, list[bool]]]:
    """For each sequence, whether each token of each unit is masked."""
    length = len(batch.words[0])
    found: list[dict[int, list[bool]]] = []
    for sequence, row in enumerate(batch.words):
        found.append({})
        for place, word in enumerate(row):
            if word >= 0:
                number = place if unit == "token" else word
                is_masked = masked.row_of[sequence * length + place] >= 0
                found[-1].setdefault(number, []).append(is_masked)
    return found


@each_implementation
@each_variant
def test_rates_and_whole_units(implementation: Any, variant: Any) -> None:
    _, unit, exact = variant
    batch = random_batch(4, size=2, length=1000, density=0.0)
    # Without a link the policies are the same.
    masked = implementation.mask_tokens(*batch, **variant_settings(variant))
    for units in masked_units(batch, masked, unit):
        assert all(len(set(tokens)) == 1 for tokens in units.values())
        number = sum(tokens[0] for tokens in units.values())
        if exact:
            assert number == math.floor(0.3 * len(units) + 0.5)
        else:
            spread = 1 + 2 * sum(correlations(0.3)) if unit == "span" else 1.0
            assert_binomial(number, len(units), 0.3, spread)


def correlations(probability: float) -> list[float]:
    """Of the masks of two words 1, 2, .. 9 apart, from the definition of the spans."""
    chosen = weam_ref.mask.span_probability(probability)
    longer = [float(p) for p in weam_ref.mask.LONGER]
    found = []
    for apart in range(1, 10):
        # Span e covers word 0 if length > e, and word `apart` if e >= apart and length > e - apart.
        reach = [max(longer[e] if e < 10 else 0.0, longer[e - apart] if e >= apart else 0.0)
                 for e in range(10 + apart)]  # fmt: skip
        neither = math.prod(1 - chosen * p for p in reach)
        found.append((neither - (1 - probability) ** 2) / (probability * (1 - probability)))
    return found


@each_implementation
@pytest.mark.parametrize("degree", [1, 3])
def test_the_rate_of_exclusive_masks(implementation: Any, degree: int) -> None:
    """Every centre of many stars keeps its mask as often as the formula says."""
    size, number = degree + 1, 1500
    pairs = [(star * size, star * size + k) for star in range(number) for k in range(1, size)]
    batch = one_sequence(list(range(number * size)), pairs)
    masked = implementation.mask_tokens(*batch, **SETTINGS, policy="exclusive")
    rate = (1 - 0.7**size) / size
    assert_binomial(sum(row >= 0 for row in masked.row_of[::size]), number, rate)
    if degree == 1:
        assert rate == pytest.approx(0.255)


@each_implementation
@each_variant
def test_exclusive_masks(implementation: Any, variant: Any) -> None:
    """No link has both ends masked; who is dropped had a partner that was chosen."""
    _, unit, exact = variant
    batch = random_batch(8, size=2, length=24, density=0.1)
    both = [
        implementation.mask_tokens(*batch, **variant_settings((policy, unit, exact)))
        for policy in POLICIES
    ]
    chosen, kept = ({p for p in masked.positions if p >= 0} for masked in both)
    assert kept < chosen
    assert not any(kept.intersection(batch.links[p]) for p in kept)
    words = [word for row in batch.words for word in row]
    unit_of = [(p // 24, p if unit == "token" else word) for p, word in enumerate(words)]
    rivals = {unit_of[p] for p in chosen if chosen.intersection(batch.links[p])}
    assert {unit_of[p] for p in chosen - kept} <= rivals


def test_spans_have_the_lengths_of_spanbert() -> None:
    """At a low rate spans rarely meet, and what is masked on end is one of them."""
    words = torch.arange(4000).expand(300, -1)
    settings = SETTINGS | {"replacements": torch.tensor(REPLACEMENTS), "probability": 0.01}
    settings |= {"capacity": words.numel(), "exchange_capacity": 0, "unit": "span"}
    row_of = mask_tokens(words, words, torch.arange(300), None, **settings).row_of.view_as(words)
    text = ["".join("x" if row >= 0 else " " for row in rows) for rows in row_of.tolist()]
    runs = [len(run) for line in text for run in line.split()]
    assert sum(runs) / len(runs) == pytest.approx(3.8, rel=0.05)
    for length in range(1, 11):
        share = 0.2 * 0.8 ** (length - 1) / (1 - 0.8**10)
        assert runs.count(length) / len(runs) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("probability", [0.01, 0.15, 0.3, 0.7])
def test_spans_cover_each_word_with_the_probability(probability: float) -> None:
    q = span_probability(probability)
    assert 1 - math.prod(1 - q * longer for longer in LONGER) == pytest.approx(probability, 1e-12)
    assert q == weam_ref.mask.span_probability(probability)


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
    assert short.overflow == 2
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
    assert short.overflow == 1
    assert short.exchanged == full.exchanged[: full.exchanged_count - 1]
    assert (short.input_ids, short.row_of) == (full.input_ids, full.row_of)
    assert replace(off, exchanged=full.exchanged, exchanged_of=full.exchanged_of) == replace(
        full, exchanged_count=0
    )


@pytest.mark.parametrize("candidates", [1, 2, 7, 40, 300, 3000])
@pytest.mark.parametrize("probability", [0.15, 0.3])
def test_capacity_is_exceeded_by_few_batches(candidates: int, probability: float) -> None:
    """A normal number is above 4 deviations 3 times in 100,000, a small binomial one more often."""
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
    assert tail < 2e-4


def test_capacity_of_nothing_is_one_row() -> None:
    assert capacity(0, 0.3) == capacity(5, 0.0) == 1
    assert capacity(100_000, 0.3) == 30_000 + math.ceil(4 * math.sqrt(21_000))


@pytest.mark.parametrize(("unit", "sizes"), [("word", [1, 3, 1, 7, 2]), ("span", [2, 2, 2])])
def test_capacity_follows_the_spread_of_whole_words(unit: str, sizes: list[int]) -> None:
    """It is 4 standard deviations above the mean, measured over many draws."""
    tokens = torch.tensor(sizes).repeat(100)
    words = torch.arange(len(tokens)).repeat_interleave(tokens)
    row = words.expand(1000, -1)
    chosen = SETTINGS | {"replacements": words, "unit": unit, "exchange_capacity": 0}
    masked = mask_tokens(row, row, torch.arange(1000), None, capacity=row.numel(), **chosen)
    counts = (masked.row_of.view_as(row) >= 0).sum(dim=1).double()
    mean, squares = 0.3 * len(words), int((tokens**2).sum())
    deviation = (capacity(len(words), 0.3, unit=unit, squares=squares) - mean) / 4
    assert counts.mean().item() == pytest.approx(mean, rel=0.02)
    assert counts.std().item() == pytest.approx(deviation, rel=0.1)


def test_capacity_of_exact_rates_leaves_room_for_rounding() -> None:
    """Of a single token half a token is one."""
    words = torch.zeros(1000, 1, dtype=torch.int64)
    chosen = SETTINGS | {"replacements": words[0], "probability": 0.5, "exact": True}
    rows = capacity(1000, 0.5, rounding=500)
    masked = mask_tokens(
        words, words, words[:, 0], None, capacity=rows, exchange_capacity=0, **chosen
    )
    assert masked.count == rows == 1000
    assert not masked.overflow


def tensors(
    batch: Batch, variant: tuple[str, str, bool], device: str = "cpu"
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of `mask_tokens`."""
    rows = (torch.tensor(values, device=device) for values in batch[:3])
    replacements = torch.tensor(REPLACEMENTS, device=device)
    chosen = {"replacements": replacements, "capacity": 20, "exchange_capacity": 15}
    return (*rows, csr(batch.links, device)), variant_settings(variant) | chosen


SOME = [("independent", "token", False), ("exclusive", "word", True)]


def assert_same(ours: Any, theirs: Any) -> None:
    for name, values in vars(theirs).items():
        assert torch.equal(getattr(ours, name), values), name


@each_variant
def test_masking_reads_nothing_back_to_the_host(variant: Any) -> None:
    """A fake tensor has no values: reading one, or a shape that depends on one, raises."""
    policy, unit, exact = variant
    with FakeTensorMode():
        ids, draws = torch.ones(2, 5, dtype=torch.int64), torch.ones(2, dtype=torch.int64)
        links = torch.zeros(11, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
        numbers = 1, 1 << 30, 2 << 30, 3 << 30, MASK_ID, 7, 3
        masked = _mask(ids, ids, draws, *links[:2], draws, *numbers, policy, unit, exact)
    assert [tuple(field.shape) for field in masked] == [
        (2, 5), (7,), (7,), (10,), (3,), (10,), (), (), (),
    ]  # fmt: skip


@pytest.mark.parametrize("variant", SOME, ids=str)
def test_the_operator_keeps_the_rules_of_torch(variant: Any, device: str) -> None:
    (*rows, links), chosen = tensors(random_batch(9, 2, 6), variant, device)
    numbers = 1, 1 << 30, 2 << 30, 3 << 30, MASK_ID, 20
    operator = torch.ops.weam.mask_tokens.default
    given = *rows, *links[:2], chosen["replacements"], *numbers
    torch.library.opcheck(operator, (*given, 15, *variant))
    if variant[0] == "independent":
        alone = *rows, None, None, chosen["replacements"], *numbers
        torch.library.opcheck(operator, (*alone, 0, *variant))


@pytest.mark.parametrize("variant", SOME, ids=str)
def test_compiled_whole_it_is_the_same(variant: Any, device: str) -> None:
    given, chosen = tensors(random_batch(10, 2, 6), variant, device)
    compiled = torch.compile(mask_tokens, fullgraph=True, backend="aot_eager")
    for seed in (2**64 - 1, 3):
        chosen["seed"] = seed
        assert_same(compiled(*given, **chosen), mask_tokens(*given, **chosen))


@pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[-1]], ids=str)
def test_memory_layout_does_not_matter(variant: Any, device: str) -> None:
    (ids, words, draws, links), chosen = tensors(random_batch(7, 3, 8), variant, device)
    expected = mask_tokens(ids, words, draws, links, **chosen)
    spread = [torch.stack([values] * 2, dim=-1)[..., 1] for values in (ids, draws)]
    chosen["replacements"] = torch.stack([chosen["replacements"]] * 2, dim=-1)[..., 1]
    longer = torch.nn.functional.pad(links.positions, (0, 11))
    longer = Links(*(torch.stack([n] * 2, dim=-1)[..., 1] for n in (links.offsets, longer)))
    masked = mask_tokens(spread[0], words.T.contiguous().T, spread[1], longer, **chosen)
    assert_same(masked, expected)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"probability": 1.5}, "masking probability"),
        ({"shares": (0.8, 0.1, 0.2)}, "add up to 1"),
        ({"shares": (1.1, -0.1, 0.0)}, "add up to 1"),
        ({"replacements": torch.zeros(0, dtype=torch.int64)}, "table is empty"),
        ({"exchange_capacity": 3}, "need the links"),
        ({"policy": "exclusive"}, "need the links"),
        ({"policy": "both"}, "unknown masking policy 'both'; there are independent, exclusive"),
        ({"unit": "line"}, "unknown masking unit 'line'; there are token, word, span"),
        ({"words": torch.ones(1, 3, dtype=torch.int64)}, "another shape"),
        ({"draws": torch.ones(2, dtype=torch.int64)}, "another shape"),
        ({"links": Links(*torch.zeros(2, 4, dtype=torch.int64))}, "another shape"),
        ({"links": Links(*torch.zeros(2, 5, dtype=torch.int32))}, "must be int64"),
        ({"words": torch.ones(1, 4, dtype=torch.int32)}, "must be int64"),
    ],
)
def test_bad_settings_get_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    ids = torch.ones(1, 4, dtype=torch.int64)
    usual = SETTINGS | {"replacements": ids[0], "capacity": 4, "exchange_capacity": 0}
    given = {"input_ids": ids, "words": ids, "draws": ids[:, 0], "links": None}
    with pytest.raises(InputError, match=sentence):
        mask_tokens(**(usual | given | wrong))
