"""The command line of preparing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from prepared_texts import corpus, write

from weam_ext.common.errors import InputError
from weam_ext.prepare.cli import main
from weam_ext.prepare.settings import PrepareSettings


def test_command_line(tmp_path: Path, vocab: str, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = corpus("toku", 60)
    (tmp_path / "tabs.tsv").write_text("".join(f"x\t{b}\t{a}\n" for a, b in pairs))
    out = tmp_path / "deep" / "out"
    main(["--bitext", f"toku={tmp_path / 'tabs.tsv'}", "--columns", "3,2", "--limit", "50",
          "--tokenizer", vocab, "--output", str(out), "--overlong", "truncate", "--lowercase",
          "--max-length", "50", "--words", "blanks", "--heuristic", "union", "--heldout", "3",
          "--seed", "5"])  # fmt: skip
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert printed.err.startswith("toku: 50 sentence pairs read, 2 empty, ")
    description = json.loads((out / "prepared.json").read_bytes())
    assert PrepareSettings(**description["settings"]) == PrepareSettings(
        words="blanks", lowercase=True, heuristic="union", max_length=50, overlong="truncate",
        heldout=3, seed=5,
    )  # fmt: skip
    (bitext,) = description["corpora"]
    assert (bitext["columns"], bitext["limit"], bitext["counts"]["heldout"]) == ([3, 2], 50, 3)


def test_command_line_refuses(tmp_path: Path, vocab: str) -> None:
    good = str(tmp_path / "good.txt")
    write(Path(good), [("a", "b")])
    out = str(tmp_path / "out")
    for arguments, fault in [
        (["--bitext", good], "--bitext or --monolingual, and --tokenizer are needed"),
        (["--tokenizer", vocab], "--bitext or --monolingual, and --tokenizer are needed"),
        (["--bitext", "/no/such", "--tokenizer", vocab], "/no/such: No such file or directory"),
        (["--bitext", good, "--tokenizer", "/no/such"], "/no/such: no such file or directory"),
        (["--bitext", good, "--bitext", good, "--tokenizer", vocab], "two texts are called"),
        (
            ["--bitext", good, "--tokenizer", vocab, "--max-length", "3"],
            "--max-length must be at least 8",
        ),
    ]:
        with pytest.raises(InputError) as error:
            main([*arguments, "--output", out])
        assert str(error.value).startswith(fault)
    assert not Path(out).exists()


def test_exit_status(tmp_path: Path, vocab: str) -> None:
    (tmp_path / "bad.txt").write_bytes(b"a ||| b\na b\n")
    done = subprocess.run(
        [sys.executable, "-m", "weam_ext.prepare", "--bitext", "bad.txt", "--tokenizer", vocab,
         "--output", "out"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    fault = "no '|||' between source and target, unlike the lines before it"
    assert done.stderr == f"weam_ext.prepare: error: bad.txt, line 2: {fault}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "vocab.txt"]
