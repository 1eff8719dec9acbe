"""The whole training step, ours and three plain ways: speed, memory, and the same bits again."""

import gc
import hashlib
import time
from collections.abc import Callable
from typing import Any

import torch
from gpu_kernels import Shape, if_it_fits, masking, peak
from plain_weam import AllTokens, MaskedRowsAlone, dense_links
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM
from weam_batches import batches

from weam_ext.data.collate import Batch
from weam_ext.ops.mask import MaskedRows
from weam_ext.train.objectives import MaskedPredictor

WAYS = {
    "weam_ext": "the predictor that training uses",
    "weam_ext, compiled": "the same under torch.compile",
    "all tokens": "plain PyTorch: dense links, both heads over all tokens",
    "masked rows": "plain PyTorch: dense links, both heads over the masked rows",
    "masked rows, compiled": "the same under torch.compile",
}
OURS = ("weam_ext", "weam_ext, compiled")
Loss = Callable[[Batch, MaskedRows], Tensor]


def loss_of(way: str, model: nn.Module) -> Loss:
    """L_mp + L_cp, summed over a batch's masked tokens, computed in a way of `WAYS`."""
    name, _, compiled = way.partition(", ")
    if name == "weam_ext":
        predictor: Any = MaskedPredictor(model, exchange_weight=1.0)
        predictor = torch.compile(predictor, fullgraph=True) if compiled else predictor
        return lambda batch, masked: predictor(batch, masked).loss
    plain: Any = (AllTokens if name == "all tokens" else MaskedRowsAlone)(model)
    plain = torch.compile(plain) if compiled else plain

    def loss(batch: Batch, masked: MaskedRows) -> Tensor:
        total: Tensor = plain(batch, masked, dense_links(batch))
        return total

    return loss


class Run:
    """A model in training on a few batches in turn, in bfloat16, with fused AdamW."""

    def __init__(self, way: str, shape: Shape, device: str) -> None:
        torch.manual_seed(0)
        self.way, self.shape, self.device = way, shape, device
        config = BertConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.intermediate,
        )
        self.model = BertForMaskedLM(config).to(device)
        self.masking = masking(shape, device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=device == "cuda")
        self.loss = loss_of(way, self.model)
        self.batches: list[Batch] = []
        self.done = 0

    def feed(self, length: int, tokens: int) -> None:
        """Go on with batches of this many tokens in sequences of this length."""
        size = max(1, tokens // length)
        self.batches = batches(3, size, length, self.shape.vocabulary, self.device)

    def step(self) -> Tensor:
        """One step; its mean loss, still on the device."""
        batch = self.batches[self.done % len(self.batches)]
        masked = self.masking(batch, exchange=True)
        with torch.autocast(self.device, torch.bfloat16):
            loss = self.loss(batch, masked) / masked.count
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1
        return loss.detach()

    def steps(self, number: int) -> list[float]:
        """That many steps, waited for once."""
        return torch.stack([self.step() for _ in range(number)]).tolist()


def measure(run: Run, length: int, tokens: int, steps: int) -> dict[str, Any] | None:
    """Figures of the step at this size; None where the memory does not suffice."""
    figures: dict[str, Any] | None = if_it_fits(lambda: _measure(run, length, tokens, steps))
    if figures is None:
        run.optimizer.zero_grad(set_to_none=True)
    return figures


def _measure(run: Run, length: int, tokens: int, steps: int) -> dict[str, Any]:
    run.feed(length, tokens)
    run.steps(2 * len(run.batches))  # compiles, and fills the allocator's cache
    start = time.perf_counter()
    losses = run.steps(steps)
    took = (time.perf_counter() - start) / steps
    held = torch.cuda.memory_allocated() if run.device == "cuda" else 0
    positions = run.batches[0].input_ids.numel()
    return {
        "tokens": positions,
        "seconds": took,
        "tokens_per_second": positions / took,
        "flops_per_second": flops_of(run, length, positions) / took,
        "peak_bytes": held + peak(run.step),
        "loss": losses[-1],
    }


def flops_of(run: Run, length: int, tokens: int) -> float:
    """Floating-point operations of forward and backward, of the rows that the way needs.

    A product of [m, k] and [k, n] takes 2 m k n, and twice as many for its two gradients.
    """
    masked = run.masking(run.batches[0], exchange=True)
    rows = {
        "all tokens": 2 * tokens,
        "masked rows": 2 * int(masked.count),
        "weam_ext": int(masked.count + masked.exchanged_count),
    }[run.way.partition(", ")[0]]
    hidden, inner = run.shape.hidden, run.shape.intermediate
    layer = 4 * hidden * hidden + 2 * hidden * inner + 2 * length * hidden
    head = hidden * hidden + hidden * run.shape.vocabulary
    return 6.0 * (tokens * run.shape.layers * layer + rows * head)


def repeatable(way: str, shape: Shape, length: int, tokens: int, device: str) -> bool:
    """Whether two runs of three steps end in the same bits.

    With torch's deterministic algorithms: else the gradient of the embeddings, which is not ours,
    is added up by atomics in what torch.compile makes of it.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        return len({_digest(way, shape, length, tokens, device) for _ in range(2)}) == 1
    finally:
        torch.use_deterministic_algorithms(False)


def _digest(way: str, shape: Shape, length: int, tokens: int, device: str) -> str:
    forget()
    run = Run(way, shape, device)
    run.feed(length, tokens)
    run.steps(3)
    digest = hashlib.sha256()
    for parameter in run.model.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def forget() -> None:
    """Let go of an earlier model: compiled code holds it in circles."""
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()
