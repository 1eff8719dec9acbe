"""Text into memory-mapped shards: token ids, word ids and word links.

    python -m weam_ext.prepare --bitext train.en.xz train.fr.xz --tokenizer vocab.txt --output DIR
    torchrun --nproc-per-node 8 -m weam_ext.prepare ...

A prepared directory holds `prepared.json` (what was done, and what was counted) and Arrow files, at
most two for each range of the input (`weam_ext.ranges`). Columns: `source_ids`, `target_ids` (token
ids without special tokens), `source_words`, `target_words` (the word of each token, or -1),
`link_source`, `link_target` (linked words) and, where asked for, `link_probability`. Of text in one
language all columns but the first two hold nothing.
"""

import argparse
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

from weam_ext.align import MODELS, POSTERIOR, Aligner, SpacesInWords
from weam_ext.corpus import (
    BitextSource,
    MonolingualSource,
    languages,
    parse_bitext,
    parse_columns,
    parse_monolingual,
    read_bitext,
    read_monolingual,
)
from weam_ext.distributed import Ranks
from weam_ext.errors import InputError, Parser, run, say
from weam_ext.files import making, path_or_name, rename_durably, user_path, write_record
from weam_ext.links import HEURISTICS, thread_count
from weam_ext.memory import parse_size
from weam_ext.ranges import OVERLONG, Counts, Part, PrepareSettings, cut, finish, heldout
from weam_ext.shards import DESCRIPTION, FORMAT, SPLITS
from weam_ext.tokenizer import fingerprint, load_tokenizer, template
from weam_ext.words import SEGMENTERS
from weam_ext.workers import Task, tokenised

__all__ = ["Counts", "PrepareSettings", "Source", "prepare"]

Source = BitextSource | MonolingualSource

Item = TypeVar("Item")

_MOST_WORDS = 1_000  # on a side: aligning takes the product of the lengths
_MOST_WORKERS = 32  # one process reads for all of them
_SANE_WORKERS = 1_000  # more are a slip of the hand, and would take the machine


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
        sides = tuple(self.directory / side for side in ("source.words", "target.words"))
        for side, path in enumerate(sides):
            with path.open("wb") as file:
                for part in parts:
                    with part.sides[side].open("rb") as rest:
                        shutil.copyfileobj(rest, file)
        aligner = _aligner(self.settings, self._aligner_options)
        try:
            with self._bar(f"{name}: training the aligner", " iterations") as bar:
                aligner.fit(sides[0], sides[1], lambda _: bar.update())
        except ValueError as error:  # no pair is short enough for the aligner
            raise InputError(f"{where}: {error}") from error
        for path in sides:
            path.unlink()
        aligner.save(self._model)
        return {
            "model": aligner.kind,
            **aligner.settings,
            "heuristic": aligner.heuristic,
            "tension": aligner.tension,
            "dropped": asdict(aligner.dropped),
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
        model=settings.aligner, heuristic=settings.heuristic, max_length=_MOST_WORDS, **options
    )


def _by_range(ranks: Ranks, mine: dict[int, Item]) -> dict[int, Item]:
    """What all ranks have done, in the order of the ranges."""
    return dict(sorted(chain.from_iterable(each.items() for each in ranks.gather(mine))))


# ---------------------------------------------------------------------------------- command line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that say what is prepared and how; `weam_ext.train` takes them too."""
    default = PrepareSettings()
    text = parser.add_argument_group("text")
    text.add_argument(
        "--bitext", nargs="+", action="append", metavar="FILE",
        help="[NAME=]FILE [FILE]: one file of 'source ||| target' or tab-separated lines, or two "
        "line-aligned files; plain, gzip, xz, bzip2 or Zstandard; again for each language pair. A "
        "name that ends in codes, such as en-fr, tells the languages",
    )  # fmt: skip
    text.add_argument(
        "--monolingual", action="append", metavar="FILE",
        help="[NAME=]FILE: one sentence a line, no links; again for each text",
    )  # fmt: skip
    text.add_argument(
        "--columns", metavar="S,T",
        help="source and target of tab-separated files, from 1 (default: 1,2, where the first line "
        "has a tab and no '|||')",
    )  # fmt: skip
    text.add_argument(
        "--limit", type=int, metavar="N", help="the first N pairs or lines of each text"
    )
    text.add_argument(
        "--heldout", type=int, default=default.heldout, metavar="N",
        help="pairs or lines of each text kept out of training, at most a tenth (%(default)s)",
    )  # fmt: skip
    text.add_argument(
        "--seed", type=int, default=default.seed, metavar="N", help="of every choice (%(default)s)"
    )
    words = parser.add_argument_group("words and links")
    words.add_argument(
        "--words", choices=SEGMENTERS, default=default.words,
        help="what is aligned: bert splits raw text, blanks takes it as it is (%(default)s)",
    )  # fmt: skip
    words.add_argument(
        "--lowercase", action=argparse.BooleanOptionalAction, default=default.lowercase,
        help="for the aligner only",
    )  # fmt: skip
    words.add_argument(
        "--aligner", choices=MODELS, default=default.aligner,
        help="hmm has far fewer wrong links, fast-align is the paper's (%(default)s)",
    )  # fmt: skip
    words.add_argument(
        "--heuristic", choices=(POSTERIOR, *HEURISTICS), metavar="METHOD",
        help=f"how its two directions are combined: {POSTERIOR} (hmm alone, and its default), "
        f"{', '.join(HEURISTICS)} (fast-align's default)",
    )  # fmt: skip
    words.add_argument(
        "--posteriors", action=argparse.BooleanOptionalAction, default=default.posteriors,
        help="keep the posterior probability of each link too",
    )  # fmt: skip
    tokens = parser.add_argument_group("tokens")
    tokens.add_argument(
        "--tokenizer", type=path_or_name, metavar="NAME",
        help="hub name, directory or cased WordPiece vocab.txt",
    )  # fmt: skip
    tokens.add_argument(
        "--max-length", type=int, default=default.max_length, metavar="N",
        help="tokens of a pair, or of a line alone, with special tokens (%(default)s)",
    )  # fmt: skip
    tokens.add_argument(
        "--overlong", choices=OVERLONG, default=default.overlong,
        help="longer ones are dropped, or truncated with their links (%(default)s)",
    )  # fmt: skip


