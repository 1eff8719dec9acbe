"""Bitext into memory-mapped shards: token ids, word ids and word links.

    python -m weam_ext.prepare --bitext train.en.xz train.fr.xz --tokenizer vocab.txt --output DIR

A prepared directory holds `prepared.json` (what was done, and what was counted) and Arrow files of
at most `SHARD_PAIRS` sentence pairs, one record batch each, so that every column is one offsets
array and one values array on disk. Columns: `source_ids`, `target_ids` (token ids without special
tokens), `source_words`, `target_words` (the word of each token, or -1), `link_source`,
`link_target` (linked words).
"""

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from weam_ext.align import Aligner
from weam_ext.corpus import BitextSource, blocks, parse_bitext, parse_columns, read_bitext
from weam_ext.errors import InputError, Parser, run, say
from weam_ext.files import file_digest, rename_durably, write_durably
from weam_ext.links import HEURISTICS, Links
from weam_ext.tokenizer import fingerprint, load_tokenizer, template
from weam_ext.words import SEGMENTERS, segmenter, word_ids

FORMAT = 1
SHARD_PAIRS = 65_536
OVERLONG = ("drop", "truncate")
SPLITS = ("train", "heldout")
COLUMNS = (
    "source_ids", "source_words", "target_ids", "target_words", "link_source", "link_target",
)  # fmt: skip
_BLOCK = 4_096
_MOST_WORDS = 1_000  # on a side: aligning takes the product of the lengths

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PrepareSettings:
    """How bitext becomes shards; part of what identifies a prepared directory."""

    words: str = "bert"
    lowercase: bool = False
    """Only what the aligner sees."""
    heuristic: str = "grow-diag-final-and"
    max_length: int = 128
    """Tokens of a pair with its special tokens."""
    overlong: str = "drop"
    heldout: int = 300
    """Pairs of each bitext kept out of training, at most a tenth of it; copies go with them."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, names in (
            ("words", self.words, SEGMENTERS),
            ("heuristic", self.heuristic, HEURISTICS),
            ("overlong", self.overlong, OVERLONG),
        ):
            if value not in names:
                raise InputError(f"unknown {name} {value!r}; there are {', '.join(names)}")
        if self.max_length < 8:
            raise InputError(f"{self.max_length} tokens leave no room for a pair")
        if self.heldout < 1:
            raise InputError("at least one pair must be held out")


@dataclass
class Counts:
    """What became of the pairs of one bitext."""

    read: int = 0
    empty: int = 0
    """With a side that has no words or no tokens."""
    overlong: int = 0
    """With more than `max_length` tokens: dropped or truncated as the settings say."""
    train: int = 0
    heldout: int = 0
    links: int = 0
    train_tokens: int = 0

    def __str__(self) -> str:
        return (
            f"{self.read:,} pairs read, {self.empty:,} empty, {self.overlong:,} over-long, "
            f"{self.train:,} to train on ({self.train_tokens:,} tokens), "
            f"{self.heldout:,} held out, "
            f"{self.links / max(1, self.train + self.heldout):.1f} word links a pair"
        )


@dataclass
class _Pair:
    """A sentence pair on its way to a shard."""

    digest: bytes
    ids: tuple[Ints, Ints]
    token_words: tuple[Ints, Ints]
    renumbered: tuple[Ints, Ints]
    """New number of each of the segmenter's words, or -1."""
    links: Ints = field(default_factory=lambda: np.zeros((0, 2), np.int64))


def prepare(
    bitexts: Sequence[BitextSource], tokenizer: Any, output: Path, settings: PrepareSettings
) -> dict[str, Any]:
    """Align and tokenise bitexts into a new directory; returns its description.

    Nothing is left under `output` unless all of it is there. Raises `InputError` for unusable
    input, among it an `output` that exists and two bitexts of one name.
    """
    if output.exists():
        raise InputError(f"{output}: already exists")
    names = [bitext.name for bitext in bitexts]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two bitexts are called {name!r}: write --bitext NAME=FILE")
    beside = output.with_name(f".{output.name}.part")
    shutil.rmtree(beside, ignore_errors=True)  # of a preparation that was killed
    beside.mkdir(parents=True)
    try:
        room = settings.max_length - _special_tokens(tokenizer)
        described = [
            _prepare_one(number, bitext, tokenizer, beside, settings, room)
            for number, bitext in enumerate(bitexts)
        ]
        description = {
            "format": FORMAT,
            "tokenizer": {"sha256": fingerprint(tokenizer), "size": len(tokenizer)},
            "settings": asdict(settings),
            "bitexts": described,
        }
        write_durably(beside / "prepared.json", (json.dumps(description, indent=1) + "\n").encode())
        rename_durably(beside, output)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return description


