"""What the report says, in order: claims, gains, tables, curves, maps, robustness, sources."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import stdev
from typing import Any

import numpy as np

from weam_ext.report import figures
from weam_ext.report.answer import answer
from weam_ext.report.baseline import baselines
from weam_ext.report.claims import Judge, roles_of
from weam_ext.report.page import Figures, Fold, Heading, Part, Table, Text
from weam_ext.report.statistics import (
    BETTER,
    WORSE,
    Estimate,
    Scores,
    estimate,
    holm,
    linearised_correlation,
    unpaired,
    verdict,
)
from weam_ext.report.table import (
    TITLES,
    Condition,
    Gain,
    Measured,
    Pair,
    Results,
    Set,
    abroad,
    average,
    averages,
    gains,
    left_out,
    matched,
    matched_pairs,
    model_pairs,
)
from weam_ext.transfer.results import CORRELATIONS, Failed, Row

METHOD = """Scores are in percent; that of word alignment is 1 - AER. Where there are several seeds,
the mean ± the standard deviation is shown. Intervals hold 95 %: they are Student's t over the
variance components of examples (paired, with parallel ones over languages as clusters) and seeds,
with Satterthwaite's degrees of freedom. Verdicts are corrected for their number by Holm's method
within each table: better or supported (p < .05), worse or not supported (p < .05), else undecided.
There is none where neither model is surely above chance and the most frequent label. An interval
covers what is named as varying and nothing else: with one pre-training seed it cannot tell
what another one would have done. A layer is chosen on the other languages of its task, never on
what it reports, unless there are none."""


_SMALL = 80_000_000  # parameters; the least of the multilingual encoders in use has 118 million


def compose(
    results: Results,
    failed: Sequence[Failed],
    roles: dict[str, str],
    bitext_languages: Sequence[str] | None,
) -> list[Part]:
    """The whole report."""
    found = roles_of(results.models, roles)
    return [
        *answer(results, found.get("base", results.models[0])),
        Text(_summary(results, failed)),
        Fold("How scores, intervals and verdicts are made", [Text(" ".join(METHOD.split()))]),
        *_claims(results, found),
        *_gains(results),
        *_tables(results),
        *_curves(results),
        *_maps(results),
        *_robustness(results, bitext_languages),
        *_selection(results),
        *_used(results, failed),
    ]


def _summary(results: Results, failed: Sequence[Failed]) -> str:
    tasks = {c.title for c in results.conditions}
    cells = {r.cell.identity for r in results.rows}
    text = f"Models: {', '.join(results.models)}. Tasks: {len(tasks)}. Cells: {len(cells)}. "
    text += f"Failed: {len(failed)}; the end says why." if failed else "None failed."
    largest = max((r.facts.get("parameters", 0) for r in results.rows), default=0)
    if 0 < largest < _SMALL:
        text += (
            f" The models are small, {largest / 1e6:,.1f} million parameters at most: what is "
            "measured here need not hold for those of base size."
        )
    return text


def _table(
    title: str, header: str, rows: Sequence[Sequence[str]], caption: str = "", level: int = 3
) -> list[Part]:
    """A table under its heading, or nothing where it has no rows; `header` is split at "|"."""
    return [Heading(title, level), Table(header.split("|"), rows, caption)] if rows else []


# ------------------------------------------------------------------------------------------ claims


def _claims(results: Results, roles: dict[str, str]) -> list[Part]:
    found = Judge(results, roles).claims()
    rows = [
        [str(c.number), c.text, c.figure or "–", c.interval or "–", c.verdict, c.reason]
        for c in found
    ]
    header = "|claim|measured|95 % interval|verdict|on what, or why not"
    return _table("Claims of the paper", header, rows, level=2)


# ------------------------------------------------------------------------------------------- gains


def _gains(results: Results) -> Iterator[Part]:
    found = [
        gain
        for condition in results.plain
        for pair in model_pairs(results, condition)
        for gain in gains(results, condition, *pair)
    ]
    yield Heading("Gains")
    means = [gain for gain in found if gain.language == "mean"]
    yield _gain_table([gain for gain in means if results.stands_out(gain.condition)])
    rest = _gain_table([gain for gain in means if not results.stands_out(gain.condition)])
    yield Fold("Gains by other ways to read a frozen encoder", [rest])
    for better, worse in dict.fromkeys((g.better, g.worse) for g in found):
        own = [
            g
            for g in found
            if (g.better, g.worse) == (better, worse) and results.stands_out(g.condition)
        ]
        drawn = [g for g in own if g.language == "mean"]
        labels = [f"{g.condition.title}: {g.condition}" for g in drawn]
        title = f"{better} less {worse}: means over test sets"
        yield Figures([figures.forest(drawn, labels, title)] if drawn else [], _FOREST)
        by_task = [
            figures.forest(each, [g.language for g in each], f"{c.title}: {c}", 5.2)
            for c in dict.fromkeys(g.condition for g in own)
            if len(each := [g for g in own if g.condition == c]) > 2
        ]
        yield Fold(f"{better} less {worse}, by language", [Figures(by_task, _FOREST)])


_FOREST = (
    "Green: better, red: worse, grey and hollow: the interval (not corrected) holds 0. Diamonds "
    "are means over test sets."
)


def _gain_table(means: Sequence[Gain]) -> Table:
    corrected = holm([gain.estimate.p for gain in means])
    rows = [
        [
            g.condition.title, str(g.condition), f"{g.better} against {g.worse}", str(g.sets),
            g.estimate.points, g.estimate.interval, f"{p:.3f}" if p >= 0.001 else "<\u00a00.001",
            g.verdict(p), f"{100 * g.estimate.examples:.2f}",
            f"{100 * g.estimate.seeds:.2f}" if "seeds" in g.varies else "–", g.varies,
            g.layers or "–",
        ]
        for g, p in zip(means, corrected, strict=True)
    ]  # fmt: skip
    header = (
        "task|condition|models|test sets|gain|95 % interval|p, Holm|verdict|examples|seeds|varies|"
        "layers"
    )
    caption = (
        "The first model is better or worse than the second, in the mean over the test sets but "
        "English, in points; beside the verdict the standard errors of examples and of seeds."
    )
    return Table(header.split("|"), rows, caption)


# ------------------------------------------------------------------------------------------ tables


def _tables(results: Results) -> Iterator[Part]:
    yield Heading("Scores")
    for title, conditions in _by_task(results.plain):
        yield Heading(title, 3)
        first, *more = results.metrics[conditions[0]]
        shown = [c for c in conditions if results.stands_out(c)]
        rest = [c for c in conditions if not results.stands_out(c)]
        yield _score_table(results, shown, first)
        tables = [_score_table(results, shown, metric) for metric in more]
        tables += [_score_table(results, rest, metric) for metric in (first, *more) if rest]
        yield Fold("Other metrics and other ways to read a frozen encoder", tables)
        yield from _noted(results, shown)
        if axes := _CROSSED.get(conditions[0].task):
            yield _matrices(results, conditions, axes)


# Figures that are no ratio of sums, by their names in a row's notes.
_NOTED = {
    "median_rank": "Median rank of the first right one: source to target / target to source",
    "own_language": "Questions whose first answer is in their own language, %",
}


def _noted(results: Results, conditions: Sequence[Condition]) -> Iterator[Table]:
    """Of each such figure the mean over seeds, at the layers of the scores."""
    columns = [
        (f"{model}: {_short_name(c)}", _by_language(results, c, model))
        for c in conditions
        for model in results.models_of(c)
    ]
    for name, caption in _NOTED.items():
        rows: dict[str, list[str]] = {}
        for k, (_, found) in enumerate(columns):
            for code, measured in found.items():
                values = [row.notes[name] for row in measured.rows if name in row.notes]
                means = [f"{np.mean(each):.1f}" for each in zip(*values, strict=True)]
                if means:
                    rows.setdefault(code, ["–"] * len(columns))[k] = " / ".join(means)
        if rows:
            shown = [[code, *texts] for code, texts in sorted(rows.items())]
            yield Table(["language", *(title for title, _ in columns)], shown, caption)


# What the two languages of a test set are.
_CROSSED = {
    "gxnli": ("hypothesis", "premise"), "gpawsx": ("second sentence", "first sentence"),
    "mlqa-gxlt": ("question", "text"),
}  # fmt: skip


def _matrices(results: Results, conditions: Sequence[Condition], axes: tuple[str, str]) -> Figures:
    svgs = []
    for condition in conditions:
        for model in results.models_of(condition):
            values = {}
            for language, found in _by_language(results, condition, model).items():
                first, _, second = language.partition("-")
                values[first, second] = 100 * found.value
            svgs.append(figures.matrix(values, f"{model}, {condition.setting}", *axes))
    return Figures(svgs, "Percent, by the languages of the two texts.")


def _by_language(
    results: Results, condition: Condition, model: str, metric: str = ""
) -> dict[str, Measured]:
    found = results.all_chosen(condition, model, metric)
    return {test.language: measured for test, measured in found.items()}


def _by_task(conditions: Sequence[Condition]) -> list[tuple[str, list[Condition]]]:
    tasks: dict[str, list[Condition]] = {}
    for condition in conditions:
        tasks.setdefault(condition.title, []).append(condition)
    return list(tasks.items())


def _score_table(results: Results, conditions: Sequence[Condition], metric: str) -> Table:
    """Languages by models, the conditions side by side."""
    columns = [
        (f"{model}: {_short_name(c)}", _by_language(results, c, model, metric))
        for c in conditions
        for model in results.models_of(c)
    ]
    languages = sorted({language for _, found in columns for language in found})
    bars = {
        language: baselines(measured.rows[0], metric)
        for _, found in columns
        for language, measured in found.items()
    }
    known = list(dict.fromkeys(name for bar in bars.values() for name in bar))
    rows = []
    for code in languages:
        highest = max(bars[code].values(), default=-1.0)
        scores = [_marked(found[code], highest) if code in found else "–" for _, found in columns]
        rows.append([code, *(f"{100 * bars[code][name]:.1f}" for name in known), *scores])
    if len(rows) > 1:
        means = [f"{100 * np.mean([bar[name] for bar in bars.values()]):.1f}" for name in known]
        scores = [score(average(list(found.values()))) for _, found in columns]
        rows.append(["mean", *means, *scores])
    counts = [len(measured.keys) for _, found in columns for measured in found.values()]
    told = " to ".join(f"{count:,}" for count in dict.fromkeys((min(counts), max(counts))))
    caption = f"{metric}, %; {told} examples a language{_chosen_layers(results, conditions)}"
    if any(_BELOW in text for row in rows for text in row):
        caption += f";{_BELOW}: not above {' and '.join(known)}"
    return Table(["language", *known, *(name for name, _ in columns)], rows, caption)


_BELOW = " ↓"


def _marked(measured: Measured, bar: float) -> str:
    return score(measured.scores) + _BELOW * (measured.value <= bar)


def _short_name(condition: Condition) -> str:
    """What tells it from the other conditions of its task."""
    way = condition.fine_tuning.replace("plain", "")
    own = (condition.vectors, condition.method)
    parts = own if condition.setting == "frozen" else (condition.setting, way)
    return ", ".join(filter(None, (*parts, condition.options)))


def _chosen_layers(results: Results, conditions: Sequence[Condition]) -> str:
    """Whether each language's layer was chosen without it."""
    chosen = [
        results.best_layer(c, test, model)
        for c in conditions
        if c.vectors
        for test in results.sets(c)
        for model in results.models_of(c, test)
    ]
    if not chosen:
        return ""
    alone = not all(others for _, others in chosen)
    where = "the same data where there is no other language" if alone else "the other languages"
    return f"; each at the layer that is best on {where}"


