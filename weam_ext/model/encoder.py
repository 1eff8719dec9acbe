"""The encoder without its head."""

import inspect
from typing import Any

from torch import Tensor, nn

from weam_ext.data.collate import Batch


class Encoder:
    """A Hugging Face encoder on batches."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._segments = _takes_segments(module)
        self._plain_attention = _attends_to_all(module)

    def __call__(self, input_ids: Tensor, batch: Batch) -> Tensor:
        """The hidden vectors [B, L, H] of the last layer."""
        hidden: Tensor = self.module(**self._inputs(input_ids, batch))[0]
        return hidden

    def with_layer(self, input_ids: Tensor, batch: Batch, layer: int) -> tuple[Tensor, Tensor]:
        """Those of the last layer and of layer 1 .. L, both as the head takes them."""
        output = self.module(**self._inputs(input_ids, batch), output_hidden_states=True)
        inner = output.hidden_states[layer]
        # ModernBERT's layers add to a stream that is normalised once, at its end.
        norm = getattr(self.module, "final_norm", None)
        return output[0], inner if norm is None else norm(inner)

    def _inputs(self, input_ids: Tensor, batch: Batch) -> dict[str, Any]:
        attention = batch.attention_mask
        if attention is not None and self._plain_attention:
            attention = attention[:, None, None, :].bool()
        inputs = {"input_ids": input_ids, "attention_mask": attention}
        if self._segments:
            inputs["token_type_ids"] = batch.token_type_ids
        return inputs


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
