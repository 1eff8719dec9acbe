"""weam_ext.align.atools against what the original atools wrote, and as a user runs it."""

import gzip
import io
import json
import lzma
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import FAST_ALIGN, ROOT

from weam_ext import InputError
from weam_ext.align import atools
from weam_ext.align.links import HEURISTICS, Links, symmetrize

RECORDED: dict[str, str] = json.loads((FAST_ALIGN / "atools.json").read_text())
ONE_FILE = ("convert", "display", "invert")
TWO_FILES = (*HEURISTICS, "fmeasure")

Write = Callable[[str, str | bytes], str]
Run = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def write(name: str, data: str | bytes) -> str:
        Path(name).write_bytes(data.encode() if isinstance(data, str) else data)
        return name

    return write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Standard output; nothing may be said besides."""

    def run(*arguments: str, text: bytes = b"") -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        capsys.readouterr()
        atools.main(arguments)
        output, errors = capsys.readouterr()
        assert not errors
        return output

    return run


@pytest.fixture(params=[1 << 22, 7], ids=["one block", "many blocks"])
def in_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in blocks of a line or two, of other lines in either file."""
    monkeypatch.setattr(atools, "_BLOCK", request.param)
    monkeypatch.setattr("weam_ext.text.lines._BLOCK", request.param)


# ------------------------------------------------------------------------------- like the original


@pytest.mark.usefixtures("in_blocks")
@pytest.mark.parametrize("command", [*ONE_FILE, *TWO_FILES])
def test_writes_what_atools_writes(run: Run, write: Write, command: str) -> None:
    files = ["-i", write("one", RECORDED["input_1"]), "-j", write("two", RECORDED["input_2"])]
    count = 2 if command in ONE_FILE else 4
    for threads in ("1", "3"):
        output = run("-c", command, *files[:count], "--threads", threads)
        assert output == RECORDED[command]


@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_combines_directions_like_atools(run: Run, heuristic: str) -> None:
    files = [str(FAST_ALIGN / f"toku.{name}.xz") for name in ("forward", "reverse", heuristic)]
    output = run("--command", heuristic, "--input_1", files[0], "--input_2", files[1])
    assert output.encode() == lzma.decompress(Path(files[2]).read_bytes())


@pytest.mark.parametrize("command", [*ONE_FILE, *HEURISTICS])
def test_no_lines_and_empty_lines(run: Run, write: Write, command: str) -> None:
    """What the original writes for them is one empty line each, after an empty grid."""
    for text, count in ((b"", 0), (b"\n", 1), (b"\n\n", 2), (b"\r\n \t", 2)):
        files = ["-i", write("one", text), "-j", write("two", text)]
        expected = " 0\n0.0\n 0\n\n\n" if command == "display" else "\n"
        assert run("-c", command, *files[: 2 if command in ONE_FILE else 4]) == expected * count


def test_a_last_line_without_its_end_counts_once(run: Run, write: Write) -> None:
    """The original takes it twice."""
    text = RECORDED["input_1"].removesuffix("\n")
    assert run("-c", "convert", "-i", write("one", text)) == RECORDED["convert"]


# ------------------------------------------------------------------------------- input


def test_compressed_files_and_standard_input(run: Run, write: Write) -> None:
    one, two = RECORDED["input_1"].encode(), RECORDED["input_2"].encode()
    packed = write("two.gz", gzip.compress(two))
    assert run("-c", "union", "-i", "-", "-j", packed, text=one) == RECORDED["union"]
    assert run("-c", "union", "-i", write("one", one), "-j", "-", text=two) == RECORDED["union"]


@pytest.mark.usefixtures("in_blocks")
def test_probabilities_are_kept_where_links_are(run: Run, write: Write) -> None:
    one = write("one", "\n1-0:0.25 0-3:1\n\n0-0:.5 0-0:.75\n")
    expected = "\n0-3:1.0000 1-0:0.2500\n\n0-0:0.5000\n"
    assert run("-c", "convert", "-i", one) == expected
    assert run("-c", "invert", "-i", one) == "\n0-1:0.2500 3-0:1.0000\n\n0-0:0.5000\n"
    assert run("-c", "union", "-i", one, "-j", write("two", "\n\n1-1\n\n")) == (
        "\n0-3 1-0\n1-1\n0-0\n"
    )
    some = write("some", "\n1-0:0.25\n\n0-0 0-1\n")
    fault = "^some, line 4: '0-0' has no probability, but the links before it have one$"
    with pytest.raises(InputError, match=fault):
        run("-c", "convert", "-i", some)


@pytest.mark.parametrize(
    ("line", "links"),
    [
        ("0-0 ||| -12.5", "0-0"),  # fast_align -s
        ("||| -0.5", ""),
        ("0-0 1-1 ||| -12.5 -7", "0-0 1-1"),  # of both directions
        ("||| nan nan", ""),
        ("0-0 1-1 ||| 2", "0-0 1-1"),
        ("0-0 ||| -inf", "0-0"),
        ("a b ||| c ||| 1-0 ||| -1e+02", "1-0"),  # its forced alignment
        ("a b ||| c ||| ||| -3", ""),
        ("a b\t|||\tc |||", ""),
        ("|||", ""),
        ("0-0 ||| 1-1", "1-1"),  # the last field, as atools takes it
        ("0-0 ||| 1-1:.5", "1-1:0.5000"),
    ],
)
def test_fields(run: Run, write: Write, line: str, links: str) -> None:
    assert run("-c", "convert", "-i", write("one", f"{line}\n{line}")) == f"{links}\n" * 2


