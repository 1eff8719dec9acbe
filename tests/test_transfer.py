"""Zero-shot retrieval and its report: the protocol, the numbers, what is kept and refused."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizers import FAMILIES, tokenizer
from torch import Tensor
from weam_ref.retrieval import retrieval_accuracy

from weam_ext import report
from weam_ext.errors import InputError
from weam_ext.invented import sentence_pairs
from weam_ext.model import new_model
from weam_ext.transfer import RetrievalResult, read_results, retrieval
from weam_ext.transfer import __main__ as transfer
from weam_ext.transfer.encoder import Encoder, encoder_digest, mean_pool
from weam_ext.transfer.results import Results, pack_hits, unpack_hits
from weam_ext.transfer.retrieval import retrieval_hits, retrieval_pairs

LAYERS = 2
SMALL = {"hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
         "intermediate_size": 32, "max_position_embeddings": 128}  # fmt: skip


def save_encoder(directory: Path, family: str = "WordPiece", seed: int = 0) -> Path:
    """A random BERT with its masked-language-model head, as a training run leaves it."""
    new_model(SMALL, tokenizer(family), 128, seed).save_pretrained(directory)
    tokenizer(family).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three encoders and three bitexts."""
    directory = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("a", "b", "c")):
        save_encoder(directory / name, seed=seed)
    for seed, language in enumerate(("toku", "venn", "orlu")):
        pairs = sentence_pairs(language, 30, seed=seed)
        lines = "".join(f"{pair.source} ||| {pair.target}\n" for pair in pairs)
        (directory / f"{language}.txt").write_text(lines)
    return directory


# ------------------------------------------------------------------------------- nearest neighbours


def accuracy(source: Any, target: Any, *, centred: bool) -> tuple[float, float]:
    sides = [torch.as_tensor(side, dtype=torch.float32) for side in (source, target)]
    hits = retrieval_hits(*sides, centred=centred)
    return hits.forward.double().mean().item(), hits.backward.double().mean().item()


@st.composite
def two_sides(draw: st.DrawFn) -> list[list[list[float]]]:
    """Small integers, among which equal, parallel and zero vectors are common."""
    count, width = draw(st.integers(2, 9)), draw(st.integers(1, 4))
    vector = st.lists(st.integers(-2, 2).map(float), min_size=width, max_size=width)
    side = st.lists(vector, min_size=count, max_size=count)
    return [draw(side), draw(side)]


@settings(max_examples=200, deadline=None)
@given(two_sides(), st.booleans())
def test_as_the_reference(sides: list[list[list[float]]], centred: bool) -> None:
    assert accuracy(*sides, centred=centred) == retrieval_accuracy(*sides, centred=centred)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("cells", [1, 1 << 8, 1 << 22])
