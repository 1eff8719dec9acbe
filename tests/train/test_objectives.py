"""The objectives over whole models, against dense float64 versions of their formulas."""

import copy
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from runs import flags, logged
from torch import Tensor, nn
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
from weam_ref.loss import contrastive_loss, weam_loss, word_aligned_loss

from weam_ext.common.errors import InputError
from weam_ext.data.collate import Batch, Collator, Layout
from weam_ext.data.shards import Shards, open_prepared
from weam_ext.model.heads import split_model
from weam_ext.model.predictor import MaskedPredictor
from weam_ext.model.sums import Sums
from weam_ext.ops.mask import MASKING_POLICIES, MaskedRows, mask_tokens
from weam_ext.ops.token_links import Links
from weam_ext.prepare.pipeline import prepare
from weam_ext.prepare.settings import PrepareSettings
from weam_ext.text.bitext import BitextSource, MonolingualSource
from weam_ext.text.tokenizer import wordpiece
from weam_ext.text.toy_corpus import sentence_pairs, vocabulary
from weam_ext.train import loop as train
from weam_ext.train.objectives import MLM, OBJECTIVES, TLM, WEAM, Contrastive, Masking, WordAligned

CPU = torch.device("cpu")
TOKENIZER = wordpiece(vocabulary(), "the test's vocabulary")
FAMILIES = ("bert", "xlm-roberta", "distilbert", "modernbert")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """60 pairs, then 20 sentences of monolingual text."""
    directory = tmp_path_factory.mktemp("objectives")
    pairs = sentence_pairs("toku", 80)
    text, alone = directory / "text.txt", directory / "alone.txt"
    text.write_text("".join(f"{p.source} ||| {p.target}\n" for p in pairs[:60]))
    alone.write_text("".join(f"{p.target}\n" for p in pairs[60:]))
    sources = [BitextSource("mir-tok", (str(text),)), MonolingualSource("tok", str(alone))]
    prepare(sources, TOKENIZER, directory / "out", PrepareSettings(posteriors=True))
    return open_prepared(directory / "out")[1]["train"]


def batch_of(shards: Shards, members: Any, layout: Layout | None = None, **links: str) -> Batch:
    numbers = range(members) if isinstance(members, int) else members
    return Collator(TOKENIZER, layout or Layout(), **links)(shards, [(k, k) for k in numbers])


def mixed(shards: Shards) -> list[int]:
    """Pairs and monolingual text in one batch."""
    alone = (shards.corpus == 1).nonzero()[0].tolist()
    return [0, alone[0], 1, alone[1], 2]


def tiny_model(family: str, layers: int = 2) -> Any:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(TOKENIZER),
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 80,
        "pad_token_id": TOKENIZER.pad_token_id,
    }
    if family == "bert":
        model: Any = BertForMaskedLM(BertConfig(**sizes))
    elif family == "xlm-roberta":
        model = XLMRobertaForMaskedLM(XLMRobertaConfig(**sizes, type_vocab_size=1))
    elif family == "modernbert":
        model = ModernBertForMaskedLM(ModernBertConfig(**sizes, local_attention=8))
    else:
        small = {"dim": 16, "n_layers": layers, "n_heads": 2, "hidden_dim": 24}
        model = DistilBertForMaskedLM(DistilBertConfig(vocab_size=len(TOKENIZER), **small))
    for parameter in model.parameters():  # from 0, a bias hides that it was forgotten
        if parameter.dim() == 1:
            nn.init.normal_(parameter, std=0.1)
    return model.double().eval()


def masking(probability: float = 0.3, **settings: Any) -> Masking:
    return Masking.of(TOKENIZER, seed=3, probability=probability, device=CPU, **settings)


# ------------------------------------------------------------------------- the formulas, densely


def hidden_layers(model: Any, input_ids: Tensor, batch: Batch) -> tuple[Tensor, ...]:
    """All of them [N, H], the last as the head takes it."""
    kinds = {"token_type_ids": batch.token_type_ids} if model.config.model_type == "bert" else {}
    output = model.base_model(
        input_ids, attention_mask=batch.attention_mask, output_hidden_states=True, **kinds
    )
    layers = [*output.hidden_states[:-1], output[0]]
    norm = getattr(model.base_model, "final_norm", lambda vectors: vectors)
    return tuple((norm(h) if h is not layers[-1] else h).flatten(0, 1) for h in layers)


