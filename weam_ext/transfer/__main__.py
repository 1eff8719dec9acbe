"""Evaluate encoders on downstream tasks: `python -m weam_ext.transfer`.

    python -m weam_ext.transfer --data DATA --output scores --seeds 5 \
        --models mbert=mbert weam=runs/a/step-00001000,runs/b/step-00001000 \
        --tasks xnli mlqa udpos udpos-probe tatoeba alignment --languages en de fr sw

Several directories of one name are pre-training seeds of one model. Every model is fine-tuned on
each task's English examples and predicts all languages; a grid of models, tasks, settings and seeds
that goes on where it stopped, and that several processes (or torchrun) share. The predictions lie
in OUTPUT/cells; `python -m weam_ext.report OUTPUT` makes a page of them.
"""

import argparse
import hashlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers.utils import logging as transformers_logging

from weam_ext.checkpoint import STATE, check_unchanged, read_state
from weam_ext.corpus import parse_bitext, parse_columns
from weam_ext.errors import InputError, Parser, describe, run, say
from weam_ext.files import user_path
from weam_ext.transfer import alignment, lexicon, probe, retrieval
from weam_ext.transfer.encoder import Encoder, encoder_digest
from weam_ext.transfer.finetune import FineTuning, Plan, Setting, parse_setting
from weam_ext.transfer.grid import Job, Made, run_grid
from weam_ext.transfer.noise import Noise, parse_noises, read_lexicon
from weam_ext.transfer.results import Cell
from weam_ext.transfer.robust import WAYS
from weam_ext.transfer.tasks import TASKS, Examples, Limits, assign, read_task

PROBES = ("udpos-probe", "panx-probe", "sib200-probe")
RETRIEVAL = ("tatoeba", "ntrex", "flores", "multi30k")
FROZEN = (*PROBES, *RETRIEVAL, "bitext", "alignment", "lexicon")


# ----------------------------------------------------------------------------------- command line


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("weam_ext.transfer", (__doc__ or "").partition("\n\n")[0])
    what = parser.add_argument_group("what is evaluated")
    what.add_argument(
        "--models", nargs="+", action="extend", required=True, metavar="NAME=DIR[,DIR...]",
        help="Hugging Face encoders; several directories are pre-training seeds of one model",
    )  # fmt: skip
    what.add_argument(
        "--tasks", nargs="+", default=[], metavar="TASK", choices=(*TASKS, *FROZEN),
        help=f"fine-tuned: {', '.join(TASKS)}; frozen: {', '.join(FROZEN)} (bitext: what --bitext "
        "names)",
    )  # fmt: skip
    what.add_argument("--data", type=user_path, metavar="DIR", help="the data sets, as published")
    what.add_argument(
        "--hub", action="store_true",
        help="fine-tuned tasks by their names on the Hugging Face hub (needs the datasets library)",
    )  # fmt: skip
    what.add_argument(
        "--languages", nargs="+", metavar="CODE",
        help="to test on, as far as a task has them (default: all that it has)",
    )  # fmt: skip
    what.add_argument("--source", default="en", metavar="CODE", help="to train on (%(default)s)")
    what.add_argument(
        "--bitext", nargs="+", action="append", default=[], metavar="FILE",
        help="for retrieval: [NAME=]FILE [FILE]: one file of 'source ||| target' or tab-separated "
        "lines, or two line-aligned files; again for each language pair",
    )  # fmt: skip
    what.add_argument("--columns", metavar="S,T", help="of tab-separated lines (the first two)")
    what.add_argument(
        "--gold", nargs="+", default=[], metavar="SET",
        help="for alignment: of the folders wa-SET those to use (default: all)",
    )  # fmt: skip
    how = parser.add_argument_group("protocol")
    how.add_argument(
        "--settings", nargs="+", default=["zero-shot"], metavar="SETTING",
        help="zero-shot, translate-train (one model a language), translate-train-all, few-shot-K "
        "(%(default)s)",
    )  # fmt: skip
    how.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="of fine-tuning (%(default)s)"
    )
    how.add_argument(
        "--train-on-dev", action="store_true",
        help="where a task has no training set: train on a part of its development set",
    )  # fmt: skip
    for name, meaning in (("train", "train on"), ("select", "select on"), ("test", "test on")):
        how.add_argument(
            f"--{name}-limit", type=int, metavar="N", help=f"the most examples to {meaning}"
        )
    robust = parser.add_argument_group("robustness")
    robust.add_argument(
        "--noise", nargs="+", default=[], metavar="KIND=P[,P...]",
        help="predict distorted text too: typos, case, accents, code-switch, synonyms, at the "
        "share P of the words",
    )  # fmt: skip
    robust.add_argument(
        "--lexicon", nargs="+", default=[], metavar="CODE=FILE",
        help="what weam-align --lexicon wrote of English to CODE; for code-switch and synonyms",
    )  # fmt: skip
    robust.add_argument(
        "--fine-tuning", nargs="+", default=["plain"], choices=WAYS, metavar="WAY",
        help=f"rivals of each other: {', '.join(WAYS)} (%(default)s)",
    )  # fmt: skip
    robust.add_argument(
        "--radius", type=float, default=0.1, metavar="R",
        help="of a perturbation, relative to the embedding's length (%(default)s)",
    )  # fmt: skip
    numbers = parser.add_argument_group("optimisation (default: XTREME's for each task)")
    for name, kind, meaning in (
        ("learning-rate", float, "at its peak"),
        ("epochs", float, "passes over the training set"),
        ("max-length", int, "tokens of an input with its special tokens"),
        ("batch-size", int, "examples; of frozen tasks, sentences"),
    ):
        numbers.add_argument(f"--{name}", type=kind, metavar="N", help=meaning)
    numbers.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:N; auto takes a GPU (%(default)s)"
    )
    numbers.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto",
        help="auto: bf16 autocast on a GPU, else fp32 (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--output", required=True, type=user_path, metavar="DIR", help="what it holds is kept"
    )
    options = parser.parse_args(arguments)
    return _checked(options)


