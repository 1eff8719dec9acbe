"""Words: texts cut into words, words found in tokens, links carried over to tokens."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from small_tokenizers import FAMILIES, tokenizer
from weam_ref import links as twin

from weam_ext.common.errors import InputError
from weam_ext.data.token_links import (
    LINK_MODES,
    one_to_one,
    random_links,
    shuffle_links,
    token_links,
)
from weam_ext.text.words import SEGMENTERS, Ints, Span, segmenter, word_ids

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


# ------------------------------------------------------------------------------------------- links

words_of_tokens = st.lists(st.integers(-1, 6), max_size=12)
some_links = st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12).map(sorted)


def as_array(links: list[Link]) -> Ints:
    return np.array(links, np.int64).reshape(-1, 2)


def as_links(array: Ints) -> list[Link]:
    assert array.dtype == np.int64
    return [(i, j) for i, j in array.tolist()]


@pytest.mark.parametrize("mode", LINK_MODES)
@given(words_of_tokens, words_of_tokens, some_links)
@example([], [], [])
@example([-1, -1], [0], [(0, 0)])
@example([2, 0, -1, 2, 0, 2], [1, 1], [(0, 1), (2, 1), (7, 7)])  # interleaved words
def test_token_links(mode: str, source: list[int], target: list[int], links: list[Link]) -> None:
    found = token_links(np.array(source, int), np.array(target, int), as_array(links), mode)
    assert as_links(found) == twin.token_links(source, target, links, mode)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("all", [(0, 1), (0, 2), (1, 1), (1, 2), (3, 1), (3, 2)]),
        ("first", [(0, 1)]),
        ("last", [(3, 2)]),
        ("monotone", [(0, 1), (1, 1), (3, 2)]),
    ],
)
def test_token_links_by_hand(mode: str, expected: list[Link]) -> None:
    source, target = np.array([4, 4, -1, 4]), np.array([-1, 0, 0])
    assert as_links(token_links(source, target, as_array([(4, 0)]), mode)) == expected


@pytest.mark.parametrize("mode", LINK_MODES)
@given(words_of_tokens, words_of_tokens, some_links)
def test_further_columns_go_with_their_links(
    mode: str, source: list[int], target: list[int], links: list[Link]
) -> None:
    """What stands beside a word link stands beside its token links, and nothing else changes."""
    marked = np.column_stack([as_array(links), 100 + np.arange(len(links)), np.zeros(len(links))])
    marked = marked.astype(np.int64)
    words = np.array(source, int), np.array(target, int)
    found = token_links(*words, marked, mode)
    assert np.array_equal(found[:, :2], token_links(*words, as_array(links), mode))
    for a, b, mark, _ in found.tolist():
        assert links[mark - 100] == (source[a], target[b])
    assert all(links[mark - 100] == (i, j) for i, j, mark, _ in one_to_one(marked).tolist())
    moved = shuffle_links(marked, 9, seed=1, sample=2)
    for i, j, mark, _ in moved.tolist():
        alone = shuffle_links(as_array([links[mark - 100]]), 9, seed=1, sample=2)
        assert as_links(alone) == [(i, j)]
    assert random_links(marked, 9, 9, seed=1, sample=2)[:, 2].tolist() == marked[:, 2].tolist()


def test_unknown_link_mode() -> None:
    with pytest.raises(InputError) as error:
        token_links(np.array([0]), np.array([0]), as_array([(0, 0)]), "middle")
    assert str(error.value) == "unknown link mode 'middle'; there are all, first, last, monotone"


@given(some_links)
@example([(0, 0), (1, 1), (1, 2), (3, 1), (5, 5)])
def test_one_to_one(links: list[Link]) -> None:
    each_once = list(dict.fromkeys(links))
    assert as_links(one_to_one(as_array(each_once))) == twin.one_to_one(each_once)


@given(
    st.integers(0, 12).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.sets(st.tuples(st.integers(0, 9), st.integers(0, max(0, n - 1)))).filter(
                lambda links: n or not links
            ),
        )
    ),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**63 - 1),
)
def test_shuffled_links(words_and_links: tuple[int, set[Link]], seed: int, sample: int) -> None:
    words, links = words_and_links[0], sorted(words_and_links[1])
    found = as_links(shuffle_links(as_array(links), words, seed=seed, sample=sample))
    assert found == twin.shuffle_links(links, words, seed=seed, sample=sample)
    assert Counter(i for i, _ in found) == Counter(i for i, _ in links)
    degrees = [Counter(Counter(j for _, j in rows).values()) for rows in (links, found)]
    assert degrees[0] == degrees[1]


def test_shuffled_links_belong_to_the_seed_and_the_sample() -> None:
    diagonal = as_array([(k, k) for k in range(50)])
    drawn = {
        tuple(shuffle_links(diagonal, 50, seed=seed, sample=sample)[:, 1].tolist())
        for seed, sample in [(0, 0), (1, 0), (0, 1), (1 << 32, 0), (0, 1 << 32), (0, 0)]
    }
    assert len(drawn) == 5
    assert tuple(range(50)) not in drawn


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.integers(0, sizes[0] * sizes[1]))
    ),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**63 - 1),
)
def test_random_links(sizes: tuple[tuple[int, int], int], seed: int, sample: int) -> None:
    (source, target), number = sizes
    links = as_array([(0, 0)] * number)
    found = as_links(random_links(links, source, target, seed=seed, sample=sample))
    assert found == twin.random_links(number, source, target, seed=seed, sample=sample)
    assert found == sorted(set(found))
    assert len(found) == number
    assert all(0 <= i < source and 0 <= j < target for i, j in found)


def test_random_links_lie_anywhere() -> None:
    drawn: Counter[Link] = Counter()
    for sample in range(600):
        drawn.update(as_links(random_links(as_array([(0, 0)] * 4), 3, 4, seed=5, sample=sample)))
    # 2,400 links over 12 pairs; 4 standard deviations of a binomial of 600 draws at 1/3.
    assert len(drawn) == 12
    assert all(abs(count - 200) < 47 for count in drawn.values())
