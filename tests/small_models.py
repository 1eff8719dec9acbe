"""A small masked language model of each family, made here: nothing is fetched."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

SIZES = {
    "vocab_size": 70,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}


DISTILBERT = {"vocab_size": 70, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}


TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1}


MODELS = {
    "BertForMaskedLM": ("BertConfig", SIZES),
    "RobertaForMaskedLM": ("RobertaConfig", SIZES),
    "XLMRobertaForMaskedLM": ("XLMRobertaConfig", SIZES),
    "CamembertForMaskedLM": ("CamembertConfig", SIZES),
    "DistilBertForMaskedLM": ("DistilBertConfig", DISTILBERT),
    "ModernBertForMaskedLM": ("ModernBertConfig", SIZES | TOKENS | {"sep_token_id": 2}),
}


each_family = pytest.mark.parametrize("family", MODELS)


def tiny(family: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    config, sizes = MODELS[family]
    model = getattr(transformers, family)(getattr(transformers, config)(**(sizes | settings)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def tokens() -> Tensor:
    return torch.randint(5, 70, (3, 7), generator=torch.Generator().manual_seed(1))


def gradients_of(total: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(total, of, materialize_grads=True))
