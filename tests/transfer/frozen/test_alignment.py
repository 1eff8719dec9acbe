"""Word alignment read off an encoder, and the gold links that it is compared with."""

from pathlib import Path

import pytest
import torch
from helpers import real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from transfer_files import LAYERS, flags, small_data, write
from weam_ref import metrics as reference

from weam_ext.common.errors import InputError
from weam_ext.transfer import cli, read_all
from weam_ext.transfer.frozen import alignment
from weam_ext.transfer.frozen.alignment import THRESHOLD, token_links, word_links


def test_alignment_of_words(inputs: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "data")
    arguments = flags(inputs, tmp_path / "out", models=(f"m={inputs / 'a'}",))
    cli.main([*arguments, "--data", str(data), "--tasks", "alignment"])
    rows = read_all(tmp_path / "out")
    assert len(rows) == (LAYERS + 1) * 2 * 2
    assert rows[0].language == "toy:en-de"
    assert rows[0].gold == ["0-0 1-1", "0-0 2-2 1?1"]
    part, whole = rows[0].metrics["1-aer"]
    links = [text.split() for text in rows[0].predictions]
    assert whole.tolist() == [2 + len(links[0]), 2 + len(links[1])]
    assert (part <= whole).all()


def test_gold_alignments() -> None:
    data = real_data("wa-zhen").parent
    found = alignment.read_gold_sets(data)
    sizes = {name: len(pairs) for name, pairs in found.items()}
    assert sizes["enfr-wpt03:en-fr"] == 447
    assert sizes["zhen:zh-en"] == 450
    assert sizes["ensv:en-sv"] == 1164
    assert sizes["pud:en-ko"] == 884
    assert (sizes["xlwa:en-it"], sizes["xlwa:en-ru"]) == (243, 90)  # the test set, else the dev set
    assert sum(len(pair.sure) for pair in found["zhen:zh-en"]) == 11238
    assert sum(len(pair.possible - pair.sure) for pair in found["zhen:zh-en"]) == 178


def test_a_link_outside_of_its_sentence(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    write(data / "wa-toy/gold.en-de.gold", "0-0\n0-9\n")
    with pytest.raises(InputError, match=r"line 2: link 0-9 of 3 and 3 words"):
        alignment.read_gold_sets(data)


small = st.integers(-2, 2).map(float)


vectors = st.lists(st.lists(small, min_size=3, max_size=3), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(vectors, vectors)
def test_links_as_the_reference(source: list[list[float]], target: list[list[float]]) -> None:
    sides = torch.tensor(source), torch.tensor(target)
    argmax = {(i, j) for i, j in token_links(*sides, "argmax").nonzero().tolist()}
    assert argmax == reference.argmax_links(source, target)
    softmax = {(i, j) for i, j in token_links(*sides, "softmax").nonzero().tolist()}
    assert softmax == reference.softmax_links(source, target, THRESHOLD)


def test_words_are_linked_where_any_of_their_tokens_are() -> None:
    linked = torch.tensor([[True, False], [False, True], [False, True]])
    assert word_links(linked, [0, 0, -1], [0, 1]) == {(0, 0), (0, 1)}


def test_gold_sets_as_published(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    write(data / "wa-xl/it/test.tsv", "the house\tla casa\t0-0 1-1\n")
    write(data / "wa-xl/it/dev.tsv", "not read")
    write(data / "wa-xl/ru/dev.tsv", "house\tдом\t0-0\n")
    found = alignment.read_gold_sets(data)
    assert set(found) == {"toy:en-de", "xl:en-it", "xl:en-ru"}
    assert found["xl:en-it"][0].target == ("la", "casa")
    second = found["toy:en-de"][1]
    assert (second.sure, second.possible - second.sure) == ({(0, 0), (2, 2)}, {(1, 1)})
    assert set(alignment.read_gold_sets(data, ("toy",))) == {"toy:en-de"}
    write(data / "wa-xl/it/test.tsv", "the house\tla casa\n")
    with pytest.raises(InputError, match="line 1: 2 tab-separated fields instead of 3"):
        alignment.read_gold_sets(data)
    write(data / "wa-toy/gold.de", "das Haus\n")
    with pytest.raises(InputError, match=r"has 2 lines, .* 1, .* 2"):
        alignment.read_gold_sets(data)
    with pytest.raises(InputError, match=r"no gold word alignments \(folders wa-\*\) there"):
        alignment.read_gold_sets(tmp_path / "wa-toy")


def test_a_gold_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    with pytest.raises(InputError, match=r"no gold word alignments of none \(wa-\*\) there"):
        alignment.read_gold_sets(data, ("toy", "none"))
