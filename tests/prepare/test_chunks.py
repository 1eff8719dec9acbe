"""Ranges of the input: where they are cut, and what is held out of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prepared_texts import WORD_PIECE

from weam_ext.common.ragged import Lists, read_lists
from weam_ext.prepare import chunks
from weam_ext.prepare.chunks import Part, Range, finish, tokenise
from weam_ext.prepare.settings import Counts, PrepareSettings
from weam_ext.text.cached_tokenizer import Pieces


@given(
    st.lists(st.integers(1, 6), max_size=40).flatmap(
        lambda copies: st.permutations([k for k, n in enumerate(copies) for _ in range(n)])
    ),
    st.integers(1, 12),
)
def test_copies_are_held_out_together(digests: list[int], goal: int) -> None:
    chosen = chunks.heldout(np.array(digests, np.uint64), goal).tolist()
    room = goal - sum(digests.count(digest) for digest in chosen)
    assert len(set(chosen)) == len(chosen) and room >= 0
    left = set(digests) - set(chosen)
    assert not any(digests.count(digest) <= room for digest in left)
    most = max(chosen, default=0)
    assert all(digest > most for digest in left if digests.count(digest) == 1)


def test_ranges_end_with_many_lines_or_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "SHARD_PAIRS", 3)
    monkeypatch.setattr(chunks, "SHARD_CHARACTERS", 10)
    lines = [("a", "b")] * 4 + [("c" * 99, "")] + [("", "d")] * 2
    found = list(chunks.cut(lines))
    assert [each.sides for each in found] == [
        ("a\na\na", "b\nb\nb"), ("a\n" + "c" * 99, "b\n"), ("\n", "d\nd"),
    ]  # fmt: skip
    assert [each.number for each in found] == [0, 1, 2]
    assert not list(chunks.cut([]))


LINES = Range(0, ("mira dalo\n\nido\n" + "ido " * 30, "toku\nido\n\u00a0\nido"))
"""A pair, two with an empty side, and a long one."""


def part_of(directory: Path, **settings: str) -> tuple[Part, Counts]:
    part = Part.of(directory, 3, 7)
    pieces = Pieces(WORD_PIECE.backend_tokenizer, "bert", False)
    return part, tokenise(LINES, part, pieces, PrepareSettings(**settings), room=20)


def columns_of(part: Part) -> dict[str, list[int]]:
    found: dict[str, Lists] = read_lists(part.columns)
    return {name: column.lengths.tolist() for name, column in found.items()}


def test_over_long_pairs_are_dropped_but_for_the_aligner(tmp_path: Path) -> None:
    part, counts = part_of(tmp_path)
    assert counts == Counts(read=4, empty=2, overlong=1)
    assert part.columns.name == "part-03-00007.columns"
    lengths = columns_of(part)
    assert lengths["digest"] == [1, 0] and lengths["source_ids"][1] == 0
    assert lengths["source_numbers"] == [2, 30]
    assert part.vocabularies[0].read_text().splitlines()[:2] == ["mira", "dalo"]
    assert len(part.digests()) == 1
    part.remove()
    part.remove()  # nothing is left to remove
    assert not list(tmp_path.iterdir())


def test_over_long_pairs_are_truncated_where_the_longer_side_gives_way(tmp_path: Path) -> None:
    part, counts = part_of(tmp_path, overlong="truncate")
    assert counts.overlong == 1
    lengths = columns_of(part)
    assert lengths["digest"] == [1, 1]
    own = len(WORD_PIECE.tokenize("ido"))
    assert (lengths["source_ids"][1], lengths["target_ids"][1]) == (20 - own, own)


def test_a_text_without_an_aligner_has_no_links(tmp_path: Path) -> None:
    part, _ = part_of(tmp_path, overlong="truncate")
    chosen = part.digests()[:1]
    counts, shards = finish(part, "03-00007", None, chosen, PrepareSettings())
    assert (counts.train, counts.heldout, counts.links) == (1, 1, 0)
    names = {shard["file"] for found in shards.values() for shard in found}
    assert names == {path.name for path in tmp_path.iterdir()}
    assert names == {"train-03-00007.arrow", "heldout-03-00007.arrow"}


def test_nobody_is_held_out_of_nothing() -> None:
    assert chunks.heldout(np.array([], np.uint64), 5).tolist() == []
    assert chunks.heldout(np.array([4, 4, 2], np.uint64), 1).tolist() == [2]
    assert chunks.heldout(np.array([4, 4, 2], np.uint64), 0).tolist() == []
