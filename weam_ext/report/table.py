"""Predictions grouped: what was measured alike, and what each model scored there."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weam_ext.report.baseline import baselines
from weam_ext.report.statistics import (
    BETTER,
    CHECKPOINTS,
    NOT_LEARNT,
    ONE_SEED,
    UNDECIDED,
    UNTESTABLE,
    WORSE,
    Estimate,
    Scores,
    estimate,
    linearised_correlation,
    linearised_ratio,
    verdict,
)
from weam_ext.transfer.languages import syntactic_distance
from weam_ext.transfer.results import CORRELATIONS, UNLABELLED, Models, Row, current

TITLES = {
    "xnli": "XNLI", "gxnli": "Generalised XNLI", "pawsx": "PAWS-X",
    "gpawsx": "Generalised PAWS-X", "sib200": "SIB-200 topics",
    "stsb": "STS-B", "xcopa": "XCOPA", "belebele": "Belebele",
    "udpos": "UD parts of speech", "masakhapos": "MasakhaPOS", "panx": "PAN-X names",
    "masakhaner": "MasakhaNER",
    "mlqa": "MLQA", "mlqa-gxlt": "MLQA G-XLT", "xquad": "XQuAD", "tydiqa": "TyDiQA-GoldP",
    "udpos-probe": "UD parts of speech, frozen", "panx-probe": "PAN-X names, frozen",
    "sib200-probe": "SIB-200 topics, frozen", "tatoeba": "Tatoeba retrieval",
    "ntrex": "NTREX retrieval", "flores": "FLORES retrieval", "multi30k": "Multi30k retrieval",
    "lareqa": "LAReQA, one pool", "bitext": "Retrieval in given bitext",
    "alignment": "Word alignment", "lexicon": "Lexicon induction",
}  # fmt: skip


class Condition(NamedTuple):
    """What results must share to be compared, but for the test set and the layer."""

    task: str
    setting: str
    fine_tuning: str
    selection: str
    noise: str
    vectors: str
    method: str
    options: str
    """Of the numbers of the optimisation those in which the task's results differ."""

    @property
    def title(self) -> str:
        return TITLES.get(self.task, self.task)

    def __str__(self) -> str:
        parts = [self.setting, self.vectors, self.method, self.noise]
        parts += [f"{self.selection} selection"] * bool(self.selection)
        parts += [f"{self.fine_tuning} fine-tuning"] * (self.fine_tuning not in ("", "plain"))
        parts.append(self.options)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, order=True)
class Set:
    """A test set: its language and what identifies its examples."""

    language: str
    digest: str

    @classmethod
    def of(cls, row: Row) -> "Set":
        examples = repr((row.keys, row.gold, row.split, row.notes.get("sha256", "")))
        return cls(row.language, hashlib.sha256(examples.encode()).hexdigest())

    @property
    def languages(self) -> set[str]:
        """Those other than English; before a colon stands the name of one of their sets."""
        return set(self.language.rpartition(":")[2].split("-")) - {"en"}

    @property
    def is_english(self) -> bool:
        """Whether no other language is in it."""
        return not self.languages

    @property
    def distance(self) -> float | None:
        """The largest syntactic distance from English in it; None where one is not known."""
        found = [syntactic_distance(code) for code in self.languages]
        return max((d for d in found if d is not None), default=None)


_NOT_COMPARED = ("languages", "target", "noises", "fine_tuning", "augmentation", "radius")


def _options(row: Row) -> dict[str, Any]:
    """The numbers of the optimisation, and the training examples by their digest."""
    training = row.facts.get("training_sha256")
    return row.cell.options | ({"training examples": training[:8]} if training else {})


def _differing(rows: Iterable[Row]) -> dict[str, list[str]]:
    """The options in which the results of each task and setting differ."""
    seen: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        known = seen.setdefault(f"{row.cell.task} {row.cell.setting}", {})
        for name, value in _options(row).items():
            if name not in _NOT_COMPARED:
                known.setdefault(name, set()).add(json.dumps(value))
    return {
        place: sorted(name for name, values in known.items() if len(values) > 1)
        for place, known in seen.items()
    }


def _condition(row: Row, names: Sequence[str]) -> Condition:
    options = _options(row)
    return Condition(
        row.cell.task,
        row.cell.setting,
        options.get("fine_tuning", ""),
        row.selection,
        row.noise,
        row.vectors,
        row.method,
        ", ".join(f"{name} {options[name]}" for name in names if name in options),
    )


Seed = tuple[str, int]
"""The encoder's digest and the seed of the fine-tuning: what identifies a repetition."""


