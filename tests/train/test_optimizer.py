"""weam_ext.train.optimizer: depths by parameter names, frozen layers, groups and schedules."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from weam_ext.common.errors import InputError
from weam_ext.model.families import layers_of
from weam_ext.model.predictor import MaskedPredictor
from weam_ext.train.optimizer import body, depths, freeze, layer_range, parameter_groups, schedule

LAYERS = 3
SIZES = {"vocab_size": 50, "hidden_size": 8, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
         "intermediate_size": 16, "max_position_embeddings": 20}  # fmt: skip
MAKE: dict[str, Any] = {
    "bert": lambda: BertForMaskedLM(BertConfig(**SIZES)),
    "xlm-roberta": lambda: XLMRobertaForMaskedLM(XLMRobertaConfig(**SIZES)),
    "distilbert": lambda: DistilBertForMaskedLM(
        DistilBertConfig(vocab_size=50, dim=8, n_layers=LAYERS, n_heads=2, hidden_dim=16)
    ),
    "modernbert": lambda: ModernBertForMaskedLM(ModernBertConfig(**SIZES, pad_token_id=0)),
}


@pytest.fixture(params=MAKE)
def predictor(request: pytest.FixtureRequest) -> MaskedPredictor:
    """With all the parameters that an objective may have beside its model's."""
    return MaskedPredictor(
        MAKE[request.param](), exchange_weight=1.0, separate_head=True, languages=3
    )


def levels(predictor: MaskedPredictor) -> dict[str, int]:
    """The depth of each parameter by where it lies, not by its name."""
    encoder = predictor.encoder.module
    known = {id(p): 0 for p in encoder.embeddings.parameters()}  # type: ignore[union-attr]
    for number, layer in enumerate(layers_of(encoder), 1):
        known |= {id(p): number for p in layer.parameters()}
    return {name: known.get(id(p), LAYERS + 1) for name, p in predictor.named_parameters()}


def test_depths(predictor: MaskedPredictor) -> None:
    found, expected = depths(predictor, LAYERS), levels(predictor)
    assert {name: found[p] for name, p in predictor.named_parameters()} == expected
    assert set(expected.values()) == set(range(LAYERS + 2))


@pytest.mark.parametrize("layers", range(LAYERS + 1))
def test_frozen_layers(predictor: MaskedPredictor, layers: int) -> None:
    freeze(predictor.model, layers)
    frozen = {name for name, p in predictor.named_parameters() if not p.requires_grad}
    inner = {name for name, level in levels(predictor).items() if level <= layers}
    assert frozen == (inner if layers else set())
    assert any(p.requires_grad for p in predictor.model.parameters())  # the head always is


@pytest.mark.parametrize(
    ("layers", "expected"), [("0-0", {1}), ("1-2", {2, 3}), ("0-2", {1, 2, 3})]
)
def test_a_range_of_frozen_layers(
    predictor: MaskedPredictor, layers: str, expected: set[int]
) -> None:
    freeze(predictor.model, layers)
    frozen = {name for name, p in predictor.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, level in levels(predictor).items() if level in expected}


@pytest.mark.parametrize("layers", [4, "1-3", "3-3"])
def test_more_frozen_than_there_are(predictor: MaskedPredictor, layers: int | str) -> None:
    with pytest.raises(InputError, match=f"--freeze-layers {layers}: the model has only 3 layers"):
        freeze(predictor.model, layers)


def test_how_layers_are_named() -> None:
    assert [layer_range(text) for text in ("0", "-1", "12", "0-5", "06-011")] == [
        0, -1, 12, "0-5", "6-11",
    ]  # fmt: skip
    for text in ("", "a", "5-0", "1-", "1-2-3", "1.5", "1 - 2"):
        with pytest.raises(InputError, match="neither a number of layers nor a range such as 0-5"):
            layer_range(text)


def test_the_body_is_what_is_not_the_head(predictor: MaskedPredictor) -> None:
    found = {id(p) for p in body(predictor, LAYERS)}
    for name, parameter in predictor.named_parameters():
        assert (id(parameter) in found) == (levels(predictor)[name] <= LAYERS), name


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_groups(predictor: MaskedPredictor, decay: float) -> None:
    freeze(predictor.model, 1)
    named = dict(predictor.named_parameters())
    groups = parameter_groups(predictor, layers=LAYERS, lr=0.1, decay=0.02, layer_decay=decay)
    found = {id(p): group for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found)
    trained = {name: p for name, p in named.items() if p.requires_grad}
    assert found.keys() == {id(p) for p in trained.values()}
    for name, parameter in trained.items():
        group, level = found[id(parameter)], min(LAYERS, levels(predictor)[name])
        assert group["lr"] == pytest.approx(0.1 * decay ** (LAYERS - level))
        assert group["weight_decay"] == (0.02 if parameter.dim() > 1 else 0.0)
    # The last is the head's, whose rate is what is shown.
    assert groups[-1]["lr"] == 0.1
    assert len(groups) == 2 * (1 if decay == 1 else LAYERS - 1)


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_schedules(name: str) -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=2.0)
    rates = schedule(optimizer, name, warmup=4, steps=12)
    found = []
    for _ in range(12):
        found.append(rates.get_last_lr()[0])
        optimizer.step()
        rates.step()
    assert found[:5] == [0.0, 0.5, 1.0, 1.5, 2.0]
    left = [k / 8 for k in range(8, 0, -1)]
    shapes = {
        "linear": left,
        "cosine": [(1 + math.cos(math.pi * (1 - x))) / 2 for x in left],
        "constant": [1.0] * 8,
    }
    assert found[4:] == pytest.approx([2.0 * x for x in shapes[name]])


def test_a_schedule_that_begins_later() -> None:
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=2.0)
    rates = schedule(optimizer, "linear", warmup=1, steps=3, before=2, factor=5.0)
    found = []
    for _ in range(5):
        found.append(rates.get_last_lr()[0])
        optimizer.step()
        rates.step()
    assert found == pytest.approx([10.0, 10.0, 0.0, 2.0, 1.0])
