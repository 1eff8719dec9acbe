"""Word links carried over to tokens, and the controls of shuffled and of random links."""

from collections.abc import Iterable, Sequence

from weam_ref.philox import RANDOM_LINKS, SHUFFLED_LINKS, words

Link = tuple[int, int]

MODES = ("all", "first", "last", "monotone")


def token_links(
    source_word_ids: Sequence[int],
    target_word_ids: Sequence[int],
    links: Iterable[Link],
    mode: str,
) -> list[Link]:
    """Sorted token links (a, b) of the word links (i, j).

    `source_word_ids[a]` is the word of source token a, or -1 where the token belongs to none
    (a special token, or padding); `target_word_ids` likewise. The tokens of a word need not be
    adjacent, and a word that lost its tokens to truncation has no token links.

    "all" links every token of word i with every token of word j, "first" or "last" their first or
    last tokens only, and "monotone" pairs their tokens along the diagonal: m against n tokens give
    max(m, n) links.

    Raises ValueError for an unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"unknown link mode {mode!r}: expected {', '.join(MODES)}")
    source_tokens = tokens_of_words(source_word_ids)
    target_tokens = tokens_of_words(target_word_ids)
    linked = set()
    for i, j in links:
        for a, b in pair_tokens(source_tokens.get(i, []), target_tokens.get(j, []), mode):
            linked.add((a, b))
    return sorted(linked)


def tokens_of_words(word_ids: Sequence[int]) -> dict[int, list[int]]:
    """The tokens of each word, in order."""
    tokens: dict[int, list[int]] = {}
    for token, word in enumerate(word_ids):
        if word >= 0:
            tokens.setdefault(word, []).append(token)
    return tokens


def pair_tokens(source: list[int], target: list[int], mode: str) -> list[Link]:
    """The links between the tokens of one word and those of the word it is linked to."""
    if not source or not target:
        return []
    if mode == "first":
        return [(source[0], target[0])]
    if mode == "last":
        return [(source[-1], target[-1])]
    if mode == "all":
        return [(a, b) for a in source for b in target]
    longer = max(len(source), len(target))
    return [
        (source[k * len(source) // longer], target[k * len(target) // longer])
        for k in range(longer)
    ]


def one_to_one(links: Sequence[Link]) -> list[Link]:
    """The links whose two words have no other link, in their order."""
    return [
        (i, j)
        for i, j in links
        if sum(i == other for other, _ in links) == 1 and sum(j == other for _, other in links) == 1
    ]


def shuffle_links(
    links: Iterable[Link], target_length: int, *, seed: int, sample: int
) -> list[Link]:
    """The word links (i, j) with their target ends permuted among the words of the target sentence.

    The control that keeps the shape of the links and forgets their words: target word j is renamed
    permutation[j], so source words keep their numbers of links, and the numbers of the target words
    are dealt out anew. The permutation lists the target words in the order of word 0 of
    Philox4x32-10, key `seed` (64 bits), counter (sample low, sample high, j, stream 1), ties by j;
    it depends on nothing but the seed, the sample and the target's length.
    """
    # sorted() is stable, so equal draws keep the order of j.
    permutation = sorted(
        range(target_length), key=lambda j: words(seed, sample, j, SHUFFLED_LINKS)[0]
    )
    return sorted((i, permutation[j]) for i, j in links)


def random_links(
    number: int, source_length: int, target_length: int, *, seed: int, sample: int
) -> list[Link]:
    """That many different word links (i, j), any of them as likely as any other.

    The control of equal density that forgets the shape of the links too: the pairs come in the
    order of word 0 of Philox4x32-10, key `seed`, counter (sample low, sample high,
    i * target_length + j, stream 2), ties by that number, and the first `number` are taken.
    """
    pairs = sorted(
        range(source_length * target_length),
        key=lambda pair: words(seed, sample, pair, RANDOM_LINKS)[0],
    )
    return sorted(divmod(pair, target_length) for pair in pairs[:number])
