"""Prepared directories: Arrow shards on disk, and their samples as memory-mapped views."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from weam_ext.errors import InputError
from weam_ext.files import file_digest

FORMAT = 1
SHARD_PAIRS = 65_536
SPLITS = ("train", "heldout")
COLUMNS = (
    "source_ids", "source_words", "target_ids", "target_words", "link_source", "link_target",
)  # fmt: skip

Ints = NDArray[np.int64]
Tokens = NDArray[np.int32]


class Sample(NamedTuple):
    """One sentence pair: views of the memory-mapped columns, int32."""

    source_ids: Tokens
    source_words: Tokens
    target_ids: Tokens
    target_words: Tokens
    link_source: Tokens
    link_target: Tokens

    @property
    def tokens(self) -> int:
        return len(self.source_ids) + len(self.target_ids)


class Shards:
    """The samples of one split of a prepared directory, memory-mapped.

    `len` is their number; `shards[k]` is a `Sample`; `lengths` int64 [samples] their tokens;
    `bitext` int64 [samples] which bitext each came from; `names` the bitexts' names.
    """

    def __init__(self, directory: Path, description: dict[str, Any], split: str) -> None:
        self.names: list[str] = [bitext["name"] for bitext in description["bitexts"]]
        self._columns: list[list[tuple[Ints, Tokens]]] = []
        self._starts = [0]
        lengths, bitexts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number, bitext in enumerate(description["bitexts"]):
            for shard in bitext["shards"][split]:
                columns = _open_shard(directory / shard["file"], shard["sha256"])
                self._columns.append(columns)
                self._starts.append(self._starts[-1] + shard["pairs"])
                lengths.append(np.diff(columns[0][0]) + np.diff(columns[2][0]))
                bitexts.append(np.full(shard["pairs"], number))
        self.lengths: Ints = np.concatenate(lengths)
        self.bitext: Ints = np.concatenate(bitexts)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, sample: int) -> Sample:
        shard = int(np.searchsorted(self._starts, sample, side="right")) - 1
        row = sample - self._starts[shard]
        return Sample(*(values[at[row] : at[row + 1]] for at, values in self._columns[shard]))


def _open_shard(path: Path, sha256: str) -> list[tuple[Ints, Tokens]]:
    try:
        if file_digest(path) != sha256:
            raise InputError(f"{path}: the file is not what was prepared (its checksum differs)")
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    columns = [batch.column(name) for name in COLUMNS]
    return [(column.offsets.to_numpy(), column.values.to_numpy()) for column in columns]


def open_prepared(directory: Path) -> tuple[dict[str, Any], dict[str, Shards]]:
    """A prepared directory's description and its splits; `InputError` if it is none."""
    path = directory / "prepared.json"
    try:
        description = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{directory}: not a prepared directory (no prepared.json)") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON") from error
    written = description.get("format") if isinstance(description, dict) else None
    if written != FORMAT:
        raise InputError(f"{path}: format {written}, expected {FORMAT}")
    return description, {split: Shards(directory, description, split) for split in SPLITS}
