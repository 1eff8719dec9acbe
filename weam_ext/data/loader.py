"""Batches on their way to the model: made ahead by worker processes, in the order of the run."""

import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from weam_ext.data.collate import Batch, Collator
from weam_ext.data.sampler import Members, Order, Place
from weam_ext.data.shards import Shards

_AHEAD = 4
"""Batches that each worker keeps ready."""
_ALIGNED = 64
"""Bytes: where each tensor of a parcel may begin."""


class Request(NamedTuple):
    """A batch to be made: this process's members of it."""

    members: Members
    following: Place
    """What comes after it."""
    tokens: int
    """Ordinary tokens of the batch; this and what follows in all processes."""
    used: int
    """With the special tokens."""
    padded: int
    """Its places, padding included."""
    sequences: int


class Made(NamedTuple):
    """A batch, and what was asked for."""

    batch: Batch
    request: Request


class _Requests:
    """Member r, r + W, r + 2 W .. of every batch belong to process r of W.

    Workers are sent the members alone. `pending` are the requests whose batches were not received
    yet, oldest first: batches come back in order.
    """

    def __init__(self, order: Order, place: Place, rank: int, world: int) -> None:
        self._order, self._place, self._rank, self._world = order, place, rank, world
        self.pending: deque[Request] = deque()

    def __iter__(self) -> Iterator[Members]:
        sizes = self._order.corpora.sizes
        for members, following in self._order.batches(self._place):
            shares = [members[rank :: self._world] for rank in range(self._world)]
            samples = np.array([sample for sample, _ in members])
            request = Request(
                shares[self._rank],
                following,
                tokens=int(sizes.tokens[samples].sum()),
                used=int(sizes.used[samples].sum()),
                padded=sum(map(self._order.padded_tokens, shares)),
                sequences=int(sizes.rows[samples].sum()),
            )
            self.pending.append(request)
            yield request.members


class _Slice(NamedTuple):
    """Where a tensor lies in the memory of a parcel."""

    start: int
    """In bytes."""
    dtype: torch.dtype
    shape: torch.Size

    def of(self, memory: Tensor) -> Tensor:
        end = self.start + self.dtype.itemsize * self.shape.numel()
        return memory[self.start : end].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class Parcel:
    """A batch on its way, whose tensors are one piece of memory: shared, pinned and copied at once.

    Each tensor by itself would cost a file descriptor, a thread's turn and a copy.
    """

    memory: Tensor
    """[bytes] uint8."""
    batch: Batch
    """With a `_Slice` of the memory in place of each tensor."""

    @classmethod
    def of(cls, batch: Batch) -> "Parcel":
        slices: list[tuple[_Slice, Tensor]] = []
        size = 0

        def place(tensor: Tensor) -> _Slice:
            nonlocal size
            slices.append((_Slice(size, tensor.dtype, tensor.shape), tensor))
            size += -(-tensor.nbytes // _ALIGNED) * _ALIGNED
            return slices[-1][0]

        placed = batch.mapped(place)
        memory = torch.zeros(size, dtype=torch.uint8)
        for each, tensor in slices:
            each.of(memory).copy_(tensor)
        return cls(memory, placed)

    def pin_memory(self) -> "Parcel":
        """In memory that a GPU reads by itself; DataLoader calls this."""
        return replace(self, memory=self.memory.pin_memory())

    def opened(self, device: torch.device) -> Batch:
        """The batch on a device; the copy from pinned memory does not wait."""
        memory = self.memory.to(device, non_blocking=True)
        return self.batch.mapped(lambda each: each.of(memory), kind=_Slice)


class _Collated(Dataset[Parcel]):
    def __init__(self, shards: Shards, collate: Collator) -> None:
        self._shards, self._collate = shards, collate

    def __getitem__(self, members: Members) -> Parcel:
        return Parcel.of(self._collate(self._shards, members))


class Feed:
    """The batches of one process of a run from a place on, without end.

    `waited` counts the seconds that the process spent waiting for batches. Batches are the same
    with any number of workers; 0 makes them in this process, when they are asked for.
    """

    def __init__(
        self,
        order: Order,
        shards: Shards,
        collate: Collator,
        *,
        place: Place,
        device: torch.device,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._requests = _Requests(order, place, rank, world)
        self._loader = DataLoader(
            _Collated(shards, collate),
            batch_size=None,
            sampler=self._requests,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            prefetch_factor=_AHEAD if workers else None,
            worker_init_fn=_leave_signals_alone,
        )
        self._device = device
        self._made: Iterator[Parcel] = iter(self._loader)
        self.waited = 0.0

    def __next__(self) -> Made:
        begun = time.perf_counter()
        parcel = next(self._made)
        self.waited += time.perf_counter() - begun
        return Made(parcel.opened(self._device), self._requests.pending.popleft())


def _leave_signals_alone(_: int) -> None:
    # Ctrl-C reaches every process of a terminal; the main one ends its workers when it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