def test_as_the_reference_in_blocks(
    centred: bool, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weam_ext.transfer.retrieval._CELLS", cells)
    source = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    target = source + torch.randn(50, 7, generator=torch.Generator().manual_seed(1))
    found = accuracy(source, target, centred=centred)
    assert found == retrieval_accuracy(source.tolist(), target.tolist(), centred=centred)
    assert 0.1 < found[0] < 0.9


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("cells", [1, 1 << 8, 1 << 22])
def test_an_encoder_that_says_always_the_same(
    centred: bool, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weam_ext.transfer.retrieval._CELLS", cells)
    constant = torch.randn(1, 33).expand(50, 33)
    assert accuracy(constant, constant * 3, centred=centred) == (1 / 50, 1 / 50)


@pytest.mark.parametrize("centred", [False, True])
def test_identical_sides(centred: bool) -> None:
    vectors = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    assert accuracy(vectors, vectors, centred=centred) == (1.0, 1.0)


@settings(max_examples=50, deadline=None)
@given(two_sides(), st.lists(st.integers(-1000, 1000), min_size=4, max_size=4))
def test_centring_removes_an_offset(sides: list[list[list[float]]], offset: list[int]) -> None:
    source, target = (torch.tensor(side) for side in sides)
    moved = target + torch.tensor(offset[: target.shape[1]])
    expected = retrieval_hits(source, target, centred=True)
    found = retrieval_hits(source, moved, centred=True)
    assert torch.equal(found.forward, expected.forward)
    assert torch.equal(found.backward, expected.backward)


def test_an_offset_hurts_raw_vectors() -> None:
    vectors = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    moved = vectors + 50 * torch.eye(7)[0]
    assert accuracy(vectors, moved, centred=True) == (1.0, 1.0)
    assert max(accuracy(vectors, moved, centred=False)) < 0.5


def test_pairs_left_out() -> None:
    bitext = [
        ("a", "x"),
        ("b", ""),
        ("\u3000", "y"),
        ("c", "x"),
        ("a", "z"),
        ("d", "z"),
        ("e", "w"),
    ]
    found = retrieval_pairs("toy", bitext)
    # z was seen beside a, although that pair is not used.
    assert found.pairs == [("a", "x"), ("e", "w")]
    assert (found.empty, found.duplicates) == (2, 3)
    assert found.sha256 != retrieval_pairs("toy", [("a", "x"), ("e", "v")]).sha256


# ------------------------------------------------------------------------------------------ encoder


def one_by_one(encoder: Encoder, sentence: str) -> Tensor:
    """[layers + 1, H]: the mean between the first and the last special token, written anew."""
    ids = encoder.tokenizer(sentence, add_special_tokens=False)["input_ids"]
    frame = encoder.tokenizer("")["input_ids"]
    assert len(frame) == 2
    ids = [frame[0], *ids[: encoder.max_length - 2], frame[1]]
    hidden = encoder.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return torch.stack([layer[0, 1:-1].mean(0) for layer in hidden]).detach()


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_means_of_ordinary_tokens(family: str, tmp_path: Path) -> None:
    encoder = Encoder(save_encoder(tmp_path / "m", family), 16, "cpu", "fp32")
    sentences = [pair.target for pair in sentence_pairs("toku", 20)]
    sentences.append(" ".join(sentences))
    vectors, truncated = encoder.encode(sentences, batch_size=4)
    lengths = [len(ids) for ids in encoder.tokenizer(sentences)["input_ids"]]
    assert truncated == sum(length > 16 for length in lengths) > 0
    assert vectors.shape == (LAYERS + 1, len(sentences), 16)
    assert encoder.layers == LAYERS
    expected = torch.stack([one_by_one(encoder, sentence) for sentence in sentences], dim=1)
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-5)

    again, _ = encoder.encode(sentences, batch_size=4)
    assert torch.equal(again, vectors)
    backwards, _ = encoder.encode(sentences[::-1], batch_size=7)
    torch.testing.assert_close(backwards.flip(1), vectors, rtol=0, atol=1e-5)


def test_words_that_look_special_are_words(inputs: Path) -> None:
    encoder = Encoder(inputs / "a", 16, "cpu", "fp32")
    (vectors, _) = encoder.encode(["ido [SEP] .", "ido [ SEP ] .", "\u200b"], batch_size=2)
    assert torch.allclose(vectors[:, 0], vectors[:, 1], atol=1e-5)
    assert not vectors[:, 2].any()  # no token at all


def test_pooling_never_reads_what_is_not_chosen() -> None:
    hidden = torch.tensor([[[1.0], [2.0], [4.0], [torch.nan]], [[8.0], [torch.inf], [1.0], [1.0]]])
    chosen = torch.tensor([[False, True, True, False], [False] * 4])
    assert mean_pool(hidden, chosen).tolist() == [[3.0], [0.0]]


def test_reduced_precision_is_close(inputs: Path) -> None:
    sentences = [pair.source for pair in sentence_pairs("toku", 10)]
    full, half = (
        Encoder(inputs / "a", 32, "cpu", precision).encode(sentences, 4)[0]
        for precision in ("fp32", "bf16")
    )
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, rtol=0, atol=0.02)


def test_what_identifies_an_encoder(inputs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(inputs / "a", tmp_path / "copy")
    (copy / "optimizer.safetensors").write_bytes(b"anything")
    assert encoder_digest(copy) == encoder_digest(inputs / "a") != encoder_digest(inputs / "b")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-5}))
    assert encoder_digest(copy) != encoder_digest(inputs / "a")


# --------------------------------------------------------------------------------------- whole runs


def flags(inputs: Path, output: Path, *bitexts: str, models: tuple[str, ...] = ()) -> list[str]:
    models = models or (f"first={inputs / 'a'},{inputs / 'b'}", f"second={inputs / 'c'}")
    texts = [part for name in bitexts for part in ("--bitext", str(inputs / f"{name}.txt"))]
    return ["--models", *models, *texts, "--output", str(output), "--device", "cpu"]


