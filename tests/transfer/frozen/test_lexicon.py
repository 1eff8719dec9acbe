"""Bilingual lexicon induction: dictionaries, and the words that gold links join."""

from helpers import real_data

from weam_ext.transfer.frozen import lexicon


def test_lexicon_from_gold_alignments() -> None:
    found = lexicon.read_dictionaries(real_data("wa-zhen").parent)
    assert {"fr", "zh", "sv", "bg"} <= set(found)
    assert "president" in " ".join(found["fr"]["president"]).replace("é", "e")
