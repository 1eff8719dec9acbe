"""Links against its plain-Python twin, against the original atools, and its own laws."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers import recorded_links
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from weam_ref import symmetrize as twin_symmetrize

from weam_ext import InputError, _native
from weam_ext.align.links import HEURISTICS, Links, symmetrize
from weam_ext.align.scoring import score
from weam_ext.text.pharaoh import Link, parse_links

grids = st.integers(1, 9).flatmap(
    lambda size: st.lists(st.tuples(*[st.integers(0, size)] * 2), max_size=30, unique=True)
)

# ------------------------------------------------------------------------------- links

LISTS = [[(0, 2), (1, 0), (1, 1)], [], [(3, 0)]]


def test_links() -> None:
    links = Links.from_lists([[(1, 1), (0, 2), (1, 0)], [], [(3, 0)]])
    assert list(links) == LISTS
    assert [links[k] for k in range(-3, 3)] == LISTS * 2
    assert len(links) == 3
    for outside in (3, -4, 10**9):
        with pytest.raises(IndexError, match=f"pair {outside} of 3"):
            links[outside]
    assert links.source.tolist() == [0, 1, 1, 3]
    assert links.target.tolist() == [2, 0, 1, 0]
    assert links.offsets.dtype == np.int64
    assert links.pairs.dtype == np.int32
    assert links == Links([0, 3, 3, 4], [(0, 2), (1, 0), (1, 1), (3, 0)])
    assert links != Links.from_lists(LISTS[:2])
    assert links != LISTS
    with pytest.raises(TypeError, match="unhashable"):
        hash(links)


def test_to_pharaoh() -> None:
    links = Links.from_lists(LISTS)
    assert links.to_pharaoh() == "0-2 1-0 1-1\n\n3-0\n"
    assert links.to_pharaoh(by_target=True) == "1-0 1-1 0-2\n\n3-0\n"
    assert Links.from_lists([]).to_pharaoh() == ""
    assert Links.from_lists([[(2**31 - 1, 10)]]).to_pharaoh() == "2147483647-10\n"


@given(st.lists(grids, max_size=5))
def test_links_there_and_back(rows: list[list[Link]]) -> None:
    links = Links.from_lists(rows)
    assert list(links) == [sorted(row) for row in rows]
    assert Links.from_lists(links) == links
    lines = links.to_pharaoh().splitlines()
    assert [parse_links(line, "here") for line in lines] == list(links)
    by_target = links.to_pharaoh(by_target=True).splitlines()
    assert [parse_links(line, "here") for line in by_target] == list(links)


def with_probabilities(rows: list[list[Link]], ten_thousandths: list[int]) -> Links:
    """The probabilities are what four decimals can say, used in turn."""
    links = Links.from_lists(rows)
    values = np.resize(np.array(ten_thousandths), len(links.pairs)) / 10_000
    return Links(links.offsets, links.pairs, values)


some_links = st.one_of(
    st.builds(Links.from_lists, st.lists(grids, max_size=6)),
    st.builds(
        with_probabilities,
        st.lists(grids, max_size=6),
        st.lists(st.integers(0, 10_000), min_size=1, max_size=20),
    ),
)


def test_probabilities() -> None:
    links = Links([0, 1, 2], [(0, 1), (1, 0)], [0.25, 1])
    assert links.probability is not None
    assert links.probability.dtype == np.float32
    assert links == Links([0, 1, 2], [(0, 1), (1, 0)], np.array([0.25, 1]))
    assert links != Links([0, 1, 2], [(0, 1), (1, 0)], [0.25, 0.5])
    assert links != Links(links.offsets, links.pairs)
    assert Links(links.offsets, links.pairs) != links
    for wrong in ([0.5], [[0.5, 0.5]], 0.5):
        with pytest.raises(ValueError, match=r"probabilities of shape .* for 2 links"):
            Links(links.offsets, links.pairs, wrong)


@given(some_links)
def test_inverted(links: Links) -> None:
    found = links.inverted()
    assert list(found) == [sorted((j, i) for i, j in row) for row in links]
    assert found.inverted() == links
    if links.probability is not None and found.probability is not None:
        assert [chances(found, k) for k in range(len(links))] == [
            {(j, i): p for (i, j), p in chances(links, k).items()} for k in range(len(links))
        ]


def chances(links: Links, pair: int) -> dict[Link, float]:
    part = links.part(pair, pair + 1)
    assert part.probability is not None
    return dict(zip(part[0], part.probability.tolist(), strict=True))


@given(some_links, st.integers(0, 6), st.integers(0, 6))
def test_part(links: Links, one: int, other: int) -> None:
    start, stop = sorted(min(k, len(links)) for k in (one, other))
    part = links.part(start, stop)
    assert part.to_lists() == links.to_lists()[start:stop]
    assert np.shares_memory(part.pairs, links.pairs) or not len(part.pairs)


@given(some_links)
def test_lists_and_arrow_there_and_back(links: Links) -> None:
    assert links.to_lists() == list(links)
    table = links.to_arrow()
    kinds = {"source": "list<item: int32>", "target": "list<item: int32>"}
    if links.probability is not None:
        kinds["probability"] = "list<item: float>"
    assert {field.name: str(field.type) for field in table.schema} == kinds
    assert table["source"].to_pylist() == [[i for i, _ in row] for row in links]
    assert Links.from_arrow(table) == links
    halves = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert Links.from_arrow(halves) == links


def test_arrow_of_others() -> None:
    """Large lists of wider numbers, in any order."""
    rows = {"source": [[1, 0], []], "target": [[0, 2], []], "probability": [[0.5, 0.25], []]}
    wide = {
        name: pa.array(row, pa.large_list(pa.float64() if name == "probability" else pa.int64()))
        for name, row in rows.items()
    }
    expected = Links([0, 2, 2], [(0, 2), (1, 0)], [0.25, 0.5])
    assert Links.from_arrow(pa.table(wide)) == expected
    for name, column, fault in (
        ("source", [[1], []], "differ in length"),
        ("probability", [[1.0, 0.5], [0.5]], "differ in length"),
        ("target", [[0, None], []], "'target' has nulls"),
        ("target", [[0, 2], None], "'target' has nulls"),
        ("target", [[0, 2**31], []], "2147483648"),
    ):
        with pytest.raises(ValueError, match=fault):
            Links.from_arrow(pa.table({**wide, name: pa.array(column)}))
    with pytest.raises(ValueError, match="no column 'target'"):
        Links.from_arrow(pa.table({"source": wide["source"]}))


def test_to_scipy() -> None:
    pytest.importorskip("scipy")
    links = Links([0, 0, 3], [(0, 2), (1, 0), (1, 1)], [0.25, 0.5, 1])
    matrix = links.to_scipy(1, (2, 4))
    assert matrix.format == "csr"
    assert matrix.dtype == np.float32
    assert matrix.toarray().tolist() == [[0, 0, 0.25, 0], [0.5, 1, 0, 0]]
    assert links.to_scipy(0, (2, 4)).nnz == 0
    plain = Links(links.offsets, links.pairs).to_scipy(-1, (2, 3))
    assert plain.dtype == np.bool_
    assert plain.toarray().tolist() == [[False, False, True], [True, True, False]]
    with pytest.raises(ValueError, match="exceed"):
        links.to_scipy(1, (2, 2))
    with pytest.raises(IndexError, match="pair 2 of 2"):
        links.to_scipy(2, (2, 3))


# ------------------------------------------------------------------------------- Pharaoh's text


@given(some_links, st.booleans())
def test_pharaoh_there_and_back(links: Links, by_target: bool) -> None:
    assert Links.from_pharaoh(links.to_pharaoh(by_target=by_target)) == Links(
        links.offsets, links.pairs
    )
    if links.probability is None:
        with pytest.raises(ValueError, match="no probabilities"):
            links.to_pharaoh(probabilities=True)
    elif len(links.pairs):
        text = links.to_pharaoh(by_target=by_target, probabilities=True)
        assert Links.from_pharaoh(text) == links
        assert (
            Links.from_pharaoh(text.encode()).to_pharaoh(by_target=by_target, probabilities=True)
            == text
        )


def test_probabilities_as_text() -> None:
    links = Links([0, 2, 2, 3], [(0, 2), (1, 0), (3, 0)], [0.93124, 1, 0])
    assert links.to_pharaoh(probabilities=True) == "0-2:0.9312 1-0:1.0000\n\n3-0:0.0000\n"
    by_target = links.to_pharaoh(probabilities=True, by_target=True)
    assert by_target == "1-0:1.0000 0-2:0.9312\n\n3-0:0.0000\n"
    found = Links.from_pharaoh("1-0:1 0-2:93124e-5 1-0:.5\n\n3-0:1e-60")
    assert found == links
    assert Links.from_pharaoh("\n\n").probability is None
    assert Links([0, 0], [], []).to_pharaoh(probabilities=True) == "\n"


indices = st.one_of(st.integers(0, 12), st.integers(0, 999_999_999)).map(str)
tokens = st.one_of(
    st.builds("{}-{}".format, indices, indices),
    st.builds("0{}-00{}".format, st.integers(0, 12), st.integers(0, 12)),
    st.text("019-?. x\r\0é|", max_size=5),
)
lines_of_tokens = st.builds(
    lambda row, blanks, end: f" {blanks}".join(row) + end,
    st.lists(tokens, max_size=4),
    st.text(" \t", max_size=3),
    st.sampled_from(["", "\r", "\t "]),
)


@given(st.lists(lines_of_tokens, max_size=5), st.booleans())
def test_parses_like_plain_python(lines: list[str], ended: bool) -> None:
    """But that a carriage return is a blank to the one and to the other only ends lines."""
    text = "\n".join(lines) + "\n" * (ended and bool(lines))
    rows = text.split("\n")
    if not rows[-1]:
        rows.pop()
    rows = [row.removesuffix("\r") for row in rows]
    bad = [
        number
        for number, row in enumerate(rows, 1)
        for token in re.split("[ \t]+", row.strip(" \t"))
        if token and not re.fullmatch("[0-9]+-[0-9]+", token)
    ]
    if bad:
        with pytest.raises(InputError, match=f"^line {bad[0]}: '.*' is not a link 'i-j'$"):
            Links.from_pharaoh(text)
    else:
        assert list(Links.from_pharaoh(text)) == [parse_links(row, "here") for row in rows]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("0-0\n\n0-0 1 2-2\n", "line 3: '1' is not a link 'i-j'"),
        ("0-0\r0-1\n", r"line 1: '0-0\x0d0-1' is not a link 'i-j'"),
        ("-1-0", "line 1: '-1-0' is not a link 'i-j'"),
        ("0--1", "line 1: '0--1' is not a link 'i-j'"),
        ("+1-0", "line 1: '+1-0' is not a link 'i-j'"),
        ("0-0-0", "line 1: '0-0-0' is not a link 'i-j'"),
        ("1-", "line 1: '1-' is not a link 'i-j'"),
        ("1", "line 1: '1' is not a link 'i-j'"),
        ("0?0", "line 1: '0?0' is not a link 'i-j'"),
        ("0-0 ||| 1-1", "line 1: '|||' is not a link 'i-j'"),
        ("0-2147483648", "line 1: '0-2147483648' has an index above 2147483647"),
        ("99999999999999999999-0", "'99999999999999999999-0' has an index above 2147483647"),
        ("0-0:", "'0-0:' is not a link 'i-j:p' with a probability from 0 to 1"),
        ("0-0:1.5", "'0-0:1.5' is not a link 'i-j:p' with a probability from 0 to 1"),
        ("0-0:-0.5", "'0-0:-0.5' is not a link 'i-j:p' with a probability from 0 to 1"),
        ("0-0:nan", "'0-0:nan' is not a link 'i-j:p' with a probability from 0 to 1"),
        ("0-0:0.5x", "'0-0:0.5x' is not a link 'i-j:p' with a probability from 0 to 1"),
        ("\n0-0:1 1-1", "line 2: '1-1' has no probability, but the links before it have one"),
        ("0-0\n\n1-1:1", "line 3: '1-1:1' has a probability, but the links before it have none"),
        (b"\xff-0", r"line 1: '\xff-0' is not a link 'i-j'"),
        ("\ud800", r"line 1: '\xed\xa0\x80' is not a link 'i-j'"),
        ("a\0\x1b[1m", r"line 1: 'a\x00\x1b[1m' is not a link 'i-j'"),
        ("é" * 100, f"line 1: '{'é' * 30}...' is not a link 'i-j'"),
        ("x" + "é" * 100, f"line 1: 'x{'é' * 29}...' is not a link 'i-j'"),
    ],
)
def test_text_that_is_no_links(text: str | bytes, fault: str) -> None:
    with pytest.raises(InputError) as caught:
        Links.from_pharaoh(text)
    assert str(caught.value).endswith(fault)


def test_the_same_text_and_links_at_any_number_of_threads() -> None:
    """With lines that cross the bounds of the parser's chunks, and one that is longer than many."""
    random = np.random.default_rng(5)
    lengths = random.integers(0, 12, 60_000)
    lengths[777] = 200_000
    pairs = random.integers(0, 2**31, (lengths.sum(), 2))
    links = Links(np.cumsum([0, *lengths]), pairs, random.random(len(pairs))).inverted()
    texts = {
        links.to_pharaoh(probabilities=True, by_target=by_target, threads=threads)
        for threads in (1, 2, 5)
        for by_target in (False, True)
    }
    assert len(texts) == 2
    for threads in (1, 2, 5):
        read = [Links.from_pharaoh(text, threads=threads) for text in texts]
        assert read[0] == read[1]
        assert np.array_equal(read[0].offsets, links.offsets)
        assert np.array_equal(read[0].pairs, links.pairs)
        assert links.probability is not None
        assert read[0].probability is not None
        assert np.abs(read[0].probability - links.probability).max() < 5.1e-5


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_error_is_told(threads: int) -> None:
    """Though a later chunk may meet its own first."""
    row = "0-0 1-1 " * 40
    lines = [row] * 5000
    lines[4999] = "last"
    for at, bad, fault in (
        (4000, "third", "'third' is not a link 'i-j'"),
        (2000, "1-1:0.5", "'1-1:0.5' has a probability, but the links before it have none"),
        (1999, "second", "'second' is not a link 'i-j'"),
    ):
        lines[at] = bad
        with pytest.raises(InputError, match=f"^line {at + 1}: {fault}$"):
            Links.from_pharaoh("\n".join(lines), threads=threads)
    # Where a whole chunk is of the other kind, its first link is the fault.
    halves = f"{row}\n" * 2000 + "\n" * 9 + f"{row.replace(' ', ':1 ')}\n" * 2000 + "bad"
    with pytest.raises(InputError, match="line 2010: '0-0:1' has a probability"):
        Links.from_pharaoh(halves, threads=threads)


