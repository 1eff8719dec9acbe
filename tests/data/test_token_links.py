"""Links of words carried over to tokens, and the controls, against the reference."""

import numpy as np
import pytest
import weam_ref.links as twin
from hypothesis import given
from hypothesis import strategies as st

from weam_ext.common.errors import InputError
from weam_ext.data.token_links import (
    LINK_MODES,
    one_to_one,
    random_links,
    shuffle_links,
    token_links,
)

Pair = tuple[list[int], list[int], list[tuple[int, int]]]


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """The words of the tokens of two sentences, in any order, some in none; and links of words."""
    sides = [draw(st.lists(st.integers(-1, 4), max_size=8)) for _ in range(2)]
    everything = [(i, j) for i in range(5) for j in range(5)]
    links = draw(st.lists(st.sampled_from(everything), unique=True, max_size=8))
    return sides[0], sides[1], sorted(links)


def array(values: object) -> np.ndarray:
    return np.array(values, np.int64)


def link_array(links: list[tuple[int, int]]) -> np.ndarray:
    """With the number of each link beside it."""
    return array([(i, j, k) for k, (i, j) in enumerate(links)]).reshape(-1, 3)


@pytest.mark.parametrize("mode", LINK_MODES)
@given(pairs())
def test_links_of_tokens_as_the_reference(mode: str, pair: Pair) -> None:
    source, target, links = pair
    found = token_links(array(source), array(target), link_array(links), mode)
    expected = twin.token_links(source, target, links, mode)
    assert [(a, b) for a, b, _ in found.tolist()] == sorted(expected)
    for a, b, k in found.tolist():  # what goes with a link goes with its tokens
        assert links[k] == (source[a], target[b])


@given(pairs(), st.integers(0, 99))
def test_controls_as_the_reference(pair: Pair, sample: int) -> None:
    _, _, links = pair
    given = link_array(links)
    shuffled = shuffle_links(given, 5, seed=9, sample=sample)
    assert [(i, j) for i, j, _ in shuffled.tolist()] == twin.shuffle_links(
        links, 5, seed=9, sample=sample
    )
    assert sorted(shuffled[:, 2].tolist()) == sorted(given[:, 2].tolist())
    at_random = random_links(given, 5, 5, seed=9, sample=sample)
    assert [(i, j) for i, j, _ in at_random.tolist()] == twin.random_links(
        len(links), 5, 5, seed=9, sample=sample
    )


@given(pairs())
def test_words_that_have_no_other_link(pair: Pair) -> None:
    alone = one_to_one(link_array(pair[2])).tolist()
    assert [(i, j) for i, j, _ in alone] == twin.one_to_one(pair[2])


def test_more_random_links_than_there_are_pairs_of_words() -> None:
    links = link_array([(0, 0), (0, 1), (1, 0)])
    assert random_links(links, 1, 2, seed=0, sample=0).tolist() == [[0, 0, 0], [0, 1, 1]]


def test_a_mode_that_is_none() -> None:
    with pytest.raises(InputError, match="unknown link mode 'middle'; there are all, first, last"):
        token_links(array([0]), array([0]), link_array([(0, 0)]), "middle")
