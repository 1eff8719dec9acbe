"""A run that is killed twenty times ends in the same bytes as one that nothing disturbed."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT
from runs import command, contents, environment, flags, log, steps_done, write_inputs

from weam_ext.train.checkpoint import BEST, checkpoints

pytestmark = pytest.mark.long
KILLS, STEPS = 20, 90
KILLED = ROOT / "tests" / "killed.py"
Moment = tuple[str, int]
"""What `killed.py` takes. No life of the run gets further than six steps."""


def moments(rng: random.Random) -> list[Moment]:
    """Those of the first start, which prepares the text, and then others in random order."""
    first = [("start", number) for number in (1, rng.randrange(5, 18), rng.randrange(20, 80))]
    rest = [
        *[("start", rng.randrange(1, 17)) for _ in range(2)],
        *[("step", number) for number in rng.sample(range(1, 8), 5)],
        *[("evaluation", number) for number in rng.sample(range(1, 5), 3)],
        *[("checkpoint", number) for number in rng.sample(range(1, 45), 7)],
    ]
    rng.shuffle(rest)
    assert len(first) + len(rest) == KILLS
    return first + rest


def belongs(pid: int, run: Path) -> bool:
    try:
        return str(run).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_twenty_kills(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    whole, run = tmp_path / "whole", tmp_path / "run"
    settings = {"steps": STEPS, "save_every": 3, "eval_every": 4, "workers": 2}
    arguments = flags(inputs, run, **settings)
    printed, errors = tmp_path / "printed.txt", tmp_path / "errors.txt"

    def status(program: list[str]) -> int:
        with printed.open("w") as out, errors.open("a") as err:
            return subprocess.run(program, env=environment(), stdout=out, stderr=err).returncode

    assert status(command(flags(inputs, whole, **settings))) == 0
    seen: set[int] = set()
    done = []
    for phase, number in moments(random.Random(5)):
        ended = status([sys.executable, str(KILLED), phase, str(number), *arguments])
        assert ended == -signal.SIGKILL, errors.read_text()[-2000:]
        seen |= set(map(int, printed.read_text().split()))
        done.append(f"{phase} {number}: {steps_done(run)}")
    print(", ".join(done))
    assert steps_done(run) < STEPS

    assert status(command(arguments)) == 0
    assert contents(run) == contents(whole)
    assert log(run) == log(whole)
    names = [path.name for path in checkpoints(whole)]
    assert [path.name for path in checkpoints(run)] == names
    assert (run / BEST).readlink() == (whole / BEST).readlink()
    assert sorted(p.name for p in run.iterdir()) == sorted(p.name for p in whole.iterdir())

    assert seen, "no worker was ever there"
    deadline = time.monotonic() + 30
    while (left_over := [p for p in seen if belongs(p, run)]) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left_over
