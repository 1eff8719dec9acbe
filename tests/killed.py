"""A training run that kills itself: `python killed.py PHASE NUMBER FLAG ...`.

It ends by SIGKILL at the NUMBER-th moment of a phase of this process's, or when the phase ends if
it has fewer. The phases and their moments:

start       until the first step: it opens, renames or removes something in its output directory
step        all the time: a step begins
evaluation  of the held-out pairs, the first: a batch goes through the model
checkpoint  its writing, the first: anything is opened, renamed or removed

So where a kill falls is the same on machines of any speed. On standard output go the numbers of the
processes that it leaves behind.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weam_ext.train import checkpoint
from weam_ext.train import loop as train
from weam_ext.train.objectives import Objective

FILES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink")
"""Events of Python's audit that change what is on the disk, or may."""


def children(pid: int) -> list[int]:
    """Its descendants."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [child for each in map(int, found) for child in (each, *children(each))]


class Killer:
    def __init__(self, phase: str, number: int, output: str) -> None:
        self.wanted, self.left, self.output = phase, number, output
        self.phase = "start"
        self.process = os.getpid()

    def moment(self, phase: str) -> None:
        if phase == self.wanted:
            self.left -= 1
            if self.left <= 0:
                self.kill()

    def end(self, phase: str) -> None:
        if phase == self.wanted:
            self.kill()

    def kill(self) -> None:
        self.wanted = ""
        print(*children(self.process), flush=True)
        os.kill(self.process, signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in FILES or os.getpid() != self.process:  # of a worker, forked from this one
            return
        own = any(str(argument).startswith(self.output) for argument in arguments)
        if self.phase == "checkpoint" or (self.phase == "start" and own):
            self.moment(self.phase)

    def during(self, phase: str, action: Callable[..., Any]) -> Callable[..., Any]:
        """The action as a phase, after which the one before goes on."""

        def acting(*arguments: Any, **options: Any) -> Any:
            before, self.phase = self.phase, phase
            result = action(*arguments, **options)
            self.end(phase)
            self.phase = before
            return result

        return acting

    def stepping(self, action: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*arguments: Any) -> Any:
            if self.phase == "start":
                self.end("start")
                self.phase = "steps"
            self.moment("step")
            return action(*arguments)

        return acting

    def forward(self, action: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*arguments: Any, **options: Any) -> Any:
            if self.phase == "evaluation":
                self.moment("evaluation")
            return action(*arguments, **options)

        return acting


def main() -> None:
    phase, number, *flags = sys.argv[1:]
    killer = Killer(phase, int(number), flags[flags.index("--output") + 1])
    train.Trainer.train_step = killer.stepping(train.Trainer.train_step)
    train.Trainer.evaluate = killer.during("evaluation", train.Trainer.evaluate)
    checkpoint.save = killer.during("checkpoint", checkpoint.save)
    Objective.forward = killer.forward(Objective.forward)
    sys.addaudithook(killer.audit)
    train.main(flags)


if __name__ == "__main__":
    main()
