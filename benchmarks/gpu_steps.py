"""The training step as users run it, and plain PyTorch's: speed, memory, kernels, the same bits.

Every step is one of `weam_ext.train`'s own Trainer, made of the flags that a user would give.
"""

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from gpu_kernels import Json, Machine, Shape, clocks
from plain_weam import AllTokens, MaskedRowsAlone, plain_step
from torch import Tensor
from weam_batches import prepared

from weam_ext.common.ranks import Ranks
from weam_ext.data.loader import Request
from weam_ext.ops.repeatable import repeatable
from weam_ext.train.loop import Trainer
from weam_ext.train.run_directory import open_run
from weam_ext.train.settings import parse

_BF16, _AUTOCAST = (["--precision", name] for name in ("bf16", "bf16-autocast"))
WAYS: dict[str, list[str]] = {
    "bf16": _BF16,
    "bf16, compiled": [*_BF16, "--compile"],
    "bf16, packed": [*_BF16, "--padding", "never"],
    "bf16, compiled, packed": [*_BF16, "--compile", "--padding", "never"],
    "bf16, compiled, not repeatable": [*_BF16, "--compile", "--no-deterministic"],
    "autocast": _AUTOCAST,
    "autocast, compiled": [*_AUTOCAST, "--compile"],
    "all tokens": [*_AUTOCAST, "--no-deterministic"],
    "masked rows": [*_AUTOCAST, "--no-deterministic"],
}
"""The flags of each. The last two are plain PyTorch: dense links, and both heads over all tokens
or over the masked rows."""
PLAIN = {"all tokens": AllTokens, "masked rows": MaskedRowsAlone}
WARM_UP = 3
Step = Callable[[], tuple[Tensor, Tensor, list[Request]]]
"""One step: the loss, the rows that were predicted, and what the batches were."""


def trainer_of(machine: Machine, text: str, tokens: int, shape: Shape, flags: list[str]) -> Trainer:
    """A new run on invented text (`weam_batches.prepared`), of batches of that many tokens."""
    data = prepared(machine.work, text, 4 * machine.most_tokens, shape.vocabulary)
    config = machine.work / f"bert-{shape.layers}.json"
    config.write_text(json.dumps(shape.config()))
    run = next(p for n in itertools.count() if not (p := machine.work / f"run-{n}").exists())
    settings = parse([
        "--prepared", str(data), "--tokenizer", str(machine.work / "vocab.txt"),
        "--model-config", str(config), "--batch-tokens", str(tokens), "--steps", "1000",
        "--output", str(run), "--device", machine.device, *flags,
    ])  # fmt: skip
    return Trainer(settings, *open_run(settings), Ranks())


def step_of(way: str, trainer: Trainer) -> Step:
    """A step of one of `WAYS`."""
    if way in PLAIN:
        return plain_step(trainer, PLAIN[way](trainer.model))

    def step() -> tuple[Tensor, Tensor, list[Request]]:
        sums, requests = trainer.train_step()
        rows = sum(sums.counts.values(), torch.zeros_like(sums.count))
        return sums.loss.detach() / sums.count, rows, requests

    return step


def measure(machine: Machine, way: str, text: str, tokens: int, steps: int) -> Json:
    """Tokens/s, FLOP/s, memory and kernels of the step.

    Tokens are counted with the special ones; FLOPs are of them and of the rows that the way
    predicts; neither has padding.
    """
    if machine.tiny:  # a compiler of C++ would take longer than all the rest
        torch.compile = partial(torch.compile, backend="eager")
    trainer = trainer_of(machine, text, tokens, machine.shape, WAYS[way])
    with repeatable(trainer.settings.deterministic):
        return _measured(machine, way, trainer, steps)


def _measured(machine: Machine, way: str, trainer: Trainer, steps: int) -> Json:
    step = step_of(way, trainer)
    _run(step, WARM_UP)  # compiles, and fills the allocator's cache
    if machine.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    waited, start = trainer.feed.waited, time.perf_counter()
    with clocks() as clock:
        loss, rows, requests = _run(step, steps)
        took = time.perf_counter() - start
    # The plain ways have two rows for each that they mask, or for each token.
    padded, sequences, used = (
        sum(getattr(r, what) for r in requests) for what in ("padded", "sequences", "used")
    )
    rows = {"all tokens": 2 * padded, "masked rows": 2 * rows}.get(way, rows)
    found = {
        "tokens": used / steps,
        "tokens_per_second": used / took,
        "seconds": took / steps,
        "flops_per_second": trainer.flops.of(used, sequences, rows) / took,
        "data_sheet": trainer.flops.peak,
        "padding": 1 - used / padded,
        "waiting": (trainer.feed.waited - waited) / took,
        "peak_bytes": torch.cuda.max_memory_allocated() if machine.device == "cuda" else 0,
        "loss": loss,
        **clock,
    }
    return found | {"kernels": kernels_of(step, machine.device)}


def _run(step: Step, number: int) -> tuple[float, float, list[Request]]:
    """That many steps, waited for once: the last loss, and the rows and requests of all."""
    losses, rows, requests = zip(*(step() for _ in range(number)), strict=True)
    values = torch.stack([losses[-1].double(), sum(rows).double()])  # type: ignore[union-attr]
    loss, count = values.tolist()
    return loss, count, list(itertools.chain(*requests))


def kernels_of(step: Step, device: str, most: int = 12) -> list[tuple[str, int, float]] | str:
    """The kernels that took longest in two steps: name, launches and milliseconds a step.

    On a CPU the operators. What the profiler cannot do is told, for the step has its figures.
    """
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device == "cuda"
    taken = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    kinds = [ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
    try:
        with profile(activities=kinds) as seen:
            _run(step, 2)
        events = sorted(seen.key_averages(), key=attrgetter(taken), reverse=True)
    except RuntimeError as error:
        return f"no profile: {error}"
    rows = [(e.key[:80], e.count // 2, getattr(e, taken) / 2e3) for e in events]
    _, launches, milliseconds = zip(*rows, strict=True)
    return [("all", sum(launches), sum(milliseconds)), *rows[:most]]


def same_bits(machine: Machine, length: int, flags: list[str]) -> Json:
    """Whether two runs of three steps have the same bits, by what has them, on padded pairs.

    A shallow model is enough: the layers are alike.
    """
    shape = machine.shape._replace(layers=min(2, machine.shape.layers))
    with repeatable():
        runs = [_digests(machine, length, shape, flags) for _ in range(2)]
    return {what: runs[0][what] == runs[1][what] for what in runs[0]}


def _digests(machine: Machine, length: int, shape: Shape, flags: list[str]) -> dict[str, list[str]]:
    """By step, of the loss, of the gradients that the optimizer gets, and of the weights after."""
    tokens = max(16 * length, machine.tokens(16_384))
    trainer = trainer_of(machine, f"padded {length}", tokens, shape, flags)
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    found: dict[str, list[str]] = {"forward": [], "backward": [], "optimizer": []}

    def gradients(*_: Any) -> None:
        found["backward"].append(_digest(p.grad for p in parameters if p.grad is not None))

    trainer.optimizer.register_step_pre_hook(gradients)
    for _ in range(3):
        sums, _ = trainer.train_step()
        found["forward"].append(_digest([sums.stacked()]))
        found["optimizer"].append(_digest(parameters))
    return found


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
