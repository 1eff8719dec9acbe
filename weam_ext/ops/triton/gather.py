"""The cross-lingual gather and its backward: one program a row and stretch of the hidden size.

What the rows are: `weam_ext.ops.gather`. Both kernels read and never add to memory, so there is
nothing for two programs to meet in. They move 16 bytes a thread and a load, and are bound by
memory.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit(do_not_specialize=["masked_rows"])  # another for every batch
def _gather_rows(
    hidden, hidden_stride, positions, exchanged, offsets, linked, weights, rows, masked_rows, width,
    EXCHANGE: tl.constexpr, SOFT: tl.constexpr, SUM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    out = rows + row * width + columns
    if row < masked_rows:
        position = tl.load(positions + row)
        used = inside & (position >= 0)
        tl.store(out, tl.load(hidden + position * hidden_stride + columns, used, 0.0), inside)
    elif EXCHANGE:  # known when compiled: without links there is nothing to load from
        reader = tl.load(exchanged + row - masked_rows)
        position = tl.load(positions + reader, reader >= 0, 0)
        at = tl.load(offsets + position)
        end = tl.where(reader >= 0, tl.load(offsets + position + 1), at)
        degree = tl.maximum(end - at, 1)
        total = tl.zeros([BLOCK], SUM)
        while at < end:
            neighbour = tl.load(linked + at)
            values = tl.load(hidden + neighbour * hidden_stride + columns, inside, 0.0).to(SUM)
            if SOFT:
                values *= tl.load(weights + at).to(SUM)
            total += values
            at += 1
        if not SOFT:
            total /= degree.to(SUM)
        tl.store(out, total, inside)


@triton.jit(do_not_specialize=["masked_rows"])
def _gather_rows_backward(
    gradient, gradient_stride, row_of, exchanged_of, offsets, linked, transposed, d_hidden,
    masked_rows, width,
    EXCHANGE: tl.constexpr, SOFT: tl.constexpr, SUM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    position = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    row = tl.load(row_of + position)
    own = inside & (row >= 0)
    total = tl.load(gradient + row * gradient_stride + columns, own, 0.0).to(SUM)
    if EXCHANGE:
        at = tl.load(offsets + position)
        end = tl.load(offsets + position + 1)
        while at < end:
            reader = tl.load(linked + at)
            row = tl.load(exchanged_of + reader)
            if row >= 0:
                if SOFT:
                    weight = tl.load(transposed + at).to(SUM)
                else:
                    degree = tl.load(offsets + reader + 1) - tl.load(offsets + reader)
                share = gradient + (masked_rows + row) * gradient_stride + columns
                values = tl.load(share, inside, 0.0).to(SUM)
                total += values * weight if SOFT else values / degree.to(SUM)
            at += 1
    tl.store(d_hidden + position * width + columns, total, inside)


def gather_rows(
    hidden: Tensor,
    positions: Tensor,
    row_of: Tensor,
    exchanged: Tensor,
    exchanged_of: Tensor,
    offsets: Tensor | None,
    linked: Tensor | None,
    weights: Tensor | None,
    transposed: Tensor | None,
) -> Tensor:
    """Launch the forward pass: hidden [N, H] -> rows [R + X, H]."""
    hidden = _with_unit_stride(hidden)
    positions, exchanged = positions.contiguous(), exchanged.contiguous()
    offsets, linked, weights = _packed(offsets), _packed(linked), _packed(weights)
    width = hidden.shape[1]
    masked_rows = positions.numel()
    rows = hidden.new_empty(masked_rows + exchanged.numel(), width)
    block, warps = _block(hidden)
    _gather_rows[(rows.shape[0], triton.cdiv(width, block))](
        hidden, hidden.stride(0), positions, exchanged, offsets, linked, weights, rows, masked_rows,
        width,
        EXCHANGE=exchanged.numel() > 0, SOFT=weights is not None, SUM=_sum_type(hidden),
        BLOCK=block, num_warps=warps,
    )  # fmt: skip
    return rows


def gather_rows_backward(
    gradient: Tensor,
    positions: Tensor,
    row_of: Tensor,
    exchanged: Tensor,
    exchanged_of: Tensor,
    offsets: Tensor | None,
    linked: Tensor | None,
    weights: Tensor | None,
    transposed: Tensor | None,
) -> Tensor:
    """Launch the backward pass: gradient [R + X, H] of the rows -> that of hidden, [N, H]."""
    gradient = _with_unit_stride(gradient)
    row_of, exchanged_of = row_of.contiguous(), exchanged_of.contiguous()
    offsets, linked, transposed = _packed(offsets), _packed(linked), _packed(transposed)
    width = gradient.shape[1]
    d_hidden = gradient.new_empty(row_of.numel(), width)
    block, warps = _block(gradient)
    _gather_rows_backward[(row_of.numel(), triton.cdiv(width, block))](
        gradient, gradient.stride(0), row_of, exchanged_of, offsets, linked, transposed, d_hidden,
        positions.numel(), width,
        EXCHANGE=exchanged.numel() > 0, SOFT=transposed is not None, SUM=_sum_type(gradient),
        BLOCK=block, num_warps=warps,
    )  # fmt: skip
    return d_hidden


def _with_unit_stride(values: Tensor) -> Tensor:
    return values if values.stride(1) == 1 else values.contiguous()


def _packed(numbers: Tensor | None) -> Tensor | None:
    return None if numbers is None else numbers.contiguous()


def _block(values: Tensor) -> tuple[int, int]:
    """Columns of a program and its warps, such that a thread has 16 bytes of a row."""
    block = min(triton.next_power_of_2(values.shape[1]), 1024)
    return block, max(1, block * values.element_size() // 512)


def _sum_type(values: Tensor) -> tl.dtype:
    return tl.float64 if values.dtype == torch.float64 else tl.float32
