"""Links between words carried over to the tokens of a batch."""

import numpy as np
import torch

from weam_ext.common.errors import InputError
from weam_ext.ops.philox import philox_words
from weam_ext.text.words import RANDOM_LINKS, SHUFFLED_LINKS, Ints, ranges_of

LINK_MODES = ("all", "first", "last", "monotone")


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
    k = ranges_of(np.zeros_like(counts), counts)
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
