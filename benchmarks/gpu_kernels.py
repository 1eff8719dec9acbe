"""Ours beside what bounds it: launches, checks against float64, and times of each kernel alone."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from weam_batches import batches, tokenizer

from weam_ext.common.errors import is_out_of_memory
from weam_ext.ops.cross_entropy import linear_cross_entropy
from weam_ext.ops.gather import gather_rows
from weam_ext.train.objectives import Masking

Json = dict[str, Any]
Run = Callable[[], Any]
PROBABILITY = 0.3
CHUNKS = (2048, 4096, 8192)
TESTS = Path(__file__).resolve().parents[1] / "tests"


class Shape(NamedTuple):
    """The sizes of a BERT."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int

    def config(self) -> Json:
        """As Hugging Face takes it."""
        return {
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.intermediate,
            "max_position_embeddings": 512,
        }


BASE = Shape(vocabulary=119_547, hidden=768, layers=12, heads=12, intermediate=3072)
TINY = Shape(vocabulary=499, hidden=32, layers=1, heads=2, intermediate=48)


class Machine(NamedTuple):
    """What is measured on: a GPU, or a CPU that tries the benchmark out."""

    device: str
    work: Path
    """A folder for what the runs need."""

    @property
    def tiny(self) -> bool:
        return self.device == "cpu"

    @property
    def shape(self) -> Shape:
        return TINY if self.tiny else BASE

    def tokens(self, number: int) -> int:
        """Of a batch; fewer where the benchmark is only tried out."""
        return 512 if self.tiny else number

    @property
    def most_tokens(self) -> int:
        return self.tokens(131_072)


# ---------------------------------------------------------------------------------------- measuring


def seconds(run: Run, device: str, *, replay: bool = False) -> float:
    """Median time of a call, on a GPU with cold caches.

    `replay` leaves out what the host does between launches: the call is captured as a CUDA graph,
    which fails if it waits for the device.
    """
    if device == "cuda":
        from triton.testing import do_bench

        if replay:
            run()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                run()
            run = graph.replay
        milliseconds: float = do_bench(run, return_mode="median")
        return milliseconds / 1e3
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@contextmanager
def clocks() -> Iterator[Json]:
    """What `nvidia-smi` says meanwhile, medians: MHz and watts. Empty where there is none."""
    found: Json = {}
    fields = {"sm_mhz": "clocks.sm", "memory_mhz": "clocks.mem", "watts": "power.draw"}
    query = f"--query-gpu={','.join(fields.values())}"
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits", "--loop-ms=100", "--id=0"]
    try:
        watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except OSError:
        yield found
        return
    try:
        yield found
    finally:
        watch.terminate()
        lines = watch.communicate()[0].splitlines()
        with suppress(ValueError):  # of "[N/A]"
            split = (line.split(",") for line in lines)
            rows = [list(map(float, row)) for row in split if len(row) == len(fields)]
            medians = map(statistics.median, zip(*rows, strict=True))
            found |= zip(fields, medians, strict=False)


def clocked(run: Run) -> Json:
    """The figures that a call returns, with the clocks meanwhile."""
    with clocks() as clock:
        figures = run()
    return {**figures, **clock}


def if_it_fits(run: Run) -> Any:
    """What a call returns; None where the GPU's memory does not suffice."""
    try:
        return run()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        torch.cuda.empty_cache()


def peak(run: Run) -> int:
    """Bytes of the GPU's memory that a call needs beyond what is there; 0 without a GPU."""
    if not torch.cuda.is_available():
        return 0
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() - before


# ------------------------------------------------------------------------------- do they run at all


