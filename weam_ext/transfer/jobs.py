"""The jobs of a grid: what names each cell, and the function that measures it."""

import argparse
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from weam_ext.common.errors import InputError, describe, say
from weam_ext.common.files import user_path
from weam_ext.text.bitext import parse_bitext, parse_columns
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.finetune import FineTuning, Plan, Setting
from weam_ext.transfer.frozen import alignment, lexicon, probe, retrieval
from weam_ext.transfer.grid import Job, Made
from weam_ext.transfer.models import Model, encoder_of, facts_of, identified, parse_models
from weam_ext.transfer.noise import Noise, parse_noises, read_lexicon
from weam_ext.transfer.results import Cell
from weam_ext.transfer.tasks import TASKS, Examples, Limits, assign, read_task

# ------------------------------------------------------------------------------------------ cells

PROBES = ("udpos-probe", "panx-probe", "sib200-probe")
RETRIEVAL = ("tatoeba", "ntrex", "flores", "multi30k")
FROZEN = (*PROBES, *RETRIEVAL, "bitext", "alignment", "lexicon")


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
                encoder = encoder_of(model.directory, length, options.device, options.precision)
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
