"""The encoder without its head."""

import inspect
from typing import Any

from torch import Tensor, nn

from weam_ext.data.collate import Batch
from weam_ext.model.families import family_of


class Encoder:
    """A Hugging Face encoder on batches."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        config: Any = module.config
        self._family = family_of(module)
        # Whether it tells the two sentences of a pair apart by segment ids.
        takes = "token_type_ids" in inspect.signature(module.forward).parameters
        self._segments = takes and getattr(config, "type_vocab_size", 0) > 1
        # A mask [B, 1, 1, L] goes to torch's attention as it is; of a mask [B, L] transformers asks
        # on the host, in each step, whether it masks anything.
        local = self._family.local_attention
        self._plain_attention = not local and config._attn_implementation == "sdpa"

    def __call__(
        self, input_ids: Tensor, batch: Batch, layer: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The hidden vectors [B, L, H] of the last layer and of layer 1 .. L; None: the last again.

        Both are as the head takes them.
        """
        if layer is None:
            hidden: Tensor = self.module(**self._inputs(input_ids, batch))[0]
            return hidden, hidden
        output = self.module(**self._inputs(input_ids, batch), output_hidden_states=True)
        states, norm = output.hidden_states, self._family.final_norm
        if layer == len(states) - 1:  # transformers gives it after the final norm
            return output[0], output[0]
        inner = states[layer]
        return output[0], self.module.get_submodule(norm)(inner) if norm else inner

    def _inputs(self, input_ids: Tensor, batch: Batch) -> dict[str, Any]:
        attention = batch.attention_mask
        if attention is not None and self._plain_attention:
            attention = attention[:, None, None, :].bool()
        inputs = {"input_ids": input_ids, "attention_mask": attention}
        if self._segments:
            inputs["token_type_ids"] = batch.token_type_ids
        return inputs
