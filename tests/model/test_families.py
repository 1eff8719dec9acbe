"""Families: what is particular to each, and what is said of another."""

import pytest
import torch
import transformers
from small_models import MODELS, SIZES, each_family, tiny

from weam_ext.common.errors import InputError
from weam_ext.model.families import FAMILIES, family_of
from weam_ext.model.heads import split_model


def test_a_model_of_another_family_gets_a_sentence() -> None:
    with pytest.raises(InputError, match=r"split a Linear into .* BertForMaskedLM, Roberta"):
        split_model(torch.nn.Linear(2, 2))

    class Mine(transformers.BertForMaskedLM):
        pass

    assert split_model(Mine(transformers.BertConfig(**SIZES)))[1].weight.shape == (70, 16)


def test_every_family_is_tried_here() -> None:
    assert {f"{family.name}ForMaskedLM" for family in FAMILIES.values()} == set(MODELS)


@each_family
def test_what_a_family_names_is_there(family: str) -> None:
    model = tiny(family)
    found = family_of(model)
    assert found is family_of(model.base_model) and f"{found.name}ForMaskedLM" == family
    for name in found.parts:
        assert model.get_submodule(name) is not None
    if found.final_norm:
        assert isinstance(model.base_model.get_submodule(found.final_norm), torch.nn.Module)
