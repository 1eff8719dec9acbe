"""What a run says of itself: a line a step on standard error, JSON lines, TensorBoard."""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from weam_ext.errors import InputError, describe, say
from weam_ext.files import rename_durably, write_durably

LOG = "log.jsonl"


class Log:
    """The run's JSON lines. Those after the checkpoint that it goes on from are cut off.

    `step` is that checkpoint's; 0 where there is none and the run begins, with an empty log.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._path = run / LOG
        kept = [line for line in self._lines() if step and json.loads(line)["step"] <= step]
        beside = self._path.with_suffix(".part")
        write_durably(beside, b"".join(kept))
        rename_durably(beside, self._path)
        self._file = self._path.open("ab", buffering=0)

    def _lines(self) -> list[bytes]:
        if not self._path.exists():
            return []
        # A last line without its end was being written when the run was killed.
        return [line for line in self._path.read_bytes().splitlines(True) if line.endswith(b"\n")]

    def write(self, record: dict[str, Any]) -> None:
        try:
            self._file.write((json.dumps(record) + "\n").encode())
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({describe(error)})") from error

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()


class Records:
    """Where a run's figures go. `step` is that of the checkpoint it goes on from, or 0."""

    def __init__(self, run_dir: Path, step: int, tensorboard: bool) -> None:
        self._log = Log(run_dir, step)
        self._board = (
            SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1)
            if tensorboard
            else None
        )

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()
        if self._board:
            self._board.close()

    def step(
        self,
        step: int,
        steps: int,
        means: dict[str, float],
        lr: float,
        tokens_per_second: float,
        seconds_left: float,
    ) -> None:
        """One training step."""
        self._write(step, "train", means | {"lr": lr})
        speed = {"tokens_per_second": tokens_per_second, "memory_gib": memory()}
        self._log.write({"step": step, "speed": speed})
        say(
            f"step {step}/{steps}  {_line(means)}  lr {lr:.2e}  {tokens_per_second:,.0f} tokens/s  "
            f"{memory():.1f} GiB  {time.strftime('%H:%M:%S', time.gmtime(seconds_left))} left"
        )

    def heldout(self, step: int, results: dict[str, dict[str, float]]) -> None:
        """Held-out means by bitext."""
        for name, means in results.items():
            self._write(step, f"heldout/{name}", means)
            say(f"held out after step {step}, {name}: {_line(means)}")

    def _write(self, step: int, kind: str, means: dict[str, float]) -> None:
        self._log.write({"step": step, kind: means})
        if self._board:
            for name, value in means.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)


def _line(means: dict[str, float]) -> str:
    text = f"loss {means['loss']:.3f}  L_mp {means['multilingual_loss']:.3f}"
    if "cross_lingual_loss" in means:
        text += f"  L_cp {means['cross_lingual_loss']:.3f}"
        text += f"  cross-lingual accuracy {means['linked_accuracy']:.3f}"
    if "masked_share" in means:
        text += f"  masked {means['masked_share']:.1%}"
    return text


def memory() -> float:
    """Peak memory in GiB: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
