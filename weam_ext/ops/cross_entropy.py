"""Output layer and cross-entropy in one, on the rows that are predicted and no others.

The logits of all rows never exist at once: a chunk of rows is multiplied, turned into losses and,
in the same buffer, into the gradient of its logits, and dropped. All of it is one operator of
torch's, weam::linear_cross_entropy; between the products of a chunk stand, on a GPU, two Triton
kernels, else the torch operations below.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from weam_ext.ops.constants import IGNORED
from weam_ext.ops.triton import launcher

# A chunk of m rows costs, on an H200 with mBERT's V = 119,547 and H = 768, 6 m V H
# FLOP of products at some 700 TFLOP/s, 6 m V bytes of softmax and 8 V H bytes for adding to the
# gradient of the weight at some 4.2 TB/s: by this arithmetic the products take 70 % of the time at
# 1,024 rows, 75 % at 2,048, 79 % at 4,096 and 80 % at 8,192. The logits of 4,096 are 1 GB in a half
# type. On a CPU 4,096 were slower than 2,048, and twice the memory.
_CHUNK_ROWS_GPU = 4096
_CHUNK_ROWS_CPU = 2048
_VOCABULARY_MULTIPLE = 64


class RowLosses(NamedTuple):
    """Losses in nats. Sums, not means: the caller divides by the count it wants."""

    total: Tensor
    """0-dim float32 (float64 for float64 rows), differentiable: sum of weights * losses."""
    losses: Tensor
    """[M] in the dtype of `total`: the cross-entropy of each row, 0 where ignored; no gradient."""
    correct: Tensor
    """[M] bool: the label has the largest logit; False where ignored."""


def linear_cross_entropy(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor,
    *,
    chunk_rows: int | None = None,
) -> RowLosses:
    """Weighted cross-entropy of softmax(weight row + bias) against the label of each row.

    Equivalent to, but without the [M, V] logits:
        losses = F.cross_entropy(F.linear(rows, weight, bias), labels, reduction="none")
        total = (weights * losses).sum()

    Matrix products are in autocast's dtype where it is on, else in that of `rows`, to which weight
    and bias are cast; logits are kept in it. The softmax and all sums, those over chunks too, are
    in float32, or float64 for float64. The gradients are computed with the losses, a chunk at a
    time, unless none is wanted; they live from forward to backward in the type of the sums, and
    are rounded once, at the end, to the type of what they belong to (bfloat16: a bfloat16 weight).

    Args:
        rows: [M, H] floating.
        weight: [V, H] floating.
        bias: [V] floating, or None.
        labels: [M] int64, -100 where the row is ignored.
        weights: [M] float32, constants.
        chunk_rows: rows whose logits are in memory at once; None: 4,096 on a GPU, 2,048 on a CPU.
    """
    device = rows.device.type
    if chunk_rows is None:
        chunk_rows = _CHUNK_ROWS_GPU if rows.is_cuda else _CHUNK_ROWS_CPU
    dtype = rows.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
    # The operator cannot know of torch.no_grad, nor of what its caller will differentiate.
    wanted = [
        torch.is_grad_enabled() and given is not None and given.requires_grad
        for given in (rows, weight, bias)
    ]
    total, losses, correct, *_ = _linear_cross_entropy_op(
        rows, weight, bias, labels, weights, chunk_rows, dtype, *wanted
    )
    return RowLosses(total, losses, correct)


def _linear_cross_entropy(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor,
    chunk_rows: int,
    dtype: torch.dtype,
    want_rows: bool,
    want_weight: bool,
    want_bias: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Total, losses, correct, and the gradients of total: of size 0 where not wanted."""
    wide = _wide(dtype)
    cross_entropy_ = _cross_entropy_
    if rows.is_cuda:
        cross_entropy_ = launcher("cross_entropy", "cross_entropy_", otherwise=_cross_entropy_)
    decoder, offset = _output_layer(weight, bias, dtype)
    weights = weights.to(wide)
    ignored = (labels == IGNORED)[:, None]
    losses = torch.empty_like(weights)
    correct = torch.empty_like(labels, dtype=torch.bool)
    wanted = want_rows, want_weight, want_bias
    d_rows, d_decoder, d_bias = _unwritten_gradients(rows, decoder, wide, wanted)
    d_bias.zero_()
    if rows.shape[0] == 0:
        d_decoder.zero_()
    # One buffer for all chunks: else the logits of two would be in memory while one is replaced.
    buffer = rows.new_empty(min(chunk_rows, rows.shape[0]), decoder.shape[0], dtype=dtype)
    with torch.autocast(rows.device.type, enabled=False):
        for start in range(0, rows.shape[0], chunk_rows):
            chunk = slice(start, start + chunk_rows)
            # Zero times infinity, in the product for d_decoder, would be no number.
            inputs = rows[chunk].to(dtype).masked_fill(ignored[chunk], 0)
            logits = _linear(inputs, decoder, offset, out=buffer[: inputs.shape[0]])
            losses[chunk], correct[chunk] = cross_entropy_(
                logits, labels[chunk], weights[chunk], any(wanted), d_bias if want_bias else None
            )
            if want_rows:
                _product(logits, decoder, out=d_rows[chunk])
            if want_weight:
                _product(logits.T, inputs, out=d_decoder, add=start > 0)
    words = slice(weight.shape[0])
    return (losses * weights).sum(), losses, correct, d_rows, d_decoder[words], d_bias[words]


