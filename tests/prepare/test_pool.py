"""Worker processes that tokenise."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prepared_texts import WORD_PIECE, corpus, write

from weam_ext.common.errors import InputError
from weam_ext.prepare import chunks
from weam_ext.prepare import pool as workers
from weam_ext.prepare.chunks import Range
from weam_ext.prepare.pipeline import prepare
from weam_ext.prepare.pool import Task, tokenised
from weam_ext.prepare.settings import PrepareSettings


def die(_: object) -> None:
    os._exit(1)


@pytest.mark.long
def test_a_worker_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "SHARD_PAIRS", 100)
    monkeypatch.setattr(workers, "_start_worker", die)
    bitext = write(tmp_path / "corpus.txt", corpus())
    with pytest.raises(InputError, match="a worker process was killed; was there too little"):
        prepare([bitext], WORD_PIECE, tmp_path / "out", PrepareSettings(), workers=2)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def task(directory: Path) -> Task:
    return Task(WORD_PIECE.backend_tokenizer.to_str(), 0, directory, PrepareSettings(), 40)


def ranges(count: int) -> list[Range]:
    return [Range(k, ("mira\n" * k + "ido", "dalo\n" * k + "toku")) for k in range(count)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_worker_is_this_process(count: int, tmp_path: Path) -> None:
    found = list(tokenised(task(tmp_path), iter(ranges(count)), workers=1))
    assert [(number, counts.read) for number, counts in found] == [(k, k + 1) for k in range(count)]
    assert len(list(tmp_path.glob("*.columns"))) == count


def test_little_is_read_ahead(tmp_path: Path) -> None:
    taken = []

    def texts() -> Iterator[Range]:
        for text in ranges(9):
            taken.append(text.number)
            yield text

    assert next(tokenised(task(tmp_path), texts(), workers=1))[0] == 0
    assert taken == [0, 1]


def test_a_single_range_needs_no_other_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "ProcessPoolExecutor", None)
    assert len(list(tokenised(task(tmp_path), iter(ranges(1)), workers=8))) == 1
