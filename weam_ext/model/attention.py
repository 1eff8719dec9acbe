"""Attention over sequences that lie one after the other, without padding.

Registered with transformers under the name `PACKED`: a model whose attention is set to it
(`pack`) takes the tokens of a batch as one row [1, N] beside `cu_seq_lens_q`, and every token
attends to those of its own sequence alone. On a GPU that is torch's `varlen_attn`, which is flash
attention; on a CPU it is done sequence by sequence.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from weam_ext.common.errors import InputError
from weam_ext.model.families import FAMILIES, family_of

PACKED = "weam_packed"
PADDING = ("auto", "always", "never")
_FLASH_SINCE = (8, 0)
"""The compute capability that flash attention needs."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The attention function of transformers' interface, without dropout of the weights.

    `query`, `key` and `value` [1, heads, N, D] -> [1, N, heads, D]. Sequence b has the tokens
    `cu_seq_lens_q`[b] to [b + 1], int32 [B + 1], at most `max_length_q`. A token attends to those
    fewer than `sliding_window` away, where there is one. Without `cu_seq_lens_q` the batch is a
    padded one, which torch's own attention does.
    """
    if cu_seq_lens_q is None:
        others |= {"scaling": scaling, "sliding_window": sliding_window}
        padded: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **others
        )
        return padded
    q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
    window = -1 if sliding_window is None else sliding_window - 1
    if query.device.type == "cpu":
        return _by_sequence(q, k, v, cu_seq_lens_q, scaling, window)[None], None
    from torch.nn.attention.varlen import varlen_attn

    assert max_length_q is not None
    bounds, most, near = cu_seq_lens_q, max_length_q, (window, window)
    found: Any = varlen_attn(q, k, v, bounds, bounds, most, most, scale=scaling, window_size=near)
    return found[None], None


def _by_sequence(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scaling: float | None, window: int
) -> Tensor:
    """[N, heads, D], attended to from `window` away; -1 is from anywhere."""
    sizes = bounds.diff().tolist()
    made = []
    for q, k, v in zip(*(torch.split(each, sizes) for each in (query, key, value)), strict=True):
        places = torch.arange(len(q))
        near = (places[:, None] - places).abs() <= window if window >= 0 else None
        q, k, v = (each.transpose(0, 1)[None] for each in (q, k, v))
        one = F.scaled_dot_product_attention(q, k, v, attn_mask=near, scale=scaling)
        made.append(one[0].transpose(0, 1))
    return torch.cat(made)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)  # of padded batches; packed ones have none


def takes_ready_masks(encoder: Any) -> bool:
    """Whether torch's attention does it, to which a `ready_mask` goes as it is.

    Of a mask [B, L] transformers asks on the host, in each step, whether it masks anything, for
    which a GPU would be waited for; and makes the masks of local attention from it.
    """
    config = encoder.config
    family = FAMILIES.get(config.model_type)
    known = family is not None and not family.local_attention
    return bool(known and config._attn_implementation == "sdpa")


def ready_mask(mask: Tensor) -> Tensor:
    """A mask [B, L] as torch's attention takes it, bool [B, 1, 1, L]."""
    return mask[:, None, None, :].bool()


def is_packed(module: Any) -> bool:
    """Whether a model takes its sequences without padding."""
    return bool(module.config._attn_implementation == PACKED)


def set_padding(model: Any, padding: str, device: torch.device, precision: str) -> None:
    """Let a model take its sequences without padding where `padding`, of `PADDING`, says so.

    "never" leaves the dropout of attention weights out; "auto" is "never" on a GPU, where the model
    has no such dropout and flash attention can do it. Raises `InputError` where "never" cannot be.
    """
    hindrance = _hindrance(model, device, precision)
    if padding == "never" and hindrance:
        raise InputError(f"--padding never: {hindrance}")
    on_gpu = device.type == "cuda" and not hindrance and not _attention_dropout(model)
    if padding == "never" or (padding == "auto" and on_gpu):
        model.set_attn_implementation(PACKED)


def _attention_dropout(model: Any) -> float:
    return float(getattr(model.config, family_of(model).attention_dropout))


def _hindrance(model: Any, device: torch.device, precision: str) -> str | None:
    """Why flash attention cannot do it; nothing where it can, or is not needed."""
    if device.type != "cuda":
        return None
    width = model.config.hidden_size // model.config.num_attention_heads
    if precision == "fp32":
        return "attention without padding needs --precision bf16"
    if width % 8 or width > 256:
        return f"attention heads of {width} numbers are not a multiple of 8, at most 256"
    if torch.cuda.get_device_capability(device) < _FLASH_SINCE:
        return f"attention without padding needs a GPU of capability {_FLASH_SINCE[0]} or above"
    return None