@dataclass(frozen=True)
class Measured:
    """One model on one test set under one condition, at one layer (-1: none)."""

    metric: str
    keys: list[str]
    seeds: dict[Seed, Scores]
    """[examples] linearised scores of each repetition."""
    rows: list[Row]
    """The rows of the cells from which the scores come."""

    @cached_property
    def encoders(self) -> dict[str, list[Scores]]:
        """The repetitions of each encoder."""
        found: dict[str, list[Scores]] = {}
        for seed in sorted(self.seeds):
            found.setdefault(seed[0], []).append(self.seeds[seed])
        return found

    @property
    def units(self) -> str:
        """What the units are."""
        return "pre-training seeds" if len(self.encoders) > 1 else "fine-tuning seeds"

    @cached_property
    def scores(self) -> Scores:
        """[units, examples]: a unit is an encoder, or a seed where there is one encoder alone."""
        if len(self.encoders) > 1:
            return np.stack([np.mean(own, axis=0) for own in self.encoders.values()])
        return np.stack([self.seeds[seed] for seed in sorted(self.seeds)])

    @property
    def values(self) -> NDArray[np.float64]:
        """[units]"""
        found: NDArray[np.float64] = self.scores.mean(1)
        return found

    @property
    def value(self) -> float:
        return float(self.scores.mean())


def matched(measured: Sequence[Measured]) -> list[Measured]:
    """The same measurements, of the units that all of them have; none where they share no unit.

    Where they share several encoders these are the units, with all of their seeds.
    """
    encoders = set.intersection(*(set(m.encoders) for m in measured)) if measured else set()
    seeds = set.intersection(*(set(m.seeds) for m in measured)) if measured else set()
    if len(encoders) > 1:
        seeds = {seed for m in measured for seed in m.seeds if seed[0] in encoders}
    return [
        replace(m, seeds={seed: scores for seed, scores in m.seeds.items() if seed in seeds})
        for m in measured
        if seeds
    ]


class Pair(NamedTuple):
    """What two models scored on one test set."""

    test: Set
    ours: Measured
    theirs: Measured


def linearised(row: Row, metric: str) -> Scores:
    """[examples] values whose mean is the metric."""
    if metric in CORRELATIONS:
        gold, found = (np.array(side, np.float64) for side in (row.gold, row.predictions))
        return linearised_correlation(metric, gold, found)
    return linearised_ratio(*row.metrics[metric])


_METHODS = ("", "cosine", "argmax", "probe")


def _elaborate(condition: Condition) -> tuple[bool, ...]:
    """The less, the plainer."""
    return (
        condition.setting not in ("zero-shot", "frozen"), bool(condition.noise),
        condition.selection == "oracle", condition.fine_tuning not in ("", "plain"),
        condition.vectors == "centred", condition.method not in _METHODS,
    )  # fmt: skip


