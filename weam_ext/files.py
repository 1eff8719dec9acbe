"""Files that are whole or not there: written beside, synced, renamed."""

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from weam_ext.errors import InputError


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that it survives a crash once this returns."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is whole or, where this fails, as it was."""
    if _is_special(path):
        path.write_bytes(data)
        return
    final = path.resolve()  # what a symbolic link stands for, not the link, is replaced
    part = _beside(final)
    try:
        write_durably(part, data)
        rename_durably(part, final)
    finally:
        part.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise `InputError` now where `write_whole` would fail later; leaves nothing behind."""
    if path.is_dir():
        raise InputError(f"{path}: cannot be written: it is a folder")
    if _is_special(path):
        return  # opening a pipe and leaving it would end what waits at its other end
    try:
        part = _beside(path.resolve())
        part.open("ab").close()
        part.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_folder_writable(folder: Path) -> None:
    """The same for a folder that may have to be made first."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        TemporaryDirectory(dir=there).cleanup()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _is_special(path: Path) -> bool:
    """Such as a device or a pipe, which no file is to replace."""
    return path.exists() and not path.is_file()


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def rename_durably(source: Path, target: Path) -> None:
    """Rename within a directory so that the new name, and what it names, survive a crash."""
    if source.is_dir():
        for path in source.iterdir():
            sync(path)
    sync(source)  # of a directory, its entries: syncing the files in it does not keep their names
    source.rename(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or the entries of a directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
