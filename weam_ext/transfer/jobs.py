"""The jobs of a grid: what names each cell, and the function that measures it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weam_ext.common.errors import InputError, describe, say
from weam_ext.common.files import content_digest
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.finetune import FineTuning, Plan, Setting
from weam_ext.transfer.frozen import alignment, lareqa, lexicon, probe, retrieval
from weam_ext.transfer.grid import Job, Made
from weam_ext.transfer.models import Model, encoder_of, facts_of
from weam_ext.transfer.noise import Noise
from weam_ext.transfer.results import Cell
from weam_ext.transfer.settings import PROBES, TransferSettings
from weam_ext.transfer.tasks import TASKS, Examples, assign, read_task


def jobs_of(settings: TransferSettings, models: Sequence[Model]) -> Iterator[Job]:
    """Every cell of the grid. A task that cannot be read makes its cells fail, not the others."""
    lexica = settings.lexica()
    noises = settings.noises(lexica)
    augmentation = [Noise("typos", 0.1), Noise("case", 0.1)]
    if lexica:
        augmentation += [Noise("synonyms", 0.2, lexica), Noise("code-switch", 0.2, lexica)]
    for name in settings.chosen_tasks:
        if name in TASKS:
            yield from _fine_tuned(name, settings, models, noises, tuple(augmentation))
        else:
            yield from _frozen(name, settings, models)


def _fine_tuned(
    name: str,
    settings: TransferSettings,
    models: Sequence[Model],
    noises: tuple[Noise, ...],
    augmentation: tuple[Noise, ...],
) -> Iterator[Job]:
    task = TASKS[name]
    examples, fault = _attempt(lambda: _examples(name, settings))
    recipe, kinds = settings.recipe(task.recipe), settings.setting_list()
    reads = {
        str(setting): list(_readings(setting, examples, settings.source))
        if examples
        else [("", None, fault)]
        for setting in kinds
    }
    for model in models:
        for setting in kinds:
            for target, own, digest in reads[str(setting)]:
                for way in settings.fine_tuning:
                    for seed in range(settings.seeds):
                        plan = Plan(
                            setting, recipe, settings.source, seed, way, settings.radius, noises,
                            augmentation, settings.precision, settings.device,
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
        unlabelled = examples.unlabelled if setting.name == "zero-shot" else {}
        own = replace(examples, translated=translated, shots=shots, unlabelled=unlabelled)
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
                unlabelled={},
            )
            yield target, own, own.sha256


def _identity(plan: Plan, examples: Examples | None, target: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "learning_rate": plan.recipe.learning_rate,
        "epochs": plan.recipe.epochs,
        "max_length": plan.recipe.max_length,
        "batch_size": plan.recipe.batch_size,
        "warmup": plan.recipe.warmup,
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
    if plan.by_length:
        found["batches"] = "by length"
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


def _examples(name: str, settings: TransferSettings) -> Examples:
    task = TASKS[name]
    if settings.hub:
        from weam_ext.transfer.hub import read_hub

        loaded = read_hub(task, settings.languages, settings.source)
    else:
        loaded = read_task(task, _data(settings), settings.languages, settings.source)
    languages = settings.languages
    if languages is not None:
        # Of several tasks each has its own languages; none at all is a fault.
        there = {code for part in loaded for code in part.language.split("-")}
        if absent := sorted(set(languages) - there):
            say(f"{name}: has no {', '.join(absent)}")
        if not set(languages) & there:
            raise InputError(f"{name}: has none of {', '.join(languages)}")
        languages = tuple(code for code in languages if code in there)
    return assign(
        task, loaded, languages, settings.source, settings.limits(), settings.train_on_dev
    )


def _data(settings: TransferSettings) -> Path:
    assert settings.data is not None  # the settings see to it
    return settings.data


def _frozen(name: str, settings: TransferSettings, models: Sequence[Model]) -> Iterator[Job]:
    length = settings.max_length or 128
    batch = settings.batch_size or 64
    made, fault = _attempt(lambda: _frozen_data(name, settings))
    digest, evaluate = made or (fault, None)
    for model in models:
        cell = Cell(
            model=model.name,
            model_sha256=model.sha256,
            task=name,
            data_sha256=digest,
            setting="frozen",
            seed=0,
            options={"max_length": length, "precision": settings.precision},
        )

        def make(_: Path, model: Model = model) -> Made:
            if model.fault or evaluate is None:
                raise InputError(model.fault or fault)
            encoder = encoder_of(model.directory, length, settings.device, settings.precision)
            facts = {"layers": encoder.layers} | facts_of(model.directory)
            return list(evaluate(encoder, batch)), facts

        yield Job(cell, str(model.directory.resolve()), make)


Evaluate = Callable[[Encoder, int], Iterator[Any]]


def _frozen_data(name: str, settings: TransferSettings) -> tuple[str, Evaluate]:
    """The digest of a frozen task's data, and what evaluates an encoder on them."""
    languages = settings.languages
    if name in PROBES:
        examples = replace(
            _examples(name.removesuffix("-probe"), settings), shots={}, translated={}, unlabelled={}
        )
        family = TASKS[name.removesuffix("-probe")].family()
        return examples.sha256, lambda e, batch: probe.evaluate(e, family, examples, 0, batch)
    if name == "alignment":
        sets = alignment.read_gold_sets(_data(settings), settings.gold or ())
        if unmeant := [k for k in sets if not _meant(k, languages)]:
            say(f"{name}: without {', '.join(unmeant)}, as --languages does not name theirs")
        sets = {k: v[: settings.test_limit] for k, v in sets.items() if k not in unmeant}
        _check_some(name, sets, languages)
        digest = content_digest({k: [pair.content() for pair in v] for k, v in sets.items()})
        return digest, lambda e, batch: alignment.evaluate(e, sets, batch)
    if name == "lexicon":
        entries = lexicon.read_dictionaries(_data(settings))
        entries = {k: v for k, v in entries.items() if languages is None or k in languages}
        _check_some(name, entries, languages)
        ordered = {k: sorted((w, sorted(o)) for w, o in v.items()) for k, v in entries.items()}
        return content_digest(ordered), lambda e, batch: lexicon.evaluate(e, entries, batch)
    if name == "lareqa":
        pool, most = lareqa.read_pool(_data(settings)), settings.test_limit
        asked = [code for code in pool if languages is None or code in languages]
        _check_some(name, asked, languages)
        digest = content_digest({"pool": lareqa.pool_digest(pool), "asked": asked, "most": most})
        return digest, lambda e, batch: lareqa.evaluate(e, pool, asked, most, batch)
    if name == "bitext":
        pairs = {source.name: retrieval.read_pairs(source) for source in settings.bitexts()}
    else:
        pairs = retrieval.published_pairs(name, _data(settings), settings.source)
        pairs = {
            k: v.first(settings.test_limit)
            for k, v in pairs.items()
            if languages is None or k.rpartition(":")[2] in languages
        }
    _check_some(name, pairs, languages)
    return (
        content_digest({k: v.sha256 for k, v in pairs.items()}),
        lambda e, batch: retrieval.evaluate(e, pairs, batch),
    )


def _check_some(name: str, found: Collection[str], languages: Sequence[str] | None) -> None:
    if not found:
        raise InputError(f"{name}: has none of {', '.join(languages or ())}")


def _meant(name: str, languages: Sequence[str] | None) -> bool:
    return languages is None or set(name.rpartition(":")[2].split("-")) - {"en"} <= set(languages)


def _attempt(read: Callable[[], Any]) -> tuple[Any, str]:
    """What reading gives, or nothing and why."""
    try:
        return read(), ""
    except (InputError, OSError) as error:
        return None, describe(error)
