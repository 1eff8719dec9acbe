"""What a preparation is asked for, and what it counts."""

from dataclasses import asdict
from typing import Any

import pytest

from weam_ext.common.errors import InputError
from weam_ext.prepare.settings import (
    Counts,
    PrepareCommand,
    PrepareSettings,
    TextSettings,
    settings_had,
)
from weam_ext.text.bitext import BitextSource, MonolingualSource


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"words": "moses"}, "--words must be one of bert, blanks, not moses"),
        ({"heuristic": "best"}, "unknown heuristic 'best'; there are posterior, intersect, "),
        ({"heuristic": "posterior", "aligner": "fast-align"}, "unknown heuristic 'posterior'; "),
        ({"overlong": "keep"}, "--overlong must be one of drop, truncate, not keep"),
        ({"max_length": 7}, "--max-length must be at least 8"),
        ({"heldout": 0}, "--heldout must be at least 1"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError) as error:
        PrepareSettings(**values)
    assert str(error.value).startswith(fault)


def test_texts_come_in_order_bitexts_first() -> None:
    found = TextSettings(monolingual=("b=x",), bitext=(("a=y", "z"), ("t.tsv",)), limit=5).sources()
    assert found == [
        BitextSource("a", ("y", "z"), None, 5), BitextSource("t", ("t.tsv",), None, 5),
        MonolingualSource("b", "x", 5),
    ]  # fmt: skip
    with pytest.raises(InputError, match="--columns: there is no --bitext of one tab-separated"):
        TextSettings(bitext=(("a", "b"),), columns="1,2").sources()


def test_what_a_command_needs() -> None:
    needed = {"bitext": (("a",),), "tokenizer": "t", "output": "o"}
    assert PrepareCommand(**needed).workers is None
    for changes, fault in (({"bitext": None}, "--bitext or --monolingual, and --tokenizer"),
                           ({"tokenizer": None}, "--bitext or --monolingual, and --tokenizer"),
                           ({"workers": 1001}, "--workers must be from 1 to 1,000")):  # fmt: skip
        with pytest.raises(InputError, match=fault):
            PrepareCommand(**(needed | changes))


def test_the_settings_of_a_preparation_are_those_in_which_its_texts_agree() -> None:
    texts = [{"columns": [1, 2], "limit": 9}, {"columns": None, "limit": 9}]
    description = {"settings": asdict(PrepareSettings(seed=7)), "corpora": texts}
    had = settings_had(description)
    assert (had["columns"], had["limit"], had["heuristic"]) == ("1,2", 9, "posterior")
    assert "seed" not in had
    texts[1].update(columns=[2, 1], limit=None)
    had = settings_had(description)
    assert had["columns"] is had["limit"] is None


def test_counts_are_added_and_told() -> None:
    counts = Counts(read=1200, empty=1, train=3, links=10) + Counts(overlong=2, heldout=1, links=2)
    assert counts == Counts(read=1200, empty=1, overlong=2, train=3, heldout=1, links=12)
    assert counts.told("sentence pair") == (
        "1,200 sentence pairs read, 1 empty, 2 over-long, 3 to train on (0 tokens), 1 held out, "
        "3.0 word links a pair"
    )
    assert "links" not in Counts(read=1).told("line")


@pytest.mark.parametrize("aligner", ["hybrid", "encoder"])
def test_an_aligner_with_an_encoder(aligner: str) -> None:
    with pytest.raises(InputError, match=f"--aligner {aligner} needs --aligner-encoder"):
        PrepareSettings(aligner=aligner)
    with pytest.raises(InputError, match="--aligner hmm takes no --aligner-encoder"):
        PrepareSettings(aligner_encoder="x")
    assert PrepareSettings(aligner=aligner, aligner_encoder="x").heuristic is None
