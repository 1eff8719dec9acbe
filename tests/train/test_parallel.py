"""Several processes do what one does: step by step, and where one goes on from the other."""

import json
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import command, contents, environment, flags, log, logged, start_and_signal, write_inputs
from safetensors.torch import load
from small_tokenizers import tokenizer

from weam_ext.common.errors import InputError
from weam_ext.data.collate import Collator, Layout
from weam_ext.data.shards import open_prepared
from weam_ext.prepare.pipeline import prepare
from weam_ext.prepare.settings import PrepareSettings
from weam_ext.text.bitext import BitextSource
from weam_ext.train import loop as train
from weam_ext.train.build import check_share, run_order
from weam_ext.train.checkpoint import checkpoints
from weam_ext.train.parallel import MODES

DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = DROPOUT | {"num_hidden_layers": 2}
    return write_inputs(tmp_path_factory.mktemp("inputs"), **changes)


def arguments(inputs: Path, run: Path, **changes: Any) -> list[str]:
    """With two batches a step, of an odd size, and text that is no bitext among them."""
    mixed = {"monolingual": inputs / "alone.txt", "accumulate": 2, "batch_size": 7, "keep": 9}
    return flags(inputs, run, **{**mixed, "steps": 6, "exchange_head": "separate", **changes})


DRIVER = """
import json, sys
from torch import distributed
from weam_ext.train import loop as train

init = distributed.init_process_group
distributed.init_process_group = lambda *given, **named: (
    None if distributed.is_initialized() else init(*given, **named)
)
leave, train.Ranks.__exit__ = train.Ranks.__exit__, lambda *_: None
for arguments in json.loads(sys.argv[1]):
    train.main(arguments)
leave(train.Ranks(world=2))
"""


