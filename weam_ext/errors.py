"""What users are told: the one error they see, as a sentence and an exit status, and messages."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn


class InputError(ValueError):
    """Something the user gave cannot be used: one sentence, with its file and line if any."""


class Parser(argparse.ArgumentParser):
    """A command line without abbreviations, whose errors are one sentence without the usage."""

    def __init__(self, module: str, description: str | None) -> None:
        program = f"python {module}" if module.endswith(".py") else f"python -m {module}"
        super().__init__(program, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see --help)")


def run(program: str, main: Callable[[], None]) -> NoReturn:
    """Run a command line: `InputError` and `OSError` become one sentence and exit status 2.

    A reader that closes the pipe ends the program as SIGPIPE would, an interrupt as SIGINT would.
    """
    try:
        main()
        sys.stdout.flush()
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            _die_of("SIGPIPE")
        print(f"{program}: error: {describe(error)}", file=sys.stderr)
        _abandon_stdout()
        sys.exit(2)
    except KeyboardInterrupt:
        _die_of("SIGINT")
    sys.exit(0)


def say(line: str) -> None:
    """Tell the user something; standard output is for results."""
    print(line, file=sys.stderr, flush=True)


def describe(error: Exception) -> str:
    """One line for an error; an `OSError` without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


def _abandon_stdout() -> None:
    # What a full disk refused is still in the buffer; the interpreter would try it again on exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _die_of(name: str) -> NoReturn:
    _abandon_stdout()
    number = getattr(signal, name, None)
    if number is None:
        sys.exit(1)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)
