"""Links of words carried over to tokens, and the controls, against the reference."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from weam_ref import links as twin

from weam_ext.common.errors import InputError
from weam_ext.data.token_links import (
    LINK_MODES,
    one_to_one,
    random_links,
    shuffle_links,
    token_links,
)
from weam_ext.text.words import Ints

Link = tuple[int, int]


words_of_tokens = st.lists(st.integers(-1, 6), max_size=12)


some_links = st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12).map(sorted)


def as_array(links: list[Link]) -> Ints:
    return np.array(links, np.int64).reshape(-1, 2)


def as_links(array: Ints) -> list[Link]:
    assert array.dtype == np.int64
    return [(i, j) for i, j in array.tolist()]


@pytest.mark.parametrize("mode", LINK_MODES)
@given(words_of_tokens, words_of_tokens, some_links)
@example([], [], [])
@example([-1, -1], [0], [(0, 0)])
@example([2, 0, -1, 2, 0, 2], [1, 1], [(0, 1), (2, 1), (7, 7)])  # interleaved words
def test_token_links(mode: str, source: list[int], target: list[int], links: list[Link]) -> None:
    found = token_links(np.array(source, int), np.array(target, int), as_array(links), mode)
    assert as_links(found) == twin.token_links(source, target, links, mode)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("all", [(0, 1), (0, 2), (1, 1), (1, 2), (3, 1), (3, 2)]),
        ("first", [(0, 1)]),
        ("last", [(3, 2)]),
        ("monotone", [(0, 1), (1, 1), (3, 2)]),
    ],
)
def test_token_links_by_hand(mode: str, expected: list[Link]) -> None:
    source, target = np.array([4, 4, -1, 4]), np.array([-1, 0, 0])
    assert as_links(token_links(source, target, as_array([(4, 0)]), mode)) == expected


@pytest.mark.parametrize("mode", LINK_MODES)
@given(words_of_tokens, words_of_tokens, some_links)
def test_further_columns_go_with_their_links(
    mode: str, source: list[int], target: list[int], links: list[Link]
) -> None:
    """What stands beside a word link stands beside its token links, and nothing else changes."""
    marked = np.column_stack([as_array(links), 100 + np.arange(len(links)), np.zeros(len(links))])
    marked = marked.astype(np.int64)
    words = np.array(source, int), np.array(target, int)
    found = token_links(*words, marked, mode)
    assert np.array_equal(found[:, :2], token_links(*words, as_array(links), mode))
    for a, b, mark, _ in found.tolist():
        assert links[mark - 100] == (source[a], target[b])
    assert all(links[mark - 100] == (i, j) for i, j, mark, _ in one_to_one(marked).tolist())
    moved = shuffle_links(marked, 9, seed=1, sample=2)
    for i, j, mark, _ in moved.tolist():
        alone = shuffle_links(as_array([links[mark - 100]]), 9, seed=1, sample=2)
        assert as_links(alone) == [(i, j)]
    assert random_links(marked, 9, 9, seed=1, sample=2)[:, 2].tolist() == marked[:, 2].tolist()


def test_unknown_link_mode() -> None:
    with pytest.raises(InputError) as error:
        token_links(np.array([0]), np.array([0]), as_array([(0, 0)]), "middle")
    assert str(error.value) == "unknown link mode 'middle'; there are all, first, last, monotone"


@given(some_links)
@example([(0, 0), (1, 1), (1, 2), (3, 1), (5, 5)])
def test_one_to_one(links: list[Link]) -> None:
    each_once = list(dict.fromkeys(links))
    assert as_links(one_to_one(as_array(each_once))) == twin.one_to_one(each_once)


@given(
    st.integers(0, 12).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.sets(st.tuples(st.integers(0, 9), st.integers(0, max(0, n - 1)))).filter(
                lambda links: n or not links
            ),
        )
    ),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**63 - 1),
)
def test_shuffled_links(words_and_links: tuple[int, set[Link]], seed: int, sample: int) -> None:
    words, links = words_and_links[0], sorted(words_and_links[1])
    found = as_links(shuffle_links(as_array(links), words, seed=seed, sample=sample))
    assert found == twin.shuffle_links(links, words, seed=seed, sample=sample)
    assert Counter(i for i, _ in found) == Counter(i for i, _ in links)
    degrees = [Counter(Counter(j for _, j in rows).values()) for rows in (links, found)]
    assert degrees[0] == degrees[1]


def test_shuffled_links_belong_to_the_seed_and_the_sample() -> None:
    diagonal = as_array([(k, k) for k in range(50)])
    drawn = {
        tuple(shuffle_links(diagonal, 50, seed=seed, sample=sample)[:, 1].tolist())
        for seed, sample in [(0, 0), (1, 0), (0, 1), (1 << 32, 0), (0, 1 << 32), (0, 0)]
    }
    assert len(drawn) == 5
    assert tuple(range(50)) not in drawn


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.integers(0, sizes[0] * sizes[1]))
    ),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**63 - 1),
)
def test_random_links(sizes: tuple[tuple[int, int], int], seed: int, sample: int) -> None:
    (source, target), number = sizes
    links = as_array([(0, 0)] * number)
    found = as_links(random_links(links, source, target, seed=seed, sample=sample))
    assert found == twin.random_links(number, source, target, seed=seed, sample=sample)
    assert found == sorted(set(found))
    assert len(found) == number
    assert all(0 <= i < source and 0 <= j < target for i, j in found)


def test_random_links_lie_anywhere() -> None:
    drawn: Counter[Link] = Counter()
    for sample in range(600):
        drawn.update(as_links(random_links(as_array([(0, 0)] * 4), 3, 4, seed=5, sample=sample)))
    # 2,400 links over 12 pairs; 4 standard deviations of a binomial of 600 draws at 1/3.
    assert len(drawn) == 12
    assert all(abs(count - 200) < 47 for count in drawn.values())


def test_more_random_links_than_there_are_pairs_of_words() -> None:
    links = as_array([(0, 0), (0, 1), (1, 0)])
    assert as_links(random_links(links, 1, 2, seed=0, sample=0)) == [(0, 0), (0, 1)]