def _checked(options: argparse.Namespace) -> argparse.Namespace:
    if options.bitext and "bitext" not in options.tasks:
        options.tasks.append("bitext")
    if not options.tasks:
        raise InputError("nothing to do: give --tasks or --bitext")
    if "bitext" in options.tasks and not options.bitext:
        raise InputError("--tasks bitext needs --bitext")
    if options.data is None and set(options.tasks) - {"bitext"} and not options.hub:
        raise InputError("--data is needed: the directory with the data sets")
    if options.data is not None and not options.data.is_dir():
        raise InputError(f"--data {options.data}: no such directory")
    _check_installed(options.tasks)
    least = {"seeds": 1, "train_limit": 1, "select_limit": 1, "test_limit": 1, "batch_size": 1,
             "max_length": 8}  # fmt: skip
    for name, smallest in least.items():
        if (value := getattr(options, name)) is not None and value < smallest:
            raise InputError(f"--{name.replace('_', '-')} must be at least {smallest}")
    for name in ("learning_rate", "epochs", "radius"):
        if (value := getattr(options, name)) is not None and not 0 < value < float("inf"):
            raise InputError(f"--{name.replace('_', '-')} must be above 0")
    options.device = _one_device(options.device)
    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {options.device}: {str(error).splitlines()[0]}") from error
    if options.precision == "auto":
        options.precision = "bf16" if torch.device(options.device).type == "cuda" else "fp32"
    options.settings = [parse_setting(text) for text in options.settings]
    return options


def _check_installed(tasks: Sequence[str]) -> None:
    """Retrieval and alignment need nothing but the base; what else is missing is told at once."""
    needed = {"accelerate", "scipy"} if set(tasks) & set(TASKS) else set()
    if set(tasks) & {"udpos", "panx", *PROBES}:
        needed |= {"seqeval"}
    if set(tasks) & set(PROBES):
        needed |= {"sklearn"}
    for name in sorted(needed):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"needs {name}: pip install 'weam-ext[transfer]'")


