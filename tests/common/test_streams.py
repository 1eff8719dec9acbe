"""What programs write arrives whole, or they say so: whatever the streams, Python and the locale.

Each runs as a user's script starts it, with PYTHONUNBUFFERED set, as in many containers, and not.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import runs
from helpers import ROOT

from weam_ext.text.toy_corpus import sentence_pairs

PAIRS = sentence_pairs("toku", 300)
TEXT = "".join(f"{pair.source} ||| {pair.target}\n" for pair in PAIRS)
LINKS = "0-0 1-1 2-2\n"
LEGACY = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

Shell = Callable[..., "subprocess.CompletedProcess[bytes]"]
Start = Callable[..., "subprocess.Popen[bytes]"]


both = pytest.mark.parametrize("environment", ["buffered", "unbuffered"], indirect=True)


@pytest.fixture
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "python"), os.environ.get("PYTHONPATH", "")]
    made = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    made.pop("PYTHONUNBUFFERED", None)
    return made | (
        {"PYTHONUNBUFFERED": "1"} if getattr(request, "param", "") == "unbuffered" else {}
    )


@pytest.fixture
def shell(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs a line of bash; `weam NAME` is `python -m weam_ext.NAME`."""
    monkeypatch.chdir(tmp_path)
    define = f'weam() {{ {shlex.quote(sys.executable)} -m weam_ext."$@"; }}; '

    def shell(line: str, **variables: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            ["bash", "-c", define + line],
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    return shell


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a program beside the test."""
    monkeypatch.chdir(tmp_path)

    def start(*command: str, **streams: Any) -> "subprocess.Popen[bytes]":
        line = [sys.executable, *command]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | streams
        return subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL, **streams)

    return start


def program(tmp_path: Path, body: str) -> str:
    """A program of one's own that is run as ours are."""
    begin = "import os\nfrom weam_ext.common.errors import *\n"
    code = f"{begin}def main():\n    {body}\nrun('mine', main)"
    path = tmp_path / "mine.py"
    path.write_text(code)
    return str(path)


# ------------------------------------------------------------------------------------ full disks


@both
def test_a_limit_on_the_size_of_files(shell: Shell) -> None:
    Path("links").write_text(LINKS * 200_000)
    done = shell("ulimit -f 100; weam align.atools -c convert -i links > out")
    assert done.stderr == b"weam_ext.align.atools: error: standard output: File too large\n"
    assert done.returncode == 2


@pytest.mark.parametrize("flag", ["-d -p", "-d --lexicon", "--model hmm --pair-scores"])
def test_the_file_that_found_no_room_is_named(shell: Shell, flag: str) -> None:
    Path("text").write_text(TEXT * 2)
    done = shell(f"ulimit -f 1; weam align -i text {flag} out > /dev/null")
    error = done.stderr.decode().splitlines()[-1]
    assert error.startswith("weam_ext.align: error: out")
    assert error.endswith(": cannot be written: File too large")
    assert done.returncode == 2
    assert [path.name for path in Path().iterdir()] == ["text"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command",
    [
        "align.atools -c convert -i links",
        "align.atools -c fmeasure -i links -j links",
        "align -i text",
        "align -i text --model hmm --posteriors",
        "align -i text -f table",
        "text.toy_corpus --language toku",
        "align --help",
        "train --help",
    ],
)
@both
def test_a_full_disk(shell: Shell, command: str) -> None:
    Path("links").write_text(LINKS)
    Path("text").write_text(TEXT)
    Path("table").write_text("a\tb\t-1\n")
    done = shell(f"weam {command} > /dev/full")
    fault = f"weam_ext.{command.split()[0]}: error: standard output: No space left on device"
    assert done.stderr.decode().splitlines()[-1] == fault
    assert done.returncode == 2


@both
def test_a_disk_that_is_found_full_when_the_file_is_closed(tmp_path: Path, start: Start) -> None:
    """As those of other machines."""
    fail = "def fail(number): raise OSError(28, 'No space left on device')"
    body = f"exec({fail!r}, globals()); os.close = fail; results().write('links')"
    assert start(program(tmp_path, body)).wait() == 2


@both
def test_messages_that_find_no_room_cost_no_results(shell: Shell) -> None:
    Path("text").write_text(TEXT)
    expected = shell("weam align -i text").stdout
    assert expected.count(b"\n") == len(PAIRS)
    for nowhere in ("2>/dev/full", "2>&-"):
        done = shell(f"weam align -i text {nowhere}")
        assert (done.returncode, done.stdout) == (0, expected)
        assert shell(f"weam align -i none {nowhere}").returncode == 2


# --------------------------------------------------------------------------------- slow readers


@both
def test_a_slow_reader_and_a_pause(start: Start) -> None:
    """A write that a signal interrupts when a part has gone out is a short one."""
    Path("text").write_text(TEXT * 134)
    with Path("expected").open("wb") as whole:
        assert start("-m", "weam_ext.align", "-i", "text", "-I", "2", stdout=whole).wait() == 0
    process = start("-m", "weam_ext.align", "-i", "text", "-I", "2")
    assert process.stdout is not None
    found = process.stdout.read(1000)
    for _ in range(10):
        time.sleep(0.02)  # until the pipe is full again
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)
        found += process.stdout.read(1 << 17)
    found += process.stdout.read()
    assert process.wait() == 0
    assert found.count(b"\n") == 40_200
    assert found == Path("expected").read_bytes()


