"""The models that a command compares, and what their checkpoints say of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import safe_open

from weam_ext.common.checkpoint_state import STATE, check_unchanged, read_state
from weam_ext.common.errors import InputError, describe, say
from weam_ext.transfer.encoder import Encoder, encoder_digest


@dataclass(frozen=True)
class Model:
    """One directory of a model; `fault` says why it cannot be used."""

    name: str
    directory: Path
    sha256: str
    fault: str = ""


def identified(models: dict[str, list[Path]]) -> list[Model]:
    """What identifies every directory; `InputError` for a seed given twice."""
    found: list[Model] = []
    for name, directories in models.items():
        seeds: dict[str, Path] = {}
        for directory in directories:
            try:
                check_unchanged(directory)
                digest = encoder_digest(directory)
            except InputError as error:
                found.append(Model(name, directory, str(directory), describe(error)))
                continue
            if digest in seeds:
                raise InputError(
                    f"{directory}: the same encoder as {seeds[digest]}, not another seed of {name}"
                )
            seeds[digest] = directory
            found.append(Model(name, directory, digest))
    return found


def encoders_of(models: Sequence[Model]) -> dict[str, dict[str, str]]:
    """By name, the digest of the encoder in each directory that can be used."""
    found: dict[str, dict[str, str]] = {}
    for model in models:
        encoders = found.setdefault(model.name, {})
        if not model.fault:
            encoders[str(model.directory.resolve())] = model.sha256
    return found


def facts_of(directory: Path) -> dict[str, Any]:
    """What the report tells of a checkpoint: its run's settings, and how many numbers it holds."""
    numbers = 0
    for path in directory.glob("model*.safetensors"):
        with safe_open(path, "numpy") as tensors:
            names = tensors.keys()
            numbers += sum(math.prod(tensors.get_slice(k).get_shape()) for k in names)
    return {"training": training_settings(directory)} | ({"parameters": numbers} if numbers else {})


@lru_cache  # so that it is said once of a model
def training_settings(directory: Path) -> dict[str, Any]:
    """How a checkpoint of `weam_ext.train` came to be, as it says itself; nothing of others.

    The settings, what those came to that were left to be decided, the step, and the digests of the
    weights that it started from (`start`, where they were files) and of the prepared text (`text`).
    """
    if not (directory / STATE).is_file():
        return {}
    try:
        state = read_state(directory)
    except InputError as error:
        say(f"{error}; how it was trained is not told")
        return {}
    known = {"start": state["content"].get("model"), "text": state["content"].get("prepared")}
    digests = {name: digest for name, digest in known.items() if digest}
    return {**state["settings"], **state["resolved"], "step": state["step"], **digests}


@lru_cache(maxsize=1)
def encoder_of(directory: Path, max_length: int, device: str, precision: str) -> Encoder:
    """The last one: the frozen tasks of a model come one after another."""
    return Encoder(directory, max_length, device, precision)
