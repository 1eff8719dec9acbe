"""AdamW over a model's parameters by depth, its frozen layers, and the learning-rate schedule."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from weam_ext.errors import InputError

SCHEDULES = ("linear", "cosine", "constant")
"""What follows the linear warm-up: down to 0 in a line or half a cosine, or no change."""
_LAYER = re.compile(r"\.layers?\.(\d+)\.")


def depth(name: str, layers: int) -> int:
    """The layer of a parameter: 0 for the embeddings, 1 .. `layers`; of the head, `layers`."""
    if found := _LAYER.search(name):
        return int(found[1]) + 1
    return 0 if "embeddings." in name else layers


def freeze(model: nn.Module, layers: int) -> None:
    """Keep the embeddings and the first `layers` layers as they are; 0 freezes nothing.

    An output layer that is tied to the embeddings is frozen with them. Raises `InputError` for more
    layers than there are.
    """
    config: Any = model.config
    if layers > config.num_hidden_layers:
        raise InputError(
            f"--freeze-layers {layers}: the model has only {config.num_hidden_layers} layers"
        )
    for name, parameter in model.named_parameters():
        # Of a head, `depth` says the last layer; with all layers frozen it is to be trained.
        inner = _LAYER.search(name) or "embeddings." in name
        if layers and inner and depth(name, config.num_hidden_layers) <= layers:
            parameter.requires_grad_(False)


def parameter_groups(
    named: Iterable[tuple[str, Tensor]], *, layers: int, lr: float, decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Groups for AdamW: no weight decay on biases and normalisation, as for BERT.

    The learning rate of layer k of L is lr * layer_decay^(L - k), that of the embeddings
    lr * layer_decay^L, that of the head lr (Clark et al. 2020).
    """
    groups: dict[tuple[int, bool], list[Tensor]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            level = layers if layer_decay == 1 else depth(name, layers)
            groups.setdefault((level, parameter.dim() > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr * layer_decay ** (layers - level),
            "weight_decay": decay if matrix else 0.0,
        }
        for (level, matrix), parameters in sorted(groups.items(), key=lambda group: group[0])
    ]


def schedule(
    optimizer: torch.optim.Optimizer, name: str, *, warmup: int, steps: int
) -> LRScheduler:
    """One of `SCHEDULES`, over a number of steps of which the first are the warm-up."""
    known = "constant_with_warmup" if name == "constant" else name
    made: LRScheduler = get_scheduler(known, optimizer, warmup, steps)
    return made
