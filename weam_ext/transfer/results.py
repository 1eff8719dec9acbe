"""What an evaluation leaves behind: a file of predictions for every cell of the grid.

See `docs/transfer.md` for the layout. A file is whole or not there.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from weam_ext.common.errors import InputError
from weam_ext.common.files import read_record, write_record, write_whole

CELLS = "cells"
MODELS = "models.json"
FORMAT = 5
UNLABELLED = "unlabelled"
"""The split of a whole test set that is predicted here and scored by others."""
UNTAGGED = "_"
"""The tag of a word that is in its sentence, but neither trained on nor scored."""
CORRELATIONS = ("pearson", "spearman")
"""Metrics that are no ratio of sums: they need gold and prediction as numbers."""
_CONDITION = ("language", "split", "selection", "noise", "vectors", "method")


_SEAL = re.compile(rb"(sha256 )([0-9a-f]{64})")
"""In the metadata: the digest of all the rest, checked before Arrow is given the bytes."""


class Score(NamedTuple):
    """What one example adds to a metric, which is sum(part) / sum(whole)."""

    part: float
    whole: float = 1.0


@dataclass(frozen=True)
class Cell:
    """What decides the numbers of one file."""

    model: str
    model_sha256: str
    task: str
    data_sha256: str
    """Of the examples read: those to train on, to select on and to test on."""
    setting: str
    """zero-shot, translate-train, few-shot-K, frozen."""
    seed: int
    options: dict[str, Any]
    """The numbers of the optimisation, the languages, the limits."""

    @property
    def identity(self) -> str:
        fields = {
            "format": FORMAT,  # so that what an earlier version left is measured again
            "model": self.model,
            "model_sha256": self.model_sha256,
            "task": self.task,
            "data_sha256": self.data_sha256,
            "setting": self.setting,
            "seed": self.seed,
            "options": self.options,
        }
        text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        parts = (self.task, self.model, self.setting, str(self.seed), self.identity[:12])
        return ".".join(re.sub(r"[^\w+-]+", "-", part) for part in parts)


@dataclass
class Evaluation:
    """One test set under one condition: a row of a cell's file, its lists an entry an example."""

    language: str
    """A code, or two of them with a hyphen between where an example has two."""
    metrics: dict[str, list[Score]]
    """By name, the first one being that of the tables; empty lists for a correlation."""
    keys: list[str]
    """What pairs examples over models and languages; parallel examples have the same."""
    split: str = "test"
    selection: str = ""
    """english or oracle; nothing where nothing was selected."""
    noise: str = ""
    layer: int = -1
    """-1 where the task has no layers; 0 is the embedding layer."""
    vectors: str = ""
    """raw or centred."""
    method: str = ""
    lengths: list[int] = field(default_factory=list)
    """Characters of the input."""
    gold: list[str] = field(default_factory=list)
    predictions: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A cell with what it found."""

    cell: Cell
    directory: str
    facts: dict[str, Any]
    """What helps to read the numbers: examples used, epochs chosen, training settings, versions."""
    evaluations: list[Evaluation]


def _schema(metrics: Sequence[str]) -> pa.Schema:
    columns: list[tuple[str, Any]] = [(name, pa.string()) for name in _CONDITION]
    columns += [("layer", pa.int16()), ("notes", pa.string())]
    columns += [("keys", pa.list_(pa.string())), ("lengths", pa.list_(pa.int32()))]
    columns += [("gold", pa.list_(pa.string())), ("predictions", pa.list_(pa.string()))]
    for name in metrics:
        columns += [(f"{name}.part", pa.list_(pa.float64()))]
        columns += [(f"{name}.whole", pa.list_(pa.float64()))]
    return pa.schema(columns)


def write(directory: Path, finished: Finished) -> Path:
    """Write a cell's file; once this returns it survives a crash."""
    rows = finished.evaluations
    metrics = list(rows[0].metrics) if rows else []
    head = {
        "format": FORMAT,
        "cell": asdict(finished.cell),
        "directory": finished.directory,
        "facts": finished.facts,
        "metrics": metrics,
    }
    data: dict[str, list[Any]] = {name: [getattr(r, name) for r in rows] for name in _CONDITION}
    data |= {name: [getattr(r, name) for r in rows] for name in ("layer", "keys", "lengths")}
    data |= {name: [getattr(r, name) for r in rows] for name in ("gold", "predictions")}
    data["notes"] = [json.dumps(r.notes, sort_keys=True) for r in rows]
    for name in metrics:
        data[f"{name}.part"] = [[score.part for score in r.metrics[name]] for r in rows]
        data[f"{name}.whole"] = [[score.whole for score in r.metrics[name]] for r in rows]
    metadata = {"weam_ext.transfer": json.dumps(head, sort_keys=True), "seal": f"sha256 {'0' * 64}"}
    schema = _schema(metrics).with_metadata(metadata)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, schema, options=options) as writer:
        writer.write_table(pa.table(data, schema=schema))
    path = directory / CELLS / f"{finished.cell.name}.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    unsealed = sink.getvalue().to_pybytes()
    write_whole(path, _SEAL.sub(rb"\g<1>" + _digest(unsealed), unsealed))
    return path


