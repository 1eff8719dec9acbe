"""Frozen encoders and the grid: the protocol, the numbers, what is kept and refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizers import FAMILIES
from torch import Tensor
from transfer_files import LAYERS, flags, save_encoder, small_data
from transformers import BertConfig, BertModel
from weam_ref.retrieval import retrieval_accuracy

from weam_ext.common.errors import InputError
from weam_ext.text.toy_corpus import sentence_pairs
from weam_ext.transfer import cli, models, read, read_all
from weam_ext.transfer.encoder import Encoder, encoder_digest, mean_pool
from weam_ext.transfer.frozen.retrieval import METHODS, nearest_neighbours, retrieval_pairs
from weam_ext.transfer.grid import Job, run_grid
from weam_ext.transfer.results import Cell, Evaluation, Score, read_failed


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


def accuracy(
    source: Any, target: Any, *, centred: bool, method: str = "cosine"
) -> tuple[float, float]:
    sides = [torch.as_tensor(side, dtype=torch.float32) for side in (source, target)]
    found = nearest_neighbours(*sides, centred=centred, method=method)
    own = torch.arange(len(sides[0]))
    return (found.forward == own).double().mean().item(), (
        found.backward == own
    ).double().mean().item()


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [2, 3, 40])
def test_every_method_as_the_reference(method: str, count: int) -> None:
    source = torch.randn(count, 5, generator=torch.Generator().manual_seed(count))
    target = source + torch.randn(count, 5, generator=torch.Generator().manual_seed(1))
    found = accuracy(source, target, centred=False, method=method)
    sides = source.tolist(), target.tolist()
    assert found == retrieval_accuracy(*sides, centred=False, method=method)


def test_hubs_are_nobody_s_neighbours_to_csls_and_margin() -> None:
    # The last target lies in the middle of all sources: the nearest of most by cosine.
    source = torch.eye(6) + 0.6
    target = torch.cat([torch.eye(6)[:5] + 0.2 * torch.randn(
        5, 6, generator=torch.Generator().manual_seed(0)), torch.ones(1, 6)])  # fmt: skip
    plain, *rest = (accuracy(source, target, centred=False, method=m)[0] for m in METHODS)
    assert min(rest) > plain


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("cells", [1, 1 << 8, 1 << 22])
def test_as_the_reference_in_blocks(
    centred: bool, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weam_ext.transfer.frozen.retrieval._CELLS", cells)
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
    monkeypatch.setattr("weam_ext.transfer.frozen.retrieval._CELLS", cells)
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
    expected = nearest_neighbours(source, target, centred=True)
    found = nearest_neighbours(source, moved, centred=True)
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


# ------------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def scores(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("scores")
    cli.main(flags(inputs, output, "toku", "venn"))
    return output


def test_the_predictions(inputs: Path, scores: Path) -> None:
    rows = read_all(scores)
    assert len(rows) == 3 * 2 * (LAYERS + 1) * 2 * len(METHODS)
    keys = {(r.directory, r.language, r.layer, r.vectors, r.method) for r in rows}
    assert len(keys) == len(rows)
    (row,) = (
        r for r in rows
        if (r.language, r.layer, r.vectors, r.method) == ("venn", 1, "centred", "cosine")
        and r.directory == str((inputs / "a").resolve())
    )  # fmt: skip
    assert (row.cell.model, row.cell.setting, row.facts["layers"]) == ("first", "frozen", LAYERS)
    invented = sentence_pairs("venn", 30, seed=1)
    pairs = retrieval_pairs("venn", [(pair.source, pair.target) for pair in invented])
    encoder = Encoder(inputs / "a", 64, "cpu", "fp32")
    sides = [[one_by_one(encoder, pair[k])[1].tolist() for pair in pairs.pairs] for k in (0, 1)]
    forward, backward = retrieval_accuracy(*sides, centred=True)
    part, whole = row.metrics["accuracy"]
    assert part.sum() / whole.sum() == pytest.approx((forward + backward) / 2)
    # Any table can be made again: what was found is there.
    found = [text.split() for text in row.predictions]
    assert sum(int(a) == k for k, (a, _) in enumerate(found)) / len(found) == forward


def test_what_is_there_is_not_computed_again(
    inputs: Path, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    output = shutil.copytree(scores, tmp_path / "scores")
    before = {path.name: path.read_bytes() for path in (output / "cells").iterdir()}
    cli.main(flags(inputs, output, "toku", "venn"))
    assert "0 made, 3 there already" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (output / "cells").iterdir()} == before
    # One is lost: that one is made again, to the same bytes.
    lost = next((output / "cells").glob("*first*.arrow"))
    lost.unlink()
    cli.main(flags(inputs, output, "toku", "venn"))
    assert "1 made, 2 there already" in capsys.readouterr().err
    assert lost.read_bytes() == before[lost.name]
    cli.main(flags(inputs, output, "toku", "orlu"))
    assert "3 made" in capsys.readouterr().err


def test_a_file_that_is_no_cell(tmp_path: Path) -> None:
    (tmp_path / "x.arrow").write_bytes(b"ARROW1 but not really")
    with pytest.raises(InputError, match=r"x\.arrow: not predictions of weam_ext\.transfer"):
        read(tmp_path / "x.arrow")


# ----------------------------------------------------------------------------------------- the grid


def job(name: str, make: Callable[[Path], Any]) -> Job:
    return Job(Cell(name, "sha", "task", "data", "frozen", 0, {}), "there", make)


def one_row(_: Path) -> Any:
    return [Evaluation("en", {"accuracy": [Score(1.0)]}, ["k"])], {}


def test_a_cell_that_fails_says_why_and_the_rest_goes_on(tmp_path: Path) -> None:
    def refused(_: Path) -> Any:
        raise InputError("wrong label in line 3")

    def broken(work: Path) -> Any:
        work.mkdir(parents=True)
        raise RuntimeError("a fault of ours")

    jobs = [job("a", refused), job("b", broken), job("c", one_row)]
    tally = run_grid(jobs, tmp_path)
    assert (tally.made, len(tally.failed or ())) == (1, 2)
    reasons = [failed.reason for failed in read_failed(tmp_path)]
    assert reasons[0] == "wrong label in line 3"
    assert reasons[1].startswith("RuntimeError: a fault of ours (test_cli.py:")
    assert not list((tmp_path / "work").iterdir()) and not list(tmp_path.rglob("*.claim"))
    # Given again, what failed is tried again, and a success wipes the word of the failure.
    run_grid([job("a", one_row), job("b", one_row), job("c", one_row)], tmp_path)
    assert not list(read_failed(tmp_path)) and len(read_all(tmp_path)) == 3


def test_processes_share_a_grid(tmp_path: Path) -> None:
    """Four at once make every cell once, whoever makes it."""
    program = tmp_path / "worker.py"
    program.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from weam_ext.transfer.grid import Job, run_grid\n"
        "from weam_ext.transfer.results import Cell, Evaluation, Score\n"
        "output, rank = Path(sys.argv[1]), int(sys.argv[2])\n"
        "def make(work):\n"
        "    with (output / 'log').open('a') as log: log.write(work.name + '\\n')\n"
        "    time.sleep(0.02)\n"
        "    return [Evaluation('en', {'accuracy': [Score(1.0)]}, ['k'])], {}\n"
        "cells = [Cell(f'm{k}', 's', 't', 'd', 'frozen', 0, {}) for k in range(12)]\n"
        "run_grid([Job(cell, 'there', make) for cell in cells], output, rank, 4)\n"
    )
    output = tmp_path / "out"
    output.mkdir()
    running = [
        subprocess.Popen([sys.executable, str(program), str(output), str(k)]) for k in range(4)
    ]
    assert [process.wait() for process in running] == [0] * 4
    made = (output / "log").read_text().split()
    assert len(made) == len(set(made)) == 12
    assert len(read_all(output)) == 12


def test_a_cell_held_elsewhere_is_left_alone(tmp_path: Path) -> None:
    import fcntl

    cells = tmp_path / "cells"
    cells.mkdir()
    held = job("a", one_row)
    with (cells / f"{held.cell.name}.claim").open("w") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        assert run_grid([held, job("b", one_row)], tmp_path).elsewhere == 1
    # Whoever held it is gone, however it went.
    assert run_grid([held], tmp_path).made == 1


def test_one_bad_model_or_task_does_not_stop_the_others(
    inputs: Path, tmp_path: Path, capsys: Any
) -> None:
    data = small_data(tmp_path / "data")
    (data / "udpos/dev-de.tsv").write_text("a\tNOPE\n")
    bad = shutil.copytree(inputs / "a", tmp_path / "bad")
    (bad / "config.json").write_text('{"model_type": "t5"}')
    arguments = flags(inputs, tmp_path / "out", models=(f"good={inputs / 'a'}", f"bad={bad}",
                                                        f"gone={tmp_path / 'gone'}"))  # fmt: skip
    with pytest.raises(InputError, match="7 of 9 cells failed"):
        cli.main([*arguments, "--data", str(data), "--tasks", "tatoeba", "udpos", "alignment",
                       "--seeds", "1"])  # fmt: skip
    reasons = {(f.cell.model, f.cell.task): f.reason for f in read_failed(tmp_path / "out")}
    assert "line 1: tag 'NOPE' is none of ADJ" in reasons["good", "udpos"]
    assert reasons["gone", "tatoeba"].endswith("gone: no such directory")
    assert str(bad) in reasons["bad", "alignment"]
    assert {row.cell.task for row in read_all(tmp_path / "out")} == {"tatoeba", "alignment"}


def test_alignment_of_words(inputs: Path, tmp_path: Path) -> None:
    data = small_data(tmp_path / "data")
    arguments = flags(inputs, tmp_path / "out", models=(f"m={inputs / 'a'}",))
    cli.main([*arguments, "--data", str(data), "--tasks", "alignment"])
    rows = read_all(tmp_path / "out")
    assert len(rows) == (LAYERS + 1) * 2 * 2
    assert rows[0].language == "toy:en-de"
    assert rows[0].gold == ["0-0 1-1", "0-0 2-2 1?1"]
    part, whole = rows[0].metrics["1-aer"]
    links = [text.split() for text in rows[0].predictions]
    assert whole.tolist() == [2 + len(links[0]), 2 + len(links[1])]
    assert (part <= whole).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--models", "m", "--tasks", "xnli", "--data", "/"], "expected NAME=DIR"),
        (["--models", "m=a", "m=b", "--tasks", "xnli", "--data", "/"], "two models are called"),
        (["--models", "m=a", "--tasks", "xnli"], "--data is needed"),
        (["--models", "m=a"], "nothing to do"),
        (["--models", "m=a", "--tasks", "nope"], "unknown; there are"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/no/such"], "no such directory"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/", "--settings", "few-shot"],
         "none of zero-shot"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/", "--noise", "rain=1"],
         "none of typos"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/", "--noise", "synonyms=.1"],
         "needs --lexicon"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/", "--seeds", "0"], "at least 1"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_meant(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        cli.main([*arguments, "--output", str(tmp_path), "--device", "cpu"])


def test_what_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    wrong = ["--models", "m=a", "--data", "/", "--output", str(tmp_path), "--tasks"]
    with pytest.raises(InputError, match=r"needs accelerate: pip install 'weam-ext\[transfer\]'"):
        cli.main([*wrong, "xnli"])
    with pytest.raises(InputError, match="needs seqeval"):
        cli.main([*wrong, "udpos-probe"])


def test_the_same_encoder_is_no_other_seed(inputs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(inputs / "a", tmp_path / "copy")
    with pytest.raises(InputError, match="the same encoder as"):
        cli.main(flags(inputs, tmp_path, "toku", models=(f"m={inputs / 'a'},{copy}",)))


def test_the_command_line(inputs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "weam_ext.transfer"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--settings" in done.stdout
    wrong = flags(inputs, tmp_path / "out", models=(f"m={tmp_path / 'none'}",))
    done = subprocess.run(
        [*command, *wrong, "--bitext", str(inputs / "toku.txt")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "1 of 1 cells failed" in done.stderr.splitlines()[-1]


def test_the_size_of_a_model_is_told(tmp_path: Path) -> None:
    model = BertModel(BertConfig(vocab_size=7, hidden_size=8, num_hidden_layers=1,
                                 num_attention_heads=2, intermediate_size=16))  # fmt: skip
    model.save_pretrained(tmp_path)
    assert models.facts_of(tmp_path) == {"training": {}, "parameters": model.num_parameters()}
    assert models.facts_of(tmp_path / "nowhere") == {"training": {}}
