"""What a run says of itself: on the screen, in JSON lines, to TensorBoard and W&B."""

import hashlib
import importlib
import json
import operator
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from weam_ext.common.errors import InputError, say
from weam_ext.common.files import write_whole
from weam_ext.train.throughput import NORM, Speed

LOG = "log.jsonl"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """An `OSError` is of what is written there; it becomes an `InputError` that says so."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


class Log:
    """The run's JSON lines. Those after the checkpoint that it goes on from are cut off.

    `step` is that checkpoint's, or 0 if there is no checkpoint and the log begins empty.
    """

    def __init__(self, run: Path, step: int) -> None:
        self._path = run / LOG
        steps = self._lines() if step else []
        write_whole(self._path, b"".join(line for line, at in steps if at <= step))
        self._file = self._path.open("ab", buffering=0)

    def _lines(self) -> Iterator[tuple[bytes, int]]:
        """The whole lines, each with its step; what is damaged is told and left out."""
        data = self._path.read_bytes() if self._path.exists() else b""
        # What follows the last line's end was being written when the run was killed.
        for number, line in enumerate(data.split(b"\n")[:-1], 1):
            step = _step(line)
            if step is None:
                say(f"{self._path}, line {number}: damaged, left out")
            else:
                yield line + b"\n", step

    def write(self, record: dict[str, Any]) -> None:
        line = (json.dumps(record, allow_nan=False) + "\n").encode()
        with _writing(self._path):
            while line:  # a disk that fills up takes a part first
                line = line[self._file.write(line) :]

    def close(self) -> None:
        with self._file, _writing(self._path):
            os.fsync(self._file.fileno())


def _step(line: bytes) -> int | None:
    """The step of a line of the log; None if the line is not a record."""
    try:
        record = json.loads(line, parse_constant=_refuse)
        step: int = operator.index(record["step"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return step


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


@contextmanager
def _silent_writers() -> Iterator[None]:
    """Threads that write tell nothing of an `OSError`, which comes again where they are asked."""
    tell = threading.excepthook

    def tell_others(fault: threading.ExceptHookArgs) -> None:
        if not isinstance(fault.exc_value, OSError):
            tell(fault)

    threading.excepthook = tell_others
    try:
        yield
    finally:
        threading.excepthook = tell


class Records:
    """Where a run's figures go: the screen, JSON lines, TensorBoard, Weights & Biases.

    `step` is that of the checkpoint it goes on from, or 0. On a terminal a bar shows the last step,
    elsewhere each has its line. Only the process that writes (`main`) says or writes anything.
    """

    def __init__(
        self,
        run_dir: Path,
        step: int,
        steps: int,
        *,
        tensorboard: bool = False,
        wandb: str | None = None,
        settings: dict[str, Any] | None = None,
        main: bool = True,
    ) -> None:
        self._main = main
        self._steps = steps
        self._boards: list[Callable[[str, float, int], object]] = []
        self._closing = ExitStack()
        if not main:
            return
        self._log = Log(run_dir, step)
        self._closing.callback(self._log.close)
        if tensorboard:
            self._boards.append(self._open_tensorboard(run_dir / "tensorboard", step + 1))
        if wandb:
            self._boards.append(self._open_wandb(wandb, run_dir, settings or {}))
        self._bar = tqdm(
            total=steps, initial=step, unit=" steps", disable=None, dynamic_ncols=True, leave=False
        )
        self._closing.callback(self._bar.close)

    def _open_tensorboard(self, folder: Path, begin: int) -> Callable[[str, float, int], object]:
        self._closing.enter_context(_silent_writers())
        self._closing.enter_context(_writing(folder))
        board = SummaryWriter(str(folder), purge_step=begin)
        self._closing.callback(board.close)

        def show(name: str, value: float, step: int) -> None:
            with _writing(folder):
                board.add_scalar(name, value, step)

        return show

    def _open_wandb(
        self, project: str, run_dir: Path, settings: dict[str, Any]
    ) -> Callable[[str, float, int], object]:
        library: Any = importlib.import_module("wandb")
        # One run of theirs for one of ours, whoever resumes it.
        identifier = hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]
        opened = library.init(
            project=project, name=run_dir.name, id=identifier, resume="allow", config=settings
        )
        self._closing.callback(opened.finish)
        return lambda name, value, step: opened.log({name: value}, step=step)

    def __enter__(self) -> "Records":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def step(self, step: int, means: dict[str, float], speed: Speed) -> None:
        """One training step."""
        if not self._main:
            return
        self._write(step, "train", means)
        figures = {"memory_gib": memory()} | asdict(speed)
        self._log.write({"step": step, "speed": figures})
        for name, value in figures.items():
            if value is not None:
                self._show(f"speed/{name}", value, step)
        said = f"{speed}  {memory():.1f} GiB"
        if self._bar.disable:
            say(f"step {step}/{self._steps}  {_line(means)}  lr {means['lr']:.2e}  {said}")
        else:
            self._bar.set_postfix_str(f"{_line(means)}  {said}", refresh=False)
            self._bar.update(step - self._bar.n)

    def heldout(self, step: int, results: dict[str, dict[str, float]]) -> None:
        """Held-out means by corpus."""
        if not self._main:
            return
        for name, means in results.items():
            self._write(step, f"heldout/{name}", means)
            self.say(f"held out after step {step}, {name}: {_line(means)}")

    def say(self, line: str) -> None:
        """Tell the user something, above the bar where there is one."""
        if not self._main:
            return
        if self._bar.disable:
            say(line)
        else:
            self._bar.write(line, file=sys.stderr)

    def _write(self, step: int, kind: str, means: dict[str, float]) -> None:
        self._log.write({"step": step, kind: means})
        for name, value in means.items():
            self._show(f"{kind}/{name}", value, step)

    def _show(self, name: str, value: float, step: int) -> None:
        for board in self._boards:
            board(name, value, step)


_LINE = {
    "loss": "loss {:.3f}",
    "multilingual_loss": "L_mp {:.3f}",
    "cross_lingual_loss": "L_cp {:.3f}",
    "apart_cross_lingual_loss": "apart {:.3f}",
    "linked_accuracy": "cross-lingual accuracy {:.3f}",
    "link_accuracy": "word accuracy {:.3f}",
    "link_distance": "links {:.4f}",
    "anchor_distance": "anchors {:.4f}",
    "masked_share": "masked {:.1%}",
    "overflow": "left out {:.0f} tokens",
    NORM: "gradient {:.2f}",
}
"""What is said of the means, in this order."""


def _line(means: dict[str, float]) -> str:
    return "  ".join(text.format(means[name]) for name, text in _LINE.items() if name in means)


def memory() -> float:
    """Peak memory in GiB: of the GPU where one is in use, else of this process."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
