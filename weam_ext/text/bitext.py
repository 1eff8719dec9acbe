"""Parallel text in, sentence pairs out, streaming; and word links as Pharaoh files write them.

A text file is UTF-8, plain or compressed (gzip, xz, bzip2, Zstandard, told apart by their first
bytes); "-" is standard input. Lines end at a line feed and nowhere else, so that line k here is
line k of every other tool, whatever Unicode separators a sentence holds. A blank is a space or a
tab, as in fast_align.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, starmap, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from weam_ext import _native
from weam_ext.common.errors import InputError
from weam_ext.common.files import expanded
from weam_ext.text.lines import (
    _BLANKS,
    Item,
    _blocks,
    line_blocks,
    lists_of_lines,
    read_lines,
    shown,
    where,
)

_PAIRS_AT_ONCE = 4096
_FILE_SUFFIXES = {".gz", ".xz", ".bz2", ".zst", ".txt", ".tsv"}
_PAIR_OF_LANGUAGES = re.compile(r"(?:^|[^a-z])([a-z]{2,3})-([a-z]{2,3})$")
_LANGUAGE = re.compile(r"(?:^|[^a-z])([a-z]{2,3})$")


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


class NumberedWords(NamedTuple):
    """One side of a bitext, its words numbered: what an aligner reads without splitting anything.

    vocabulary: UTF-8, the words in the order of their numbers, each on a line of its own.
    offsets: int64 [sentences + 1], where the words of each sentence begin in `numbers`.
    numbers: int32 [words], of all sentences.
    """

    vocabulary: bytes
    offsets: NDArray[np.int64]
    numbers: NDArray[np.int32]


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
    for lines in lists_of_lines(source.paths[0]):
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
    """Splits the lines of one file in two, as the aligner's own reader does."""

    def __init__(self, source: BitextSource) -> None:
        (self._path,) = source.paths
        self._columns = source.columns and (source.columns[0] - 1, source.columns[1] - 1)
        self._tabs: bool | None = None  # not known before the first line with words

    def __call__(self, number: int, line: str) -> tuple[str, str]:
        try:
            source, target, self._tabs = _native.split_line(line, self._columns, self._tabs)
        except _native.LineError as error:
            raise InputError(f"{where(self._path, number)}: {error.args[2]}") from None
        return source, target


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
        raise InputError(f"{where(source.paths[number], line)}: {fault}") from None
    except _native.UnequalLines as error:
        left, right = map(shown, source.paths)
        raise InputError(
            f"{left} has {error.args[0]} lines but {right} has {error.args[1]}"
        ) from None


def _lower_case_lines(path: str) -> Iterator[bytes]:
    """A file's text in blocks of whole lines; bytes that are not UTF-8 stay, to be told of."""
    for block in line_blocks(path):
        yield block.decode(errors="surrogateescape").lower().encode(errors="surrogateescape")