class Results:
    """All rows, by condition, test set, model and layer."""

    def __init__(self, rows: Iterable[Row], recorded: Models | None = None) -> None:
        """`recorded` tells the encoder that counts of each directory, and the order of models."""
        recorded = recorded or {}
        self.rows = [row for row in current(rows, recorded) if row.split != UNLABELLED]
        there = {row.cell.model for row in self.rows}
        self.models = [model for model in recorded if model in there]
        self.models += sorted(there.difference(recorded))
        self.metrics: dict[Condition, list[str]] = {}
        """The names of a condition's metrics, the one of the tables first."""
        # One row a seed, whatever else its cell tested.
        self._rows: dict[Condition, dict[Set, dict[str, dict[int, dict[Seed, Row]]]]] = {}
        differing = _differing(self.rows)
        for row in self.rows:
            condition = _condition(row, differing[f"{row.cell.task} {row.cell.setting}"])
            self.metrics.setdefault(condition, list(row.metrics))
            models = self._rows.setdefault(condition, {}).setdefault(Set.of(row), {})
            seeds = models.setdefault(row.cell.model, {}).setdefault(row.layer, {})
            seeds[row.cell.model_sha256, row.cell.seed] = row
        self._measured: dict[tuple[Condition, Set, str, int, str], Measured] = {}
        self._learnt: dict[tuple[Condition, str], bool] = {}

    @cached_property
    def conditions(self) -> list[Condition]:
        order = list(TITLES)
        return sorted(
            self._rows, key=lambda c: (order.index(c.task) if c.task in order else 99, c[1:])
        )

    def find(self, **wanted: str) -> list[Condition]:
        """The conditions with the given values."""
        return [
            c for c in self.conditions if all(getattr(c, name) == v for name, v in wanted.items())
        ]

    @cached_property
    def primary(self) -> dict[str, Condition]:
        """The condition that stands for each task: zero-shot, as plain as can be; of a frozen
        encoder the raw vectors, by the method that was published first."""
        found: dict[str, Condition] = {}
        for condition in sorted(self.conditions, key=_elaborate):
            found.setdefault(condition.task, condition)
        return {c.task: found[c.task] for c in self.conditions}

    @cached_property
    def plain(self) -> list[Condition]:
        """Those with undistorted text and the source's selection."""
        return [c for c in self.conditions if not c.noise and c.selection in ("", "english")]

    def stands_out(self, condition: Condition) -> bool:
        """Whether it is shown at once: a frozen encoder is read in a dozen ways."""
        return not condition.vectors or condition == self.primary[condition.task]

    def learnt(self, condition: Condition, model: str) -> bool:
        """Whether a model's scores are surely above those that need no knowledge (`baselines`).

        In the mean over the languages but English, and in every metric that has such a bar: its
        95 % interval lies above.
        """
        if (condition, model) not in self._learnt:
            self._learnt[condition, model] = all(
                self._above(condition, model, metric) for metric in self.metrics[condition]
            )
        return self._learnt[condition, model]

    def _above(self, condition: Condition, model: str, metric: str) -> bool:
        every = self.all_chosen(condition, model, metric)
        found = [m for test, m in every.items() if not test.is_english] or list(every.values())
        bars = [max(bar.values()) for m in found if (bar := baselines(m.rows[0], metric))]
        scores = average(found)
        return not bars or not len(scores) or estimate(scores - np.mean(bars)).low > 0

    def sets(self, condition: Condition) -> list[Set]:
        return sorted(self._rows[condition])

    def models_of(self, condition: Condition, test: Set | None = None) -> list[str]:
        """In the order of the command line."""
        sets = [test] if test else self.sets(condition)
        there = {model for s in sets for model in self._rows[condition][s]}
        return [model for model in self.models if model in there]

    def layers(self, condition: Condition, model: str) -> list[int]:
        found = {
            layer for models in self._rows[condition].values() for layer in models.get(model, ())
        }
        return sorted(found)

    def measured(
        self, condition: Condition, test: Set, model: str, layer: int = -1, metric: str = ""
    ) -> Measured | None:
        """What a model scored; None where it was not put to that test."""
        seeds = self._rows[condition].get(test, {}).get(model, {}).get(layer)
        if not seeds:
            return None
        rows = [seeds[seed] for seed in sorted(seeds)]
        metric = metric or next(iter(rows[0].metrics))
        place = (condition, test, model, layer, metric)
        if place not in self._measured:
            scores = {seed: linearised(row, metric) for seed, row in seeds.items()}
            self._measured[place] = Measured(metric, rows[0].keys, scores, rows)
        return self._measured[place]

    def best_layer(self, condition: Condition, test: Set, model: str) -> tuple[int, bool]:
        """The layer with the highest mean score on the *other* test sets, of equals the lowest.

        And whether there are others: no figure is chosen on what it reports unless it must be. A
        task without layers has layer -1.
        """
        layers = self.layers(condition, model)
        if layers == [-1]:
            return -1, True
        others = [s for s in self.sets(condition) if s.languages != test.languages]
        judges = [s for s in others if self.measured(condition, s, model, layers[0])] or [test]

        def mean(layer: int) -> float:
            found = [self.measured(condition, s, model, layer) for s in judges]
            values = [m.value for m in found if m]
            return float(np.mean(values)) if values else -1.0

        return max(layers, key=lambda layer: (mean(layer), -layer)), judges != [test]

    def chosen(
        self, condition: Condition, test: Set, model: str, metric: str = ""
    ) -> Measured | None:
        """What a model scored at its best layer; None where it was not put to that test."""
        if not self._rows[condition].get(test, {}).get(model):
            return None
        layer = self.best_layer(condition, test, model)[0]
        return self.measured(condition, test, model, layer, metric)

    def all_chosen(self, condition: Condition, model: str, metric: str = "") -> dict[Set, Measured]:
        """What a model scored at its best layers on each test set that it was put to."""
        found = {test: self.chosen(condition, test, model, metric) for test in self.sets(condition)}
        return {test: measured for test, measured in found.items() if measured}

    def pairs(self, ours: tuple[Condition, str], theirs: tuple[Condition, str]) -> list[Pair]:
        """What two models, each under a condition, scored on the test sets that both took.

        A set of one example is left out: nothing tells how far it would move.
        """
        found = []
        for test in self.sets(ours[0]):
            a, b = (self.chosen(where, test, model) for where, model in (ours, theirs))
            if a and b and len(a.keys) > 1:
                found.append(Pair(test, a, b))
        return found


