"""Whole runs: what they leave, and that stopping them changes nothing."""

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import (
    STEPS,
    command,
    contents,
    environment,
    flags,
    log,
    start_and_signal,
    steps_done,
    write_inputs,
)
from transformers import AutoModelForMaskedLM, AutoTokenizer

from weam_ext import train
from weam_ext.checkpoint import checkpoints, load_state
from weam_ext.errors import InputError
from weam_ext.invented import sentence_pairs, vocabulary
from weam_ext.tokenizer import wordpiece


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train.main(flags(inputs, run))
    return run


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
    train.main(
        ["--config", str(whole / "run.yaml"), "--no-tensorboard", "--output", str(tmp_path / "b")]
    )
    assert contents(tmp_path / "b") == contents(whole)
    assert log(tmp_path / "b") == log(whole)


@pytest.mark.parametrize("step", [1, 5])
def test_a_killed_run_ends_in_the_same_bytes(
    inputs: Path, whole: Path, tmp_path: Path, step: int
) -> None:
    run = tmp_path / "run"
    assert start_and_signal(flags(inputs, run), run, step, signal.SIGKILL) == -signal.SIGKILL
    assert steps_done(run) < STEPS
    train.main(flags(inputs, run))
    assert contents(run) == contents(whole)
    assert log(run) == log(whole)


def test_a_terminated_run_finishes_its_step(inputs: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = flags(inputs, run, save_every=100)
    status = start_and_signal(arguments, run, 3, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    saved = load_state(checkpoints(run)[-1])["step"]
    assert 3 <= saved < STEPS
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


def test_a_torn_checkpoint_is_passed_over(
    inputs: Path, whole: Path, tmp_path: Path, capsys: Any
) -> None:
    run = tmp_path / "run"
    train.main(flags(inputs, run))
    torn = checkpoints(run)[-1] / "model.safetensors"
    data = torn.read_bytes()
    torn.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"model\.safetensors: the file was changed"):
        load_state(torn.parent)
    torn.parent.rename(torn.parent.with_name("step-00000099"))  # as if newer than all
    train.main(flags(inputs, run))
    assert "passed over: " in capsys.readouterr().err
    assert (run / "step-00000008" / "model.safetensors").read_bytes() == data


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
    with pytest.raises(InputError, match=r"holds a run with soft_links True, not False"):
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


BAD = {
    "objective": (
        {"objective": "bert"},
        "unknown objective 'bert'; there are mlm, tlm, word-aligned, weam",
    ),
    "model": ({"model": "/no/such", "model_config": None}, "/no/such: no such file or directory"),
    "lr": ({"lr": 0}, "--lr must be above 0"),
    "steps": ({"steps": 0}, "--steps must be at least 1"),
    "length": ({"max_length": 500}, "the model takes 128 tokens, fewer than --max-length 500"),
    "device": ({"device": "abacus"}, "--device abacus: "),
    "seed": ({"seed": -1}, "--seed must be from 0 to 2^31 - 1"),
    "links": ({"links": "loose"}, "argument --links: invalid choice: 'loose'"),
    "soft links": ({"soft_links": True, "objective": "tlm"}, "--soft-links weighs the word exch"),
    "shares": ({"mask_shares": "0.8"}, "argument --mask-shares: expected 3 arguments"),
    "masking": ({"masking": "exclusive", "objective": "mlm"}, "--masking exclusive needs pairs"),
    "unit": ({"mask_unit": "line"}, "argument --mask-unit: invalid choice: 'line'"),
    "config": ({"config": "/no/such.yaml"}, "/no/such.yaml: No such file or directory"),
    "tokenizer": ({"tokenizer": "/no/such"}, "/no/such: no such file or directory"),
}


def test_shares_that_do_not_add_up(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must add up to 1"):
        train.main([*flags(inputs, tmp_path), "--mask-shares", "0.8", "0.1", "0.2"])


@pytest.mark.parametrize("name", BAD)
def test_bad_settings(inputs: Path, tmp_path: Path, name: str) -> None:
    changes, sentence = BAD[name]
    with pytest.raises(InputError) as error:
        train.main(flags(inputs, tmp_path / "run", **changes))
    assert sentence in str(error.value)
    assert not checkpoints(tmp_path / "run")


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


def test_another_run_s_directory(inputs: Path, whole: Path) -> None:
    with pytest.raises(InputError, match=r"holds a run with lr None, not 0\.5; give another"):
        train.main(flags(inputs, whole, lr=0.5))
    with pytest.raises(InputError, match="holds a run already"):
        train.main(flags(inputs, whole, resume="never"))


def test_a_directory_with_other_things(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty, and no run"):
        train.main(flags(inputs, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


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
