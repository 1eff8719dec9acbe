"""LAReQA: XQuAD-R's files, and the mean average precision over one pool of all languages."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transfer_files import LAYERS, save_encoder, write
from weam_ref.retrieval import average_precision, ranking

from weam_ext.common.errors import InputError
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.frozen import lareqa
from weam_ext.transfer.jobs import jobs_of
from weam_ext.transfer.models import identified
from weam_ext.transfer.settings import TransferSettings

LANGUAGES = ("de", "en", "sw")


def paragraph(language: str, number: int) -> dict[str, Any]:
    """Two sentences of invented words, of which each answers a question."""
    draw = random.Random(f"{language} {number}")
    sentences = [" ".join(draw.choices(("ido", "mira", "dalo", "venn"), k=5)) for _ in "ab"]
    start = len(sentences[0]) + 1
    spans = [[0, start - 1], [start, start + len(sentences[1])]]
    questions = [
        {"id": f"q{number}{k}", "question": f"{sentences[k][:9]} {language}?",
         "answers": [{"text": sentences[k][:3], "answer_start": spans[k][0]}]}
        for k in (1, 0)
    ]  # fmt: skip
    return {"context": " ".join(sentences), "qas": questions, "sentences": sentences,
            "sentence_breaks": spans}  # fmt: skip


def xquad_r(path: Path, language: str, **other: Any) -> Path:
    paragraphs = [paragraph(language, number) | other for number in range(4)]
    return write(path, json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for language in LANGUAGES:
        xquad_r(tmp_path / f"lareqa/xquad-r/{language}.json", language)
        xquad_r(tmp_path / f"lareqa/mlqa-dev-r/{language}.json", language)
    return tmp_path


def test_mean_average_precision_as_the_reference(data: Path) -> None:
    pool = lareqa.read_pool(data)
    assert list(pool) == list(LANGUAGES)
    assert pool["de"].answers["q11"] == 3 and pool["de"].answers["q10"] == 2
    encoder = Encoder(save_encoder(data / "encoder"), 64, "cpu", "fp32")
    rows = list(lareqa.evaluate(encoder, pool, ["de", "sw"], 5, 4))
    assert len(rows) == 2 * (LAYERS + 1) * 2
    for row in rows:
        blocks = [encoder.encode(texts.sentences, 4)[0][row.layer] for texts in pool.values()]
        asked = [pool[row.language].questions[key] for key in row.keys]
        queries = encoder.encode(asked, 4)[0][row.layer]
        if row.vectors == "centred":
            blocks = [block.double() - block.double().mean(0) for block in blocks]
            queries = queries.double() - queries.double().mean(0)
        orders = ranking(queries.tolist(), torch.cat(blocks).tolist())
        right = [{8 * k + pool[code].answers[key] for k, code in enumerate(pool)}
                 for key in row.keys]  # fmt: skip
        expected = [average_precision(*each) for each in zip(orders, right, strict=True)]
        assert [score.part for score in row.metrics["mAP"]] == pytest.approx(expected)
        first = [f"{LANGUAGES[order[0] // 8]} {order[0] % 8}" for order in orders]
        assert row.predictions == first
        own = sum(text.startswith(row.language) for text in first)
        assert row.notes["own_language"] == [pytest.approx(100 * own / 5)]


def test_average_precision() -> None:
    assert average_precision([4, 0, 2, 1, 3], {4, 2}) == (1 + 2 / 3) / 2
    assert average_precision([0, 1, 2], {2}) == 1 / 3


def test_languages_are_asked_in_and_the_pool_stays(data: Path) -> None:
    encoder = save_encoder(data / "encoder")
    options = TransferSettings(
        models=((f"m={encoder}",),), tasks=("lareqa",), data=data, output=data / "out",
        languages=("sw",), test_limit=3, device="cpu", precision="fp32",
    )  # fmt: skip
    (job,) = jobs_of(options, identified(options.model_directories()))
    evaluations, _ = job.make(data)
    assert {row.language for row in evaluations} == {"sw"}
    assert {len(row.keys) for row in evaluations} == {3}
    assert {text[:2] for row in evaluations for text in row.predictions} > {"sw"}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"sentences": ["a"]}, r"de\.json: 2 breaks of a paragraph's sentences"),
        ({"sentence_breaks": [[0, 1], [1, 2]]}, r"de\.json: no sentence answers question q01"),
        ({"qas": []}, r"en\.json: its questions are not those of de"),
        ({"qas": [{"id": "q"}]}, r"de\.json: not a file as XQuAD-R's \(KeyError: 'answers'\)"),
    ],
)
def test_broken_files(data: Path, other: dict[str, Any], message: str) -> None:
    xquad_r(data / "lareqa/xquad-r/de.json", "de", **other)
    with pytest.raises(InputError, match=message):
        lareqa.read_pool(data)


def test_xquad_does_not_do(tmp_path: Path) -> None:
    write(tmp_path / "xquad/xquad.de.json", "{}")
    with pytest.raises(InputError, match="needs XQuAD-R's"):
        lareqa.read_pool(tmp_path)