def average(measured: Sequence[Measured], tasks: Sequence[str] | None = None) -> Scores:
    """[units, clusters] of the mean over test sets: examples of one key are a cluster.

    Units are those that all test sets have (`matched`), [0, 0] where there are none. `tasks` names
    the task of each: keys are told apart by it, and the mean is that over the tasks' means. Models
    that are compared give the same test sets in the same order.
    """
    shared = matched(measured)
    if not shared:
        return np.zeros((0, 0))
    tasks = tasks or [""] * len(shared)
    names = [f"{task}|{key}" for task, m in zip(tasks, shared, strict=True) for key in m.keys]
    clusters, index = np.unique(names, return_inverse=True)
    weights = [1 / len(set(tasks)) / tasks.count(task) for task in tasks]
    parts = []
    for unit in range(len(shared[0].scores)):
        own = [(weight, m.scores[unit]) for weight, m in zip(weights, shared, strict=True)]
        influence = [weight * (scores - scores.mean()) / len(scores) for weight, scores in own]
        summed = np.bincount(index, np.concatenate(influence)) * len(clusters)
        parts.append(summed + sum(weight * scores.mean() for weight, scores in own))
    return np.stack(parts)


def averages(pairs: Sequence[Pair], tasks: Sequence[str] | None = None) -> tuple[Scores, Scores]:
    """The `average` of either side of some pairs: each of the units that it has on all of them."""
    ours, theirs = sides(pairs)
    return average(ours, tasks), average(theirs, tasks)


def sides(pairs: Sequence[Pair]) -> tuple[list[Measured], list[Measured]]:
    """Either side of some pairs."""
    return [pair.ours for pair in pairs], [pair.theirs for pair in pairs]


def matched_pairs(pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs of one model under two conditions, of the units that both sides have throughout."""
    both = matched([side for pair in pairs for side in (pair.ours, pair.theirs)])
    return [Pair(p.test, *both[2 * k : 2 * k + 2]) for k, p in enumerate(pairs) if both]


def left_out(measured: Sequence[Measured]) -> int:
    """How many repetitions of some measurement are in no mean, as another has nothing like it."""
    every = {seed for m in measured for seed in m.seeds}
    return len(every) - len({seed for m in matched(measured) for seed in m.seeds})


@dataclass(frozen=True)
class Gain:
    """By how much one model exceeds another, on one test set or in the mean over several.

    The mean is over the languages other than English.
    """

    condition: Condition
    better: str
    worse: str
    language: str
    """"mean" of several."""
    estimate: Estimate
    sets: int
    varies: str
    layers: str
    learnt: bool
    """Whether either model learnt the task."""

    def verdict(self, p: float) -> str:
        """Better, worse or undecided; withheld where neither model learnt the task, and where
        seeds of fine-tuning would matter and there is one."""
        if not self.learnt:
            return f"{UNTESTABLE}: {NOT_LEARNT}"
        if self.condition.selection and "seeds" not in self.varies:
            return f"{UNTESTABLE}: {ONE_SEED}"
        found = verdict(self.estimate.value, p, (BETTER, WORSE))
        limited = found != UNDECIDED and "pre-training seeds" not in self.varies
        return found + CHECKPOINTS * limited


def model_pairs(results: Results, condition: Condition) -> list[tuple[str, str]]:
    """Every two models as (better, worse): the later one should be the better one."""
    models = results.models_of(condition)
    return [(ours, theirs) for k, theirs in enumerate(models) for ours in models[k + 1 :]]


def gains(results: Results, condition: Condition, ours: str, theirs: str) -> Iterator[Gain]:
    """Of `ours` over `theirs`: the mean over the languages but English, then each test set."""
    pairs = results.pairs((condition, ours), (condition, theirs))
    means = averages(abroad(pairs))
    whole = [("mean", abroad(pairs), means)] if all(len(side) for side in means) else []
    single = [(p.test.language, [p], (p.ours.scores, p.theirs.scores)) for p in pairs]
    learnt = any(results.learnt(condition, model) for model in (ours, theirs))
    for language, own, scores in [*whole, *single]:
        layers = _layers(results, condition, own[0].test, ours, theirs)
        found = estimate(*scores)
        yield Gain(condition, ours, theirs, language, found, len(own), varies(own), layers, learnt)


def abroad(pairs: Sequence[Pair]) -> list[Pair]:
    """Those of languages other than English."""
    return [pair for pair in pairs if not pair.test.is_english]


def varies(pairs: Sequence[Pair]) -> str:
    """What an interval covers."""
    shared = [matched(side)[0] for side in sides(pairs)]
    units = [side.units for side in shared if len(side.scores) > 1]
    return ", ".join(dict.fromkeys(["examples", *units]))


def _layers(results: Results, condition: Condition, test: Set, ours: str, theirs: str) -> str:
    layers = [results.best_layer(condition, test, model)[0] for model in (ours, theirs)]
    return "" if layers == [-1, -1] else f"{layers[0]} and {layers[1]}"
