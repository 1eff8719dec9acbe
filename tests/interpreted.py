"""Lets the operators take the way of a GPU on CPU tensors: Triton's kernels, interpreted.

An operator looks at the device of its tensors only. Here each gets a kernel for "cpu" that calls
the launcher while `triton_on_cpu` lasts, and the torch path otherwise.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from weam_ext.ops import gather, mask
from weam_ext.ops.triton import gather as gather_kernels
from weam_ext.ops.triton import mask as mask_kernels

_active: list[bool] = []


@contextmanager
def triton_on_cpu() -> Iterator[None]:
    """CPU tensors go through Triton's interpreter."""
    _active.append(True)
    try:
        yield
    finally:
        _active.pop()


def interpreting() -> bool:
    return bool(_active)


def _redirect(operator: Any, plain: Callable[..., Any], launcher: Callable[..., Any]) -> None:
    operator.register_kernel("cpu", lambda *given: (launcher if _active else plain)(*given))


_redirect(gather._gather_op, gather._gather, gather_kernels.gather_rows)
_redirect(gather._gather_backward_op, gather._gather_backward, gather_kernels.gather_rows_backward)
_redirect(mask._mask_op, mask._mask, mask_kernels.mask_tokens)
