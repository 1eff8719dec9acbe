"""Which samples make up each batch of a run, and how often each corpus is drawn from.

The order of a run is a function of its seed and data alone. Samples of all corpora flow into
windows: sample n of the run comes from the corpus into whose share of [0, 1) the number n * golden
ratio mod 1 falls, a sequence that never drifts from the shares by more than a few samples; each
corpus gives its own samples epoch by epoch, sorted by their Philox words. A window is sorted by
length and cut into batches, so that a batch needs little padding, and the batches are shuffled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from weam_ext.data.collate import Sizes
from weam_ext.ops.philox import philox_words

ORDER = 3
"""The stream of the samples' order: the last word of the Philox counter."""
WINDOW = 32
"""Batches, about, that are cut from samples sorted together."""
_GOLDEN = 0.6180339887498949

Ints = NDArray[np.int64]
Members = list[tuple[int, int]]
"""(sample, ordinal in the run) of each member of a batch; no two ordinals of a run are equal."""


@dataclass(frozen=True)
class Place:
    """Where a run stands in its data: the next batch."""

    window: int = 0
    batch: int = 0
    """Within the window."""
    taken: tuple[int, ...] = ()
    """Samples that each corpus gave to the windows before; none where empty."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Place":
        """The place of these fields, as JSON keeps them."""
        return cls(**(values | {"taken": tuple(values.get("taken", ()))}))


class Corpora(NamedTuple):
    """What there is to draw from; S samples of C corpora."""

    corpus: NDArray[np.int32]
    """[S]: the corpus of each sample."""
    sizes: Sizes
    shares: Sequence[float]
    """[C]: of the samples of a run, how many come from each corpus; they add up to 1."""


def corpus_shares(
    sizes: Sequence[int],
    kinds: Sequence[str],
    *,
    temperature: float = 1.0,
    monolingual_share: float = 0.5,
) -> list[float]:
    """The share of each corpus among the samples of a run.

    A corpus of n samples weighs n^(1 / T) among those of its kind (Arivazhagan et al. 2019): T = 1
    takes them as they come, a high T all alike. Where there are both "bitext" and "monolingual"
    corpora, the latter have `monolingual_share` of the samples.
    """
    of_kind = {"bitext": 1 - monolingual_share, "monolingual": monolingual_share}
    weights = [n ** (1 / temperature) for n in sizes]
    sums = {
        kind: sum(w for w, k in zip(weights, kinds, strict=True) if k == kind) for kind in kinds
    }
    if len(sums) == 1:
        of_kind = dict.fromkeys(sums, 1.0)
    return [of_kind[k] * w / sums[k] for w, k in zip(weights, kinds, strict=True)]


class Order:
    """The batches of a run, each of `batch_size` samples or of at most `batch_tokens` tokens.

    Tokens are those of the padded batch: its sequences times the longest of them.
    `batches_a_pass` batches hold about as many samples as there are.
    """

    def __init__(
        self,
        corpora: Corpora,
        *,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        seed: int,
    ) -> None:
        assert (batch_size is None) != (batch_tokens is None)
        self.corpora = corpora
        self._size, self._tokens, self._seed = batch_size, batch_tokens, seed
        count = len(corpora.shares)
        self._members = [np.flatnonzero(corpora.corpus == c) for c in range(count)]
        self._edges = np.cumsum(corpora.shares)[:-1]
        self._epoch = lru_cache(maxsize=2 * count)(self._make_epoch)
        cost = int(corpora.sizes.used.sum(dtype=np.int64))
        samples = len(corpora.corpus)
        if batch_tokens is not None:
            self._window_samples = max(1, round(WINDOW * batch_tokens * samples / cost))
            self.batches_a_pass = -(-cost // batch_tokens)
        else:
            assert batch_size is not None
            self._window_samples = WINDOW * batch_size
            self.batches_a_pass = -(-samples // batch_size)

    def batches(self, place: Place) -> Iterator[tuple[Members, Place]]:
        """The batches from a place on, without end, each with the place that follows it."""
        while True:
            batches, taken = self._window(place)
            for number in range(place.batch, len(batches)):
                last = number + 1 == len(batches)
                following = Place(place.window, number + 1, place.taken)
                yield batches[number], Place(place.window + 1, 0, taken) if last else following
            place = Place(place.window + 1, 0, taken)

    def padded_tokens(self, members: Members) -> int:
        """The size of the padded batch."""
        samples = [sample for sample, _ in members]
        return int(
            self.corpora.sizes.rows[samples].sum() * self.corpora.sizes.widths[samples].max()
        )

    def _window(self, place: Place) -> tuple[list[Members], tuple[int, ...]]:
        numbers = place.window * self._window_samples + np.arange(self._window_samples)
        drawn = np.searchsorted(self._edges, numbers * _GOLDEN % 1.0, side="right")
        before = place.taken or (0,) * len(self._members)
        samples, ordinals = np.empty_like(numbers), np.empty_like(numbers)
        for c, members in enumerate(self._members):
            here = np.flatnonzero(drawn == c)
            own = before[c] + np.arange(len(here))
            epochs, places = np.divmod(own, len(members))
            for epoch in np.unique(epochs):
                at = epochs == epoch
                samples[here[at]] = members[self._epoch(c, int(epoch))[places[at]]]
            ordinals[here] = own * len(self._members) + c
        counts = np.bincount(drawn, minlength=len(before))
        by_length = np.argsort(-self.corpora.sizes.widths[samples], kind="stable")
        cuts = self._cut(samples[by_length])
        batches = [
            list(zip(samples[b].tolist(), ordinals[b].tolist(), strict=True))
            for b in np.split(by_length, cuts)
        ]
        shuffled = self._sorted_by_words(-1 - place.window, len(batches))
        taken = tuple((np.array(before) + counts).tolist())
        return [batches[k] for k in shuffled], taken

    def _cut(self, samples: Ints) -> list[int]:
        """Where the batches after the first begin, of samples from the longest down."""
        if self._size is not None:
            return list(range(self._size, len(samples), self._size))
        assert self._tokens is not None
        widths, rows = (
            self.corpora.sizes.widths[samples].tolist(),
            self.corpora.sizes.rows[samples].tolist(),
        )
        starts, held = [0], 0
        for k in range(len(widths)):
            if k > starts[-1] and (held + rows[k]) * widths[starts[-1]] > self._tokens:
                starts.append(k)
                held = 0
            held += rows[k]
        if len(starts) > 1 and len(samples) - starts[-1] < starts[-1] - starts[-2]:
            # Else the last could have too few members for every process to get one.
            starts[-1] = (starts[-2] + len(samples) + 1) // 2
        return starts[1:]

    def _make_epoch(self, corpus: int, epoch: int) -> Ints:
        count = len(self._members)
        return self._sorted_by_words(epoch * count + corpus, len(self._members[corpus]))

    def _sorted_by_words(self, draw: int, size: int) -> Ints:
        keys, *_ = philox_words(self._seed, torch.tensor(draw), torch.arange(size), ORDER)
        order: Ints = torch.argsort(keys, stable=True).numpy()
        return order
