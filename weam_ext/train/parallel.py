"""A run over several processes: who holds what of the model, and what they add up."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed

from weam_ext.common.errors import InputError
from weam_ext.common.ranks import Ranks, variables
from weam_ext.model.families import layers_of
from weam_ext.model.sums import Sums
from weam_ext.train.objectives import Objective

MODES = ("ddp", "fsdp")


def own_device(name: str) -> torch.device:
    """A device by name, where "cuda" is this process's GPU: none takes memory of another's.

    Raises `RuntimeError` for an unknown name, `InputError` for one GPU of several processes.
    """
    device = torch.device(name)
    if device.type != "cuda":
        return device
    _, local_rank, world, _ = variables()
    if device.index is not None and world > 1:
        raise InputError(f"--device {name}: each of {world} processes has its own GPU: say cuda")
    return torch.device("cuda", local_rank if device.index is None else device.index)


class Parallel:
    """An objective in all processes of a run.

    With "ddp" every process holds it whole, with "fsdp" its part (Zhao et al. 2023); one process
    needs neither. Both give each process the mean of all gradients, as if each had a whole batch.

    Args:
        working: with "fsdp", the type in which the gathered weights are, where it is not that of
            the parts; gradients are added in the type of the parts.

    Attributes:
        forward: the objective, or what it is wrapped in.
    """

    def __init__(
        self,
        objective: Objective,
        ranks: Ranks,
        mode: str,
        device: torch.device,
        working: torch.dtype | None = None,
    ) -> None:
        self._ranks = ranks
        self.forward: Callable[..., Sums] = objective
        self._wrapped: Any = None
        self._sharded: Any = None
        if ranks.world > 1 and mode == "ddp":
            from torch.nn.parallel import DistributedDataParallel

            self._wrapped = DistributedDataParallel(
                objective,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )
            self.forward = self._wrapped
        elif ranks.world > 1:
            self._sharded = _shard(objective, device, working)

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """While the batches of a step before the last are worked on: gradients stay here."""
        if self._wrapped is None or last:
            return nullcontext()
        waiting: AbstractContextManager[Any] = self._wrapped.no_sync()
        return waiting

    def after_measuring(self) -> None:
        """Share out again what a forward pass put together and no backward pass has let go of."""
        if self._sharded is not None:
            self._sharded.reshard()

    def total(self, sums: Sums) -> Sums:
        """The sums of all processes."""
        if self._ranks.world == 1:
            return sums
        stacked = sums.stacked()
        distributed.all_reduce(stacked)
        return sums.replaced(stacked)

    def any(self, here: bool) -> bool:
        """Whether it is so in any process; asked on the host, so that no device is waited for."""
        if self._ranks.world == 1:
            return here
        flag = torch.tensor(int(here))
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)


def _shard(objective: Objective, device: torch.device, working: torch.dtype | None) -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    policy = MixedPrecisionPolicy(
        param_dtype=working, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for layer in layers_of(objective.predictor.encoder.module):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    return fully_shard(objective, mesh=mesh, mp_policy=policy)


def own_part(tensor: Any) -> Tensor:
    """A tensor, or of a sharded one this process's part."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part
