"""Rows of any length in one array: `Lists`, and how they are written and read."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from weam_ext.common.errors import InputError

Ints = NDArray[np.int64]
Tokens = NDArray[np.int32]


class Lists(NamedTuple):
    """Rows of any length: row k is `values[offsets[k] : offsets[k + 1]]`; offsets are int64."""

    offsets: Ints
    values: NDArray[Any]

    @classmethod
    def of_lengths(cls, lengths: Ints, values: NDArray[Any]) -> "Lists":
        return cls(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), values)

    @classmethod
    def empty(cls, rows: int) -> "Lists":
        """Rows without any values."""
        return cls(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32))

    @property
    def lengths(self) -> Ints:
        return np.diff(self.offsets)

    def take(self, rows: Ints, lengths: Ints | None = None) -> "Lists":
        """Some rows in some order, of each its first `lengths` values."""
        starts = self.offsets[rows]
        kept = self.offsets[rows + 1] - starts if lengths is None else lengths
        taken = Lists.of_lengths(kept, self.values)
        places = np.arange(taken.offsets[-1]) + np.repeat(starts - taken.offsets[:-1], kept)
        return taken._replace(values=self.values[places])


def write_lists(path: Path, columns: Mapping[str, Lists], durable: bool = True) -> None:
    """Write columns of lists, of int32 or float32, as an Arrow file of one record batch."""
    arrays = [
        pa.LargeListArray.from_arrays(pa.array(column.offsets), pa.array(column.values))
        for column in columns.values()
    ]
    batch = pa.record_batch(arrays, names=list(columns))
    with path.open("wb") as file:
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def read_lists(path: Path) -> dict[str, Lists]:
    """The columns of a file that `write_lists` wrote, memory-mapped; `InputError` for no such."""
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read ({unreadable(error)})") from error
    return {
        name: Lists(column.offsets.to_numpy(), column.values.to_numpy())
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def unreadable(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
