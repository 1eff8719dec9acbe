"""Files read line by line: decompression, decoding, and errors that name the file and the line."""

import bz2
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import zstandard

from weam_ext.common.errors import InputError

Item = TypeVar("Item")

_BLANKS = " \t"
# Read and decoded at once; small, because a compressed block may expand a thousandfold.
_BLOCK = 1 << 17
# Name, first bytes, and what makes a decoder of one member: .decompress(bytes), .eof, .unused_data.
_COMPRESSIONS: tuple[tuple[str, re.Pattern[bytes], Callable[[], Any]], ...] = (
    ("gzip", re.compile(rb"\x1f\x8b"), lambda: zlib.decompressobj(wbits=31)),
    ("xz", re.compile(rb"\xfd7zXZ\0"), lzma.LZMADecompressor),
    # All ten bytes: a text may well begin with "BZh".
    ("bzip2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), bz2.BZ2Decompressor),
    (
        "Zstandard",
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
        lambda: zstandard.ZstdDecompressor().decompressobj(),
    ),
)
_BROKEN = (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError)  # the last is bzip2's


# ------------------------------------------------------------------------------------------ lines


def read_lines(path: str) -> Iterator[str]:
    r"""The lines of a text file, less their ends ("\n" or "\r\n") and an initial byte-order mark.

    Raises `InputError` for a file that cannot be read, for broken compressed data and, after the
    good lines before it, for a line that is not UTF-8.
    """
    for lines in lists_of_lines(path):
        yield from lines


def lists_of_lines(path: str) -> Iterator[list[str]]:
    """The same, as they arrive."""
    done = 0
    for block in line_blocks(path):
        text, bad = _decode(block)
        lines = text.replace("\r\n", "\n").split("\n")
        if not lines[-1]:  # what follows the last line feed is no line
            lines.pop()
        yield lines
        done += len(lines)
        if bad:
            raise InputError(f"{where(path, done + 1)}: invalid UTF-8 ({bad})")


def _decode(block: bytes) -> tuple[str, str]:
    """The text of a block of lines and "", or of those before the first bad line and its fault."""
    try:
        return block.decode(), ""
    except UnicodeDecodeError as error:
        start = block.rfind(b"\n", 0, error.start) + 1
        column = len(block[start : error.start].decode()) + 1
        return block[:start].decode(), f"byte 0x{block[error.start]:02x} at column {column}"


def line_blocks(path: str) -> Iterator[bytes]:
    """A file's text as bytes, in blocks that end at the end of a line or of the file.

    Raises `InputError` for a file that cannot be read and for broken compressed data.
    """
    mark = b"\xef\xbb\xbf"
    held: list[bytes] = []  # a list: a line of many blocks is joined once
    for block in _blocks(path):
        cut = block.rfind(b"\n") + 1
        if not cut:
            held.append(block)
            continue
        yield b"".join((*held, block[:cut])).removeprefix(mark)
        mark = b""
        held = [block[cut:]]
    if rest := b"".join(held).removeprefix(mark):
        yield rest


def _blocks(path: str) -> Iterator[bytes]:
    """A file's bytes in blocks, decompressed."""
    raw = _raw_blocks(path)
    first = next(raw, b"")
    for name, magic, decoder in _COMPRESSIONS:
        if magic.match(first):
            yield from _decompress(path, name, decoder, first, raw)
            return
    yield first
    yield from raw


def _raw_blocks(path: str) -> Iterator[bytes]:
    if path == "-" and sys.stdin is None:
        raise InputError("standard input is closed: there is nothing to read")
    try:
        file: Any  # read1 gives what is there: a pipe may send a line at a time
        with nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb") as file:
            while block := file.read1(_BLOCK):
                yield block
    except OSError as error:
        raise InputError(f"{shown(path)}: {error.strerror or error}") from error


def _decompress(
    path: str, name: str, decoder: Callable[[], Any], first: bytes, more: Iterator[bytes]
) -> Iterator[bytes]:
    """The text of one member after another: `cat a.gz b.gz` and the parallel compressors."""
    member = decoder()
    for block in chain([first], more):
        data = block
        while data:
            if member.eof:
                data = data.lstrip(b"\0")  # gzip and xz allow zeros between members
                if not data:
                    break
                member = decoder()
            try:
                text = member.decompress(data)
            except _BROKEN as error:
                raise InputError(f"{shown(path)}: corrupt {name} data ({error})") from error
            yield text
            data = member.unused_data
    if not member.eof:
        raise InputError(f"{shown(path)}: the {name} data ends too early (a truncated file)")


def shown(path: str) -> str:
    """A path as messages name it."""
    return "standard input" if path == "-" else path


def where(path: str, line: int) -> str:
    return f"{shown(path)}, line {line}"
