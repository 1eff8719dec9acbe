"""What a run leaves behind, and how it goes on from there.

A checkpoint is a Hugging Face model directory (weights in safetensors, configuration, tokenizer)
with `optimizer.safetensors`, `state.json`, a model card and, of some objectives,
`objective.safetensors` beside them; tensors are whole, however many processes wrote them, so that
any number of processes can go on from them. It is written under another name, synced and renamed: a
directory called `step-N` is whole. `state.json` holds the SHA-256 of its own content, of the other
files and of those in the run's directory that the run cannot do without. No random state is kept,
because every step seeds its generators from the run's seed and the step's number.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from weam_ext.common.checkpoint_state import (
    CARD,
    FORMAT,
    OPTIMIZER,
    OWN,
    STATE,
    check_files,
    digests,
    read_state,
)
from weam_ext.common.errors import InputError, describe
from weam_ext.common.files import whole_directory, write_durably, write_record
from weam_ext.train.optimizer import NO_MASTERS, MasterWeights

BEST = "best"
TOKENIZER = "tokenizer"
"""The run's copy of its tokenizer. Loading and saving one again may reword its files."""
INITIAL = "initial"
"""Of word-aligned: the model before training, in the run's directory."""
_NAME = re.compile(r"step-(\d{8})")


def save(
    run: Path,
    step: int,
    objective: nn.Module,
    model: Any,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    *,
    masters: MasterWeights = NO_MASTERS,
    keep: int,
    card: str,
    main: bool = True,
) -> Path:
    """Write the checkpoint of a step and return its directory.

    All but the last `keep` checkpoints are removed, and that with the lowest state["heldout"], the
    first of equals, to which the link `best` leads. A failed write leaves nothing and touches no
    other checkpoint; it raises `InputError`.

    Args:
        objective: the module that is trained; what it has beside the model goes into
            `objective.safetensors`.
        model: the Hugging Face model in it.
        state: what else is needed to go on; becomes `state.json`.
        masters: the weights that are saved, of those that the modules hold.
        card: the text of its README.md.
        main: this process writes. All that share a sharded model must call this, and one write.
    """
    final = run / f"step-{step:08}"
    weights = _whole_weights(model, masters)
    moments = optimizer_tensors(objective, optimizer, masters)
    others = own_tensors(objective, model, masters)
    if not main or final.exists():  # of a run that goes on, torn ones were put aside
        return final
    with whole_directory(final) as part:
        model.save_pretrained(part, state_dict=weights)
        model.config.dtype = torch.float32  # of what is saved, whatever the model computes in
        model.config.save_pretrained(part)
        shutil.copytree(run / TOKENIZER, part, dirs_exist_ok=True)
        if others:
            save_file(others, part / OWN)
        save_file(moments, part / OPTIMIZER)
        state = {"format": FORMAT, "step": step, **state, "files": digests(part, part)}
        # The card is not one of them: it may be edited, since training does not continue from it.
        write_durably(part / CARD, card.encode())
        write_record(part / STATE, state)
    retain(run, keep)
    return final


def retain(run: Path, keep: int) -> None:
    """Remove what is not to be kept (see `save`)."""
    there = checkpoints(run)
    losses = {path: _heldout(path) for path in there}
    compared = [path for path in there if losses[path] is not None]
    best = min(compared, key=lambda path: losses[path] or 0.0, default=None)
    if best is not None:
        link = run / f".{BEST}.part"
        link.unlink(missing_ok=True)
        link.symlink_to(best.name)
        link.rename(run / BEST)
    for old in there[:-keep]:
        if old != best:
            shutil.rmtree(old)


def _heldout(checkpoint: Path) -> float | None:
    loss: float | None = read_state(checkpoint)["heldout"]
    return loss


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(path for path in run.glob("step-*") if _NAME.fullmatch(path.name))


def load_state(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's state, its files checked; `InputError` for one that is torn or changed."""
    state = read_state(checkpoint)
    check_files(checkpoint, state["files"])
    return state


def digests_beside(run: Path) -> dict[str, str]:
    """Of what a run goes on from that is in none of its checkpoints."""
    return digests(run, run / TOKENIZER, run / INITIAL)


# ---------------------------------------------------------------------------------------- tensors


def _whole_weights(model: Any, masters: MasterWeights) -> dict[str, Tensor]:
    """The model's weights, those that are in parts put together on the host."""
    whole = {id(parameter): _whole(masters.of(parameter)) for parameter in model.parameters()}
    # Weights that are tied stay one tensor.
    return {
        name: whole.get(id(value), value)
        for name, value in model.state_dict(keep_vars=True).items()
    }


def own_tensors(
    objective: nn.Module, model: nn.Module, masters: MasterWeights = NO_MASTERS
) -> dict[str, Tensor]:
    """The parameters that an objective has beside those of its model, by name."""
    of_model = {id(parameter) for parameter in model.parameters()}
    return {
        name: _whole(masters.of(parameter))
        for name, parameter in objective.named_parameters()
        if id(parameter) not in of_model
    }


def load_own(checkpoint: Path, objective: nn.Module, model: nn.Module) -> None:
    """Put what `save` wrote beside the model back; `InputError` where it does not fit."""
    wanted = own_tensors(objective, model)
    if not wanted:
        return
    tensors = _read(checkpoint / OWN)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != {name: tensor.shape for name, tensor in wanted.items()}:
        raise InputError(f"{checkpoint / OWN}: does not fit the objective")
    objective.load_state_dict(tensors, strict=False)


def optimizer_tensors(
    module: nn.Module, optimizer: torch.optim.Optimizer, masters: MasterWeights = NO_MASTERS
) -> dict[str, Tensor]:
    """The optimizer's state as flat tensors, named "PARAMETER/STATE"."""
    tensors = {}
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(masters.of(parameter), {}).items():
            tensors[f"{name}/{key}"] = _whole(value).contiguous()
    return tensors


def load_optimizer(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    masters: MasterWeights = NO_MASTERS,
) -> None:
    """Put the state saved by `save` back; `InputError` where it does not fit the module."""
    parameters = dict(module.named_parameters())
    for full_name, value in _read(path).items():
        name, _, key = full_name.rpartition("/")
        if name not in parameters:
            raise InputError(f"{path}: state of {name}, which the model does not have")
        parameter = masters.of(parameters[name])
        if value.dim() and value.shape != parameter.shape:
            raise InputError(f"{path}: state of {name} of another shape")
        # AdamW keeps its step counter on the host unless it is fused.
        device = parameter.device if value.dim() or optimizer.defaults.get("fused") else "cpu"
        optimizer.state[parameter][key] = _as_parts(value.to(device), parameter)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({describe(error)})") from error
    return tensors


def _in_parts(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def _whole(tensor: Any) -> Tensor:
    """A tensor put together from all processes, on the host if it was in parts."""
    detached: Any = tensor.detach()
    whole: Tensor = detached.full_tensor().cpu() if _in_parts(detached) else detached
    return whole


def _as_parts(value: Tensor, like: Any) -> Tensor:
    """A whole tensor shared out as `like` is."""
    if not value.dim() or not _in_parts(like):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements)
