"""Heldout: what is measured, by hand, and that it is the same whatever is trained."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertForMaskedLM

from weam_ext.data.collate import Batch, Collator, Layout
from weam_ext.data.shards import Shards, open_prepared
from weam_ext.prepare.pipeline import prepare
from weam_ext.prepare.settings import PrepareSettings
from weam_ext.text.bitext import BitextSource, MonolingualSource
from weam_ext.text.tokenizer import wordpiece
from weam_ext.text.toy_corpus import sentence_pairs, vocabulary
from weam_ext.train.heldout import Heldout
from weam_ext.train.objectives import MLM, TLM, WEAM, Masking, Objective, WordAligned

CPU = torch.device("cpu")
TOKENIZER = wordpiece(vocabulary(), "the test's vocabulary")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Held-out text of two bitexts and a monolingual corpus between them."""
    directory = tmp_path_factory.mktemp("heldout")
    for name, count in (("toku", 90), ("venn", 60)):
        pairs = sentence_pairs(name, count)
        (directory / name).write_text("".join(f"{p.source} ||| {p.target}\n" for p in pairs))
    alone = sentence_pairs("toku", 70, seed=4)
    (directory / "alone").write_text("".join(f"{p.target}\n" for p in alone))
    sources = [
        BitextSource("toku", (str(directory / "toku"),)),
        MonolingualSource("alone", str(directory / "alone")),
        BitextSource("venn", (str(directory / "venn"),)),
    ]
    prepare(sources, TOKENIZER, directory / "out", PrepareSettings(heldout=6))
    return open_prepared(directory / "out")[1]["heldout"]


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(TOKENIZER), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=128,
    )  # fmt: skip
    return BertForMaskedLM(config).eval()


def masking(**settings: Any) -> Masking:
    return Masking.of(TOKENIZER, device=CPU, **{"seed": 3, "probability": 0.3, **settings})


def measured(objective: Objective, shards: Shards, size: int = 4) -> dict[str, dict[str, float]]:
    heldout = Heldout(shards, TOKENIZER, objective.eval(), batch_size=size, device=CPU)
    return heldout.measure(objective)


def by_hand(model: Any, batch: Batch, seed: int) -> tuple[float, int, float, int]:
    """Sums of -log p of masked tokens from themselves and from their links; their numbers."""
    masked = Masking.of(TOKENIZER, device=CPU, seed=seed, probability=0.3)(batch, exchange=True)
    assert batch.links is not None
    with torch.no_grad():
        hidden = model.bert(
            masked.input_ids, batch.attention_mask, token_type_ids=batch.token_type_ids
        )[0].flatten(0, 1)
        offsets, linked = batch.links[:2]
        own = other = 0.0
        number = paired = 0
        for position in (masked.row_of >= 0).nonzero()[:, 0].tolist():
            token = batch.input_ids.flatten()[position : position + 1]
            here = linked[offsets[position] : offsets[position + 1]].tolist() or [position]
            own += F.cross_entropy(model.cls(hidden[position][None]), token).item()
            number += 1
            if batch.paired[position // batch.input_ids.shape[1]]:
                other += F.cross_entropy(model.cls(hidden[here].mean(0)[None]), token).item()
                paired += 1
    return own, number, other, paired


def test_what_is_measured(shards: Shards, model: Any) -> None:
    found = measured(WEAM(model, masking(), exchange_weight=0.5), shards)
    assert list(found) == ["all", "toku", "alone", "venn"]
    totals: dict[str, list[float]] = {}
    for number, name in enumerate(shards.names):
        samples = (shards.corpus == number).nonzero()[0].tolist()
        assert len(samples) == 6
        for layout in ("", "apart_"):
            collate = Collator(TOKENIZER, Layout(together=not layout))
            # Each sample alone: neither their order nor their company matters.
            parts = [by_hand(model, collate(shards, [(k, k)]), 3 + (1 << 32)) for k in samples]
            own, masked, other, paired = (sum(column) for column in zip(*parts, strict=True))
            assert found[name][f"{layout}multilingual_loss"] == pytest.approx(own / masked, 1e-5)
            cross = other / max(1, paired)
            assert found[name][f"{layout}cross_lingual_loss"] == pytest.approx(cross, 1e-5)
            if not layout:
                assert found[name]["masked"] == masked
                whole = own / masked + 0.5 * cross
                assert found[name]["loss"] == pytest.approx(whole, 1e-5)
            if name != "alone":
                so_far = totals.setdefault(layout, [0.0] * 4)
                totals[layout] = [a + b for a, b in zip(so_far, parts_sum(parts), strict=True)]
    for layout, (own, masked, other, paired) in totals.items():
        assert found["all"][f"{layout}multilingual_loss"] == pytest.approx(own / masked, 1e-5)
        assert found["all"][f"{layout}cross_lingual_loss"] == pytest.approx(other / paired, 1e-5)
    assert found["alone"]["linked"] == 0 == found["alone"]["cross_lingual_loss"]


def parts_sum(parts: list[tuple[float, int, float, int]]) -> list[float]:
    return [sum(column) for column in zip(*parts, strict=True)]


def test_the_same_whatever_is_trained(shards: Shards, model: Any) -> None:
    objectives: dict[str, Objective] = {
        "weam": WEAM(model, masking()),
        "apart": WEAM(model, masking(), layout=Layout(together=False)),
        "lambda 0": WEAM(model, masking(unit="span", exact=True), exchange_weight=0.0),
        "tlm": TLM(model, masking(policy="exclusive", shares=(1.0, 0.0, 0.0))),
        "mlm": MLM(model, masking()),
        "word-aligned": WordAligned(
            copy.deepcopy(model), masking(), initial=copy.deepcopy(model.base_model)
        ),
    }
    found = {name: measured(each, shards) for name, each in objectives.items()}
    losses = {
        name: {key: value for key, value in means["venn"].items() if key != "loss"}
        for name, means in found.items()
    }
    own = {"link_distance", "anchor_distance", "links"}
    assert own <= losses["word-aligned"].keys()
    for name, means in losses.items():
        shared = {key: value for key, value in means.items() if key not in own}
        assert shared == losses["weam"], name
    # What checkpoints are compared by is each one's own.
    of = {name: means["venn"] for name, means in found.items()}
    assert of["tlm"]["loss"] == of["lambda 0"]["loss"] == of["weam"]["multilingual_loss"]
    assert of["mlm"]["loss"] == of["weam"]["apart_multilingual_loss"]
    assert of["apart"]["loss"] == pytest.approx(
        of["weam"]["apart_multilingual_loss"] + of["weam"]["apart_cross_lingual_loss"]
    )
    assert of["word-aligned"]["loss"] == pytest.approx(of["word-aligned"]["link_distance"])


def test_batches_do_not_matter(shards: Shards, model: Any) -> None:
    objective = WEAM(model, masking())
    for name, means in measured(objective, shards, size=1).items():
        assert means == pytest.approx(measured(objective, shards, size=5)[name], rel=1e-5)


def test_without_bitext_all_is_all_text(tmp_path: Path, model: Any) -> None:
    lines = "".join(f"{p.target}\n" for p in sentence_pairs("toku", 40))
    (tmp_path / "alone").write_text(lines)
    sources = [MonolingualSource("alone", str(tmp_path / "alone"))]
    prepare(sources, TOKENIZER, tmp_path / "out", PrepareSettings(heldout=4))
    found = measured(MLM(model, masking()), open_prepared(tmp_path / "out")[1]["heldout"])
    assert found["all"] == found["alone"]
    assert found["all"]["loss"] > 0