@pytest.mark.parametrize(
    ("offsets", "pairs"),
    [
        ([], [[0, 0]]),
        ([[0, 1]], [[0, 0]]),
        ([0, 1], [0, 0]),
        ([0, 1], [[0, 0, 0]]),
        ([0, 1], [[[0, 0]]]),
        ([0, 2], [[0, 0]]),
        ([0, 0], [[0, 0]]),
        ([1, 1], [[0, 0]]),
        ([0, 2, 1], [[0, 0]]),
        ([0, -1, 1], [[0, 0]]),
        ([0, 2**62, 1], [[0, 0]]),
        ([0, 1], [[-1, 0]]),
        ([0, 1], [[0, -(2**31)]]),
    ],
)
def test_malformed_links(offsets: Any, pairs: Any) -> None:
    arrays = np.array(offsets, np.int64), np.array(pairs, np.int32)
    good = np.array([0, 1], np.int64), np.array([[0, 0]], np.int32)
    with pytest.raises(ValueError, match="links"):
        _native.format_pharaoh(*arrays, None, False, 1)
    with pytest.raises(ValueError, match="probabilities of the links"):
        _native.format_pharaoh(*good, np.ones(2, np.float32), False, 1)
    for forward, backward in ((good, arrays), (arrays, good)):
        with pytest.raises(ValueError, match="links"):
            _native.symmetrize(*forward, *backward, "union", 1)
    with pytest.raises(ValueError, match="unknown heuristic"):
        _native.symmetrize(*good, *good, "refined", 1)


