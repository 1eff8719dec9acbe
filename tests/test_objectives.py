"""The objectives over whole models, against the formulas of weam_ref."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)
from weam_ref.loss import weam_loss

from weam_ext.batch import Batch, Collator
from weam_ext.corpus import BitextSource
from weam_ext.errors import InputError
from weam_ext.invented import sentence_pairs, vocabulary
from weam_ext.mask import MaskedRows
from weam_ext.objectives import OBJECTIVES, MaskedPredictor, Masking, Sums, objective
from weam_ext.prepare import PrepareSettings, prepare
from weam_ext.shards import open_prepared
from weam_ext.tokenizer import wordpiece

CPU = torch.device("cpu")
TOKENIZER = wordpiece(vocabulary(), "the test's vocabulary")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("objectives")
    text = directory / "mira-toku.txt"
    pairs = sentence_pairs("toku", 60)
    text.write_text("".join(f"{p.source} ||| {p.target}\n" for p in pairs))
    prepare([BitextSource("x", (str(text),))], TOKENIZER, directory / "out", PrepareSettings())
    return directory / "out"


def batch_of(prepared: Path, size: int, *, pair: bool = True, links: str = "true") -> Batch:
    _, splits = open_prepared(prepared)
    collate = Collator(TOKENIZER, pair=pair, links=links)
    return collate(splits["train"], [(k, k) for k in range(size)])


def tiny_model(family: str) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(TOKENIZER),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 80,
        "pad_token_id": TOKENIZER.pad_token_id,
    }
    model = (
        BertForMaskedLM(BertConfig(**sizes))
        if family == "bert"
        else XLMRobertaForMaskedLM(XLMRobertaConfig(**sizes, type_vocab_size=1))
    )
    return model.double().eval()


def masking(probability: float = 0.3) -> Masking:
    return Masking.of(TOKENIZER, seed=3, probability=probability, device=CPU)


def reference(
    model: torch.nn.Module, batch: Batch, masked: MaskedRows, weight: float
) -> list[float]:
    """L_mp, L_cp and their weighted sum from the model's own parts, by plain loops."""
    kinds = {"token_type_ids": batch.token_type_ids} if model.config.model_type == "bert" else {}
    with torch.no_grad():
        hidden = model.base_model(masked.input_ids, attention_mask=batch.attention_mask, **kinds)[0]
        head = model.cls.predictions if hasattr(model, "cls") else model.lm_head
        if hasattr(head, "transform"):
            transform = head.transform
        else:
            transform = lambda rows: head.layer_norm(F.gelu(head.dense(rows)))  # noqa: E731
        flat = hidden.flatten(0, 1)
        offsets, columns = batch.links
        links = [columns[offsets[a] : offsets[a + 1]].tolist() for a in range(len(flat))]
        positions = [p for p in masked.positions.tolist() if p >= 0]
        # The head's transform comes after the exchange, so exchange first and give the loss links
        # that point at the rows already exchanged.
        own = [transform(flat[p]) for p in positions]
        exchanged = [transform(flat[links[p] or [p]].mean(0)) for p in positions]
    tokens = [batch.input_ids.flatten()[p].item() for p in positions]
    count = len(positions)
    losses = weam_loss(
        [row.tolist() for row in own + exchanged],
        tokens * 2,
        range(count),
        [[count + k] for k in range(count)] + [[]] * count,
        head.decoder.weight.tolist(),
        head.decoder.bias.tolist(),
        exchange_weight=weight,
    )
    return [losses.multilingual, losses.cross_lingual, losses.total]


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_weam_is_the_formula(prepared: Path, family: str, weight: float) -> None:
    model, batch = tiny_model(family), batch_of(prepared, 3)
    masked = masking()(batch, exchange=True)
    sums = MaskedPredictor(model, exchange_weight=weight, chunk_rows=5)(batch, masked)
    means = sums.means()
    found = [means["multilingual_loss"], means["cross_lingual_loss"], means["loss"]]
    assert found == pytest.approx(reference(model, batch, masked, weight), rel=1e-9)
    assert 0 < means["linked"] < means["masked"]


