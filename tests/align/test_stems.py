"""Stems: what of a word is learnt, and how it is written."""

from typing import Any

import pytest
from aligners import corpus, everything

from weam_ext.align.aligner import Aligner
from weam_ext.align.stems import Stem, apply_stem, parse_stems
from weam_ext.common.errors import InputError


def test_stems_and_case() -> None:
    words = ["Straße", "Haus", "hausen", "日本語", "e\u0301tude", ""]
    folded: dict[str, Any] = {"stems": "prefix:4"}
    text = (words, list(reversed(words)))
    aligner = Aligner(**folded).fit([words], [text[1]])
    assert aligner.model.words(0) == ["stra", "haus", "日本語", "e\u0301tu", ""]
    aligner = Aligner(stems="suffix:2", fold_case=False).fit([words], [text[1]])
    assert aligner.model.words(0) == ["ße", "us", "en", "本語", "de", ""]
    assert (
        len(
            {
                everything(Aligner(stems=stems).fit(*corpus("toku", 20)))
                for stems in ("prefix:4", ["prefix:4"])
            }
        )
        == 1
    )


def test_stems_there_and_back() -> None:
    stems = parse_stems("prefix:4,suffix:3,words")
    assert stems == (Stem(4), Stem(3, from_end=True), Stem())
    assert ",".join(map(str, stems)) == "prefix:4,suffix:3,words"
    assert parse_stems(stem for stem in ("words", "prefix:999999")) == (Stem(), Stem(999_999))


@pytest.mark.parametrize(
    "stems",
    ["", "word", "prefix", "prefix:", "prefix:0", "prefix:-1", "prefix:1.5", "prefix:1000000",
     "prefix:٣", "words ", "words,", 3, [3], [["words"]]],
)  # fmt: skip
def test_what_are_no_stems(stems: object) -> None:
    with pytest.raises(InputError, match="stems are words, prefix:N or suffix:N, not "):
        parse_stems(stems)  # type: ignore[arg-type]


def test_each_stem_is_given_once() -> None:
    for stems in ([], "words,words", ("prefix:2", "suffix:2", "prefix:2")):
        with pytest.raises(InputError, match="stems must be given, each once"):
            parse_stems(stems)


def test_a_stem_is_of_code_points_after_the_case_is_folded() -> None:
    words = ["Straße", "É", "e\u0301", "", "👩‍👩‍👧"]
    assert apply_stem(Stem(5), words, fold_case=True) == ["stras", "é", "e\u0301", "", "👩‍👩‍👧"]
    assert apply_stem(Stem(2, from_end=True), words, fold_case=False) == [
        "ße", "É", "e\u0301", "", "\u200d👧",
    ]  # fmt: skip
    assert apply_stem(Stem(), words, fold_case=False) == words
