"""A run that is killed twenty times ends in the same bytes as one that nothing disturbed."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import command, contents, environment, flags, log, steps_done, write_inputs

from weam_ext.checkpoint import BEST, checkpoints

pytestmark = pytest.mark.long
KILLS, STEPS = 20, 90
PATIENCE = 180.0


def children(pid: int) -> list[int]:
    """Its descendants."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [child for each in map(int, found) for child in (each, *children(each))]


def belongs(pid: int, run: Path) -> bool:
    try:
        return str(run).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def heldout_measured(run: Path) -> int:
    path = run / "log.jsonl"
    return path.read_bytes().count(b'"heldout/all"') if path.exists() else 0


def moments(rng: random.Random, run: Path) -> list[tuple[str, Callable[[], bool], float]]:
    """Twenty moments: what is waited for, and the longest time after it."""

    def after_steps(more: int) -> Callable[[], bool]:
        # Those of the log that this life leaves behind: it is cut back when it begins to write.
        return lambda: steps_done(run) % 5 == more

    def writing() -> bool:
        return any(run.glob(".step-*.part"))

    def evaluating() -> bool:
        return steps_done(run) // 4 >= heldout_measured(run)

    first = [
        ("start-up", lambda: True, 8.0),
        ("opening", run.exists, 0.05),
        ("preparation", (run / "tokenizer").exists, 0.5),
    ]
    rest = [
        ("start-up", lambda: True, 8.0),
        ("steps", after_steps(rng.randrange(5)), 0.05),
        ("steps", after_steps(rng.randrange(5)), 0.3),
        ("evaluation", evaluating, 0.05),
        ("checkpoint", writing, 0.01),
        ("checkpoint", writing, 0.04),
        ("checkpoint", writing, 0.1),
    ]
    chosen = [*rest, *rest, *rng.sample(rest, KILLS - len(first) - 2 * len(rest))]
    rng.shuffle(chosen)
    return first + chosen


def test_twenty_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = write_inputs(tmp_path)
    # At this speed evaluations and checkpoints take a good part of the time.
    settings = {"steps": STEPS, "save_every": 3, "eval_every": 4, "workers": 2}

    def start(run: Path) -> "subprocess.Popen[bytes]":
        with (tmp_path / "stderr.txt").open("ab") as errors:
            return subprocess.Popen(
                command(flags(inputs, run, **settings)), env=environment(), stdout=errors,
                stderr=errors,
            )  # fmt: skip

    whole, run = tmp_path / "whole", tmp_path / "run"
    assert start(whole).wait(600) == 0
    rng = random.Random(5)
    seen: set[int] = set()
    done = []
    for name, reached, longest in moments(rng, run):
        process = start(run)
        begun = time.monotonic()
        if name not in ("start-up", "opening", "preparation"):
            # What it finds is of earlier lives until it has workers.
            while not children(process.pid) and process.poll() is None:
                time.sleep(0.01)
        while not reached() and process.poll() is None and time.monotonic() - begun < PATIENCE:
            time.sleep(0.001)
        time.sleep(rng.random() * longest)
        seen |= set(children(process.pid))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (tmp_path / "stderr.txt").read_text()[-2000:]
        done.append(f"{name} {steps_done(run)}")
    print(", ".join(done))
    assert steps_done(run) < STEPS
    assert len(done) == KILLS

    assert start(run).wait(600) == 0
    assert contents(run) == contents(whole)
    assert log(run) == log(whole)
    names = [path.name for path in checkpoints(whole)]
    assert [path.name for path in checkpoints(run)] == names
    assert (run / BEST).readlink() == (whole / BEST).readlink()
    assert sorted(p.name for p in run.iterdir()) == sorted(p.name for p in whole.iterdir())

    assert seen, "no worker was ever there"
    deadline = time.monotonic() + 30
    while (left := [pid for pid in seen if belongs(pid, run)]) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left
