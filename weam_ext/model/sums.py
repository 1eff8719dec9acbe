"""Sums of losses, of which ratios are taken once every process has added its own."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


class Ratio(NamedTuple):
    """A mean before the division, 0-dim tensors."""

    total: Tensor
    number: Tensor


@dataclass(frozen=True)
class Sums:
    """What one or more batches add up to, 0-dim tensors; losses in nats."""

    loss: Tensor
    """What is minimised, before the division by `count`; the one that can be differentiated."""
    count: Tensor
    overflow: Tensor
    """Tokens that the capacities of the batches left out (`weam_ext.ops.mask.MaskedRows`)."""
    ratios: dict[str, Ratio]
    """Means that are reported."""
    counts: dict[str, Tensor] = field(default_factory=dict)
    """Numbers that are reported."""

    def __add__(self, other: "Sums") -> "Sums":
        return self.replaced(self.stacked() + other.stacked())

    def _parts(self) -> dict[str, Tensor]:
        """All of it by name."""
        parts = {"loss": self.loss, "count": self.count, "overflow": self.overflow}
        for name, ratio in self.ratios.items():
            parts |= {f"{name}: total": ratio.total, f"{name}: number": ratio.number}
        return parts | self.counts

    def stacked(self) -> Tensor:
        """All of it in one float64 tensor, without gradient."""
        return torch.stack([part.detach().double() for part in self._parts().values()])

    def replaced(self, stacked: Tensor) -> "Sums":
        """The sums of this form that `stacked` would give."""
        parts = dict(zip(self._parts(), stacked.unbind(), strict=True))
        numbers = {name: (f"{name}: total", f"{name}: number") for name in self.ratios}
        return Sums(
            loss=parts["loss"],
            count=parts["count"],
            overflow=parts["overflow"],
            ratios={name: Ratio(parts[a], parts[b]) for name, (a, b) in numbers.items()},
            counts={name: parts[name] for name in self.counts},
        )

    def means(self) -> dict[str, float]:
        """Mean losses and accuracies, and counts, on the host; 0 where there was nothing.

        "overflow" is among them when it is not 0.
        """
        parts = dict(zip(self._parts(), self.stacked().tolist(), strict=True))
        means = {"loss": parts["loss"] / max(1.0, parts["count"])}
        if parts["overflow"]:
            means["overflow"] = parts["overflow"]
        for name in self.ratios:
            means[name] = parts[f"{name}: total"] / max(1.0, parts[f"{name}: number"])
        return means | {name: parts[name] for name in self.counts}
