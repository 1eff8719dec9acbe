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


class Life:
    """What one life of the run has done: what lies there at its start is of the lives before."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._log = self._inode()
        self._begun_at: int | None = None

    def _inode(self) -> int:
        path = self._run / "log.jsonl"
        return path.stat().st_ino if path.exists() else 0

    def steps(self) -> int:
        """Those that it has done itself; -1 until it has cut the log back, and writes to it."""
        if self._begun_at is None:
            if self._inode() == self._log:
                return -1
            self._begun_at = steps_done(self._run)
        return steps_done(self._run) - self._begun_at

    def evaluating(self) -> bool:
        path = self._run / "log.jsonl"
        if self.steps() < 1 or steps_done(self._run) % 4:
            return False
        return path.read_bytes().count(b'"heldout/all"') == steps_done(self._run) // 4

    def writing(self) -> bool:
        return self.steps() >= 0 and any(self._run.glob(".step-*.part"))


Moment = tuple[str, Callable[[Life], bool], float]
"""What is waited for, and the longest time after it."""


def moments(rng: random.Random, run: Path) -> list[Moment]:
    def after_steps(number: int) -> Moment:
        return f"step {number}", lambda life: life.steps() >= number, 0.03

    first: list[Moment] = [
        ("start-up", lambda _: True, 8.0),
        ("opening", lambda _: run.exists(), 0.05),
        ("preparation", lambda _: (run / "tokenizer").exists(), 0.5),
    ]
    rest: list[Moment] = [
        ("start-up", lambda _: True, 8.0),
        ("start-up", lambda _: True, 12.0),
        *(after_steps(rng.randrange(7)) for _ in range(5)),
        *[("evaluation", Life.evaluating, longest) for longest in (0.01, 0.05, 0.1)],
        *[
            ("checkpoint", Life.writing, longest)
            for longest in (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
        ],
    ]
    rng.shuffle(rest)
    assert len(first) + len(rest) == KILLS
    return first + rest


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
        life, process, begun = Life(run), start(run), time.monotonic()
        while not reached(life) and process.poll() is None and time.monotonic() - begun < PATIENCE:
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
