"""Throughput of the training step on real batches: loading, masking, forward, backward, update."""

from pathlib import Path

import pytest
from corpora import machine
from pytest_benchmark.fixture import BenchmarkFixture

from weam_ext.objectives import OBJECTIVES
from weam_ext.train import Trainer, open_run, parse


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.benchmark(group="training step of the built-in run")
def bench_step(benchmark: BenchmarkFixture, tmp_path: Path, objective: str) -> None:
    options = parse(
        ["--objective", objective, "--builtin-pairs", "1000", "--output", str(tmp_path)]
    )
    trainer = Trainer(options, *open_run(options))
    seen = 0

    def step() -> float:
        nonlocal seen
        sums, tokens = trainer.train_step()
        seen += tokens
        return sums.means()["loss"]  # waits for the device

    rounds = 30
    loss = benchmark.pedantic(step, rounds=rounds, warmup_rounds=3)
    assert 0 < loss < 20
    seconds = benchmark.stats.stats.median
    benchmark.extra_info |= machine() | {
        "pairs/s": options.batch_size / seconds,
        "tokens/s": seen / (rounds + 3) / seconds,
    }
