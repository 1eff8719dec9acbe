"""Prepared directories: Arrow shards on disk, and their samples as memory-mapped views.

A prepared directory holds `prepared.json` (what was done, and what was counted; a record that
vouches for its own content and, by their SHA-256, for the other files) and Arrow files, one for
each range of the input and split, with one record batch each, so that every column is one offsets
array and one values array on disk.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weam_ext.common.errors import InputError
from weam_ext.common.files import content_digest, file_digest, read_record
from weam_ext.common.ragged import Lists, Tokens, read_lists, unreadable, write_lists

FORMAT = 3
DESCRIPTION = "prepared.json"
SPLITS = ("train", "heldout")
COLUMNS = (
    "source_ids", "source_words", "target_ids", "target_words", "link_source", "link_target",
)  # fmt: skip
PROBABILITY = "link_probability"
"""A further column, of float32, where it was asked for."""


def write_shard(path: Path, columns: Mapping[str, Lists]) -> dict[str, Any]:
    """Write a shard; what prepared.json says of it."""
    write_lists(path, columns)
    rows = len(columns[COLUMNS[0]].offsets) - 1
    return {"file": path.name, "pairs": rows, "sha256": file_digest(path)}


# ---------------------------------------------------------------------------------------- reading


class Sample(NamedTuple):
    """A sentence pair, or a sentence whose other columns are empty.

    Views of the memory-mapped columns: int32, but for the float32 posterior of each link.
    """

    source_ids: Tokens
    source_words: Tokens
    target_ids: Tokens
    target_words: Tokens
    link_source: Tokens
    link_target: Tokens
    probability: NDArray[np.float32] | None = None

    @property
    def tokens(self) -> int:
        return len(self.source_ids) + len(self.target_ids)


class Corpus(NamedTuple):
    """Where samples come from: `kind` is "bitext" or "monolingual", with two languages or one."""

    name: str
    kind: str
    languages: tuple[str, ...]


class Shards:
    """The samples of one split of a prepared directory, memory-mapped.

    `len` is their number; `shards[k]` is a `Sample`; `sides` int32 [samples, 2] the tokens of the
    source and the target; `corpora` what the samples come from, and `corpus` int32 [samples] which
    of those. Pickled, it is the names of its files, which are opened again.
    """

    def __init__(
        self, directory: Path, description: dict[str, Any], split: str, verify: bool = True
    ) -> None:
        self.corpora = [
            Corpus(each["name"], each["kind"], tuple(each["languages"]))
            for each in description["corpora"]
        ]
        self._files: list[tuple[Path, int, int, str]] = [
            (directory / shard["file"], number, shard["pairs"], shard["sha256"])
            for number, corpus in enumerate(description["corpora"])
            for shard in corpus["shards"][split]
        ]
        if verify:
            with ThreadPoolExecutor(4) as threads:  # hashing lets go of the interpreter
                list(threads.map(_verify, [(path, sha256) for path, *_, sha256 in self._files]))
        self._open()

    def _open(self) -> None:
        self._columns: list[list[Lists]] = []
        sides, corpora = [np.zeros((0, 2), np.int32)], [np.zeros(0, np.int32)]
        for path, number, pairs, _ in self._files:
            columns = read_lists(path)
            self._columns.append([columns[name] for name in (*COLUMNS, PROBABILITY)
                                  if name in columns])  # fmt: skip
            lengths = [columns[name].lengths for name in ("source_ids", "target_ids")]
            sides.append(np.stack(lengths, axis=1).astype(np.int32))
            corpora.append(np.full(pairs, number, np.int32))
        self._starts = list(accumulate((pairs for _, _, pairs, _ in self._files), initial=0))
        self.sides: Tokens = np.concatenate(sides)
        self.corpus: Tokens = np.concatenate(corpora)

    def __getstate__(self) -> dict[str, Any]:
        return {"corpora": self.corpora, "_files": self._files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    @property
    def names(self) -> list[str]:
        return [corpus.name for corpus in self.corpora]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, sample: int) -> Sample:
        if not 0 <= sample < len(self):
            raise IndexError(f"sample {sample} of {len(self)}")
        shard = bisect_right(self._starts, sample) - 1
        row = sample - self._starts[shard]
        return Sample(*(values[at[row] : at[row + 1]] for at, values in self._columns[shard]))


def _verify(file: tuple[Path, str]) -> None:
    path, sha256 = file
    try:
        digest = file_digest(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({unreadable(error)})") from error
    if digest != sha256:
        raise InputError(
            f"{path}: the file is not what was prepared (its checksum differs): remove "
            f"{path.parent} and prepare the text anew"
        )


def open_prepared(directory: Path, verify: bool = True) -> tuple[dict[str, Any], dict[str, Shards]]:
    """A prepared directory's description and its splits; `InputError` if it is not one.

    `verify` reads all the files, once; of several processes on a machine one is enough.
    """
    description = read_description(directory)
    return description, {split: Shards(directory, description, split, verify) for split in SPLITS}


def read_description(directory: Path) -> dict[str, Any]:
    """`prepared.json` of a prepared directory; `InputError` if it is missing or was changed."""
    path = directory / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{directory}: not a prepared directory (no {DESCRIPTION})")
    written = _format(path)  # first: the record of another format may not vouch for itself
    if written not in (None, FORMAT):
        raise InputError(f"{path}: format {written}, expected {FORMAT}: prepare the text anew")
    return read_record(path)


def _format(path: Path) -> Any:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return record.get("format") if isinstance(record, dict) else None


def data_digest(description: dict[str, Any]) -> str:
    """SHA-256 of what was prepared: settings, tokenizer and shards, wherever text and encoder lay.

    The encoder of an aligner is known by its own digest.
    """
    corpora = []
    for corpus in description["corpora"]:
        corpora.append(_without(corpus, "paths"))
        if aligner := corpus.get("aligner"):
            corpora[-1]["aligner"] = _without(aligner, "encoder")
    settings = _without(description["settings"], "aligner_encoder")
    return content_digest(description | {"settings": settings, "corpora": corpora})


def _without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}
