"""The directory of a run: made whole, opened again, and kept to what it was begun with."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from weam_ext.common import checkpoint_state
from weam_ext.common.errors import InputError, say
from weam_ext.common.files import LOCK, content_digest, file_digest, remove_parts, write_whole
from weam_ext.common.settings import identity
from weam_ext.data.shards import data_digest, read_description
from weam_ext.prepare.pipeline import check_sources, paths_of
from weam_ext.prepare.settings import Source
from weam_ext.text.bitext import BitextSource, MonolingualSource
from weam_ext.text.tokenizer import fingerprint, load_tokenizer
from weam_ext.train import checkpoint
from weam_ext.train.settings import CONTENT, TrainSettings, text_settings

RECORD, PREPARED, BUILTIN = "run.yaml", "prepared", "builtin"


def run_directory(settings: TrainSettings) -> Path:
    """Where a run lies: as given, or by default a name that its settings decide."""
    mark = hashlib.sha256(json.dumps(identity(settings)).encode()).hexdigest()[:8]
    default = Path("weam-out") / f"{settings.objective}-{settings.links}-{mark}"
    return settings.output or default


def open_run(settings: TrainSettings) -> tuple[Path, Path | None]:
    """The run's directory, with its settings in run.yaml, and the checkpoint to go on from.

    A checkpoint is gone on from with the settings that led to it alone. As long as there is none,
    others may be given: what was made for those that changed is made anew. For the one process that
    owns the directory.
    """
    run_dir, record = run_directory(settings), identity(settings)
    if settings.resume == "never" and checkpoint.checkpoints(run_dir):
        raise InputError(f"{run_dir}: holds a run already; give another --output")
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / RECORD).exists() and not _is_empty(run_dir):
        raise InputError(f"{run_dir}: not empty, and no run; give another --output")
    content = contents(settings)
    remove_parts(run_dir)
    last = _last_whole(run_dir)
    if last:
        state = checkpoint_state.read_state(last)
        _check_same(run_dir, state["settings"] | {CONTENT: state[CONTENT]}, record, content)
        content = state[CONTENT]
    else:
        if not settings.builtin:
            check_sources(settings.sources())
        _forget_changed(run_dir, record, content)
    write_run(run_dir, record, content)
    checkpoint.retain(run_dir, settings.keep)
    return run_dir, last


def _is_empty(directory: Path) -> bool:
    """But for what a run that is beginning, or was killed when it began, has there."""
    return all(path.name == LOCK or path.match(".*.part") for path in directory.iterdir())


def write_run(run_dir: Path, settings: dict[str, Any], content: dict[str, str]) -> None:
    text = yaml.safe_dump(settings | {CONTENT: content})
    write_whole(run_dir / RECORD, text.encode())


def read_run(run_dir: Path) -> dict[str, Any]:
    """What run.yaml says; nothing where it cannot be read."""
    try:
        record = yaml.safe_load((run_dir / RECORD).read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return record if isinstance(record, dict) else {}


def contents(settings: TrainSettings) -> dict[str, str]:
    """What the files that settings name hold, for each of those settings whose files are there.

    SHA-256, but of a preparation its digest and of a tokenizer its fingerprint: whatever the files
    are called. Names of the hub and pipes have none.
    """
    texts = settings.sources()
    found = {
        name: _texts_digest([text for text in texts if isinstance(text, kind)])
        for name, kind in (("bitext", BitextSource), ("monolingual", MonolingualSource))
    }
    if settings.prepared:
        found["prepared"] = data_digest(read_description(settings.prepared))
    tokenizer = settings.tokenizer or settings.model
    if tokenizer and Path(tokenizer).exists():
        found["tokenizer"] = fingerprint(load_tokenizer(tokenizer))
    for name, model in (("model", settings.model), ("aligner_encoder", settings.aligner_encoder)):
        if model:
            folder = Path(model)
            weights = sorted(folder.glob("model*.safetensors"))
            found[name] = _files_digest([folder / "config.json", *weights])
    if settings.model_config:
        found["model_config"] = _files_digest([Path(settings.model_config)])
    return {name: digest for name, digest in found.items() if digest}


def _texts_digest(texts: Sequence[Source]) -> str | None:
    """Of the names and the files of texts."""
    files = {text.name: _files_digest(map(Path, paths_of(text))) for text in texts}
    return content_digest({"texts": list(files.items())}) if all(files.values()) and files else None


def _files_digest(paths: Iterable[Path]) -> str | None:
    """Of files whatever they are called, in their order; None where one is not there."""
    paths = list(paths)
    if not paths or not all(path.is_file() for path in paths):
        return None
    return content_digest({"files": [file_digest(path) for path in paths]})


def _changed(
    record: dict[str, Any], settings: dict[str, Any], content: dict[str, str]
) -> list[str]:
    """The settings that are not those of a run's record; of files, by what is in them.

    A run that began before there was a setting has its default; without a record, all differ.
    """
    known = record.get(CONTENT) or {}
    record = identity(TrainSettings()) | record if record else {}
    return [
        name
        for name, value in settings.items()
        if (known.get(name) != content[name] if name in content else record.get(name) != value)
    ]


def _check_same(
    run_dir: Path, record: dict[str, Any], settings: dict[str, Any], content: dict[str, str]
) -> None:
    for name in _changed(record, settings, content):
        other = "with other content"
        if record.get(name) != settings[name]:
            other = f"not {settings[name]}"
        raise InputError(
            f"{run_dir}: holds a run with {name} {record.get(name)}, {other}; give another --output"
        )


def _forget_changed(run_dir: Path, settings: dict[str, Any], content: dict[str, str]) -> None:
    """Remove what a start with other settings has left, so that it is made anew."""
    changed = set(_changed(read_run(run_dir), settings, content))
    made = [checkpoint.TOKENIZER, checkpoint.INITIAL] if changed else []
    if changed & {*text_settings(), "prepared", "builtin_pairs"}:
        made += [PREPARED, BUILTIN]
    for name in made:
        if (run_dir / name).exists():
            (run_dir / name).rename(run_dir / f".{name}.part")  # never half of it under its name
    remove_parts(run_dir)


def _last_whole(run_dir: Path) -> Path | None:
    """The last checkpoint that is whole; of those before it only the states are read."""
    last = None
    for candidate in reversed(checkpoint.checkpoints(run_dir)):
        try:
            if last:
                checkpoint_state.read_state(candidate)
            else:
                checkpoint.load_state(candidate)
                last = candidate
        except checkpoint_state.OtherFormatError:
            raise
        except InputError as error:
            # Under its name, it would be in the way of the one that this step is to write again.
            aside = candidate.with_name(f"torn-{candidate.name}")
            shutil.rmtree(aside, ignore_errors=True)
            candidate.rename(aside)
            say(f"passed over: {error}; now called {aside.name}")
    return last