def settings_of(options: argparse.Namespace) -> PrepareSettings:
    return PrepareSettings(
        words=options.words,
        lowercase=options.lowercase,
        aligner=options.aligner,
        heuristic=options.heuristic,
        posteriors=options.posteriors,
        max_length=options.max_length,
        overlong=options.overlong,
        heldout=options.heldout,
        seed=options.seed,
    )


def _columns(source: Source) -> list[int] | None:
    """Those that were asked for."""
    return list(source.columns) if isinstance(source, BitextSource) and source.columns else None


def sources_of(options: argparse.Namespace) -> list[Source]:
    if getattr(options, "prepared", None):
        return []
    columns = parse_columns(options.columns)
    if columns and not any(len(files) == 1 for files in options.bitext or []):
        raise InputError("--columns: there is no --bitext of one tab-separated file")
    return [
        *(parse_bitext(files, columns, options.limit) for files in options.bitext or []),
        *(parse_monolingual(file, options.limit) for file in options.monolingual or []),
    ]


def text_settings() -> set[str]:
    """The names of the settings that say what is prepared and how."""
    parser = Parser("weam_ext.prepare", None)
    add_arguments(parser)
    return set(vars(parser.parse_args([])))


def settings_had(description: dict[str, Any]) -> dict[str, Any]:
    """What the flags of a preparation were, but for its files and its seed.

    `columns` and `limit` are None where the texts do not agree in them.
    """
    texts = description["corpora"]
    columns = {"{},{}".format(*text["columns"]) for text in texts if text["columns"]}
    limits = {text["limit"] for text in texts}
    had = {**description["settings"], "columns": _sole(columns), "limit": _sole(limits)}
    had["heuristic"] = Aligner(model=had["aligner"], heuristic=had["heuristic"]).heuristic
    del had["seed"]
    return had


def _sole(values: set[Any]) -> Any:
    return values.pop() if len(values) == 1 else None


def check_values(options: argparse.Namespace) -> None:
    """Raise `InputError` for values that no flag takes, wherever they were given."""
    for name, value in vars(options).items():
        flag = f"--{name.replace('_', '-')}"
        for each in _flat(value):
            if isinstance(each, int | float) and not abs(each) < 1 << 31:  # nor NaN
                raise InputError(f"{flag} must be a number below 2^31, not {each}")
            if isinstance(each, str | Path) and ("\0" in str(each) or not str(each).strip()):
                raise InputError(f"{flag} must be a name, not {str(each)!r}")
    if options.limit is not None and options.limit < 1:
        raise InputError("--limit must be at least 1")
    if options.workers is not None and options.workers > _SANE_WORKERS:
        raise InputError(f"--workers must be at most {_SANE_WORKERS:,}")


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def default_workers(ranks: Ranks) -> int:
    """This rank's share of the processors, at most 32."""
    return min(max(1, thread_count(None) // ranks.local_world), _MOST_WORKERS)


def _parser() -> Parser:
    parser = Parser("weam_ext.prepare", __doc__.split("\n")[0])
    add_arguments(parser)
    work = parser.add_argument_group("output and work")
    work.add_argument("--output", required=True, type=user_path, metavar="DIR",
                      help="a new directory")  # fmt: skip
    work.add_argument(
        "--workers", type=int, metavar="N",
        help="processes that tokenise and threads that align, of each rank; no matter for the "
        f"result (the processors there are, at most {_MOST_WORKERS})",
    )  # fmt: skip
    work.add_argument(
        "--max-memory", metavar="SIZE",
        help="for the aligner, such as 2G; beyond it, temporary files (80 %% of what is free)",
    )  # fmt: skip
    return parser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = _parser().parse_args(arguments)
    check_values(options)
    if not (options.bitext or options.monolingual) or not options.tokenizer:
        raise InputError("--bitext or --monolingual, and --tokenizer are needed")
    if options.workers is not None and options.workers < 1:
        raise InputError("--workers must be at least 1")
    return options


def _memory(size: str | None) -> int | None:
    try:
        return None if size is None else parse_size(size)
    except InputError as error:
        raise InputError(f"--max-memory: {error}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    with Ranks.of_environment() as ranks:
        with ranks.together():
            options = parse(arguments)
            sources, settings = sources_of(options), settings_of(options)
            memory = _memory(options.max_memory)
            tokenizer = load_tokenizer(options.tokenizer)
        prepare(
            sources,
            tokenizer,
            options.output,
            settings,
            workers=options.workers or default_workers(ranks),
            max_memory=memory,
            ranks=ranks,
        )
        if ranks.first:
            print(options.output)


if __name__ == "__main__":
    run("weam_ext.prepare", main)
