"""One range of the input at a time: tokenised into a part file, then aligned into shards.

Ranges are cut by the input alone, so that whoever does the work, the bytes are the same.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weam_ext.align import Aligner
from weam_ext.corpus import BitextSource
from weam_ext.errors import InputError
from weam_ext.links import Links
from weam_ext.pieces import Pieces, Tokenised
from weam_ext.shards import (
    COLUMNS,
    PROBABILITY,
    SPLITS,
    Ints,
    Lists,
    read_lists,
    write_lists,
    write_shard,
)
from weam_ext.words import SEGMENTERS

SHARD_PAIRS = 65_536
SHARD_CHARACTERS = 1 << 25
"""A range ends with the line that reaches so many, so that long lines take no more memory."""
OVERLONG = ("drop", "truncate")

Digests = NDArray[np.uint64]


@dataclass(frozen=True)
class PrepareSettings:
    """How text becomes shards; part of what identifies a prepared directory."""

    words: str = "bert"
    lowercase: bool = False
    """Only what the aligner sees."""
    aligner: str = "hmm"
    """A model of `weam_ext.align.MODELS`."""
    heuristic: str | None = None
    """How its directions are combined; None: as that model does by default."""
    posteriors: bool = False
    """Whether the shards hold the posterior probability of each link."""
    max_length: int = 128
    """Tokens of a pair or a sentence with its special tokens."""
    overlong: str = "drop"
    heldout: int = 300
    """Pairs of each corpus kept out of training, at most a tenth of it; copies go with them."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, names in (
            ("words", self.words, SEGMENTERS),
            ("overlong", self.overlong, OVERLONG),
        ):
            if value not in names:
                raise InputError(f"unknown {name} {value!r}; there are {', '.join(names)}")
        Aligner(model=self.aligner, heuristic=self.heuristic)  # refuses what it does not know
        if self.max_length < 8:
            raise InputError(f"{self.max_length} tokens leave no room for a pair")
        if self.heldout < 1:
            raise InputError("at least one pair must be held out")
        if not 0 <= self.seed < 1 << 31:
            raise InputError(f"the seed must be from 0 to 2^31 - 1, not {self.seed}")


@dataclass
class Counts:
    """What became of the pairs of a bitext, or of the sentences of other text."""

    read: int = 0
    empty: int = 0
    """With a side that has no words or no tokens."""
    overlong: int = 0
    """With more than `max_length` tokens: dropped or truncated as the settings say."""
    train: int = 0
    heldout: int = 0
    links: int = 0
    train_tokens: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        more = asdict(other)
        return Counts(**{name: count + more[name] for name, count in asdict(self).items()})

    def told(self, pair: str) -> str:
        """In words; `pair` is what is counted."""
        links = self.links / max(1, self.train + self.heldout)
        return (
            f"{self.read:,} {pair}s read, {self.empty:,} empty, {self.overlong:,} over-long, "
            f"{self.train:,} to train on ({self.train_tokens:,} tokens), {self.heldout:,} held out"
            + (f", {links:.1f} word links a pair" if self.links else "")
        )


class Range(NamedTuple):
    """Consecutive lines of a corpus: of each side, joined by line feeds."""

    number: int
    sides: tuple[str, ...]


def cut(lines: Iterable[tuple[str, ...]]) -> Iterator[Range]:
    """A corpus in ranges of `SHARD_PAIRS` lines, or of fewer long ones."""
    number, size = 0, 0
    held: list[tuple[str, ...]] = []
    for line in lines:
        held.append(line)
        size += sum(map(len, line))
        if len(held) == SHARD_PAIRS or size >= SHARD_CHARACTERS:
            yield Range(number, tuple(map("\n".join, zip(*held, strict=True))))
            number, size = number + 1, 0
            held = []
    if held:
        yield Range(number, tuple(map("\n".join, zip(*held, strict=True))))


class Part(NamedTuple):
    """The files of a range between its two stages: columns, and what the aligner reads."""

    columns: Path
    sides: tuple[Path, Path]

    @classmethod
    def of(cls, directory: Path, corpus: int, number: int) -> "Part":
        stem = f"part-{corpus:02}-{number:05}"
        return cls(
            directory / f"{stem}.columns",
            (directory / f"{stem}.source", directory / f"{stem}.target"),
        )

    def remove(self) -> None:
        for path in (self.columns, *self.sides):
            path.unlink(missing_ok=True)

    def bitext(self) -> BitextSource:
        return BitextSource(self.columns.name, (str(self.sides[0]), str(self.sides[1])))

    def digests(self) -> Digests:
        """Of the pairs that were kept."""
        return np.array(read_lists(self.columns)["digest"].values)


# ------------------------------------------------------------------------------------- first stage


def tokenise(
    text: Range, part: Part, pieces: Pieces, settings: PrepareSettings, room: int
) -> Counts:
    """Write the part of a range: a row for each pair whose sides have words and tokens.

    Over-long ones to be dropped have words for the aligner, but no tokens and no digest.
    """
    lines = [side.split("\n") for side in text.sides]
    sides = [pieces(each) for each in lines]
    rows = np.flatnonzero(np.logical_and.reduce([_has_words(side) for side in sides]))
    lengths = np.stack([side.ids.lengths[rows] for side in sides])
    overlong = lengths.sum(axis=0) > room
    kept = ~overlong if settings.overlong == "drop" else np.ones(len(rows), bool)
    lengths = _truncated(lengths, room) * kept
    columns = {"digest": Lists.of_lengths(kept, _digests(lines, rows[kept], settings.seed))}
    for name, side, length in zip(("source", "target"), sides, lengths, strict=False):
        columns[f"{name}_ids"] = side.ids.take(rows, length)
        columns[f"{name}_words"] = side.words.take(rows, length)
        columns[f"{name}_numbers"] = side.numbers.take(rows)
    write_lists(part.columns, columns, durable=False)
    if len(sides) == 2:
        for path, side in zip(part.sides, sides, strict=True):
            # Between blanks, so that no word is taken for a byte-order mark, or for half of the
            # line's end, or for the first bytes of a compressed file.
            path.write_bytes("".join(f" {side.joined[row]} \n" for row in rows.tolist()).encode())
    return Counts(read=len(lines[0]), empty=len(lines[0]) - len(rows), overlong=int(overlong.sum()))