def launch(*runs: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs one after the other in the same two processes, whose start takes longest."""
    (directory / "driver.py").write_text(DRIVER)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *torchrun, str(directory / "driver.py"), json.dumps(runs)],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def one(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("one") / "run"
    train.main(arguments(inputs, run))
    return run


@pytest.fixture(scope="module")
def two(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("two")
    runs = {mode: directory / mode for mode in MODES}
    done = launch(
        *(arguments(inputs, run, parallel=mode) for mode, run in runs.items()), directory=directory
    )
    # Only one of them speaks.
    assert done.stdout.splitlines() == [str(checkpoints(run)[-1]) for run in runs.values()]
    assert done.stderr.count("step 3/6") == 2
    assert done.stderr.count("on cpu in 2 processes") == 2
    return runs


def assert_same_run(found: Path, expected: Path) -> None:
    """Every loss and accuracy, and the last weights and moments, but for the order of sums."""
    ours, theirs = log(found), log(expected)
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert our.keys() == their.keys()
        for key, value in their.items():
            assert our[key] == pytest.approx(value, rel=2e-5, abs=1e-6), (their["step"], key)
    ends = contents(found), contents(expected)
    assert ends[0].keys() == ends[1].keys()
    for name in ("model.safetensors", "optimizer.safetensors", "objective.safetensors"):
        tensors, wanted = load(ends[0][name]), load(ends[1][name])
        assert tensors.keys() == wanted.keys()
        for key, tensor in wanted.items():
            torch.testing.assert_close(tensors[key], tensor, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("mode", MODES)
def test_two_processes_equal_one(one: Path, two: dict[str, Path], mode: str) -> None:
    assert_same_run(two[mode], one)
    counts = [record["masked"] for record in logged(one, "train")]
    assert counts == [record["masked"] for record in logged(two[mode], "train")]


def test_bfloat16_weights_in_two_processes(inputs: Path, tmp_path: Path) -> None:
    """One rounds the gradients that are added up, the other does not."""
    given = {"precision": "bf16", "steps": 4, "save_every": 4}
    train.main(arguments(inputs, tmp_path / "one", **given))
    launch(
        *(arguments(inputs, tmp_path / mode, parallel=mode, **given) for mode in MODES),
        directory=tmp_path,
    )
    expected = [means["loss"] for means in logged(tmp_path / "one", "train")]
    for mode in MODES:
        found = [means["loss"] for means in logged(tmp_path / mode, "train")]
        assert found == pytest.approx(expected, rel=1e-3)
        tensors = load(contents(tmp_path / mode)["model.safetensors"])
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def cut_back(whole: Path, copy: Path, step: int) -> Path:
    """A copy of a run as it was when the checkpoint of a step was its last."""
    shutil.copytree(whole, copy, symlinks=True)
    for path in checkpoints(copy):
        if int(path.name[5:]) > step:
            shutil.rmtree(path)
    return copy


@pytest.mark.parametrize("mode", MODES)
def test_one_process_goes_on_from_two(
    inputs: Path, one: Path, two: dict[str, Path], tmp_path: Path, mode: str
) -> None:
    run = cut_back(two[mode], tmp_path / "run", 2)
    train.main(arguments(inputs, run))
    assert_same_run(run, one)


def test_two_processes_go_on_from_one_and_from_two(
    inputs: Path, one: Path, two: dict[str, Path], tmp_path: Path
) -> None:
    back = {mode: cut_back(one, tmp_path / f"back-{mode}", 4) for mode in MODES}
    same = {mode: cut_back(two[mode], tmp_path / f"same-{mode}", 2) for mode in MODES}
    runs = [(mode, run) for kind in (back, same) for mode, run in kind.items()]
    launch(*(arguments(inputs, run, parallel=mode) for mode, run in runs), directory=tmp_path)
    for mode in MODES:
        assert_same_run(back[mode], one)
        # The same number of processes: the same bytes.
        assert contents(same[mode]) == contents(two[mode])
        assert log(same[mode]) == log(two[mode])


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_a_signal_stops_all_processes(inputs: Path, one: Path, tmp_path: Path, mode: str) -> None:
    run = tmp_path / "run"
    given = arguments(inputs, run, parallel=mode, save_every=100)
    assert start_and_signal(given, run, 2, signal.SIGTERM, processes=2) != 0
    assert checkpoints(run)[-1].name == "step-00000003"
    done = subprocess.run(command(given, processes=2), env=environment(), stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    found, whole = logged(run, "train"), logged(one, "train")
    assert [m["loss"] for m in found] == pytest.approx([m["loss"] for m in whole], rel=2e-5)


@pytest.mark.long
def test_word_aligned_in_two_processes(inputs: Path, tmp_path: Path) -> None:
    changes = {"objective": "word-aligned", "monolingual": None, "batch_size": 8}
    train.main(arguments(inputs, tmp_path / "one", **changes))
    runs = [arguments(inputs, tmp_path / mode, parallel=mode, **changes) for mode in MODES]
    launch(*runs, directory=tmp_path)
    for mode, kind in product(MODES, ("train", "heldout/all")):
        found, expected = logged(tmp_path / mode, kind), logged(tmp_path / "one", kind)
        assert [m["loss"] for m in found] == pytest.approx([m["loss"] for m in expected], rel=1e-4)


def test_too_few_for_every_process(inputs: Path, tmp_path: Path) -> None:
    family = tokenizer("WordPiece")
    source = BitextSource("toku", (str(inputs / "toku.txt"),))
    prepare([source], family, tmp_path / "out", PrepareSettings(heldout=2))
    shards = open_prepared(tmp_path / "out")[1]["train"]
    collate = Collator(family, Layout())
    given = {"temperature": 1.0, "monolingual_share": 0.5, "seed": 0}
    few = Namespace(**given, batch_size=2, batch_tokens=None)
    check_share(few, 2)
    with pytest.raises(InputError, match="--batch-size must be at least 3 for 3 processes"):
        check_share(few, 3)
    short = Namespace(**given, batch_size=8, batch_tokens=60)
    run_order(short, shards, collate, 1)
    with pytest.raises(InputError, match=r"--batch-tokens must be at least \d+ for 3 proc"):
        run_order(short, shards, collate, 3)