def launches(machine: Machine) -> Json:
    """Launch every kernel with each argument that may be None given and not.

    What does not compile is told by its name; what breaks the device ends the process.
    """
    sys.path.insert(0, str(TESTS))
    from ahead_of_time import gather_calls, head_calls, mask_calls

    half, full = ("bfloat16", torch.bfloat16), ("float32", torch.float32)
    calls: dict[str, Run] = mask_calls(5 if machine.tiny else 128)
    for kind in (full,) if machine.tiny else (full, half):
        calls |= gather_calls(*kind, machine.shape.hidden)
        calls |= head_calls(*kind, machine.shape.vocabulary)
    faults = {}
    for name, call in calls.items():
        with torch.device(machine.device):
            try:
                call()
            except Exception as error:
                faults[name] = f"{type(error).__name__}: {error}"[:500]
        try:
            if machine.device == "cuda":
                torch.cuda.synchronize()
        except RuntimeError as error:
            raise RuntimeError(f"{name}: {error}") from error
    if faults:
        raise RuntimeError(f"{len(faults)} of {len(calls)} launches failed: {json.dumps(faults)}")
    return {"launches": len(calls)}


def checks(machine: Machine) -> Json:
    """The same masks as on the host, and the largest errors beside float64 of whole matrices."""
    vocabulary, device = 997, machine.device
    there, here = ([b] for [b] in (batches(1, 4, 64, vocabulary, d) for d in (device, "cpu")))
    masked = [masking(vocabulary, b.input_ids.device)(b, exchange=True) for b in there + here]
    pairs = {name: (found, vars(masked[1])[name]) for name, found in vars(masked[0]).items()}
    if wrong := [name for name, (a, b) in pairs.items() if not torch.equal(a.cpu(), b)]:
        raise RuntimeError(f"masks differ from the host's: {', '.join(wrong)}")
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, 64, 65, dtype=torch.float64, generator=generator)
    rows = [_gathered(hidden.to(d), m, b.links) for d, m, b in
            zip((device, "cpu"), masked, there + here, strict=True)]  # fmt: skip
    number = rows[1][0].shape[0]
    weight = torch.randn(vocabulary, 65, dtype=torch.float64, generator=generator)
    bias, labels = weight[:, 0].clone(), torch.randint(vocabulary, (number,), generator=generator)
    inputs = rows[1][0], weight, bias

    def whole(*given: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(*given), labels, reduction="sum")

    def ours(*given: Tensor) -> Tensor:
        ones = torch.ones(number, device=device)
        return linear_cross_entropy(*given, labels.to(device), ones).total  # type: ignore[call-arg]

    heads = _head(ours, [x.to(device) for x in inputs]), _head(whole, inputs)
    pairs = dict(zip(("rows", "d_hidden"), zip(*rows, strict=True), strict=True))
    pairs |= zip(("loss", "d_rows", "d_weight", "d_bias"), zip(*heads, strict=True), strict=True)
    errors = {n: float((a.cpu() - b).norm() / b.norm()) for n, (a, b) in pairs.items()}
    if not max(errors.values()) < 1e-6:  # the losses' own weights are float32
        raise RuntimeError(f"too far from float64: {errors}")
    return errors


def _gathered(hidden: Tensor, masked: Any, links: Any) -> tuple[Tensor, Tensor]:
    hidden.requires_grad_()
    rows = gather_rows(hidden, masked, links)
    scales = torch.arange(rows.numel(), device=rows.device).view_as(rows) % 7 - 3.0
    return rows.detach(), torch.autograd.grad((rows * scales).sum(), hidden)[0]


def _head(loss: Callable[..., Tensor], given: Any) -> list[Tensor]:
    leaves = [values.detach().requires_grad_() for values in given]
    total = loss(*leaves)
    return [total.detach(), *torch.autograd.grad(total, leaves)]


# ------------------------------------------------------------------------------------- what bounds


def ceilings(machine: Machine) -> Json:
    """What the machine does at most: bytes/s of a copy, FLOP/s of a large bfloat16 product."""
    device = machine.device
    megabytes, size = (16, 256) if machine.tiny else (1024, 8192)
    data = torch.zeros(megabytes << 20, dtype=torch.uint8, device=device)
    copy = torch.empty_like(data)
    # Random numbers: a product of zeros draws less power, and runs faster than any real one.
    square = torch.randn(size, size, device=device).bfloat16()
    return {
        "bytes_per_second": 2 * data.numel() / seconds(lambda: copy.copy_(data), device),
        "flops_per_second": 2 * size**3 / seconds(lambda: square @ square, device),
    }