def _has_words(side: Tokenised) -> NDArray[np.bool_]:
    return (side.ids.lengths > 0) & (side.numbers.lengths > 0)


def _digests(sides: Sequence[Sequence[str]], rows: Ints, seed: int) -> Digests:
    """The first eight bytes of the hash of each row's text, which order as numbers do."""
    key = b"%d" % seed
    found = [
        hashlib.blake2b(
            "\0".join([side[row] for side in sides]).encode(), digest_size=16, key=key
        ).digest()[:8]
        for row in rows.tolist()
    ]
    return np.frombuffer(b"".join(found), ">u8").astype(np.uint64)


def _truncated(lengths: Ints, room: int) -> Ints:
    """Tokens kept of each side [sides, rows]: the longer one gives way first."""
    if len(lengths) == 1:
        return lengths.clip(max=room)
    source, target = lengths
    half = room // 2
    cases = [source + target <= room, source <= half, target <= room - half]
    return np.stack(
        [
            np.select(cases, [source, source, room - target], half),
            np.select(cases, [target, room - source, target], room - half),
        ]
    )


# ------------------------------------------------------------------------------------ second stage


def heldout(digests: Digests, goal: int) -> Digests:
    """The smallest digests, of at most `goal` pairs; those with too many copies are passed by.

    All copies of a pair fall on the same side.
    """
    chosen: list[int] = []
    values, copies = np.unique(digests, return_counts=True)
    for value, count in zip(values, copies, strict=True):
        if goal <= 0:
            break
        if count <= goal:
            chosen.append(value)
            goal -= int(count)
    return np.array(chosen, np.uint64)


def finish(
    part: Part,
    stem: str,
    aligner: Aligner | None,
    chosen: Digests,
    settings: PrepareSettings,
) -> tuple[Counts, dict[str, list[dict[str, Any]]]]:
    """Write the shards of a range beside its part, which is removed; its counts, and the shards."""
    columns = read_lists(part.columns)
    rows = np.flatnonzero(columns["digest"].lengths)
    out = np.isin(columns["digest"].values, chosen)
    if aligner:
        found = aligner.align(part.bitext(), posteriors=settings.posteriors)
        columns |= _shown_links(found, columns)
    else:
        nothing = Lists.empty(len(columns["digest"].offsets) - 1)
        columns |= dict.fromkeys(COLUMNS[2:], nothing)
    names = [name for name in (*COLUMNS, PROBABILITY) if name in columns]
    shards: dict[str, list[dict[str, Any]]] = {}
    counts = Counts(train=int((~out).sum()), heldout=int(out.sum()))
    for split, taken in zip(SPLITS, (rows[~out], rows[out]), strict=True):
        shard = {name: columns[name].take(taken) for name in names}
        counts.links += len(shard["link_source"].values)
        if split == "train":
            counts.train_tokens = len(shard["source_ids"].values) + len(shard["target_ids"].values)
        path = part.columns.with_name(f"{split}-{stem}.arrow")
        shards[split] = [write_shard(path, shard)] if len(taken) else []
    part.remove()
    return counts, shards


def _shown_links(links: Links, columns: dict[str, Lists]) -> dict[str, Lists]:
    """The links of each row over words that some token shows, sorted and each once.

    Words that became one may bring the same link twice; its probability is then the highest.
    """
    count = len(links)
    rows = np.repeat(np.arange(count), np.diff(links.offsets))
    shown = np.ones(len(rows), bool)
    ends = []
    for side, name in enumerate(("source", "target")):
        numbers, words = columns[f"{name}_numbers"], columns[f"{name}_words"]
        number = numbers.values[numbers.offsets[rows] + links.pairs[:, side]].astype(np.int64)
        shown &= (number >= 0) & (number <= _highest(words)[rows])
        ends.append(number)
    size = 1 + max(int(end.max(initial=0)) for end in ends)
    keys = (rows * size + ends[0]) * size + ends[1]
    keys, first, which = np.unique(keys[shown], return_index=True, return_inverse=True)
    at = rows[shown][first]
    lengths = np.bincount(at, minlength=count)
    found = {
        "link_source": Lists.of_lengths(lengths, (keys // size % size).astype(np.int32)),
        "link_target": Lists.of_lengths(lengths, (keys % size).astype(np.int32)),
    }
    if links.probability is not None:
        highest = np.zeros(len(keys), np.float32)
        np.maximum.at(highest, which, links.probability[shown])
        found[PROBABILITY] = Lists.of_lengths(lengths, highest)
    return found


def _highest(lists: Lists) -> Ints:
    """Of each row; -1 of an empty one."""
    highest = np.full(len(lists.offsets) - 1, -1)
    some = np.flatnonzero(lists.lengths)
    if len(some):
        highest[some] = np.maximum.reduceat(lists.values, lists.offsets[some])
    return highest
