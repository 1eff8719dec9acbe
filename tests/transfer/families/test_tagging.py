"""Tags of words: read as published, put to a model in pieces, and broken."""

from pathlib import Path

import numpy as np
import pytest
from helpers import real_data
from small_tokenizers import FAMILIES, tokenizer
from transfer_files import counts, fault, read_parts, tagged, write

from weam_ext.transfer.families.formats import Part
from weam_ext.transfer.families.tagging import (
    IGNORED,
    PANX_FORMATS,
    UDPOS_FORMATS,
    UPOS,
    Sentence,
    Tagging,
)
from weam_ext.transfer.results import Score


def test_udpos() -> None:
    data = read_parts(real_data("udpos").parent, UDPOS_FORMATS)
    found = {f"{p.split}-{p.language}": len(x) for p, x in data.items()}
    assert len(found) == 35
    assert (found["train-en"], found["dev-de"], found["dev-mr"]) == (21253, 19233, 46)
    first = data[Part("dev", "zh")][0]
    assert (first.words[0], first.tags[0]) == ("同樣", "ADV")


def test_panx() -> None:
    found = counts("panx", PANX_FORMATS)
    small = {"hi", "sw", "ta", "te", "ur"}
    assert len(found) == 23
    assert found.pop("train-en") == 20000
    assert all(n == (1000 if k[4:] in small else 10000) for k, n in found.items())


def test_a_wrong_tag(tmp_path: Path) -> None:
    path = write(tmp_path / "udpos/dev-de.tsv", tagged(1, "x") + "a\tNOPE\n")
    assert fault(tmp_path, UDPOS_FORMATS).startswith(f"{path}, line 6: tag 'NOPE' is none of ADJ")


def test_a_tag_without_its_word(tmp_path: Path) -> None:
    path = write(tmp_path / "panx/dev-de.tsv", "O\n")
    assert fault(tmp_path, PANX_FORMATS) == f"{path}, line 1: no tab between a word and its tag"


@pytest.mark.parametrize("family", FAMILIES)
def test_tags_survive_the_way_to_tokens_and_back(family: str) -> None:
    """Perfect outputs give the gold tags, in pieces too, whatever the tokenizer."""
    tagging = Tagging(("A", "B"), "A")
    words = ("ido", "mira", "今天", "dalo", "\u200b", "venn") * 5
    sentence = Sentence("k", words, tuple("AB"[k % 2] for k in range(len(words))))
    for length in (8, 128):
        rows = tagging.encode(tokenizer(family), [sentence, sentence], length)
        assert max(len(row["input_ids"]) for row in rows) <= length
        outputs = [np.eye(2)[[max(label, 0) for label in row["labels"]]] for row in rows]
        decoded = tagging.decode(outputs, rows, [sentence, sentence])
        shown = {word for row in rows if row["example"] == 0 for _, word in row["words"]}
        expected = [tag if k in shown else "A" for k, tag in enumerate(sentence.tags)]
        assert decoded == [" ".join(expected)] * 2
        assert len(shown) >= 25  # all but the invisible word
        counted = sum(label != IGNORED for row in rows for label in row["labels"])
        assert counted == 2 * len(shown)


def test_tags_known_by_hand() -> None:
    family = Tagging(UPOS, "X")
    sentence = Sentence("1", ("a", "b", "c", "d"), ("DET", "NOUN", "NOUN", "VERB"))
    scores = family.score([sentence], ["DET NOUN VERB VERB"], "en")
    assert scores["accuracy"] == [Score(3.0, 4.0)]
    # seqeval joins equal neighbours: DET, NOUN NOUN, VERB against DET, NOUN, VERB VERB.
    assert scores["f1"] == [Score(2.0, 6.0)]
