"""Files that are whole or not there: written beside, synced, renamed; and who may write them."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import SafetensorError

from weam_ext.common.errors import InputError, describe

LOCK = ".lock"
"""In a directory, held by the process that writes there (see `owned`)."""
_DIGEST = "sha256"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expanded(text: str) -> str:
    """A path, or a name of the hub, as people write it: a leading `~` is their home directory."""
    return os.path.expanduser(text)  # noqa: PTH111  # a Path would lose the "./" of a file


def path_or_name(text: str) -> str:
    """The same for argparse, which is told what cannot be one."""
    if not text.strip() or "\0" in text:
        raise ArgumentTypeError(f"not a name: {text!r}")
    return expanded(text)


def user_path(text: str) -> Path:
    """The same as a path."""
    return Path(path_or_name(text))


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that it survives a crash once this returns."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is whole or, where this fails with an `InputError`, as it was."""
    try:
        if _is_special(path):
            path.write_bytes(data)
        else:
            _replace(path.resolve(), data)  # what a symbolic link stands for, not the link
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _replace(path: Path, data: bytes) -> None:
    part = _beside(path)
    try:
        write_durably(part, data)
        rename_durably(part, path)
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


def check_apart(read: dict[str, str], written: dict[str, str]) -> None:
    """Raise `InputError` where a file would be written over one that is read or written, too.

    Both are paths by what messages call them. Standard output is always written; of what is read,
    only one can be standard input, "-".
    """
    asking = [name for name, path in read.items() if path == "-"]
    if len(asking) > 1:
        raise InputError(f"{' and '.join(asking)}: standard input can be only one of them")
    there = {_identity(0 if path == "-" else path): name for name, path in read.items()}
    outputs: dict[str, str | int] = {"standard output": 1, **written}
    for name, path in outputs.items():
        if path == "-":
            raise InputError(f"{name}: standard output is for the links (a file is ./-)")
        other = there.setdefault(_identity(path), name)
        if other != name:
            raise InputError(f"{name} and {other} are the same file")


def _identity(path: str | int) -> object:
    """The same for the same file, and for nothing else; two names of a device or a pipe are two."""
    try:
        found = os.fstat(path) if isinstance(path, int) else Path(path).stat()
    except OSError:
        return os.path.realpath(path) if isinstance(path, str) else object()
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else object()


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
    """A name that no other process takes, for what becomes `path` once it is whole."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def remove_parts(directory: Path) -> None:
    """Remove what killed processes left unfinished; for the owner of a directory (`owned`)."""
    for part in directory.glob(".*.part"):
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part)
        else:
            part.unlink()


def rename_durably(source: Path, target: Path) -> None:
    """Rename within a directory so that the new name, and what it names, survive a crash."""
    if source.is_dir():
        for path in source.iterdir():
            sync(path)
    sync(source)  # of a directory, its entries: syncing the files in it does not keep their names
    source.rename(target)
    sync(target.parent)


def tensors_durably(save: Callable[[Path], object], path: Path) -> None:
    """Have `save` (of safetensors) write a file so that it is whole, and survives a crash.

    Raises `InputError` where it cannot be written.
    """
    part = _beside(path)  # a folder: where `save` is killed, its own temporary file is in it
    try:
        part.mkdir()
        whole = part / path.name
        save(whole)
        give_usual_mode(whole)
        rename_durably(whole, path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path}: cannot be written ({reason or describe(error)})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def whole_directory(final: Path) -> Iterator[Path]:
    """A directory to fill; it takes its name, whole and durable, when this ends well.

    `final` must not be there yet. Raises `InputError` where it cannot be written.
    """
    part = _beside(final)
    try:
        part.mkdir(parents=True)
        yield part
        for path in part.rglob("*"):
            if path.is_file():
                give_usual_mode(path)
        rename_durably(part, final)
    except Exception as error:  # that of tokenizers' Rust code is of no other kind
        known = isinstance(error, OSError | shutil.Error | SafetensorError)
        if not known and type(error) is not Exception:
            raise
        raise InputError(f"{final}: cannot be written ({_without_part(error, part)})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _without_part(error: Exception, part: Path) -> str:
    """What an error says, without the name of what is gone once it is told."""
    return describe(error).replace(f"{part}{os.sep}", "")


def give_usual_mode(path: Path) -> None:
    """Let those read a file whom the umask lets read new files; those of safetensors are 0600."""
    probe = _beside(path)
    probe.touch()  # asking for the umask means to change it, for all threads
    path.chmod(probe.stat().st_mode & 0o777)
    probe.unlink()


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or the entries of a directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---------------------------------------------------------------------------- records with a digest


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON object durably, with the SHA-256 of its own content as its last member.

    Raises `ValueError` for numbers that JSON does not have (NaN, infinities).
    """
    sealed = record | {_DIGEST: content_digest(record)}
    write_durably(path, (json.dumps(sealed, indent=1, allow_nan=False) + "\n").encode())


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote; raises `InputError` for what is missing, torn or changed."""
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({describe(error)})") from error
    if not isinstance(record, dict) or _DIGEST not in record:
        raise InputError(f"{path}: the record has no {_DIGEST} of its content")
    if record.pop(_DIGEST) != content_digest(record):
        raise InputError(f"{path}: the file was changed since it was written (SHA-256 differs)")
    return record


def content_digest(record: dict[str, Any]) -> str:
    """SHA-256 of a JSON object."""
    # Of the values, not of the bytes, so that the layout of the file is free.
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# -------------------------------------------------------------------------------------------- locks


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Be the only process that writes to a directory, which is made if need be.

    Raises `InputError`, naming the process that holds it, where there is one. The system lets go
    of the lock however its process ends.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with _sole(directory / LOCK, directory):
        yield


@contextmanager
def making(directory: Path) -> Iterator[Path]:
    """Be the only process that makes a directory: an empty one beside it, to be renamed when whole.

    What a killed process left there is removed before, and what was not renamed after. Raises
    `InputError` where the directory exists, and as `owned` does.
    """
    _check_absent(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    part = directory.with_name(f".{directory.name}.part")
    with _sole(directory.with_name(f".{directory.name}{LOCK}.part"), directory):
        _check_absent(directory)  # another process may have made it just now
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _check_absent(directory: Path) -> None:
    if os.path.lexists(directory):
        raise InputError(f"{directory}: already exists")


@contextmanager
def _sole(lock: Path, directory: Path) -> Iterator[None]:
    with locked(lock) as held:
        if not held:
            holder = _first_line(lock) or "another process"
            raise InputError(f"{directory}: {holder} is writing there; wait until it has ended")
        lock.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", "utf-8")
        yield


def _first_line(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").partition("\n")[0]
    except OSError:  # let go in this moment
        return ""


_held: set[int] = set()
"""The locks of this process. Those that it forks must not hold them for it when it is gone."""


def _let_go() -> None:
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Whether this process holds a lock on a file, which is made for it and removed after.

    The lock is `flock`'s, which works over NFS, too, since Linux 2.6.12.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    _held.add(handle)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        if not path.exists() or path.stat().st_ino != os.fstat(handle).st_ino:
            yield False  # removed by its holder between our opening and locking it
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)  # while the lock is held
    finally:
        _held.discard(handle)
        os.close(handle)