def attention(machine: Machine) -> Json:
    """The kernel that torch chooses with and without a mask, and its time there and back.

    By default, as strict determinism has it, and without cuDNN.
    """
    from torch.nn.attention import SDPBackend

    shape, device = machine.shape, machine.device
    size = max(1, machine.tokens(65_536) // 128)
    width = shape.hidden // shape.heads
    query, key, value = torch.randn(
        3, size, shape.heads, 128, width, device=device, dtype=torch.bfloat16
    ).requires_grad_().unbind()  # fmt: skip
    padded = torch.ones(size, 1, 1, 128, dtype=torch.bool, device=device)
    padded[..., 100:] = False

    def there_and_back(mask: Tensor | None) -> None:
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        torch.autograd.grad(out, (query, key, value), out)

    found = {}
    for name, strict, cudnn in (("default", 0, 1), ("no cuDNN", 0, 0), ("strict", 1, 0)):
        torch.use_deterministic_algorithms(bool(strict))
        torch.backends.cuda.enable_cudnn_sdp(bool(cudnn))
        for kind, mask in (("no mask", None), ("mask", padded)):
            chosen = SDPBackend(torch._fused_sdp_choice(query, key, value, attn_mask=mask))
            took = seconds(partial(there_and_back, mask), device)
            found[f"{name}, {kind}"] = {"kernel": chosen.name, "seconds": took}
    return found


def masking(vocabulary: int, device: torch.device | str) -> Masking:
    """The paper's masking over the benchmark's vocabulary."""
    return Masking.of(
        tokenizer(vocabulary), seed=1, probability=PROBABILITY, device=torch.device(device)
    )


def kernels(machine: Machine) -> dict[str, Json]:
    """Seconds, and the bytes that must move, of masking and of the gather.

    A step under autocast gathers float32, since layer normalisation ends in it. The bytes are those
    of every array read or written once, and of every hidden vector that a row reads; caches can do
    better on the latter.
    """
    length, shape, device = 128, machine.shape, machine.device
    [batch] = batches(1, machine.tokens(65_536) // length, length, shape.vocabulary, device)
    assert batch.links is not None
    mask = masking(shape.vocabulary, device)
    masked = mask(batch, exchange=True)
    numbers = masked.positions, masked.row_of, masked.exchanged, masked.exchanged_of, *batch.links
    positions = batch.input_ids.numel()
    readers = masked.positions[masked.exchanged[masked.exchanged >= 0]]
    reads = int(masked.count + batch.links.offsets.diff()[readers].sum())
    integers = 6 * positions + 2 * masked.positions.numel() + masked.exchanged.numel()
    runs: dict[str, tuple[Run, int]] = {"mask": (lambda: mask(batch, exchange=True), 8 * integers)}
    for dtype in (torch.float32, torch.bfloat16):
        hidden = torch.randn(positions, shape.hidden, device=device).to(dtype)
        rows = torch.ops.weam.gather_rows(hidden, *numbers)
        vector = hidden.element_size() * shape.hidden
        name = str(dtype).removeprefix("torch.")
        runs[f"gather {name}"] = (
            partial(torch.ops.weam.gather_rows, hidden, *numbers),
            (reads + rows.shape[0]) * vector,
        )
        runs[f"gather backward {name}"] = (
            partial(torch.ops.weam.gather_rows_backward, rows, *numbers),
            (reads + positions) * vector,
        )
    return {
        name: {"tokens": positions, "seconds": seconds(run, device, replay=True), "bytes": moved}
        for name, (run, moved) in runs.items()
    }


# ----------------------------------------------------------------------------------------- the head


def head(machine: Machine) -> dict[str, Json | str | None]:
    """The linear cross-entropy, forward and backward, by rows a chunk; its products; and others'.

    None is what does not fit in memory, a sentence what could not be had.
    """
    shape, device = machine.shape, machine.device
    number = machine.tokens(16_384)
    rows = torch.randn(number, shape.hidden, device=device).bfloat16().requires_grad_()
    weight = torch.randn(shape.vocabulary, shape.hidden, device=device).mul_(0.02).requires_grad_()
    bias = torch.zeros(shape.vocabulary, device=device, requires_grad=True)
    labels = torch.randint(shape.vocabulary, (number,), device=device)
    leaves = rows, weight, bias

    def ours(chunk_rows: int | None = None) -> tuple[Tensor, ...]:
        ones = torch.ones(number, device=device)
        with torch.autocast(device, torch.bfloat16):
            total = linear_cross_entropy(*leaves, labels, ones, chunk_rows=chunk_rows).total
        return torch.autograd.grad(total, leaves)

    runs: dict[str, Run] = {"weam_ext": ours}
    runs |= {f"weam_ext, {chunk} rows": partial(ours, chunk) for chunk in CHUNKS}
    runs["its three products alone"] = _products(shape, device)
    for name, loss in PEERS.items():
        runs[name] = partial(_peer, loss, leaves, labels)
    flops = 6 * number * shape.vocabulary * shape.hidden
    return {name: _figures(run, flops, device) for name, run in runs.items()}


def _figures(run: Run, flops: int, device: str) -> Json | str | None:
    def figures() -> Json:
        took = seconds(run, device)
        return {"seconds": took, "flops_per_second": flops / took, "bytes": peak(run)}

    try:
        found: Json | None = if_it_fits(figures)
        return found
    except ImportError as error:
        return f"not installed ({error})"
    except Exception as error:  # of another's code, whatever it is
        return f"failed ({type(error).__name__}: {str(error)[:200]})"


def _products(shape: Shape, device: str, chunk: int = 4096) -> Run:
    """Of as many rows as the head has: logits, and the gradients of rows and of the weight."""
    chunk, times = (chunk, 4) if device == "cuda" else (128, 4)
    vocabulary = -(-shape.vocabulary // 64) * 64
    rows = torch.randn(chunk, shape.hidden, device=device).bfloat16()
    weight = torch.randn(vocabulary, shape.hidden, device=device).bfloat16()
    logits = torch.empty(chunk, vocabulary, device=device, dtype=torch.bfloat16).normal_()

    def products() -> None:
        for _ in range(times):
            torch.mm(rows, weight.T, out=logits)
            torch.mm(logits, weight)
            torch.mm(logits.T, rows)

    return products


def _peer(loss: Callable[..., Tensor], leaves: Any, labels: Tensor) -> tuple[Tensor, ...]:
    rows, weight, bias = leaves
    total = loss(rows, weight.bfloat16(), bias.bfloat16(), labels)
    return torch.autograd.grad(total, leaves, allow_unused=True)


def _torchs(rows: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        raise ImportError(f"torch {torch.__version__} has none; 2.13 does")
    options = torch.nn.LinearCrossEntropyOptions()
    total: Tensor = F.linear_cross_entropy(
        rows, weight, labels, linear_bias=bias, reduction="sum", options=options
    )
    return total


def _ligers(rows: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    total: Tensor = LigerFusedLinearCrossEntropyLoss(reduction="sum")(weight, rows, labels, bias)
    return total


def _quacks(rows: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    from quack.linear_cross_entropy import chunked_linear_cross_entropy

    # It takes no bias, and sizes that 8 divides.
    padded = F.pad(weight, (0, 0, 0, -weight.shape[0] % 8))
    total: Tensor = chunked_linear_cross_entropy(rows, padded, labels, reduction="sum")
    return total


PEERS = {"torch": _torchs, "Liger": _ligers, "QuACK, no bias": _quacks}
