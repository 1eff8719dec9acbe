"""The records of an evaluation: JSON lines that grow, survive crashes and are never made twice."""

import base64
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weam_ext.errors import InputError
from weam_ext.files import sync

RESULTS = "results.jsonl"
_RETRIEVAL = {"format": 1, "task": "retrieval"}


class RetrievalRun(NamedTuple):
    """What decides the numbers of one encoder on one bitext, all its layers together."""

    model: str
    model_sha256: str
    bitext: str
    bitext_sha256: str
    max_length: int
    precision: str


@dataclass(frozen=True)
class RetrievalResult:
    """Sentence retrieval with the vectors of one layer of one encoder; one line of the file."""

    model: str
    directory: str
    """Of one pre-training seed of the model."""
    model_sha256: str
    """Of the configuration, the weights and the tokenizer."""
    bitext: str
    bitext_sha256: str
    """Of the pairs used."""
    max_length: int
    """Tokens of a sentence with its special tokens."""
    precision: str
    """Of the encoder: fp32 or bf16."""
    pairs: int
    """Those used: neither empty nor a duplicate."""
    empty: int
    duplicates: int
    truncated_source: int
    truncated_target: int
    layers: int
    """Of the encoder, the embedding layer not counted."""
    layer: int
    """0 is the embedding layer."""
    centred: bool
    """Whether each language's mean vector was removed."""
    forward: float
    """Accuracy@1 from source to target."""
    backward: float
    hits_forward: str
    """A bit a pair, as `pack_hits` makes them."""
    hits_backward: str

    @property
    def run(self) -> RetrievalRun:
        return RetrievalRun(*(getattr(self, name) for name in RetrievalRun._fields))

    @property
    def accuracy(self) -> float:
        """Mean of both directions."""
        return (self.forward + self.backward) / 2

    @property
    def scores(self) -> NDArray[np.float64]:
        """[pairs] 0, 0.5 or 1: the share of the two directions in which each pair was found."""
        hits = (unpack_hits(text, self.pairs) for text in (self.hits_forward, self.hits_backward))
        both: NDArray[np.float64] = np.mean([*hits], axis=0)
        return both


def pack_hits(hits: NDArray[np.bool_]) -> str:
    """Base64 of a bit a sentence, the first one in the highest bit of the first byte."""
    return base64.b64encode(np.packbits(hits).tobytes()).decode()


def unpack_hits(text: str, count: int) -> NDArray[np.bool_]:
    """The `count` hits that `pack_hits` packed; `ValueError` where it is another number."""
    packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if len(packed) != -(-count // 8):
        raise ValueError(f"{len(packed)} bytes for {count} hits")
    return np.unpackbits(packed, count=count).astype(bool)


class Results:
    """The records in a directory, and those to come."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / RESULTS
        directory.mkdir(parents=True, exist_ok=True)
        self._cut_torn_line()
        self.records = read_results(self.path)
        sync(directory)

    def _cut_torn_line(self) -> None:
        with self.path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)

    def has(self, run: RetrievalRun) -> bool:
        """Whether all layers of a run are there, raw and centred."""
        return complete([record for record in self.records if record.run == run])

    def append(self, results: list[RetrievalResult]) -> None:
        """Write records that are not there yet; once this returns they survive a crash."""
        there = {(record.run, record.layer, record.centred) for record in self.records}
        new = [r for r in results if (r.run, r.layer, r.centred) not in there]
        lines = "".join(json.dumps(_RETRIEVAL | asdict(record)) + "\n" for record in new)
        with self.path.open("ab") as file:
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())
        self.records += new


def complete(records: list[RetrievalResult]) -> bool:
    """Whether the records of one run are all there: a killed evaluation may leave a part."""
    found = {(record.layer, record.centred) for record in records}
    return bool(records) and len(found) == 2 * (records[0].layers + 1)


def read_results(path: Path) -> list[RetrievalResult]:
    """The records of a file, in order. A last line without its end is not one yet.

    Raises `InputError`, with the line's number, for anything else that is no record.
    """
    lines = path.read_bytes().split(b"\n")[:-1]
    return [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def _parse(line: bytes, where: str) -> RetrievalResult:
    try:
        values: dict[str, Any] = json.loads(line)
        kind = {name: values.pop(name) for name in _RETRIEVAL}
        record = RetrievalResult(**values)
        for field in fields(record):
            if type(getattr(record, field.name)) is not field.type:
                raise TypeError(field.name)
        record.scores  # noqa: B018 - that the bits are there
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{where}: not a result of weam_ext.transfer") from error
    if kind != _RETRIEVAL:
        raise InputError(f"{where}: a result of another version of weam_ext.transfer")
    return record
