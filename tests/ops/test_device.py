"""A step keeps to the model's device and waits for nothing there; and which device that is.

The meta device stands for a GPU: its tensors have no values that could be read back, and meet none
of another device.
"""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import flags, write_inputs
from torch.utils.data._utils.pin_memory import pin_memory

from weam_ext.common.errors import InputError
from weam_ext.common.ranks import Ranks
from weam_ext.data.collate import Batch
from weam_ext.data.loader import Parcel
from weam_ext.ops import cross_entropy, gather, mask
from weam_ext.ops.constants import POLICIES, UNITS
from weam_ext.train.loop import Trainer
from weam_ext.train.parallel import own_device
from weam_ext.train.records import memory
from weam_ext.train.run_directory import open_run
from weam_ext.train.settings import parse

META = torch.device("meta")
STEPS: dict[str, dict[str, Any]] = {
    "MLM": {"objective": "mlm"},
    "TLM": {"objective": "tlm"},
    "word-aligned": {"objective": "word-aligned"},
    "contrastive": {"objective": "contrastive"},
    "WEAM": {"accumulate": 2},
    "apart, exclusive spans": {"encode": "apart", "masking": "exclusive", "mask_unit": "span"},
    "exact, separate head": {"mask_exact": True, "exchange_head": "separate"},
    "language head": {"exchange_head": "language"},
    "first layer": {"exchange_layer": 1},
    "without padding": {"padding": "never"},
    "word-aligned without padding": {"objective": "word-aligned", "padding": "never"},
    "soft links, checkpointing": {"soft_links": True, "gradient_checkpointing": True},
    "bfloat16 weights": {"precision": "bf16", "accumulate": 2, "exchange_head": "separate"},
}


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the meta device lacks beside values: autocast, and a fused optimizer."""
    enabled = torch.is_autocast_enabled

    def none_on_meta(device: str = "cuda") -> bool:
        return device != "meta" and enabled(device)

    class NotFused(torch.optim.AdamW):
        def __init__(self, groups: Any, **settings: Any) -> None:
            super().__init__(groups, **(settings | {"fused": False}))

        def step(self, *given: Any) -> Any:
            assert vars(self).pop("grad_scale").device == META
            return super().step(*given)

    monkeypatch.setattr(torch, "is_autocast_enabled", none_on_meta)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch.optim, "AdamW", NotFused)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"), pairs=30)


def trainer_of(inputs: Path, directory: Path, device: str, **changes: Any) -> Trainer:
    options = parse(flags(inputs, directory / "run", **({"objective": "weam"} | changes)))
    options = replace(options, device=device)  # a user may not choose the meta device
    return Trainer(options, *open_run(options), Ranks())


@pytest.mark.parametrize("name", STEPS)
def test_a_step_stays_on_its_device(inputs: Path, tmp_path: Path, name: str, meta: None) -> None:
    trainer = trainer_of(inputs, tmp_path, device="meta", **STEPS[name])
    for _ in range(2):
        sums, _ = trainer.train_step()
        assert sums.stacked().device == META
    with torch.no_grad():
        for layout in trainer.heldout._collators:
            assert trainer.heldout._sums(trainer.objective, 0, layout).stacked().device == META


# --------------------------------------------------------------- the operators, where no Triton is


def integers(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int64, device=META)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("exact", [True, False])
def test_masking_stays_on_its_device(policy: str, unit: str, exact: bool) -> None:
    ids = integers(3, 7)
    links = integers(22), integers(10)
    found = mask._mask(
        ids, ids, integers(3), *links, integers(5), 1, 1 << 30, 1 << 31, 1 << 31, 4, 9, 5,
        policy, unit, exact,
    )  # fmt: skip
    assert {tensor.device for tensor in found} == {META}


@pytest.mark.parametrize("links", ["none", "hard", "soft"])
def test_the_gather_stays_on_its_device(links: str) -> None:
    exchanged = 0 if links == "none" else 5
    weights = [torch.zeros(10, device=META) if links == "soft" else None] * 2
    given = [None] * 4 if links == "none" else [integers(22), integers(10), *weights]
    numbers = integers(9), integers(21), integers(exchanged), integers(21)
    rows = gather._gather(torch.zeros(21, 8, device=META), *numbers, *given)
    assert rows.device == META and rows.shape == (9 + exchanged, 8)
    assert gather._gather_backward(rows, *numbers, *given).device == META


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_head_stays_on_its_device(dtype: torch.dtype, with_bias: bool, meta: None) -> None:
    bias = torch.zeros(65, device=META) if with_bias else None
    rows, weight = torch.zeros(7, 8, device=META), torch.zeros(65, 8, device=META)
    weights = torch.zeros(7, device=META)
    wanted = True, True, with_bias
    found = cross_entropy._linear_cross_entropy(
        rows, weight, bias, integers(7), weights, 3, dtype, *wanted
    )
    assert {tensor.device for tensor in found} == {META}


# ----------------------------------------------------------------------------------- on its way


def tensors_of(batch: Batch) -> list[torch.Tensor]:
    parts = [*vars(batch).values(), *batch.packed, *(batch.links or ())]
    return [part for part in parts if isinstance(part, torch.Tensor)]


def test_every_tensor_of_a_batch_is_pinned(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what torch's loader calls for that, in one piece; the rest is left as it was."""
    made = next(trainer_of(inputs, tmp_path, device="cpu", soft_links=True).feed)
    pinned: list[torch.Tensor] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    batch = pin_memory(Parcel.of(made.batch)).opened(torch.device("cpu"))
    assert len(pinned) == 1
    pieces = {tensor.untyped_storage().data_ptr() for tensor in tensors_of(batch)}
    assert pieces == {pinned[0].untyped_storage().data_ptr()}
    pairs = list(zip(tensors_of(batch), tensors_of(made.batch), strict=True))
    assert len(pairs) > 12 and all(torch.equal(*pair) for pair in pairs)
    assert all(one.dtype == other.dtype for one, other in pairs)


def environment(monkeypatch: pytest.MonkeyPatch, rank: str, world: str) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)


def test_every_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_device("cuda") == torch.device("cuda", 0)
    assert own_device("cuda:1") == torch.device("cuda", 1)
    environment(monkeypatch, "3", "8")
    assert own_device("cuda") == torch.device("cuda", 3)
    assert own_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="--device cuda:0: each of 8 processes has its own GPU"):
        own_device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "first")
    with pytest.raises(InputError, match="must be numbers"):
        own_device("cuda")


def test_a_device_is_tried_before_any_work(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process tries its own: on the first GPU all would hold some memory to the end."""
    tried = []

    def no_memory(*_: Any, device: torch.device) -> None:
        tried.append(device)
        raise RuntimeError("CUDA error: invalid device ordinal\nmore about it")

    environment(monkeypatch, "3", "8")
    monkeypatch.setattr(torch, "zeros", no_memory)
    with pytest.raises(InputError, match=r"^--device cuda: CUDA error: invalid device ordinal$"):
        parse(flags(inputs, tmp_path / "run", device="cuda"))
    assert tried == [torch.device("cuda", 3)]


def test_memory_of_a_run_beside_an_unused_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert memory() > 0
