"""`python -m weam_ext.align` as a user runs it: what it writes, and what it says when it cannot."""

import gzip
import lzma
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from weam_ext.align import HEURISTICS, Aligner, score
from weam_ext.invented import sentence_pairs

PAIRS = sentence_pairs("toku", 60)
SOURCE, TARGET = [pair.source for pair in PAIRS], [pair.target for pair in PAIRS]
TEXT = "".join(f"{pair.source} ||| {pair.target}\n" for pair in PAIRS)
FLAGS = ["-d", "-o", "-v"]

Write = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, data: str | bytes) -> str:
        (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return name

    return write


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the program in a folder of its own, with the buffers that users have."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONUNBUFFERED", None)

    def command(*arguments: str, **streams: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "weam_ext.align", *arguments],
            cwd=tmp_path,
            env=environment,
            text=True,
            encoding="utf-8",
            stdin=streams.get("stdin", subprocess.DEVNULL),
            stdout=streams.get("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
        )

    return command


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def align(command: Callable[..., subprocess.Popen[str]]) -> Run:
    """Standard output and error of a run that must succeed."""

    def align(*arguments: str, text: str = "") -> tuple[str, str]:
        process = command(*arguments, stdin=subprocess.PIPE)
        output, errors = process.communicate(text)
        assert process.returncode == 0, errors
        return output, errors

    return align


@pytest.fixture
def refuse(command: Callable[..., subprocess.Popen[str]]) -> Callable[..., str]:
    """The one sentence of a run that must fail; nothing else is written anywhere."""

    def refuse(*arguments: str, **streams: Any) -> str:
        process = command(*arguments, **streams)
        output, errors = process.communicate()
        assert process.returncode == 2
        assert not output
        assert errors.startswith("weam_ext.align: error: ")
        assert errors.endswith("\n")
        assert errors.count("\n") == 1
        return errors.removeprefix("weam_ext.align: error: ").removesuffix("\n")

    return refuse


def expected(heuristic: str, *, limit: int = len(PAIRS), **settings: Any) -> str:
    links = Aligner(heuristic=heuristic, **settings).fit_align(SOURCE[:limit], TARGET[:limit])
    return links.to_pharaoh(by_target=heuristic == "forward")


# ------------------------------------------------------------------------------- output


def test_forward_with_the_letters_of_fast_align(align: Run, write: Write) -> None:
    output, errors = align("-i", write("text", TEXT), *FLAGS)
    assert output == expected("forward")
    lines = errors.splitlines()
    assert len(lines) == 6
    for number, line in enumerate(lines[:5], 1):
        assert re.match(rf"forward +iteration {number}  log likelihood -\d.*tension \d", line)
    assert lines[5] == "dropped pairs: 0 with an empty side, 0 over-long"


def test_reverse(align: Run, write: Write) -> None:
    output, errors = align("-i", write("text", TEXT), *FLAGS, "-r", "--threads", "2")
    assert output == expected("backward")
    assert errors.startswith("backward  iteration 1  ")


@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_symmetrize(align: Run, write: Write, heuristic: str) -> None:
    output, errors = align("-i", write("text", TEXT), *FLAGS, "--symmetrize", heuristic)
    assert output == expected(heuristic)
    assert re.findall(r"^\w+", errors, re.MULTILINE) == ["forward"] * 5 + ["backward"] * 5 + [
        "dropped"
    ]


def test_model_flags(align: Run, write: Write) -> None:
    """Without letters, model 1; a tension favours the diagonal."""
    text = write("text", TEXT)
    plain: dict[str, Any] = {
        "favor_diagonal": False,
        "optimize_tension": False,
        "variational_bayes": False,
    }
    assert align("-i", text)[0] == expected("forward", **plain)
    some = {**plain, "null_word": False, "iterations": 3}
    assert align("-i", text, "-N", "-I", "3")[0] == expected("forward", **some)
    some = {"optimize_tension": False, "tension": 7.0, "p0": 0.2, "alpha": 0.3}
    flags = ["-T", "7", "-q", ".2", "-v", "-a", "0.3"]
    assert align("-i", text, *flags)[0] == expected("forward", **some)


def test_gold(align: Run, write: Write) -> None:
    """Scores the last lines; every second true link is only a possible one here."""
    tail = PAIRS[-20:]
    rows = [
        " ".join(f"{i}{'-?'[n % 2]}{j}" for n, (i, j) in enumerate(pair.links)) for pair in tail
    ]
    gold = [(set(pair.links[::2]), set(pair.links)) for pair in tail]
    name = write("gold", "".join(f"{row}\n" for row in rows))
    flags = [*FLAGS, "--symmetrize", "intersect", "--gold", name]
    output, errors = align("-i", write("text", TEXT), *flags)
    assert output == expected("intersect")
    links = list(Aligner(heuristic="intersect").fit_align(SOURCE, TARGET))[-20:]
    assert errors.splitlines()[-1] == f"20 gold pairs: {score(links, gold)}"
    assert re.search(r"precision 0\.\d{4}  recall 0\.\d{4}  AER 0\.\d{4}$", errors)


# ------------------------------------------------------------------------------- input


def lines(side: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in side)


def test_two_files(align: Run, write: Write) -> None:
    names = write("source", lzma.compress(lines(SOURCE).encode())), write("target", lines(TARGET))
    assert align("-i", *names, *FLAGS)[0] == expected("forward")


