"""What users are told: one sentence, an exit status, and nothing of ours."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from runs import environment

from weam_ext.common.errors import InputError, Parser, describe, is_out_of_memory, results, say


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("a  b\n  c"), "a b c"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
         "x: No such file or directory"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("odd"), "odd"),
        (MemoryError(), "there is too little memory"),
        (MemoryError("std::bad_alloc"), "there is too little memory"),
        (RuntimeError("CUDA out of memory. Tried\n2 GiB"),
         "there is too little memory (CUDA out of memory. Tried 2 GiB)"),
    ],
)  # fmt: skip
def test_an_error_is_one_line(error: Exception, told: str) -> None:
    assert describe(error) == told


def test_memory_runs_out_under_many_names() -> None:
    for told in ("out of memory", "can't allocate memory", "can't start new thread"):
        assert is_out_of_memory(RuntimeError(told)) and is_out_of_memory(OSError(told))
        assert not is_out_of_memory(ValueError(told))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("index out of range"))


def test_a_command_line_has_no_abbreviations() -> None:
    parser = Parser("weam_ext.mine", "What it does.")
    parser.add_argument("--number", type=int)
    assert parser.prog == "python -m weam_ext.mine"
    assert Parser("recipes/x.py", None).prog == "python recipes/x.py"
    assert parser.parse_args(["--number", "3"]).number == 3
    for wrong, told in (
        (["--num", "3"], "unrecognized arguments: --num 3 (see --help)"),
        (["--number", "x"], "argument --number: invalid int value: 'x' (see --help)"),
    ):
        with pytest.raises(InputError) as error:
            parser.parse_args(wrong)
        assert str(error.value) == told


def test_what_is_told_where_streams_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    say("nobody hears it")
    assert results() is sys.stdout
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(InputError, match="standard output is closed"):
        results()


@pytest.mark.parametrize(
    ("body", "status", "out", "err"),
    [
        ("print('all')", 0, "all\n", ""),
        ("print('some'); raise InputError('x, line 3:\\n no')", 2, "some\n",
         "mine: error: x, line 3: no\n"),
        ("raise SystemExit(7)", 7, "", ""),
    ],
)  # fmt: skip
def test_how_a_program_ends(body: str, status: int, out: str, err: str, tmp_path: Path) -> None:
    program = tmp_path / "mine.py"
    program.write_text(
        f"from weam_ext.common.errors import *\ndef main():\n    {body}\nrun('mine', main)"
    )
    done = subprocess.run(
        [sys.executable, str(program)], env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, out, err)


def test_a_fault_of_ours_is_no_sentence() -> None:
    code = "from weam_ext.common.errors import run\ndef main(): return {}['x']\nrun('mine', main)"
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1 and "KeyError: 'x'" in done.stderr
