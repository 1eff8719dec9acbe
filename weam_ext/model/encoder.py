"""The encoder without its head."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from weam_ext.data.collate import Batch
from weam_ext.model.attention import is_packed, ready_mask, takes_ready_masks
from weam_ext.model.families import family_of
from weam_ext.ops.mask import take


class Encoder:
    """A Hugging Face encoder on batches.

    A model that `weam_ext.model.attention.set_padding` let do without padding gets the tokens of
    all sequences as one row; its hidden vectors are padded once, at the end.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        config: Any = module.config
        self._family = family_of(module)
        # Whether it tells the two sentences of a pair apart by segment ids.
        takes = "token_type_ids" in inspect.signature(module.forward).parameters
        self._segments = takes and getattr(config, "type_vocab_size", 0) > 1
        self._ready_masks = takes_ready_masks(module)
        self._first_position = self._family.first_position(config)
        # Where layers differ, their masks are given by name, and none is made.
        kinds = ("full_attention", "sliding_attention")
        self._no_mask = dict.fromkeys(kinds) if self._family.local_attention else None

    def __call__(
        self, input_ids: Tensor, batch: Batch, layer: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The hidden vectors [B, L, H] of the last layer and of layer 1 .. L; None: the last again.

        Both are as the head takes them. On padding they are anything, and zero without padding.
        """
        packed = is_packed(self.module)
        inputs = self._packed(input_ids, batch) if packed else self._inputs(input_ids, batch)
        last, inner = self._layers(inputs, layer)
        if not packed:
            return last, inner
        padded = _padded(last, batch)
        return padded, padded if inner is last else _padded(inner, batch)

    def _layers(self, inputs: dict[str, Any], layer: int | None) -> tuple[Tensor, Tensor]:
        if layer is None:
            hidden: Tensor = self.module(**inputs)[0]
            return hidden, hidden
        output = self.module(**inputs, output_hidden_states=True)
        states, norm = output.hidden_states, self._family.final_norm
        if layer == len(states) - 1:  # transformers gives it after the final norm
            return output[0], output[0]
        inner = states[layer]
        return output[0], self.module.get_submodule(norm)(inner) if norm else inner

    def _inputs(self, input_ids: Tensor, batch: Batch) -> dict[str, Any]:
        attention = batch.attention_mask
        if attention is not None and self._ready_masks:
            attention = ready_mask(attention)
        inputs = {"input_ids": input_ids, "attention_mask": attention}
        if self._segments:
            inputs["token_type_ids"] = batch.token_type_ids
        return inputs

    def _packed(self, input_ids: Tensor, batch: Batch) -> dict[str, Any]:
        """The same without padding, in transformers' form of it."""
        packed = batch.packed
        inputs = {
            "input_ids": _at(input_ids, packed.positions),
            "position_ids": (packed.places + self._first_position)[None],
            "attention_mask": self._no_mask,
            "cu_seq_lens_q": packed.bounds,
            "cu_seq_lens_k": packed.bounds,
            "max_length_q": input_ids.shape[1],
            "max_length_k": input_ids.shape[1],
        }
        if self._segments:
            inputs["token_type_ids"] = _at(batch.token_type_ids, packed.positions)
        return inputs


def _at(values: Tensor, positions: Tensor) -> Tensor:
    """Those of [B, L] at flattened positions [N], as [1, N]."""
    return values.reshape(-1).index_select(0, positions)[None]


def _padded(vectors: Tensor, batch: Batch) -> Tensor:
    """Vectors [1, N, H] of a packed batch as [B, L, H], zero on padding."""
    rows, positions = batch.packed.rows, batch.packed.positions
    padded: Tensor = _Pad.apply(vectors[0], rows, positions)  # type: ignore[no-untyped-call]
    return padded.view(*batch.input_ids.shape, -1)


class _Pad(torch.autograd.Function):
    """[N, H] -> [B * L, H]: a gather both ways, since no vector is read twice.

    So the backward adds nothing up, and gives the same bits every time.
    """

    @staticmethod
    def forward(vectors: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        return take(vectors, rows, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (positions,) = ctx.saved_tensors
        return gradients[0].index_select(0, positions), None, None