def score(scores: Scores) -> str:
    """A mean in percent, with the standard deviation over units if there are several."""
    if not len(scores):
        return "–"
    values = [100 * float(v) for v in scores.mean(1)]
    text = f"{np.mean(values):.1f}"
    return text + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


# ------------------------------------------------------------------------------------ curves, maps


def _curves(results: Results) -> Iterator[Part]:
    drawn = _by_task([c for c in results.plain if c.vectors])
    yield Heading("Layers")
    for title, conditions in drawn:
        curve = figures.layer_curves(results, conditions, title)
        yield Figures([curve], "Mean over the languages by layer; 0 is the embedding layer.")


def _maps(results: Results) -> list[Part]:
    found: list[Part] = []
    for condition in results.find(task="alignment", method="argmax", vectors="centred"):
        for test in results.sets(condition)[:4]:
            layer, maps = _maps_of(results, condition, test)
            lowest = min((min(map(min, m["cosines"])) for m in maps.values()), default=0.0)
            svgs = [figures.heat_map(m, model, lowest) for model, m in maps.items()]
            text = (
                f"{test.language}: cosines of centred word vectors of layer {layer}, the best one "
                "of the models' mean; squares are gold links."
            )
            found.append(Figures(svgs, text))
    return [Heading("Alignment of sentence pairs"), *found]