def test_columns(align: Run, write: Write) -> None:
    rows = "".join(f"{k}\t{f}\t{e}\n" for k, (e, f) in enumerate(zip(SOURCE, TARGET, strict=True)))
    text = write("text.tsv.zst", zstandard.ZstdCompressor().compress(rows.encode()))
    assert align("-i", text, "--columns", "3,2", *FLAGS)[0] == expected("forward")


def test_standard_input_and_limit(align: Run) -> None:
    output, _ = align("-i", "-", "--limit", "25", *FLAGS, text=TEXT + "not read")
    assert output == expected("forward", limit=25)


def test_lowercase(align: Run, write: Write) -> None:
    text = write("text.gz", gzip.compress(TEXT.title().replace(" ||| ", " ||| É").encode()))
    lower = write("lower", TEXT.replace(" ||| ", " ||| é"))
    assert align("-i", text, "--lowercase", *FLAGS)[0] == align("-i", lower, *FLAGS)[0]


def test_line_k_of_the_output_is_line_k_of_the_input(align: Run, write: Write) -> None:
    """Whatever is on it: nothing, one empty side, or far too many words."""
    rows = TEXT.splitlines()
    gaps = {0: "", 5: "|||", 6: "a |||", 20: "||| b", 30: "a " * 100_000 + "||| b", 63: "b ||| a\t"}
    for at, row in gaps.items():
        rows.insert(at, row)
    output, errors = align("-i", write("text", lines(rows)), *FLAGS)
    kept = [row for k, row in enumerate(output.split("\n")) if k not in gaps]
    assert "\n".join(kept) == expected("forward")
    assert errors.splitlines()[-1] == "dropped pairs: 5 with an empty side, 1 over-long"


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"a ||| b\na b\n", "text, line 2: no '|||' and no tab between source and target"),
        (b"a ||| b\n\n\xe9t\xe9 ||| c\n", "text, line 3: invalid UTF-8 (byte 0xe9 at column 1)"),
        (b"a\tb\nc\t", None),
        (b"a\n", "text, line 1: no '|||' and no tab between source and target"),
        (b"", "text: no sentence pair to learn from: 0 with an empty side, 0 over-long"),
        (
            b"\n|||\na |||\n" + b"a " * 1001 + b"||| b",
            "text: no sentence pair to learn from: 3 with an empty side, 1 over-long",
        ),
        (gzip.compress(b"a ||| b\n")[:-4], "text: the gzip data ends too early (a truncated file)"),
    ],
    ids=["no bars", "not UTF-8", "good", "first line", "empty", "nothing to learn", "truncated"],
)
def test_bad_text(
    align: Run, refuse: Callable[..., str], write: Write, data: bytes, fault: str | None
) -> None:
    write("text", data)
    if fault:
        assert refuse("-i", "text", *FLAGS) == fault
    else:
        assert align("-i", "text", *FLAGS)[0] == "0-0\n\n"


def test_bad_files(refuse: Callable[..., str], write: Write) -> None:
    text, two, three = write("text", TEXT), write("two", "a\nb\n"), write("three", "c\nd\ne\n")
    assert refuse("-i", "none") == "none: No such file or directory"
    assert refuse("-i", two, three) == "two has 2 lines but three has 3"
    assert refuse("-i", text, two, three) == "bitext 'input': one or two files, not 3"
    gold = write("gold", "0-0 1?1\n1-2 x\n")
    fault = "gold, line 2: 'x' is neither 'i-j' nor 'i?j'"
    assert refuse("-i", text, "--gold", gold) == fault
    gold = write("gold", "0-0\n" * 61)
    assert refuse("-i", text, "--gold", gold) == "gold has 61 lines, the input only 60"


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (["--columns", "2"], "--columns 2: expected two numbers such as 1,2"),
        (["--columns", "a,b"], "--columns a,b: expected two numbers such as 1,2"),
        (["--columns", "0,1"], "bitext 'input': columns count from 1, not (0, 1)"),
        (["--threads", "0"], "threads must be at least 1"),
        (["--limit", "0"], "bitext 'input': a limit of 0 pairs leaves nothing"),
        (["-T", "0"], "tension must be above 0 and at most 14"),
        (["-a", "nan"], "alpha must be above 0 and finite"),
        (["-r", "--symmetrize", "union"], "--symmetrize trains both directions: leave out -r"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_flags(refuse: Callable[..., str], write: Write, flags: list[str], fault: str) -> None:
    assert refuse("-i", write("text", TEXT), *flags) == fault


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(refuse: Callable[..., str], write: Write) -> None:
    with Path("/dev/full").open("w") as full:
        assert "No space left on device" in refuse("-i", write("text", TEXT), *FLAGS, stdout=full)


def test_a_reader_that_leaves(command: Callable[..., subprocess.Popen[str]], write: Write) -> None:
    """As after `| head -1`: more than a pipe holds is written to nobody."""
    process = command("-i", write("text", TEXT * 200), *FLAGS, "-I", "1")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == -signal.SIGPIPE


def test_control_c(command: Callable[..., subprocess.Popen[str]]) -> None:
    process = command("-i", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("a ||| b\n" * 100_000)  # it is reading by the time that this much is taken
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "")
    assert process.returncode == -signal.SIGINT
