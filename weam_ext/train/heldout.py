"""Held-out losses, measured alike whatever was trained, for each corpus and for all of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from weam_ext.data.collate import Batch, Collator
from weam_ext.data.shards import Shards
from weam_ext.model.sums import Sums
from weam_ext.train.objectives import Objective

TOGETHER, APART, OWN = "together", "apart", "own"


class Heldout:
    """The held-out samples of a run, and how they are shown to the model.

    Both predictions are measured with the true links, all counting the same, once with the
    sentences of a pair in one sequence and once with each in its own, with single tokens masked,
    the same ones in every run. An objective that masks nothing is measured by its own loss too.
    Every process measures all.
    """

    def __init__(
        self,
        shards: Shards,
        tokenizer: Any,
        objective: Objective,
        *,
        batch_size: int,
        device: torch.device,
    ) -> None:
        both = replace(objective.layout, linked=True, one_to_one=False, anchors=False, soft=False)
        if both.link_mode == "last":  # of word-aligned, whose loss is not one of masked tokens
            both = replace(both, link_mode="all")
        layouts = {TOGETHER: replace(both, together=True), APART: replace(both, together=False)}
        if not objective.masks:
            layouts[OWN] = objective.layout
        self._collators = {name: Collator(tokenizer, each) for name, each in layouts.items()}
        self._own = OWN if OWN in layouts else TOGETHER if objective.layout.together else APART
        self._shards, self._objective = shards, objective
        self._batch_size, self._device = batch_size, device

    @torch.no_grad()
    def measure(self, forward: Callable[..., Sums]) -> dict[str, dict[str, float]]:
        """Means by corpus, and of "all" bitexts (of all text, where there is no bitext).

        `forward` is the objective, or what it is wrapped in. "loss" is what checkpoints are
        compared by, "apart_multilingual_loss" and its like are those of sentences encoded apart.
        """
        found: dict[str, dict[str, Sums]] = {}
        for number, name in enumerate(self._shards.names):
            if (self._shards.corpus == number).any():
                found[name] = {
                    layout: self._sums(forward, number, layout) for layout in self._collators
                }
        bitexts = [c.name for c in self._shards.corpora if c.name in found and c.kind == "bitext"]
        bitexts = bitexts or list(found)
        everything = {
            layout: sum((found[name][layout] for name in bitexts[1:]), found[bitexts[0]][layout])
            for layout in self._collators
        }
        return {"all": self._means(everything)} | {
            name: self._means(sums) for name, sums in found.items()
        }

    def _sums(self, forward: Callable[..., Sums], corpus: int, layout: str) -> Sums:
        parts = (forward(batch, heldout=layout != OWN) for batch in self._batches(corpus, layout))
        first = next(parts)
        return sum(parts, first)

    def _batches(self, corpus: int, layout: str) -> Iterator[Batch]:
        samples = (self._shards.corpus == corpus).nonzero()[0]
        samples = samples[self._shards.sides[samples].sum(1).argsort(kind="stable")]
        for begin in range(0, len(samples), self._batch_size):
            members = [(k, k) for k in samples[begin : begin + self._batch_size].tolist()]
            yield self._collators[layout](self._shards, members).to(self._device)

    def _means(self, sums: dict[str, Sums]) -> dict[str, float]:
        means = {layout: each.means() for layout, each in sums.items()}
        losses = {f"apart_{name}": value for name, value in means[APART].items() if "_" in name}
        own = {} if self._own != OWN else {k: v for k, v in means[OWN].items() if k != "loss"}
        loss = self._objective.heldout_loss(means[self._own])
        return means[TOGETHER] | losses | own | {"loss": loss}