def _maps_of(
    results: Results, condition: Condition, test: Set
) -> tuple[int, dict[str, dict[str, Any]]]:
    """One layer for all models, and by model the first sentence pair's map there."""
    models = results.models_of(condition, test)
    shared = set.intersection(*(set(results.layers(condition, model)) for model in models))

    def measured(layer: int) -> dict[str, Measured]:
        found = {model: results.measured(condition, test, model, layer) for model in models}
        return {model: m for model, m in found.items() if m}

    layer = max(sorted(shared), key=lambda k: sum(m.value for m in measured(k).values()), default=0)
    maps = {model: m.rows[0].notes.get("maps", []) for model, m in measured(layer).items()}
    return layer, {model: found[0] for model, found in maps.items() if found}


# -------------------------------------------------------------------------------------- robustness


def _robustness(results: Results, bitext_languages: Sequence[str] | None) -> list[Part]:
    return [
        Heading("Robustness"),
        *_noise(results),
        *_lengths(results),
        *_with_bitext(results, bitext_languages),
        *_by_distance(results),
        *_rivals(results),
    ]


def _compared(
    results: Results,
    conditions: Iterable[Condition],
    other: Callable[[Condition], Condition | None],
) -> Iterator[tuple[Condition, str, list[Pair]]]:
    """What each model scored under each condition, and under the other one that belongs to it.

    Both sides are of the same units, so that their scores can be subtracted.
    """
    for condition in conditions:
        against = other(condition)
        if against in results.conditions:
            for model in results.models_of(condition):
                if pairs := matched_pairs(results.pairs((condition, model), (against, model))):
                    yield condition, model, pairs


