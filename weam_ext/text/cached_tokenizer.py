"""Texts into tokens, words and the word of each token, at the speed of looking up what was seen.

Where neither the tokenizer nor the words look across a blank, a text is cut before its blanks, and
each piece is tokenised the first time that it is seen: of the Hansards' 40 blanks a pair, 1 in 30.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from weam_ext.common.ragged import Lists
from weam_ext.text.bitext import blocks
from weam_ext.text.words import segmenter, word_ids

_TEXTS = 8_192  # looked up at once
_MOST_PIECES = 1 << 18
_MOST_CHARACTERS = 1 << 24
_CHARACTERS = 1 << 20  # tokenised at once: the tokenizer takes hundreds of bytes for each

_BLANK = "\u2581"  # of SentencePiece

# A blank after something else than white space; Python's \s is more than Unicode's. Nor after what
# some tokenizers make of a blank.
_CUT = re.compile(rf"(?<=[^\s{_BLANK}]) ")


class Tokenised(NamedTuple):
    """Some texts. Words are numbered from 0 in each text.

    ids: int32, the tokens of each text.
    words: int32, the word of each token, or -1.
    numbers: int32, for each of the segmenter's words its number, or -1 where no token shows it;
        words that share a token have become one.
    vocabulary_ids: int32, the segmenter's words of each text as numbers in `vocabulary`.
    vocabulary: the distinct words of these texts.
    """

    ids: Lists
    words: Lists
    numbers: Lists
    vocabulary_ids: Lists
    vocabulary: list[str]


class Pieces:
    """Tokenises texts without line feeds.

    Args:
        backend: the tokenizer; special tokens in a text are text.
        words: one of `weam_ext.text.words.SEGMENTERS`.
        lowercase: whether the vocabulary holds the words in lower case.
    """

    def __init__(self, backend: Tokenizer, words: str, lowercase: bool) -> None:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self._backend = backend
        self._find_words = segmenter(words)
        self._lowercase = lowercase
        self._separable = separable(backend)
        self._vocabulary: dict[str, int] = {}
        self._forget()

    def __call__(self, texts: Sequence[str]) -> Tokenised:
        if len(self._vocabulary) > _MOST_PIECES:
            self._vocabulary = {}
            self._forget()
        done = [self._look_up(block) for block in blocks(texts, _TEXTS)]
        nothing = (Lists.empty(0),) * 4
        ids, words, numbers, known = map(_concatenate, zip(nothing, *done, strict=True))
        used, vocabulary_ids = np.unique(known.values, return_inverse=True)
        names = list(self._vocabulary)
        return Tokenised(
            ids,
            words,
            numbers,
            known._replace(values=vocabulary_ids.astype(np.int32)),
            [names[number] for number in used.tolist()],
        )

    def _look_up(self, texts: list[str]) -> tuple[Lists, Lists, Lists, Lists]:
        """Ids, words and numbers of `Tokenised`, and the numbers in `self._vocabulary`."""
        cut = list(map(self._cut, texts))
        pieces = "\n".join(cut).split("\n")
        self._learn([piece for piece in dict.fromkeys(pieces) if piece not in self._known])
        rows = np.fromiter(map(self._known.__getitem__, pieces), np.int64, len(pieces))
        ends = np.cumsum([1 + text.count("\n") for text in cut])
        starts = np.concatenate([[0], ends[:-1]])
        # The words of a text are numbered on from one piece to the next.
        counted = np.concatenate([[0], np.cumsum(self._counts[rows])])
        shift = counted[:-1] - np.repeat(counted[starts], ends - starts)

        def of_texts(lists: Lists) -> Lists:
            return Lists(lists.offsets[np.concatenate([[0], ends])], lists.values)

        def numbered_on(table: Lists) -> Lists:
            taken = table.take(rows)
            shifts = np.repeat(shift, taken.lengths).astype(np.int32)
            return of_texts(Lists(taken.offsets, taken.values + shifts * (taken.values >= 0)))

        looked_up = (
            of_texts(self._ids.take(rows)),
            numbered_on(self._words),
            numbered_on(self._numbers),
            of_texts(self._vocabulary_ids.take(rows)),
        )
        if not self._separable or len(self._known) > _MOST_PIECES or (
            self._characters > _MOST_CHARACTERS
        ):  # fmt: skip
            self._forget()
        return looked_up

    def _cut(self, text: str) -> str:
        """A text with a line feed between its pieces."""
        if not self._separable:
            return text
        if _BLANK not in text and " ".join(text.split()) == text:  # the rule, much faster
            return text.replace(" ", "\n ")
        return _CUT.sub("\n ", text)

    def _forget(self) -> None:
        self._known: dict[str, int] = {}
        self._ids = self._words = self._numbers = self._vocabulary_ids = Lists.empty(0)
        self._counts = np.zeros(0, np.int64)
        self._characters = 0

    def _learn(self, pieces: list[str]) -> None:
        if not pieces:
            return
        ids, words, numbers = [self._ids], [self._words], [self._numbers]
        vocabulary_ids = [self._vocabulary_ids]
        for some in _by_characters(pieces):
            encoded = self._backend.encode_batch(some, add_special_tokens=False)
            spans = [self._find_words(piece) for piece in some]
            found = word_ids(some, spans, [each.offsets for each in encoded])
            lengths = np.array([len(each) for each in encoded])
            flat = chain.from_iterable(each.ids for each in encoded)
            ids.append(Lists.of_lengths(lengths, np.fromiter(flat, np.int32, lengths.sum())))
            words.append(Lists.of_lengths(lengths, found.tokens.astype(np.int32)))
            numbers.append(
                Lists.of_lengths(
                    np.array(list(map(len, found.words))),
                    np.concatenate(found.words).astype(np.int32),
                )
            )
            vocabulary_ids.append(self._number(some, spans))
            counts = [row.max(initial=-1) + 1 for row in found.words]
            self._counts = np.concatenate([self._counts, counts])
            self._characters += sum(map(len, some))
        self._ids, self._words, self._numbers, self._vocabulary_ids = map(
            _concatenate, (ids, words, numbers, vocabulary_ids)
        )
        for piece in pieces:
            self._known[piece] = len(self._known)

    def _number(self, pieces: list[str], spans: Sequence[list[tuple[int, int]]]) -> Lists:
        """The words of each piece, which the vocabulary learns."""
        names = [
            piece[start:end] for piece, row in zip(pieces, spans, strict=True) for start, end in row
        ]
        if self._lowercase:
            names = [name.lower() for name in names]
        vocabulary = self._vocabulary
        found = [vocabulary.setdefault(name, len(vocabulary)) for name in names]
        return Lists.of_lengths(np.array(list(map(len, spans))), np.array(found, np.int32))


def _concatenate(parts: Sequence[Lists]) -> Lists:
    lengths = [np.zeros(0, np.int64), *(part.lengths for part in parts)]
    values = [np.zeros(0, np.int32), *(part.values for part in parts)]
    return Lists.of_lengths(np.concatenate(lengths), np.concatenate(values))


def _by_characters(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in order, in lists of at most `_CHARACTERS` characters, which bounds the memory."""
    some: list[str] = []
    size = 0
    for text in texts:
        if some and size + len(text) > _CHARACTERS:
            yield some
            some, size = [], 0
        some.append(text)
        size += len(text)
    if some:
        yield some


