"""The processes of one run, as torchrun starts them: who this is, and what they tell each other."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Self, TypeVar

from weam_ext.common.errors import InputError, describe

Item = TypeVar("Item")

# Ranks wait for one that does long work alone (fitting an aligner), so they wait for long; where
# one dies, torchrun ends the others.
_PATIENCE = timedelta(days=7)
# Seconds. Gloo's threads outlive the process group. One that has not yet let go of the tensors of
# the last exchange needs the interpreter for it, and aborts a process that is leaving it: one of
# seven starts with FSDP did, on a busy machine. Sleeping hands the interpreter over.
_FAREWELL = 0.5


class _SharedError(InputError):
    """What all ranks know of already."""


class Ranks:
    """The ranks of a run; by default one, which needs no process group.

    As a context manager it leaves the process group on the way out.

    Attributes:
        rank: of this process, from 0.
        local_rank: the same among those on this machine, `local_world` of them.
        world: how many ranks there are.
    """

    def __init__(
        self, rank: int = 0, local_rank: int = 0, world: int = 1, local_world: int = 1
    ) -> None:
        self.rank, self.local_rank, self.world = rank, local_rank, world
        self.local_world = local_world

    @classmethod
    def of_environment(cls, device: str = "cpu") -> Self:
        """What torchrun's variables say, with a process group if there are several ranks.

        `device` "cuda" takes this rank's GPU and adds NCCL for its tensors; objects and barriers
        go through gloo. Raises `InputError` for variables that are not numbers.
        """
        rank, local_rank, world, local_world = variables()
        if world > 1:
            import torch
            from torch import distributed

            if device == "cuda":
                torch.cuda.set_device(local_rank)
            backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=_PATIENCE)
        return cls(rank, local_rank, world, local_world)

    @property
    def first(self) -> bool:
        """Whether this is the rank that speaks for all."""
        return self.rank == 0

    def gather(self, item: Item) -> list[Item]:
        """The items of all ranks, on each of them; small ones: they are pickled."""
        if self.world == 1:
            return [item]
        from torch import distributed

        items: list[Item | None] = [None] * self.world
        distributed.all_gather_object(items, item)
        return items  # type: ignore[return-value]

    def broadcast(self, item: Item) -> Item:
        """The first rank's item, on all."""
        return self.gather(item)[0]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.gather(None)

    @contextmanager
    def together(self) -> Iterator[None]:
        """A stretch that all ranks leave together, or none does.

        An `InputError` or `OSError` of any rank becomes the first rank's `InputError`, which says
        it once, and a silent exit with status 2 on the others. One stretch may lie within another:
        where a rank has failed, the others hear of it at the end of the stretch that they are in.
        """
        if self.world == 1:
            yield
            return
        fault: str | None = None
        try:
            yield
        except _SharedError:
            raise
        except (InputError, OSError) as error:
            fault = describe(error)
        faults = [each for each in self.gather(fault) if each is not None]
        if faults and self.first:
            raise _SharedError(faults[0])
        if faults:
            raise SystemExit(2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.world > 1:
            from torch import distributed

            distributed.destroy_process_group()
            time.sleep(_FAREWELL)


def variables() -> tuple[int, ...]:
    """RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE; those of one process where not set.

    Raises `InputError` where they are not numbers.
    """
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    try:
        return tuple(int(os.environ.get(name, d)) for name, d in zip(names, "0011", strict=True))
    except ValueError as error:
        raise InputError(f"{', '.join(names)} in the environment must be numbers") from error
