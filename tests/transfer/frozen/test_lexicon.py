"""Bilingual lexicon induction: dictionaries, and the words that gold links join."""

from pathlib import Path

import pytest
from helpers import real_data
from transfer_files import LAYERS, small_data, write

from weam_ext.common.errors import InputError
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.frozen import lexicon
from weam_ext.transfer.frozen.alignment import GoldPair


def test_lexicon_from_gold_alignments() -> None:
    found = lexicon.read_dictionaries(real_data("wa-zhen").parent)
    assert {"fr", "zh", "sv", "bg"} <= set(found)
    assert "president" in " ".join(found["fr"]["president"]).replace("é", "e")


def pair(source: str, target: str, *links: tuple[int, int]) -> GoldPair:
    both = frozenset(links)
    return GoldPair("k", tuple(source.split()), tuple(target.split()), both, both)


def test_words_that_are_linked_one_to_one() -> None:
    pairs = [
        pair("The house", "Das Haus", (0, 0), (1, 1)),
        pair("a house", "ein haus", (1, 1)),
        pair("a house , 1", "ein Gebäude , 1", (1, 1), (2, 2), (3, 3)),
        pair("a house", "ein Heim da", (1, 1), (1, 2)),  # of two words
        pair("red house", "rotes haus", (0, 0), (0, 1), (1, 1)),
    ]
    expected = {"the": {"das"}, "house": {"haus", "gebäude"}}
    assert lexicon.from_links(pairs, swapped=False) == expected
    # Three of "haus" to one: what is less than half as frequent is dropped.
    assert lexicon.from_links([*pairs, pairs[1]], swapped=False)["house"] == {"haus"}
    turned = lexicon.from_links(pairs[:1], swapped=True)
    assert turned == {"das": {"the"}, "haus": {"house"}}


def test_dictionaries_as_published(tmp_path: Path) -> None:
    path = write(tmp_path / "muse/en-deu.0-5000.txt", "house haus\nhouse\tgebäude\n")
    assert lexicon.read_dictionaries(tmp_path) == {"de": {"house": {"haus", "gebäude"}}}
    write(path, "house haus\nbig old house\n")
    with pytest.raises(InputError, match="line 2: not 'source target'"):
        lexicon.read_dictionaries(tmp_path)
    with pytest.raises(InputError, match="neither dictionaries"):  # too few words are linked
        lexicon.read_dictionaries(small_data(tmp_path / "other"))


def test_a_word_is_found_where_it_is_its_own_translation(inputs: Path) -> None:
    encoder = Encoder(inputs / "a", 16, "cpu", "fp32")
    words = ("ido", "mira", "dalo", "venn")
    entries = {"de": {word: {word} for word in words}, "fr": {word: {"toku"} for word in words}}
    found = list(lexicon.evaluate(encoder, entries, 2))
    assert len(found) == 2 * (LAYERS + 1) * 2 * 2
    for row in found:
        own = row.language == "de"
        assert row.keys == sorted(words)
        assert row.predictions == (row.keys if own else ["toku"] * 4)
        assert all(score.part == 1 for score in row.metrics["accuracy"])