def _noise(results: Results) -> list[Part]:
    noisy = [c for c in results.conditions if c.noise]
    rows = []
    for c, model, pairs in _compared(results, noisy, lambda c: c._replace(noise="")):
        ours, theirs = averages(pairs)
        drop = estimate(ours - theirs)
        rows.append([
            c.title, c.fine_tuning, c.noise, model, str(len(pairs)), score(ours), drop.points,
            drop.interval,
        ])  # fmt: skip
    header = "task|fine-tuning|noise|model|test sets|score|change|95 % interval"
    caption = "Against the same text undistorted, in points."
    return _table("Distorted text", header, rows, caption)


def _lengths(results: Results) -> list[Part]:
    """Each language's examples cut in three by their length."""
    rows = []
    for condition in results.plain:
        for model in results.models_of(condition) if not condition.vectors else ():
            sets = [
                found
                for found in results.all_chosen(condition, model).values()
                if len(found.keys) >= 9 and found.metric not in CORRELATIONS
            ]
            cut = [_thirds(found) for found in matched(sets)]
            if cut:
                thirds = [average(third) for third in zip(*cut, strict=True)]
                gap = unpaired(thirds[2], thirds[0])
                rows.append([
                    condition.title, condition.setting, model, *map(score, thirds), gap.points,
                    gap.interval,
                ])  # fmt: skip
    header = "task|setting|model|short|middle|long|long less short|95 % interval"
    caption = "Thirds of each language's examples by characters."
    return _table("Length of the input", header, rows, caption)


def _thirds(found: Measured) -> list[Measured]:
    parts = np.array_split(np.argsort(found.rows[0].lengths, kind="stable"), 3)
    return [
        replace(
            found,
            keys=[found.keys[k] for k in part],
            seeds={seed: scores[part] for seed, scores in found.seeds.items()},
        )
        for part in parts
    ]


def _bitext_codes(results: Results) -> set[str]:
    """Codes in the names of the bitexts of the models' runs."""
    found: set[str] = set()
    for row in results.rows:
        for text in row.facts.get("training", {}).get("bitext") or []:
            name = str(text[0] if isinstance(text, list) else text).rpartition("/")[2]
            found.update(*re.findall(r"\b([a-z]{2})-([a-z]{2})\b", name))
    return found


