"""Times of masking, gather and head by themselves, beside what bounds them."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from weam_batches import batches, tokenizer

from weam_ext.ops.cross_entropy import linear_cross_entropy
from weam_ext.train.objectives import Masking

PROBABILITY = 0.3
CHUNKS = (1024, 2048, 4096, 8192)


class Shape(NamedTuple):
    """The sizes of a BERT."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int


def seconds(run: Callable[[], Any], device: str, *, replay: bool = False) -> float:
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


def ceilings(device: str) -> dict[str, float]:
    """What the machine does at most: bytes/s of a copy, FLOP/s of a large bfloat16 product."""
    megabytes, size = (1024, 8192) if device == "cuda" else (16, 256)
    data = torch.zeros(megabytes << 20, dtype=torch.uint8, device=device)
    copy = torch.empty_like(data)
    # Random numbers: a product of zeros draws less power, and runs faster than any real one.
    square = torch.randn(size, size, device=device).bfloat16()
    return {
        "bytes_per_second": 2 * data.numel() / seconds(lambda: copy.copy_(data), device),
        "flops_per_second": 2 * size**3 / seconds(lambda: square @ square, device),
    }


def masking(shape: Shape, device: str) -> Masking:
    """The paper's masking over the benchmark's vocabulary."""
    return Masking.of(
        tokenizer(shape.vocabulary), seed=1, probability=PROBABILITY, device=torch.device(device)
    )


def kernels(shape: Shape, tokens: int, device: str) -> dict[str, dict[str, float]]:
    """Seconds, and the bytes that must move, of masking and of the gather.

    A step under autocast gathers float32, since layer normalisation ends in it. The bytes are those
    of every array read or written once, and of every hidden vector that a row reads; caches can do
    better on the latter.
    """
    length = 128
    [batch] = batches(1, tokens // length, length, shape.vocabulary, device)
    assert batch.links is not None
    mask = masking(shape, device)
    masked = mask(batch, exchange=True)
    numbers = masked.positions, masked.row_of, masked.exchanged, masked.exchanged_of, *batch.links
    positions = batch.input_ids.numel()
    readers = masked.positions[masked.exchanged[masked.exchanged >= 0]]
    reads = int(masked.count + batch.links.offsets.diff()[readers].sum())
    integers = 6 * positions + 2 * masked.positions.numel() + masked.exchanged.numel()
    runs: dict[str, tuple[Callable[[], Any], int]] = {
        "mask": (lambda: mask(batch, exchange=True), 8 * integers)
    }
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


def head_chunks(shape: Shape, rows: int, device: str) -> dict[str, dict[str, float] | None]:
    """The linear cross-entropy, forward and backward, by rows a chunk; and torch's own.

    None is what does not fit in memory.
    """
    inputs = torch.randn(rows, shape.hidden, device=device).bfloat16().requires_grad_()
    weight = torch.randn(shape.vocabulary, shape.hidden, device=device).mul_(0.02).requires_grad_()
    bias = torch.zeros(shape.vocabulary, device=device, requires_grad=True)
    labels = torch.randint(shape.vocabulary, (rows,), device=device)
    weights = torch.ones(rows, device=device)
    leaves = inputs, weight, bias

    def ours(chunk_rows: int) -> tuple[Tensor, ...]:
        with torch.autocast(device, torch.bfloat16):
            total = linear_cross_entropy(*leaves, labels, weights, chunk_rows=chunk_rows).total
        return torch.autograd.grad(total, leaves)

    def torchs() -> tuple[Tensor, ...]:
        total = F.linear_cross_entropy(
            inputs,
            weight.bfloat16(),
            labels,
            linear_bias=bias.bfloat16(),
            reduction="sum",
            options=torch.nn.LinearCrossEntropyOptions(),
        )
        return torch.autograd.grad(total, leaves)

    runs: dict[str, Callable[[], Any]] = {
        f"{chunk} rows": lambda chunk=chunk: ours(chunk) for chunk in CHUNKS
    }
    if hasattr(torch.nn, "LinearCrossEntropyOptions"):  # torch 2.13
        runs["torch"] = torchs
    flops = 6 * rows * shape.vocabulary * shape.hidden

    def figures(run: Callable[[], Any]) -> dict[str, float]:
        took = seconds(run, device)
        return {"seconds": took, "flops_per_second": flops / took, "bytes": peak(run)}

    return {name: if_it_fits(partial(figures, run)) for name, run in runs.items()}


def if_it_fits(run: Callable[[], Any]) -> Any:
    """What a call returns; None where the GPU's memory does not suffice."""
    try:
        return run()
    except RuntimeError as error:  # torch's own class for it, the driver's, or one wrapped
        if "out of memory" not in str(error):
            raise
        return None
    finally:
        torch.cuda.empty_cache()


def peak(run: Callable[[], Any]) -> int:
    """Bytes of the GPU's memory that a call needs beyond what is there; 0 without a GPU."""
    if not torch.cuda.is_available():
        return 0
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() - before