def test_links_of_another_layout() -> None:
    """Strided and unsorted arrays are taken as what they show."""
    pairs = np.array([[0, 1], [9, 9], [0, 0], [9, 9]], np.int32)[::2]
    offsets = np.array([0, 9, 2, 9])[::2]
    assert _native.format_pharaoh(offsets, pairs, None, False, 1) == b"0-0 0-1\n"
    chances = np.array([0.1, 0.2, 0.3], np.float32)[::2]
    assert _native.format_pharaoh(offsets, pairs, chances, False, 1) == b"0-0:0.3000 0-1:0.1000\n"
    with pytest.raises(TypeError):
        _native.format_pharaoh(offsets, pairs.astype(np.float32), None, False, 1)


# ------------------------------------------------------------------------------- symmetrisation


@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_symmetrizes_like_atools(heuristic: str) -> None:
    forward, backward = recorded_links("toku.forward"), recorded_links("toku.reverse")
    expected = recorded_links(f"toku.{heuristic}")
    found = symmetrize(Links.from_lists(forward), Links.from_lists(backward), heuristic)
    assert list(found) == expected
    assert [
        twin_symmetrize.symmetrize(f, b, heuristic) for f, b in zip(forward, backward, strict=True)
    ] == expected


@given(st.lists(st.tuples(grids, grids), max_size=4), st.sampled_from(HEURISTICS))
@hypothesis_settings(deadline=None, max_examples=300)
def test_symmetrizes_like_the_twin(
    pairs: list[tuple[list[Link], list[Link]]], heuristic: str
) -> None:
    forward, backward = (Links.from_lists(pair[side] for pair in pairs) for side in (0, 1))
    expected = [twin_symmetrize.symmetrize(f, b, heuristic) for f, b in pairs]
    for threads in (1, 2):
        assert list(symmetrize(forward, backward, heuristic, threads=threads)) == expected