def _with_bitext(results: Results, given: Sequence[str] | None) -> list[Part]:
    codes = set(given) if given is not None else _bitext_codes(results)
    rows = []
    for condition, ours, theirs in _pairs_shown(results) if codes else ():
        groups: dict[bool, list[Pair]] = {True: [], False: []}
        for pair in abroad(results.pairs((condition, ours), (condition, theirs))):
            groups[bool(pair.test.languages & codes)].append(pair)
        models = f"{ours} against {theirs}"
        texts = [text for group in groups.values() for text in _group(group)]
        rows.append([condition.title, str(condition), models, *texts])
    title = "Languages with and without bitext in pre-training"
    header = "task|condition|models|with|gain|95 % interval|without|gain|95 % interval"
    return _table(title, header, rows, f"With bitext: {', '.join(sorted(codes))}.")


def _pairs_shown(results: Results) -> Iterator[tuple[Condition, str, str]]:
    """Every two models under each condition that stands out."""
    for condition in filter(results.stands_out, results.plain):
        for ours, theirs in model_pairs(results, condition):
            yield condition, ours, theirs


def _mean_gain(pairs: Sequence[Pair]) -> Estimate | None:
    sides = averages(pairs)
    return estimate(*sides) if all(len(side) for side in sides) else None


def _group(pairs: Sequence[Pair]) -> list[str]:
    found = _mean_gain(pairs)
    return [str(len(pairs)), *((found.points, found.interval) if found else ("–", "–"))]


def _by_distance(results: Results) -> list[Part]:
    """Gains of the nearer and of the farther half of the languages, as Huang et al. 2021 ask."""
    rows = []
    for condition, ours, theirs in _pairs_shown(results):
        placed = [
            (distance, pair)
            for pair in abroad(results.pairs((condition, ours), (condition, theirs)))
            if (distance := pair.test.distance) is not None
        ]
        placed.sort(key=lambda each: (each[0], each[1].test))
        if len(placed) < _FEWEST_LANGUAGES:
            continue
        half = len(placed) // 2
        near, far = ([pair for _, pair in part] for part in (placed[:-half], placed[-half:]))
        gains = [pair.ours.value - pair.theirs.value for _, pair in placed]
        rank = linearised_correlation(
            "spearman", np.array([d for d, _ in placed]), np.array(gains)
        ).mean()
        rows.append([
            condition.title, str(condition), f"{ours} against {theirs}", *_group(near),
            *_group(far), *_difference(_mean_gain(far), _mean_gain(near)), f"{rank + 0.0:+.2f}",
        ])  # fmt: skip
    header = (
        "task|condition|models|nearer|gain|95 % interval|farther|gain|95 % interval|"
        "farther less nearer|95 % interval|rank correlation"
    )
    caption = (
        "The languages cut in two by their syntactic distance from English: 1 - the cosine of the "
        "syntactic features of URIEL (Littell et al. 2017). Of two languages the farther one "
        "counts. The correlation is that of distances and gains over the languages."
    )
    return _table("Gain against the distance from English", header, rows, caption)


_FEWEST_LANGUAGES = 4


def _difference(ours: Estimate | None, theirs: Estimate | None) -> tuple[str, str]:
    """Taken as independent, which is rather too wide: what is parallel moves alike."""
    if not (ours and theirs):
        return "–", "–"
    error = float(np.hypot(ours.error, theirs.error))
    freedom = min(ours.freedom, theirs.freedom)
    found = Estimate.of(ours.value - theirs.value, error, freedom)
    return found.points, found.interval


