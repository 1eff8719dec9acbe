"""AdamW over a model's parameters by depth, frozen layers, float32 masters and learning rates."""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import get_scheduler

from weam_ext.common.errors import InputError

SCHEDULES = ("linear", "cosine", "constant")
"""What follows the linear warm-up: down to 0 in a line or half a cosine, or no change."""
PRECISIONS = ("auto", "fp32", "bf16", "bf16-autocast")
_LAYER = re.compile(r"\.layers?\.(\d+)\.")


def depths(module: nn.Module, layers: int) -> dict[Tensor, int]:
    """The layer of each parameter: 0 for the embeddings, 1 .. `layers`, one more for the head.

    Of a tied one it is the lower: XLM-R's embeddings go by the name of its output layer.
    """
    found: dict[Tensor, int] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        found[parameter] = min(_depth(name, layers), found.get(parameter, layers + 1))
    return found


def _depth(name: str, layers: int) -> int:
    if found := _LAYER.search(name):
        return int(found[1]) + 1
    return 0 if "embeddings." in name else layers + 1


def layer_range(text: str) -> int | str:
    """The value of --freeze-layers: a number of layers, or the first and the last of a range.

    Raises `InputError` for what is neither.
    """
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if not found or int(found[1]) > int(found[2]):
        raise InputError(f"{text!r} is neither a number of layers nor a range such as 0-5")
    return f"{int(found[1])}-{int(found[2])}"


def freeze(model: nn.Module, layers: int | str) -> None:
    """Keep some layers as they are: a number freezes so many and the embeddings, "A-B" a range.

    The layers of a range are counted from 0 and include B; 0 freezes nothing. An output layer that
    is tied to the embeddings is frozen with them. Raises `InputError` for more layers than there
    are.
    """
    config: Any = model.config
    # The embeddings have level 0, so that layer k, counted from 0, has level k + 1.
    first, last = (
        (0, layers) if isinstance(layers, int) else (int(k) + 1 for k in layers.split("-"))
    )
    if last > config.num_hidden_layers:
        raise InputError(
            f"--freeze-layers {layers}: the model has only {config.num_hidden_layers} layers"
        )
    for parameter, level in depths(model, config.num_hidden_layers).items():
        if layers and first <= level <= last:
            parameter.requires_grad_(False)


def body(module: nn.Module, layers: int) -> list[Tensor]:
    """The parameters below the prediction head: embeddings, what is tied to them, and layers."""
    return [p for p, level in depths(module, layers).items() if level <= layers]


def parameter_groups(
    module: nn.Module, *, layers: int, lr: float, decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Groups for AdamW: no weight decay on biases and normalisation, as for BERT.

    The learning rate of layer k of L is lr * layer_decay^(L - k), that of the embeddings
    lr * layer_decay^L, that of the head lr (Clark et al. 2020).
    """
    groups: dict[tuple[int, bool], list[Tensor]] = {}
    for parameter, level in depths(module, layers).items():
        if parameter.requires_grad:
            level = layers if layer_decay == 1 else min(level, layers)
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
    optimizer: torch.optim.Optimizer,
    name: str,
    *,
    warmup: int,
    steps: int,
    before: int = 0,
    factor: float = 1.0,
) -> LRScheduler:
    """One of `SCHEDULES`, over a number of steps of which the first are the warm-up.

    `before` steps go ahead of them, at `factor` times the learning rate.
    """
    known = "constant_with_warmup" if name == "constant" else name
    made: Any = get_scheduler(known, optimizer, warmup, steps)
    if before:
        (after, *_) = made.lr_lambdas
        made = LambdaLR(optimizer, lambda k: factor if k < before else after(k - before))
    scheduler: LRScheduler = made
    return scheduler


class MasterWeights:
    """Float32 weights for the optimizer, of a module that computes with them in bfloat16.

    Most steps of AdamW are smaller than the distance from one bfloat16 to the next and would be
    lost, so they are taken by float32 masters, of which the module holds the rounded values
    (Micikevicius et al. 2018, section 3.1).

    Args:
        parameters: of the module, in float32; from now on in bfloat16. Those that are not given
            are their own masters.
    """

    def __init__(self, parameters: Iterable[nn.Parameter] = ()) -> None:
        self._masters: dict[Tensor, Tensor] = {}
        for parameter in parameters:
            self._masters[parameter] = parameter.data
            parameter.data = parameter.data.bfloat16()

    def __bool__(self) -> bool:
        """Whether any weight has a master beside it."""
        return bool(self._masters)

    def of(self, parameter: Tensor) -> Tensor:
        """The master of a parameter."""
        return self._masters.get(parameter, parameter)

    def take_gradients(self) -> None:
        """Add the module's gradients to their masters' in float32, and drop them."""
        first: list[tuple[Tensor, Tensor]] = []
        others: list[tuple[Tensor, Tensor]] = []
        for parameter, master in self._masters.items():
            if parameter.grad is None:
                continue
            if master.grad is None:
                master.grad = torch.empty_like(master)
                first.append((master.grad, parameter.grad))
            else:
                others.append((master.grad, parameter.grad))
            parameter.grad = None
        if first:
            torch._foreach_copy_([to for to, _ in first], [given for _, given in first])
        if others:
            torch._foreach_add_([to for to, _ in others], [given for _, given in others])

    @torch.no_grad()
    def give(self) -> None:
        """Round the masters to the module's weights."""
        if self._masters:
            torch._foreach_copy_(list(self._masters), list(self._masters.values()))


NO_MASTERS = MasterWeights()
"""Of a module whose weights are stepped themselves."""


def clipped_step(optimizer: torch.optim.Optimizer, scale: Tensor, clip: float) -> Tensor:
    """Step with all gradients times `scale`, and then clipped to a common norm of at most `clip`.

    Returns the norm before it is clipped, 0-dim, of all processes' parts together. Both factors
    are one number by which a fused AdamW divides as it reads: no gradient is rewritten before.
    """
    gradients = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    total: Any = nn.utils.get_total_norm(gradients)
    norm = scale * (total.full_tensor() if hasattr(total, "full_tensor") else total)
    coefficient = scale * (clip / (norm + 1e-6)).clamp(max=1)
    optimizer.grad_scale = coefficient.reciprocal().float()  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    found: Tensor = norm
    return found
