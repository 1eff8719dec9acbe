"""Aligners on disk: a directory of `aligner.json` and the tensors that it names."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from weam_ext import _native
from weam_ext.align.hmm import Hmm
from weam_ext.align.settings import (
    DEFAULTS,
    DIRECTIONS,
    checked,
    checked_heuristic,
    checked_settings,
)
from weam_ext.align.stems import parse_stems
from weam_ext.common.errors import InputError, describe
from weam_ext.common.files import (
    file_digest,
    owned,
    read_record,
    remove_parts,
    rename_durably,
    tensors_durably,
    write_record,
)

FORMAT = "weam_ext aligner"
VERSION = 5
_DESCRIPTION = "aligner.json"
_MEASURES = ("log_likelihood", "perplexity", "posterior_p0", "posterior_feature", "tension")


@dataclass(frozen=True)
class AlignerState:
    """What is kept of an `Aligner`; see there."""

    kind: str
    heuristic: str
    max_length: int
    settings: Mapping[str, Any]
    model: _native.Model | None
    """Trained, of fast-align."""
    hmm: Hmm | None
    """Trained, of an HMM."""

    @property
    def models(self) -> list[_native.Model]:
        return self.hmm.models if self.hmm else [self.model] if self.model else []


def save_state(state: AlignerState, directory: str | Path) -> None:
    """Write a trained aligner to a directory, which is made; one that is there is replaced.

    The description is a record with the SHA-256 of itself and of the tensors. Those: `rows` uint64
    [source words + 1], `columns` uint32 [cells] (target words, ascending in each row), `t` float32
    [cells, directions] (probabilities times 2^96), and for each side the UTF-8 of its words, where
    each ends, t(word | NULL) and expected counts. An HMM also has the weights of its jumps, from
    -10 to 10 and of all longer ones, and how often its words have 0, 1, 2 and more links, or
    nothing of that; the names of its models' tensors begin with "0.", "1." and so on.

    Raises `InputError` where that cannot be written, or another process writes there; the directory
    then holds the aligner that it held.
    """
    folder = Path(directory)
    with _said_of(folder), owned(folder):
        write_state(state, folder)


@contextmanager
def _said_of(folder: Path) -> Iterator[None]:
    """What the system refuses is one sentence that names the folder."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({describe(error)})") from error


def write_state(state: AlignerState, folder: Path) -> None:
    """The same for a process that owns the folder (`weam_ext.common.files.owned`).

    The description is written last, so that whenever this stops, the folder holds a whole aligner,
    old or new, and what it does not name is removed by the next.
    """
    with _said_of(folder):
        remove_parts(folder)
        part = folder / ".tensors.part"
        tensors_durably(partial(save_file, _arrays(state)), part)
        digest = file_digest(part)
        tensors = folder / f"{digest[:16]}.safetensors"
        rename_durably(part, tensors)
        description = {
            "format": FORMAT,
            "version": VERSION,
            "model": state.kind,
            "heuristic": state.heuristic,
            "max_length": state.max_length,
            "settings": dict(state.settings),
            **_describe(state),
            "tensors": {"file": tensors.name, "sha256": digest},
        }
        part = folder / ".description.part"
        write_record(part, description)
        rename_durably(part, folder / _DESCRIPTION)
        for old in folder.glob("[0-9a-f]" * 16 + ".safetensors"):  # it may hold others' files
            if old.name != tensors.name:
                old.unlink()


def _arrays(state: AlignerState) -> dict[str, Any]:
    if not state.hmm:
        return state.models[0].arrays()
    return {
        f"{number}.{name}": array
        for number, model in enumerate(state.models)
        for name, array in model.arrays().items()
    }


def _describe(state: AlignerState) -> dict[str, Any]:
    described = [
        {
            "tension": model.tension[: model.directions],
            "length_ratio": model.length_ratio[: model.directions],
            "null_totals": model.null_totals[: model.directions],
            "history": [
                [
                    {name: getattr(measures, name) for name in _MEASURES}
                    for measures in model.history(direction)
                ]
                for direction in range(model.directions)
            ],
        }
        for model in state.models
    ]
    if not state.hmm:
        return described[0]
    return {"stems": list(map(str, state.hmm.stems)), "p0": state.hmm.p0, "models": described}


def load_state(directory: str | Path) -> AlignerState:
    """Read what `save_state` wrote; one that is being replaced is the old or the new.

    Raises `InputError` for whatever is missing, wrong or changed: all is checked before it is used.
    """
    path = Path(directory) / _DESCRIPTION
    while True:
        description = _read_description(path)
        try:
            return _load(path.parent, _Reading(description))
        except FileNotFoundError as error:
            if _read_description(path) == description:  # no other process has replaced it
                raise InputError(f"{error.filename or directory}: {error.strerror}") from error
        except OSError as error:
            raise InputError(f"{error.filename or directory}: {error.strerror or error}") from error
        except (ValueError, SafetensorError) as error:
            raise InputError(f"{path}: not a usable aligner: {error}") from error


