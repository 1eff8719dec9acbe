"""An encoder as aligner, alone and with the HMM."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import tiny
from small_tokenizers import tokenizer
from weam_ref import word_scores as reference

from weam_ext import Aligner
from weam_ext.align import cli, encoder
from weam_ext.align.encoder import decoded, mixture
from weam_ext.common.errors import InputError
from weam_ext.text.toy_corpus import LANGUAGES, sentence_pairs

TEXT = [(pair.source, pair.target) for pair in sentence_pairs(LANGUAGES[1], 40)]
SIDES = [source for source, _ in TEXT], [target for _, target in TEXT]
MODELS = ("hybrid", "encoder")
Options = dict[str, Any]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    made, folder = tokenizer("WordPiece"), tmp_path_factory.mktemp("encoder")
    tiny("BertForMaskedLM", vocab_size=len(made), num_hidden_layers=2).save_pretrained(folder)
    made.save_pretrained(folder)
    return str(folder)


numbers = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.6, 1.0])


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.0, 0.5, 1.0]))
def test_mixing_and_links(data: Any, m: int, n: int, weight: float) -> None:
    posteriors, scores = (
        np.array(data.draw(st.lists(each, min_size=m * n, max_size=m * n))).reshape(m, n)
        for each in (numbers, numbers | st.just(float("nan")))
    )
    links = np.argwhere(posteriors > 0)
    given_ = links.astype(np.int32), posteriors[posteriors > 0].astype(np.float32)
    found = mixture(given_, scores.astype(np.float32), weight)
    expected = reference.mixture(posteriors, scores, weight)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for heuristic in ("posterior", "forward", "backward"):
        made = decoded([found], heuristic, 0.45)
        assert made[0] == reference.decoded(found.astype(float), heuristic, 0.45)
        assert made.probability is not None
        assert made.probability.tolist() == [found[link] for link in made[0]]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("heuristic", ["posterior", "intersect", "backward"])
def test_the_same_at_any_number_of_threads_and_when_kept(
    model: str, heuristic: str, directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: Options = {"model": model, "encoder": directory, "heuristic": heuristic}
    first = Aligner(**options, threads=1)
    links = first.fit_align(*SIDES, posteriors=True)
    assert links == Aligner(**options, threads=3).fit_align(*SIDES, posteriors=True)
    once = Aligner(**options).fit_align(*SIDES)  # some scores are those of training
    assert once.to_lists() == links.to_lists()
    monkeypatch.setattr(encoder, "_SAMPLE", len(TEXT))
    first.save(tmp_path)
    assert Aligner.load(tmp_path).align(*SIDES, posteriors=True) == links
    scores = links.scores["per word"]
    assert (scores <= 0).all() and links.probability is not None
    assert ((links.probability > 0) & (links.probability <= 1)).all()


def test_the_encoder_helps_the_hmm(directory: str) -> None:
    """Its scores are links seen beforehand: other ones give another table."""
    tables = [
        Aligner(encoder=directory, scale=scale).fit(*SIDES).lexicon(3) for scale in (0.1, 30.0)
    ]
    assert tables[0] != tables[1]
    alone = Aligner(encoder=directory, weight=0.0).fit_align(*SIDES)
    assert alone.to_lists() != Aligner(encoder=directory, weight=1.0).fit_align(*SIDES).to_lists()


def test_one_pair_needs_no_text(directory: str) -> None:
    aligner = Aligner(model="encoder", encoder=directory, threshold=0.0)
    assert aligner.align_pair("a b", "c d") == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert aligner.align(["a", ""], ["b", "c"]).to_lists() == [[(0, 0)], []]


def test_another_encoder_is_refused(directory: str, tmp_path: Path) -> None:
    Aligner(encoder=directory).fit(*SIDES).save(tmp_path / "kept")
    made = tokenizer("WordPiece")
    other = tiny("BertForMaskedLM", vocab_size=len(made), num_hidden_layers=3)
    other.save_pretrained(tmp_path / "other")
    made.save_pretrained(tmp_path / "other")
    moved = Aligner.load(tmp_path / "kept", encoder=tmp_path / "other")
    with pytest.raises(InputError, match="not the encoder that this model was trained with"):
        moved.align(["a"], ["b"])
    Aligner().fit(*SIDES).save(tmp_path / "hmm")
    with pytest.raises(InputError, match="a model of hmm has no encoder"):
        Aligner.load(tmp_path / "hmm", encoder=directory)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"model": "encoder"}, "encoder needs an encoder"),
        ({"model": "hmm", "encoder": "x"}, "encoder is no setting of hmm"),
        ({"encoder": "x", "weight": 2}, "weight must be from 0 to 1"),
        ({"encoder": "x", "scale": 0}, "scale must be above 0"),
        ({"encoder": "x", "layer": 0}, "layer must be a whole number"),
        ({"encoder": ""}, "encoder must be a name or a folder"),
        ({"model": ""}, "model must be one of"),
    ],
)
def test_what_cannot_be_meant(options: Options, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        Aligner(**options)


def test_command_line(directory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, kept = tmp_path / "text", str(tmp_path / "kept")
    text.write_text("".join(f"{a} ||| {b}\n" for a, b in TEXT))

    def links(*flags: str) -> str:
        cli.main(["-i", str(text), *flags])
        sys.stdout.flush()
        return capsys.readouterr().out

    scores = tmp_path / "scores"
    whole = links("--encoder", directory, "--save", kept, "--pair-scores", str(scores))
    assert len(scores.read_text().split()) == len(TEXT)
    assert whole.count("\n") == len(TEXT) and links("--model", kept) == whole
    assert links("--model", kept, "--encoder", directory) == whole
    alone = links("--encoder", directory, "--model", "encoder", "--posteriors", "--threshold", "0")
    assert ":" in alone and alone.count("\n") == len(TEXT)


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ("--model hybrid", "--model hybrid needs --encoder"),
        ("--model hmm --encoder x", "leave out --encoder"),
        ("--encoder x -d", "--model hybrid trains an HMM: leave out -d"),
        ("--encoder x --model encoder --lexicon y", "leave out --lexicon"),
        ("--encoder /nowhere/x", "/nowhere/x: no such file or directory"),
    ],
)
def test_flags_that_cannot_be_meant(flags: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a ||| b\n")
    with pytest.raises(InputError, match=fault):
        cli.main(["-i", str(tmp_path / "text"), *flags.split()])


def test_torch_waits_for_an_encoder() -> None:
    code = (
        "import sys; from weam_ext import Aligner; import weam_ext.align.cli\n"
        "Aligner(encoder='x'); print({'torch', 'transformers'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
