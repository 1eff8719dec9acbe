"""Whole runs: what they leave, and that stopping them changes nothing."""

import math
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from runs import (
    STEPS,
    command,
    contents,
    ends_in,
    environment,
    flags,
    log,
    logged,
    start_and_signal,
    steps_done,
    stopped_and_resumed,
    write_inputs,
)
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from weam_ext.common.errors import InputError
from weam_ext.data.shards import open_prepared
from weam_ext.model.loading import new_model
from weam_ext.text.tokenizer import load_tokenizer, wordpiece
from weam_ext.text.toy_corpus import sentence_pairs, vocabulary
from weam_ext.train import loop as train
from weam_ext.train.checkpoint import checkpoints, load_state
from weam_ext.train.heldout import Heldout
from weam_ext.train.objectives import WEAM, Masking


def test_what_a_run_leaves(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = checkpoints(whole)[-1]
    assert [path.name for path in checkpoints(whole)] == ["step-00000006", "step-00000008"]
    model, tokenizer = (
        AutoModelForMaskedLM.from_pretrained(last),
        AutoTokenizer.from_pretrained(last),
    )
    text = sentence_pairs("toku", 1)[0].source
    assert model(**tokenizer(text, return_tensors="pt")).logits.shape[-1] == len(tokenizer)
    expected = wordpiece(vocabulary(), "here")(text)["input_ids"]
    assert tokenizer(text)["input_ids"] == expected

    records = log(whole)
    steps = [record["step"] for record in records if "train" in record]
    assert steps == list(range(1, STEPS + 1))
    evaluated = [record["step"] for record in records if "heldout/all" in record]
    assert evaluated == [0, 4, 8]
    assert {"heldout/toku", "heldout/venn"} <= {key for record in records for key in record}
    settings = yaml.safe_load((whole / "run.yaml").read_text())
    assert settings["steps"] == STEPS
    assert not [path for path in whole.iterdir() if ".part" in path.name]


def test_a_finished_run_is_left_as_it_is(inputs: Path, whole: Path, capsys: Any) -> None:
    before = contents(whole), (whole / "log.jsonl").read_bytes()
    train.main(flags(inputs, whole))
    assert capsys.readouterr().out.strip() == str(checkpoints(whole)[-1])
    assert (contents(whole), (whole / "log.jsonl").read_bytes()) == before


def test_the_settings_of_a_run_reproduce_it(inputs: Path, whole: Path, tmp_path: Path) -> None:
    """With `--save-every` and `--eval-every`, which are not of what it learns."""
    train.main(
        ["--config", str(whole / "run.yaml"), "--no-tensorboard", "--output", str(tmp_path / "b"),
         "--save-every", "2", "--eval-every", "4"]
    )  # fmt: skip
    assert contents(tmp_path / "b") == contents(whole)
    assert log(tmp_path / "b") == log(whole)


def test_a_killed_run_ends_in_the_same_bytes(inputs: Path, whole: Path, tmp_path: Path) -> None:
    """tests/train/test_kill.py does it twenty times."""
    run = tmp_path / "run"
    assert start_and_signal(flags(inputs, run), run, 5, signal.SIGKILL) == -signal.SIGKILL
    assert steps_done(run) == 5
    train.main(flags(inputs, run))
    assert contents(run) == contents(whole)
    assert log(run) == log(whole)


def test_a_terminated_run_finishes_its_step(inputs: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = flags(inputs, run, save_every=100)
    status = start_and_signal(arguments, run, 3, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert load_state(checkpoints(run)[-1])["step"] == 4
    train.main(arguments)
    assert contents(run)["model.safetensors"] == contents(whole)["model.safetensors"]
    assert contents(run)["optimizer.safetensors"] == contents(whole)["optimizer.safetensors"]
    assert log(run) == log(whole)


def test_a_signal_during_an_evaluation_loses_nothing(
    inputs: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = flags(inputs, tmp_path / "run", save_every=100)
    evaluate = train.Trainer.evaluate

    def interrupted(trainer: train.Trainer) -> Any:
        if trainer.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer, "evaluate", interrupted)
        with pytest.raises(SystemExit) as stopped:
            train.main(arguments)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert load_state(checkpoints(tmp_path / "run")[-1])["step"] == 5
    train.main(arguments)
    assert log(tmp_path / "run") == log(whole)


@pytest.mark.parametrize("objective", ["mlm", "tlm"])
def test_the_other_objectives(inputs: Path, tmp_path: Path, objective: str) -> None:
    train.main(flags(inputs, tmp_path / "run", objective=objective, steps=2, accumulate=2))
    (first, *_) = [record["train"] for record in log(tmp_path / "run") if "train" in record]
    assert "cross_lingual_loss" not in first
    heldout = [record["heldout/all"] for record in log(tmp_path / "run") if "heldout/all" in record]
    assert heldout[-1]["linked"] > 0  # both predictions are measured whatever is trained


def test_soft_links(inputs: Path, whole: Path, tmp_path: Path) -> None:
    """The text is prepared with posteriors, which weigh; what is measured stays comparable."""
    run = tmp_path / "run"
    train.main(flags(inputs, run, soft_links=True, steps=2, eval_every=2))
    hard, soft = ([r["train"] for r in log(each) if "train" in r] for each in (whole, run))
    assert soft[0]["multilingual_loss"] == hard[0]["multilingual_loss"]
    assert soft[0]["cross_lingual_loss"] != hard[0]["cross_lingual_loss"]
    before = [[r["heldout/all"] for r in log(each) if "heldout/all" in r] for each in (whole, run)]
    assert before[0][0] == before[1][0]
    assert yaml.safe_load((run / "run.yaml").read_text())["soft_links"] is True
    with pytest.raises(InputError, match=r"holds a run with posteriors True, not False"):
        train.main(flags(inputs, run, steps=2, eval_every=2))

    # What a run prepared does for another one, if it has the column.
    def prepared(by: Path, name: str) -> list[str]:
        settings = {"soft_links": True, "steps": 2, "eval_every": 2}
        return flags(inputs, tmp_path / name, prepared=by / "prepared", **settings)[4:]

    train.main(prepared(run, "again"))
    assert contents(tmp_path / "again")["model.safetensors"] == contents(run)["model.safetensors"]
    with pytest.raises(InputError) as error:
        train.main(prepared(whole, "none"))
    assert "no link_probability, which --soft-links needs: prepare the text with" in str(
        error.value
    )


MASKS = {
    "exclusive": (["--masking", "exclusive"], (0.15, 0.28)),
    "exact words": (["--mask-unit", "word", "--mask-exact"], (0.25, 0.35)),
    "spans, always [MASK]": (["--mask-unit", "span", "--mask-shares", "1", "0", "0"], (0.2, 0.4)),
}


@pytest.mark.parametrize("name", MASKS)
def test_other_masks(
    inputs: Path, whole: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given, (lowest, highest) = MASKS[name]
    run = tmp_path / "run"
    train.main([*flags(inputs, run, steps=2, eval_every=2), *given])

    def first(run: Path, kind: str) -> dict[str, float]:
        return next(record[kind] for record in log(run) if kind in record)

    share = first(run, "train")["masked_share"]
    assert lowest < share < highest
    assert f"  masked {share:.1%}  " in capsys.readouterr().err
    assert first(run, "train") != first(whole, "train")
    # Always measured with the same masks, so that runs can be compared.
    assert first(run, "heldout/all") == first(whole, "heldout/all")


def test_going_on_from_a_model(inputs: Path, whole: Path, tmp_path: Path) -> None:
    model = checkpoints(whole)[-1]
    run = tmp_path / "run"
    train.main(flags(inputs, run, model=model, model_config=None, tokenizer=None, steps=1))
    first = next(record["heldout/all"] for record in log(run) if "heldout/all" in record)
    last = [record["heldout/all"] for record in log(whole) if "heldout/all" in record][-1]
    assert first == last  # the same held-out pairs, masks and weights


def test_what_was_held_out_is_measured(whole: Path) -> None:
    """And nothing else, with the true links."""
    tokenizer = load_tokenizer(str(whole / "tokenizer"))
    model = AutoModelForMaskedLM.from_pretrained(checkpoints(whole)[-1]).eval()
    device = torch.device("cpu")
    weam = WEAM(model, Masking.of(tokenizer, device=device, seed=0, probability=0.3)).eval()
    _, splits = open_prepared(whole / "prepared")
    heldout = Heldout(splits["heldout"], tokenizer, weam, batch_size=8, device=device)
    found, written = heldout.measure(weam), log(whole)[-3:]
    for record in written:
        (name,) = record.keys() - {"step"}
        assert record[name] == pytest.approx(found[name.removeprefix("heldout/")], rel=1e-6)


def test_both_losses_fall(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train.main(
        ["--builtin-pairs", "300", "--steps", "40", "--eval-every", "40", "--save-every", "40",
         "--no-tensorboard", "--output", str(run)]
    )  # fmt: skip
    before, after = [record["heldout/all"] for record in log(run) if "heldout/all" in record]
    assert after["multilingual_loss"] < before["multilingual_loss"] - 0.5
    assert after["cross_lingual_loss"] < before["cross_lingual_loss"] - 0.5


@pytest.mark.long
def test_links_matter(tmp_path: Path) -> None:
    """The command without arguments, as a user gives it, against the control."""
    accuracy = {}
    for links in ("true", "shuffled"):
        done = subprocess.run(
            command(["--links", links]),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        last = tmp_path / done.stdout.strip()
        assert AutoModelForMaskedLM.from_pretrained(last).config.model_type == "bert"
        heldout = [r["heldout/all"] for r in log(last.parent) if "heldout/all" in r]
        accuracy[links] = heldout[-1]["linked_accuracy"]
    assert accuracy["true"] >= accuracy["shuffled"] + 0.3


# ---------------------------------------------------------------------- stopped, and other options


OPTIONS: dict[str, dict[str, Any]] = {
    "word-aligned": {"objective": "word-aligned", "regularization": 0.5},
    "separate head": {"exchange_head": "separate", "encode": "apart"},
    "language vectors": {"exchange_head": "language", "monolingual": "alone.txt"},
    "inner layer": {"exchange_layer": 1, "link_mode": "first", "links": "shuffled"},
    "tokens": {"batch_tokens": 200, "temperature": 3, "accumulate": 2, "workers": 2},
    "decay": {"layer_lr_decay": 0.5, "schedule": "cosine", "betas": [0.8, 0.95], "clip": 0.5},
    "frozen": {"freeze_layers": 1, "exchange_head": "separate", "schedule": "constant"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_and_resuming(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    changes = dict(OPTIONS[name])
    if "monolingual" in changes:
        changes["monolingual"] = inputs / changes["monolingual"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    train.main(flags(inputs, whole, **changes))
    stopped_and_resumed(inputs, run, monkeypatch, **(changes | {"workers": 0}))
    assert contents(run) == contents(whole)
    assert log(run) == log(whole)
    assert all(math.isfinite(v) for record in log(whole) for m in record.values()
               if isinstance(m, dict) for v in m.values())  # fmt: skip
    first, last = (load_file(path / "model.safetensors") for path in ends(inputs, whole, changes))
    moved = {key for key, tensor in last.items() if not torch.equal(tensor, first[key])}
    layers = {key for key in first if "embeddings." in key or ".layer." in key}
    if name == "frozen":
        assert moved == first.keys() - layers - {"cls.predictions.decoder.weight"}
    elif name == "word-aligned":
        assert moved == layers  # and never the head
        assert (whole / "initial" / "model.safetensors").exists()
        distances = [means["anchor_distance"] for means in logged(whole, "heldout/all")]
        assert distances[0] == 0 < min(distances[1:])  # from the initial model, not from the last
        assert logged(run, "heldout/all")[-1]["loss"] > 0
        shutil.rmtree(run / "initial")
        with pytest.raises(InputError, match=r"initial/config\.json: No such file"):
            train.main(flags(inputs, run, **changes))
    else:
        assert layers <= moved
    own = checkpoints(whole)[-1] / "objective.safetensors"
    assert own.exists() == (changes.get("exchange_head", "shared") != "shared")
    if name == "language vectors":
        (vectors,) = load_file(own).values()
        assert vectors.shape == (5, 16)  # of two bitexts' four sides, and of the text
        assert (vectors != 0).any()
        assert {"heldout/toku", "heldout/venn", "heldout/alone"} <= {k for r in log(run) for k in r}


def ends(inputs: Path, run: Path, changes: dict[str, Any]) -> tuple[Path, Path]:
    """Directories with the weights before training and after it."""
    before = run.parent / "before"
    tokenizer = AutoTokenizer.from_pretrained(run / "tokenizer")
    new_model(str(inputs / "model.json"), tokenizer, 128, 0).save_pretrained(before)
    return before, checkpoints(run)[-1]


def test_rates_of_layers(inputs: Path, tmp_path: Path) -> None:
    train.main(flags(inputs, tmp_path / "run", steps=2, warmup=0, schedule="constant", lr=0.1,
                     layer_lr_decay=0.5))  # fmt: skip
    rates = load_state(checkpoints(tmp_path / "run")[-1])["schedule"]["_last_lr"]
    assert rates == pytest.approx([0.05, 0.05, 0.1, 0.1])
    assert [means["lr"] for means in logged(tmp_path / "run", "train")] == pytest.approx([0.1] * 2)


def test_workers_change_nothing(inputs: Path, whole: Path, tmp_path: Path) -> None:
    train.main(flags(inputs, tmp_path / "run", workers=2))
    assert contents(tmp_path / "run") == contents(whole)
    assert log(tmp_path / "run") == log(whole)


def test_gradient_checkpointing_changes_nothing(inputs: Path, whole: Path, tmp_path: Path) -> None:
    train.main(flags(inputs, tmp_path / "run", gradient_checkpointing=True, steps=8))
    losses = [[m["loss"] for m in logged(run, "train")] for run in (tmp_path / "run", whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.long
def test_compiled_it_learns_the_same(tmp_path: Path) -> None:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    inputs = write_inputs(tmp_path, **still)
    for compiled in (True, False):
        train.main(flags(inputs, tmp_path / str(compiled), compile=compiled, steps=4))
    losses = [[m["loss"] for m in logged(tmp_path / name, "train")] for name in ("True", "False")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_seldom_logged_it_is_resumed_to_the_same_log(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means are over the steps since the last record, none of which may lie before a checkpoint."""
    changes = {"log_every": 5, "save_every": 3}
    train.main(flags(inputs, tmp_path / "whole", **changes))
    steps = [record["step"] for record in log(tmp_path / "whole") if "train" in record]
    assert steps == [3, 5, 6, 8]
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer, "train_step", ends_in(7))
        with pytest.raises(KeyboardInterrupt):
            train.main(flags(inputs, run, **changes))
    train.main(flags(inputs, run, **changes))
    assert log(run) == log(tmp_path / "whole")
    assert contents(run) == contents(tmp_path / "whole")


def test_processes_have_other_dropout() -> None:
    def draw(seed: int, step: int, rank: int) -> float:
        trainer: Any = SimpleNamespace(
            settings=SimpleNamespace(seed=seed), step=step, ranks=SimpleNamespace(rank=rank)
        )
        train.Trainer._seed_generators(trainer)
        return torch.rand(()).item()

    places = list(product((0, 1), (0, 1), (0, 1)))
    assert len({draw(*place) for place in places}) == len(places)
    assert draw(1, 2, 3) == draw(1, 2, 3)


# ----------------------------------------------------------------------------------------- errors


def refused(arguments: list[str], cwd: Path, **options: Any) -> str:
    """The one sentence that a refused run prints; it must exit with 2."""
    done = subprocess.run(
        command(arguments), cwd=cwd, env=environment(), capture_output=True, text=True, **options
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if ": error: " in line]
    assert len(errors) == 1, done.stderr
    return errors[0].partition(": error: ")[2]


def test_bad_text_ends_with_status_2(inputs: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"a ||| b\nc \xff ||| d\n")
    sentence = refused(["--bitext", str(bad), *flags(inputs, tmp_path / "run")[4:]], tmp_path)
    assert sentence == f"{bad}, line 2: invalid UTF-8 (byte 0xff at column 3)"
    assert not (tmp_path / "run" / "prepared").exists()


def test_a_model_directory_that_is_none(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no masked language model there"):
        train.main(flags(inputs, tmp_path / "run", model=tmp_path / "empty", model_config=None))


@pytest.fixture
def small_files() -> Iterator[dict[str, Any]]:
    """Options for a process whose files cannot grow beyond 64 KiB, as on a disk that fills up."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    yield {"preexec_fn": limit}


def test_a_full_disk(inputs: Path, tmp_path: Path, small_files: dict[str, Any]) -> None:
    run = tmp_path / "run"
    sentence = refused(flags(inputs, run), tmp_path, **small_files)
    assert sentence.startswith(f"{run / 'step-00000002'}: cannot be written (")
    assert not list(run.glob("*step-*"))


@pytest.mark.parametrize("objective", ["mlm", "tlm", "weam", "word-aligned"])
def test_a_run_without_padding_is_the_same(tmp_path: Path, objective: str) -> None:
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    inputs = write_inputs(tmp_path, **rates)
    for way in ("always", "never"):
        changes = {"objective": objective, "padding": way, "steps": 4}
        train.main(flags(inputs, tmp_path / way, **changes))
    for kind in ("train", "heldout/all"):
        with_padding, without = (logged(tmp_path / way, kind) for way in ("always", "never"))
        assert with_padding and len(with_padding) == len(without)
        for one, other in zip(with_padding, without, strict=True):
            assert one == pytest.approx(other, rel=1e-5, abs=1e-6)