def dense_links(batch: Batch) -> Tensor:
    """A / deg, whose rows without a link read themselves, with the weights of soft links."""
    assert batch.links is not None
    offsets, columns, weights, _ = batch.links
    size, degrees = batch.input_ids.numel(), offsets.diff()
    if weights is None:
        weights = (1 / degrees.double()).repeat_interleave(degrees)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for a in range(size):
        row = slice(int(offsets[a]), int(offsets[a + 1]))
        matrix[a, columns[row]] = weights[row].double()
        if not matrix[a].any():
            matrix[a, a] = 1
    torch.testing.assert_close(matrix.sum(1), matrix.new_ones(size), rtol=0, atol=1e-6)
    return matrix


def dense_loss(
    model: Any, batch: Batch, masked: MaskedRows, weight: float, *, objective: WEAM | None = None
) -> Tensor:
    """(sum L_mp + lambda sum L_cp) / masked tokens, of all logits; `objective` has the options."""
    head = split_model(model)[1]
    cross, layer, marks = head, -1, torch.zeros(batch.input_ids.numel(), 1, dtype=torch.float64)
    if objective is not None:
        predictor = objective.predictor
        cross = predictor._cross_lingual_head
        layer = -1 if predictor.exchange_layer is None else predictor.exchange_layer
        if predictor.language_vectors is not None and batch.languages is not None:
            marks = predictor.language_vectors[batch.languages.flatten()]
    layers = hidden_layers(model, masked.input_ids, batch)
    chosen = masked.row_of >= 0
    paired = batch.paired[:, None].expand_as(batch.input_ids).flatten()
    labels = batch.input_ids.flatten()
    own = F.cross_entropy(head(layers[-1] + marks), labels, reduction="none")
    total = own[chosen].sum()
    if weight:
        exchanged = dense_links(batch) @ layers[layer] + marks
        other = F.cross_entropy(cross(exchanged), labels, reduction="none")
        total = total + weight * other[chosen & paired].sum()
    return total / chosen.sum()


def gradients(loss: Tensor, module: nn.Module) -> dict[str, Tensor]:
    named = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: g for name, g in zip(named, found, strict=True) if g is not None}


def same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-10)


OPTIONS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "half a lambda": {"exchange_weight": 0.5},
    "lambda 0": {"exchange_weight": 0.0},
    "soft links": {"soft": True},
    "soft links, separate head": {"soft": True, "head": "separate"},
    "separate head": {"head": "separate", "exchange_weight": 0.5},
    "language vectors": {"head": "language", "languages": 2},
    "first layer": {"exchange_layer": 1},
    "first layer, separate head": {"exchange_layer": 1, "head": "separate"},
}


# All options with every way to encode on BERT; what differs between families is not the way.
WAYS = [
    *product(["bert"], OPTIONS, ["together", "apart", "mixed"]),
    *product(["xlm-roberta"], OPTIONS, ["apart"]),
    *product(["distilbert", "modernbert"], OPTIONS, ["mixed"]),
]


@pytest.mark.parametrize(("family", "options", "encode"), WAYS)
def test_weam_is_the_formula(shards: Shards, family: str, options: str, encode: str) -> None:
    model, given = tiny_model(family), dict(OPTIONS[options])
    layout = Layout(
        together=encode != "apart",
        soft=given.pop("soft", False),
        languages=given.get("head") == "language",
    )
    weam = WEAM(model, masking(), layout=layout, **given).double()
    if weam.predictor.language_vectors is not None:
        nn.init.normal_(weam.predictor.language_vectors)
    if weam.predictor.cross_lingual_head is not None:
        for parameter in weam.predictor.cross_lingual_head.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    batch = batch_of(shards, mixed(shards) if encode == "mixed" else 3, layout)
    sums, weight = weam(batch), given.get("exchange_weight", 1.0)
    masked = masking()(batch, exchange=True)
    expected = dense_loss(model, batch, masked, weight, objective=weam)
    assert sums.loss.item() / sums.count.item() == pytest.approx(expected.item(), rel=1e-9)
    means = sums.means()
    assert 0 < means["linked"] < means["masked"]
    if encode != "mixed":
        both = means["multilingual_loss"] + weight * means["cross_lingual_loss"]
        assert means["loss"] == pytest.approx(both, rel=1e-12)
    if weight:
        same_gradients(gradients(sums.loss / sums.count, weam), gradients(expected, weam))


