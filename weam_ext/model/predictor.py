"""A masked language model as the objectives use it: encoder, gather, head on masked rows."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from weam_ext.data.collate import Batch
from weam_ext.model.encoder import Encoder
from weam_ext.model.heads import predict, second_head, split_model
from weam_ext.model.sums import Ratio, Sums
from weam_ext.ops.constants import IGNORED, UNUSED
from weam_ext.ops.cross_entropy import RowLosses
from weam_ext.ops.gather import gather_rows, row_labels, row_weights
from weam_ext.ops.mask import MaskedRows, number_rows, take


class MaskedPredictor(nn.Module):
    """Both predictions of masked tokens: from their own vectors, and from those of their links.

    Args:
        model: a Hugging Face masked language model of a supported family (`split_model`).
        exchange_weight: lambda.
        separate_head: the cross-lingual prediction has a head of its own (`second_head`).
        exchange_layer: the layer whose hidden vectors are exchanged; None: the last.
        languages: languages with a learned vector each, added to a row before the head; 0: none.
        chunk_rows: as for `linear_cross_entropy`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        exchange_weight: float,
        separate_head: bool = False,
        exchange_layer: int | None = None,
        languages: int = 0,
        chunk_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        module, self._head = split_model(model)
        self.encoder = Encoder(module)
        self.cross_lingual_head: nn.ModuleList | None = None
        self._cross_lingual_head = self._head
        if separate_head:
            self.cross_lingual_head, self._cross_lingual_head = second_head(model)
        self.language_vectors: nn.Parameter | None = None
        if languages:
            zeros = torch.zeros(languages, self._head.weight.shape[1])
            self.language_vectors = nn.Parameter(zeros)
        self.exchange_layer = exchange_layer
        self.exchange_weight = exchange_weight
        self.chunk_rows = chunk_rows

    @property
    def output_size(self) -> tuple[int, int]:
        """V and H."""
        vocabulary, width = self._head.weight.shape
        return vocabulary, width

    def forward(self, batch: Batch, masked: MaskedRows, exchange: bool = True) -> Sums:
        """The sums of a batch, with L_cp if `exchange`: `masked` must then have exchanged rows."""
        layer = self.exchange_layer if exchange else None
        hidden, inner = self.encoder(masked.input_ids, batch, layer)
        paired = _paired(batch, masked) if exchange else None
        if paired is not None and self.cross_lingual_head is None and layer is None:
            losses = self._both_at_once(hidden, batch, masked, paired)
        else:
            losses = self._multilingual(hidden, batch, masked)
            if paired is not None:
                losses = self._with_cross_lingual(losses, inner, batch, masked, paired)
        return _sums(losses, masked, paired)

    def _multilingual(self, hidden: Tensor, batch: Batch, masked: MaskedRows) -> "_Losses":
        """The predictions of masked tokens from their own vectors."""
        alone = replace(masked, exchanged=masked.exchanged[:0])
        rows = self._marked(gather_rows(hidden, alone, None), batch, masked.positions)
        weights = (masked.positions >= 0).float()
        own = predict(self._head, rows, masked.labels, weights, self.chunk_rows)
        return _Losses(own.total, own)

    def _both_at_once(
        self, hidden: Tensor, batch: Batch, masked: MaskedRows, paired: Tensor
    ) -> "_Losses":
        """Both predictions of one head from one layer, in one product.

        A masked token without a link has one row for both, weighted 1 + lambda.
        """
        weights = row_weights(masked, self.exchange_weight, paired)
        at = torch.cat([masked.positions, take(masked.positions, masked.exchanged, UNUSED)])
        rows = self._marked(gather_rows(hidden, masked, batch.links), batch, at)
        result = predict(self._head, rows, row_labels(masked), weights, self.chunk_rows)
        own, exchanged = _split(result, masked.positions.numel())
        alone = paired & ~_linked(masked)
        unlinked = RowLosses(result.total, own.losses * alone, own.correct & alone)
        return _Losses(result.total, own, exchanged, unlinked)

    def _with_cross_lingual(
        self, losses: "_Losses", inner: Tensor, batch: Batch, masked: MaskedRows, paired: Tensor
    ) -> "_Losses":
        """With another head's or layer's predictions, those of tokens without a link too."""
        exchanged = gather_rows(inner, masked, batch.links)
        # A list of static size: all unlinked tokens, or all masked ones, could be in it.
        most = min(batch.unlinked, masked.positions.numel())
        unlinked, _ = number_rows(paired & ~_linked(masked), most)
        which = torch.cat([masked.exchanged, unlinked])  # the masked row of each
        at = masked.positions.numel()
        rows = torch.cat([exchanged[at:], take(exchanged[:at], unlinked, 0)])
        rows = self._marked(rows, batch, take(masked.positions, which, UNUSED))
        weights = self.exchange_weight * (which >= 0).float()
        labels = take(masked.labels, which, IGNORED)
        cross = predict(self._cross_lingual_head, rows, labels, weights, self.chunk_rows)
        total = losses.total + cross.total
        return _Losses(total, losses.own, *_split(cross, masked.exchanged.numel()))

    def _marked(self, rows: Tensor, batch: Batch, positions: Tensor) -> Tensor:
        """The rows, told the language of the token at each one's position."""
        if self.language_vectors is None:
            return rows
        assert batch.languages is not None
        languages = take(batch.languages.reshape(-1), positions, 0)
        return rows + self.language_vectors[languages].to(rows.dtype)


def _paired(batch: Batch, masked: MaskedRows) -> Tensor:
    """Whether each masked row [R] is a token of a pair."""
    sequences = masked.positions.clamp(min=0) // batch.input_ids.shape[1]
    return batch.paired[sequences] & (masked.positions >= 0)


def _linked(masked: MaskedRows) -> Tensor:
    """Whether each masked row [R] has an exchanged one."""
    return take(masked.exchanged_of, masked.positions, UNUSED) >= 0


def _split(result: RowLosses, at: int) -> tuple[RowLosses, RowLosses]:
    losses, correct = result.losses.tensor_split([at]), result.correct.tensor_split([at])
    return (
        RowLosses(result.total, losses[0], correct[0]),
        RowLosses(result.total, losses[1], correct[1]),
    )


class _Losses(NamedTuple):
    """The loss of a batch, and the losses of the rows that it is made of.

    The cross-lingual prediction of a token without a link is its own vector's.
    """

    total: Tensor
    own: RowLosses
    """The multilingual predictions."""
    exchanged: RowLosses | None = None
    """The cross-lingual predictions of tokens with a link."""
    unlinked: RowLosses | None = None
    """Those of tokens without one."""


def _sums(losses: _Losses, masked: MaskedRows, paired: Tensor | None) -> Sums:
    count, own = masked.count, losses.own
    ratios = {
        "multilingual_loss": Ratio(own.losses.sum(), count),
        "multilingual_accuracy": Ratio(own.correct.sum(), count),
    }
    counts = {"masked": count}
    if losses.exchanged and losses.unlinked and paired is not None:
        exchanged, alone, predicted = losses.exchanged, losses.unlinked, paired.sum()
        linked = masked.exchanged_count
        correct = exchanged.correct.sum() + alone.correct.sum()
        ratios |= {
            "cross_lingual_loss": Ratio(exchanged.losses.sum() + alone.losses.sum(), predicted),
            "cross_lingual_accuracy": Ratio(correct, predicted),
            "linked_accuracy": Ratio(exchanged.correct.sum(), linked),
        }
        counts["linked"] = linked
    return Sums(losses.total, count, masked.overflow, ratios, counts)
