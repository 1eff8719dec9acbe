"""One range of the input at a time: tokenised into a part file, then aligned into shards.

Ranges are cut by the input alone, so that whoever does the work, the bytes are the same.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weam_ext.align.aligner import Aligner
from weam_ext.align.links import Links
from weam_ext.common.ragged import Ints, Lists, read_lists, write_lists
from weam_ext.data.shards import COLUMNS, PROBABILITY, SPLITS, write_shard
from weam_ext.prepare.settings import Counts, PrepareSettings
from weam_ext.text.bitext import NumberedWords
from weam_ext.text.cached_tokenizer import Pieces, Tokenised

SIDES = ("source", "target")
SHARD_PAIRS = 65_536
SHARD_CHARACTERS = 1 << 25
"""A range also ends with the line that brings it to this size: long lines take no more memory."""

Digests = NDArray[np.uint64]


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
    """The files of a range between its two stages: columns, and the words that they number."""

    columns: Path
    vocabularies: tuple[Path, Path]

    @classmethod
    def of(cls, directory: Path, corpus: int, number: int) -> "Part":
        stem = f"part-{corpus:02}-{number:05}"
        return cls(
            directory / f"{stem}.columns",
            (directory / f"{stem}.source", directory / f"{stem}.target"),
        )

    def remove(self) -> None:
        for path in (self.columns, *self.vocabularies):
            path.unlink(missing_ok=True)

    def bitext(self) -> tuple[NumberedWords, NumberedWords]:
        """What the aligner reads."""
        columns = read_lists(self.columns)
        source, target = (
            NumberedWords(path.read_bytes(), *columns[f"{name}_vocabulary_ids"])
            for name, path in zip(SIDES, self.vocabularies, strict=True)
        )
        return source, target

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
    for name, path, side, length in zip(SIDES, part.vocabularies, sides, lengths, strict=False):
        columns[f"{name}_ids"] = side.ids.take(rows, length)
        columns[f"{name}_words"] = side.words.take(rows, length)
        columns[f"{name}_numbers"] = side.numbers.take(rows)
        if len(sides) == 2:
            columns[f"{name}_vocabulary_ids"] = side.vocabulary_ids.take(rows)
            path.write_bytes("".join(f"{word}\n" for word in side.vocabulary).encode())
    write_lists(part.columns, columns, durable=False)
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
        found = aligner.align(*part.bitext(), posteriors=settings.posteriors)
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
    for side, name in enumerate(SIDES):
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