@pytest.mark.parametrize("kind", [MLM, TLM])
@pytest.mark.parametrize("family", FAMILIES)
def test_mlm_and_tlm_are_the_formula(shards: Shards, family: str, kind: Any) -> None:
    model = tiny_model(family)
    learned = kind(model, masking())
    batch = batch_of(shards, mixed(shards), learned.layout)
    sums = learned(batch)
    expected = dense_loss(model, batch, masking()(batch, exchange=False), 0.0)
    assert sums.means()["loss"] == pytest.approx(expected.item(), rel=1e-9)
    same_gradients(gradients(sums.loss / sums.count, learned), gradients(expected, learned))


@pytest.mark.parametrize("links", ["true", "shuffled", "random"])
@pytest.mark.parametrize("family", FAMILIES)
def test_word_aligned_is_the_formula(shards: Shards, family: str, links: str) -> None:
    model = tiny_model(family)
    initial = copy.deepcopy(model.base_model)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    learned = WordAligned(model, masking(), initial=initial, regularization=0.7)
    batch = batch_of(shards, 4, learned.layout, links=links)
    assert batch.links is not None and batch.anchors is not None
    sums = learned(batch)
    after = hidden_layers(model, batch.input_ids, batch)[-1].tolist()
    frozen: Any = copy.copy(model)
    before = WordAligned(frozen, masking(), initial=initial)._initial(batch.input_ids, batch)[0]
    offsets = batch.links.offsets.tolist()
    pairs = [
        (a, b)
        for a in range(len(after))
        for b in batch.links.positions[offsets[a] : offsets[a + 1]].tolist()
        if a < b
    ]
    assert pairs and len({a for pair in pairs for a in pair}) == 2 * len(pairs)
    expected = word_aligned_loss(
        after, before.flatten(0, 1).tolist(), pairs, batch.anchors.tolist(), regularization=0.7
    )
    assert sums.means()["loss"] == pytest.approx(expected, rel=1e-5)  # distances are in float32
    sums.loss.backward()
    assert all(p.grad is None for p in initial.parameters())
    assert model.get_input_embeddings().weight.grad is not None


def test_word_aligned_starts_where_nothing_has_moved(shards: Shards) -> None:
    """Each word of the source, as no side is English, is an anchor, at its last token."""
    model = tiny_model("bert")
    learned = WordAligned(model, masking(), initial=copy.deepcopy(model.base_model))
    batch = batch_of(shards, 4, learned.layout)
    means = learned(batch).means()
    assert means["anchor_distance"] == 0 < means["link_distance"]
    assert means["loss"] == means["link_distance"]
    assert batch.anchors is not None
    words = batch.words[::2]
    assert len(batch.anchors) == sum(int(row.max()) + 1 for row in words)
    length = batch.input_ids.shape[1]
    for position in batch.anchors.tolist():
        row, place = divmod(position, length)
        assert row % 2 == 0
        assert (
            batch.words[row, place] >= 0 and batch.words[row, place + 1] != batch.words[row, place]
        )


