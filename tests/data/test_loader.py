"""Loader: every process its part of a batch, and workers that end when they should."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT
from runs import environment, write_inputs
from small_tokenizers import tokenizer

from weam_ext.data.collate import Batch, Collator, Layout
from weam_ext.data.loader import Feed, Made
from weam_ext.data.sampler import Corpora, Order, Place, corpus_shares
from weam_ext.data.shards import Shards, open_prepared
from weam_ext.prepare.pipeline import prepare
from weam_ext.prepare.settings import PrepareSettings
from weam_ext.text.bitext import BitextSource, MonolingualSource

CPU = torch.device("cpu")
WORD_PIECE = tokenizer("WordPiece")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared text, of two kinds."""
    made = write_inputs(tmp_path_factory.mktemp("loader"))
    sources = [
        BitextSource("toku", (str(made / "toku.txt"),)),
        MonolingualSource("alone", str(made / "alone.txt")),
    ]
    prepare(sources, WORD_PIECE, made / "out", PrepareSettings())
    return made


@pytest.fixture(scope="module")
def shards(directory: Path) -> Shards:
    return open_prepared(directory / "out")[1]["train"]


def feed(shards: Shards, layout: Layout, size: dict[str, int], **more: Any) -> Feed:
    collate = Collator(WORD_PIECE, layout)
    counts = [int((shards.corpus == number).sum()) for number in range(2)]
    shares = corpus_shares(counts, [corpus.kind for corpus in shards.corpora])
    order = Order(
        Corpora(shards.corpus, collate.sizes(shards.sides), shares),
        **{"batch_size": None, "batch_tokens": None, **size}, seed=4,
    )  # fmt: skip
    return Feed(order, shards, collate, **{"place": Place(), "device": CPU, **more})


def taken(source: Iterator[Made] | Feed, number: int) -> list[Made]:
    return [next(source) for _ in range(number)]


def same(a: Batch, b: Batch) -> bool:
    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.dtype, value.tolist()
        return tuple(map(plain, value)) if isinstance(value, tuple) else value

    return {k: plain(v) for k, v in vars(a).items()} == {k: plain(v) for k, v in vars(b).items()}


SIZES = [{"batch_size": 9}, {"batch_tokens": 400}]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_processes_share_every_batch(shards: Shards, size: dict[str, int], together: bool) -> None:
    layout = Layout(together=together)
    whole = taken(feed(shards, layout, size), 40)
    parts = [taken(feed(shards, layout, size, rank=r, world=3), 40) for r in range(3)]
    for (batch, request), *shares in zip(whole, *parts, strict=True):
        members = [share.request.members for share in shares]
        assert sorted(chain.from_iterable(members)) == sorted(request.members)
        assert max(map(len, members)) - min(map(len, members)) <= 1
        for made, asked in shares:
            # What is said of a batch is said of all processes' parts of it.
            assert asked[1:4] == request[1:4]
            assert asked.sequences == request.sequences
            assert asked.padded == sum(share.batch.input_ids.numel() for share in shares)
            assert len(made.draws) == made.input_ids.shape[0]
        assert request.tokens == batch.tokens == sum(share.batch.tokens for share in shares)
        assert request.padded == batch.input_ids.numel()
        assert request.sequences == batch.input_ids.shape[0]
        mask = batch.attention_mask
        used = batch.input_ids.numel() if mask is None else int(mask.sum())
        assert request.used == used
        draws = torch.cat([share.batch.draws for share in shares]).tolist()
        assert sorted(draws) == sorted(batch.draws.tolist())
    draws = torch.cat([made.batch.draws for made in whole]).tolist()
    assert len(set(draws)) == len(draws)  # no two sequences of a run have the same masks


def test_workers_make_the_same_batches_from_any_place(shards: Shards) -> None:
    whole = taken(feed(shards, Layout(), SIZES[0]), 12)
    place = whole[4].request.following
    others = feed(shards, Layout(), SIZES[0], place=place, workers=2)
    for made, expected in zip(taken(others, 7), whole[5:], strict=True):
        assert made.request == expected.request
        assert same(made.batch, expected.batch)
    assert 0 < others.waited < 60


def test_what_was_asked_for_stays_in_the_training_process(shards: Shards) -> None:
    """A worker is given the members of a batch, and sends the batch alone."""
    made = feed(shards, Layout(), SIZES[0])
    worker: Any = made._loader.dataset
    one = next(made)
    sent = worker[one.request.members]
    assert {*vars(sent)} == {"memory", "batch"}
    assert same(sent.opened(CPU), one.batch)


def test_what_workers_are_given_can_be_pickled(shards: Shards) -> None:
    """As where processes are spawned, or started by a server (Python 3.14)."""
    collate = Collator(WORD_PIECE, Layout())
    members = [(0, 0), (3, 1)]
    other_shards, other_collate = pickle.loads(pickle.dumps((shards, collate)))
    assert same(other_collate(other_shards, members), collate(shards, members))
    # The text itself is not in the pickle: it is mapped again.
    assert len(pickle.dumps(shards)) < 100_000


PARENT = """
import sys, time
from test_loader import SIZES, Layout, feed, open_prepared
from pathlib import Path

made = feed(open_prepared(Path(sys.argv[1]))[1]["train"], Layout(), SIZES[0], workers=2)
next(made)
print(*(worker.pid for worker in made._made._workers), flush=True)
time.sleep(300)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_outlive_an_interrupt_but_not_their_parent(directory: Path) -> None:
    here = [str(Path(__file__).parent), str(ROOT / "tests"), environment()["PYTHONPATH"]]
    paths = {"PYTHONPATH": os.pathsep.join(here)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(directory / "out")],
        env=environment() | paths, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert len(workers) == 2
        for pid in workers:
            os.kill(pid, signal.SIGINT)
        time.sleep(0.3)
        assert all(map(alive, workers))
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))