def _prepare_one(
    number: int,
    bitext: BitextSource,
    tokenizer: Any,
    directory: Path,
    settings: PrepareSettings,
    room: int,
) -> dict[str, Any]:
    where = " and ".join(bitext.paths)
    counts = Counts()
    pairs: list[_Pair] = []
    sides: tuple[list[str], list[str]] = ([], [])
    show = tqdm(desc=f"{bitext.name}: words and tokens", unit=" pairs", disable=None)
    for block in blocks(read_bitext(bitext), _BLOCK):
        counts.read += len(block)
        for pair, source, target in _tokenise(block, tokenizer, settings):
            if not (source and target and all(map(len, pair.ids))):
                counts.empty += 1
                continue
            pairs.append(pair)
            sides[0].append(source)
            sides[1].append(target)
        show.update(len(block))
    show.close()
    if not pairs:
        raise InputError(f"{where}: no sentence pair with words on both sides")

    aligner = Aligner(model="fast-align", heuristic=settings.heuristic, max_length=_MOST_WORDS)
    with tqdm(desc=f"{bitext.name}: aligning", unit=" iterations", disable=None) as bar:
        try:
            links = aligner.fit_align(*sides, lambda _: bar.update())
        except ValueError as error:  # no pair is short enough for the aligner
            raise InputError(f"{where}: {error}") from error
    kept = list(_fit(pairs, links, settings, room, counts))
    heldout = _heldout(kept, settings)
    counts.heldout, counts.train = len(heldout), len(kept) - len(heldout)
    if not counts.train:
        raise InputError(f"{where}: no sentence pair is left to train on")
    counts.links = sum(len(pair.links) for pair in kept)
    split = {
        "train": [pair for k, pair in enumerate(kept) if k not in heldout],
        "heldout": [kept[k] for k in sorted(heldout)],
    }
    counts.train_tokens = sum(len(ids) for pair in split["train"] for ids in pair.ids)
    say(f"{bitext.name}: {counts}")
    return {
        "name": bitext.name,
        "paths": list(bitext.paths),
        "columns": list(bitext.columns),
        "limit": bitext.limit,
        "counts": asdict(counts),
        "aligner": {
            **aligner.settings,
            "heuristic": aligner.heuristic,
            "tension": {name: steps[-1].tension for name, steps in aligner.history.items()},
            "dropped": asdict(aligner.dropped),
        },
        "shards": {
            name: [
                _write_shard(directory / f"{name}-{number:02}-{shard:05}.arrow", rows)
                for shard, rows in enumerate(blocks(split[name], SHARD_PAIRS))
            ]
            for name in SPLITS
        },
    }


def _tokenise(
    block: Sequence[tuple[str, str]], tokenizer: Any, settings: PrepareSettings
) -> Iterator[tuple[_Pair, str, str]]:
    """The pairs of a block, and their words joined by blanks for the aligner."""
    find_words = segmenter(settings.words)
    ids, token_words, renumbered, joined = [], [], [], []
    for texts in zip(*block, strict=True):
        encoded = tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,  # "[MASK]" in a text is text
            return_offsets_mapping=True,
            verbose=False,
        )
        spans = [find_words(text) for text in texts]
        found = word_ids(texts, spans, encoded["offset_mapping"])
        ids.append([np.array(row, np.int64) for row in encoded["input_ids"]])
        token_words.append(np.split(found.tokens, np.cumsum([len(row) for row in ids[-1]])[:-1]))
        renumbered.append(found.words)
        joined.append(
            [_join(text, row, settings.lowercase) for text, row in zip(texts, spans, strict=True)]
        )
    for k, texts in enumerate(block):
        digest = hashlib.blake2b(
            "\0".join(texts).encode(), digest_size=16, key=b"%d" % settings.seed
        )
        pair = _Pair(
            digest.digest(),
            (ids[0][k], ids[1][k]),
            (token_words[0][k], token_words[1][k]),
            (renumbered[0][k], renumbered[1][k]),
        )
        yield pair, joined[0][k], joined[1][k]


def _join(text: str, spans: list[tuple[int, int]], lowercase: bool) -> str:
    words = " ".join(text[start:end] for start, end in spans)
    return words.lower() if lowercase else words


def _fit(
    pairs: Iterable[_Pair], links: Links, settings: PrepareSettings, room: int, counts: Counts
) -> Iterator[_Pair]:
    """The pairs that fit, their links over words that some token shows."""
    for k, pair in enumerate(pairs):
        overlong = sum(map(len, pair.ids)) > room
        counts.overlong += overlong
        if overlong and settings.overlong == "drop":
            continue
        lengths = _truncated(len(pair.ids[0]), len(pair.ids[1]), room)
        pair.ids = (pair.ids[0][: lengths[0]], pair.ids[1][: lengths[1]])
        pair.token_words = (pair.token_words[0][: lengths[0]], pair.token_words[1][: lengths[1]])
        rows = links.pairs[links.offsets[k] : links.offsets[k + 1]]
        ends = np.stack([pair.renumbered[side][rows[:, side]] for side in (0, 1)], axis=1)
        limits = [words.max(initial=-1) for words in pair.token_words]
        shown = (ends >= 0).all(axis=1) & (ends <= limits).all(axis=1)
        # Sorted and each once: words that became one may bring the same link twice.
        keys = np.unique(ends[shown] @ (limits[1] + 1, 1))
        pair.links = np.stack(np.divmod(keys, limits[1] + 1), axis=1)
        yield pair