def _digest(data: bytes) -> bytes:
    """SHA-256 of an Arrow file's bytes but for where this is written, in hexadecimal."""
    return hashlib.sha256(_SEAL.sub(rb"\g<1>", data)).hexdigest().encode()


class Row(NamedTuple):
    """An `Evaluation` as read again, with its cell; lists as arrays."""

    cell: Cell
    directory: str
    facts: dict[str, Any]
    language: str
    split: str
    selection: str
    noise: str
    layer: int
    vectors: str
    method: str
    keys: list[str]
    lengths: NDArray[np.int32]
    gold: list[str]
    predictions: list[str]
    metrics: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    notes: dict[str, Any]


def read(path: Path) -> list[Row]:
    """The rows of a cell's file; `InputError` for anything else."""
    data = path.read_bytes()
    if {digest for _, digest in _SEAL.findall(data)} != {_digest(data)}:
        raise InputError(f"{path}: not predictions of weam_ext.transfer, or changed (SHA-256)")
    try:
        table = pa.ipc.open_file(data).read_all()
        head = json.loads(table.schema.metadata[b"weam_ext.transfer"])
        cell = Cell(**head["cell"])
        known = head["format"] == FORMAT
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not predictions of weam_ext.transfer") from error
    if not known:
        raise InputError(f"{path}: predictions of another version; remove the file")
    return [
        Row(
            cell=cell,
            directory=head["directory"],
            facts=head["facts"],
            **{name: table[name][k].as_py() for name in (*_CONDITION, "layer")},
            keys=table["keys"][k].as_py(),
            lengths=_array(table, "lengths", k),
            gold=table["gold"][k].as_py(),
            predictions=table["predictions"][k].as_py(),
            metrics={
                name: (_array(table, f"{name}.part", k), _array(table, f"{name}.whole", k))
                for name in head["metrics"]
            },
            notes=json.loads(table["notes"][k].as_py()),
        )
        for k in range(table.num_rows)
    ]


def _array(table: Any, name: str, row: int) -> NDArray[Any]:
    values: NDArray[Any] = table[name][row].values.to_numpy(zero_copy_only=False)
    return values


@dataclass(frozen=True)
class Failed:
    """A cell that could not be made, and why."""

    cell: Cell
    directory: str
    reason: str


def write_failed(directory: Path, failed: Failed) -> None:
    """Leave word of a cell that could not be made."""
    path = directory / CELLS / f"{failed.cell.name}.failed"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(asdict(failed), indent=1, ensure_ascii=False) + "\n").encode())


def read_failed(directory: Path) -> Iterator[Failed]:
    """The cells that failed and were not made since."""
    for path in sorted((directory / CELLS).glob("*.failed")):
        if path.with_suffix(".arrow").exists():
            continue
        try:
            values = json.loads(path.read_bytes())
            yield Failed(Cell(**values["cell"]), values["directory"], values["reason"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: not a record of weam_ext.transfer") from error


def read_all(directory: Path) -> list[Row]:
    """The rows of all cells, in the order of their files' names."""
    return [row for path in sorted((directory / CELLS).glob("*.arrow")) for row in read(path)]


Models = Mapping[str, Mapping[str, str]]
"""By name, in the order of the command line, the digest of the encoder in each directory."""


def record_models(directory: Path, models: Models) -> None:
    """Note what encoders were evaluated last, after those of earlier calls.

    It tells which encoder counts where a directory has held several, and the order of the models.
    """
    known = read_models(directory)
    for name, encoders in models.items():
        known[name] = {**known.get(name, {}), **encoders}
    directory.mkdir(parents=True, exist_ok=True)
    write_record(directory / MODELS, {"models": known})


def read_models(directory: Path) -> dict[str, dict[str, str]]:
    """What `record_models` noted; nothing where it never did."""
    path = directory / MODELS
    found: dict[str, dict[str, str]] = read_record(path)["models"] if path.exists() else {}
    return found


def current(rows: Iterable[Row], recorded: Models) -> Iterator[Row]:
    """The rows of the encoders that count; `InputError` where nothing tells which ones do."""
    held: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        held.setdefault((row.cell.model, row.directory), []).append(row)
    for (model, directory), own in held.items():
        digests = {row.cell.model_sha256 for row in own}
        counts = recorded.get(model, {}).get(directory)
        if not counts and len(digests) > 1:
            shown = ", ".join(sorted(digest[:12] for digest in digests))
            raise InputError(
                f"{directory} held several encoders when {model} was evaluated ({shown}), and no "
                "record tells which one counts: run weam_ext.transfer again on the same --output"
            )
        counted = {counts} if counts else digests
        yield from (row for row in own if row.cell.model_sha256 in counted)
