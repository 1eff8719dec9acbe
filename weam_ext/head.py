"""The masked-language-model head on the rows that are predicted, and no others.

The logits of all rows never exist at once: a chunk of rows is multiplied, turned into losses and,
in the same buffer, into the gradient of its logits, and dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from weam_ext.errors import InputError
from weam_ext.mask import IGNORED

_VOCABULARY_MULTIPLE = 64


@dataclass(frozen=True)
class PredictionHead:
    """A model's own prediction head in two steps; its parameters are the model's, tied ones too."""

    transform: Callable[[Tensor], Tensor]
    """Hidden vectors [..., H] -> the vectors [..., H] that the output layer multiplies."""
    decoder: nn.Linear
    """The output layer, [V, H] and [V]."""

    @property
    def weight(self) -> Tensor:
        """[V, H]"""
        return self.decoder.weight

    @property
    def bias(self) -> Tensor | None:
        """[V], or None"""
        return self.decoder.bias

    def __call__(self, hidden: Tensor) -> Tensor:
        """The logits [..., V] of every hidden vector [..., H], all in memory."""
        logits: Tensor = self.decoder(self.transform(hidden))
        return logits


class RowLosses(NamedTuple):
    """Losses in nats. Sums, not means: the caller divides by the count it wants."""

    total: Tensor
    """0-dim float32 (float64 for float64 rows), differentiable: sum of weights * losses."""
    losses: Tensor
    """[M] in the dtype of `total`: the cross-entropy of each row, 0 where ignored; no gradient."""
    correct: Tensor
    """[M] bool: the label has the largest logit; False where ignored."""


def split_model(model: nn.Module) -> tuple[nn.Module, PredictionHead]:
    """The encoder of a Hugging Face masked language model, and its prediction head.

    The encoder's first output is what the head takes: head(encoder(...)[0]) are the model's logits.

    Raises:
        InputError: a model of another family.
    """
    for family in type(model).__mro__:
        if family.__name__ in _HEADS:
            hugging_face: Any = model
            return hugging_face.base_model, _HEADS[family.__name__](model)
    raise InputError(
        f"cannot split a {type(model).__name__} into encoder and prediction head;"
        f" supported: {', '.join(_HEADS)}"
    )


def predict(
    head: PredictionHead, rows: Tensor, labels: Tensor, weights: Tensor, chunk_rows: int = 2048
) -> RowLosses:
    """`linear_cross_entropy` of the head's output layer after its transform of `rows` [M, H]."""
    return linear_cross_entropy(
        head.transform(rows), head.weight, head.bias, labels, weights, chunk_rows=chunk_rows
    )


