"""The standard streams of a program: UTF-8 whatever the locale, and nothing lost in them.

Python's own lose what a file or pipe does not take at once where they are unbuffered (python -u,
PYTHONUNBUFFERED), fail where they do not block, cannot write what the locale does not have, and
where one is closed, the next file that is opened gets its number.
"""

import codecs
import io
import os
import select
import sys
from typing import Any, TextIO

_NAMES = ("standard input", "standard output", "standard error")


def renew_streams() -> None:
    """Put such streams in the place of the interpreter's.

    Closed ones become nothing in files: what is said is dropped, but standard input and output stay
    None, for those to see who need them.
    """
    codecs.register_error("weam_ext", _as_given)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stdin is not None and sys.stdin is sys.__stdin__:
        sys.stdin = _text(io.BufferedReader(_Stream(0)))
    if sys.stdout is not None and sys.stdout is sys.__stdout__:
        sys.stdout = _text(io.BufferedWriter(_Stream(1)))
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(io.BufferedWriter(_Messages(2)), line_buffering=True)


def finish_output() -> None:
    """Have the system take what was written; raises `OSError` where it does not."""
    if sys.stdout is not None:
        sys.stdout.flush()
        os.close(os.dup(1))  # a disk behind a network may tell only now that it is full


def abandon_output() -> None:
    """Drop what is still in the buffer and could not be written; the end would try it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Stream(io.FileIO):
    """A standard stream, which waits where one that does not block has no data or no room."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb" if number else "rb", closefd=False)

    def readinto(self, buffer: Any, /) -> int:
        while (count := super().readinto(buffer)) is None:
            self._wait(select.POLLIN)
        return count

    def write(self, data: Any, /) -> int:
        try:
            while (count := super().write(data)) is None:
                self._wait(select.POLLOUT)
            return count
        except OSError as error:
            error.filename = _NAMES[self.fileno()]
            raise

    def _wait(self, event: int) -> None:
        poll = select.poll()
        poll.register(self, event)
        poll.poll()


class _Messages(_Stream):
    """Standard error: where nobody can be told, as of a full disk, the results are no worse."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError:
            return len(data)


def _text(buffer: Any, line_buffering: bool = False) -> TextIO:
    lines = line_buffering or buffer.isatty()
    return io.TextIOWrapper(buffer, "utf-8", "weam_ext", newline="\n", line_buffering=lines)


def _as_given(error: UnicodeError) -> tuple[str | bytes, int]:
    """Of a file's name that is no text, its bytes; of what no bytes stand for, the number."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
