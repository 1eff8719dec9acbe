"""Robust fine-tuning, the rival explanation of robustness: Huang et al. 2021, arXiv 2104.08645.

`random` adds random noise to the embeddings of each step's examples (randomised smoothing);
`adversarial` adds the perturbation that one step of gradient ascent finds (Miyato et al. 2017,
arXiv 1605.07725); `augment` trains on distorted copies too, see `noise`. None reads parallel text,
but the lexicon's synonyms and translations, where `augment` is given them.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

WAYS = ("plain", "random", "adversarial", "augment")


class RobustTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer whose loss is that of perturbed embeddings.

    radius: length of each token's perturbation, relative to that of its embedding.
    """

    def __init__(self, *arguments: Any, way: str, radius: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.way = way
        self.radius = radius

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **named: Any
    ) -> Any:
        if self.way in ("plain", "augment") or not model.training:
            return super().compute_loss(model, inputs, return_outputs, **named)
        inputs = dict(inputs)
        ids = inputs.pop("input_ids")
        embeddings = self.model.get_input_embeddings()(ids)
        noise = torch.randn_like(embeddings)
        if self.way == "adversarial":
            noise = self._ascent(model, inputs, embeddings, named)
        inputs["inputs_embeds"] = embeddings + self._scaled(noise, embeddings)
        return super().compute_loss(model, inputs, return_outputs, **named)

    def _ascent(
        self, model: Any, inputs: dict[str, Any], embeddings: Tensor, named: dict[str, Any]
    ) -> Tensor:
        fixed = embeddings.detach().requires_grad_()
        loss = super().compute_loss(model, inputs | {"inputs_embeds": fixed}, False, **named)
        gradient: Tensor = torch.autograd.grad(loss, fixed)[0]
        return gradient

    def _scaled(self, direction: Tensor, embeddings: Tensor) -> Tensor:
        """The direction of each token with the length that it is due; no gradient flows through."""
        lengths = direction.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        due = self.radius * embeddings.detach().norm(dim=-1, keepdim=True)
        scaled: Tensor = direction.detach() / lengths * due
        return scaled