def _one_device(wanted: str) -> str:
    """The device, and no other GPU in sight: the Trainer would spread a model over all it sees."""
    count = torch.cuda.device_count() if wanted.startswith(("auto", "cuda")) else 0
    if not count:
        return "cpu" if wanted == "auto" else wanted
    own = int(os.environ.get("LOCAL_RANK", "0")) % count
    if wanted.startswith("cuda:"):
        own = int(wanted[5:]) if wanted[5:].isdecimal() else count
        if own >= count:
            raise InputError(f"--device {wanted}: there are {count} GPUs, counted from 0")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[own]
    return "cuda"


def parse_models(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """The command line's `--models NAME=DIR[,DIR...] ...`."""
    models: dict[str, list[Path]] = {}
    for argument in arguments:
        name, _, directories = argument.partition("=")
        if not name or not all(directories.split(",")):
            raise InputError(f"--models {argument}: expected NAME=DIR[,DIR...]")
        if name in models:
            raise InputError(f"two models are called {name!r}: join their directories by commas")
        models[name] = [user_path(directory) for directory in directories.split(",")]
    return models


# ----------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class Model:
    """One directory of a model; `fault` says why it cannot be used."""

    name: str
    directory: Path
    sha256: str
    fault: str = ""


def identified(models: dict[str, list[Path]]) -> list[Model]:
    """What identifies every directory; `InputError` for a seed given twice."""
    found: list[Model] = []
    for name, directories in models.items():
        seeds: dict[str, Path] = {}
        for directory in directories:
            try:
                check_unchanged(directory)
                digest = encoder_digest(directory)
            except InputError as error:
                found.append(Model(name, directory, str(directory), describe(error)))
                continue
            if digest in seeds:
                raise InputError(
                    f"{directory}: the same encoder as {seeds[digest]}, not another seed of {name}"
                )
            seeds[digest] = directory
            found.append(Model(name, directory, digest))
    return found


def facts_of(directory: Path) -> dict[str, Any]:
    """What the report tells of a checkpoint: its run's settings, and how many numbers it holds."""
    numbers = 0
    for path in directory.glob("model*.safetensors"):
        with safe_open(path, "numpy") as tensors:
            names = tensors.keys()
            numbers += sum(math.prod(tensors.get_slice(k).get_shape()) for k in names)
    return {"training": training_settings(directory)} | ({"parameters": numbers} if numbers else {})


@lru_cache  # so that it is said once of a model
def training_settings(directory: Path) -> dict[str, Any]:
    """How a checkpoint of `weam_ext.train` came to be, as it says itself; nothing of others.

    The settings, what those came to that were left to be decided, and the step.
    """
    if not (directory / STATE).is_file():
        return {}
    try:
        state = read_state(directory)
    except InputError as error:
        say(f"{error}; how it was trained is not told")
        return {}
    return {**state["settings"], **state["resolved"], "step": state["step"]}


@lru_cache(maxsize=1)
def _encoder(directory: Path, max_length: int, device: str, precision: str) -> Encoder:
    """The last one: the frozen tasks of a model come one after another."""
    return Encoder(directory, max_length, device, precision)


# ------------------------------------------------------------------------------------------ cells


def jobs_of(options: argparse.Namespace) -> Iterator[Job]:
    """Every cell of the grid. A task that cannot be read makes its cells fail, not the others."""
    models = identified(parse_models(options.models))
    lexica = {}
    for argument in options.lexicon:
        code, equals, path = argument.partition("=")
        if not (code and equals and path):
            raise InputError(f"--lexicon {argument}: expected CODE=FILE")
        lexica[code] = read_lexicon(user_path(path))
    noises = tuple(parse_noises(options.noise, lexica, options.source))
    augmentation = [Noise("typos", 0.1), Noise("case", 0.1)]
    if lexica:
        augmentation += [Noise("synonyms", 0.2, lexica), Noise("code-switch", 0.2, lexica)]
    for name in dict.fromkeys(options.tasks):
        task_jobs = _fine_tuned if name in TASKS else _frozen
        yield from task_jobs(name, options, models, noises, tuple(augmentation))


def _fine_tuned(
    name: str,
    options: argparse.Namespace,
    models: Sequence[Model],
    noises: tuple[Noise, ...],
    augmentation: tuple[Noise, ...],
) -> Iterator[Job]:
    task = TASKS[name]
    examples, fault = _attempt(lambda: _examples(name, options))
    names = ("learning_rate", "epochs", "max_length", "batch_size")
    given = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    recipe = replace(task.recipe, **given)
    reads = {
        str(setting): list(_readings(setting, examples, options.source))
        if examples
        else [("", None, fault)]
        for setting in options.settings
    }
    for model in models:
        for setting in options.settings:
            for target, own, digest in reads[str(setting)]:
                for way in options.fine_tuning:
                    for seed in range(options.seeds):
                        plan = Plan(
                            setting, recipe, options.source, seed, way, options.radius, noises,
                            augmentation, options.precision, options.device,
                        )  # fmt: skip
                        cell = Cell(
                            model=model.name,
                            model_sha256=model.sha256,
                            task=name,
                            data_sha256=digest,
                            setting=str(setting),
                            seed=seed,
                            options=_identity(plan, own, target),
                        )
                        make = _fine_tuner(model, task.family, plan, own, fault)
                        yield Job(cell, str(model.directory.resolve()), make)


Reading = tuple[str, Examples | None, str]


def _readings(setting: Setting, examples: Examples, source: str) -> Iterator[Reading]:
    """What the cells of a setting read, with the digest of it; translate-train: a language each.

    What a setting does not read is not there, so that its cells stay the same whatever else is.
    """
    shots = examples.shots if setting.shots else {}
    if setting.name != "translate-train":
        translated = examples.translated if setting.name == "translate-train-all" else {}
        own = replace(examples, translated=translated, shots=shots)
        yield "", own, own.sha256
        return
    for target in sorted(examples.test):
        if target != source:  # whose translation is the training set itself
            own = replace(
                examples,
                select={k: v for k, v in examples.select.items() if k in (source, target)},
                test={target: examples.test[target]},
                translated={k: v for k, v in examples.translated.items() if k == target},
                shots={},
            )
            yield target, own, own.sha256


def _identity(plan: Plan, examples: Examples | None, target: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        **asdict(plan.recipe),
        "source": plan.source,
        "fine_tuning": plan.way,
        "noises": [str(noise) for noise in plan.noises],
        "precision": plan.precision,
        "languages": sorted(examples.test) if examples else [],
    }
    if plan.way in ("random", "adversarial"):
        found["radius"] = plan.radius
    if plan.way == "augment":
        found["augmentation"] = [str(noise) for noise in plan.augmentation]
    if target:
        found["target"] = target
    return found


def _fine_tuner(
    model: Model, family: Callable[[], Any], plan: Plan, examples: Examples | None, fault: str
) -> Callable[[Path], Made]:
    def make(work: Path) -> Made:
        if model.fault or examples is None:
            raise InputError(model.fault or fault)
        evaluations, facts = FineTuning(model.directory, family(), plan, work).evaluate(examples)
        return evaluations, facts | facts_of(model.directory)

    return make


def _examples(name: str, options: argparse.Namespace) -> Examples:
    task = TASKS[name]
    if options.hub:
        from weam_ext.transfer.hub import read_hub

        loaded = read_hub(task, options.languages, options.source)
    else:
        loaded = read_task(task, options.data, options.languages, options.source)
    limits = Limits(options.train_limit, options.select_limit, options.test_limit)
    languages = options.languages
    if languages is not None:
        # Of several tasks each has its own languages; none at all is a fault.
        there = {code for part in loaded for code in part.language.split("-")}
        languages = [code for code in languages if code in there]
        if absent := sorted(set(options.languages) - there):
            say(f"{name}: has no {', '.join(absent)}")
        if not languages:
            raise InputError(f"{name}: has none of {', '.join(options.languages)}")
    return assign(task, loaded, languages, options.source, limits, options.train_on_dev)


def _frozen(
    name: str,
    options: argparse.Namespace,
    models: Sequence[Model],
    noises: tuple[Noise, ...],
    augmentation: tuple[Noise, ...],
) -> Iterator[Job]:
    length = options.max_length or 128
    batch = options.batch_size or 64
    made, fault = _attempt(lambda: _frozen_data(name, options))
    for model in models:
        for seed in range(1):
            digest, evaluate = made or (fault, None)
            cell = Cell(
                model=model.name,
                model_sha256=model.sha256,
                task=name,
                data_sha256=digest,
                setting="frozen",
                seed=seed,
                options={"max_length": length, "precision": options.precision},
            )

            def make(
                _: Path, model: Model = model, evaluate: Any = evaluate, fault: str = fault
            ) -> Made:
                if model.fault or evaluate is None:
                    raise InputError(model.fault or fault)
                encoder = _encoder(model.directory, length, options.device, options.precision)
                facts = {"layers": encoder.layers} | facts_of(model.directory)
                return list(evaluate(encoder, batch)), facts

            yield Job(cell, str(model.directory.resolve()), make)


Evaluate = Callable[[Encoder, int], Iterator[Any]]


def _frozen_data(name: str, options: argparse.Namespace) -> tuple[str, Evaluate]:
    """The digest of a frozen task's data, and what evaluates an encoder on them."""
    languages = options.languages
    if name in PROBES:
        examples = replace(_examples(name.removesuffix("-probe"), options), shots={}, translated={})
        family = TASKS[name.removesuffix("-probe")].family()
        return examples.sha256, lambda e, batch: probe.evaluate(e, family, examples, 0, batch)
    if name == "alignment":
        sets = alignment.read_gold_sets(options.data, tuple(options.gold))
        sets = {k: v[: options.test_limit] for k, v in sets.items() if _meant(k, languages)}
        return _digest(sets), lambda e, batch: alignment.evaluate(e, sets, batch)
    if name == "lexicon":
        entries = lexicon.read_dictionaries(options.data)
        entries = {k: v for k, v in entries.items() if languages is None or k in languages}
        ordered = {k: sorted((w, sorted(o)) for w, o in v.items()) for k, v in entries.items()}
        return _digest(ordered), lambda e, batch: lexicon.evaluate(e, entries, batch)
    if name == "bitext":
        columns = parse_columns(options.columns)
        files = [parse_bitext(file, columns, options.test_limit) for file in options.bitext]
        names = [source.name for source in files]
        for one in names:
            if names.count(one) > 1:
                raise InputError(f"two bitexts are called {one!r}: write --bitext NAME=FILE")
        pairs = {source.name: retrieval.read_pairs(source) for source in files}
    else:
        pairs = retrieval.published_pairs(name, options.data, options.source)
        pairs = {k: v for k, v in pairs.items() if languages is None or k in languages}
        if options.test_limit:
            pairs = {k: replace(v, pairs=v.pairs[: options.test_limit]) for k, v in pairs.items()}
    if not pairs:
        raise InputError(f"{name}: has none of {', '.join(languages)}")
    return (
        _digest({k: v.sha256 for k, v in pairs.items()}),
        lambda e, batch: retrieval.evaluate(e, pairs, batch),
    )


def _meant(name: str, languages: Sequence[str] | None) -> bool:
    return languages is None or set(name.rpartition(":")[2].split("-")) - {"en"} <= set(languages)


def _digest(data: Any) -> str:
    return hashlib.sha256(repr(data).encode()).hexdigest()


def _attempt(read: Callable[[], Any]) -> tuple[Any, str]:
    """What reading gives, or nothing and why."""
    try:
        return read(), ""
    except (InputError, OSError) as error:
        return None, describe(error)


# ------------------------------------------------------------------------------------------- main


def main(arguments: Sequence[str] | None = None) -> None:
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what it reports of a loaded model is checked
    options = parse(arguments)
    rank, ranks = (int(os.environ.pop(name, default)) for name, default in
                   (("RANK", "0"), ("WORLD_SIZE", "1")))  # fmt: skip
    # Cells are shared out, not split: the Trainer must not see torchrun's process group.
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    jobs = list(jobs_of(options))
    tally = run_grid(jobs, options.output, rank, ranks)
    say(
        f"{len(jobs)} cells: {tally.made} made, {tally.there} there already, "
        f"{tally.elsewhere} held by others, {len(tally.failed or ())} failed"
    )
    print(options.output)
    if tally.failed:
        raise InputError(
            f"{len(tally.failed)} of {len(jobs)} cells failed; the first, "
            f"{tally.failed[0].cell.name}: {tally.failed[0].reason}"
        )


if __name__ == "__main__":
    run("weam_ext.transfer", main)
