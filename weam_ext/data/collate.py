"""Samples into batches: framed by special tokens, padded, and linked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weam_ext.common.errors import InputError
from weam_ext.common.ragged import Ints, Tokens
from weam_ext.data.shards import Sample, Shards
from weam_ext.data.token_links import one_to_one, random_links, shuffle_links, token_links
from weam_ext.ops.mask import capacity
from weam_ext.ops.token_links import Links
from weam_ext.text.tokenizer import template

LINKS = ("true", "shuffled", "random")
PIVOT = "en"
"""The language whose side `Batch.anchors` lie on; the source side where neither is in it."""
LEAST = 1e-6
"""A soft link's weight at least: a posterior may be 0 in float32, and a token all of whose links
weigh nothing has no mean. Beside a likely link so little changes nothing."""


class Sentence(NamedTuple):
    """Token ids and the word of each token, integers."""

    ids: Tokens | Ints
    words: Tokens | Ints


class Frame(NamedTuple):
    """The special tokens around the sentences of a sequence, and the segment ids of its parts."""

    prefix: Sentence
    middle: Sentence
    suffix: Sentence
    segments: tuple[int, ...]

    @property
    def size(self) -> int:
        """Special tokens."""
        return sum(len(part.ids) for part in self[:3])


@dataclass(frozen=True)
class Layout:
    """How pairs are shown to a model, and what else of them a batch holds."""

    together: bool = True
    """Both sentences in one sequence, or each in its own."""
    linked: bool = True
    """With the token links."""
    link_mode: str = "all"
    """How word links become token links, one of `weam_ext.data.token_links.LINK_MODES`."""
    one_to_one: bool = False
    """Only the links of words that have no other."""
    soft: bool = False
    """Links weigh as much as their posterior probability, at least `LEAST`, not all the same."""
    anchors: bool = False
    languages: bool = False


class Packed(NamedTuple):
    """Where the N' tokens of a batch, special ones included, stand one after the other."""

    positions: Tensor
    """[N'] int64: the flattened position of each in the padded rectangle, ascending."""
    rows: Tensor
    """[N] int64: the other way round; -1 on padding."""
    places: Tensor
    """[N'] int64: the place of each in its sequence, from 0."""
    bounds: Tensor
    """[B + 1] int32: the tokens of sequence b begin at bounds[b] and end before bounds[b + 1]."""

    @classmethod
    def of(cls, used: Ints) -> "Packed":
        """Of a rectangle [B, L] that is 0 on padding, which ends its rows."""
        positions = np.flatnonzero(used)
        rows = np.full(used.size, -1)
        rows[positions] = np.arange(len(positions))
        bounds = np.concatenate([[0], np.cumsum(used.sum(1))]).astype(np.int32)
        arrays = (positions, rows, positions % used.shape[1], bounds)
        return cls(*map(torch.from_numpy, arrays))


