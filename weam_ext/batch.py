"""Shards into batches: which samples, in which order, padded and linked.

The order of a run is a pure function of its seed, so that the number of the next batch is all there
is to resume from: sample number n of the run is position n mod N of epoch n div N, and an epoch's
order sorts the samples by their Philox words.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from weam_ext.errors import InputError
from weam_ext.files import file_digest
from weam_ext.mask import Links, capacity, philox_words
from weam_ext.prepare import COLUMNS, FORMAT, SPLITS
from weam_ext.tokenizer import template
from weam_ext.words import shuffle_links, token_links

LINKS = ("true", "shuffled")
ORDER = 3
"""The stream of the samples' order: the last word of the Philox counter."""

Ints = NDArray[np.int64]
Tokens = NDArray[np.int32]


class Sample(NamedTuple):
    """One sentence pair: views of the memory-mapped columns, int32."""

    source_ids: Tokens
    source_words: Tokens
    target_ids: Tokens
    target_words: Tokens
    link_source: Tokens
    link_target: Tokens

    @property
    def tokens(self) -> int:
        return len(self.source_ids) + len(self.target_ids)


class Shards:
    """The samples of one split of a prepared directory, memory-mapped.

    `len` is their number; `shards[k]` is a `Sample`; `lengths` int64 [samples] their tokens;
    `bitext` int64 [samples] which bitext each came from; `names` the bitexts' names.
    """

    def __init__(self, directory: Path, description: dict[str, Any], split: str) -> None:
        self.names: list[str] = [bitext["name"] for bitext in description["bitexts"]]
        self._columns: list[list[tuple[Ints, Tokens]]] = []
        self._starts = [0]
        lengths, bitexts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number, bitext in enumerate(description["bitexts"]):
            for shard in bitext["shards"][split]:
                columns = _open_shard(directory / shard["file"], shard["sha256"])
                self._columns.append(columns)
                self._starts.append(self._starts[-1] + shard["pairs"])
                lengths.append(np.diff(columns[0][0]) + np.diff(columns[2][0]))
                bitexts.append(np.full(shard["pairs"], number))
        self.lengths: Ints = np.concatenate(lengths)
        self.bitext: Ints = np.concatenate(bitexts)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, sample: int) -> Sample:
        shard = int(np.searchsorted(self._starts, sample, side="right")) - 1
        row = sample - self._starts[shard]
        return Sample(*(values[at[row] : at[row + 1]] for at, values in self._columns[shard]))


def _open_shard(path: Path, sha256: str) -> list[tuple[Ints, Tokens]]:
    try:
        if file_digest(path) != sha256:
            raise InputError(f"{path}: the file is not what was prepared (its checksum differs)")
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    columns = [batch.column(name) for name in COLUMNS]
    return [(column.offsets.to_numpy(), column.values.to_numpy()) for column in columns]


