"""Small training runs that several tests start and look into."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

from weam_ext.common.errors import InputError
from weam_ext.text.toy_corpus import sentence_pairs, vocabulary
from weam_ext.train import loop as train
from weam_ext.train.checkpoint import checkpoints, load_state

STEPS = 8
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 32, "max_position_embeddings": 128}  # fmt: skip


def write_inputs(directory: Path, pairs: int = 60, **changes: Any) -> Path:
    """Two small bitexts, a monolingual one, a vocabulary and a model's configuration."""
    for language in ("toku", "venn"):
        made = sentence_pairs(language, pairs)
        lines = "".join(f"{pair.source} ||| {pair.target}\n" for pair in made)
        (directory / f"{language}.txt").write_text(lines)
    alone = "".join(f"{pair.target}\n" for pair in sentence_pairs("toku", pairs, seed=9))
    (directory / "alone.txt").write_text(alone)
    (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary()))
    (directory / "model.json").write_text(json.dumps(SMALL | changes))
    return directory


def flags(inputs: Path, output: Path, **changes: Any) -> list[str]:
    """A small run's command line; None leaves a flag out, a truth value stands for a switch."""
    settings = {
        "bitext": None,
        "model_config": inputs / "model.json",
        "tokenizer": inputs / "vocab.txt",
        "heldout": 8,
        "batch_size": 8,
        "aligner": "fast-align",  # on such little invented text the HMM is sure of every link
        "steps": STEPS,
        "save_every": 2,
        "eval_every": 4,
        "tensorboard": False,
        "output": output,
        **changes,
    }
    texts = ["--bitext", str(inputs / "toku.txt"), "--bitext", str(inputs / "venn.txt")]
    made = texts if settings["bitext"] is None else []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            made.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            made += [f"--{flag}", *map(str, value)]
        elif value is not None:
            made += [f"--{flag}", str(value)]
    return made


def log(run: Path) -> list[dict[str, Any]]:
    """The run's records that do not depend on the clock."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [record for record in records if "speed" not in record]


def logged(run: Path, kind: str) -> list[dict[str, float]]:
    """The means of one kind, "train" or "heldout/NAME"."""
    return [record[kind] for record in log(run) if kind in record]


def contents(run: Path) -> dict[str, bytes]:
    """The last checkpoint, to the byte."""
    return {path.name: path.read_bytes() for path in checkpoints(run)[-1].iterdir()}


def command(
    arguments: list[str], processes: int = 1, program: tuple[str, ...] = ("-m", "weam_ext.train")
) -> list[str]:
    """What starts a run, under torchrun where it has several processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *(torchrun if processes > 1 else []), *program, *arguments]


def environment() -> dict[str, str]:
    """For a run in another process: this one's packages, one thread."""
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def steps_done(run: Path) -> int:
    path = run / "log.jsonl"
    return path.read_bytes().count(b'"train"') if path.exists() else 0


def start_and_signal(
    arguments: list[str], run: Path, step: int, number: int, processes: int = 1
) -> int:
    """Start a run, send it a signal between a step and the next, and return its exit status."""
    program = (str(Path(__file__).with_name("waiting.py")), str(step))
    process = subprocess.Popen(
        command(arguments, processes, program), env=environment(), stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 240
    while steps_done(run) < step and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate(timeout=240)
    return process.returncode


def ends_in(step: int) -> Any:
    """A step of the trainer that dies instead of doing the given one."""
    train_step = train.Trainer.train_step

    def dying(trainer: train.Trainer) -> Any:
        if trainer.step + 1 == step:
            raise KeyboardInterrupt
        return train_step(trainer)

    return dying


def stopped_and_resumed(
    inputs: Path, run: Path, monkeypatch: pytest.MonkeyPatch, step: int = 5, **changes: Any
) -> None:
    """A run that is told to end in a step, which is no multiple of anything, and is resumed."""
    train_step = train.Trainer.train_step

    def interrupted(trainer: train.Trainer) -> Any:
        if trainer.step == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer, "train_step", interrupted)
        with pytest.raises(SystemExit):
            train.main(flags(inputs, run, **changes))
    assert load_state(checkpoints(run)[-1])["step"] == step
    train.main(flags(inputs, run, **changes))


def refusal(arguments: list[str]) -> str:
    """The one sentence of a training that is refused."""
    with pytest.raises(InputError) as error:
        train.main(arguments)
    assert "\n" not in str(error.value)
    return str(error.value)
