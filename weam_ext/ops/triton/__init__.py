"""The Triton kernels of masking, gather and head.

They are imported when the first CUDA tensor arrives: Triton exists for some platforms only.
"""

from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from weam_ext.common.errors import say


@cache
def launcher(module: str, name: str, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """`weam_ext.ops.triton.<module>.<name>` on the device of its first argument.

    Where Triton cannot be imported it is `otherwise`, and one loud line says so.
    """
    try:
        import_module("triton")
    except ImportError as error:
        say(
            f"weam_ext: SLOW PATH: {name} runs through plain torch operations, not Triton ({error})"
        )
        return otherwise
    launch = getattr(import_module(f"weam_ext.ops.triton.{module}"), name)

    @wraps(launch)
    def on_its_device(first: Tensor, *others: Any) -> Any:
        with torch.cuda.device_of(first):  # Triton launches on the current device
            return launch(first, *others)

    return on_its_device