def distilbert() -> torch.nn.Module:
    sizes = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    return DistilBertForMaskedLM(DistilBertConfig(vocab_size=len(TOKENIZER), **sizes)).double()


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "distilbert"])
def test_a_padded_step_asks_nothing_on_the_host(
    prepared: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = distilbert().eval() if family == "distilbert" else tiny_model(family)
    predictor, batch = MaskedPredictor(model, exchange_weight=1.0), batch_of(prepared, 4)
    assert batch.attention_mask is not None
    masked = masking()(batch, exchange=True)
    monkeypatch.setattr(predictor, "_plain_attention", False)
    expected = predictor(batch, masked).loss.item()
    monkeypatch.undo()

    def no_answer(tensor: torch.Tensor) -> bool:
        raise AssertionError("a tensor is read back to the host")

    monkeypatch.setattr(torch.Tensor, "__bool__", no_answer)
    loss = predictor(batch, masked).loss
    loss.backward()
    monkeypatch.undo()
    assert loss.item() == expected


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_compiled_whole_it_is_the_same(prepared: Path, family: str) -> None:
    model, batch = tiny_model(family), batch_of(prepared, 3)
    masked = masking()(batch, exchange=True)
    predictor = MaskedPredictor(model, exchange_weight=1.0)
    found = []
    for run in (predictor, torch.compile(predictor, fullgraph=True, backend="aot_eager")):
        loss = run(batch, masked).loss
        found.append([loss, *torch.autograd.grad(loss, model.parameters(), allow_unused=True)])
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_the_gradient_is_that_of_dense_logits(prepared: Path, family: str) -> None:
    model, batch = tiny_model(family), batch_of(prepared, 3, pair=False)
    masked = masking()(batch, exchange=False)
    (MaskedPredictor(model, exchange_weight=1.0)(batch, masked).loss).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    kinds = {"token_type_ids": batch.token_type_ids} if family == "bert" else {}
    logits = model(masked.input_ids, attention_mask=batch.attention_mask, **kinds).logits
    labels = torch.where(masked.row_of.view_as(batch.input_ids) >= 0, batch.input_ids, -100)
    F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-10)


def test_without_exchange_weam_is_tlm(prepared: Path) -> None:
    model, batch = tiny_model("bert"), batch_of(prepared, 4)
    tlm = MaskedPredictor(model, exchange_weight=1.0)(batch, masking()(batch, exchange=False))
    weam = MaskedPredictor(model, exchange_weight=0.0)(batch, masking()(batch, exchange=True))
    assert tlm.loss.item() == pytest.approx(weam.loss.item(), rel=1e-12)
    assert tlm.multilingual.item() == pytest.approx(weam.multilingual.item(), rel=1e-12)
    assert tlm.linked.item() == 0 < weam.linked.item()


def test_layouts(prepared: Path) -> None:
    assert batch_of(prepared, 4, pair=objective("mlm").pair).input_ids.shape[0] == 8
    assert batch_of(prepared, 4, pair=objective("tlm").pair).input_ids.shape[0] == 4
    assert [name for name, kind in OBJECTIVES.items() if kind.exchange] == ["weam"]
    with pytest.raises(InputError, match="unknown objective 'bert'; there are mlm, tlm, weam"):
        objective("bert")


def test_sums_of_parts_are_those_of_the_whole(prepared: Path) -> None:
    _, splits = open_prepared(prepared)
    predictor = MaskedPredictor(tiny_model("bert"), exchange_weight=1.0)
    collate = Collator(TOKENIZER, pair=True)

    def sums(members: range) -> Sums:
        batch = collate(splits["train"], [(k, k) for k in members])
        return predictor(batch, masking()(batch, exchange=True))

    parts = sums(range(3)) + sums(range(3, 8))
    assert parts.means() == pytest.approx(sums(range(8)).means(), rel=1e-9)


def test_shuffled_links_change_what_is_exchanged_and_nothing_else(prepared: Path) -> None:
    true, shuffled = batch_of(prepared, 8), batch_of(prepared, 8, links="shuffled")
    assert torch.equal(true.input_ids, shuffled.input_ids)
    assert true.links.positions.tolist() != shuffled.links.positions.tolist()


def test_an_overflow_is_fatal(prepared: Path) -> None:
    batch = batch_of(prepared, 2)
    sums = MaskedPredictor(tiny_model("bert"), exchange_weight=1.0)(
        batch, masking()(batch, exchange=True)
    )
    broken = Sums(**{**vars(sums), "overflow": torch.tensor(1)})
    with pytest.raises(RuntimeError, match="more tokens were masked"):
        broken.means()