@pytest.mark.parametrize("links", ["true", "shuffled"])
@pytest.mark.parametrize("family", FAMILIES)
def test_contrastive_is_the_formula(shards: Shards, family: str, links: str) -> None:
    model = tiny_model(family)
    learned = Contrastive(model, masking(), temperature=0.2)
    batch = batch_of(shards, 4, learned.layout, links=links)
    assert batch.links is not None
    hidden = hidden_layers(model, batch.input_ids, batch)[-1].tolist()
    length, numbers = batch.input_ids.shape[1], batch.words.flatten().tolist()
    offsets, linked = batch.links.offsets.tolist(), batch.links.positions.tolist()
    places = [a for a in range(len(hidden)) if offsets[a] < offsets[a + 1]]
    words = [
        [hidden[k] for k in range(len(hidden))
         if k // length == a // length and numbers[k] == numbers[a]]
        for a in places
    ]  # fmt: skip
    assert max(map(len, words)) > 1
    partners = [places.index(linked[offsets[a]]) for a in places]
    sums = learned(batch)
    expected = contrastive_loss(words, partners, temperature=0.2)
    assert sums.means()["loss"] == pytest.approx(expected, rel=1e-5)  # vectors are in float32
    sums.loss.backward()
    assert all(p.grad is not None for p in model.base_model.parameters() if p.requires_grad)
    assert split_model(model)[1].bias is None or split_model(model)[1].bias.grad is None


def test_contrastive_without_a_link(shards: Shards) -> None:
    model = tiny_model("bert")
    learned = Contrastive(model, masking())
    batch = batch_of(shards, 2, learned.layout)
    assert batch.links is not None
    none = batch.links.positions[:0]
    sums = learned(replace(batch, links=Links(torch.zeros_like(batch.links.offsets), none)))
    assert sums.means()["loss"] == sums.means()["link_accuracy"] == 0
    sums.loss.backward()
    assert not model.get_input_embeddings().weight.grad.any()


def test_words_that_are_alike_are_told_apart(shards: Shards) -> None:
    """A few steps on one batch: every word is nearest to its translation."""
    model = tiny_model("bert").float()
    learned = Contrastive(model, masking())
    batch = batch_of(shards, 4, learned.layout)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    before = learned(batch).means()["link_accuracy"]
    for _ in range(30):
        sums = learned(batch)
        (sums.loss / sums.count).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert before < 0.5 < 0.9 < learned(batch).means()["link_accuracy"]


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_weam_in_plain_python(shards: Shards, weight: float) -> None:
    """Against weam_ref, which knows nothing of tensors."""
    model, batch = tiny_model("bert"), batch_of(shards, 3)
    masked = masking()(batch, exchange=True)
    head = model.cls.predictions
    with torch.no_grad():
        flat = hidden_layers(model, masked.input_ids, batch)[-1]
        assert batch.links is not None
        offsets, columns = batch.links[:2]
        links = [columns[offsets[a] : offsets[a + 1]].tolist() for a in range(len(flat))]
        positions = [p for p in masked.positions.tolist() if p >= 0]
        # The head's transform comes after the exchange, so exchange first and give the loss links
        # that point at the rows already exchanged.
        own = [head.transform(flat[p]) for p in positions]
        exchanged = [head.transform(flat[links[p] or [p]].mean(0)) for p in positions]
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
    predictor = MaskedPredictor(model, exchange_weight=weight, chunk_rows=5)
    means = predictor(batch, masked).means()
    found = [means["multilingual_loss"], means["cross_lingual_loss"], means["loss"]]
    assert found == pytest.approx([losses.multilingual, losses.cross_lingual, losses.total], 1e-9)


# --------------------------------------------------------------------------------- what they do


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "distilbert"])
def test_a_padded_step_asks_nothing_on_the_host(
    shards: Shards, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = MaskedPredictor(tiny_model(family), exchange_weight=1.0)
    batch = batch_of(shards, 4)
    assert batch.attention_mask is not None
    masked = masking()(batch, exchange=True)
    monkeypatch.setattr(predictor.encoder, "_ready_masks", False)
    expected = predictor(batch, masked).loss.item()
    monkeypatch.undo()

    def no_answer(tensor: torch.Tensor) -> bool:
        raise AssertionError("a tensor is read back to the host")

    monkeypatch.setattr(torch.Tensor, "__bool__", no_answer)
    loss = predictor(batch, masked).loss
    loss.backward()
    monkeypatch.undo()
    assert loss.item() == expected


@pytest.mark.parametrize("whole", [True, False], ids=["at once", "apart, with languages"])
def test_compiled_it_is_the_same(shards: Shards, whole: bool) -> None:
    """In one graph; what is told apart does not depend on the encoder, which takes long."""
    options: dict[str, Any] = {} if whole else {"separate_head": True, "languages": 2}
    layout = Layout(languages=not whole)
    model = tiny_model("bert", layers=1)
    predictor = MaskedPredictor(model, exchange_weight=1.0, **options).double()
    if not whole:
        embed = model.get_input_embeddings()
        predictor.encoder = lambda ids, *_: (embed(ids), embed(ids))  # type: ignore[assignment]
    batch = batch_of(shards, 3, layout)
    masked = masking()(batch, exchange=True)
    found = []
    for run in (predictor, torch.compile(predictor, fullgraph=True, backend="aot_eager")):
        loss = run(batch, masked).loss
        found.append([loss, *torch.autograd.grad(loss, predictor.parameters(), allow_unused=True)])
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_without_lambda_weam_is_tlm(shards: Shards) -> None:
    model, batch = tiny_model("bert"), batch_of(shards, 4)
    tlm, weam = TLM(model, masking())(batch), WEAM(model, masking(), exchange_weight=0.0)(batch)
    assert tlm.loss.item() == pytest.approx(weam.loss.item(), rel=1e-12)
    assert "cross_lingual_loss" not in tlm.means()
    assert weam.means()["cross_lingual_loss"] > 0


def test_a_batch_without_any_link_is_predicted_twice(shards: Shards) -> None:
    """Each token from its own vector both times, as a token without a link is elsewhere."""
    model, batch = tiny_model("bert"), batch_of(shards, 3)
    assert batch.links is not None
    bare = Batch(**{**vars(batch), "linked": 0, "linked_squares": 0,
                    "links": type(batch.links)(batch.links.offsets * 0, batch.links.positions[:0]),
                    "unlinked": batch.tokens})  # fmt: skip
    for options in ({}, {"head": "separate"}):
        weam = WEAM(model, masking(), **options).double()  # type: ignore[arg-type]
        means = weam(bare).means()
        assert means["loss"] == pytest.approx(2 * means["multilingual_loss"], rel=1e-12)


def test_exclusive_masks_of_sentences_apart(shards: Shards) -> None:
    layout = Layout(together=False)
    batch = batch_of(shards, 8, layout)
    masked = masking(0.5, policy="exclusive")(batch, exchange=True)
    offsets, linked = batch.links[:2] if batch.links else (torch.zeros(0), torch.zeros(0))
    chosen = (masked.row_of >= 0).tolist()
    assert sum(chosen) > 20
    for a, start in enumerate(offsets[:-1].tolist()):
        assert not chosen[a] or not any(chosen[b] for b in linked[start : int(offsets[a + 1])])


def test_held_out_masks_are_those_of_every_run(shards: Shards) -> None:
    """Whatever is learned; and no training sentence has them."""
    model, batch = tiny_model("bert"), batch_of(shards, 4)
    given = masking(0.3, policy="exclusive", unit="span", shares=(1.0, 0.0, 0.0))
    objectives = (TLM(model, given), WEAM(model, masking()), MLM(model, masking()))
    means = [each(batch, heldout=True).means() for each in objectives]
    assert means[0] == means[1] == means[2]
    assert WEAM(model, masking())(batch).means() != means[0]


def test_sums_of_parts_are_those_of_the_whole(shards: Shards) -> None:
    weam = WEAM(tiny_model("bert"), masking())

    def sums(members: range) -> Sums:
        return weam(batch_of(shards, members))

    parts = sums(range(3)) + sums(range(3, 8))
    assert parts.means() == pytest.approx(sums(range(8)).means(), rel=1e-9)
    assert parts.means() == parts.replaced(parts.stacked()).means()


def test_names() -> None:
    assert list(OBJECTIVES) == ["mlm", "tlm", "weam", "word-aligned", "contrastive"]
    assert [name for name, kind in OBJECTIVES.items() if kind.exchange] == ["weam"]
    unmasked = [name for name, kind in OBJECTIVES.items() if not kind.masks]
    assert unmasked == ["word-aligned", "contrastive"]
    with pytest.raises(InputError, match="is not one of"):
        OBJECTIVES["bert"]


def test_an_objective_of_ones_own(inputs: Path, tmp_path: Path) -> None:
    """What a user's package adds is chosen by its name, like those that are there."""

    @OBJECTIVES.add("own")
    class Own(TLM):
        """Translation language modelling at twice the loss."""

        def learn(self, batch: Batch) -> Sums:
            sums = super().learn(batch)
            return replace(sums, loss=2 * sums.loss)

    try:
        train.main(flags(inputs, tmp_path / "own", objective="own", steps=1))
        train.main(flags(inputs, tmp_path / "tlm", objective="tlm", steps=1))
    finally:
        del OBJECTIVES._added["own"]
    own, tlm = (logged(tmp_path / name, "train")[0]["loss"] for name in ("own", "tlm"))
    assert own == pytest.approx(2 * tlm)


def test_a_masking_policy_of_ones_own(inputs: Path, tmp_path: Path) -> None:
    @MASKING_POLICIES.add("own")
    def first_half(*given: Any, probability: float, **named: Any) -> MaskedRows:
        """Half of what is asked for."""
        return mask_tokens(*given, probability=probability / 2, **named)

    try:
        for name, masking, probability in (("own", "own", 0.3), ("half", "independent", 0.15)):
            train.main(
                flags(inputs, tmp_path / name, masking=masking, mask_probability=probability,
                      steps=2)
            )  # fmt: skip
    finally:
        del MASKING_POLICIES._added["own"]
    own, half = (logged(tmp_path / name, "train")[-1]["masked"] for name in ("own", "half"))
    assert own == half
