"""Aligners on disk: a directory of `aligner.json` and the tensors that it names."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from weam_ext import _native
from weam_ext.align import DIRECTIONS, Aligner
from weam_ext.align_hmm import Hmm
from weam_ext.errors import InputError
from weam_ext.files import file_digest, rename_durably, sync, write_durably
from weam_ext.stems import parse_stems

FORMAT = "weam_ext aligner"
VERSIONS = {"fast-align": 1, "hmm": 4}
_DESCRIPTION = "aligner.json"
_MEASURES = ("log_likelihood", "perplexity", "posterior_p0", "posterior_feature", "tension")


def save_aligner(aligner: Aligner, directory: str | Path) -> None:
    """Write a trained aligner to a directory, which is made; one that is there is replaced.

    The tensors: `rows` uint64 [source words + 1], `columns` uint32 [cells] (target words, ascending
    in each row), `t` float32 [cells, directions] (probabilities times 2^96), and for each side the
    UTF-8 of its words, where each ends, t(word | NULL) and expected counts. An HMM also has the
    weights of its jumps, from -10 to 10 and of all longer ones, and how often its words have 0, 1,
    2 and more links, or nothing of that; the names of its models' tensors
    begin with "0.", "1." and so on. The description is written last, so that whenever this stops,
    the directory holds a whole aligner, old or new.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    models = aligner.hmm.models if aligner.hmm else [aligner.model]
    arrays = models[0].arrays()
    if aligner.hmm:
        arrays = {
            f"{number}.{name}": array
            for number, model in enumerate(models)
            for name, array in model.arrays().items()
        }
    part = folder / "tensors.part"
    save_file(arrays, part)
    sync(part)
    digest = file_digest(part)
    tensors = folder / f"{digest[:16]}.safetensors"
    rename_durably(part, tensors)
    description = {
        "format": FORMAT,
        "version": VERSIONS[aligner.kind],
        "heuristic": aligner.heuristic,
        "max_length": aligner.max_length,
        "settings": aligner.settings,
        **_describe(aligner, models),
        "tensors": {"file": tensors.name, "sha256": digest},
    }
    part = folder / "description.part"
    write_durably(part, (json.dumps(description, indent=1) + "\n").encode())
    rename_durably(part, folder / _DESCRIPTION)
    for old in folder.glob("[0-9a-f]" * 16 + ".safetensors"):  # the folder may hold others' files
        if old.name != tensors.name:
            old.unlink()


def _describe(aligner: Aligner, models: list[_native.Model]) -> dict[str, Any]:
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
        for model in models
    ]
    if not aligner.hmm:
        return described[0]
    if not models:
        raise RuntimeError("the aligner has not been trained: call fit first")
    stems = list(map(str, aligner.hmm.stems))
    return {"model": "hmm", "stems": stems, "p0": aligner.hmm.p0, "models": described}


def load_aligner(directory: str | Path, **options: Any) -> Aligner:
    """Read an aligner that `save_aligner` wrote.

    `options` are the arguments of `Aligner` that are no matter of the model: threads, memory,
    max_memory, temp_dir. Raises `InputError` for whatever is missing or wrong: all is checked
    before it is used.
    """
    Aligner(**options)  # a mistake of the caller's is none of the file's
    path = Path(directory) / _DESCRIPTION
    try:
        description = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    try:
        return _load(Path(directory), _Reading(description), options)
    except OSError as error:
        raise InputError(f"{error.filename or directory}: {error.strerror or error}") from error
    except (ValueError, SafetensorError) as error:
        raise InputError(f"{path}: not a usable aligner: {error}") from error


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

    def or_auto(self, name: str, take: Callable[[str], Any]) -> Any:
        return "auto" if self._members.get(name) == "auto" else take(name)

    def numbers(self, name: str, count: int) -> list[float]:
        values = self.take(name, list)
        if len(values) != count:
            raise ValueError(f"{name!r} has {len(values)} entries, not {count}")
        return [_Reading({name: value}).number(name) for value in values]

    def within(self, name: str) -> "_Reading":
        return _Reading(self.take(name, dict))


def _load(folder: Path, description: _Reading, options: dict[str, Any]) -> Aligner:
    version = description.take("version", int)
    if description.take("format", str) != FORMAT or version not in VERSIONS.values():
        known = " or ".join(map(str, VERSIONS.values()))
        raise ValueError(f"not version {known} of the format {FORMAT!r}")
    kind = next(kind for kind, number in VERSIONS.items() if number == version)
    aligner = Aligner(
        model=kind,
        heuristic=description.take("heuristic", str),
        max_length=description.take("max_length", int),
        **_settings(description.within("settings"), kind),
        **options,
    )
    tensors = description.within("tensors")
    name = tensors.take("file", str)
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of a file beside it")
    if file_digest(folder / name) != tensors.take("sha256", str):
        raise ValueError(f"{name} has been changed or damaged (its SHA-256 differs)")
    arrays = load_file(folder / name)
    if kind == "hmm":
        aligner.hmm = _load_hmm(aligner.settings, description, arrays)
    else:
        directions = 1 if aligner.heuristic in DIRECTIONS else 2
        settings = _native.Settings(**aligner.settings)
        measured = _measured(description, directions)
        aligner.model = _native.load_model(arrays, settings, directions, *measured)
    return aligner


def _load_hmm(settings: dict[str, Any], description: _Reading, arrays: dict[str, Any]) -> Hmm:
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


def _settings(settings: _Reading, kind: str) -> dict[str, Any]:
    if kind == "hmm":
        whole = partial(settings.take, kind=int)
        taken: dict[str, Any] = {"iterations": settings.or_auto("iterations", whole)}
        taken |= {name: settings.number(name) for name in ("alpha", "threshold")}
        taken |= {name: settings.or_auto(name, settings.number) for name in ("p0", "spelling")}
        switch = partial(settings.take, kind=bool)
        return taken | {
            "fertility": settings.or_auto("fertility", switch),
            "stems": settings.take("stems", str),
            "fold_case": settings.take("fold_case", bool),
        }
    taken = {"iterations": settings.take("iterations", int)}
    switches = ("favor_diagonal", "optimize_tension", "variational_bayes", "null_word")
    taken |= {name: settings.number(name) for name in ("p0", "tension", "alpha")}
    return taken | {name: settings.take(name, bool) for name in switches}


def _two(values: list[float]) -> list[float]:
    return [*values, 0.0][:2]