def _read_description(path: Path) -> dict[str, Any]:
    """The record; raises `InputError`, and says so where an older version wrote another one."""
    try:
        return read_record(path)
    except InputError:
        older = _version_without_digest(path)
        if older is None:
            raise
    raise InputError(
        f"{path}: of version {older} of its format, not {VERSION}: train and save the aligner again"
    )


def _version_without_digest(path: Path) -> int | None:
    try:
        old = json.loads(path.read_bytes())
        return int(old["version"]) if old["format"] == FORMAT and "sha256" not in old else None
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None


class _Reading:
    """A JSON object, whose members are checked as they are taken; raises `ValueError`."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise ValueError("an object was expected")
        self._members = value

    def take(self, name: str, kind: type | tuple[type, ...]) -> Any:
        value = self._members.get(name)
        # bool is an int to Python, but not to us
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name!r} is missing or of another kind")
        return value

    def number(self, name: str) -> float:
        value = self.take(name, (int, float))
        if not abs(value) <= sys.float_info.max:
            raise ValueError(f"{name!r} is not finite")
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        values = self.take(name, list)
        if len(values) != count:
            raise ValueError(f"{name!r} has {len(values)} entries, not {count}")
        return [_Reading({name: value}).number(name) for value in values]

    def within(self, name: str) -> "_Reading":
        return _Reading(self.take(name, dict))


def _load(folder: Path, description: _Reading) -> AlignerState:
    if (description.take("format", str), description.take("version", int)) != (FORMAT, VERSION):
        raise ValueError(f"not version {VERSION} of the format {FORMAT!r}")
    kind, given = description.take("model", str), description.take("settings", dict)
    if kind not in DEFAULTS or given.keys() != DEFAULTS[kind].keys() or None in given.values():
        raise ValueError("'settings' are not those of a model that is known")
    settings = checked_settings(kind, given)
    heuristic = checked_heuristic(kind, description.take("heuristic", str))
    max_length = checked("max_length", description.take("max_length", int))
    arrays = _read_tensors(folder, description.within("tensors"))
    model = hmm = None
    if kind == "hmm":
        hmm = _load_hmm(settings, description, arrays)
    else:
        directions = 1 if heuristic in DIRECTIONS else 2
        chosen, measured = _native.Settings(**settings), _measured(description, directions)
        model = _native.load_model(arrays, chosen, directions, *measured)
    return AlignerState(kind, heuristic, max_length, settings, model, hmm)


def _read_tensors(folder: Path, tensors: _Reading) -> dict[str, Any]:
    name = tensors.take("file", str)
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of a file beside it")
    if file_digest(folder / name) != tensors.take("sha256", str):
        raise ValueError(f"{name} has been changed or damaged (its SHA-256 differs)")
    arrays: dict[str, Any] = load_file(folder / name)
    return arrays


def _load_hmm(settings: Mapping[str, Any], description: _Reading, arrays: dict[str, Any]) -> Hmm:
    stems = description.take("stems", list)
    if not all(isinstance(stem, str) for stem in stems):
        raise ValueError("'stems' has one that is no string")
    p0 = description.number("p0")
    if not 0 <= p0 < 1:
        raise ValueError("'p0' is no probability")
    hmm = Hmm(settings, parse_stems(stems), p0)
    models = description.take("models", list)
    if len(models) != len(stems):
        raise ValueError("'models' has another number of entries than 'stems'")
    for number, model in enumerate(models):
        prefix = f"{number}."
        own = {
            name.removeprefix(prefix): array
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        measured = _measured(_Reading(model), 2)
        hmm.models.append(_native.load_hmm(own, hmm.native_settings(), *measured))
    return hmm


def _measured(description: _Reading, directions: int) -> tuple[Any, Any, Any, Any]:
    """Tension, length ratio and counts of NULL by direction, and what each iteration measured."""
    history = [
        [_Reading(measures) for measures in iterations]
        for iterations in description.take("history", list)
        if isinstance(iterations, list)
    ]
    return (
        _two(description.numbers("tension", directions)),
        _two(description.numbers("length_ratio", directions)),
        _two(description.numbers("null_totals", directions)),
        [
            [_native.Iteration(*(measures.number(name) for name in _MEASURES)) for measures in row]
            for row in history
        ],
    )


def _two(values: list[float]) -> list[float]:
    return [*values, 0.0][:2]
