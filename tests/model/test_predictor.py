"""Both predictions of masked tokens: what they add up to, however the predictor is made up."""

from typing import Any

import pytest
import torch
from samples import Samples, sample_of
from small_models import each_family, tiny
from small_tokenizers import tokenizer

from weam_ext.data.collate import Batch, Collator, Layout
from weam_ext.model.predictor import MaskedPredictor
from weam_ext.model.sums import Sums
from weam_ext.ops.mask import MaskedRows, mask_tokens


@pytest.fixture(scope="module")
def batch() -> Batch:
    """A pair with links to some of its words, and a sentence alone."""
    pair = sample_of([0, 1, 2, 3, 4], [0, 1, 2, 3], [(2, 1), (3, 0), (4, 3)])
    given: Any = Samples([pair, sample_of([0, 1, 2], [], [])], [("en", "de"), ("de",)])
    return Collator(tokenizer("WordPiece"), Layout(languages=True))(given, [(0, 0), (1, 1)])


def masked(batch: Batch, probability: float = 0.9) -> MaskedRows:
    capacity, exchange_capacity = batch.capacities(probability)
    return mask_tokens(
        batch.input_ids, batch.words, batch.draws, batch.links, seed=3, probability=probability,
        mask_id=4, replacements=torch.tensor([5, 6]), capacity=capacity,
        exchange_capacity=exchange_capacity,
    )  # fmt: skip


def sums_of(batch: Batch, family: str = "BertForMaskedLM", **settings: Any) -> Sums:
    predictor = MaskedPredictor(tiny(family), **{"exchange_weight": 0.5, **settings}).eval()
    sums: Sums = predictor(batch, masked(batch))
    return sums


def same_at_first(batch: Batch, family: str, **settings: Any) -> None:
    expected, found = sums_of(batch, family).means(), sums_of(batch, family, **settings).means()
    assert found == pytest.approx(expected, rel=1e-5)


@each_family
@pytest.mark.parametrize("settings", [{"separate_head": True}, {"languages": 3}, {"chunk_rows": 2}])
def test_however_it_is_made_up_it_begins_alike(
    batch: Batch, family: str, settings: dict[str, Any]
) -> None:
    """A second head is a copy, and language vectors are zero."""
    same_at_first(batch, family, **settings)


@each_family
def test_the_last_layer_may_be_named(batch: Batch, family: str) -> None:
    same_at_first(batch, family, exchange_layer=1)


def test_the_loss_is_that_of_both_predictions(batch: Batch) -> None:
    both = sums_of(batch)
    means = both.means()
    count, predicted = both.count.item(), both.ratios["cross_lingual_loss"].number.item()
    assert 0 < predicted < count  # of the sentence alone there is no cross-lingual one
    total = means["multilingual_loss"] * count + 0.5 * means["cross_lingual_loss"] * predicted
    assert both.loss.item() == pytest.approx(total, rel=1e-5)
    assert 0 < means["linked"] < means["masked"] == count
    without = sums_of(batch, exchange_weight=0.0).means()
    assert without["loss"] == pytest.approx(means["multilingual_loss"], rel=1e-5)


def test_without_exchange_there_is_one_prediction(batch: Batch) -> None:
    predictor = MaskedPredictor(tiny("BertForMaskedLM"), exchange_weight=1.0).eval()
    means = predictor(batch, masked(batch), exchange=False).means()
    assert means["loss"] == pytest.approx(sums_of(batch).means()["multilingual_loss"], rel=1e-5)
    assert "cross_lingual_loss" not in means


def test_language_vectors_are_those_of_the_answer(batch: Batch) -> None:
    predictor = MaskedPredictor(tiny("BertForMaskedLM"), exchange_weight=1.0, languages=3).eval()
    predictor(batch, masked(batch)).loss.backward()
    assert predictor.language_vectors is not None and predictor.language_vectors.grad is not None
    learned = predictor.language_vectors.grad.abs().sum(1)
    assert learned[0] > 0 and learned[1] > 0 and learned[2] == 0  # there are two languages
    assert predictor.output_size == (70, 16)
