"""Losses and gradients that are no numbers: the run stops, and what was good stays."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import command, contents, environment, flags, log, logged

from weam_ext.common.errors import InputError
from weam_ext.train import loop as train
from weam_ext.train.checkpoint import checkpoints


def spoil_loss(trainer: train.Trainer) -> None:
    forward = trainer.parallel.forward

    def spoilt(batch: Any, **named: Any) -> Any:
        trainer.parallel.forward = forward
        sums = forward(batch, **named)
        return replace(sums, loss=sums.loss * float("nan"))

    trainer.parallel.forward = spoilt


def spoil_gradient(trainer: train.Trainer) -> None:
    parameter = next(p for p in trainer.objective.parameters() if p.requires_grad)

    def spoilt(gradient: torch.Tensor) -> torch.Tensor:
        hook.remove()
        return gradient + float("inf")

    hook = parameter.register_hook(spoilt)


def spoiling(monkeypatch: pytest.MonkeyPatch, step: int, how: Any) -> list[list[int]]:
    """Have a step of the next run go wrong; the samples of that step, once it was done."""
    train_step, seen = train.Trainer.train_step, list[list[int]]()

    def one(trainer: train.Trainer) -> Any:
        if trainer.step + 1 != step:
            return train_step(trainer)
        how(trainer)
        sums, requests = train_step(trainer)
        seen.append([sample for request in requests for sample, _ in request.members])
        return sums, requests

    monkeypatch.setattr(train.Trainer, "train_step", one)
    return seen


@pytest.mark.parametrize(("what", "how"), [("loss", spoil_loss), ("gradient", spoil_gradient)])
def test_it_stops_at_once_and_goes_on_from_the_last_good_step(
    inputs: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, how: Any
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        seen = spoiling(patch, 6, how)
        with pytest.raises(InputError, match=rf"^step 6: the {what} is (nan|inf)") as error:
            train.main(flags(inputs, run))
    assert ", ".join(map(str, seen[0])) in str(error.value)
    assert [path.name for path in checkpoints(run)] == ["step-00000002", "step-00000004"]
    assert max(record["step"] for record in log(run)) == 5
    train.main(flags(inputs, run))
    assert contents(run) == contents(whole)
    assert log(run) == log(whole)


@pytest.mark.parametrize("seldom", [{"save_every": 100}, {"save_every": 5}, {"eval_every": 4}])
def test_seldom_logged_the_step_is_found_all_the_same(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seldom: dict[str, int]
) -> None:
    """Before a line of the log, a checkpoint or an evaluation, whichever comes first."""
    given = {"log_every": 100, "eval_every": 100, "save_every": 100, **seldom}
    seen = spoiling(monkeypatch, 3, spoil_loss)
    with pytest.raises(InputError, match=r"^step 3: the loss is nan") as error:
        train.main(flags(inputs, tmp_path / "run", **given, accumulate=2))
    assert ", ".join(map(str, seen[0])) in str(error.value)
    assert not checkpoints(tmp_path / "run")
    assert {record["step"] for record in log(tmp_path / "run")} == {0}


def test_of_many_samples_some_are_named(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = spoiling(monkeypatch, 1, spoil_loss)
    with pytest.raises(InputError) as error:
        train.main(flags(inputs, tmp_path / "run", batch_size=40))
    found = re.search(r"samples ([\d, ]+) and (\d+) more", str(error.value))
    assert found and len(found[1].split(", ")) + int(found[2]) == 40 == len(seen[0])


def test_no_checkpoint_holds_what_is_no_number(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last update can break weights while its loss and gradient are finite."""
    train_step = train.Trainer.train_step

    def broken(trainer: train.Trainer) -> Any:
        done = train_step(trainer)
        if trainer.step == 3:
            with torch.no_grad():
                next(iter(trainer.objective.parameters())).view(-1)[-1] = float("inf")
        return done

    monkeypatch.setattr(train.Trainer, "train_step", broken)
    with pytest.raises(InputError, match=r"^step 3: .*weights.* not finite"):
        train.main(flags(inputs, tmp_path / "run", save_every=1))
    assert [path.name for path in checkpoints(tmp_path / "run")] == [
        "step-00000001",
        "step-00000002",
    ]


def test_a_held_out_loss_that_is_no_number(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = train.Heldout.measure

    def broken(heldout: Any, forward: Any) -> Any:
        found = measure(heldout, forward)
        found["venn"]["multilingual_loss"] = float("nan")
        return found

    monkeypatch.setattr(train.Heldout, "measure", broken)
    with pytest.raises(InputError, match=r"^step 0: .*held-out.*venn.* is nan"):
        train.main(flags(inputs, tmp_path / "run"))
    assert log(tmp_path / "run") == []


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_rate_that_breaks_the_model(inputs: Path, tmp_path: Path, processes: int) -> None:
    """On the command line; several processes stop together."""
    run = tmp_path / "run"
    given = flags(inputs, run, lr=1e9, weight_decay=1e9, warmup=0, save_every=100)
    done = subprocess.run(
        command(given, processes), env=environment(), capture_output=True, text=True, timeout=300
    )
    errors = [line for line in done.stderr.splitlines() if "weam_ext.train: error: " in line]
    assert len(errors) == 1 and "error: step 2: the loss is nan" in errors[0], done.stderr
    assert "weam_ext/train/loop.py" not in done.stderr  # in a traceback: torchrun prints its own
    assert done.returncode == 2 if processes == 1 else done.returncode != 0
    assert not checkpoints(run)
    for line in (run / "log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_the_gradient_s_norm_is_told(
    inputs: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before it is clipped; of several steps the mean."""
    norms = [means["grad_norm"] for means in logged(whole, "train")]
    assert all(norm > 0 for norm in norms)
    train.main(flags(inputs, tmp_path / "run", log_every=4, save_every=4))
    said = capsys.readouterr().err
    first, second = (means["grad_norm"] for means in logged(tmp_path / "run", "train"))
    assert [first, second] == pytest.approx([sum(norms[:4]) / 4, sum(norms[4:]) / 4])
    assert f"  gradient {first:.2f}  " in said