def separable(backend: Tokenizer) -> bool:
    """Whether the tokens of a text are those of its pieces, cut before blanks, one after another.

    A blank that does not follow white space begins what BERT's and XLM-R's pre-tokenisers, and the
    expression of byte-level BPE, split off; and none of the normalisers here looks across it.
    Gemma's BPE, which is mmBERT's, splits off nothing: but no token goes on into a blank's "▁".
    """
    state: dict[str, Any] = json.loads(backend.to_str())
    return all(map(_stays_within, state["added_tokens"])) and (
        _splits_at_blanks(state) or _is_gemma(state)
    )


def _stays_within(added: dict[str, Any]) -> bool:
    if added["special"]:  # which is text
        return True
    alone = any(added[name] for name in ("single_word", "lstrip", "rstrip"))
    return not alone and not re.search(r"\s", added["content"])


def _splits_at_blanks(state: dict[str, Any]) -> bool:
    split = _flat(state["pre_tokenizer"], "pretokenizers")
    kinds = [each["type"] for each in split]
    return all(map(_is_local, _flat(state["normalizer"], "normalizers"))) and (
        kinds == ["BertPreTokenizer"]
        or (kinds == ["WhitespaceSplit", "Metaspace"] and split[1]["prepend_scheme"] == "always")
        or (kinds == ["ByteLevel"] and split[0]["use_regex"] and not split[0]["add_prefix_space"])
    )


def _is_local(normalizer: dict[str, Any]) -> bool:
    if normalizer["type"] == "Replace":
        return (normalizer["pattern"], normalizer["content"]) == ({"Regex": " {2,}"}, " ")
    return normalizer["type"] in {"BertNormalizer", "NFC", "NFKC", "Precompiled"}


def _is_gemma(state: dict[str, Any]) -> bool:
    model, normalizer = state["model"], state["normalizer"] or {"type": None}
    blank = {"String": " "}
    return (
        normalizer["type"] == "Replace"
        and (normalizer["pattern"], normalizer["content"]) == (blank, _BLANK)
        and all(
            each["type"] == "Split" and each["pattern"] == blank
            for each in _flat(state["pre_tokenizer"], "pretokenizers")
        )
        and model["type"] == "BPE"
        and model["byte_fallback"]
        and not model["dropout"]
        and not model["ignore_merges"]
        and not any(_BLANK in token.lstrip(_BLANK) for token in model["vocab"])
    )


def _flat(part: dict[str, Any] | None, members: str) -> list[dict[str, Any]]:
    if part is None:
        return []
    return list(part[members]) if part["type"] == "Sequence" else [part]
