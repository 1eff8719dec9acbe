"""What is learned: MLM, TLM and WEAM over any Hugging Face masked language model.

All three mask tokens and predict them; they differ in whether the two sentences of a pair see each
other, and in whether the predictions of linked words are exchanged (method.md, sections 1 and 2).
"""

import inspect
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from weam_ext.batch import Batch
from weam_ext.errors import InputError
from weam_ext.gather import gather_rows, row_labels, row_weights
from weam_ext.head import PredictionHead, predict, split_model
from weam_ext.mask import MaskedRows, mask_tokens


class Objective(NamedTuple):
    """How pairs are shown to the model and what is asked of it."""

    pair: bool
    """Both sentences in one sequence, or each alone."""
    exchange: bool
    """Also predict each masked token from the rows of the tokens it is linked to."""


OBJECTIVES = {
    "mlm": Objective(pair=False, exchange=False),  # Devlin et al. 2019
    "tlm": Objective(pair=True, exchange=False),  # Conneau & Lample 2019
    "weam": Objective(pair=True, exchange=True),  # Yang et al. 2021
}


def objective(name: str) -> Objective:
    """One of `OBJECTIVES`; `InputError` for another name."""
    if name not in OBJECTIVES:
        raise InputError(f"unknown objective {name!r}; there are {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


@dataclass(frozen=True)
class Masking:
    """The masking of a run (see `weam_ext.mask.mask_tokens`)."""

    seed: int
    probability: float
    mask_id: int
    replacements: Tensor
    """[K] int64 on the model's device: the vocabulary without its special tokens."""
    policy: str = "independent"
    unit: str = "token"
    exact: bool = False
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)

    @classmethod
    def of(cls, tokenizer: Any, *, device: torch.device, **settings: Any) -> Self:
        """The masking with a tokenizer's ids; `settings` are the other fields."""
        special = set(tokenizer.all_special_ids)
        ordinary = [i for i in range(len(tokenizer)) if i not in special]
        return cls(
            mask_id=int(tokenizer.mask_token_id),
            replacements=torch.tensor(ordinary, device=device),
            **settings,
        )

    def __call__(self, batch: Batch, *, exchange: bool) -> MaskedRows:
        capacity, exchange_capacity = batch.capacities(self.probability, self.unit, self.exact)
        return mask_tokens(
            batch.input_ids,
            batch.words,
            batch.draws,
            batch.links,
            seed=self.seed,
            probability=self.probability,
            shares=self.shares,
            mask_id=self.mask_id,
            replacements=self.replacements,
            capacity=capacity,
            exchange_capacity=exchange_capacity if exchange else 0,
            policy=self.policy,
            unit=self.unit,
            exact=self.exact,
        )


@dataclass(frozen=True)
class Sums:
    """Sums over the masked tokens of one or more batches, 0-dim tensors; losses in nats."""

    loss: Tensor
    """L_mp + lambda * L_cp before the division by `count`; the one that can be differentiated."""
    count: Tensor
    """Masked tokens."""
    multilingual: Tensor
    multilingual_correct: Tensor
    cross_lingual: Tensor
    """The cross-lingual prediction; of a token without a link it is the multilingual one."""
    cross_lingual_correct: Tensor
    linked: Tensor
    """Masked tokens with a link."""
    linked_correct: Tensor
    """Of those, the ones that the cross-lingual prediction gets right."""
    overflow: Tensor
    """Batches whose rows did not fit: above 0 there is an error in the program."""

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            *(
                getattr(self, f.name).detach() + getattr(other, f.name).detach()
                for f in fields(self)
            )
        )

    def means(self, *, exchange: bool = True) -> dict[str, float]:
        """Mean losses and accuracies, on the host; 0 where there was nothing to predict.

        `exchange` includes the cross-lingual prediction.
        """
        names = [field.name for field in fields(self)]
        values = torch.stack([getattr(self, name).detach().double() for name in names]).tolist()
        sums = dict(zip(names, values, strict=True))
        if sums["overflow"]:
            raise RuntimeError("more tokens were masked than the batch has rows for")
        count, linked = max(1.0, sums["count"]), max(1.0, sums["linked"])
        means = {
            "loss": sums["loss"] / count,
            "multilingual_loss": sums["multilingual"] / count,
            "multilingual_accuracy": sums["multilingual_correct"] / count,
            "masked": sums["count"],
        }
        if not exchange:
            return means
        return means | {
            "cross_lingual_loss": sums["cross_lingual"] / count,
            "cross_lingual_accuracy": sums["cross_lingual_correct"] / count,
            "linked_accuracy": sums["linked_correct"] / linked,
            "linked": sums["linked"],
        }


