"""What users are told: the one error they see, as a sentence and an exit status, and messages."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TextIO

from weam_ext.common.streams import abandon_output, finish_output, renew_streams

# Of torch, of the system for a thread, and for a library that is loaded late.
_NO_MEMORY = ("out of memory", "allocate memory", "start new thread", "failed to map segment")


class InputError(ValueError):
    """Something the user gave cannot be used: one sentence, with its file and line if any."""


class Parser(argparse.ArgumentParser):
    """A command line without abbreviations, whose errors are one sentence without the usage."""

    def __init__(self, module: str, description: str | None) -> None:
        program = f"python {module}" if module.endswith(".py") else f"python -m {module}"
        super().__init__(program, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see --help)")

    def print_help(self, file: Any = None) -> None:
        # argparse's own passes over a failed write, which a help text larger than the buffer makes.
        print(self.format_help(), end="", file=file)


def run(program: str, main: Callable[[], None]) -> NoReturn:
    """Run a command line: `InputError`, `OSError` and memory that runs out become one sentence.

    The exit status is then 2. A reader that closes the pipe ends the program as SIGPIPE would, an
    interrupt as SIGINT would. The standard streams are those of `weam_ext.common.streams`.
    """
    renew_streams()
    ending: BaseException = SystemExit(0)
    try:
        try:
            main()
        except SystemExit as early:  # of --help, or of a signal that let a step finish
            ending = early
        finish_output()
    except BrokenPipeError:
        _die_of("SIGPIPE")
    except KeyboardInterrupt:
        _die_of("SIGINT")
    except Exception as error:
        if not _is_told(error):
            raise
        error.with_traceback(None)  # lets go of the memory that its frames hold
        with suppress(OSError):
            finish_output()  # what came before the fault
        say(f"{program}: error: {describe(error)}")
        abandon_output()
        sys.exit(2)
    raise ending


def results() -> TextIO:
    """Standard output, of a program whose results go there; `InputError` where it is closed."""
    if sys.stdout is None:
        raise InputError("standard output is closed: there is nowhere to write the results")
    return sys.stdout


def say(line: str) -> None:
    """Tell the user something; standard output is for results."""
    if sys.stderr is not None:  # print(file=None) would be standard output
        print(line, file=sys.stderr, flush=True)


def describe(error: Exception) -> str:
    """One line for an error; an `OSError` without its number."""
    if isinstance(error, UnicodeEncodeError) and not _names_are_utf8():
        return f"{error.object}: such a name needs a UTF-8 locale (or PYTHONUTF8=1)"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    sentence = " ".join(str(error).split())
    if not is_out_of_memory(error):
        return sentence
    detail = sentence.removeprefix("std::bad_alloc")
    return "there is too little memory" + (f" ({detail})" if detail else "")


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, by whatever name a library has for it."""
    told = isinstance(error, RuntimeError | OSError | ImportError) and any(
        words in str(error) for words in _NO_MEMORY
    )
    return told or isinstance(error, MemoryError)


def _is_told(error: Exception) -> bool:
    """Whether a sentence says what a user can do about it; else it is a fault of ours."""
    is_name = isinstance(error, UnicodeEncodeError) and not _names_are_utf8()
    return isinstance(error, InputError | OSError) or is_out_of_memory(error) or is_name


def _names_are_utf8() -> bool:
    """Whether this locale's names of files are what libraries take."""
    return sys.getfilesystemencoding() == "utf-8"


def _die_of(name: str) -> NoReturn:
    abandon_output()
    number = getattr(signal, name, None)
    if number is None:
        sys.exit(1)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)
