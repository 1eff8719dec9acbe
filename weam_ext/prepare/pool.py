"""Worker processes that tokenise ranges, in order and with little read ahead."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from pathlib import Path

from tokenizers import Tokenizer

from weam_ext.common.errors import InputError
from weam_ext.prepare.chunks import Part, Range, tokenise
from weam_ext.prepare.settings import Counts, PrepareSettings
from weam_ext.text.cached_tokenizer import Pieces

_work: Callable[[Range], tuple[int, Counts]]
"""What a worker process does."""


@dataclass(frozen=True)
class Task:
    """The first stage of a text's ranges, as worker processes are told of it."""

    backend: str
    corpus: int
    directory: Path
    settings: PrepareSettings
    room: int

    def pieces(self) -> Pieces:
        backend = Tokenizer.from_str(self.backend)
        return Pieces(backend, self.settings.words, self.settings.lowercase)

    def do(self, text: Range, pieces: Pieces) -> tuple[int, Counts]:
        part = Part.of(self.directory, self.corpus, text.number)
        return text.number, tokenise(text, part, pieces, self.settings, self.room)


def tokenised(task: Task, texts: Iterator[Range], workers: int) -> Iterator[tuple[int, Counts]]:
    """The task done to each range, in order; in this process where another would gain nothing."""
    first = list(islice(texts, 2))
    if workers == 1 or len(first) < 2:
        pieces = task.pieces()
        yield from (task.do(text, pieces) for text in chain(first, texts))
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (task,))
    waiting: deque[Future[tuple[int, Counts]]] = deque()
    try:
        for text in chain(first, texts):
            waiting.append(pool.submit(_do, text))
            if len(waiting) > workers:  # so much is read ahead
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise InputError("a worker process was killed; was there too little memory?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(task: Task) -> None:
    global _work
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, which gets it too, ends them
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pieces = task.pieces()
    _work = lambda text: task.do(text, pieces)  # noqa: E731


def _end_with_parent() -> None:
    """Where the parent is killed, its workers would wait for the next range for ever."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _do(text: Range) -> tuple[int, Counts]:
    return _work(text)
