"""How fast a run is: its clock, its floating-point operations, and how well a device is used."""

import math
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from weam_ext.data.loader import Request
from weam_ext.model.families import layers_of
from weam_ext.model.sums import Sums
from weam_ext.train.objectives import Objective

NORM = "grad_norm"
"""Among the ratios of a step's sums: the norm of its gradient before it is clipped."""
# Dense bf16 tensor throughput of the vendors' data sheets, in TFLOP/s, by a part of the name.
_PEAKS = {
    "B200": 2250.0,
    "H200": 989.4,
    "H100 PCIe": 756.0,
    "H100": 989.4,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}


@dataclass(frozen=True)
class Speed:
    """How fast a run is, in all its processes together, since it began or went on."""

    tokens_per_second: float
    """Ordinary tokens."""
    mfu: float | None
    """Model FLOP utilisation: of the devices' peak, where that is known."""
    padding: float
    """Share of the places of the batches that are padding."""
    waiting: float
    """Share of the time that was spent waiting for batches."""
    seconds_left: float

    def __str__(self) -> str:
        mfu = "" if self.mfu is None else f"  MFU {self.mfu:.1%}"
        days = "" if self.seconds_left < 86400 else f"{int(self.seconds_left // 86400)}d "
        left = time.strftime("%H:%M:%S", time.gmtime(self.seconds_left))
        return (
            f"{self.tokens_per_second:,.0f} tokens/s{mfu}  padding {self.padding:.1%}  "
            f"waiting {self.waiting:.1%}  {days}{left} left"
        )


class Flops:
    """The floating-point operations that a model needs; none are counted for recomputing.

    A product of [m, k] and [k, n] takes 2 m k n, and twice as many for its two gradients; a frozen
    matrix, below which nothing learns, none for them.

    Attributes:
        peak: FLOP/s of one device; None where it is not known.
    """

    def __init__(
        self, objective: Objective, device: torch.device, peak_tflops: float | None
    ) -> None:
        predictor = objective.predictor
        layers = layers_of(predictor.encoder.module)
        matrices = [m.weight for x in layers for m in x.modules() if isinstance(m, nn.Linear)]
        self._a_place = sum((6 if w.requires_grad else 2) * w.numel() for w in matrices)
        config: Any = predictor.encoder.module.config
        self._attention = 12.0 * len(layers) * int(config.hidden_size)
        vocabulary, width = predictor.output_size
        self._a_row = 6 * width * (vocabulary + width)
        self.peak = peak_tflops * 1e12 if peak_tflops else _known_peak(device)

    def of(self, used: int, sequences: int, rows: float) -> float:
        """The work of one step, by the numbers of tokens, of sequences and of predicted rows.

        Padding is no work that is needed, whether or not the encoder does it.
        """
        return used * (self._a_place + self._attention * used / sequences) + rows * self._a_row


def _known_peak(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak * 1e12 for part, peak in _PEAKS.items() if part in name), None)


class Broken(NamedTuple):
    """A step whose figures are no numbers to go on with."""

    step: int
    what: str
    """loss or gradient."""
    value: float
    """NaN or an infinity."""
    samples: list[int]
    """This process's, of the training split."""


class Meter:
    """What was seen since the last reading, and since the run began or went on."""

    def __init__(self, flops: Flops, step: int, processes: int) -> None:
        self._flops, self._begun, self._processes = flops, step, processes
        self._clock = time.perf_counter()
        self._unread: list[tuple[Sums, list[Request]]] = []
        self._tokens = self._used = self._padded = 0
        self._done = 0.0

    def add(self, sums: Sums, requests: list[Request]) -> None:
        """One step."""
        self._unread.append((sums, requests))

    def pause(self, seconds: float) -> None:
        """Time that does not belong to the steps."""
        self._clock += seconds

    def broken(self, step: int) -> Broken | None:
        """Of the steps since the last reading, up to `step`, the first that came to no number.

        Waits for the device. Sums carry what is not finite along, so that nothing needs to be
        asked in the steps themselves.
        """
        if not self._unread:
            return None
        pairs = [torch.stack([s.loss, s.ratios[NORM].total]).detach() for s, _ in self._unread]
        first = step - len(self._unread) + 1
        for k, (loss, norm) in enumerate(torch.stack(pairs).tolist()):
            if not math.isfinite(loss) or not math.isfinite(norm):
                what, value = ("gradient", norm) if math.isfinite(loss) else ("loss", loss)
                members = [member for request in self._unread[k][1] for member in request.members]
                return Broken(first + k, what, value, [sample for sample, _ in members])
        return None

    def read(self, step: int, steps: int, waited: float) -> tuple[dict[str, float], Speed]:
        """Means since the last reading, and the speed; waits for the device."""
        sums = [sums for sums, _ in self._unread]
        requests = [request for _, several in self._unread for request in several]
        means = sum(sums[1:], sums[0]).means()
        tokens = sum(request.tokens for request in requests)
        used = sum(request.used for request in requests)
        sequences = sum(request.sequences for request in requests)
        if "masked" in means:
            means["masked_share"] = means["masked"] / tokens
        rows = means.get("masked", 0.0) + means.get("linked", 0.0)
        self._done += self._flops.of(used, sequences, rows)
        self._tokens += tokens
        self._used += used
        self._padded += sum(request.padded for request in requests)
        self._unread = []
        seconds = time.perf_counter() - self._clock
        peak = self._flops.peak
        return means, Speed(
            tokens_per_second=self._tokens / seconds,
            mfu=self._done / (seconds * self._processes * peak) if peak else None,
            padding=1 - self._used / self._padded,
            waiting=waited / seconds,
            seconds_left=seconds / (step - self._begun) * (steps - step),
        )
