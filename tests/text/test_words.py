"""Words: texts cut into words, and words found in tokens."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from small_tokenizers import FAMILIES, tokenizer

from weam_ext.common.errors import InputError
from weam_ext.text.words import SEGMENTERS, Span, joined, segmenter, word_ids

Link = tuple[int, int]


def split(name: str, text: str) -> list[str]:
    return [text[start:end] for start, end in segmenter(name)(text)]


# -------------------------------------------------------------------------------------- segmenters


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        (" \t ", ""),
        ("\u00a0\u2028\u3000", ""),
        ("Is it raining today?", "Is it raining today ?"),
        ("don't: $3.50 (x_y)", "don ' t : $ 3 . 50 ( x _ y )"),
        ("no-break\u00a0space\tand\u2028others\x85too", "no - break space and others too"),
        ("今天下雨吗？", "今 天 下 雨 吗 ？"),
        ("abc漢字def", "abc 漢 字 def"),
        ("\U00020000\U00030000々〇", "\U00020000 \U00030000 々 〇"),  # Han beyond the basic plane
        ("ひらがなとカタカナーと漢字", "ひ ら が な と カタカナー と 漢 字"),
        ("か\u3099き", "か\u3099 き"),
        ("一\ufe00丁", "一\ufe00 丁"),  # with a variation selector
        ("ก่อน", "ก่ อ น"),
        ("ကျာ ລາວ", "ကျာ ລ າ ວ"),
        ("한국어 русский हिन्दी", "한국어 русский हिन्दी"),
        ("e\u0301tude naïve", "e\u0301tude naïve"),
        ("👩\u200d👩\u200d👧 ok 🇫🇷!", "👩\u200d👩\u200d👧 ok 🇫🇷 !"),
    ],
)
def test_bert_words(text: str, words: str) -> None:
    assert split("bert", text) == words.split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t ", []),
        (" a  b\tc ", ["a", "b", "c"]),
        ("don't stop, 今天下雨吗？", ["don't", "stop,", "今天下雨吗？"]),
        ("no\u00a0break\u3000\x85\r\x0b\u2028", ["no\u00a0break\u3000\x85\r\x0b\u2028"]),
    ],
)
def test_words_between_blanks(text: str, words: list[str]) -> None:
    assert split("blanks", text) == words


@pytest.mark.parametrize("name", SEGMENTERS)
@given(st.text())
@example("a\u00a0b\r\x00c\x1c\u200b\ufeff")
def test_words_are_what_the_aligner_will_see(name: str, text: str) -> None:
    """Ascending, disjoint, and the same words again when they are joined by blanks and split."""
    spans = segmenter(name)(text)
    assert all(start < end for start, end in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    words = [text[start:end] for start, end in spans]
    assert [word for word in re.split("[ \t]+", " ".join(words)) if word] == words


@given(st.text())
def test_bert_words_leave_out_white_space_only(text: str) -> None:
    white = {"\x1c", "\x1d", "\x1e", "\x1f"}  # to Python, not to Unicode
    kept = [c for c in text if c in white or not c.isspace()]
    assert list("".join(split("bert", text))) == kept


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("Is it raining ?", "Is it raining ?"),
        ("今 天 下 雨 吗 ？", "今天下雨吗？"),
        ("今 天 , not 2026 年", "今天, not 2026年"),
        ("今天 下雨 吗 ？", "今天 下雨 吗 ？"),
        ("カタカナ と か\u3099", "カタカナとか\u3099"),
        ("한국 말", "한국 말"),
        ("", ""),
    ],
)
def test_joined_as_scripts_without_blanks_are_written(words: str, text: str) -> None:
    for unspaced, expected in ((True, text), (False, words)):
        found, spans = joined(words.split(), unspaced)
        assert found == expected
        assert [found[begin:end] for begin, end in spans] == words.split()


def test_unknown_segmenter() -> None:
    with pytest.raises(InputError) as error:
        segmenter("moses")
    assert str(error.value) == "unknown words 'moses'; there are bert, blanks"


# -------------------------------------------------------------------------------- words in tokens


def slow_word_ids(spans: list[Span], offsets: list[Span]) -> tuple[list[int], list[int]]:
    """The docstring of `word_ids`, character by character, for one text."""
    touched = [
        [w for w, word in enumerate(spans) if any(c in range(*word) for c in range(*token))]
        for token in offsets
    ]
    group = list(range(len(spans)))
    for words in touched:
        joined = {group[w] for w in words}
        group = [min(joined) if g in joined else g for g in group]
    shown = sorted({group[words[0]] for words in touched if words})
    number = [shown.index(g) if g in shown else -1 for g in group]
    return [number[words[0]] if words else -1 for words in touched], number


@st.composite
def texts_with_words_and_tokens(draw: st.DrawFn) -> tuple[str, list[Span], list[Span]]:
    text = draw(st.text(max_size=14))
    place = st.integers(0, len(text))
    cuts = sorted(draw(st.sets(place)))
    neighbours = pairwise(cuts)
    spans = [span for span in neighbours if draw(st.integers(0, 3))]
    tokens = st.tuples(place, place).map(lambda ends: (min(ends), max(ends)))
    return text, spans, draw(st.lists(tokens, max_size=8))


@given(st.lists(texts_with_words_and_tokens(), max_size=5))
@example([])
@example([("", [], []), ("  ", [], [(0, 1), (2, 2)]), ("ab", [(0, 2)], [])])
@example([("a b", [(0, 1), (2, 3)], [(0, 1), (1, 3)])])  # a token starts with its blank
@example([("abcd", [(0, 1), (1, 2), (2, 3), (3, 4)], [(0, 2), (1, 3), (3, 4)])])  # a chain merges
@example([("a", [(0, 1)], [(0, 1)]), ("b", [(0, 1)], [(0, 0), (1, 1), (0, 1)])])
def test_word_ids(texts: list[tuple[str, list[Span], list[Span]]]) -> None:
    found = word_ids(
        [text for text, _, _ in texts],
        [spans for _, spans, _ in texts],
        [offsets for _, _, offsets in texts],
    )
    expected = [slow_word_ids(spans, offsets) for _, spans, offsets in texts]
    assert found.tokens.tolist() == [word for tokens, _ in expected for word in tokens]
    assert [words.tolist() for words in found.words] == [words for _, words in expected]


@pytest.mark.parametrize("family", FAMILIES)
@given(texts=st.lists(st.text("aeb ,今天下\u00a0é\u0301👩\u200d", max_size=12), min_size=1))
def test_word_ids_of_real_tokens(family: str, texts: list[str]) -> None:
    encoded = tokenizer(family)(texts, add_special_tokens=False, return_offsets_mapping=True)
    spans = [segmenter("bert")(text) for text in texts]
    found = word_ids(texts, spans, encoded["offset_mapping"])
    rows = np.split(found.tokens, np.cumsum([len(row) for row in encoded["input_ids"]])[:-1])
    for offsets, tokens, words, row in zip(
        encoded["offset_mapping"], rows, found.words, spans, strict=True
    ):
        assert (tokens.tolist(), words.tolist()) == slow_word_ids(row, offsets)
        # What truncation relies on: later tokens have no earlier words.
        assert (np.diff(tokens[tokens >= 0]) >= 0).all()


def test_word_ids_by_hand() -> None:
    """SentencePiece: "▁today" begins with the blank, "▁" has one only, "今天" covers two words."""
    text = "Is today  今天?"
    found = word_ids(
        [text],
        [[(0, 2), (3, 8), (10, 11), (11, 12), (12, 13)]],
        [[(0, 2), (2, 5), (5, 8), (8, 10), (10, 12), (12, 13)]],
    )
    assert found.tokens.tolist() == [0, 1, 1, -1, 2, 3]
    assert found.words[0].tolist() == [0, 1, 2, 2, 3]
