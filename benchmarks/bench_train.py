"""Throughput of the training step on real batches: loading, masking, forward, backward, update."""

import os
import statistics
import time
from pathlib import Path

import pytest
from corpora import Record
from plain_weam import AllTokens, plain_step
from pytest_benchmark.fixture import BenchmarkFixture

from weam_ext.common.ranks import Ranks
from weam_ext.train.loop import Trainer
from weam_ext.train.objectives import OBJECTIVES
from weam_ext.train.run_directory import open_run
from weam_ext.train.settings import parse

DATA = os.environ.get("WEAM_DATA")


def trainer_of(output: Path, *flags: str) -> Trainer:
    options = parse([*flags, "--output", str(output)])
    return Trainer(options, *open_run(options), Ranks())


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.benchmark(group="training step of the built-in run")
def bench_step(benchmark: BenchmarkFixture, record: Record, tmp_path: Path, objective: str) -> None:
    trainer = trainer_of(tmp_path, "--objective", objective, "--builtin-pairs", "1000")
    tokens: list[int] = []

    def step() -> float:
        sums, requests = trainer.train_step()
        tokens.append(sum(request.tokens for request in requests))
        return sums.means()["loss"]  # waits for the device

    loss = benchmark.pedantic(step, rounds=30, warmup_rounds=3)
    assert loss > 0
    record(objective, pairs=trainer.settings.batch_size, tokens=statistics.mean(tokens))


@pytest.mark.skipif(not DATA, reason="WEAM_DATA names no directory with the data sets")
@pytest.mark.benchmark(group="WEAM step of a small BERT with mBERT's vocabulary, Hansards")
def bench_step_against_plain_torch(
    benchmark: BenchmarkFixture, record: Record, tmp_path: Path
) -> None:
    """Dense links and both heads over all tokens; its steps and ours are taken in turn."""
    data, root = Path(str(DATA)), Path(__file__).resolve().parents[1]
    hansards = [str(data / "wa-enfr-wpt03" / f"train.{side}.xz") for side in ("en", "fr")]
    flags = ["--bitext", *hansards, "--limit", "1000", "--lowercase", "--tokenizer",
             str(data / "mbert-vocab"), "--model-config",
             str(root / "recipes" / "bert-small.json")]  # fmt: skip
    ours, theirs = (trainer_of(tmp_path / way, *flags) for way in ("ours", "plain"))
    step = plain_step(theirs, AllTokens(theirs.model))
    seconds, losses = [], []

    def plain() -> None:
        begun = time.perf_counter()
        losses.append(step()[0].item())
        seconds.append(time.perf_counter() - begun)

    found = []

    def own() -> None:
        found.append(ours.train_step()[0].means()["loss"])

    benchmark.pedantic(own, setup=plain, rounds=5, warmup_rounds=1)
    assert found == pytest.approx(losses, rel=1e-3)
    record("weam_ext", pairs=ours.settings.batch_size)
    record("plain PyTorch", statistics.median(seconds), pairs=theirs.settings.batch_size)
