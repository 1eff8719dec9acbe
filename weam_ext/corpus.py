"""Parallel text in, sentence pairs out, streaming; and word links as Pharaoh files write them.

A text file is UTF-8, plain or compressed (gzip, xz, bzip2, Zstandard, told apart by their first
bytes); "-" is standard input. Lines end at a line feed and nowhere else, so that line k here is
line k of every other tool, whatever Unicode separators a sentence holds. A blank is a space or a
tab, as in fast_align.
"""

import bz2
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, islice, starmap, zip_longest
from pathlib import Path
from typing import Any, TypeVar

import zstandard

from weam_ext import _native
from weam_ext.errors import InputError
from weam_ext.files import expanded

__all__ = [
    "BitextSource",
    "Link",
    "MonolingualSource",
    "arriving_bitext",
    "blocks",
    "feed_bitext",
    "format_links",
    "languages",
    "line_blocks",
    "parse_bitext",
    "parse_columns",
    "parse_links",
    "parse_monolingual",
    "read_bitext",
    "read_gold",
    "read_lines",
    "read_monolingual",
    "shown",
]

Link = tuple[int, int]
Item = TypeVar("Item")

_BLANKS = " \t"
# Read and decoded at once; small, because a compressed block may expand a thousandfold.
_BLOCK = 1 << 17
_PAIRS_AT_ONCE = 4096
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
_FILE_SUFFIXES = {".gz", ".xz", ".bz2", ".zst", ".txt", ".tsv"}
_PAIR_OF_LANGUAGES = re.compile(r"(?:^|[^a-z])([a-z]{2,3})-([a-z]{2,3})$")
_LANGUAGE = re.compile(r"(?:^|[^a-z])([a-z]{2,3})$")
_LINK = re.compile(r"([0-9]{1,9})([-?])([0-9]{1,9})")


# ------------------------------------------------------------------------------------------ lines


def read_lines(path: str) -> Iterator[str]:
    r"""The lines of a text file, less their ends ("\n" or "\r\n") and an initial byte-order mark.

    Raises `InputError` for a file that cannot be read, for broken compressed data and, after the
    good lines before it, for a line that is not UTF-8.
    """
    for lines in _lists_of_lines(path):
        yield from lines


def _lists_of_lines(path: str) -> Iterator[list[str]]:
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
            raise InputError(f"{_where(path, done + 1)}: invalid UTF-8 ({bad})")


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


def _where(path: str, line: int) -> str:
    return f"{shown(path)}, line {line}"


# ----------------------------------------------------------------------------------------- bitext


@dataclass(frozen=True)
class BitextSource:
    """One file of "source ||| target" or tab-separated lines, or two line-aligned files.

    `columns` are the columns of source and target, counted from 1 as by `cut -f`, of a file that is
    tab-separated; where they are not given, the first line with anything on it tells what the file
    is (see `read_bitext`). `limit` keeps the first pairs only. Raises `InputError` for values that
    cannot be meant.
    """

    name: str
    paths: tuple[str, ...]
    columns: tuple[int, int] | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.paths) <= 2:
            raise InputError(f"bitext {self.name!r}: one or two files, not {len(self.paths)}")
        if self.paths == ("-", "-"):
            raise InputError(f"bitext {self.name!r}: standard input cannot be both sides")
        if self.columns and min(self.columns) < 1:
            raise InputError(f"bitext {self.name!r}: columns count from 1, not {self.columns}")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"bitext {self.name!r}: a limit of {self.limit} pairs leaves nothing")


@dataclass(frozen=True)
class MonolingualSource:
    """A file of one sentence a line; `limit` keeps the first ones only."""

    name: str
    path: str
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"text {self.name!r}: a limit of {self.limit} lines leaves nothing")


def parse_bitext(
    arguments: Sequence[str],
    columns: tuple[int, int] | None = None,
    limit: int | None = None,
) -> BitextSource:
    """The command line's `--bitext [NAME=]FILE [FILE]`.

    The name is what stands before the first "=" unless it holds a "/" (so `./a=b.tsv` is a file
    without a name), and else the first file's name less its compression and text suffixes. Raises
    `InputError` for no file, more than two, and an empty name.
    """
    if not 1 <= len(arguments) <= 2:
        raise InputError(f"--bitext takes one or two files, not {len(arguments)}")
    name, path = _name_and_path("--bitext", arguments[0])
    return BitextSource(name, (path, *map(expanded, arguments[1:])), columns, limit)


