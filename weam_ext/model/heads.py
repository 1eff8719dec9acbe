"""The prediction heads of masked language models, split from their encoders."""

import copy
from typing import Any

from torch import Tensor, nn

from weam_ext.model.families import PredictionHead, family_of
from weam_ext.ops.cross_entropy import RowLosses, linear_cross_entropy


def split_model(model: Any) -> tuple[nn.Module, PredictionHead]:
    """The encoder of a Hugging Face masked language model, and its prediction head.

    The encoder's first output is what the head takes: head(encoder(...)[0]) are the model's logits.
    Raises `InputError` for a model of an unsupported family.
    """
    family = family_of(model)
    return model.base_model, family.head(*map(model.get_submodule, family.parts))


def second_head(model: nn.Module) -> tuple[nn.ModuleList, PredictionHead]:
    """Another prediction head for a masked language model, and the modules that hold it.

    It begins as a copy of the model's own and shares its output layer's weight.
    """
    family, weight = family_of(model), split_model(model)[1].weight
    copies = [copy.deepcopy(model.get_submodule(n), {id(weight): weight}) for n in family.parts]
    return nn.ModuleList(copies), family.head(*copies)


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