def test_symmetrize_refuses() -> None:
    one, two = Links.from_lists([[(0, 0)]]), Links.from_lists([[(0, 0)], []])
    with pytest.raises(InputError, match="unknown heuristic 'refined'; there are intersect, union"):
        symmetrize(one, one, "refined")
    with pytest.raises(ValueError, match="different numbers of pairs"):
        symmetrize(one, two, "union")
    with pytest.raises(InputError, match="threads must be at least 1"):
        symmetrize(one, one, "union", threads=0)


def test_a_link_may_be_far_out() -> None:
    far = 2**31 - 1
    links = Links.from_lists([[(0, 0), (far, far)], [(1, far)]])
    for heuristic in HEURISTICS:
        assert symmetrize(links, links, heuristic) == links


# ------------------------------------------------------------------------------- refusals


def test_what_are_no_links() -> None:
    nan = float("nan")
    bad: list[tuple[Any, ...]] = [
        ([0, 2], [(0, 0)]), ([1, 1], [(0, 0)]), ([0, 2, 1], [(0, 0)]), ([], []),
        ([[0, 1]], [(0, 0)]),
        (0, []), (None, []), ("01", [(0, 0)]), ([0, 1.5], [(0, 0)]), ([0, nan], []), (b"01", []),
        ([0, 1], [(-1, 0)]), ([0, 1], [(0, 2**31)]), ([0, 1], [(0, 0.5)]), ([0, 1], [(0, 0, 0)]),
        ([0, 1], [0]), ([0, 1], ["00"]), ([0, 1], b"00"), ([0, 1], None), ([0, 1], [(0,), (1, 2)]),
        ([0, 10**30], [(0, 0)]), ([0, 1], [(0, 0)], ["x"]), ([0, 1], [(0, 0)], [0.5, 0.5]),
    ]  # fmt: skip
    for arguments in bad:
        with pytest.raises(InputError, match=r"of links|for 1 links"):
            Links(*arguments)
    rows: list[Any] = [3, [3], "ab", [[3]], [["a"]], [[(1, 2, 3)]], b"ab", [b"ab"], None]
    for row in rows:
        with pytest.raises(InputError, match="links are lists"):
            Links.from_lists(row)
        with pytest.raises(InputError, match="links are lists"):
            score(row, [(set(), set())])
    for row in ([[("a", "b")]], [[(0.5, 1)]], [[(-1, 0)]]):
        with pytest.raises(InputError, match="whole numbers from 0 on"):
            Links.from_lists(row)  # type: ignore[arg-type]
    texts: list[Any] = [3, None, ["0-0"], bytearray(b"0-0")]
    for text in texts:
        with pytest.raises(InputError, match="Pharaoh's format is text or bytes"):
            Links.from_pharaoh(text)