def _rivals(results: Results) -> list[Part]:
    """Robust against plain fine-tuning of one model, on clean and distorted text."""
    robust = [
        c
        for c in results.conditions
        if c.fine_tuning not in ("", "plain") and c.selection != "oracle"
    ]

    def plain(c: Condition) -> Condition | None:
        same = results.find(
            fine_tuning="plain",
            task=c.task,
            setting=c.setting,
            selection=c.selection,
            noise=c.noise,
        )
        return same[0] if same else None

    found = [
        (c, model, pairs, estimate(*averages(pairs)))
        for c, model, pairs in _compared(results, robust, plain)
    ]
    rows = [
        [
            c.title, model, c.fine_tuning, c.noise or "–", str(len(pairs)), gain.points,
            gain.interval, verdict(gain.value, p, (BETTER, WORSE)),
        ]
        for (c, model, pairs, gain), p in zip(found, holm([f[3].p for f in found]), strict=True)
    ]  # fmt: skip
    header = "task|model|fine-tuning|noise|test sets|gain|95 % interval|verdict"
    return _table("Robust against plain fine-tuning", header, rows)


# ----------------------------------------------------------------------- selection, what was used


def _selection(results: Results) -> list[Part]:
    oracle = results.find(selection="oracle", noise="")
    rows = []
    for c, model, pairs in _compared(results, oracle, lambda c: c._replace(selection="english")):
        ours, theirs = averages(pairs)
        gain = estimate(ours - theirs)
        rows.append([
            c.title, c.setting, c.fine_tuning, model, score(theirs), score(ours), gain.points,
            gain.interval,
        ])  # fmt: skip
    title = "Selection on English and on the target language"
    header = "task|setting|fine-tuning|model|English|oracle|gain|95 % interval"
    caption = "The epoch chosen on English examples, or on those of the tested language."
    return _table(title, header, rows, caption, level=2)


def _used(results: Results, failed: Sequence[Failed]) -> list[Part]:
    models: dict[tuple[str, str], Row] = {}
    tasks: dict[str, list[Row]] = {}
    for row in results.rows:
        models.setdefault((row.cell.model, row.directory), row)
        tasks.setdefault(row.cell.task, []).append(row)
    header = "model|directory|SHA-256|parameters|training"
    rows = [[f.cell.task, f.cell.model, f.cell.setting, str(f.cell.seed), f.reason] for f in failed]
    return [
        *_table("What was used", header, [_model_used(row) for row in models.values()], level=2),
        Table(
            ["task", "cells", "trained on", "settings", "splits"],
            [_task_used(own) for own in tasks.values()],
        ),
        *_unmatched(results),
        *_table("Failed cells", "task|model|setting|seed|why", rows),
    ]


def _unmatched(results: Results) -> list[Part]:
    """Where test sets of one condition were not all taken by the same seeds."""
    rows = []
    for condition in results.conditions:
        for model in results.models_of(condition):
            found = results.all_chosen(condition, model)
            if out := left_out(list(found.values())):
                counts = [f"{test.language} {len(m.seeds)}" for test, m in found.items()]
                rows.append([condition.title, str(condition), model, str(out), ", ".join(counts)])
    header = "task|condition|model|left out|repetitions of each test set"
    caption = (
        "Not every test set was taken with the same encoders and seeds. A mean over test sets has "
        "what all of them have; each test set's own score has all of its own."
    )
    return _table("Seeds that means leave out", header, rows, caption)


def _model_used(row: Row) -> list[str]:
    training = row.facts.get("training", {})
    names = ("objective", "step", "steps", "batch_size", "lr", "mask_probability", "seed")
    told = ", ".join(f"{n} {training[n]}" for n in names if training.get(n) is not None) or "–"
    size = row.facts.get("parameters")
    shown = f"{size / 1e6:,.1f} M" if size else "–"
    return [row.cell.model, place(row.directory), row.cell.model_sha256[:12], shown, told]


def place(directory: str) -> str:
    """As much of a directory as tells one encoder from another: its last three parts."""
    return "/".join(directory.rsplit("/", 3)[-3:])


def _task_used(rows: Sequence[Row]) -> list[str]:
    cell, facts = rows[0].cell, rows[0].facts
    options = {k: v for k, v in cell.options.items() if not isinstance(v, list)}
    cut = facts.get("cut") or []
    more = f" and {len(cut) - 20} more" if len(cut) > 20 else ""  # not more than are read
    return [
        TITLES.get(cell.task, cell.task),
        str(len({r.cell.identity for r in rows})),
        f"{facts['trained_on']:,}" if "trained_on" in facts else "–",
        ", ".join(f"{k} {v}" for k, v in sorted(options.items())),
        f"one set cut in two for selection and test: {', '.join(cut[:20])}{more}" if cut else "–",
    ]
