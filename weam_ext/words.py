"""Raw text into words, and word links into token links.

The aligner sees words, the model sees its own tokens of the untouched text. What joins the two are
character offsets: each token is given the word that it lies in. Word links are carried over to
tokens for each batch, so that every link mode and control reads the same shards.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, pre_tokenizers

from weam_ext.errors import InputError
from weam_ext.mask import philox_words

SEGMENTERS = ("bert", "blanks")
LINK_MODES = ("all", "first", "last", "monotone")
SHUFFLED_LINKS, RANDOM_LINKS = 1, 2
"""The streams of the controls' links: the last word of the Philox counter."""

Ints = NDArray[np.int64]
Span = tuple[int, int]

# Scripts written without blanks: a word is one character with its combining marks. BERT's own rule
# covers Han; hiragana, Thai and their like would otherwise be one word a clause.
_UNSPACED = Regex(r"[\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]\p{M}*")


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
    characters[_ranges(starts, lengths)] = np.repeat(np.arange(len(starts)), lengths)

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


def _ranges(starts: Ints, lengths: Ints) -> Ints:
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


# ------------------------------------------------------------------------------------------ links
#
# Word links are [n, 2 or more]: source word, target word, and columns that go with their link.


def token_links(source_words: Ints, target_words: Ints, links: Ints, mode: str) -> Ints:
    """Carry word links over to tokens.

    Args:
        source_words, target_words: [tokens]; the word of each token, or -1.
        links: [n, 2 or more]; (source word, target word, ..).
        mode: "all" links every token of a word to every token of its partner, "first" and "last"
            only the first or last of each, "monotone" pairs them along the diagonal: with m and n
            tokens and k = 0 .. max(m, n) - 1, token floor(k m / max) with token floor(k n / max).

    Returns:
        [token links, 2 or more]; (source token, target token, ..), sorted.
    """
    if mode not in LINK_MODES:
        raise InputError(f"unknown link mode {mode!r}; there are {', '.join(LINK_MODES)}")
    words = int(
        max(links.max(initial=-1), source_words.max(initial=-1), target_words.max(initial=-1))
    )
    source = _TokensByWord(source_words, words + 1)
    target = _TokensByWord(target_words, words + 1)
    i, j = links[:, 0], links[:, 1]
    m, n = source.counts[i], target.counts[j]
    linked = (m > 0) & (n > 0)
    i, j, m, n = i[linked], j[linked], m[linked], n[linked]
    others = links[linked, 2:]
    if mode == "all":
        counts = m * n
    elif mode == "monotone":
        counts = np.maximum(m, n)
    else:
        counts = np.ones_like(m)
    k = _ranges(np.zeros_like(counts), counts)
    m, n, longer = np.repeat(m, counts), np.repeat(n, counts), np.repeat(counts, counts)
    a, b = (k // n, k % n) if mode == "all" else (k * m // longer, k * n // longer)
    if mode == "last":
        a, b = m - 1, n - 1
    pairs = np.column_stack(
        [
            source.tokens[np.repeat(source.starts[i], counts) + a],
            target.tokens[np.repeat(target.starts[j], counts) + b],
            np.repeat(others, counts, axis=0),
        ]
    )
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


class _TokensByWord:
    """The tokens of word w: tokens[starts[w] : starts[w] + counts[w]], in their order."""

    def __init__(self, words: Ints, count: int) -> None:
        self.tokens = np.argsort(words, kind="stable")
        self.counts = np.bincount(words[words >= 0], minlength=count)
        self.starts = int((words < 0).sum()) + np.cumsum(self.counts) - self.counts


def one_to_one(links: Ints) -> Ints:
    """The links [n, 2 or more] of words that have no other, in the same order (Cao et al. 2020)."""
    alone = [np.bincount(ends)[ends] == 1 for ends in (links[:, 0], links[:, 1])]
    kept: Ints = links[alone[0] & alone[1]]
    return kept


def shuffle_links(links: Ints, target_words: int, *, seed: int, sample: int) -> Ints:
    """The control of shuffled links: target words permuted among themselves, degrees kept.

    Target word j becomes the j-th of the target words sorted by (random word of (sample, j), j);
    the permutation belongs to the sample and stays the same in every epoch. Returns the links so
    changed, sorted.
    """
    words = torch.arange(target_words)
    keys, *_ = philox_words(seed, torch.tensor(sample), words, SHUFFLED_LINKS)
    permutation = torch.argsort(keys, stable=True).numpy()
    shuffled = np.column_stack([links[:, 0], permutation[links[:, 1]], links[:, 2:]])
    return shuffled[np.lexsort((shuffled[:, 1], shuffled[:, 0]))]


def random_links(
    links: Ints, source_words: int, target_words: int, *, seed: int, sample: int
) -> Ints:
    """The control of random links: as many as there are, between any words of the pair.

    Those of the pairs (i, j) with the lowest random word of (sample, i * target_words + j), ties by
    that number; they belong to the sample and stay the same in every epoch. Returns them sorted;
    what goes with the k-th of `links` goes with the k-th of them.
    """
    pairs = torch.arange(source_words * target_words)
    keys, *_ = philox_words(seed, torch.tensor(sample), pairs, RANDOM_LINKS)
    chosen = torch.argsort(keys, stable=True)[: len(links)].sort().values.numpy()
    return np.column_stack([*np.divmod(chosen, target_words), links[: len(chosen), 2:]])