def open_prepared(directory: Path) -> tuple[dict[str, Any], dict[str, Shards]]:
    """A prepared directory's description and its splits; `InputError` if it is none."""
    path = directory / "prepared.json"
    try:
        description = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{directory}: not a prepared directory (no prepared.json)") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON") from error
    written = description.get("format") if isinstance(description, dict) else None
    if written != FORMAT:
        raise InputError(f"{path}: format {written}, expected {FORMAT}")
    return description, {split: Shards(directory, description, split) for split in SPLITS}


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
    attention_mask: Tensor
    """[B, L] int64, 0 on padding."""
    token_type_ids: Tensor
    """[B, L] int64."""
    maskable: Tensor
    """[B, L] bool, True on ordinary tokens."""
    draws: Tensor
    """[B] int64: the draw of each sequence (see `weam_ext.mask`)."""
    links: Links | None
    """The symmetric token links, or None where sentences stand alone."""
    tokens: int
    """Ordinary tokens."""
    linked: int
    """Ordinary tokens with at least one link."""

    def capacities(self, probability: float) -> tuple[int, int]:
        """Masked and exchanged rows to hold (`weam_ext.mask.capacity`); no links, no latter."""
        return (
            capacity(self.tokens, probability),
            capacity(self.linked, probability) if self.linked else 0,
        )

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; copies from pinned memory do not wait."""
        if device.type == "cpu":
            return self

        def move(tensor: Tensor) -> Tensor:
            return tensor.pin_memory().to(device, non_blocking=True)

        return Batch(
            move(self.input_ids),
            move(self.attention_mask),
            move(self.token_type_ids),
            move(self.maskable),
            move(self.draws),
            None if self.links is None else Links(*map(move, self.links)),
            self.tokens,
            self.linked,
        )


class Collator:
    """Turns samples into batches.

    Args:
        tokenizer: frames the sequences with its special tokens.
        pair: one sequence a pair (TLM, WEAM), or one a sentence (MLM).
        links: "true", or "shuffled": the control of `weam_ext.words.shuffle_links`.
        link_mode: how word links become token links, one of `weam_ext.words.LINK_MODES`.
        seed: of the shuffled links.
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
        # Of each part of a sequence: special tokens and sentences in turn.
        self._ordinary = [False, True, False, True, False] if pair else [False, True, False]
        self._kinds = frame.segments if pair else (*frame.segments[:2], frame.segments[4])
        self._pad = int(tokenizer.pad_token_id)
        self._pair = pair
        self._shuffled = links == "shuffled"
        self._link_mode = link_mode
        self._seed = seed

    def __call__(self, shards: Shards, members: Sequence[tuple[int, int]]) -> Batch:
        """The batch of (sample, ordinal in the run) members."""
        samples = [shards[sample] for sample, _ in members]
        ordinals = np.array([ordinal for _, ordinal in members], np.int64)
        if not self._pair:
            rows = [[ids] for s in samples for ids in (s.source_ids, s.target_ids)]
            draws = (2 * ordinals[:, None] + np.arange(2)).reshape(-1)
            return self._padded(rows, draws)
        rows = [[s.source_ids, s.target_ids] for s in samples]
        links = [self._links_of(s, number) for s, (number, _) in zip(samples, members, strict=True)]
        return self._padded(rows, ordinals, links)

    def _links_of(self, sample: Sample, number: int) -> Ints:
        links = np.stack([sample.link_source, sample.link_target], axis=1).astype(np.int64)
        if self._shuffled:
            words = int(sample.target_words.max()) + 1
            links = shuffle_links(links, words, seed=self._seed, sample=number)
        source, target = (w.astype(np.int64) for w in (sample.source_words, sample.target_words))
        return token_links(source, target, links, self._link_mode)

    def _padded(
        self, rows: list[list[Tokens]], draws: Ints, links: list[Ints] | None = None
    ) -> Batch:
        prefix, middle, suffix = self._around
        length = max(map(_tokens, rows)) + sum(map(len, self._around))
        ids = np.full((len(rows), length), self._pad)
        segments = np.zeros_like(ids)
        used, maskable = np.zeros_like(ids), np.zeros(ids.shape, bool)
        for row, sentences in enumerate(rows):
            parts = [prefix, sentences[0], *(p for s in sentences[1:] for p in (middle, s)), suffix]
            sizes = [len(part) for part in parts]
            end = sum(sizes)
            ids[row, :end] = np.concatenate(parts)
            used[row, :end] = 1
            segments[row, :end] = np.repeat(self._kinds, sizes)
            maskable[row, :end] = np.repeat(self._ordinary, sizes)
        sparse, linked = None, 0
        if links is not None:
            shifts = [[len(prefix), len(prefix) + len(first) + len(middle)] for first, _ in rows]
            flat = [pairs + shifts[row] + row * length for row, pairs in enumerate(links)]
            sparse, linked = _symmetric(np.concatenate(flat), ids.size)
        return Batch(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(used),
            token_type_ids=torch.from_numpy(segments),
            maskable=torch.from_numpy(maskable),
            draws=torch.from_numpy(draws),
            links=sparse,
            tokens=sum(map(_tokens, rows)),
            linked=linked,
        )


def _tokens(sentences: list[Tokens]) -> int:
    return sum(map(len, sentences))


def _symmetric(pairs: Ints, size: int) -> tuple[Links, int]:
    """Token links (a, b) of flattened positions, and (b, a), as CSR; and the linked positions."""
    rows = np.concatenate([pairs[:, 0], pairs[:, 1]])
    columns = np.concatenate([pairs[:, 1], pairs[:, 0]])
    order = np.lexsort((columns, rows))
    degrees = np.bincount(rows, minlength=size)
    offsets = np.concatenate([[0], np.cumsum(degrees)])
    links = Links(torch.from_numpy(offsets), torch.from_numpy(columns[order]))
    return links, int(np.count_nonzero(degrees))