def linear_cross_entropy(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor,
    *,
    chunk_rows: int = 2048,
) -> RowLosses:
    """Weighted cross-entropy of softmax(weight row + bias) against the label of each row.

    Equivalent to, but without the [M, V] logits:
        losses = F.cross_entropy(F.linear(rows, weight, bias), labels, reduction="none")
        total = (weights * losses).sum()

    Matrix products are in autocast's dtype where it is on, else in that of `rows`; the softmax and
    the sums over chunks are in float32, or float64 for float64. The gradients are computed
    with the losses, a chunk at a time, unless none is wanted; they live from forward to backward.

    Args:
        rows: [M, H] floating.
        weight: [V, H] floating.
        bias: [V] floating, or None.
        labels: [M] int64, -100 where the row is ignored.
        weights: [M] float32, constants.
        chunk_rows: rows whose logits are in memory at once. Few make the products inefficient:
            2,048 to 4,096 suit V / H = 156 (performance.md).
    """
    device = rows.device.type
    dtype = rows.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
    differentiate = torch.is_grad_enabled()
    with torch.autocast(device, enabled=False):
        return RowLosses(
            *_LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
                rows, weight, bias, labels, weights, chunk_rows, dtype, differentiate
            )
        )


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        weights: Tensor,
        chunk_rows: int,
        dtype: torch.dtype,
        differentiate: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        weights = weights.to(wide)
        decoder, offset = _pad_vocabulary(weight.to(dtype), bias, wide)
        # needs_input_grad does not know of torch.no_grad.
        wanted = [differentiate and needed for needed in ctx.needs_input_grad[:3]]
        shapes = rows.shape, decoder.shape, decoder.shape[:1]
        d_rows, d_decoder, d_bias = (
            rows.new_zeros(shape, dtype=wide) if want else None
            for shape, want in zip(shapes, wanted, strict=True)
        )
        losses = rows.new_empty(rows.shape[0], dtype=wide)
        correct = torch.empty_like(losses, dtype=torch.bool)
        for start in range(0, rows.shape[0], chunk_rows):
            chunk = slice(start, start + chunk_rows)
            inputs = rows[chunk].to(dtype)
            logits = _product(inputs, decoder.T, wide)
            if offset is not None:
                logits += offset
            losses[chunk], correct[chunk] = _cross_entropy_(
                logits, labels[chunk], weights[chunk], any(wanted)
            )
            if d_bias is not None:
                d_bias += logits.sum(0)
            d_logits = logits.to(dtype)
            if d_rows is not None:
                d_rows[chunk] = _product(d_logits, decoder, wide)
            if d_decoder is not None:
                d_decoder += _product(d_logits.T, inputs, wide)
        ctx.save_for_backward(
            d_rows,
            None if d_decoder is None else d_decoder[: weight.shape[0]],
            None if d_bias is None else d_bias[: weight.shape[0]],
        )
        ctx.dtypes = rows.dtype, weight.dtype, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(losses, correct)
        return (losses * weights).sum(), losses, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (
            None if gradient is None else (gradient * d_total).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return *gradients, *[None] * 5


def _cross_entropy_(
    logits: Tensor, labels: Tensor, weights: Tensor, differentiate: bool
) -> tuple[Tensor, Tensor]:
    """Losses and hits of a chunk [m, V]; overwrites `logits`, with d total / d logits if asked.

    With e = exp(logits - largest), s = sum of e over the vocabulary:
        loss = log s - (logits[label] - largest),   d logits = weight * (e / s - onehot(label))
    """
    ignored = labels == IGNORED
    target = labels.masked_fill(ignored, 0)[:, None]
    largest, predicted = logits.max(dim=1)
    logits -= largest[:, None]
    at_label = logits.gather(1, target)[:, 0]
    sums = logits.exp_().sum(dim=1)
    losses = (sums.log() - at_label).masked_fill(ignored, 0)
    if differentiate:
        scales = weights.masked_fill(ignored, 0)
        logits *= (scales / sums)[:, None]
        # One label a row: no two additions meet, so the order cannot matter.
        logits.scatter_add_(1, target, -scales[:, None])
    return losses, predicted == labels


def _pad_vocabulary(
    weight: Tensor, bias: Tensor | None, wide: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """The output layer with a vocabulary that is a multiple of 64; added words have logit -inf.

    An odd vocabulary (119,547) leaves the rows of the logits unaligned and the products slow.
    """
    size = weight.shape[0]
    added = -size % _VOCABULARY_MULTIPLE
    if added == 0:
        return weight, None if bias is None else bias.to(wide)
    offset = weight.new_zeros(size, dtype=wide) if bias is None else bias.to(wide)
    return F.pad(weight, (0, 0, 0, added)), F.pad(offset, (0, added), value=-torch.inf)


def _product(left: Tensor, right: Tensor, wide: torch.dtype) -> Tensor:
    """left @ right in the type of the sums."""
    if left.dtype != wide and left.is_cuda:
        return torch.mm(left, right, out_dtype=wide)
    return (left @ right).to(wide)


def _bert(model: Any) -> PredictionHead:
    predictions = model.cls.predictions
    return PredictionHead(predictions.transform, predictions.decoder)


def _roberta(model: Any) -> PredictionHead:
    head = model.lm_head
    return PredictionHead(lambda rows: head.layer_norm(F.gelu(head.dense(rows))), head.decoder)


def _distilbert(model: Any) -> PredictionHead:
    def transform(rows: Tensor) -> Tensor:
        vectors: Tensor = model.vocab_layer_norm(model.activation(model.vocab_transform(rows)))
        return vectors

    return PredictionHead(transform, model.vocab_projector)


def _modernbert(model: Any) -> PredictionHead:
    return PredictionHead(model.head, model.decoder)


_HEADS: dict[str, Callable[[Any], PredictionHead]] = {
    "BertForMaskedLM": _bert,
    "RobertaForMaskedLM": _roberta,
    "XLMRobertaForMaskedLM": _roberta,
    "CamembertForMaskedLM": _roberta,
    "DistilBertForMaskedLM": _distilbert,
    "ModernBertForMaskedLM": _modernbert,
}
