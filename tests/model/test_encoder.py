"""The encoder without its head: layers, padding and segments."""

from typing import Any

import pytest
import torch
from samples import sample_of
from small_models import each_family, tiny
from small_tokenizers import tokenizer

from weam_ext.data.collate import Batch, Collator, Layout
from weam_ext.model.encoder import Encoder


def batch_of(*words: int) -> Batch:
    """A pair for each number of words, of tokens that small models have."""
    samples: Any = [sample_of([*range(n)], [0, 1], [(0, 0)]) for n in words]
    return Collator(tokenizer("WordPiece"), Layout())(samples, [(k, k) for k in range(len(words))])


@each_family
def test_layers_are_as_the_head_takes_them(family: str) -> None:
    model = tiny(family, **({"n_layers": 2} if "Distil" in family else {"num_hidden_layers": 2}))
    encoder, batch = Encoder(model.base_model), batch_of(2, 4)
    with torch.no_grad():
        last, same = encoder(batch.input_ids, batch)
        assert same is last
        again, top = encoder(batch.input_ids, batch, layer=2)
        _, inner = encoder(batch.input_ids, batch, layer=1)
    ordinary = batch.attention_mask == 1
    torch.testing.assert_close(top[ordinary], last[ordinary])
    torch.testing.assert_close(again[ordinary], last[ordinary])
    assert not torch.allclose(inner, top)


@each_family
def test_padding_changes_nothing(family: str) -> None:
    encoder = Encoder(tiny(family).base_model)
    alone, beside = batch_of(2), batch_of(2, 5)
    assert alone.attention_mask is None and beside.attention_mask is not None
    width = alone.input_ids.shape[1]
    with torch.no_grad():
        one, _ = encoder(alone.input_ids, alone)
        two, _ = encoder(beside.input_ids, beside)
    torch.testing.assert_close(two[:1, :width], one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kinds", [1, 2])
def test_segments_are_told_where_a_model_has_them(kinds: int) -> None:
    encoder = Encoder(tiny("XLMRobertaForMaskedLM", type_vocab_size=kinds).base_model)
    batch = batch_of(3)
    assert ("token_type_ids" in encoder._inputs(batch.input_ids, batch)) == (kinds > 1)
