"""Data sets as they were published: found under a directory, plain, compressed or in a tar archive.

An archive is a folder: `xquad/xquad.tar.xz` with `xquad.de.json` in it is
`xquad/xquad/xquad.de.json`. Compression suffixes are no part of a name.
"""

import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from weam_ext.common.errors import InputError
from weam_ext.text.lines import line_blocks

_ARCHIVE = re.compile(r"\.(tar(\.(gz|xz|bz2|zst))?|tgz)$")
_COMPRESSED = re.compile(r"\.(gz|xz|bz2|zst)$")
_DEEPEST = 6


class Source(NamedTuple):
    """A published file: its name below the data directory, and where its bytes are."""

    name: str
    path: Path
    member: str | None

    def __str__(self) -> str:
        return f"{self.path}, {self.member}" if self.member else str(self.path)


class Line(NamedTuple):
    """A line of a file, counted from 1."""

    text: str
    source: Source
    number: int

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.source}, line {self.number}"


def sources(data: Path, folder: str) -> list[Source]:
    """The files under the folders of `data` whose names begin with `folder`, in order of name.

    `data` may itself be such a folder. Raises `InputError` for a broken archive.
    """
    if not data.is_dir():
        raise InputError(f"{data}: no such directory")
    roots = [place for place in sorted(data.iterdir()) if place.name.lower().startswith(folder)]
    if data.resolve().name.lower().startswith(folder):
        roots = [data]
    return sorted(found for root in roots for found in _walk(root, root.name, 1))


def _walk(path: Path, name: str, depth: int) -> Iterator[Source]:
    if path.is_dir():
        if depth < _DEEPEST:
            for below in path.iterdir():
                yield from _walk(below, f"{name}/{below.name}", depth + 1)
    elif _ARCHIVE.search(name):
        inside = _ARCHIVE.sub("", name)
        for member in _members(path):
            yield Source(f"{inside}/{_COMPRESSED.sub('', member)}", path, member)
    else:
        yield Source(_COMPRESSED.sub("", name), path, None)


@lru_cache(maxsize=4)
def _members(path: Path) -> dict[str, bytes]:
    """All of an archive: the members of a compressed one can only be read one after another."""
    data = b"".join(line_blocks(str(path)))
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            files = [member for member in archive.getmembers() if member.isfile()]
            return {m.name: archive.extractfile(m).read() for m in files}  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{path}: not a whole tar archive ({error})") from error


def read_text(source: Source) -> str:
    """A file's text, less an initial byte-order mark; `InputError` with the line for bad UTF-8."""
    data = _members(source.path)[source.member] if source.member else _read(source.path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{source}, line {line}: invalid UTF-8") from error


def _read(path: Path) -> bytes:
    return b"".join(line_blocks(str(path)))


def read_lines(source: Source) -> Iterator[Line]:
    r"""The lines of a file, less their ends ("\n" or "\r\n"), each with its place."""
    lines = read_text(source).replace("\r\n", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    for number, text in enumerate(lines, 1):
        yield Line(text, source, number)


def read_json(source: Source) -> Any:
    """A JSON file; `InputError` names the line where it is not valid JSON."""
    try:
        return json.loads(read_text(source))
    except json.JSONDecodeError as error:
        raise InputError(f"{source}, line {error.lineno}: not valid JSON ({error.msg})") from error


def fields(line: Line, count: int) -> list[str]:
    """The `count` tab-separated fields of a line; `InputError` for any other number of them."""
    found = line.text.split("\t")
    if len(found) != count:
        raise InputError(f"{line.where}: {len(found)} tab-separated fields instead of {count}")
    return found


def table_rows(
    source: Source, names: Sequence[str], exact: bool = False
) -> Iterator[tuple[Line, list[str]]]:
    """Each line below a header, with its fields of the named columns.

    Raises `InputError` for a header without one of them and for a line that is too short; if
    `exact`, for any line that does not have as many fields as there are names.
    """
    lines = read_lines(source)
    first = next(lines, None)
    header = first.text.split("\t") if first else []
    if not set(names) <= set(header):
        raise InputError(f"{source}, line 1: no header with the columns {', '.join(names)}")
    columns = [header.index(name) for name in names]
    for line in lines:
        values = fields(line, len(names)) if exact else line.text.split("\t")
        if len(values) <= max(columns):
            raise InputError(f"{line.where}: only {len(values)} tab-separated fields")
        yield line, [values[column] for column in columns]