def parse_monolingual(argument: str, limit: int | None = None) -> MonolingualSource:
    """The command line's `--monolingual [NAME=]FILE`; names are as those of `parse_bitext`."""
    return MonolingualSource(*_name_and_path("--monolingual", argument), limit)


def _name_and_path(flag: str, argument: str) -> tuple[str, str]:
    name, equals, path = argument.partition("=")
    if not equals or "/" in name:
        path = argument
        name = "stdin" if path == "-" else Path(path).name
        while Path(name).suffix.lower() in _FILE_SUFFIXES:
            name = Path(name).stem
    if not name or not path:
        raise InputError(f"{flag} {argument}: expected [NAME=]FILE")
    return name, expanded(path)


def languages(source: BitextSource | MonolingualSource) -> tuple[str, ...]:
    """The languages of a source, two or one, as its name ends in their codes.

    Such as "en-fr" and "news.en-fr", or "en" and "news.en", of two or three letters; else of a
    bitext "NAME:source" and "NAME:target", of other text its name.
    """
    if isinstance(source, MonolingualSource):
        code = _LANGUAGE.search(source.name)
        return (code[1] if code else source.name,)
    codes = _PAIR_OF_LANGUAGES.search(source.name)
    return codes.groups() if codes else (f"{source.name}:source", f"{source.name}:target")


def parse_columns(text: str | None) -> tuple[int, int] | None:
    """The command line's `--columns S,T`, if given."""
    if text is None:
        return None
    numbers = text.split(",")
    if len(numbers) != 2 or not all(number.strip().isdecimal() for number in numbers):
        raise InputError(f"--columns {text}: expected two numbers such as 1,2")
    return int(numbers[0]), int(numbers[1])


