"""Cross-entropy of rows of logits and, in their place, its gradient: one program a row.

The formulas: `weam_ext.ops.cross_entropy`. A row is read once for its largest logit and the sum of
exponentials together (online softmax, Milakov & Gimelshein 2018, arXiv:1805.02867), and once for
its gradient.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from weam_ext.ops.constants import IGNORED

_IGNORED = tl.constexpr(IGNORED)


@triton.jit
def _logits(row, offset, columns, width, OFFSET: tl.constexpr, SUM: tl.constexpr):
    inside = columns < width
    logits = tl.load(row + columns, inside, -float("inf")).to(SUM)
    if OFFSET:
        logits += tl.load(offset + columns, inside, 0.0)
    return logits


@triton.jit
def _cross_entropy_(
    logits, stride, offset, labels, weights, losses, correct, width,
    OFFSET: tl.constexpr, DIFFERENTIATE: tl.constexpr, SUM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64)
    row = logits + at * stride
    label = tl.load(labels + at)
    columns = tl.arange(0, BLOCK)
    start = 0
    if label == _IGNORED:
        # Whatever its logits are, numbers or not, they do not count.
        tl.store(losses + at, 0.0)
        tl.store(correct + at, False)
        if DIFFERENTIATE:
            zeros = tl.zeros([BLOCK], row.dtype.element_ty)
            while start < width:
                tl.store(row + start + columns, zeros, start + columns < width)
                start += BLOCK
    else:
        # A label that is no word reads nothing: its loss is NaN.
        known = (label >= 0) & (label < width)
        at_label = tl.load(row + label, known, float("nan")).to(SUM)
        if OFFSET:
            at_label += tl.load(offset + label, known, 0.0)
        # From the label's logit up, not from -inf: a first block of -inf would give -inf - -inf.
        largest = at_label
        # One exponential an element: the maximum is the block's, and the sums are a lane's own.
        sums = tl.zeros([BLOCK], SUM)
        before = tl.zeros([BLOCK], tl.int32)
        while start < width:
            z = _logits(row, offset, start + columns, width, OFFSET, SUM)
            larger = tl.maximum(largest, tl.max(z, 0))
            sums = sums * tl.exp(largest - larger) + tl.exp(z - larger)
            before += ((z > at_label) | ((z == at_label) & (start + columns < label))).to(tl.int32)
            largest = larger
            start += BLOCK
        total = tl.sum(sums, 0)
        tl.store(losses + at, tl.log(total) - (at_label - largest))
        tl.store(correct + at, tl.sum(before, 0) == 0)
        if DIFFERENTIATE:
            weight = tl.load(weights + at)
            scale = weight / total
            start = 0
            while start < width:
                z = _logits(row, offset, start + columns, width, OFFSET, SUM)
                gradient = tl.exp(z - largest) * scale
                gradient -= tl.where(start + columns == label, weight, 0.0)
                tl.store(row + start + columns, gradient, start + columns < width)
                start += BLOCK


def cross_entropy_(
    logits: Tensor, offset: Tensor | None, labels: Tensor, weights: Tensor, differentiate: bool
) -> tuple[Tensor, Tensor]:
    """Launch it: `logits` [m, V] of any floating type whose rows are contiguous."""
    size, width = logits.shape
    # A view may repeat one weight for all rows.
    labels, weights = labels.contiguous(), weights.contiguous()
    offset = None if offset is None else offset.contiguous()
    losses = torch.empty_like(weights)
    correct = torch.empty_like(labels, dtype=torch.bool)
    # 16 logits a thread: their sums and counts fit in registers (80 for bfloat16, none spilled for
    # float64 either), so that three programs share a multiprocessor and hide each other's waits.
    _cross_entropy_[(size,)](
        logits, logits.stride(0), offset, labels, weights, losses, correct, width,
        OFFSET=offset is not None, DIFFERENTIATE=differentiate,
        SUM=tl.float64 if weights.dtype == torch.float64 else tl.float32,
        BLOCK=4096, num_warps=8,
    )  # fmt: skip
    return losses, correct
