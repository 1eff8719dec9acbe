"""From bitext to a prepared directory: trained, cut into chunks, aligned, written, described."""

import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from weam_ext.align.aligner import Aligner, SpacesInWords
from weam_ext.align.links import DroppedPairs
from weam_ext.common.errors import InputError, say
from weam_ext.common.files import making, rename_durably, write_record
from weam_ext.common.memory import thread_count
from weam_ext.common.ranks import Ranks
from weam_ext.data.shards import DESCRIPTION, FORMAT, SPLITS
from weam_ext.prepare.chunks import Part, cut, finish, heldout
from weam_ext.prepare.pool import Task, tokenised
from weam_ext.prepare.settings import MOST_WORKERS, Counts, PrepareSettings, Source
from weam_ext.text.bitext import (
    BitextSource,
    languages,
    read_bitext,
    read_monolingual,
)
from weam_ext.text.tokenizer import fingerprint, template

_MOST_WORDS = 1_000  # on a side: aligning takes the product of the lengths

Item = TypeVar("Item")


def prepare(
    sources: Sequence[Source],
    tokenizer: Any,
    output: Path,
    settings: PrepareSettings,
    *,
    workers: int = 1,
    max_memory: int | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Align and tokenise texts into a new directory; returns its description.

    Nothing is left under `output` unless all of it is there, and its bytes depend on the texts, the
    tokenizer and the settings alone. Memory does not grow with the text, but for eight bytes a
    pair and what the aligner needs. Raises `InputError` for unusable input, among it an `output`
    that exists and two sources of one name.

    Args:
        workers: processes that tokenise, and threads that align, of each rank. More than one are
            started anew (spawned), so that a script must call this under `__name__ == "__main__"`.
        max_memory: bytes that the aligner should stay below; by default 80 % of what is free.
        ranks: who shares the work; all call this alike and see the same files.
    """
    ranks = ranks or Ranks()
    with ExitStack() as held:
        with ranks.together():
            check_sources(sources, ranks.world)
            part = held.enter_context(making(output)) if ranks.first else None
        beside = ranks.broadcast(part) or output
        work = _Work(tokenizer, beside, settings, workers, max_memory, ranks)
        with warnings.catch_warnings():  # links are told by characters: no one counts words
            warnings.simplefilter("ignore", SpacesInWords)
            described = [work.corpus(number, source) for number, source in enumerate(sources)]
        description = {
            "format": FORMAT,
            "tokenizer": {"sha256": fingerprint(tokenizer), "size": len(tokenizer)},
            "settings": asdict(settings),
            "corpora": described,
        }
        with ranks.together():
            if ranks.first:
                write_record(beside / DESCRIPTION, description)
                rename_durably(beside, output)
    return description


def check_sources(sources: Sequence[Source], world: int = 1) -> None:
    """Raise `InputError` for texts that are not there or have one name, before any is read.

    `world` ranks cannot share standard input.
    """
    names = [source.name for source in sources]
    for source in sources:
        if names.count(source.name) > 1:
            flag = "--bitext" if isinstance(source, BitextSource) else "--monolingual"
            raise InputError(f"two texts are called {source.name!r}: write {flag} NAME=FILE")
        for path in paths_of(source):
            if path != "-":
                _check_readable(Path(path))
            elif world > 1:
                raise InputError("standard input cannot be shared by several ranks: give a file")


def _check_readable(path: Path) -> None:
    if path.is_fifo() or path.is_char_device():
        return  # to open one and leave it would end what writes into it
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def paths_of(source: Source) -> tuple[str, ...]:
    """The files of a text."""
    return source.paths if isinstance(source, BitextSource) else (source.path,)


@dataclass(frozen=True)
class _Work:
    """What is done with each text, shared among ranks: range k belongs to rank k mod world."""

    tokenizer: Any
    directory: Path
    settings: PrepareSettings
    workers: int
    max_memory: int | None
    ranks: Ranks

    def corpus(self, number: int, source: Source) -> dict[str, Any]:
        """Prepare one text; what prepared.json says of it."""
        ranks, bitext = self.ranks, isinstance(source, BitextSource)
        where, pair = " and ".join(paths_of(source)), "sentence pair" if bitext else "sentence"
        with self._stage():
            tokenised = self._tokenise(number, source)
        counts = _by_range(ranks, tokenised)
        total = sum(counts.values(), Counts())
        shared: tuple[Any, Any] = (None, None)
        with self._stage():
            self._check_some(total, where, pair)
            if ranks.first:
                parts = [self._part(number, each) for each in counts]
                shared = (self._heldout(parts), self._fit(source.name, where, parts, bitext))
        chosen, about = ranks.broadcast(shared)
        with self._stage():
            finished = self._finish(number, source.name, bitext, chosen, list(tokenised))
        shards = _by_range(ranks, finished)
        total = sum((each for each, _ in shards.values()), total)
        with self._stage():
            if ranks.first:
                shutil.rmtree(self._model, ignore_errors=True)
        if ranks.first:
            say(f"{source.name}: {total.told(pair)}")
        return {
            "name": source.name,
            "kind": "bitext" if bitext else "monolingual",
            "languages": list(languages(source)),
            "paths": list(paths_of(source)),
            "columns": _columns(source),
            "limit": source.limit,
            "counts": asdict(total),
            **({"aligner": about} if bitext else {}),
            "shards": {
                split: [shard for _, each in shards.values() for shard in each[split]]
                for split in SPLITS
            },
        }

    def _check_some(self, total: Counts, where: str, pair: str) -> None:
        dropped = total.overlong if self.settings.overlong == "drop" else 0
        if total.read == total.empty + dropped:
            raise InputError(
                f"{where}: no {pair} is left to train on: {total.read:,} read, {total.empty:,} "
                f"empty, {dropped:,} over-long (more than --max-length "
                f"{self.settings.max_length} tokens)"
            )

    @contextmanager
    def _stage(self) -> Iterator[None]:
        """What all ranks do together; a full disk is told with the directory that is written."""
        with self.ranks.together():
            try:
                yield
            except OSError as error:
                error.filename = error.filename or str(self.directory)
                raise

    def _tokenise(self, number: int, source: Source) -> dict[int, Counts]:
        lines: Iterable[tuple[str, ...]] = (
            read_bitext(source) if isinstance(source, BitextSource) else read_monolingual(source)
        )
        world, rank = self.ranks.world, self.ranks.rank
        mine = (each for each in cut(lines) if each.number % world == rank)
        frame = template(self.tokenizer, pair=isinstance(source, BitextSource))
        room = self.settings.max_length - sum(map(len, frame[:3]))
        task = Task(self.tokenizer.backend_tokenizer.to_str(), number, self.directory,
                     self.settings, room)  # fmt: skip
        done = {}
        with self._bar(f"{source.name}: words and tokens", " lines") as bar:
            for each, counts in tokenised(task, mine, self.workers):
                done[each] = counts
                bar.update(counts.read)
        return done

    def _heldout(self, parts: Sequence[Part]) -> Any:
        digests = np.concatenate([part.digests() for part in parts])
        return heldout(digests, min(self.settings.heldout, len(digests) // 10))

    def _fit(
        self, name: str, where: str, parts: Sequence[Part], bitext: bool
    ) -> dict[str, Any] | None:
        """Train the aligner on all parts and save it; what prepared.json says of it."""
        if not bitext:
            return None
        aligner = _aligner(self.settings, self._aligner_options)
        try:
            with self._bar(f"{name}: training the aligner", " iterations") as bar:
                text = None
                for part in parts:
                    text = aligner.read(*part.bitext(), into=text)
                assert text
                dropped = DroppedPairs(*text.dropped)
                aligner.fit_text(text, progress=lambda _: bar.update())
        except ValueError as error:  # no pair is short enough for the aligner
            raise InputError(f"{where}: {error}") from error
        aligner.save(self._model)
        return {
            "model": aligner.kind,
            **aligner.settings,
            **aligner.identity(),
            "heuristic": aligner.heuristic,
            "tension": aligner.tension,
            "dropped": asdict(dropped),
        }

    def _finish(
        self, number: int, name: str, bitext: bool, chosen: Any, mine: Sequence[int]
    ) -> dict[int, tuple[Counts, dict[str, list[dict[str, Any]]]]]:
        aligner = Aligner.load(self._model, **self._aligner_options) if bitext else None
        done = {}
        with self._bar(f"{name}: links and shards", " pairs") as bar:
            for each in mine:
                stem = f"{number:02}-{each:05}"
                done[each] = finish(self._part(number, each), stem, aligner, chosen, self.settings)
                bar.update(done[each][0].train + done[each][0].heldout)
        return done

    @property
    def _model(self) -> Path:
        return self.directory / "aligner"

    @property
    def _aligner_options(self) -> dict[str, Any]:
        return {"threads": self.workers, "max_memory": self.max_memory, "temp_dir": self.directory}

    def _part(self, number: int, each: int) -> Part:
        return Part.of(self.directory, number, each)

    def _bar(self, what: str, unit: str) -> "tqdm[Any]":
        return tqdm(desc=what, unit=unit, disable=None if self.ranks.first else True)


def _aligner(settings: PrepareSettings, options: dict[str, Any]) -> Aligner:
    return Aligner(
        model=settings.aligner,
        encoder=settings.aligner_encoder,
        heuristic=settings.heuristic,
        max_length=_MOST_WORDS,
        **options,
    )


def _by_range(ranks: Ranks, mine: dict[int, Item]) -> dict[int, Item]:
    """What all ranks have done, in the order of the ranges."""
    return dict(sorted(chain.from_iterable(each.items() for each in ranks.gather(mine))))


def default_workers(ranks: Ranks) -> int:
    """This rank's share of the processors, at most 32."""
    return min(max(1, thread_count(None) // ranks.local_world), MOST_WORKERS)


def _columns(source: Source) -> list[int] | None:
    """Those that were asked for."""
    return list(source.columns) if isinstance(source, BitextSource) and source.columns else None
