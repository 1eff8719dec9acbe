"""Metrics against known values, against plain Python and against the libraries everyone uses."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weam_ref import metrics as reference
from weam_ref.score import alignment_error_rate

from weam_ext.common.errors import InputError
from weam_ext.transfer.finetune import value
from weam_ext.transfer.metrics import (
    MLQA_LANGUAGES,
    aer_score,
    answer_score,
    mlqa_tokens,
    span_score,
    squad_tokens,
)

# Normalised answers as the official MLQA script has them: worked out from its definition by hand.
MLQA = [
    ("en", "The U.S., a “country”", ["us", "country"]),
    ("en", "another theatre", ["another", "theatre"]),
    ("es", "El niño y la «casa»", ["niño", "y", "casa"]),
    ("de", "Das Haus des Königs!", ["haus", "königs"]),
    ("de", "dem-den", ["demden"]),  # punctuation goes first, so that no article is left
    ("vi", "Những con mèo của tôi", ["con", "mèo", "tôi"]),
    ("hi", "भारत की राजधानी।", ["भारत", "की", "राजधानी"]),
    ("ar", "البيت الكبير؟", ["بيت", "كبير"]),
    ("ar", "خيال", ["خي"]),  # the letters go wherever they stand
    (
        "zh",
        "北京（Beijing City）是 the 首都。",
        ["北", "京", "beijing", "city", "是", "the", "首", "都"],
    ),
    ("zh", "2008年", ["2008", "年"]),
    ("en", "…", []),
]


@pytest.mark.parametrize("language, text, tokens", MLQA)
def test_mlqa_answers(language: str, text: str, tokens: list[str]) -> None:
    assert mlqa_tokens(text, language) == tokens
    assert reference.mlqa_tokens(text, language) == tokens


def test_squad_answers_know_ascii_punctuation_and_english_alone() -> None:
    assert squad_tokens("The U.S., a “country”!") == ["us", "“country”"]
    assert squad_tokens("Das Haus") == ["das", "haus"]
    assert reference.squad_tokens("The U.S., a “country”!") == ["us", "“country”"]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(MLQA_LANGUAGES), st.text(alphabet="aAnthe dasel الخ北京,。“_-!1 \t\u00a0ücủ")
)
def test_answers_as_the_reference(language: str, text: str) -> None:
    assert mlqa_tokens(text, language) == reference.mlqa_tokens(text, language)
    assert squad_tokens(text) == reference.squad_tokens(text)


def test_f1_and_exact_match_take_the_best_answer() -> None:
    def score(prediction: str, *answers: str) -> tuple[float, float]:
        return answer_score(prediction, answers, squad_tokens)

    assert score("in the big city", "the city", "big city in") == (1.0, 0.0)
    assert score("big city", "The big city.") == (1.0, 1.0)
    assert score("city city", "city hall city") == pytest.approx((0.8, 0.0))
    assert score("", "city") == (0.0, 0.0)
    # Nothing in common is 0, even where both are nothing but articles: as the script has it.
    assert score("the", "a") == (0.0, 1.0)


def test_an_unknown_language_of_mlqa() -> None:
    with pytest.raises(InputError, match="MLQA's metric knows ar, de, en"):
        mlqa_tokens("a", "fr")


# ------------------------------------------------------------------------------------------ tags

NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
tags = st.lists(st.sampled_from(NAMES), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(st.lists(tags, min_size=1, max_size=5), st.randoms())
def test_spans_as_seqeval(gold: list[list[str]], random: Any) -> None:
    from seqeval.metrics import f1_score

    found = [[random.choice([tag, random.choice(NAMES)]) for tag in row] for row in gold]
    scores = [span_score(a, b) for a, b in zip(gold, found, strict=True)]
    total = value("f1", scores, [], [])
    assert total == pytest.approx(f1_score(gold, found, zero_division=0))
    both = [(reference.spans(a), reference.spans(b)) for a, b in zip(gold, found, strict=True)]
    assert [s.part for s in scores] == [2 * len(a & b) for a, b in both]
    assert [s.whole for s in scores] == [len(a) + len(b) for a, b in both]


# ------------------------------------------------------------------------------------------ links


def test_aer_as_the_reference() -> None:
    generator = np.random.default_rng(0)
    everything = list(product(range(4), range(4)))
    pairs = []
    for _ in range(20):
        links, sure, possible = (
            {everything[k] for k in generator.choice(16, generator.integers(6), replace=False)}
            for _ in range(3)
        )
        pairs.append((links, sure, possible))
    scores = [aer_score(*pair) for pair in pairs]
    expected = alignment_error_rate(*zip(*pairs, strict=True))
    assert 1 - value("1-aer", scores, [], []) == pytest.approx(expected.aer)
