"""Probes: what a linear classifier on frozen vectors tells, layer by layer."""

from pathlib import Path

import pytest
from transfer_files import LAYERS

from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.families.classification import TOPICS, Classification, Text
from weam_ext.transfer.families.tagging import Sentence, Tagging
from weam_ext.transfer.frozen import probe
from weam_ext.transfer.tasks import Examples


@pytest.fixture(scope="module")
def own(inputs: Path) -> Encoder:
    return Encoder(inputs / "a", 16, "cpu", "fp32")


def test_topics_are_told_by_their_words(own: Encoder) -> None:
    words = {"travel": "ido mira", "sports": "dalo venn"}
    train = [Text(f"{k}", f"{words[t]} {'toku ' * (k % 5)}", None, t)
             for k in range(20) for t in words]  # fmt: skip
    tests = [Text("1", "ido mira toku", None, "travel"), Text("2", "dalo venn", None, "sports")]
    examples = Examples(train, {}, {"de": tests})
    found = list(probe.evaluate(own, Classification(TOPICS), examples, 0, 4))
    assert [(row.layer, row.vectors) for row in found] == [
        (layer, vectors) for layer in range(LAYERS + 1) for vectors in ("raw", "centred")
    ]
    assert found[0].predictions == found[0].gold == ["travel", "sports"]
    assert found[0].metrics == Classification(TOPICS).score(tests, ["travel", "sports"], "de")
    assert {row.method for row in found} == {"probe"}


def test_tags_are_told_by_first_tokens_and_hidden_words_get_the_default(own: Encoder) -> None:
    tagging = Tagging(("A", "B"), "A")
    words = ("ido", "dalo") * 7
    train = [Sentence("1", words, ("A", "B") * 7), Sentence("2", words[::-1], ("B", "A") * 7)]
    tests = [Sentence("1", ("dalo", "\u200b", "ido"), ("B", "B", "A")),
             Sentence("2", ("dalo",) * 40, ("B",) * 40)]  # fmt: skip
    found = next(iter(probe.evaluate(own, tagging, Examples(train, {}, {"de": tests}), 0, 4)))
    short, long = found.predictions
    assert short == "B A A"
    pieces = len(own.tokenizer.tokenize("dalo"))
    shown = -(-14 // pieces)  # of 16 tokens two are special
    assert long.split() == ["B"] * shown + ["A"] * (40 - shown)


def test_a_language_without_a_word_that_is_shown(own: Encoder) -> None:
    hidden = Sentence("1", ("\u200b",), ("A",))
    vectors, places = probe._vectors(own, Tagging(("A",), "A"), [hidden], 4)
    assert vectors.shape == (LAYERS + 1, 0, own.width) and places == []
