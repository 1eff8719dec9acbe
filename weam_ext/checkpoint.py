"""What a run leaves behind, and how it goes on from there.

A checkpoint is a Hugging Face model directory (weights in safetensors, configuration, tokenizer)
with `optimizer.safetensors` and `state.json` beside them. It is written under another name, synced
and renamed: a directory called `step-N` is whole. No random state is kept, because every step
seeds its generators from the run's seed and the step's number.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from weam_ext.errors import InputError, describe
from weam_ext.files import file_digest, rename_durably, sync, write_durably

TOKENIZER = "tokenizer"
"""The run's copy of its tokenizer. Loading and saving one again may reword its files."""
_NAME = re.compile(r"step-(\d{8})")


def save(
    run: Path,
    step: int,
    model: Any,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Write the checkpoint of a step, remove all but the last `keep`, and return its directory.

    A failed write leaves nothing and touches no other checkpoint; it raises `InputError`.
    """
    final = run / f"step-{step:08}"
    if final.exists():
        return final
    beside = run / f".{final.name}.part"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        model.save_pretrained(beside)
        shutil.copytree(run / TOKENIZER, beside, dirs_exist_ok=True)
        save_file(optimizer_tensors(model, optimizer), beside / "optimizer.safetensors")
        digests = {p.name: file_digest(p) for p in sorted(beside.iterdir())}
        state = {"step": step, **state, "files": digests}
        write_durably(beside / "state.json", (json.dumps(state, indent=1) + "\n").encode())
        for path in beside.iterdir():
            sync(path)
        rename_durably(beside, final)
    except (OSError, shutil.Error, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise InputError(f"{final}: cannot be written ({describe(error)})") from error
    for old in checkpoints(run)[:-keep]:
        shutil.rmtree(old)
    return final


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(path for path in run.glob("step-*") if _NAME.fullmatch(path.name))


def load_state(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's state, its files checked; `InputError` for one that is torn or changed."""
    try:
        state: dict[str, Any] = json.loads((checkpoint / "state.json").read_bytes())
        for name, digest in state["files"].items():
            if file_digest(checkpoint / name) != digest:
                raise InputError(f"{checkpoint / name}: the file was changed since it was saved")
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{checkpoint}: not a whole checkpoint ({describe(error)})") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{checkpoint / 'state.json'}: not valid JSON") from error
    return state


# -------------------------------------------------------------------------------------- optimizer


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as flat tensors, named "PARAMETER/STATE"."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = value.contiguous()
    return tensors


def load_optimizer(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the state saved by `save` back; `InputError` where it does not fit the model."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({describe(error)})") from error
    parameters = dict(model.named_parameters())
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("/")
        if name not in parameters:
            raise InputError(f"{path}: state of {name}, which the model does not have")
        parameter = parameters[name]
        # AdamW keeps its step counter on the host unless it is fused.
        device = parameter.device if value.dim() or optimizer.defaults.get("fused") else "cpu"
        optimizer.state[parameter][key] = value.to(device)
