"""Checkpoints: whole or not there, the best and the last ones kept, and what is read back."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import STEPS, contents, flags, log
from safetensors.torch import save_file
from torch import nn

from weam_ext.common import files
from weam_ext.common.errors import InputError
from weam_ext.train import checkpoint
from weam_ext.train import loop as train
from weam_ext.train.checkpoint import (
    checkpoints,
    load_optimizer,
    load_own,
    load_state,
    optimizer_tensors,
    own_tensors,
)


def test_the_best_is_kept(inputs: Path, tmp_path: Path) -> None:
    """At this rate the losses rise again."""
    run = tmp_path / "run"
    train.main(flags(inputs, run, keep=1, eval_every=2, lr=0.5, warmup=0, schedule="constant"))
    losses = {r["step"]: r["heldout/all"]["loss"] for r in log(run) if "heldout/all" in r}
    del losses[0]  # no checkpoint
    best = min(losses, key=lambda step: losses[step])
    assert best != STEPS
    assert [path.name for path in checkpoints(run)] == [f"step-{best:08}", "step-00000008"]
    assert (run / "best").resolve() == run / f"step-{best:08}"
    assert load_state(run / "best")["heldout"] == losses[best]
    # Killed after the checkpoint, before the others were removed.
    shutil.copytree(run / "best", run / "step-00000001")
    (run / "best").unlink()
    train.main(flags(inputs, run, keep=1, eval_every=2, lr=0.5, warmup=0, schedule="constant"))
    assert (run / "best").exists()
    assert len(checkpoints(run)) == 2


@pytest.mark.parametrize(
    ("module", "place"),
    [
        (checkpoint, "save_file"),
        (checkpoint, "write_durably"),
        (checkpoint, "write_record"),
        (files, "rename_durably"),
    ],
)
def test_a_disk_that_fills_up_later(
    inputs: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    place: str,
) -> None:
    """In the third checkpoint; the run goes on from the second when there is room again."""
    run = tmp_path / "run"
    real = getattr(module, place)

    def full(*given: Any) -> Any:
        if (run / "step-00000004").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(module, place, full)
        with pytest.raises(
            InputError, match=r"step-00000006: cannot be written \(No space left on"
        ):
            train.main(flags(inputs, run))
    assert [path.name for path in checkpoints(run)] == ["step-00000002", "step-00000004"]
    assert not list(run.glob(".*"))
    train.main(flags(inputs, run))
    assert contents(run) == contents(whole)
    assert log(run) == log(whole)


class Scored(nn.Module):
    """A model with a parameter of its own beside it."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.model = nn.Linear(width, 2, bias=False)
        self.scale = nn.Parameter(torch.ones(width))


def stepped(module: Scored) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    (module.model(module.scale * torch.arange(3.0)).sum()).backward()
    optimizer.step()
    return optimizer


def test_an_optimizer_comes_back(tmp_path: Path) -> None:
    module = Scored()
    tensors = optimizer_tensors(module, stepped(module))
    assert set(tensors) == {f"{name}/{key}" for name in ("scale", "model.weight")
                            for key in ("step", "exp_avg", "exp_avg_sq")}  # fmt: skip
    save_file(tensors, tmp_path / "o")
    again = Scored()
    optimizer = torch.optim.AdamW(again.parameters(), lr=0.1)
    load_optimizer(tmp_path / "o", again, optimizer)
    found = optimizer_tensors(again, optimizer)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_an_optimizer_of_another_model(tmp_path: Path) -> None:
    path, module = tmp_path / "o", Scored()
    optimizer = torch.optim.AdamW(module.parameters())
    for tensors, message in (
        ({"bias/exp_avg": torch.ones(2)}, "state of bias, which the model does not have"),
        ({"scale/exp_avg": torch.ones(2)}, "state of scale of another shape"),
    ):
        save_file(tensors, path)
        with pytest.raises(InputError, match=message):
            load_optimizer(path, module, optimizer)
    path.write_bytes(b"torn")
    with pytest.raises(InputError, match="o: cannot be read"):
        load_optimizer(path, module, optimizer)


def test_what_an_objective_has_beside_its_model(tmp_path: Path) -> None:
    module = Scored()
    assert set(own_tensors(module, module.model)) == {"scale"}
    load_own(tmp_path, module.model, module.model)  # nothing: no file is needed
    save_file({"scale": torch.full((3,), 7.0)}, tmp_path / "objective.safetensors")
    load_own(tmp_path, module, module.model)
    assert module.scale.tolist() == [7.0] * 3
    wider = Scored(4)
    with pytest.raises(InputError, match="does not fit the objective"):
        load_own(tmp_path, wider, wider.model)


def test_what_is_called_a_checkpoint(tmp_path: Path) -> None:
    for name in ("step-00000010", "step-00000009", "step-1", ".step-00000011.part", "torn-step-00"):
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000009", "step-00000010"]