@pytest.mark.parametrize(
    ("line", "token"),
    [
        ("a b ||| c", "c"),
        ("a b ||| 7", "a"),
        ("0-0 ||| -1.5 x", "-1.5"),
        ("0-0 ||| -1.5 -2.5 -3.5", "-1.5"),
        ("0-0|||1-1", "0-0|||1-1"),
        ("0-0 |||| 1-1", "||||"),
        ("- -", "-"),  # a link 0-0 to the original
        ("0-0,1-1", "0-0,1-1"),
    ],
)
def test_fields_that_are_no_links(run: Run, write: Write, line: str, token: str) -> None:
    text = f"{RECORDED['convert']}0-0\n{line}\n"
    number = text.count("\n")
    fault = f"one, line {number}: '{token}' is not a link 'i-j'"
    with pytest.raises(InputError, match=f"^{re.escape(fault)}$"):
        run("-c", "convert", "-i", write("one", text))


# ------------------------------------------------------------------------------- refusals


@pytest.mark.usefixtures("in_blocks")
@pytest.mark.parametrize("command", TWO_FILES)
def test_files_of_different_lengths(run: Run, write: Write, command: str) -> None:
    short, long = write("short", "0-0\n" * 30), write("long", "1-1 2-2 3-3\n" * 47)
    for one, other, counts in ((short, long, (30, 47)), (long, short, (47, 30))):
        fault = f"^{one} has {counts[0]} lines but {other} has {counts[1]}$"
        with pytest.raises(InputError, match=fault):
            run("-c", command, "-i", one, "-j", other)
    with pytest.raises(InputError, match=r"^short has 30 lines but standard input has 0$"):
        run("-c", command, "-i", short, "-j", "-")


def test_flags(run: Run, write: Write) -> None:
    one = write("one", "0-0\n")
    for flags, fault in (
        (["-c", "union", "-i", one], "union takes two files: -j is missing"),
        (["-c", "fmeasure", "-i", one], "fmeasure takes two files: -j is missing"),
        (["-c", "invert", "-i", one, "-j", one], "invert takes one file: leave out -j"),
        (
            ["-c", "union", "-i", "-", "-j", "-"],
            "-i - and -j -: standard input can be only one of them",
        ),
        (["-c", "refine", "-i", one], "argument -c/--command: invalid choice: 'refine'"),
        (["-c", "convert", "-i", "none"], "none: No such file or directory"),
        (["-c", "convert", "-i", one, "--threads", "0"], "threads must be at least 1"),
        (["-c", "convert"], "the following arguments are required: -i/--input_1"),
        (["--comm", "convert", "-i", one], "the following arguments are required: -c/--command"),
    ):
        with pytest.raises(InputError) as caught:
            run(*flags)
        assert str(caught.value).startswith(fault)


def test_nothing_to_measure(run: Run, write: Write) -> None:
    some, none = write("some", "0-0\n\n"), write("none", "\n\n")
    for one, other in ((some, none), (none, some), (none, none)):
        with pytest.raises(InputError, match=r"^none has no links, so that there is nothing to"):
            run("-c", "fmeasure", "-i", one, "-j", other)
    apart = write("apart", "1-0\n\n")
    assert run("-c", "fmeasure", "-i", some, "-j", apart) == "P: 0\nR: 0\nF: 0\n"
    assert run("-c", "fmeasure", "-i", some, "-j", some) == "P: 1\nR: 1\nF: 1\n"


def test_a_grid_that_no_one_could_look_at(run: Run, write: Write) -> None:
    text = "0-0\n\n2147483647-2147483647\n"
    with pytest.raises(InputError, match=r"^one, line 3: 2147483648 by 2147483648 words"):
        run("-c", "display", "-i", write("one", text))
    assert run("-c", "convert", "-i", "one") == text


# ------------------------------------------------------------------------------- as a program


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.Popen(
        [sys.executable, "-m", "weam_ext.align.atools", *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_exit_status(write: Write) -> None:
    one = write("one", RECORDED["input_1"])
    with start("-c", "invert", "-i", one) as process:
        assert process.communicate() == (RECORDED["invert"], "")
        assert process.returncode == 0
    with start("-c", "invert", "-i", write("bad", "0-0\nx\n")) as process:
        fault = "weam_ext.align.atools: error: bad, line 2: 'x' is not a link 'i-j'\n"
        assert process.communicate() == ("", fault)
        assert process.returncode == 2


def test_a_reader_that_leaves(write: Write) -> None:
    with start("-c", "convert", "-i", write("one", "0-0 1-1\n" * 100_000)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == -signal.SIGPIPE


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """A block takes some 50 MB with all that is made of it, the longer file over 500 MB."""
    peaks = []
    for lines in (700_000, 3_500_000):
        (tmp_path / "links").write_bytes(b"0-0 1-1 2-2 3-3\n" * lines)
        code = (
            "import re, sys; from pathlib import Path; from weam_ext.align import atools;"
            f"atools.main(['-c', 'union', '-i', '{tmp_path}/links', '-j', '{tmp_path}/links',"
            " '--threads', '2']); status = Path('/proc/self/status').read_text();"
            "print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1], file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.count("\n") == lines
        peaks.append(int(done.stderr) / 1024)
    assert peaks[1] < peaks[0] + 40


def test_the_library_says_the_same() -> None:
    one, two = (Links.from_pharaoh(RECORDED[name]) for name in ("convert", "union"))
    assert one.inverted().to_pharaoh() == RECORDED["invert"]
    assert symmetrize(one, two, "intersect") == one
    assert symmetrize(one, two, "union") == two
