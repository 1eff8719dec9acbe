"""Combine, invert, show and compare files of word links: fast_align's `atools`.

    weam-atools -c grow-diag-final-and -i forward.links -j backward.links > both.links

Files stream through: memory does not grow with their length. Where a line is right, standard output
is the original's, but for a last line without its line feed, which the original takes twice, and
for an F-measure of nothing in common, 0 and not NaN. Lines may also have tabs between links, and
probabilities behind them, "0-0:0.9312", which convert and invert keep.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import NoReturn

from weam_ext import _native
from weam_ext.align.links import HEURISTICS, Links, symmetrize
from weam_ext.common.errors import InputError, Parser, results, run
from weam_ext.common.files import check_apart, path_or_name
from weam_ext.common.memory import thread_count
from weam_ext.text.lines import line_blocks, shown
from weam_ext.text.pharaoh import Link, format_links

_BLOCK = 1 << 22  # bytes of text that are parsed at once: enough work for many threads
_MOST_CELLS = 1 << 26  # of a sentence pair that is displayed


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "weam_ext.align.atools",
        "Combine, invert, show or compare word links, one line '0-0 1-2' for each sentence pair. "
        "A line may also be 'source ||| target ||| links', with or without a score or two, "
        "'||| score', behind.",
    )
    parser.add_argument(
        "-c",
        "--command",
        required=True,
        choices=("convert", "display", "invert", *HEURISTICS, "fmeasure"),
        metavar="COMMAND",
        help="of one file: convert (sort, drop repeats), display (as grids), invert (exchange "
        f"source and target); of two: {', '.join(HEURISTICS)}, fmeasure (the second file is the "
        "reference)",
    )
    parser.add_argument(
        "-i",
        "--input_1",
        required=True,
        type=path_or_name,
        metavar="FILE",
        help="plain, gzip, xz, bzip2 or Zstandard; - for standard input",
    )
    parser.add_argument(
        "-j",
        "--input_2",
        type=path_or_name,
        metavar="FILE",
        help="the second file, where one is due",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="default: all processors")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    results()  # are what this is for
    command, first, second = options.command, options.input_1, options.input_2
    files = {"-i": first, "-j": second}
    check_apart({f"{flag} {path}": path for flag, path in files.items() if path is not None}, {})
    threads = thread_count(options.threads)
    if command in ("convert", "display", "invert"):
        if second is not None:
            raise InputError(f"{command} takes one file: leave out -j")
        _one_file(command, first, threads)
        return
    if second is None:
        raise InputError(f"{command} takes two files: -j is missing")
    if command == "fmeasure":
        _fmeasure(first, second, threads)
        return
    for one, other in _two_files(first, second, threads):
        links = symmetrize(one, other, command, threads=threads)
        results().write(links.to_pharaoh(threads=threads))


def script() -> NoReturn:
    """The program `weam-atools`."""
    run("weam_ext.align.atools", main)


# -------------------------------------------------------------------------------------- commands


def _one_file(command: str, path: str, threads: int) -> None:
    line = 1
    for links in _read(path, threads):
        if command == "display":
            for number, row in enumerate(links, line):
                results().write(f"{_grid(row, path, number)}\n{format_links(row)}\n")
        else:
            result = links.inverted() if command == "invert" else links
            known = result.probability is not None
            results().write(result.to_pharaoh(probabilities=known, threads=threads))
        line += len(links)


def _grid(row: list[Link], path: str, line: int) -> str:
    """A line for each source word, a column for each target word, within their last digits."""
    rows = 1 + max((i for i, _ in row), default=0)
    columns = 1 + max((j for _, j in row), default=0)
    if rows * columns > _MOST_CELLS:
        raise InputError(f"{shown(path)}, line {line}: {rows} by {columns} words are no display")
    grid = bytearray(b"." * (rows * columns))
    for i, j in row:
        grid[i * columns + j] = ord("*")
    text = grid.decode("ascii")
    edge = f" {''.join(str(j % 10) for j in range(columns))}\n"
    lines = (f"{i % 10}{text[i * columns : (i + 1) * columns]}{i % 10}\n" for i in range(rows))
    return f"{edge}{''.join(lines)}{edge}"


def _fmeasure(first: str, second: str, threads: int) -> None:
    found = reference = both = 0
    for one, other in _two_files(first, second, threads):
        found += len(one.pairs)
        reference += len(other.pairs)
        both += len(symmetrize(one, other, "intersect", threads=threads).pairs)
    for path, links in ((first, found), (second, reference)):
        if not links:
            raise InputError(f"{shown(path)} has no links, so that there is nothing to measure")
    precision, recall = both / found, both / reference
    measure = 2 * precision * recall / (precision + recall) if both else 0.0
    results().write(f"P: {precision:g}\nR: {recall:g}\nF: {measure:g}\n")


# --------------------------------------------------------------------------------------- reading


def _two_files(first: str, second: str, threads: int) -> Iterator[tuple[Links, Links]]:
    """The same lines of both files, block by block."""
    left, right = _read(first, threads), _read(second, threads)
    one = other = Links([0], [])
    done = 0
    while (one := one or next(left, one)) and (other := other or next(right, other)):
        size = min(len(one), len(other))
        yield one.part(0, size), other.part(0, size)
        one, other = one.part(size, len(one)), other.part(size, len(other))
        done += size
    lines = [done + len(rest) + sum(map(len, more)) for rest, more in ((one, left), (other, right))]
    if lines[0] != lines[1]:
        raise InputError(f"{shown(first)} has {lines[0]} lines but {shown(second)} has {lines[1]}")


def _read(path: str, threads: int) -> Iterator[Links]:
    line, probabilities = 1, None
    for text in _larger(line_blocks(path)):
        try:
            arrays = _native.parse_pharaoh(text, line, probabilities, True, threads)
        except _native.LineError as error:
            _, number, fault = error.args
            raise InputError(f"{shown(path)}, line {number}: {fault}") from None
        links = Links(*arrays)
        if len(links.pairs):
            probabilities = links.probability is not None
        line += len(links)
        yield links


def _larger(blocks: Iterator[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for block in blocks:
        held.append(block)
        size += len(block)
        if size >= _BLOCK:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


if __name__ == "__main__":
    script()
