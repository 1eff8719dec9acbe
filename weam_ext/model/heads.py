"""The prediction heads of masked language models, split from their encoders."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from weam_ext.common.errors import InputError
from weam_ext.ops.cross_entropy import RowLosses, linear_cross_entropy


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


def split_model(model: nn.Module) -> tuple[nn.Module, PredictionHead]:
    """The encoder of a Hugging Face masked language model, and its prediction head.

    The encoder's first output is what the head takes: head(encoder(...)[0]) are the model's logits.

    Raises:
        InputError: a model of another family.
    """
    names, build = _head_of(model)
    hugging_face: Any = model
    return hugging_face.base_model, build(*map(model.get_submodule, names))


def second_head(model: nn.Module) -> tuple[nn.ModuleList, PredictionHead]:
    """Another prediction head for a masked language model, and the modules that hold it.

    It begins as a copy of the model's own and shares its output layer's weight.
    """
    names, build = _head_of(model)
    weight = split_model(model)[1].weight
    copies = [copy.deepcopy(model.get_submodule(n), {id(weight): weight}) for n in names]
    return nn.ModuleList(copies), build(*copies)


def predict(
    head: PredictionHead,
    rows: Tensor,
    labels: Tensor,
    weights: Tensor,
    chunk_rows: int | None = None,
) -> RowLosses:
    """`linear_cross_entropy` of the head's output layer after its transform of `rows` [M, H]."""
    return linear_cross_entropy(
        head.transform(rows), head.weight, head.bias, labels, weights, chunk_rows=chunk_rows
    )


def _head_of(model: nn.Module) -> tuple[tuple[str, ...], Callable[..., PredictionHead]]:
    for family in type(model).__mro__:
        if family.__name__ in _HEADS:
            return _HEADS[family.__name__]
    raise InputError(
        f"cannot split a {type(model).__name__} into encoder and prediction head;"
        f" supported: {', '.join(_HEADS)}"
    )


def _bert(predictions: Any) -> PredictionHead:
    return PredictionHead(predictions.transform, predictions.decoder)


def _roberta(head: Any) -> PredictionHead:
    return PredictionHead(lambda rows: head.layer_norm(F.gelu(head.dense(rows))), head.decoder)


def _distilbert(transform: Any, activation: Any, norm: Any, projector: Any) -> PredictionHead:
    return PredictionHead(lambda rows: norm(activation(transform(rows))), projector)


def _modernbert(head: Any, decoder: Any) -> PredictionHead:
    return PredictionHead(head, decoder)


_HEADS: dict[str, tuple[tuple[str, ...], Callable[..., PredictionHead]]] = {
    "BertForMaskedLM": (("cls.predictions",), _bert),
    "RobertaForMaskedLM": (("lm_head",), _roberta),
    "XLMRobertaForMaskedLM": (("lm_head",), _roberta),
    "CamembertForMaskedLM": (("lm_head",), _roberta),
    "DistilBertForMaskedLM": (
        ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
        _distilbert,
    ),
    "ModernBertForMaskedLM": (("head", "decoder"), _modernbert),
}
"""By class: the modules that the head consists of, and the head of them."""
