"""What torch is told so that a GPU computes the same bytes again."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic


@contextmanager
def repeatable(on: bool = True) -> Iterator[None]:
    """If `on`, what is computed within is the same to the bit each time, on one kind of device.

    Enter it before the first product on a GPU: cuBLAS reads its setting when it starts. Torch's
    settings are put back at the end; that one stays, in the environment, for processes started
    within. An operation of which torch has no repeatable form raises `RuntimeError`; no step of
    this package has one (whole numbers are summed cumulatively, and never floats).

    On or off, cuDNN's attention is not used: it plans anew for each shape of a batch, about a
    second every time, and cannot repeat itself.
    """
    if on:
        # Two streams that share a workspace would take turns as they come (NVIDIA's manual of
        # cuBLAS, "Results reproducibility").
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    algorithms = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    memory: Any = torch.utils.deterministic
    attention: Any = torch.backends.cuda
    fill, cudnn = memory.fill_uninitialized_memory, attention.cudnn_sdp_enabled()
    try:
        # Strictly: if it were only to warn, the backward passes of attention would go on adding in
        # whatever order their blocks end.
        torch.use_deterministic_algorithms(on)
        memory.fill_uninitialized_memory = False  # a pass over all that is made
        attention.enable_cudnn_sdp(False)
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        memory.fill_uninitialized_memory = fill
        attention.enable_cudnn_sdp(cudnn)