@both
def test_pipes_that_do_not_block_are_waited_for(start: Start) -> None:
    """As after another program that shares them has asked for that."""
    text = (LINKS * 40_000).encode()
    from_us, to_it = os.pipe()
    from_it, to_us = os.pipe()
    for end in (from_us, to_us):
        os.set_blocking(end, False)
    command = ("-m", "weam_ext.align.atools", "-c", "convert", "-i", "-")
    process = start(*command, stdin=from_us, stdout=to_us)
    os.close(from_us)
    os.close(to_us)
    with os.fdopen(to_it, "wb") as given:
        time.sleep(2)  # it has started, and there is nothing yet
        given.write(text)
    with os.fdopen(from_it, "rb") as taken:
        time.sleep(1)  # the pipe is full
        assert taken.read() == text
    assert process.wait() == 0


# ---------------------------------------------------------------------------- the same file twice


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("align -i text --lexicon text", "--lexicon text and -i text are the same file"),
        ("align -i - --lexicon text < text", "--lexicon text and -i - are the same file"),
        ("align -i text --lexicon ./link", "--lexicon ./link and -i text are the same file"),
        ("align -i text --lexicon new -p ./new", "--lexicon new and -p ./new are the same file"),
        ("align -i text --lexicon new > new",
         "--lexicon new and standard output are the same file"),
        ("align -i text -f table >> text", "standard output and -i text are the same file"),
        ("align -i text --model hmm --prior table --pair-scores table",
         "--pair-scores table and --prior table are the same file"),
        ("align --source text --target two --symmetrize union --lexicon lex --gold lex.s2t",
         "--lexicon lex.s2t and --gold lex.s2t are the same file"),
        ("align -i - --gold - < text", "-i - and --gold -: standard input can be only one of them"),
        ("align -i text --lexicon -",
         "--lexicon -: standard output is for the links (a file is ./-)"),
        ("align.atools -c convert -i text >> text",
         "standard output and -i text are the same file"),
        ("align.atools -c union -i text -j - <two >> two",
         "standard output and -j - are the same file"),
    ],
)  # fmt: skip
def test_no_file_is_written_over_another(shell: Shell, command: str, fault: str) -> None:
    files = {"text": TEXT, "table": "a\tb\t-1\n", "two": "0-0\n"}
    for name, text in files.items():
        Path(name).write_text(text)
    Path("link").symlink_to("text")
    done = shell(f"weam {command}")
    assert done.stderr.decode() == f"weam_ext.{command.split()[0]}: error: {fault}\n"
    assert done.returncode == 2
    assert {name: Path(name).read_text() for name in files} == files


def test_files_that_may_be_the_same(shell: Shell) -> None:
    """What is read twice, devices, and a file that is called as standard input is."""
    Path("text").write_text("0-0 1-1\n")
    for command in (
        "align --source text --target text > /dev/null -p /dev/null --lexicon /dev/null",
        "align --source - --target text --lexicon ./- < text",
        "align.atools -c union -i text -j text >> new",
    ):
        assert shell(f"weam {command}").returncode == 0
    assert Path("-").read_text().startswith("0-0 0-0 0.5")


# --------------------------------------------------------------------------------------- locales


@both
def test_text_is_utf8_in_any_locale(shell: Shell) -> None:
    Path("text").write_text("das Höflein ||| ταβέρνα\n")
    Path("table").write_text("das\tταβέρνα\t-1\n")
    for variables in ({}, LEGACY):
        done = shell("weam align -i text -f table", **variables)
        assert done.stdout.decode().startswith("das Höflein ||| ταβέρνα ||| 0-0 ||| -")
        assert done.returncode == 0
        done = shell("weam align -i text -p out", **variables)
        assert "Höflein\tταβέρνα\t" in Path("out").read_text()


@both
def test_names_of_files_are_told_as_they_were_given(shell: Shell) -> None:
    """Also those that are no text, which the shell writes as $'...'."""
    for variables in ({}, LEGACY):
        for name, given in (("Höflein", "Höflein".encode()), (r"$'\xff'", b"\xff")):
            done = shell(f"weam align -i {name}", **variables)
            fault = b"weam_ext.align: error: %s: No such file or directory\n" % given
            assert (done.returncode, done.stderr) == (2, fault)


def test_all_files_of_an_aligner_may_have_any_name(shell: Shell) -> None:
    Path("text").write_text(TEXT)
    Path("ö").mkdir()
    files = "--save ö/ä --lexicon ö/ü --temp-dir ö --max-memory 40M"
    done = shell(f"weam align -i text --model hmm {files}", **LEGACY)
    assert done.returncode == 0
    assert sorted(path.name for path in Path("ö").iterdir()) == ["ä", "ü.s2t", "ü.t2s"]
    assert shell("weam align -i text --model ö/ä", **LEGACY).stdout == done.stdout


