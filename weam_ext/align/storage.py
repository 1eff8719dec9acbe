"""Aligners on disk: a directory of `aligner.json` and the tensors that it names."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from weam_ext.align.model import AlignerModel
from weam_ext.align.models import MODELS, checked_heuristic
from weam_ext.align.records import Reading
from weam_ext.align.settings import checked
from weam_ext.common.errors import InputError, describe
from weam_ext.common.files import (
    file_digest,
    owned,
    read_record,
    remove_parts,
    rename_durably,
    tensors_durably,
    write_record,
)

FORMAT = "weam_ext aligner"
VERSION = 5
_DESCRIPTION = "aligner.json"


@dataclass(frozen=True)
class AlignerState:
    """What is kept of an `Aligner`; see there."""

    kind: str
    heuristic: str
    max_length: int
    settings: Mapping[str, Any]
    model: AlignerModel
    """Trained."""


def save_state(state: AlignerState, directory: str | Path) -> None:
    """Write a trained aligner to a directory, which is made; one that is there is replaced.

    The description is a record with the SHA-256 of itself and of the tensors. Those: `rows` uint64
    [source words + 1], `columns` uint32 [cells] (target words, ascending in each row), `t` float32
    [cells, directions] (probabilities times 2^96), and for each side the UTF-8 of its words, where
    each ends, t(word | NULL) and expected counts. An HMM also has the weights of its jumps, from
    -10 to 10 and of all longer ones, and how often its words have 0, 1, 2 and more links, or
    nothing of that; the names of its models' tensors begin with "0.", "1." and so on.

    Raises `InputError` where that cannot be written, or another process writes there; the directory
    then holds the aligner that it held.
    """
    folder = Path(directory)
    with _said_of(folder), owned(folder):
        write_state(state, folder)


@contextmanager
def _said_of(folder: Path) -> Iterator[None]:
    """What the system refuses is one sentence that names the folder."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({describe(error)})") from error


def write_state(state: AlignerState, folder: Path) -> None:
    """The same for a process that owns the folder (`weam_ext.common.files.owned`).

    The description is written last, so that whenever this stops, the folder holds a whole aligner,
    old or new, and what it does not name is removed by the next.
    """
    with _said_of(folder):
        remove_parts(folder)
        part = folder / ".tensors.part"
        tensors_durably(partial(save_file, state.model.arrays()), part)
        digest = file_digest(part)
        tensors = folder / f"{digest[:16]}.safetensors"
        rename_durably(part, tensors)
        description = {
            "format": FORMAT,
            "version": VERSION,
            "model": state.kind,
            "heuristic": state.heuristic,
            "max_length": state.max_length,
            "settings": dict(state.settings),
            **state.model.description(),
            "tensors": {"file": tensors.name, "sha256": digest},
        }
        part = folder / ".description.part"
        write_record(part, description)
        rename_durably(part, folder / _DESCRIPTION)
        for old in folder.glob("[0-9a-f]" * 16 + ".safetensors"):  # it may hold others' files
            if old.name != tensors.name:
                old.unlink()


def load_state(directory: str | Path) -> AlignerState:
    """Read what `save_state` wrote; one that is being replaced is the old or the new.

    Raises `InputError` for whatever is missing, wrong or changed: all is checked before it is used.
    """
    path = Path(directory) / _DESCRIPTION
    while True:
        description = _read_description(path)
        try:
            return _load(path.parent, Reading(description))
        except FileNotFoundError as error:
            if _read_description(path) == description:  # no other process has replaced it
                raise InputError(f"{error.filename or directory}: {error.strerror}") from error
        except OSError as error:
            raise InputError(f"{error.filename or directory}: {error.strerror or error}") from error
        except (ValueError, SafetensorError) as error:
            raise InputError(f"{path}: not a usable aligner: {error}") from error


def _read_description(path: Path) -> dict[str, Any]:
    """The record; raises `InputError`, and says so where an older version wrote another one."""
    try:
        return read_record(path)
    except InputError:
        older = _version_without_digest(path)
        if older is None:
            raise
    raise InputError(
        f"{path}: of version {older} of its format, not {VERSION}: train and save the aligner again"
    )


def _version_without_digest(path: Path) -> int | None:
    try:
        old = json.loads(path.read_bytes())
        return int(old["version"]) if old["format"] == FORMAT and "sha256" not in old else None
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None


def _load(folder: Path, description: Reading) -> AlignerState:
    if (description.take("format", str), description.take("version", int)) != (FORMAT, VERSION):
        raise ValueError(f"not version {VERSION} of the format {FORMAT!r}")
    kind, given = description.take("model", str), description.take("settings", dict)
    if kind not in MODELS:
        raise ValueError(f"there is no model {kind!r}")
    model = MODELS[kind]
    if given.keys() != model.DEFAULTS.keys() or None in given.values():
        raise ValueError(f"'settings' are not those of {kind}")
    settings = model.checked_settings(kind, given)
    heuristic = checked_heuristic(kind, description.take("heuristic", str))
    max_length = checked("max_length", description.take("max_length", int))
    arrays = _read_tensors(folder, description.within("tensors"))
    trained = model.restored(settings, heuristic, description, arrays)
    return AlignerState(kind, heuristic, max_length, settings, trained)


def _read_tensors(folder: Path, tensors: Reading) -> dict[str, Any]:
    name = tensors.take("file", str)
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of a file beside it")
    if file_digest(folder / name) != tensors.take("sha256", str):
        raise ValueError(f"{name} has been changed or damaged (its SHA-256 differs)")
    arrays: dict[str, Any] = load_file(folder / name)
    return arrays
