"""A cell's file: what is written is read again, and nothing else is."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_files import cells

from weam_ext.common.errors import InputError
from weam_ext.transfer import Cell, Evaluation, read
from weam_ext.transfer.results import (
    Failed,
    Finished,
    Score,
    read_all,
    read_failed,
    write,
    write_failed,
)


def test_a_file_that_is_no_cell(tmp_path: Path) -> None:
    (tmp_path / "x.arrow").write_bytes(b"ARROW1 but not really")
    with pytest.raises(InputError, match=r"x\.arrow: not predictions of weam_ext\.transfer"):
        read(tmp_path / "x.arrow")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1101", "1000"], languages=("de", "fr"))
    rows = read_all(tmp_path)
    assert len(rows) == 2 * 2 * 2
    assert rows[0].metrics["accuracy"][0].tolist() == [1, 1, 0, 1]
    assert rows[0].predictions == ["a", "b", "d", "d"] and rows[0].lengths.tolist() == [
        10,
        20,
        30,
        40,
    ]


def test_a_damaged_file_is_refused_whatever_byte_it_is(tmp_path: Path) -> None:
    """Arrow itself would take many for other results, and end the program over some."""
    cells(tmp_path, "m", ["1101"])
    (path,) = (tmp_path / "cells").iterdir()
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 5):
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        data[at] ^= 1 << at % 8
        with pytest.raises(InputError, match=r"\.arrow: not predictions .* or changed"):
            read_all(tmp_path)
    path.write_bytes(data)
    assert len(read_all(tmp_path)) == 2


CELL = Cell("a/b c", "sha", "xnli", "data", "few-shot-2", 3, {"epochs": 1, "languages": ["de"]})


def test_a_name_tells_what_a_cell_is() -> None:
    assert CELL.name == f"xnli.a-b-c.few-shot-2.3.{CELL.identity[:12]}"
    same = replace(CELL, options=dict(reversed(CELL.options.items())))
    assert same.identity == CELL.identity
    changed = [replace(CELL, seed=4), replace(CELL, data_sha256="x"), replace(CELL, options={})]
    assert len({cell.identity for cell in (CELL, *changed)}) == 4


def test_every_field_comes_back(tmp_path: Path) -> None:
    row = Evaluation(
        "en-de", {"f1": [Score(0.5, 2.0)], "em": [Score(0.0)]}, ["k"], selection="oracle",
        noise="case 1", layer=2, vectors="raw", method="m", lengths=[7], gold=["a\nb"],
        predictions=["今天"], notes={"shots": 2},
    )  # fmt: skip
    (found,) = read(write(tmp_path, Finished(CELL, "/runs/m", {"layers": 2}, [row])))
    assert (found.cell, found.directory, found.facts) == (CELL, "/runs/m", {"layers": 2})
    for name in ("language", "split", "selection", "noise", "layer", "vectors", "method", "keys",
                 "gold", "predictions", "notes"):  # fmt: skip
        assert getattr(found, name) == getattr(row, name)
    assert found.lengths.tolist() == [7]
    assert [side.tolist() for side in found.metrics["f1"]] == [[0.5], [2.0]]
    assert list(found.metrics) == ["f1", "em"]
    assert read(write(tmp_path, Finished(CELL, "/runs/m", {}, []))) == []


def test_a_failure_is_told_until_the_cell_is_made(tmp_path: Path) -> None:
    failed = Failed(CELL, "/runs/m", "dev.tsv, line 3: «x»")
    write_failed(tmp_path, failed)
    assert list(read_failed(tmp_path)) == [failed]
    write(tmp_path, Finished(CELL, "/runs/m", {}, []))
    assert not list(read_failed(tmp_path))
    (tmp_path / "cells/x.failed").write_text("[1]")
    with pytest.raises(InputError, match=r"x\.failed: not a record of weam_ext\.transfer"):
        list(read_failed(tmp_path))