def test_libraries_that_take_no_such_names_are_a_sentence(shell: Shell, tmp_path: Path) -> None:
    runs.write_inputs(tmp_path)
    done = shell("weam prepare --bitext toku.txt --tokenizer vocab.txt --output ö", **LEGACY)
    assert (
        done.stderr.decode()
        .splitlines()[-1]
        .endswith(": such a name needs a UTF-8 locale (or PYTHONUTF8=1)")
    )
    assert done.returncode == 2


# -------------------------------------------------------------------------------- closed streams


@pytest.mark.parametrize(
    "command", ["align -i -", "align.atools -c convert -i -", "align -i - -f table"]
)
@both
def test_closed_standard_input(shell: Shell, command: str) -> None:
    Path("table").write_text("a\tb\t-1\n")
    done = shell(f"weam {command} <&-")
    fault = "standard input is closed: there is nothing to read"
    assert done.stderr.decode() == f"weam_ext.{command.split()[0]}: error: {fault}\n"
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    "command",
    [
        "align -i text --lexicon lex",
        "align.atools -c convert -i -",
        "text.toy_corpus --language toku",
    ],
)
@both
def test_closed_standard_output(shell: Shell, command: str) -> None:
    """Said before there is any work, and no file is opened in its place."""
    Path("text").write_text(TEXT)
    done = shell(f"weam {command} >&-")
    fault = "standard output is closed: there is nowhere to write the results"
    assert done.stderr.decode() == f"weam_ext.{command.split()[0]}: error: {fault}\n"
    assert done.returncode == 2
    assert [path.name for path in Path().iterdir()] == ["text"]


def test_no_stream_at_all(shell: Shell, tmp_path: Path) -> None:
    """Results that go elsewhere are made, and nothing that is said gets into their files."""
    flags = shlex.join(runs.flags(runs.write_inputs(tmp_path), Path("run"), steps=2))
    assert shell(f"weam train {flags} <&- >&- 2>&-").returncode == 0
    assert len(runs.contents(Path("run"))) > 3
    assert shell("weam report none <&- >&- 2>&-").returncode == 2


def test_files_do_not_take_the_numbers_of_closed_streams(start: Start, tmp_path: Path) -> None:
    body = "os._exit(os.open(os.devnull, os.O_RDONLY))"
    assert start(program(tmp_path, body), close_fds=True).wait() > 2
    line = ["bash", "-c", f"{sys.executable} {program(tmp_path, body)} <&- >&- 2>&-"]
    assert subprocess.run(line, check=False).returncode > 2


# ---------------------------------------------------------------------------------------- memory


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.parametrize("megabytes", (120, 150, 180, 220, 260))
@pytest.mark.parametrize("flags", ["--model hmm", "-d -o -v --symmetrize union --posteriors"])
def test_memory_that_runs_out(shell: Shell, megabytes: int, flags: str) -> None:
    """Wherever that is: in Python, in the aligner, in one of its threads, or for a thread."""
    pairs = (f"w{k % 15_000} {s}" for k, s in enumerate(TEXT.splitlines() * 100))
    Path("text").write_text("".join(f"{pair} v{k % 14_000}\n" for k, pair in enumerate(pairs)))
    done = shell(f"ulimit -v {megabytes}000; weam align -i text {flags} --threads 2")
    if done.returncode:
        error = done.stderr.decode().splitlines()[-1]
        assert error.startswith("weam_ext.align: error: there is too little memory")
        assert done.returncode == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("MemoryError()", "there is too little memory"),
        ("RuntimeError('CUDA out of memory. Tried')", "there is too little memory (CUDA out of"),
        ('RuntimeError("can\'t start new thread")', "there is too little memory (can't start"),
        ("__import__('pyarrow').lib.ArrowMemoryError('malloc')", "there is too little memory (mal"),
        ("OSError(12, 'Cannot allocate memory')", "Cannot allocate memory"),
    ],
)
def test_names_of_memory_that_runs_out(tmp_path: Path, error: str, told: str) -> None:
    line = [sys.executable, program(tmp_path, f"raise {error}")]
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(line, env=os.environ | {"PYTHONPATH": paths}, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.stderr.startswith(f"mine: error: {told}")
    assert done.returncode == 2


# ------------------------------------------------------------------------------------ every program


def test_every_program_is_run_in_this_way() -> None:
    """Also those beside the package, but for peers' shims, which another Python runs without it."""
    programs = [
        path
        for folder in ("weam_ext", "recipes", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if '\nif __name__ == "__main__"' in (text := path.read_text("utf-8"))
        and not text.startswith('"""Run one program and write what it took')
        and not path.name.startswith("peer_")
    ]
    assert len(programs) > 12
    for path in programs:
        end = path.read_text("utf-8").rpartition('__name__ == "__main__"')[2]
        assert "run(" in end or "script()" in end, path
