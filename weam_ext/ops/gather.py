"""The cross-lingual gather: the hidden vectors that the predictions read (Yang et al. 2021).

With A the symmetric matrix of token links, 0/1 or the weights of soft links, and deg its row sums,

    rows[r]     = hidden[positions[r]]              for r < R
    rows[R + x] = sum_b A[a, b] hidden[b] / deg(a)  for x < X and a = positions[exchanged[x]]

A is symmetric, so the backward reads instead of scattering (zero where there is no such row):

    d hidden[b] = d rows[row_of[b]] + sum_a A[b, a] d rows[R + exchanged_of[a]] / deg(a)

Of soft links, A[a, b] / deg(a) and A[b, a] / deg(a) are `Links.weights` and `Links.transposed`.

No two threads write the same element: no atomics, the same bits every time. Both are operators of
torch's, weam::gather_rows and weam::gather_rows_backward: Triton kernels on a GPU (one launch
each), else the torch operations below.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from weam_ext.common.errors import InputError
from weam_ext.ops.constants import IGNORED, UNUSED
from weam_ext.ops.mask import MaskedRows, take
from weam_ext.ops.token_links import Links
from weam_ext.ops.triton import launcher


def gather_rows(hidden: Tensor, masked: MaskedRows, links: Links | None) -> Tensor:
    """The R + X rows that both predictions read, zeros where unused, differentiable in `hidden`.

    `hidden` [B, L, H] of any floating type and strides -> [R + X, H] of the same type; sums are
    taken in float32 (float64 for float64). `links` are those given to `mask_tokens`.

    Raises:
        InputError: exchanged rows without links, or soft links whose weights are not theirs.
    """
    if links is None and masked.exchanged.numel() > 0:
        raise InputError("exchanged rows need the links of the batch")
    if masked.exchanged.numel() == 0:
        links = None
    if links is not None and (links.weights is not None or links.transposed is not None):
        _check_weights(links)
    rows: Tensor = _gather_op(
        hidden.reshape(-1, hidden.shape[-1]),
        masked.positions,
        masked.row_of,
        masked.exchanged,
        masked.exchanged_of,
        *(links or (None, None, None, None)),
    )
    return rows


def _check_weights(links: Links) -> None:
    # The kernels would read beyond the end of what is too short.
    for weights in links[2:]:
        if weights is None or weights.shape != links.positions.shape:
            raise InputError("soft links need both weights of every link")
        if weights.dtype != torch.float32:
            raise InputError(f"the weights of links must be float32, not {weights.dtype}")


def row_weights(masked: MaskedRows, exchange_weight: float, paired: Tensor | None = None) -> Tensor:
    """The weight [R + X] float32 of each row in L_mp + lambda * L_cp, lambda = `exchange_weight`.

    1 for a masked row and lambda for its exchanged row; 1 + lambda for a masked row without a
    link, whose two predictions are the same; 0 where unused. `paired` [R] bool: the masked token is
    one of a pair; those of monolingual text, where it is not, have one prediction.
    """
    alone = take(masked.exchanged_of, masked.positions, UNUSED) < 0
    if paired is not None:
        alone &= paired
    own = 1.0 + exchange_weight * alone.float()
    own = own.masked_fill(masked.positions < 0, 0.0)
    return torch.cat([own, exchange_weight * (masked.exchanged >= 0).float()])


def row_labels(masked: MaskedRows) -> Tensor:
    """The original token [R + X] int64 of each row, -100 where unused."""
    return torch.cat([masked.labels, take(masked.labels, masked.exchanged, IGNORED)])


def _gather(
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
    """[N, H] -> [R + X, H]"""
    rows = take(hidden, positions, 0)
    if offsets is None or linked is None:
        return rows
    readers = take(positions, exchanged, UNUSED)
    sums = take(_segment_sums(_wide(hidden), linked, offsets, weights), readers, 0)
    means = sums / _degrees(readers, offsets) if weights is None else sums
    return torch.cat([rows, means.to(hidden.dtype)])


def _gather_backward(
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
    """[R + X, H] -> [N, H]"""
    own, others = _wide(gradient).tensor_split([positions.numel()])
    total = take(own, row_of, 0)
    if offsets is not None and linked is not None:
        # What is linked but not exchanged reads the row of zeros at the end.
        shares = others
        if transposed is None:
            shares = others / _degrees(take(positions, exchanged, UNUSED), offsets)
        readers = take(exchanged_of, linked, UNUSED)
        readers = readers.masked_fill(readers < 0, others.shape[0])
        total += _segment_sums(F.pad(shares, (0, 0, 0, 1)), readers, offsets, transposed)
    return total.to(gradient.dtype)


def _degrees(readers: Tensor, offsets: Tensor) -> Tensor:
    return take(offsets.diff(), readers, 1)[:, None]


def _segment_sums(rows: Tensor, indices: Tensor, offsets: Tensor, weights: Tensor | None) -> Tensor:
    """sum of rows[indices[offsets[a] : offsets[a + 1]]] for every a, each in its fixed order.

    Each row times its weight, of [indices], where there are weights.
    """
    # One more segment takes what lies beyond the last offset. embedding_bag neither gathers the
    # rows into memory nor waits for the device; torch.segment_reduce sums bfloat16 in bfloat16.
    bounds = F.pad(offsets, (0, 1), value=indices.numel())
    sums = F.embedding_bag(
        indices,
        rows,
        bounds,
        mode="sum",
        per_sample_weights=None if weights is None else weights.to(rows.dtype),
        include_last_offset=True,
    )
    return sums[:-1]


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


# ---------------------------------------------------------------------------------- operators

_gather_op = torch.library.custom_op("weam::gather_rows", _gather, mutates_args=())
_gather_backward_op = torch.library.custom_op(
    "weam::gather_rows_backward", _gather_backward, mutates_args=()
)


@_gather_op.register_kernel("cuda")
def _(*arguments: Tensor | None) -> Tensor:
    rows: Tensor = launcher("gather", "gather_rows", _gather)(*arguments)
    return rows


@_gather_backward_op.register_kernel("cuda")
def _(*arguments: Tensor | None) -> Tensor:
    d_hidden: Tensor = launcher("gather", "gather_rows_backward", _gather_backward)(*arguments)
    return d_hidden


@_gather_op.register_fake
def _(hidden: Tensor, positions: Tensor, _: Tensor, exchanged: Tensor, *__: Any) -> Tensor:
    return hidden.new_empty(positions.numel() + exchanged.numel(), hidden.shape[1])


@_gather_backward_op.register_fake
def _(gradient: Tensor, _: Tensor, row_of: Tensor, *__: Any) -> Tensor:
    return gradient.new_empty(row_of.numel(), gradient.shape[1])


def _keep_rows(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return _gather_backward_op(gradient, *ctx.saved_tensors), *[None] * len(ctx.saved_tensors)


_gather_op.register_autograd(_differentiate, setup_context=_keep_rows)