class MaskedPredictor(nn.Module):
    """A masked language model as the objectives use it: encoder, gather, head on masked rows.

    Args:
        model: a Hugging Face masked language model of a supported family (`split_model`).
        exchange_weight: lambda.
        chunk_rows: as for `linear_cross_entropy`.
    """

    def __init__(
        self, model: nn.Module, *, exchange_weight: float, chunk_rows: int | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self._encoder, self._head = split_model(model)
        self._segments = _takes_segments(self._encoder)
        self._plain_attention = _attends_to_all(self._encoder)
        self.exchange_weight = exchange_weight
        self.chunk_rows = chunk_rows

    def forward(self, batch: Batch, masked: MaskedRows) -> Sums:
        """The sums of a batch; L_cp is there where `masked` has exchanged rows."""
        attention = batch.attention_mask
        if attention is not None and self._plain_attention:
            attention = attention[:, None, None, :].bool()
        inputs = {"input_ids": masked.input_ids, "attention_mask": attention}
        if self._segments:
            inputs["token_type_ids"] = batch.token_type_ids
        hidden = self._encoder(**inputs)[0]
        return masked_sums(self._head, hidden, batch, masked, self.exchange_weight, self.chunk_rows)


def masked_sums(
    head: PredictionHead,
    hidden: Tensor,
    batch: Batch,
    masked: MaskedRows,
    exchange_weight: float,
    chunk_rows: int | None,
) -> Sums:
    """Both predictions from the hidden vectors [B, L, H] (method.md, section 1).

    A masked token without a link has one row for both predictions, weighted 1 + lambda.
    """
    exchanged_rows = masked.exchanged.numel()
    if exchanged_rows == 0:
        exchange_weight = 0.0
    weights, labels = row_weights(masked, exchange_weight), row_labels(masked)
    rows = gather_rows(hidden, masked, batch.links if exchanged_rows else None)
    result = predict(head, rows, labels, weights, chunk_rows)

    own, exchanged = result.losses.tensor_split([masked.positions.numel()])
    own_correct, exchanged_correct = result.correct.tensor_split([masked.positions.numel()])
    alone = torch.ones_like(own_correct)
    if exchanged_rows:
        has_link = masked.exchanged_of[masked.positions.clamp(min=0)] >= 0
        alone = ~has_link
    return Sums(
        loss=result.total,
        count=masked.count,
        multilingual=own.sum(),
        multilingual_correct=own_correct.sum(),
        cross_lingual=exchanged.sum() + (own * alone).sum(),
        cross_lingual_correct=exchanged_correct.sum() + (own_correct & alone).sum(),
        linked=masked.exchanged_count,
        linked_correct=exchanged_correct.sum(),
        overflow=masked.overflow.long(),
    )


def _takes_segments(encoder: nn.Module) -> bool:
    """Whether the encoder tells the two sentences apart by segment ids."""
    config: Any = encoder.config
    takes = "token_type_ids" in inspect.signature(encoder.forward).parameters
    return takes and getattr(config, "type_vocab_size", 0) > 1


def _attends_to_all(encoder: nn.Module) -> bool:
    """Whether a mask [B, 1, 1, L] can be handed to torch's attention as it is.

    Of a mask [B, L] transformers asks on the host, in each step, whether it masks anything.
    ModernBERT needs it to make the masks of its local attention.
    """
    config: Any = encoder.config
    return bool(config.model_type != "modernbert" and config._attn_implementation == "sdpa")