@dataclass(frozen=True)
class Batch:
    """Padded sequences with their links; N = B * L flattened positions."""

    input_ids: Tensor
    """[B, L] int64."""
    attention_mask: Tensor | None
    """[B, L] int64, 0 on padding; None where nothing is padded: attention has faster kernels then,
    and transformers would have to read a mask back from the device to see it."""
    token_type_ids: Tensor
    """[B, L] int64."""
    words: Tensor
    """[B, L] int64: the number of each ordinary token's word in its sequence, -1 on others."""
    draws: Tensor
    """[B] int64: the draw of each sequence (see `weam_ext.ops.mask`)."""
    paired: Tensor
    """[B] bool: the sequence belongs to a pair, not to monolingual text."""
    packed: Packed
    """The same sequences without padding."""
    links: Links | None
    """The symmetric token links, or None where the layout has none."""
    anchors: Tensor | None
    """[A] int64: flattened position of the last token of each word on the pivot's side."""
    languages: Tensor | None
    """[B, L] int64: the number of each ordinary token's language, 0 on others."""
    tokens: int
    """Ordinary tokens."""
    squares: int
    """Sum over the words of their squared number of ordinary tokens."""
    longest: int
    """Sum over the sequences of the tokens of their longest word."""
    linked: int
    """Ordinary tokens with at least one link."""
    linked_squares: int
    """Sum over the words of their squared number of tokens with a link."""
    unlinked: int
    """Ordinary tokens of pairs without a link."""

    def capacities(
        self, probability: float, unit: str = "token", exact: bool = False
    ) -> tuple[int, int]:
        """Masked and exchanged rows to hold (`weam_ext.ops.mask.capacity`); no links, no latter."""
        largest = self.input_ids.shape[0] if unit == "token" else self.longest
        rounding = largest / 2 if exact else 0.0

        def rows(candidates: int, squares: int) -> int:
            return capacity(candidates, probability, unit=unit, squares=squares, rounding=rounding)

        return (
            rows(self.tokens, self.squares),
            rows(self.linked, self.linked_squares) if self.linked else 0,
        )

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; copies from pinned memory do not wait."""
        if device.type == "cpu":
            return self
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in memory that a GPU reads by itself."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, move: Any) -> "Batch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: move(value) for name, value in values.items() if isinstance(value, Tensor)
        }
        moved["packed"] = Packed(*map(move, self.packed))
        if self.links is not None:
            offsets, positions, *weights = self.links
            soft = (part if part is None else move(part) for part in weights)
            moved["links"] = Links(move(offsets), move(positions), *soft)
        return replace(self, **moved)


class Sizes(NamedTuple):
    """Of samples, int32 [S] each."""

    tokens: Tokens
    """Ordinary tokens."""
    used: Tokens
    """With the special ones."""
    widths: Tokens
    """Of the longest sequence, with the special ones."""
    rows: Tokens
    """Sequences."""


class Collator:
    """Turns samples into batches.

    Args:
        tokenizer: frames the sequences with its special tokens.
        layout: what the batches hold.
        links: "true", or a control: "shuffled" or "random" (`weam_ext.text.words`).
        seed: of the controls' links.
    """

    def __init__(
        self, tokenizer: Any, layout: Layout, *, links: str = "true", seed: int = 0
    ) -> None:
        if links not in LINKS:
            raise InputError(f"unknown links {links!r}; there are {', '.join(LINKS)}")
        self._frames = {1: _frame(tokenizer, pair=False), 2: _frame(tokenizer, pair=True)}
        self._pad = int(tokenizer.pad_token_id)
        self._layout = layout
        self._links = links
        self._seed = seed

    def sizes(self, sides: Tokens) -> Sizes:
        """How large samples are in this layout.

        `sides` [S, 2] int32: ordinary tokens of each side, 0 in the second for monolingual text.
        """
        alone, single, pair = sides[:, 1] == 0, self._frames[1].size, self._frames[2].size
        tokens = sides.sum(1, dtype=np.int32)
        if self._layout.together:
            used = tokens + np.where(alone, np.int32(single), np.int32(pair))
            return Sizes(tokens, used, used, np.ones_like(tokens))
        rows = np.where(alone, np.int32(1), np.int32(2))
        return Sizes(tokens, tokens + rows * single, sides.max(1) + single, rows)

    def __call__(self, shards: Shards, members: Sequence[tuple[int, int]]) -> Batch:
        """The batch of (sample, ordinal in the run) members."""
        samples = [shards[sample] for sample, _ in members]
        rows: list[list[Sentence]] = []
        places: list[list[tuple[int, int]]] = []  # row and sentence in it of each side
        draws: list[int] = []
        for sample, (_, ordinal) in zip(samples, members, strict=True):
            sides = _sides(sample)
            places.append([])
            for group in [sides] if self._layout.together else [[side] for side in sides]:
                draws.append(ordinal if self._layout.together else 2 * ordinal + len(places[-1]))
                places[-1] += [(len(rows), k) for k in range(len(group))]
                rows.append(group)
        filled = _fill(rows, self._frames, self._pad)
        starts = [[int(filled.starts[row][k]) for row, k in sides] for sides in places]
        links = [
            self._links_of(sample, number, start)
            for sample, start, (number, _) in zip(samples, starts, members, strict=True)
            if self._layout.linked
        ]
        paired = np.repeat([len(s) == 2 for s in places], [s[-1][0] - s[0][0] + 1 for s in places])
        return self._batch(
            filled,
            draws=torch.tensor(draws),
            paired=torch.from_numpy(paired),
            links=_joined(links) if links else None,
            anchors=self._anchors(shards, samples, members, starts),
            languages=self._languages(shards, members, places, filled),
        )

    def _batch(self, filled: "_Filled", *, links: "_Linked | None", **others: Any) -> Batch:
        ids, words, size = filled.ids, filled.words, filled.ids.size
        # Words of the whole batch: a row of the batch has no more words than places.
        units = (words + ids.shape[1] * np.arange(len(ids))[:, None]).reshape(-1)
        ordinary, linked = (words >= 0).reshape(-1), np.zeros(size, bool)
        sparse = None
        if links is not None:
            sparse, linked = _symmetric(*links, size)
        sizes_of_words = np.bincount(units[ordinary], minlength=size)
        of_pairs = int((words >= 0)[others["paired"].numpy()].sum())
        return Batch(
            input_ids=torch.from_numpy(ids),
            attention_mask=None if filled.used.all() else torch.from_numpy(filled.used),
            token_type_ids=torch.from_numpy(filled.segments),
            words=torch.from_numpy(words),
            packed=Packed.of(filled.used),
            links=sparse,
            tokens=int(ordinary.sum()),
            squares=int((sizes_of_words**2).sum()),
            longest=int(sizes_of_words.reshape(ids.shape).max(axis=1).sum()),
            linked=int(linked.sum()),
            linked_squares=int((np.bincount(units[linked]) ** 2).sum()),
            unlinked=of_pairs - int(linked.sum()),
            **others,
        )

    def _links_of(self, sample: Sample, number: int, starts: Sequence[int]) -> "_Linked":
        ends = sample.link_source, sample.link_target
        links = np.column_stack([*ends, np.arange(len(ends[0]))]).astype(np.int64)
        words = [int(w.max(initial=-1)) + 1 for w in (sample.source_words, sample.target_words)]
        if self._links == "shuffled":
            links = shuffle_links(links, words[1], seed=self._seed, sample=number)
        elif self._links == "random":
            links = random_links(links, *words, seed=self._seed, sample=number)
        if self._layout.one_to_one:
            links = one_to_one(links)
        source, target = (w.astype(np.int64) for w in (sample.source_words, sample.target_words))
        found = token_links(source, target, links, self._layout.link_mode)
        weights = _weights(sample, number)[found[:, 2]] if self._layout.soft else None
        return _Linked(found[:, :2] + (starts if len(starts) == 2 else 0), weights)

    def _anchors(
        self,
        shards: Shards,
        samples: Sequence[Sample],
        members: Sequence[tuple[int, int]],
        starts: Sequence[Sequence[int]],
    ) -> Tensor | None:
        if not self._layout.anchors:
            return None
        found = []
        for sample, (number, _), start in zip(samples, members, starts, strict=True):
            languages = shards.corpora[shards.corpus[number]].languages
            side = languages.index(PIVOT) if PIVOT in languages else 0
            words = (sample.source_words, sample.target_words)[side]
            found.append(start[side] + _last_tokens(words))
        return torch.from_numpy(np.concatenate(found))

    def _languages(
        self,
        shards: Shards,
        members: Sequence[tuple[int, int]],
        places: Sequence[Sequence[tuple[int, int]]],
        filled: "_Filled",
    ) -> Tensor | None:
        if not self._layout.languages:
            return None
        names = language_names(shards)
        numbers = np.zeros_like(filled.ids)
        for (sample, _), sides in zip(members, places, strict=True):
            languages = shards.corpora[shards.corpus[sample]].languages
            for (row, k), name in zip(sides, languages, strict=True):
                start = int(filled.starts[row][k])
                end = start + int(filled.sizes[row][k])
                numbers.reshape(-1)[start:end] = names.index(name)
        return torch.from_numpy(numbers)


def language_names(shards: Shards) -> list[str]:
    """The languages of the corpora, each once, in the order of their numbers in a batch."""
    return sorted({name for corpus in shards.corpora for name in corpus.languages})


class _Linked(NamedTuple):
    """Token links, int64 [n, 2] of flattened positions, and the weights of soft ones, [n]."""

    pairs: Ints
    weights: NDArray[np.float64] | None


class _Filled(NamedTuple):
    """Sequences in rectangles [B, L], and the flattened start and the size of their sentences."""

    ids: Ints
    words: Ints
    segments: Ints
    used: Ints
    starts: list[list[int]]
    sizes: list[list[int]]


def _fill(rows: Sequence[list[Sentence]], frames: dict[int, Frame], pad: int) -> _Filled:
    sizes = [[len(sentence.ids) for sentence in row] for row in rows]
    length = max(sum(row) + frames[len(row)].size for row in sizes)
    ids = np.full((len(rows), length), pad)
    segments = np.zeros_like(ids)
    used, words = np.zeros_like(ids), _none(ids)
    starts = []
    for row, sentences in enumerate(rows):
        frame = frames[len(sentences)]
        first, *rest = _count_on(sentences)
        parts = [frame.prefix, first, *(p for s in rest for p in (frame.middle, s)), frame.suffix]
        ends = np.cumsum([len(part.ids) for part in parts])
        ids[row, : ends[-1]] = np.concatenate([part.ids for part in parts])
        words[row, : ends[-1]] = np.concatenate([part.words for part in parts])
        used[row, : ends[-1]] = 1
        segments[row, : ends[-1]] = np.repeat(frame.segments, np.diff(ends, prepend=0))
        starts.append([row * length + int(end) for end in ends[0:-1:2]])
    return _Filled(ids, words, segments, used, starts, sizes)


def _frame(tokenizer: Any, *, pair: bool) -> Frame:
    found = template(tokenizer, pair=pair)
    ids = [np.array(part, np.int64) for part in (found.prefix, found.middle, found.suffix)]
    segments = found.segments if pair else (*found.segments[:2], found.segments[4])
    prefix, middle, suffix = (Sentence(part, _none(part)) for part in ids)
    return Frame(prefix, middle, suffix, segments)


def _sides(sample: Sample) -> list[Sentence]:
    """The sentences of a pair, or the one of monolingual text, whose second side is empty."""
    source = Sentence(sample.source_ids, sample.source_words)
    target = Sentence(sample.target_ids, sample.target_words)
    return [source, target] if len(target.ids) else [source]


def _none(ids: Tokens | Ints) -> Ints:
    return np.full(ids.shape, -1)


def _count_on(sentences: list[Sentence]) -> Iterator[Sentence]:
    """The sentences with their words counted from 0, on from one to the next.

    A token that lies in no word is a word of its own: each must be one that can be masked.
    """
    counted = 0
    for ids, words in sentences:
        begins = np.ones(len(words), bool)
        begins[1:] = (words[1:] != words[:-1]) | (words[1:] < 0)
        yield Sentence(ids, counted + np.cumsum(begins) - 1)
        counted += int(begins.sum())


def _last_tokens(words: Tokens) -> Ints:
    """The last token of each word, ascending."""
    numbers, from_the_end = np.unique(words[::-1], return_index=True)
    last: Ints = np.sort(len(words) - 1 - from_the_end[numbers >= 0])
    return last


def _weights(sample: Sample, number: int) -> NDArray[np.float64]:
    """Of each word link; `InputError` where a sample has none, or one is negative or no number."""
    found = np.zeros(0, np.float32) if sample.probability is None else sample.probability
    if len(found) != len(sample.link_source):
        raise InputError("soft links need the probability of each link: prepare with --posteriors")
    if not ((found >= 0) & (found < np.inf)).all():
        raise InputError(f"sample {number}: the probability of a link is not between 0 and 1")
    return np.maximum(found.astype(np.float64), LEAST)


def _joined(parts: Sequence[_Linked]) -> _Linked:
    weights = [part.weights for part in parts if part.weights is not None]
    return _Linked(
        np.concatenate([part.pairs for part in parts]), np.concatenate(weights) if weights else None
    )


def _symmetric(
    pairs: Ints, weights: NDArray[np.float64] | None, size: int
) -> tuple[Links, NDArray[np.bool_]]:
    """Token links (a, b) of flattened positions, and (b, a), as CSR; which positions have one."""
    rows = np.concatenate([pairs[:, 0], pairs[:, 1]])
    columns = np.concatenate([pairs[:, 1], pairs[:, 0]])
    order = np.lexsort((columns, rows))
    degrees = np.bincount(rows, minlength=size)
    offsets = np.concatenate([[0], np.cumsum(degrees)])
    links = Links(torch.from_numpy(offsets), torch.from_numpy(columns[order]))
    if weights is not None:
        rows, columns, weights = rows[order], columns[order], np.tile(weights, 2)[order]
        sums = np.bincount(rows, weights, minlength=size)
        shares = (torch.from_numpy(weights / sums[ends]).float() for ends in (rows, columns))
        links = Links(*links[:2], *shares)
    return links, degrees > 0