@pytest.fixture(scope="module")
def scores(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("scores")
    transfer.main(flags(inputs, output, "toku", "venn"))
    return output


def test_the_records(inputs: Path, scores: Path) -> None:
    records = read_results(scores / "results.jsonl")
    assert len(records) == 3 * 2 * (LAYERS + 1) * 2
    keys = {(r.directory, r.bitext, r.layer, r.centred) for r in records}
    assert len(keys) == len(records)
    record = next(r for r in records if r.bitext == "venn" and r.layer == 1 and r.centred)
    assert (record.model, record.directory) == ("first", str((inputs / "a").resolve()))
    assert (record.layers, record.max_length, record.precision) == (LAYERS, 128, "fp32")
    assert record.scores.mean() == pytest.approx(record.accuracy)

    invented = sentence_pairs("venn", 30, seed=1)
    pairs = retrieval_pairs("venn", [(pair.source, pair.target) for pair in invented])
    encoder = Encoder(inputs / "a", 64, "cpu", "fp32")
    sides = [[one_by_one(encoder, pair[k])[1].tolist() for pair in pairs.pairs] for k in (0, 1)]
    assert (record.forward, record.backward) == retrieval_accuracy(*sides, centred=True)


def test_what_is_there_is_not_computed_again(
    inputs: Path, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    output = shutil.copytree(scores, tmp_path / "scores")
    whole = (output / "results.jsonl").read_bytes()
    evaluated: list[str] = []

    def counted(encoder: Encoder, run: Any, *rest: Any) -> list[RetrievalResult]:
        evaluated.append(f"{encoder.directory.name} {run.bitext}")
        return original(encoder, run, *rest)

    original = retrieval.evaluate
    monkeypatch.setattr(transfer, "evaluate", counted)
    transfer.main(flags(inputs, output, "toku", "venn"))
    assert not evaluated
    assert (output / "results.jsonl").read_bytes() == whole

    transfer.main(flags(inputs, output, "toku", "orlu"))
    assert evaluated == ["a orlu", "b orlu", "c orlu"]

    # Killed while it wrote: the torn line goes, and only that encoder and bitext are done again.
    (output / "results.jsonl").write_bytes(whole[:-100])
    evaluated.clear()
    transfer.main(flags(inputs, output, "toku", "venn"))
    assert evaluated == ["c venn"]
    assert (output / "results.jsonl").read_bytes() == whole

    evaluated.clear()
    transfer.main([*flags(inputs, output, "toku"), "--limit", "20", "--max-length", "32"])
    assert len(evaluated) == 3


def test_the_report_of_a_run(scores: Path, tmp_path: Path, capsys: Any) -> None:
    output = shutil.copytree(scores, tmp_path / "scores")
    report.main([str(output)])
    printed = capsys.readouterr()
    assert (output / "report.md").read_text() == printed.out
    assert printed.out.count("| first | 2 |") == printed.out.count("| second | 1 |") == 4
    assert "first beats second" in printed.out
    assert (output / "retrieval.png").exists() != ("matplotlib" in printed.err)


# ----------------------------------------------------------------------------------------- report


def record(
    hits: str, *, model: str = "a", seed: int = 0, bitext: str = "one", layer: int = 0,
    centred: bool = False, layers: int = 1,
) -> RetrievalResult:  # fmt: skip
    """A result with the same hits ("1101...") in both directions."""
    bits = np.array([*map(int, hits)], bool)
    return RetrievalResult(
        model=model, directory=f"{model}{seed}", model_sha256=f"{model}{seed}", bitext=bitext,
        bitext_sha256=bitext * 8, max_length=128, precision="fp32", pairs=len(bits), empty=1,
        duplicates=2, truncated_source=3, truncated_target=4, layers=layers, layer=layer,
        centred=centred, forward=float(bits.mean()), backward=float(bits.mean()),
        hits_forward=pack_hits(bits), hits_backward=pack_hits(bits),
    )  # fmt: skip


def by_layer(*hits: str, **values: Any) -> list[RetrievalResult]:
    """A complete run: the same hits raw and centred."""
    return [
        record(bits, layer=layer, centred=centred, layers=len(hits) - 1, **values)
        for layer, bits in enumerate(hits)
        for centred in (False, True)
    ]


def rows(results: list[RetrievalResult], vectors: str = "raw") -> list[list[str]]:
    text = report.markdown_report(report.Table(results))
    table = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [row for row in table if vectors in row]


def test_hits_survive_packing() -> None:
    bits = np.random.default_rng(0).random(13) < 0.5
    assert unpack_hits(pack_hits(bits), 13).tolist() == bits.tolist()
    with pytest.raises(ValueError):
        unpack_hits(pack_hits(bits), 17)


def test_the_layer_is_chosen_on_other_bitexts() -> None:
    one = by_layer("1111", "1000", "0000", bitext="one")
    two = by_layer("0000", "1100", "1000", bitext="two")
    assert [" ".join(row) for row in rows(one + two)] == [
        "one a 1 raw 1 other bitexts 25.0 100.0 25.0 25.0 0.0 0.0",
        "two a 1 raw 0 other bitexts 0.0 0.0 50.0 50.0 25.0 25.0",
    ]
    (alone,) = rows(one)
    assert alone[4:7] == ["0", "the same data", "100.0"]
    text = report.markdown_report(report.Table(one))
    assert "Best layer chosen on the same data" in text
    assert "left out 1 empty and 2 duplicates" in text
    assert "a 3 + 4" in text
    # The same sentences under another name are no other bitext.
    renamed = [replace(result, bitext="copy") for result in one]
    assert all(row[5] == "the same data" for row in rows(one + renamed))


def test_seeds_are_summed_up() -> None:
    hits = ("1110", "1100", "1000")
    (row,) = rows([result for k in range(3) for result in by_layer(hits[k], seed=k)])
    half = 4.303 * 25 / math.sqrt(3)
    assert row[2] == "3"
    assert row[6] == f"50.0 ± 25.0 [{50 - half:.1f}, {50 + half:.1f}]"


def test_an_encoder_put_into_the_directory_of_another_counts_once() -> None:
    old = by_layer("0000")
    new = [replace(result, model_sha256="new") for result in by_layer("1110")]
    (row,) = rows(old + new)
    assert (row[2], row[6]) == ("1", "75.0")
    assert rows(old + new[:1]) == []  # the new one is not complete
    with_other_sentences = [replace(result, bitext_sha256="other") for result in new]
    assert len(rows(old + with_other_sentences)) == 2


def test_verdicts() -> None:
    good, bad = by_layer("1" * 40), by_layer("0" * 20 + "1" * 20, model="b")
    even = by_layer("10" * 20, model="c")
    claims = {row[2]: row for row in rows(good + bad + even) if "beats" in row[2]}
    assert claims["a beats b"][5] == "+50.0"
    assert claims["a beats b"][7:] == ["supported", "sentences only"]
    assert claims["b beats c"][5:8] == ["+0.0", "[-22.9, +22.9]", "undecided"]
    claims = {row[2]: row for row in rows(bad + good) if "beats" in row[2]}
    assert claims["b beats a"][7] == "not supported"


def test_the_paired_interval() -> None:
    ours, theirs = np.array([1.0, 1, 1, 0.5, 0]), np.array([0.0, 1, 0.5, 0.5, 0])
    found = report.difference([ours], [theirs])
    half = 2.776 * math.sqrt((0.7**2 + 3 * 0.3**2 + 0.2**2) / 4 / 5)
    assert found.value == pytest.approx(0.3)
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half))