def _truncated(source: int, target: int, room: int) -> tuple[int, int]:
    """Tokens kept of each side: the longer one gives way first."""
    half = room // 2
    if source + target <= room:
        return source, target
    if source <= half:
        return source, room - source
    if target <= room - half:
        return room - target, target
    return half, room - half


def _heldout(pairs: Sequence[_Pair], settings: PrepareSettings) -> set[int]:
    """The pairs with the smallest digests of their text; those with too many copies are passed by.

    All copies of a pair fall on the same side.
    """

    def digest(number: int) -> bytes:
        return pairs[number].digest

    goal = min(settings.heldout, len(pairs) // 10)
    chosen: set[int] = set()
    for _, group in groupby(sorted(range(len(pairs)), key=digest), digest):
        copies = list(group)
        if len(chosen) + len(copies) <= goal:
            chosen.update(copies)
    return chosen


def _write_shard(path: Path, pairs: Sequence[_Pair]) -> dict[str, Any]:
    columns = {
        "source_ids": [pair.ids[0] for pair in pairs],
        "source_words": [pair.token_words[0] for pair in pairs],
        "target_ids": [pair.ids[1] for pair in pairs],
        "target_words": [pair.token_words[1] for pair in pairs],
        "link_source": [pair.links[:, 0] for pair in pairs],
        "link_target": [pair.links[:, 1] for pair in pairs],
    }
    arrays = [_list_array(columns[name]) for name in COLUMNS]
    batch = pa.record_batch(arrays, names=list(COLUMNS))
    with path.open("wb") as file:
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())
    return {"file": path.name, "pairs": len(pairs), "sha256": file_digest(path)}


def _list_array(rows: Sequence[Ints]) -> Any:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    values = np.concatenate(rows).astype(np.int32)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values))


def _special_tokens(tokenizer: Any) -> int:
    frame = template(tokenizer, pair=True)
    return len(frame.prefix) + len(frame.middle) + len(frame.suffix)


# ---------------------------------------------------------------------------------- command line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that say what is prepared and how; `weam_ext.train` takes them too."""
    default = PrepareSettings()
    data = parser.add_argument_group("bitext")
    data.add_argument(
        "--bitext", nargs="+", action="append", metavar="FILE",
        help="[NAME=]FILE [FILE]: one file of 'source ||| target' or tab-separated lines, or two "
        "line-aligned files; plain, gzip, xz, bzip2 or Zstandard; again for each language pair",
    )  # fmt: skip
    data.add_argument(
        "--columns", default="1,2", metavar="S,T", help="of tab-separated lines (%(default)s)"
    )
    data.add_argument("--limit", type=int, metavar="N", help="the first N pairs of each bitext")
    data.add_argument(
        "--words", choices=SEGMENTERS, default=default.words,
        help="what is aligned: bert splits raw text, blanks takes it as it is (%(default)s)",
    )  # fmt: skip
    data.add_argument("--lowercase", action="store_true", help="for the aligner only")
    data.add_argument(
        "--heuristic", choices=HEURISTICS, default=default.heuristic, metavar="METHOD",
        help=f"of symmetrisation: {', '.join(HEURISTICS)} (%(default)s)",
    )  # fmt: skip
    data.add_argument(
        "--max-length", type=int, default=default.max_length, metavar="N",
        help="tokens of a pair with its special tokens (%(default)s)",
    )  # fmt: skip
    data.add_argument(
        "--overlong", choices=OVERLONG, default=default.overlong,
        help="longer pairs are dropped, or truncated with their links (%(default)s)",
    )  # fmt: skip
    data.add_argument(
        "--heldout", type=int, default=default.heldout, metavar="N",
        help="pairs of each bitext kept out of training, at most a tenth (%(default)s)",
    )  # fmt: skip
    data.add_argument(
        "--tokenizer", metavar="NAME", help="hub name, directory or cased WordPiece vocab.txt"
    )
    data.add_argument("--seed", type=int, default=default.seed, metavar="N", help="(%(default)s)")


def settings_of(options: argparse.Namespace) -> PrepareSettings:
    return PrepareSettings(
        words=options.words,
        lowercase=options.lowercase,
        heuristic=options.heuristic,
        max_length=options.max_length,
        overlong=options.overlong,
        heldout=options.heldout,
        seed=options.seed,
    )


def bitexts_of(options: argparse.Namespace) -> list[BitextSource]:
    columns = parse_columns(options.columns)
    return [parse_bitext(files, columns, options.limit) for files in options.bitext]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(
        "weam_ext.prepare",
        __doc__.split("\n")[0],
    )
    add_arguments(parser)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="a new directory")
    options = parser.parse_args(arguments)
    if not options.bitext or not options.tokenizer:
        raise InputError("--bitext and --tokenizer are needed")
    prepare(
        bitexts_of(options), load_tokenizer(options.tokenizer), options.output, settings_of(options)
    )
    print(options.output)


if __name__ == "__main__":
    run("weam_ext.prepare", main)
