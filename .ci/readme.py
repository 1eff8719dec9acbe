"""Runs every command of the README, of docs/ and of the benchmarks' docstrings, but for a few.

    python .ci/readme.py [FILE ...]

A command is a line of a fenced block of `sh`, a code span that begins with a program's name and
has arguments, and, of a docstring, an indented line that does. Blocks of `python` are run as well.
They are run one after the other in one folder, which has small files under the names that they use
(readme_inputs.py), as written, but for what RULES says: a command that nothing there knows is run,
and so a new one cannot be forgotten. What becomes the same command is run once.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from readme_inputs import make_workspace

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = r"(?:python|torchrun|pytest|pip|make|weam-align|weam-atools) "
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(rf"`({PROGRAM}[^`]+)`")
INDENTED = re.compile(rf"^    {PROGRAM}(?:.*\\\n)*.*$", re.MULTILINE)
SECONDS = 300


class Rule(NamedTuple):
    """What becomes of the commands that match: text for `re.sub`, or None: they are not run."""

    pattern: str
    becomes: str | None
    why: str


RULES = (
    Rule(r"^pip install ", None, "what is tried was installed so"),
    Rule(r"^pytest -n ", None, ".ci/run does"),
    Rule(r"^make ", None, "minutes to hours"),
    Rule(r"^torchrun ", None, "eight GPUs; tests/train/test_parallel.py has two processes"),
    Rule("--benchmark-only", "--benchmark-disable", "brief"),
    Rule(r"^python -m weam_ext\.align$", r"\g<0> --help", "the name alone"),
    Rule(r"^python -m weam_ext\.train(?!.*--bitext)", r"\g<0> --builtin-pairs 60", "brief"),
    Rule(r"^python -m weam_ext\.train.*", r"\g<0> --steps 2 --heldout 8", "brief"),
    Rule(r"^.*weam_ext\.train.* --output (\S+).*", r"rm -rf \1; \g<0>", "another was there"),
    Rule(
        r"^python -m weam_ext\.transfer .*",
        r"\g<0> --seeds 1 --epochs 1 --train-limit 6 --select-limit 6 --test-limit 100",
        "brief",
    ),
    Rule(
        r"^(python recipes/study\.py .*) --size small(.*)",
        r"\1\2 --size smoke --objectives weam --languages en de",
        "brief",
    ),
    Rule(
        r"^python benchmarks/compare_aligners\.py(?!.*--table).*",
        "python benchmarks/compare_aligners.py --data DIR --pairs 10 --repeat 1 --threads 1 "
        "--output compared.json",
        "brief, no peers",
    ),
    Rule(
        r"^python benchmarks/gold_sets\.py(?!.*--table).*",
        "python benchmarks/gold_sets.py --data DIR --output sets.json",
        "brief, no peers",
    ),
    Rule(r"^python benchmarks/compare_objectives\.py ", None, "eight trainings, over a minute"),
    Rule(r"^python benchmarks/encoder_alignment\.py ", None, "real sets, many minutes"),
    Rule(r"^python benchmarks/encoder_peers\.py (?!--table)", None, "real sets, many minutes"),
    Rule(r"^python benchmarks/peer_", None, "other programs' Pythons run these"),
    Rule(r"^python benchmarks/precision\.py (?!--table)", None, "nine trainings, many minutes"),
    Rule(r"^python benchmarks/gpu\.py(?!.*--table).*", None, "tests/test_gpu_benchmark.py does"),
)


class Command(NamedTuple):
    language: str
    """sh or python"""
    text: str


# ------------------------------------------------------------------------------------- extraction


def documents() -> list[Path]:
    """Where commands are written."""
    benchmarks = sorted((ROOT / "benchmarks").glob("*.py"))
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *benchmarks]


def commands(path: Path) -> list[Command]:
    """Those of a file, in its order, each once."""
    text = path.read_text("utf-8")
    found = in_docstring(text) if path.suffix == ".py" else in_markdown(text)
    return list(dict.fromkeys(found))


def in_markdown(text: str) -> Iterator[Command]:
    found = [(match.start(), match[1], match[2]) for match in FENCE.finditer(text)]
    prose = FENCE.sub(lambda match: " " * len(match[0]), text)
    found += [(match.start(), "sh", " ".join(match[1].split())) for match in SPAN.finditer(prose)]
    for _, language, block in sorted(found):
        if language == "sh":
            yield from lines(block)
        elif language == "python":
            yield Command("python", block)


def in_docstring(text: str) -> Iterator[Command]:
    for match in INDENTED.finditer(ast.get_docstring(ast.parse(text)) or ""):
        yield from lines(match[0])


def lines(block: str) -> Iterator[Command]:
    """The commands of a shell's text: joined where a line goes on, cut at `&&`."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        for part in line.split(" && "):
            if part.strip() and not part.strip().startswith("#"):
                yield Command("sh", part.strip())


# ---------------------------------------------------------------------------------------- running


def to_run(command: Command) -> tuple[Command | None, str]:
    """What is run for a command, if anything, and why that is not what is written."""
    reasons = []
    text = command.text
    for rule in RULES if command.language == "sh" else ():
        if not re.search(rule.pattern, text):
            continue
        reasons.append(rule.why)
        if rule.becomes is None:
            return None, rule.why
        text = re.sub(rule.pattern, rule.becomes, text)
    return Command(command.language, text), "; ".join(dict.fromkeys(reasons))


def call(command: Command, folder: Path) -> str:
    """Run it without standard input; what it said last, if it failed."""
    shell = command.language == "sh"
    program = ["bash", "-ec"] if shell else [sys.executable, "-c"]
    environment = {name: value for name, value in os.environ.items() if name != "WEAM_DATA"}
    try:
        done = subprocess.run(
            [*program, command.text],
            cwd=folder,
            env=environment | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {SECONDS} s"
    return done.stdout[-3000:] if done.returncode else ""


def run_document(path: Path, folder: Path, done: set[Command]) -> list[str]:
    """Run a file's commands in a folder, less those that are `done`; what failed."""
    where, failed = path.relative_to(ROOT), []
    for command in commands(path):
        running, why = to_run(command)
        shown = f"{where}: {brief(running or command)}{f' ({why})' if why else ''}"
        if running is None:
            print(f" not run  {shown}", flush=True)
        elif running not in done:
            done.add(running)
            begun = time.monotonic()
            said = call(running, folder)
            took = "FAILED" if said else f"{time.monotonic() - begun:.1f} s"
            print(f"{took:>8}  {shown}", flush=True)
            failed += [f"\n{where}: {running.text}\n{said}"] if said else []
    return failed


def brief(command: Command) -> str:
    return " ".join(command.text.split())[:120]


def main(arguments: Sequence[str]) -> int:
    paths = [Path(argument).resolve() for argument in arguments] or documents()
    done: set[Command] = set()
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_workspace(folder)
        for path in paths:
            failed += run_document(path, folder, done)
    print("\n".join(failed) if failed else f"{len(done)} commands did what they say")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
