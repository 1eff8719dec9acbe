"""Texts split into words, and the words of tokens."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, pre_tokenizers

from weam_ext.common.errors import InputError

SEGMENTERS = ("bert", "blanks")
SHUFFLED_LINKS, RANDOM_LINKS = 1, 2
"""The streams of the controls' links: the last word of the Philox counter."""

Ints = NDArray[np.int64]
Span = tuple[int, int]

# Scripts written without blanks: a word is one character with its combining marks. BERT's own rule
# covers Han; hiragana, Thai and their like would otherwise be one word a clause.
_UNSPACED = Regex(r"[\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]\p{M}*")
_WITHOUT_UNSPACED = pre_tokenizers.Split(_UNSPACED, "removed")
_BY_CHARACTER = pre_tokenizers.Split(_UNSPACED, "isolated")


def segmenter(name: str) -> Callable[[str], list[Span]]:
    """A function from a text to the (start, end) character spans of its words.

    "bert": as BERT's pre-tokeniser, punctuation apart and unspaced scripts by character; "blanks":
    set off by spaces and tabs, for tokenised text. Raises `InputError` for another name.
    """
    if name == "bert":
        split: pre_tokenizers.PreTokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(_UNSPACED, "isolated")]
        )
    elif name == "blanks":
        split = pre_tokenizers.Split(Regex("[ \t]+"), "removed")
    else:
        raise InputError(f"unknown words {name!r}; there are {', '.join(SEGMENTERS)}")
    return lambda text: [span for _, span in split.pre_tokenize_str(text)]


class WordIds(NamedTuple):
    """Where the words of some texts lie in their tokens.

    tokens: int64 [tokens of all texts]; the word of each token within its text, or -1.
    words: for each text, int64 [words of the segmenter]; the word's new number, or -1 when no token
        shows it. Words that share a token become one: their links meet in it.
    """

    tokens: Ints
    words: list[Ints]


def word_ids(
    texts: Sequence[str], spans: Sequence[list[Span]], token_offsets: Sequence[Sequence[Span]]
) -> WordIds:
    """Give each token of each text the word whose characters it covers.

    Args:
        spans: the words of each text, ascending and disjoint.
        token_offsets: (start, end) of each token of each text, as a fast tokenizer returns them.
    """
    base = _starts([len(text) for text in texts])
    word_base = _starts([len(row) for row in spans])
    characters = np.full(base[-1] + 1, -1)
    starts, ends = _flatten(spans, base)
    lengths = ends - starts
    characters[ranges_of(starts, lengths)] = np.repeat(np.arange(len(starts)), lengths)

    first, last = _covered(characters, *_flatten(token_offsets, base))
    # A word is merged with the one before it where some token covers both.
    edges = np.zeros(word_base[-1] + 2, np.int64)
    wide = last > first
    np.add.at(edges, first[wide] + 1, 1)
    np.add.at(edges, last[wide] + 1, -1)
    merged = np.cumsum(edges)[: word_base[-1]] > 0
    group = np.cumsum(~merged) - 1
    shown = np.zeros(len(group), bool)
    shown[group[first[first >= 0]]] = True
    number = np.where(shown, np.cumsum(shown) - 1, -1)[group]
    # Numbers count within the text: less those of the texts before it.
    before = np.concatenate([[0], np.cumsum(shown)])[_group_starts(group, word_base)]
    number = np.where(number >= 0, number - np.repeat(before, np.diff(word_base)), -1)

    tokens = np.where(first >= 0, number[first.clip(0)] if len(number) else -1, -1)
    return WordIds(tokens, [number[start:end] for start, end in pairwise(word_base)])


def joined(words: Sequence[str], unspaced: bool) -> tuple[str, list[Span]]:
    """A text of words with a blank between, and the characters that each word takes.

    `unspaced`: without a blank on either side of a character of such scripts, where each of them is
    a word, as it was written. Longer words are set off as they are, or they would share tokens.
    """
    sizes = [_unspaced_characters(word) if unspaced else 0 for word in words]
    loose = max(sizes, default=0) > 1
    text, tight = "", False
    spans: list[Span] = []
    for word, size in zip(words, sizes, strict=True):
        before, tight = tight, size == 1
        text += " " if spans and (loose or not (before or tight)) else ""
        spans.append((len(text), len(text) + len(word)))
        text += word
    return text, spans


@lru_cache(1 << 16)
def _unspaced_characters(word: str) -> int:
    """How many there are in a word of nothing else; 0 for other words."""
    others = _WITHOUT_UNSPACED.pre_tokenize_str(word)
    return 0 if others else len(_BY_CHARACTER.pre_tokenize_str(word))


def tokens_and_words(
    tokenizer: Any, sentences: Sequence[Sequence[str]], unspaced: bool = False
) -> Iterator[tuple[list[int], Ints, Ints]]:
    """Token ids of each sentence, without special ones, and its share of `word_ids`.

    `unspaced`: see `joined`.
    """
    made = [joined(words, unspaced) for words in sentences]
    texts = [text for text, _ in made]
    tokens = tokenizer(
        texts, add_special_tokens=False, return_offsets_mapping=True,
        split_special_tokens=True, verbose=False,
    )  # fmt: skip
    found = word_ids(texts, [spans for _, spans in made], tokens["offset_mapping"])
    ends = np.cumsum([len(ids) for ids in tokens["input_ids"]])
    yield from zip(tokens["input_ids"], np.split(found.tokens, ends[:-1]), found.words, strict=True)


def _group_starts(group: Ints, word_base: Ints) -> Ints:
    """The group of each text's first word; the next group where a text has no words."""
    following: Ints = np.append(group, group[-1] + 1 if len(group) else 0)
    return following.take(word_base[:-1])


def _starts(lengths: Sequence[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _flatten(rows: Sequence[Sequence[Span]], base: Ints) -> tuple[Ints, Ints]:
    flat = np.array([span for row in rows for span in row], np.int64).reshape(-1, 2)
    shift = np.repeat(base[:-1], [len(row) for row in rows])
    return flat[:, 0] + shift, flat[:, 1] + shift


def ranges_of(starts: Ints, lengths: Ints) -> Ints:
    """The concatenation of start, start + 1, .. start + length - 1."""
    ends = np.cumsum(lengths)
    steps = np.repeat(starts - (ends - lengths), lengths)
    return steps + np.arange(len(steps))


def _covered(characters: Ints, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """First and last word that each token touches; -1 for a token without a word's character."""
    size = len(characters)
    place = np.arange(size)
    inside = characters >= 0
    following = np.minimum.accumulate(np.where(inside, place, size)[::-1])[::-1]
    preceding = np.maximum.accumulate(np.where(inside, place, -1))
    begin = following[starts]
    some = begin < ends
    first = np.where(some, characters[begin.clip(max=size - 1)], -1)
    last = np.where(some, characters[preceding[ends - 1]], -1)
    return first, last