def _cross_entropy_(
    logits: Tensor, labels: Tensor, weights: Tensor, differentiate: bool, d_bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Losses and hits of a chunk z [m, V]; overwrites it, with d total / d logits if asked.

    `weights` [m] and `d_bias` [V], to which the gradient's sum over the rows is added, are in the
    type of the sums. With e = exp(z - max z) and s = sum of e over the vocabulary:
        loss = log s - (z[label] - max z),   d z = weight * (e / s - onehot(label))
    """
    ignored = labels == IGNORED
    target = labels.masked_fill(ignored, 0)[:, None]
    z = logits.to(weights.dtype)
    largest, predicted = z.max(dim=1)
    z -= largest[:, None]
    at_label = z.gather(1, target)[:, 0]
    sums = z.exp_().sum(dim=1)
    losses = (sums.log() - at_label).masked_fill(ignored, 0)
    if differentiate:
        scales = weights.masked_fill(ignored, 0)
        z *= (scales / sums)[:, None]
        # One label a row: no two additions meet, so the order cannot matter.
        z.scatter_add_(1, target, -scales[:, None])
        logits.copy_(z)
        if d_bias is not None:
            d_bias += z.sum(0)
    return losses, predicted == labels


def _output_layer(
    weight: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in a type, padded to a multiple of 64 words; those added have the logit -inf.

    An odd vocabulary (119,547) leaves the rows of the logits unaligned and the products slow. The
    weight is cast and padded in one pass over it.
    """
    size, width = weight.shape
    added = -size % _VOCABULARY_MULTIPLE
    if added == 0:
        return weight.to(dtype), None if bias is None else bias.to(dtype)
    decoder = weight.new_empty(size + added, width, dtype=dtype)
    decoder[:size] = weight
    decoder[size:] = 0
    offset = weight.new_full((size + added,), -torch.inf, dtype=dtype)
    offset[:size] = 0 if bias is None else bias
    return decoder, offset


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """`F.linear` into a buffer."""
    if bias is None:
        return torch.mm(inputs, weight.T, out=out)
    return torch.addmm(bias, inputs, weight.T, out=out)


def _product(left: Tensor, right: Tensor, out: Tensor, add: bool = False) -> None:
    """left @ right into `out`, or added to it; summed in its type, which may be wider than theirs.

    Nothing of the size of `out` is made on the way, but on a CPU, which has no mixed product.
    """
    beta = 1 if add else 0
    if left.dtype == out.dtype:
        torch.addmm(out, left, right, beta=beta, out=out)
    elif not out.is_cpu:
        torch.addmm(out, left, right, beta=beta, out_dtype=out.dtype, out=out)
    elif add:
        out += torch.mm(left, right)
    else:
        out.copy_(torch.mm(left, right))


def _unwritten_gradients(
    rows: Tensor, decoder: Tensor, wide: torch.dtype, wanted: Sequence[bool]
) -> list[Tensor]:
    """Memory for the gradients of rows, weight and bias; of size 0 where not wanted."""
    shapes = rows.shape, decoder.shape, decoder.shape[:1]
    return [
        rows.new_empty(shape if want else 0, dtype=wide)
        for shape, want in zip(shapes, wanted, strict=True)
    ]


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The type of the softmax and of the sums."""
    return torch.float64 if dtype == torch.float64 else torch.float32


# ----------------------------------------------------------------------------------- operator

_linear_cross_entropy_op = torch.library.custom_op(
    "weam::linear_cross_entropy", _linear_cross_entropy, mutates_args=()
)


@_linear_cross_entropy_op.register_fake
def _(
    rows: Tensor,
    weight: Tensor,
    _: Tensor | None,
    labels: Tensor,
    weights: Tensor,
    __: int,
    dtype: torch.dtype,
    *wanted: bool,
) -> tuple[Tensor, ...]:
    wide = _wide(dtype)
    losses = weights.new_empty(weights.shape, dtype=wide)
    correct = torch.empty_like(labels, dtype=torch.bool)
    return losses.new_empty(()), losses, correct, *_unwritten_gradients(rows, weight, wide, wanted)


def _keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output[-3:])
    ctx.dtypes = [None if given is None else given.dtype for given in inputs[:3]]
    ctx.wanted = inputs[-3:]
    ctx.mark_non_differentiable(*output[1:])
    # Else a backward begins with zeros the size of every output, the gradients among them.
    ctx.set_materialize_grads(False)


@once_differentiable
def _scale_gradients(ctx: Any, d_total: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    # Scaled and cast in one pass.
    gradients = (
        torch.mul(gradient, d_total, out=torch.empty_like(gradient, dtype=dtype))
        if want and d_total is not None
        else None
        for gradient, dtype, want in zip(ctx.saved_tensors, ctx.dtypes, ctx.wanted, strict=True)
    )
    return *gradients, *[None] * 7


_linear_cross_entropy_op.register_autograd(_scale_gradients, setup_context=_keep_gradients)
