"""The record of a checkpoint, and the digests by which it vouches for its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weam_ext.common.errors import InputError
from weam_ext.common.files import file_digest, read_record

FORMAT = 1
"""Of `state.json`. Raise it when what goes on from one changes."""
STATE, CARD = "state.json", "README.md"
OPTIMIZER, OWN = "optimizer.safetensors", "objective.safetensors"


class OtherFormatError(InputError):
    """A checkpoint of another version of this package; nothing is wrong with it."""


def read_state(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's state alone; `InputError` for one that is torn or changed.

    `OtherFormatError` for one that another version of this package has left.
    """
    path = checkpoint / STATE
    state = read_record(path)
    if state.get("format") != FORMAT:
        raise OtherFormatError(
            f"{path}: format {state.get('format')}, expected {FORMAT}: the run was begun with "
            "another version of weam_ext; go on with that one, or give another --output"
        )
    return state


def digests(directory: Path, *folders: Path) -> dict[str, str]:
    """SHA-256 of all files in some folders, by where they lie in a directory."""
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): file_digest(path) for path in files}


def check_files(directory: Path, expected: Mapping[str, str]) -> None:
    """Raise `InputError` for the first file that is not there, or not as `digests` found it."""
    for name, digest in expected.items():
        path = directory / name
        try:
            found = file_digest(path)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from error
        if found != digest:
            raise InputError(f"{path}: the file was changed since it was saved")


def check_unchanged(directory: Path) -> None:
    """Raise `InputError` where a model is not as its checkpoint's state says.

    Only of what others than training read, and only where there is a state that can be read.
    """
    try:
        files = read_state(directory)["files"]
    except InputError:
        return
    try:
        check_files(directory, {k: v for k, v in files.items() if k not in (OPTIMIZER, OWN)})
    except InputError as error:
        raise InputError(f"{error}; if that was meant, remove its {STATE}") from error
