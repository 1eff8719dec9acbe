"""Files that are whole or not there: written beside, synced, renamed."""

import hashlib
import os
from pathlib import Path


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


def rename_durably(source: Path, target: Path) -> None:
    """Rename within a directory so that the new name, and what it names, survive a crash."""
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