def test_seeds_widen_the_interval() -> None:
    seeds = [np.array([1.0] * k + [0.0] * (40 - k)) for k in (34, 20, 36)]
    other = np.array([0.0, 1.0] * 20)
    one, several = report.difference(seeds[:1], [other]), report.difference(seeds, [other])
    assert one.verdict == "supported"
    assert several.verdict == "undecided"
    results = by_layer("01" * 20, model="b")
    for k, hits in enumerate(seeds):
        results += by_layer("".join(f"{hit:.0f}" for hit in hits), seed=k)
    *_, row = rows(results)
    assert row[-1] == "sentences, seeds of a"


@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 30, 31, 499])
def test_t_quantiles(freedom: int) -> None:
    """The density integrated by Simpson's rule up to the quantile holds 0.975."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    scale /= math.sqrt(freedom * math.pi)
    points = np.linspace(0, report.t_quantile(freedom), 20_001)
    density = scale * (1 + points**2 / freedom) ** (-(freedom + 1) / 2)
    weights = np.array([1, *[4, 2] * 9_999, 4, 1]) * points[1] / 3
    assert 0.5 + float(density @ weights) == pytest.approx(0.975, abs=1e-4)


def test_quarter_layers() -> None:
    assert report.quarter_layers(12) == [0, 3, 6, 9, 12]
    assert report.quarter_layers(2) == [0, 1, 1, 2, 2]


# ----------------------------------------------------------------------------------------- errors


def changed(key: str, value: Any) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return change


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (shutil.rmtree, "no such directory"),
    "weights": (lambda d: (d / "model.safetensors").unlink(), "no model.safetensors there"),
    "torn": (lambda d: (d / "model.safetensors").write_bytes(b"torn"), "no encoder there"),
    "config": (lambda d: (d / "config.json").unlink(), "no config.json there"),
    "tokenizer": (
        lambda d: (d / "tokenizer.json").unlink(),
        "knows nothing but special tokens",
    ),
    "deeper": (changed("num_hidden_layers", 3), "no weights that fit encoder.layer.2."),
    "wider": (changed("intermediate_size", 64), "no weights that fit encoder.layer.0."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_encoder(inputs: Path, tmp_path: Path, name: str) -> None:
    directory = shutil.copytree(inputs / "a", tmp_path / "broken")
    change, sentence = BROKEN[name]
    change(directory)
    with pytest.raises(InputError, match=sentence) as error:
        transfer.main(flags(inputs, tmp_path / "out", "toku", models=(f"m={directory}",)))
    assert str(directory) in str(error.value)


def test_bad_arguments(inputs: Path, tmp_path: Path) -> None:
    def refused(
        *more: str, models: tuple[str, ...] = (), bitexts: tuple[str, ...] = ("toku",)
    ) -> str:
        with pytest.raises(InputError) as error:
            transfer.main([*flags(inputs, tmp_path / "out", *bitexts, models=models), *more])
        assert not (tmp_path / "out" / "results.jsonl").exists()
        return str(error.value)

    a = inputs / "a"
    assert "expected NAME=DIR[,DIR...]" in refused(models=(str(a),))
    assert "two models are called 'm'" in refused(models=(f"m={a}", f"m={inputs / 'b'}"))
    copy = shutil.copytree(a, tmp_path / "copy")
    assert f"the same encoder as {a}, not another seed of m" in refused(models=(f"m={a},{copy}",))
    assert "two bitexts are called 'toku'" in refused(bitexts=("toku", "toku"))
    assert "1 sentence pairs are left" in refused("--limit", "1")
    assert "--batch-size must be at least 1" in refused("--batch-size", "0")
    assert "--max-length must be at least 8" in refused("--max-length", "2")
    assert "--device abacus: " in refused("--device", "abacus")


def test_a_length_that_does_not_fit(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model takes fewer tokens than --max-length 129"):
        transfer.main([*flags(inputs, tmp_path, "toku"), "--max-length", "129"])


def test_vectors_that_are_no_numbers(inputs: Path) -> None:
    encoder = Encoder(inputs / "a", 32, "cpu", "fp32")
    with torch.no_grad():
        encoder.model.encoder.layer[1].output.dense.bias.fill_(torch.inf)
    with pytest.raises(InputError, match="not finite"):
        encoder.encode(["ido ota ."], 1)


def test_a_file_that_holds_no_results(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.append(by_layer("11"))
    line = results.path.read_text().splitlines()[0]
    for bad in (
        "{",
        "[]",
        "{}",
        line.replace('"pairs": 2', '"pairs": 20'),
        line[:-1] + ', "x": 1}',
    ):
        results.path.write_text(f"{line}\n{bad}\n")
        with pytest.raises(InputError, match=r"results\.jsonl, line 2: not a result"):
            read_results(results.path)
    results.path.write_text(line.replace('"format": 1', '"format": 0') + "\n")
    with pytest.raises(InputError, match=r"line 1: a result of another version"):
        read_results(results.path)


def test_bad_input_ends_with_status_2(inputs: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("no separator\n")
    transfers = ["weam_ext.transfer", "--models", f"m={inputs / 'a'}", "--output", str(tmp_path)]
    for arguments, sentence in (
        ([*transfers, "--bitext", str(bad)], f"{bad}, line 1: no '|||' and no tab"),
        (["weam_ext.report", str(tmp_path)], f"{tmp_path / 'results.jsonl'}: No such file"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *arguments], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert f"error: {sentence}" in done.stderr
