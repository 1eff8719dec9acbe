"""The WEAM step as one would write it at first: a dense matrix of links, whole logits.

Only the random numbers are weam_ext's, so that every way predicts the same tokens.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weam_ext.data.collate import Batch
from weam_ext.data.loader import Request
from weam_ext.ops.constants import MASKING
from weam_ext.ops.mask import MaskedRows
from weam_ext.ops.philox import philox_words, threshold
from weam_ext.train.loop import Trainer
from weam_ext.train.objectives import Masking


def dense_links(batch: Batch) -> Tensor:
    """The 0/1 matrix [B, L, L] of a batch's token links, float32."""
    assert batch.links is not None
    offsets, linked = batch.links[:2]
    size, length = batch.input_ids.shape
    rows = torch.arange(size * length, device=offsets.device)
    rows = rows.repeat_interleave(offsets.diff(), output_size=linked.numel())
    matrix = torch.zeros(size * length, length, device=offsets.device)
    matrix[rows, linked % length] = 1
    return matrix.view(size, length, length)


def exclusive_mask(batch: Batch, masking: Masking, links: Tensor) -> tuple[Tensor, Tensor]:
    """The ids after exclusive masking, and which were masked, each [B, L]."""
    ids = batch.input_ids
    place = torch.arange(ids.shape[1], device=ids.device)
    choice, kind, which, _ = philox_words(masking.seed, batch.draws[:, None], place, MASKING)
    chosen = (batch.words >= 0) & (choice < threshold(masking.probability))
    beats = chosen[:, None, :] & (choice[:, None, :] <= choice[:, :, None])
    masked = chosen & ~((links > 0) & beats).any(-1)
    random = masking.replacements[(which * masking.replacements.numel()) >> 32]
    bounds = [threshold(sum(masking.shares[:end])) for end in (1, 2)]
    changed = torch.where(kind < bounds[1], random, ids)
    changed = torch.where(kind < bounds[0], masking.mask_id, changed)
    return torch.where(masked, changed, ids), masked


def exchanged(hidden: Tensor, links: Tensor) -> Tensor:
    """R~ [B, L, H]: the mean of the linked vectors; the vector itself where there is no link."""
    degrees = links.sum(-1, keepdim=True)
    means = (links.to(hidden.dtype) @ hidden) / degrees.clamp(min=1).to(hidden.dtype)
    return torch.where(degrees > 0, means, hidden)


class AllTokens(nn.Module):
    """Both heads over every token of the batch; the loss is read where the labels are."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, masked: MaskedRows, links: Tensor) -> Tensor:
        """L_mp + L_cp, summed over the masked tokens."""
        hidden = encode(self.model, batch, masked)
        labels = torch.full_like(masked.row_of, -100)
        labels = torch.where(masked.row_of >= 0, masked.labels[masked.row_of.clamp(min=0)], labels)
        return sum_of_losses(
            self.model.cls, hidden.flatten(0, 1), exchanged(hidden, links).flatten(0, 1), labels
        )


class MaskedRowsAlone(nn.Module):
    """Both heads over the masked rows, both over all of them; logits of all rows at once."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, masked: MaskedRows, links: Tensor) -> Tensor:
        """L_mp + L_cp, summed over the masked tokens."""
        hidden = encode(self.model, batch, masked)
        at = masked.positions.clamp(min=0)
        own, others = (rows.flatten(0, 1)[at] for rows in (hidden, exchanged(hidden, links)))
        return sum_of_losses(self.model.cls, own, others, masked.labels)


def encode(model: nn.Module, batch: Batch, masked: MaskedRows) -> Tensor:
    """The encoder's last hidden vectors [B, L, H]."""
    return model.bert(
        input_ids=masked.input_ids,
        attention_mask=batch.attention_mask,
        token_type_ids=batch.token_type_ids,
    )[0]


def sum_of_losses(head: nn.Module, own: Tensor, others: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropies [M] of both predictions, from two [M, H], added up."""
    predictions = (F.cross_entropy(head(r), labels, reduction="sum") for r in (own, others))
    return sum(predictions, torch.zeros((), device=labels.device))


def plain_step(
    trainer: Trainer, module: nn.Module
) -> Callable[[], tuple[Tensor, Tensor, list[Request]]]:
    """A trainer's step in a plain way, with the same batches, masks, precision and optimizer.

    It gives the mean loss and the number of masked tokens, still on the device, and the request.
    """

    def step() -> tuple[Tensor, Tensor, list[Request]]:
        trainer.objective.train()
        trainer._seed_generators()
        batch, request = next(trainer.feed)
        masked = trainer.objective.masking(batch, exchange=True)
        with trainer._autocast():
            loss = module(batch, masked, dense_links(batch)) / masked.count
        loss.backward()
        nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.settings.clip)
        trainer.optimizer.step()
        trainer.schedule.step()
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.step += 1
        return loss.detach(), masked.count, [request]

    return step
