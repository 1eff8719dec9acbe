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
    ratios: dict[str, Ratio]
    """Means that are reported."""
    counts: dict[str, Tensor] = field(default_factory=dict)
    """Numbers that are reported."""
    overflow: Tensor | None = None
    """Batches whose rows did not fit: above 0 there is an error in the program."""

    def __add__(self, other: "Sums") -> "Sums":
        return self.replaced(self.stacked() + other.stacked())

    def stacked(self) -> Tensor:
        """All of it in one float64 tensor, without gradient."""
        parts = [self.loss, self.count]
        parts += [part for ratio in self.ratios.values() for part in ratio]
        parts += [*self.counts.values(), self.count * 0 if self.overflow is None else self.overflow]
        return torch.stack([part.detach().double() for part in parts])

    def replaced(self, stacked: Tensor) -> "Sums":
        """The sums of this form that `stacked` would give."""
        loss, count, *parts, overflow = stacked.unbind()
        ratios = {name: Ratio(*parts[2 * k : 2 * k + 2]) for k, name in enumerate(self.ratios)}
        counts = dict(zip(self.counts, parts[2 * len(ratios) :], strict=True))
        return Sums(loss, count, ratios, counts, overflow)

    def means(self) -> dict[str, float]:
        """Mean losses and accuracies, and counts, on the host; 0 where there was nothing."""
        loss, count, *parts, overflow = self.stacked().tolist()
        if overflow:
            raise RuntimeError("more tokens were masked than the batch has rows for")
        means = {"loss": loss / max(1.0, count)}
        for k, name in enumerate(self.ratios):
            means[name] = parts[2 * k] / max(1.0, parts[2 * k + 1])
        return means | dict(zip(self.counts, parts[2 * len(self.ratios) :], strict=True))
