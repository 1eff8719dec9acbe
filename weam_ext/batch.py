"""Shards into batches: which samples, in which order, padded and linked.

The order of a run is a pure function of its seed, so that the number of the next batch is all there
is to resume from: sample number n of the run is position n mod N of epoch n div N, and an epoch's
order sorts the samples by their Philox words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weam_ext.errors import InputError
from weam_ext.mask import Links, capacity, philox_words
from weam_ext.shards import Ints, Sample, Shards, Tokens
from weam_ext.tokenizer import template
from weam_ext.words import random_links, shuffle_links, token_links

LINKS = ("true", "shuffled", "random")
ORDER = 3
"""The stream of the samples' order: the last word of the Philox counter."""


class Sentence(NamedTuple):
    """Token ids and the word of each token, integers."""

    ids: Tokens | Ints
    words: Tokens | Ints


# ------------------------------------------------------------------------------------------ order


class Order:
    """Which samples make up each batch of a run.

    Samples are shuffled for each epoch and flow on from one into the next; every `WINDOW` batches
    are cut from samples sorted by length, so that a batch needs little padding, and shuffled.
    """

    WINDOW = 32

    def __init__(self, lengths: Ints, batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)
        self._window = lru_cache(maxsize=1)(self._make_window)

    def batch(self, number: int) -> list[tuple[int, int]]:
        """(sample, ordinal in the run) of each member of batch `number`."""
        window, place = divmod(number, self.WINDOW)
        return self._window(window)[place]

    def _make_window(self, window: int) -> list[list[tuple[int, int]]]:
        size = self.WINDOW * self._batch_size
        ordinals = np.arange(window * size, (window + 1) * size)
        epochs, places = np.divmod(ordinals, len(self._lengths))
        samples = np.array([self._epoch(int(e))[p] for e, p in zip(epochs, places, strict=True)])
        by_length = np.argsort(self._lengths[samples], kind="stable").reshape(self.WINDOW, -1)
        batches = by_length[self._sorted_by_words(-1 - window, self.WINDOW)]
        return [list(zip(samples[b].tolist(), ordinals[b].tolist(), strict=True)) for b in batches]

    def _make_epoch(self, epoch: int) -> Ints:
        return self._sorted_by_words(epoch, len(self._lengths))

    def _sorted_by_words(self, draw: int, size: int) -> Ints:
        keys, *_ = philox_words(self._seed, torch.tensor(draw), torch.arange(size), ORDER)
        order: Ints = torch.argsort(keys, stable=True).numpy()
        return order


# ---------------------------------------------------------------------------------------- batches


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
    """[B] int64: the draw of each sequence (see `weam_ext.mask`)."""
    links: Links | None
    """The symmetric token links, or None where sentences stand alone."""
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

    def capacities(
        self, probability: float, unit: str = "token", exact: bool = False
    ) -> tuple[int, int]:
        """Masked and exchanged rows to hold (`weam_ext.mask.capacity`); no links, no latter."""
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

        def move(tensor: Tensor) -> Tensor:
            return tensor.pin_memory().to(device, non_blocking=True)

        return replace(
            self,
            input_ids=move(self.input_ids),
            attention_mask=None if self.attention_mask is None else move(self.attention_mask),
            token_type_ids=move(self.token_type_ids),
            words=move(self.words),
            draws=move(self.draws),
            links=None if self.links is None else Links(*map(move, self.links)),
        )


