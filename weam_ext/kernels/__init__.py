"""The Triton kernels of masking, gather and head.

They are imported when the first CUDA tensor arrives: Triton exists for some platforms only.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from weam_ext.errors import say


@cache
def launcher(module: str, name: str, otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """`weam_ext.kernels.<module>.<name>`, or `otherwise` where Triton cannot be imported."""
    try:
        import_module("triton")
    except ImportError as error:
        say(
            f"weam_ext: SLOW PATH: {name} runs through plain torch operations, not Triton ({error})"
        )
        return otherwise
    found: Callable[..., Any] = getattr(import_module(f"weam_ext.kernels.{module}"), name)
    return found