def test_links_of_any_iterable() -> None:
    links = Links.from_lists(LISTS)
    assert Links.from_lists(iter([iter(row) for row in LISTS])) == links
    assert Links.from_lists([[[i, j] for i, j in row] for row in LISTS]) == links  # type: ignore[misc]
    assert Links(iter([0, 3, 3, 4]), iter(links.pairs.tolist())) == links
    gold = [(set(row), set(row)) for row in LISTS]
    assert score(iter(LISTS), iter(gold)).aer == 0
    assert score(links, [(list(sure), list(possible)) for sure, possible in gold]).aer == 0  # type: ignore[misc]


def test_what_cannot_be_combined_or_scored() -> None:
    links = Links.from_lists(LISTS)
    for one, other in ((links, LISTS), (LISTS, links), (links, None)):
        with pytest.raises(InputError, match="the two directions are Links"):
            symmetrize(one, other, "union")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="different numbers of pairs: 3 and 2"):
        symmetrize(links, links.part(0, 2), "union")
    for method in ("diag", None, 3, ["union"]):
        with pytest.raises(InputError, match="unknown heuristic"):
            symmetrize(links, links, method)  # type: ignore[arg-type]
    for threads in (0, -1, 2.5, "2", 2**31):
        with pytest.raises(InputError, match="threads must be at least 1"):
            symmetrize(links, links, "union", threads=threads)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="links of 3 pairs, gold links of 1"):
        score(links, [(set(), set())])
    with pytest.raises(InputError, match=r"\(sure, possible\)"):
        score([[]], [(set(),)])  # type: ignore[list-item]