class Collator:
    """Turns samples into batches.

    Args:
        tokenizer: frames the sequences with its special tokens.
        pair: one sequence a pair (TLM, WEAM), or one a sentence (MLM).
        links: "true", or a control: "shuffled" or "random" (`weam_ext.words`).
        link_mode: how word links become token links, one of `weam_ext.words.LINK_MODES`.
        seed: of the controls' links.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        pair: bool,
        links: str = "true",
        link_mode: str = "all",
        seed: int = 0,
    ) -> None:
        if links not in LINKS:
            raise InputError(f"unknown links {links!r}; there are {', '.join(LINKS)}")
        frame = template(tokenizer, pair=pair)
        self._around = [
            np.array(ids, np.int64) for ids in (frame.prefix, frame.middle, frame.suffix)
        ]
        self._kinds = frame.segments if pair else (*frame.segments[:2], frame.segments[4])
        self._pad = int(tokenizer.pad_token_id)
        self._pair = pair
        self._links = links
        self._link_mode = link_mode
        self._seed = seed

    def __call__(self, shards: Shards, members: Sequence[tuple[int, int]]) -> Batch:
        """The batch of (sample, ordinal in the run) members."""
        samples = [shards[sample] for sample, _ in members]
        ordinals = np.array([ordinal for _, ordinal in members], np.int64)
        pairs = [
            [Sentence(s.source_ids, s.source_words), Sentence(s.target_ids, s.target_words)]
            for s in samples
        ]
        if not self._pair:
            draws = (2 * ordinals[:, None] + np.arange(2)).reshape(-1)
            return self._padded([[sentence] for pair in pairs for sentence in pair], draws)
        links = [self._links_of(s, number) for s, (number, _) in zip(samples, members, strict=True)]
        return self._padded(pairs, ordinals, links)

    def _links_of(self, sample: Sample, number: int) -> Ints:
        links = np.stack([sample.link_source, sample.link_target], axis=1).astype(np.int64)
        words = [int(w.max()) + 1 for w in (sample.source_words, sample.target_words)]
        if self._links == "shuffled":
            links = shuffle_links(links, words[1], seed=self._seed, sample=number)
        elif self._links == "random":
            links = random_links(links, *words, seed=self._seed, sample=number)
        source, target = (w.astype(np.int64) for w in (sample.source_words, sample.target_words))
        return token_links(source, target, links, self._link_mode)

    def _padded(
        self, rows: list[list[Sentence]], draws: Ints, links: list[Ints] | None = None
    ) -> Batch:
        prefix, middle, suffix = (Sentence(ids, _none(ids)) for ids in self._around)
        length = max(map(_tokens, rows)) + sum(map(len, self._around))
        ids = np.full((len(rows), length), self._pad)
        segments = np.zeros_like(ids)
        used, words = np.zeros_like(ids), _none(ids)
        for row, sentences in enumerate(rows):
            first, *rest = _count_on(sentences)
            parts = [prefix, first, *(p for s in rest for p in (middle, s)), suffix]
            sizes = [len(part.ids) for part in parts]
            end = sum(sizes)
            ids[row, :end] = np.concatenate([part.ids for part in parts])
            words[row, :end] = np.concatenate([part.words for part in parts])
            used[row, :end] = 1
            segments[row, :end] = np.repeat(self._kinds, sizes)
        # Words of the whole batch: a row of the batch has no more words than places.
        units = (words + length * np.arange(len(rows))[:, None]).reshape(-1)
        ordinary, linked = (words >= 0).reshape(-1), np.zeros(ids.size, bool)
        sparse = None
        if links is not None:
            shifts = [
                [len(prefix.ids), len(prefix.ids) + len(first.ids) + len(middle.ids)]
                for first, _ in rows
            ]
            flat = [pairs + shifts[row] + row * length for row, pairs in enumerate(links)]
            sparse, linked = _symmetric(np.concatenate(flat), ids.size)
        sizes_of_words = np.bincount(units[ordinary], minlength=ids.size)
        return Batch(
            input_ids=torch.from_numpy(ids),
            attention_mask=None if used.all() else torch.from_numpy(used),
            token_type_ids=torch.from_numpy(segments),
            words=torch.from_numpy(words),
            draws=torch.from_numpy(draws),
            links=sparse,
            tokens=int(ordinary.sum()),
            squares=int((sizes_of_words**2).sum()),
            longest=int(sizes_of_words.reshape(ids.shape).max(axis=1).sum()),
            linked=int(linked.sum()),
            linked_squares=int((np.bincount(units[linked]) ** 2).sum()),
        )


def _tokens(sentences: list[Sentence]) -> int:
    return sum(len(sentence.ids) for sentence in sentences)


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


def _symmetric(pairs: Ints, size: int) -> tuple[Links, NDArray[np.bool_]]:
    """Token links (a, b) of flattened positions, and (b, a), as CSR; which positions have one."""
    rows = np.concatenate([pairs[:, 0], pairs[:, 1]])
    columns = np.concatenate([pairs[:, 1], pairs[:, 0]])
    order = np.lexsort((columns, rows))
    degrees = np.bincount(rows, minlength=size)
    offsets = np.concatenate([[0], np.cumsum(degrees)])
    links = Links(torch.from_numpy(offsets), torch.from_numpy(columns[order]))
    return links, degrees > 0
