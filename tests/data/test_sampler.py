"""Sampler: which samples a run takes, how often from each corpus, and in which batches."""

from collections import Counter
from itertools import chain, islice, pairwise
from typing import Any

import numpy as np
import pytest
from weam_ref.philox import words

from weam_ext.data.collate import Sizes
from weam_ext.data.sampler import ORDER, WINDOW, Corpora, Members, Order, Place, corpus_shares


def corpora(*counts: int, shares: list[float] | None = None, rows: int = 1) -> Corpora:
    """Corpora of so many samples of random lengths."""
    total = sum(counts)
    widths = np.random.default_rng(total).integers(5, 60, total)
    number = np.full(total, rows)
    sizes = Sizes(widths - 3, widths * number, widths, number)
    corpus = np.repeat(np.arange(len(counts)), counts)
    return Corpora(corpus, sizes, shares or [count / total for count in counts])


def batches(order: Order, number: int, place: Place | None = None) -> list[Members]:
    return [members for members, _ in islice(order.batches(place or Place()), number)]


@pytest.mark.parametrize(
    ("count", "batch_size"), [(1, 1), (1, 3), (7, 2), (50, 3), (64, 2), (500, 8), (333, 32)]
)
def test_every_epoch_is_a_permutation(count: int, batch_size: int) -> None:
    """Of any whole number of windows; and ordinals are the run's places, each once."""
    order = Order(corpora(count), batch_size=batch_size, seed=3)
    windows = 1 + 3 * count // (batch_size * WINDOW)
    made = batches(order, windows * WINDOW)
    assert {len(batch) for batch in made} == {batch_size}
    by_ordinal = {ordinal: sample for batch in made for sample, ordinal in batch}
    assert sorted(by_ordinal) == list(range(len(made) * batch_size))
    epochs = [
        [by_ordinal[epoch * count + place] for place in range(count)]
        for epoch in range(len(by_ordinal) // count)
    ]
    assert len(epochs) >= 3
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    if count > 7:
        assert len(set(map(tuple, epochs))) == len(epochs)


def test_order_of_an_epoch_is_by_philox() -> None:
    order = Order(corpora(40), batch_size=4, seed=1 << 40 | 5)
    places = sorted(chain.from_iterable(batches(order, 32)), key=lambda member: member[1])
    for epoch in range(3):
        found = [sample for sample, _ in places[40 * epoch : 40 * (epoch + 1)]]
        keys = [words(1 << 40 | 5, epoch, k, ORDER)[0] for k in range(40)]
        assert found == sorted(range(40), key=keys.__getitem__)


KINDS: dict[str, dict[str, Any]] = {
    "pairs": {"batch_size": 4},
    "tokens": {"batch_tokens": 250},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_from_any_place(kind: str) -> None:
    several = corpora(90, 31, 7, shares=[0.5, 0.3, 0.2], rows=2)
    order = Order(several, **KINDS[kind], seed=7)
    whole = list(islice(order.batches(Place()), 150))
    for number in (0, 1, 31, 32, 64, 99, 127):
        _, place = whole[number]
        other = Order(several, **KINDS[kind], seed=7)
        assert list(islice(other.batches(place), 20)) == whole[number + 1 : number + 21]
    assert batches(Order(several, **KINDS[kind], seed=8), 1) != [whole[0][0]]


def test_windows_are_cut_by_length_and_shuffled() -> None:
    data = corpora(4000)
    sizes = data.sizes.widths
    made = batches(Order(data, batch_size=8, seed=0), 6 * WINDOW)
    starts = []
    for window in range(6):
        here = [sizes[[s for s, _ in b]] for b in made[window * WINDOW : (window + 1) * WINDOW]]
        longest = [int(batch.max()) for batch in here]
        by_length = sorted(here, key=lambda batch: (batch.min(), batch.max()))
        assert all(a.max() <= b.min() for a, b in pairwise(by_length))
        assert longest != sorted(longest)
        padding = sum(int((batch.max() - batch).sum()) for batch in here)
        plain = np.concatenate(here)
        shuffled = np.random.default_rng(window).permutation(plain).reshape(-1, 8)
        assert padding < (shuffled.max(axis=1, keepdims=True) - shuffled).sum() / 8
        starts.append(longest)
    assert len(set(map(tuple, starts))) == 6


@pytest.mark.parametrize("rows", [1, 2])
def test_batches_of_tokens(rows: int) -> None:
    """None holds more than was asked for, few hold much less, and none holds only a few samples."""
    data = corpora(3000, 500, rows=rows)
    order = Order(data, batch_tokens=1000, seed=1)
    made = batches(order, 200)
    sizes = [order.padded_tokens(members) for members in made]
    assert max(sizes) <= 1000
    assert np.median(sizes) > 900
    assert min(map(len, made)) >= 1000 // (rows * 60) // 2
    seen = list(chain.from_iterable(made))
    assert len({ordinal for _, ordinal in seen}) == len(seen)
    each = order.batches_a_pass
    assert sum(map(len, batches(order, each))) == pytest.approx(3500, rel=0.1)


def test_a_sample_larger_than_a_batch_stands_alone() -> None:
    made = batches(Order(corpora(20), batch_tokens=4, seed=1), 40)
    assert {len(members) for members in made} == {1}


@pytest.mark.parametrize("size", [{"batch_size": 16}, {"batch_tokens": 600}])
def test_shares_are_kept_at_every_place(size: dict[str, int]) -> None:
    shares = [0.62, 0.3, 0.07, 0.01]
    data = corpora(100, 2000, 37, 5, shares=shares)
    taken: Counter[int] = Counter()
    for members in batches(Order(data, **size, seed=2), 50 * WINDOW):
        taken.update(int(data.corpus[sample]) for sample, _ in members)
    total = sum(taken.values())
    for number, share in enumerate(shares):
        assert taken[number] == pytest.approx(share * total, abs=6 + 0.02 * share * total)


def test_corpora_are_passed_in_their_own_epochs() -> None:
    data = corpora(40, 300, shares=[0.5, 0.5])
    made = sorted(chain.from_iterable(batches(Order(data, batch_size=10, seed=2), 64)),
                  key=lambda member: member[1])  # fmt: skip
    small = [sample for sample, ordinal in made if ordinal % 2 == 0]
    assert all(sample < 40 for sample in small)
    assert all(sorted(small[k : k + 40]) == list(range(40)) for k in range(0, len(small) - 40, 40))


def test_shares_by_temperature_and_kind() -> None:
    kinds = ["bitext", "monolingual", "bitext"]
    assert corpus_shares([1, 1], ["bitext"] * 2) == [0.5, 0.5]
    assert corpus_shares([300, 100], ["bitext"] * 2) == pytest.approx([0.75, 0.25])
    assert corpus_shares([10000, 1], ["bitext"] * 2, temperature=4) == pytest.approx(
        [10 / 11, 1 / 11]
    )
    assert corpus_shares([30, 7, 10], kinds, monolingual_share=0.2) == pytest.approx(
        [0.6, 0.2, 0.2]
    )
    assert corpus_shares([5, 15], ["monolingual"] * 2) == pytest.approx([0.25, 0.75])
