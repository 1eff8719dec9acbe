"""Cross-entropy of rows of logits and, in their place, its gradient: two launches.

The formulas: `weam_ext.ops.cross_entropy`. In the first launch a program reads a row, once: each of
its lanes keeps the largest logit and the sum of exponentials of its own columns (online softmax,
Milakov & Gimelshein 2018, arXiv:1805.02867), and they meet when the row ends. In the second a
program walks down a stretch of rows in its own columns, overwrites them with their gradient and
adds them up, which is the gradient of a bias. No lane waits for another within either loop, and
both ask for what comes next before they work on what they have.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from weam_ext.ops.constants import IGNORED

_IGNORED = tl.constexpr(IGNORED)
# Below any logit, and unlike -inf still a number when a logit of -inf is taken from it.
_LOWEST = tl.constexpr(-3e38)
# 16 logits a thread: with what is kept of each, and the 16 on their way, they fit in registers.
_LANES = {"BLOCK": 2048, "num_warps": 4}
# Rows that a program of the second launch walks down: as many logits as it writes one sum for.
_STRETCH = 128


@triton.jit
def _row_statistics(
    logits, stride, labels, weights, losses, correct, largest, scales, width,
    SUM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of each row: its loss, whether its label has the first largest logit, max z, weight / sum."""
    at = tl.program_id(0).to(tl.int64)
    label = tl.load(labels + at)
    if label == _IGNORED:  # whatever its logits are, numbers or not
        tl.store(losses + at, 0.0)
        tl.store(correct + at, False)
    else:
        row = logits + at * stride
        columns = tl.arange(0, BLOCK)
        following = tl.load(row + columns, columns < width, -float("inf"))
        maxima = tl.full([BLOCK], _LOWEST, SUM)
        sums = tl.zeros([BLOCK], SUM)
        starts = tl.zeros([BLOCK], tl.int32)  # of the block that holds a lane's maximum
        start = 0
        while start < width:
            z = following.to(SUM)
            ahead = start + BLOCK + columns
            following = tl.load(row + ahead, ahead < width, -float("inf"))
            higher = z > maxima
            # One exponential an element: it scales the old sum, or it is what is added.
            ratio = tl.exp(-tl.abs(z - maxima))
            sums = tl.where(higher, sums * ratio + 1, sums + ratio)
            starts = tl.where(higher, start, starts)
            maxima = tl.where(higher, z, maxima)
            start += BLOCK
        top = tl.max(maxima, 0)
        total = tl.sum(sums * tl.exp(maxima - top), 0)
        predicted = tl.min(tl.where(maxima == top, starts + columns, width), 0)
        # A label that is no word reads nothing: its loss is NaN.
        known = (label >= 0) & (label < width)
        at_label = tl.load(row + label, known, float("nan")).to(SUM)
        tl.store(losses + at, tl.log(total) - (at_label - top))
        tl.store(correct + at, predicted == label)
        tl.store(largest + at, top)
        tl.store(scales + at, tl.load(weights + at) / total)


@triton.jit
def _gradients(
    logits, stride, labels, weights, largest, scales, column_sums, size, width,
    BIAS: tl.constexpr, SUM: tl.constexpr, STRETCH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """weight * (e^(z - max) / sum - onehot) in place of z; its sums, [stretches, width]."""
    first = tl.program_id(0).to(tl.int64) * BLOCK
    stretch = tl.program_id(1).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    inside = lanes < width - first
    row = stretch * STRETCH
    end = tl.minimum(row + STRETCH, size)
    following = tl.load(logits + row * stride + first + lanes, inside, 0.0)
    added = tl.zeros([BLOCK], SUM)
    while row < end:
        here = logits + row * stride + first + lanes
        z = following.to(SUM)
        following = tl.load(here + stride, inside & (row + 1 < end), 0.0)
        label = tl.load(labels + row)
        counts = label != _IGNORED
        top = tl.load(largest + row, counts, 0.0)
        gradient = tl.exp(z - top) * tl.load(scales + row, counts, 0.0)
        gradient -= tl.where(lanes == (label - first).to(tl.int32), tl.load(weights + row), 0.0)
        gradient = tl.where(counts, gradient, 0.0)
        tl.store(here, gradient, inside)
        if BIAS:
            added += gradient
        row += 1
    if BIAS:
        tl.store(column_sums + stretch * width + first + lanes, added, inside)


def cross_entropy_(
    logits: Tensor, labels: Tensor, weights: Tensor, differentiate: bool, d_bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Launch them: `logits` [m, V] of any floating type whose rows are contiguous."""
    size, width = logits.shape
    # A view may repeat one weight for all rows.
    labels, weights = labels.contiguous(), weights.contiguous()
    losses, largest, scales = (torch.empty_like(weights) for _ in range(3))
    correct = torch.empty_like(labels, dtype=torch.bool)
    kind = tl.float64 if weights.dtype == torch.float64 else tl.float32
    _row_statistics[(size,)](
        logits, logits.stride(0), labels, weights, losses, correct, largest, scales, width,
        SUM=kind, **_LANES,
    )  # fmt: skip
    if differentiate:
        stretches = triton.cdiv(size, _STRETCH)
        column_sums = None if d_bias is None else weights.new_empty(stretches, width)
        _gradients[(triton.cdiv(width, _LANES["BLOCK"]), stretches)](
            logits, logits.stride(0), labels, weights, largest, scales, column_sums, size, width,
            BIAS=d_bias is not None, SUM=kind, STRETCH=_STRETCH, **_LANES,
        )  # fmt: skip
        if d_bias is not None and column_sums is not None:
            d_bias += column_sums.sum(0)
    return losses, correct
