"""Prediction heads split from their models, and second ones beside them."""

import pytest
import torch
import torch.nn.functional as F
from small_models import each_family, gradients_of, tiny, tokens

from weam_ext.model.heads import predict, second_head, split_model


@each_family
def test_encoder_and_head_give_the_logits_of_the_model(family: str) -> None:
    model = tiny(family)
    encoder, head = split_model(model)
    with torch.no_grad():
        expected = model(tokens()).logits
        logits = head(encoder(tokens())[0])
    assert expected.std() > 0.1
    assert torch.equal(logits, expected)
    assert head.weight is model.get_output_embeddings().weight
    assert (head.bias is None) == (model.get_output_embeddings().bias is None)


@each_family
@pytest.mark.parametrize("tied", [True, False])
def test_gradients_reach_the_parameters_of_the_model(family: str, tied: bool) -> None:
    model = tiny(family, tie_word_embeddings=tied)
    encoder, head = split_model(model)
    embeddings = model.get_input_embeddings().weight
    assert (head.weight is embeddings) == tied

    ids = tokens()
    labels = ids.flatten().where(torch.arange(21) % 3 == 0, -100)
    loss = F.cross_entropy(model(ids).logits.flatten(0, 1), labels, reduction="sum")
    expected = gradients_of(loss, *model.parameters())
    total = predict(head, encoder(ids)[0].flatten(0, 1), labels, torch.ones(21), 4).total
    gradients = gradients_of(total, *model.parameters())
    torch.testing.assert_close(total, loss)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@each_family
def test_the_head_follows_its_model(family: str) -> None:
    model = tiny(family)
    encoder, head = split_model(model)
    model.double()
    logits = head(encoder(tokens())[0])
    assert logits.dtype == head.weight.dtype == torch.float64


@each_family
def test_a_second_head_begins_as_the_first_and_shares_its_words(family: str) -> None:
    model = tiny(family)
    _, head = split_model(model)
    modules, second = second_head(model)
    hidden = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(second(hidden), head(hidden))
        assert second.weight is head.weight
        own = [p for p in modules.parameters() if p is not head.weight]
        assert own and not {id(p) for p in own} & {id(p) for p in model.parameters()}
        for parameter in own:
            parameter.zero_()
        assert not torch.equal(second(hidden), head(hidden))
