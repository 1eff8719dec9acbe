"""Rows of any length in one array, and on disk."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weam_ext.common.ragged import Lists, read_lists, write_lists

ROWS = st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=8)


def lists(rows: list[list[int]]) -> Lists:
    values = np.array([value for row in rows for value in row], np.int32)
    return Lists.of_lengths(np.array([len(row) for row in rows], np.int64), values)


def rows_of(found: Lists) -> list[list[int]]:
    at = found.offsets.tolist()
    return [found.values[at[k] : at[k + 1]].tolist() for k in range(len(at) - 1)]


@given(ROWS, st.data())
def test_rows_are_taken(rows: list[list[int]], data: st.DataObject) -> None:
    assert rows_of(lists(rows)) == rows
    if rows:
        taken = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1))), np.int64)
        assert rows_of(lists(rows).take(taken)) == [rows[k] for k in taken]
        kept = [data.draw(st.integers(0, len(rows[k]))) for k in taken]
        cut = lists(rows).take(taken, np.array(kept, np.int64))
        assert rows_of(cut) == [rows[k][:n] for k, n in zip(taken, kept, strict=True)]
    assert rows_of(Lists.empty(3)) == [[], [], []]


def test_lists_on_disk(tmp_path: Path) -> None:
    columns = {"a": lists([[1, 2], [], [3]]), "b": Lists.empty(3)}
    for name in ("one", "two"):
        write_lists(tmp_path / name, columns)
    found = read_lists(tmp_path / "one")
    assert {name: rows_of(each) for name, each in found.items()} == {
        "a": [[1, 2], [], [3]], "b": [[], [], []],
    }  # fmt: skip
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
