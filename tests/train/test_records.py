"""What a run says of itself: its log, its bar, and boards elsewhere."""

import json
import resource
import signal
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from runs import STEPS, flags, log, stopped_and_resumed

from weam_ext.common.errors import InputError
from weam_ext.train import loop as train
from weam_ext.train.records import LOG, Log, Records, memory
from weam_ext.train.throughput import Speed


def test_a_log_that_the_disk_has_no_room_for(tmp_path: Path) -> None:
    """What was written of a line is not what the next one begins with."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    written = Log(tmp_path, 0)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
        with pytest.raises(InputError, match=r"log\.jsonl: cannot be written \(File too large"):
            for step in range(1, 100):
                written.write({"step": step, "x": "y" * 20})
        assert step == 3  # the first of which a part did not fit
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.signal(signal.SIGXFSZ, handler)
    written.close()
    Log(tmp_path, 2).close()
    assert [record["step"] for record in log(tmp_path)] == [1, 2]


def test_wandb(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--wandb needs Weights & Biases: pip install wandb"):
        train.main(flags(inputs, tmp_path / "run", wandb="project"))
    assert not (tmp_path / "run").exists()  # told before the work, not after it

    opened: list[dict[str, Any]] = []
    shown: list[tuple[int, str]] = []
    library: Any = ModuleType("wandb")
    library.__spec__ = ModuleSpec("wandb", None)

    def init(**settings: Any) -> Any:
        opened.append(settings)
        return SimpleNamespace(
            log=lambda values, step: shown.extend((step, name) for name in values),
            finish=lambda: shown.append((-1, "finish")),
        )

    library.init = init
    monkeypatch.setitem(sys.modules, "wandb", library)
    stopped_and_resumed(inputs, tmp_path / "run", monkeypatch, wandb="project")
    first, second = opened
    assert first == second
    assert first["id"] and first["resume"] == "allow"
    assert (first["project"], first["name"]) == ("project", "run")
    assert first["config"]["steps"] == STEPS
    assert {(0, "heldout/toku/loss"), (1, "train/loss"), (8, "speed/padding")} <= set(shown)
    assert shown.count((-1, "finish")) == 2
    assert shown.count((5, "train/loss")) == 1


def test_on_a_terminal_a_bar(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    train.main(flags(inputs, tmp_path / "run", steps=4))
    said = capsys.readouterr().err
    assert "4/4" in said and "\r" in said
    assert "step 1/4" not in said
    assert "held out after step 4, toku: loss" in said
    assert said.count("\n") < 25


def test_a_board_that_the_disk_has_no_room_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """TensorBoard writes in a thread, whose error comes with a later figure."""
    (tmp_path / "run").mkdir()
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with (
            pytest.raises(InputError, match=r"run/tensorboard: cannot be written \(File too larg"),
            Records(tmp_path / "run", 0, 9000, tensorboard=True) as records,
        ):
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, most))
            for step in range(9000):
                records._show("train/loss", 1.0, step)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        signal.signal(signal.SIGXFSZ, handler)
    assert "Traceback" not in capfd.readouterr().err


def test_a_log_goes_on_after_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [b'{"step": 1}', b'{"step": 2, "x": Infinity}', b"[" * 99999, b'{"step": 2.5}', b"7",
             b'{"step": 2}', b'{"step": 3}', b'{"step": 2, "torn']  # fmt: skip
    (tmp_path / LOG).write_bytes(b"\n".join(lines))
    Log(tmp_path, 2).close()
    assert (tmp_path / LOG).read_bytes() == b'{"step": 1}\n{"step": 2}\n'
    told = capsys.readouterr().err.splitlines()
    assert told == [f"{tmp_path / LOG}, line {k}: damaged, left out" for k in (2, 3, 4, 5)]
    Log(tmp_path, 0).close()  # of a run that begins
    assert (tmp_path / LOG).read_bytes() == b""


def test_what_is_no_number_is_no_record(tmp_path: Path) -> None:
    written = Log(tmp_path, 0)
    with pytest.raises(ValueError, match="Out of range float"):
        written.write({"step": 1, "train": {"loss": float("nan")}})
    written.close()
    assert log(tmp_path) == []


SPEED = Speed(1000.0, None, 0.25, 0.0, 60.0)


def test_a_line_for_each_step_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Records(tmp_path, 0, 2) as records:
        records.step(1, {"loss": 1.5, "lr": 1e-3, "other": 2.0}, SPEED)
        records.heldout(1, {"all": {"loss": 1.25}})
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("step 1/2  loss 1.500  lr 1.00e-03  1,000 tokens/s  padding 25.0%")
    assert second == "held out after step 1, all: loss 1.250"
    records_of = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [sorted(record) for record in records_of] == [
        ["step", "train"], ["speed", "step"], ["heldout/all", "step"],
    ]  # fmt: skip
    assert records_of[1]["speed"].keys() >= {"memory_gib", "mfu", "seconds_left"}


def test_tokens_that_a_capacity_left_out_are_told(tmp_path: Path, capsys: Any) -> None:
    with Records(tmp_path, 0, 2) as records:
        records.step(1, {"loss": 1.5, "overflow": 3.0, "lr": 1e-3}, SPEED)
    assert "loss 1.500  left out 3 tokens  lr" in capsys.readouterr().err
    assert json.loads((tmp_path / LOG).read_text().splitlines()[0])["train"]["overflow"] == 3


def test_one_process_of_several_writes(tmp_path: Path, capsys: Any) -> None:
    with Records(tmp_path, 0, 2, tensorboard=True, main=False) as records:
        records.step(1, {"loss": 1.5, "lr": 1e-3}, SPEED)
        records.heldout(1, {"all": {"loss": 1.25}})
        records.say("nothing")
    assert not list(tmp_path.iterdir()) and not any(capsys.readouterr())


def test_memory_is_that_of_this_process() -> None:
    if torch.cuda.is_initialized():
        pytest.skip("then it is the GPU's")
    before = memory()
    kept = torch.ones(1 << 26)  # 256 MiB
    assert 0.01 < before <= memory() < 1000 and kept.sum() == 1 << 26
