"""Frozen encoders and the grid: the protocol, the numbers, what is kept and refused."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transfer_files import LAYERS, flags, one_by_one
from weam_ref.retrieval import retrieval_accuracy

from weam_ext.common.errors import InputError
from weam_ext.text.toy_corpus import sentence_pairs
from weam_ext.transfer import cli, read_all
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.frozen.retrieval import METHODS, retrieval_pairs

# ------------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def scores(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("scores")
    cli.main(flags(inputs, output, "toku", "venn"))
    return output


def test_the_predictions(inputs: Path, scores: Path) -> None:
    rows = read_all(scores)
    assert len(rows) == 3 * 2 * (LAYERS + 1) * 2 * len(METHODS)
    keys = {(r.directory, r.language, r.layer, r.vectors, r.method) for r in rows}
    assert len(keys) == len(rows)
    (row,) = (
        r for r in rows
        if (r.language, r.layer, r.vectors, r.method) == ("venn", 1, "centred", "cosine")
        and r.directory == str((inputs / "a").resolve())
    )  # fmt: skip
    assert (row.cell.model, row.cell.setting, row.facts["layers"]) == ("first", "frozen", LAYERS)
    invented = sentence_pairs("venn", 30, seed=1)
    pairs = retrieval_pairs("venn", [(pair.source, pair.target) for pair in invented])
    encoder = Encoder(inputs / "a", 64, "cpu", "fp32")
    sides = [[one_by_one(encoder, pair[k])[1].tolist() for pair in pairs.pairs] for k in (0, 1)]
    forward, backward = retrieval_accuracy(*sides, centred=True)
    part, whole = row.metrics["accuracy"]
    assert part.sum() / whole.sum() == pytest.approx((forward + backward) / 2)
    # Any table can be made again: what was found is there.
    found = [text.split() for text in row.predictions]
    assert sum(int(a) == k for k, (a, _) in enumerate(found)) / len(found) == forward


def test_what_is_there_is_not_computed_again(
    inputs: Path, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    output = shutil.copytree(scores, tmp_path / "scores")
    before = {path.name: path.read_bytes() for path in (output / "cells").iterdir()}
    cli.main(flags(inputs, output, "toku", "venn"))
    assert "0 made, 3 there already" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (output / "cells").iterdir()} == before
    # One is lost: that one is made again, to the same bytes.
    lost = next((output / "cells").glob("*first*.arrow"))
    lost.unlink()
    cli.main(flags(inputs, output, "toku", "venn"))
    assert "1 made, 2 there already" in capsys.readouterr().err
    assert lost.read_bytes() == before[lost.name]
    cli.main(flags(inputs, output, "toku", "orlu"))
    assert "3 made" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- the grid


def test_what_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    wrong = ["--models", "m=a", "--data", "/", "--output", str(tmp_path), "--tasks"]
    with pytest.raises(InputError, match=r"needs accelerate: pip install 'weam-ext\[transfer\]'"):
        cli.main([*wrong, "xnli"])
    with pytest.raises(InputError, match="needs seqeval"):
        cli.main([*wrong, "udpos-probe"])


def test_the_command_line(inputs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "weam_ext.transfer"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--settings" in done.stdout
    wrong = flags(inputs, tmp_path / "out", models=(f"m={tmp_path / 'none'}",))
    done = subprocess.run(
        [*command, *wrong, "--bitext", str(inputs / "toku.txt")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "1 of 1 cells failed" in done.stderr.splitlines()[-1]
