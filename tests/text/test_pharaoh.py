"""Links as Pharaoh wrote them, and gold links: there and back, and what is none."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weam_ext import InputError
from weam_ext.text.pharaoh import format_links, parse_links, read_gold

Write = Callable[..., str]


links_of_a_sentence = st.sets(st.tuples(st.integers(0, 10**9 - 1), st.integers(0, 600)))


@given(links_of_a_sentence)
def test_links_there_and_back(links: set[tuple[int, int]]) -> None:
    assert parse_links(format_links(sorted(links)), "here") == sorted(links)


def test_links_are_sorted_and_unique() -> None:
    assert parse_links("2-1 0-3\t0-1  2-1\r", "here") == [(0, 1), (0, 3), (2, 1)]


@pytest.mark.parametrize(
    "token",
    ["1", "1-", "-1", "1--1", "1-2-3", "1?2", "a-b", "1-٣", "1_0-1", "+1-1", "1-9999999999"],
)
def test_bad_links(write: Write, token: str) -> None:
    with pytest.raises(InputError) as error:
        parse_links(f"0-0 {token} 1-1", "links, line 7")
    assert str(error.value) == f"links, line 7: {token!r} is not a link 'i-j'"
    if token != "1?2":
        path = write(f"0-0\n\n0-0 {token}\n")
        with pytest.raises(InputError) as error:
            read_gold(path)
        assert str(error.value) == f"{path}, line 3: {token!r} is neither 'i-j' nor 'i?j'"


@given(sentences=st.lists(st.tuples(links_of_a_sentence, links_of_a_sentence)))
def test_gold_there_and_back(
    tmp_path_factory: pytest.TempPathFactory,
    sentences: list[tuple[set[tuple[int, int]], set[tuple[int, int]]]],
) -> None:
    path = tmp_path_factory.getbasetemp() / "gold"
    lines = (
        " ".join([f"{i}-{j}" for i, j in sure] + [f"{i}?{j}" for i, j in possible])
        for sure, possible in sentences
    )
    path.write_text("".join(f"{line}\n" for line in lines))
    expected = [(sure, sure | possible) for sure, possible in sentences]
    assert read_gold(str(path)) == expected
