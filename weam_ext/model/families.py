"""The supported families of masked language models: what is particular to each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from weam_ext.common.errors import InputError


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


def _bert(predictions: Any) -> PredictionHead:
    return PredictionHead(predictions.transform, predictions.decoder)


def _roberta(head: Any) -> PredictionHead:
    return PredictionHead(lambda rows: head.layer_norm(F.gelu(head.dense(rows))), head.decoder)


def _distilbert(transform: Any, activation: Any, norm: Any, projector: Any) -> PredictionHead:
    return PredictionHead(lambda rows: norm(activation(transform(rows))), projector)


@dataclass(frozen=True)
class Family:
    """What the encoder, the head and the length of a family's models are like."""

    name: str
    """Of its masked language models, less "ForMaskedLM"."""
    parts: tuple[str, ...]
    """The modules that the prediction head consists of."""
    head: Callable[..., PredictionHead]
    """The head, of those modules."""
    offset: bool = False
    """Positions are counted from the padding id + 1, so that fewer tokens fit."""
    final_norm: str | None = None
    """The module that normalises the last layer's vectors, where the layers themselves do not."""
    local_attention: bool = False
    """Some layers attend to a window, whose masks are made from the mask [B, L]."""
    attention_dropout: str = "attention_probs_dropout_prob"
    """The configuration's name of the dropout of attention weights."""

    def first_position(self, config: Any) -> int:
        """The number of a sequence's first position: so many of the model's are never used."""
        return (config.pad_token_id or 0) + 1 if self.offset else 0


_ROBERTA = (("lm_head",), _roberta, True)
FAMILIES = {
    "bert": Family("Bert", ("cls.predictions",), _bert),
    "roberta": Family("Roberta", *_ROBERTA),
    "xlm-roberta": Family("XLMRoberta", *_ROBERTA),
    "camembert": Family("Camembert", *_ROBERTA),
    "distilbert": Family(
        "DistilBert",
        ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
        _distilbert,
        attention_dropout="attention_dropout",
    ),
    "modernbert": Family(
        "ModernBert",
        ("head", "decoder"),
        PredictionHead,
        final_norm="final_norm",
        local_attention=True,
        attention_dropout="attention_dropout",
    ),
}
"""By the `model_type` of their configurations."""


def family_of(model: Any) -> Family:
    """The family of a masked language model or of its encoder; `InputError` for another."""
    config = getattr(model, "config", None)
    if config is not None and config.model_type in FAMILIES:
        return FAMILIES[config.model_type]
    raise InputError(
        f"cannot split a {type(model).__name__} into encoder and prediction head; supported: "
        + ", ".join(f"{family.name}ForMaskedLM" for family in FAMILIES.values())
    )


def layers_of(encoder: nn.Module) -> nn.ModuleList:
    """The layers of a Hugging Face encoder, the lowest first; empty where they are not found."""
    config: Any = encoder.config
    for module in encoder.modules():
        if isinstance(module, nn.ModuleList) and len(module) == config.num_hidden_layers:
            return module
    return nn.ModuleList()
