"""bfloat16 working weights over float32 masters: close to float32, exact in checkpoints."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import contents, flags, logged, stopped_and_resumed
from safetensors.torch import load
from torch import nn

from weam_ext.train import loop as train
from weam_ext.train.optimizer import MasterWeights, clipped_step

WAYS: dict[str, dict[str, Any]] = {
    "weam": {},
    "word-aligned": {"objective": "word-aligned"},
    "separate head": {"exchange_head": "separate"},
    "language vectors, frozen": {"exchange_head": "language", "freeze_layers": 1},
    "accumulated": {"accumulate": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_it_follows_float32_and_goes_on_to_the_same_bytes(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        run = tmp_path / precision
        train.main(flags(inputs, run, precision=precision, lr=0.01, **WAYS[way]))
        losses[precision] = [m["loss"] for m in logged(run, "train")]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=5e-3)
    assert losses["bf16"] != losses["fp32"]
    ours, theirs = (contents(tmp_path / name) for name in ("bf16", "fp32"))
    # The same form as without: float32, and a configuration that says so.
    assert ours["config.json"] == theirs["config.json"]
    for name in (name for name in theirs if name.endswith("safetensors")):
        tensors = load(ours[name])
        assert tensors.keys() == load(theirs[name]).keys()
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    again = tmp_path / "again"
    stopped_and_resumed(inputs, again, monkeypatch, precision="bf16", lr=0.01, **WAYS[way])
    assert contents(again) == ours


def test_frozen_weights_are_kept_to_the_bit(inputs: Path, tmp_path: Path) -> None:
    ends = []
    for precision in ("fp32", "bf16"):
        run = tmp_path / precision
        train.main(flags(inputs, run, precision=precision, freeze_layers=1, steps=2))
        ends.append(load(contents(run)["model.safetensors"]))
    names = [name for name in ends[0] if "embeddings." in name]
    assert names and all(torch.equal(ends[0][name], ends[1][name]) for name in names)


def test_small_steps_add_up() -> None:
    """Each is a hundredth of the distance from 1 to the next bfloat16."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    masters = MasterWeights(layer.parameters())
    optimizer = torch.optim.SGD([masters.of(layer.weight)], lr=2**-7 / 100)
    for _ in range(200):
        layer.weight.grad = -torch.ones_like(layer.weight)
        masters.take_gradients()
        optimizer.step()
        optimizer.zero_grad()
        masters.give()
    assert layer.weight.dtype == torch.bfloat16
    assert layer.weight.item() == 1 + 2 * 2**-7
    assert masters.of(layer.weight).item() == pytest.approx(1 + 2 * 2**-7, rel=1e-5)


def test_gradients_of_batches_are_added_in_float32() -> None:
    layer = nn.Linear(1, 1, bias=False)
    masters = MasterWeights(layer.parameters())
    for gradient in (256.0, 1.0, 1.0):  # in bfloat16, 256 + 1 is 256
        layer.weight.grad = torch.full_like(layer.weight, gradient)
        masters.take_gradients()
        assert layer.weight.grad is None
    found = masters.of(layer.weight).grad
    assert found is not None and found.item() == 258.0


@pytest.mark.parametrize("clip", [0.1, 1e9])
def test_one_coefficient_scales_and_clips(clip: float) -> None:
    """As multiplying all gradients, clipping them and stepping, in turn."""
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((5, 3), (4,))]
    ours, theirs = ([nn.Parameter(t.clone()) for t in start] for _ in range(2))
    steppers = [torch.optim.AdamW(each, lr=0.1, fused=True) for each in (ours, theirs)]
    scale = torch.tensor(0.25)
    for _ in range(3):
        for our, their in zip(ours, theirs, strict=True):
            our.grad = torch.randn(our.shape, generator=generator)
            their.grad = our.grad * scale
        norm = nn.utils.clip_grad_norm_(theirs, clip)
        torch.testing.assert_close(clipped_step(steppers[0], scale, clip), norm)
        steppers[1].step()
        assert all(parameter.grad is None for parameter in ours)
    torch.testing.assert_close(ours, theirs)


def test_a_configuration_says_what_the_file_holds(inputs: Path, tmp_path: Path) -> None:
    train.main(flags(inputs, tmp_path / "run", precision="bf16", steps=1))
    assert json.loads(contents(tmp_path / "run")["config.json"])["dtype"] == "float32"