def blocks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive lists of `size` items, the last one shorter."""
    rest = iter(items)
    while block := list(islice(rest, size)):
        yield block


def read_bitext(source: BitextSource) -> Iterator[tuple[str, str]]:
    """The sentence pairs of a source, each side less its surrounding blanks; an empty side is "".

    One file is all of a kind, which its first line with anything on it tells: with "|||" between
    blanks or at an end of it, lines are split at their first one, and a further one belongs to the
    target, as in fast_align; else with a tab, they have columns, of which the first two are meant.
    A line with nothing on it is a pair with both sides empty, so that line k stays pair k.

    Raises `InputError` as `read_lines` does, and for a line without the separator, for too few
    columns and for two files of different lengths.
    """
    if len(source.paths) == 1:
        split = _Splitter(source)
        pairs: Iterator[tuple[str, str]] = starmap(split, enumerate(read_lines(source.paths[0]), 1))
    else:
        pairs = _two_files(*source.paths)
    return islice(pairs, source.limit)


def read_monolingual(source: MonolingualSource) -> Iterator[tuple[str]]:
    """The sentences of a source, each alone and less its surrounding blanks; an empty one is "".

    Raises `InputError` as `read_lines` does.
    """
    return islice(((line.strip(_BLANKS),) for line in read_lines(source.path)), source.limit)


def arriving_bitext(source: BitextSource) -> Iterator[list[tuple[str, str]]]:
    """The pairs of `read_bitext` in lists, each handed on before the reader waits for more.

    Whoever writes a line into a pipe may wait for the answer to it, and another writes a million.
    """
    if len(source.paths) == 2:
        yield from blocks(read_bitext(source), 1 if "-" in source.paths else _PAIRS_AT_ONCE)
        return
    done = 0
    split = _Splitter(source)
    for lines in _lists_of_lines(source.paths[0]):
        rest = None if source.limit is None else source.limit - done
        pairs: list[tuple[str, str]] = []
        try:
            pairs.extend(islice(starmap(split, enumerate(lines, done + 1)), rest))
        except InputError:
            yield pairs  # the good ones before the bad line
            raise
        yield pairs
        done += len(pairs)
        if done == source.limit:
            return


class _Splitter:
    """Splits the lines of one file in two, as csrc/reader.cpp does."""

    def __init__(self, source: BitextSource) -> None:
        (self._path,) = source.paths
        self._columns = source.columns
        self._tabs = True if source.columns else None  # not known before the first line with words

    def __call__(self, number: int, line: str) -> tuple[str, str]:
        if not line.strip(_BLANKS):
            return "", ""
        bars = -1 if self._tabs else _find_bars(line)
        if self._tabs is None and (bars >= 0 or "\t" in line):
            self._tabs = bars < 0
        if self._tabs and "\t" in line:
            return self._split_columns(number, line.split("\t"))
        if self._tabs is not False or bars < 0:
            raise InputError(f"{_where(self._path, number)}: {self._fault()}")
        return line[:bars].strip(_BLANKS), line[bars + 3 :].strip(_BLANKS)

    def _split_columns(self, number: int, fields: list[str]) -> tuple[str, str]:
        left, right = self._columns or (1, 2)
        if len(fields) < max(left, right):
            raise InputError(
                f"{_where(self._path, number)}: no column {max(left, right)}, only {len(fields)}"
            )
        return fields[left - 1].strip(_BLANKS), fields[right - 1].strip(_BLANKS)

    def _fault(self) -> str:
        if self._tabs is None:
            return "no '|||' and no tab between source and target"
        if self._columns:
            return "no tab between source and target, although columns were asked for"
        separator = "tab" if self._tabs else "'|||'"
        return f"no {separator} between source and target, unlike the lines before it"


def _find_bars(line: str) -> int:
    """Where the first "|||" between blanks is, or -1."""
    at = line.find("|||")
    while at >= 0 and line[max(at - 1, 0) : at + 4].strip(_BLANKS) != "|||":
        at = line.find("|||", at + 1)
    return at


def _two_files(left: str, right: str) -> Iterator[tuple[str, str]]:
    sides = read_lines(left), read_lines(right)
    for number, (source, target) in enumerate(zip_longest(*sides), 1):
        if source is None or target is None:
            counts = [number - (line is None) for line in (source, target)]
            lengths = [
                count + sum(1 for _ in rest) for count, rest in zip(counts, sides, strict=True)
            ]
            raise InputError(
                f"{shown(left)} has {lengths[0]} lines but {shown(right)} has {lengths[1]}"
            )
        yield source.strip(_BLANKS), target.strip(_BLANKS)


def feed_bitext(
    source: BitextSource,
    reader: _native.TextReader,
    *,
    lowercase: bool = False,
    on_bytes: Callable[[int], object] = lambda size: None,
) -> None:
    """Have a native reader read the sentence pairs of a source, as `read_bitext` does.

    `on_bytes` is told how many bytes have been read, block by block. Raises `InputError` as
    `read_bitext` does.
    """
    blocks_of = _lower_case_lines if lowercase else _blocks
    files = [blocks_of(path) for path in source.paths]
    waiting = dict(enumerate(files))
    try:
        while waiting:
            for number, rest in list(waiting.items()):
                block = next(rest, None)
                if block is None:
                    reader.end(number)
                    del waiting[number]
                elif reader.feed(number, block):
                    on_bytes(len(block))
                else:
                    waiting.clear()
                    break
        reader.finish()
    except _native.LineError as error:
        number, line, fault = error.args
        raise InputError(f"{_where(source.paths[number], line)}: {fault}") from None
    except _native.UnequalLines as error:
        left, right = map(shown, source.paths)
        raise InputError(
            f"{left} has {error.args[0]} lines but {right} has {error.args[1]}"
        ) from None


def _lower_case_lines(path: str) -> Iterator[bytes]:
    """A file's text in blocks of whole lines; bytes that are not UTF-8 stay, to be told of."""
    for block in line_blocks(path):
        yield block.decode(errors="surrogateescape").lower().encode(errors="surrogateescape")


# ------------------------------------------------------------------------------------------ links


def format_links(links: Iterable[Link]) -> str:
    """One line of Pharaoh's format: "i-j i-j ...", source word first, both from 0."""
    return " ".join(f"{i}-{j}" for i, j in links)


def parse_links(line: str, where: str) -> list[Link]:
    """The links of a line of "i-j", sorted, each once.

    Raises `InputError`, beginning with `where` ("FILE, line N"), for anything else.
    """
    links = set()
    for token in line.split():
        link = _LINK.fullmatch(token)
        if not link or link[2] != "-":
            raise InputError(f"{where}: {token!r} is not a link 'i-j'")
        links.add((int(link[1]), int(link[3])))
    return sorted(links)


def read_gold(path: str) -> list[tuple[set[Link], set[Link]]]:
    """The (sure, possible) links of every sentence: `i-j` is both, `i?j` is only possible.

    Raises `InputError` as `read_lines` does, and for a token that is neither.
    """
    sentences = []
    for number, line in enumerate(read_lines(path), 1):
        sure: set[Link] = set()
        possible: set[Link] = set()
        for token in line.split():
            link = _LINK.fullmatch(token)
            if not link:
                raise InputError(f"{_where(path, number)}: {token!r} is neither 'i-j' nor 'i?j'")
            possible.add((int(link[1]), int(link[3])))
            if link[2] == "-":
                sure.add((int(link[1]), int(link[3])))
        sentences.append((sure, possible))
    return sentences
