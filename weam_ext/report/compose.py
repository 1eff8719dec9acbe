"""What the report says, in order: claims, gains, tables, curves, maps, robustness, sources."""

import re
from collections.abc import Iterator, Sequence
from statistics import stdev

import numpy as np

from weam_ext.report import figures
from weam_ext.report.claims import Judge, roles_of
from weam_ext.report.page import Figures, Heading, Part, Table, Text
from weam_ext.report.statistics import Scores, estimate, holm, verdict
from weam_ext.report.table import TITLES, Condition, Measured, Results, average, gains
from weam_ext.transfer.results import Failed

METHOD = """Scores in percent; of word alignment 1 - AER. Of several seeds: mean ± standard
deviation. Intervals hold 95 %: Student's t over the variance components of examples (paired,
parallel ones over languages as clusters) and seeds, with Satterthwaite's degrees of freedom.
Verdicts are corrected for their number by Holm's method within each table: supported (better,
p < .05), not supported (worse, p < .05), else undecided. An interval covers what is named as
varying and nothing else: with one pre-training seed it cannot tell what another one would have
done. A layer is chosen on the other languages of its task, never on what it reports, unless there
are none."""


_SMALL = 80_000_000  # parameters; the least of the multilingual encoders in use has 118 million


def compose(
    results: Results,
    failed: Sequence[Failed],
    roles: dict[str, str],
    bitext_languages: Sequence[str] | None,
) -> list[Part]:
    """The whole report."""
    parts: list[Part] = [Text(_summary(results, failed)), Text(" ".join(METHOD.split()))]
    parts += _claims(results, roles)
    parts += _gains(results)
    parts += _tables(results)
    parts += _curves(results)
    parts += _maps(results)
    parts += _robustness(results, bitext_languages)
    parts += _selection(results)
    parts += _used(results, failed)
    return parts


def _summary(results: Results, failed: Sequence[Failed]) -> str:
    tasks = list(dict.fromkeys(c.title for c in results.conditions))
    cells = {(r.cell.identity) for r in results.rows}
    text = (
        f"{len(results.models)} models ({', '.join(results.models)}), {len(tasks)} tasks, "
        f"{len(cells)} cells. "
    )
    text += f"Failed: {len(failed)}; the end says why." if failed else "None failed."
    largest = max((r.facts.get("parameters", 0) for r in results.rows), default=0)
    if 0 < largest < _SMALL:
        text += (
            f" The models are small, {largest / 1e6:,.1f} million parameters at most: what is "
            "measured here need not hold for those of base size."
        )
    return text


# ------------------------------------------------------------------------------------------ claims


def _claims(results: Results, roles: dict[str, str]) -> Iterator[Part]:
    yield Heading("Claims")
    found = Judge(results, roles_of(results.models, roles)).claims()
    rows = [
        [str(c.number), c.text, c.figure or "–", c.interval or "–", c.verdict, c.reason]
        for c in found
    ]
    yield Table(["", "claim", "measured", "95 % interval", "verdict", "on what, or why not"], rows)


# ------------------------------------------------------------------------------------------- gains


def _plain(results: Results) -> list[Condition]:
    """Undistorted text, the source's selection."""
    return [c for c in results.conditions if not c.noise and c.selection in ("", "english")]


def _gains(results: Results) -> Iterator[Part]:
    found = [gain for condition in _plain(results) for gain in gains(results, condition)]
    if not found:
        return
    yield Heading("Gains")
    means = [gain for gain in found if gain.language == "mean"]
    corrected = holm([gain.estimate.p for gain in means])
    rows = [
        [
            g.condition.title, str(g.condition), f"{g.better} against {g.worse}", str(g.sets),
            points(g.estimate.value), interval(g.estimate.low, g.estimate.high),
            f"{p:.3f}" if p >= 0.001 else "<\u00a00.001",
            g.verdict(p), f"{100 * g.estimate.examples:.2f}",
            f"{100 * g.estimate.seeds:.2f}" if "seeds" in g.varies else "–", g.varies,
            g.layers or "–",
        ]
        for g, p in zip(means, corrected, strict=True)
    ]  # fmt: skip
    header = ["task", "condition", "models", "test sets", "gain", "95 % interval", "p, Holm"]
    yield Table([*header, "verdict on “better”", "examples", "seeds", "varies", "layers"], rows,
                "Mean over the test sets, in points; beside the verdict the standard errors of "
                "examples and of seeds.")  # fmt: skip
    for better, worse in dict.fromkeys((g.better, g.worse) for g in found):
        own = [g for g in found if (g.better, g.worse) == (better, worse)]
        tops = [g for g in own if g.language == "mean"]
        tops = [g for g in tops if _shown_by_language(g.condition)]
        labels = [f"{g.condition.title}: {g.condition}" for g in tops]
        title = f"{better} less {worse}: means over test sets"
        yield Figures([figures.forest(tops, labels, title)], _FOREST)
        by_task = [
            figures.forest(rest, [g.language for g in rest], f"{c.title}: {c}", 5.2)
            for c in dict.fromkeys(g.condition for g in own)
            if _shown_by_language(c) and len(rest := [g for g in own if g.condition == c]) > 2
        ]
        if by_task:
            yield Heading(f"{better} less {worse}, by language", 3)
            yield Figures(by_task, _FOREST)


_FOREST = (
    "Green: better, red: worse, grey and hollow: the interval (not corrected) holds 0. Diamonds "
    "are means over test sets."
)


def _shown_by_language(condition: Condition) -> bool:
    """Of the ways to read a frozen encoder, one: else there would be dozens of figures."""
    return condition.vectors in ("", "centred") and condition.method in (
        "", "cosine", "argmax", "probe", "csls",
    ) and not (condition.method == "csls" and condition.task != "lexicon")  # fmt: skip


def points(value: float) -> str:
    return f"{100 * value:+.1f}"


def interval(low: float, high: float) -> str:
    return f"[{100 * low:+.1f}, {100 * high:+.1f}]"


# ------------------------------------------------------------------------------------------ tables


def _tables(results: Results) -> Iterator[Part]:
    yield Heading("Scores")
    for title, conditions in _by_task(_plain(results)):
        yield Heading(title, 3)
        for metric in results.metrics(conditions[0]):
            yield _score_table(results, conditions, metric)
        if axes := _CROSSED.get(conditions[0].task):
            yield _matrices(results, conditions, axes)


# What the two languages of a test set are.
_CROSSED = {"gxnli": ("hypothesis", "premise"), "mlqa-gxlt": ("question", "text")}


def _matrices(results: Results, conditions: Sequence[Condition], axes: tuple[str, str]) -> Figures:
    svgs = []
    for condition in conditions:
        for model in results.models_of(condition):
            values = {}
            for test in results.sets(condition):
                if found := results.chosen(condition, test, model):
                    first, _, second = test.language.partition("-")
                    values[first, second] = 100 * found.value
            svgs.append(figures.matrix(values, f"{model}, {condition.setting}", *axes))
    return Figures(svgs, "Percent, by the languages of the two texts.")


def _by_task(conditions: Sequence[Condition]) -> list[tuple[str, list[Condition]]]:
    tasks: dict[str, list[Condition]] = {}
    for condition in conditions:
        tasks.setdefault(condition.title, []).append(condition)
    return list(tasks.items())


def _score_table(results: Results, conditions: Sequence[Condition], metric: str) -> Table:
    """Languages by models, the conditions side by side."""
    columns: list[tuple[str, dict[str, Measured]]] = []
    for condition in conditions:
        for model in results.models_of(condition):
            found = {
                test.language: measured
                for test in results.sets(condition)
                if (measured := results.chosen(condition, test, model, metric))
            }
            name = ", ".join(p for p in (condition.vectors, condition.method) if p)
            if condition.setting != "frozen":
                name = condition.setting
                if condition.fine_tuning != "plain":
                    name += f", {condition.fine_tuning}"
            name += f", {condition.options}" if condition.options else ""
            columns.append((f"{model}: {name}", found))
    languages = sorted({language for _, found in columns for language in found})
    rows = [
        [code, *(score(found[code].scores) if code in found else "–" for _, found in columns)]
        for code in languages
    ]
    if len(rows) > 1:
        means = [score(average(list(found.values()))) for _, found in columns]
        rows.append(["mean", *means])
    counts = [len(measured.keys) for _, found in columns for measured in found.values()]
    low, high = min(counts), max(counts)
    told = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    caption = f"{metric}, %; {told} examples a language{_chosen_layers(results, conditions)}"
    return Table(["language", *(name for name, _ in columns)], rows, caption)


def _chosen_layers(results: Results, conditions: Sequence[Condition]) -> str:
    """Whether each language's layer was chosen without it."""
    layered = [c for c in conditions if c.vectors]
    if not layered:
        return ""
    alone = any(
        not results.best_layer(c, test, model)[1]
        for c in layered
        for test in results.sets(c)
        for model in results.models_of(c, test)
    )
    told = (
        "on the same data where there is no other language" if alone else "on the other languages"
    )
    return f"; each at the layer that is best {told}"


def score(scores: Scores) -> str:
    """A mean in percent, with the standard deviation over units if there are several."""
    values = [100 * float(v) for v in scores.mean(1)]
    text = f"{np.mean(values):.1f}"
    return text + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


# ------------------------------------------------------------------------------------ curves, maps


def _curves(results: Results) -> Iterator[Part]:
    found = [
        (title, [c for c in conditions if c.vectors])
        for title, conditions in _by_task(_plain(results))
    ]
    drawn = [(t, conditions) for t, conditions in found if conditions]
    if drawn:
        yield Heading("Layers")
        for title, conditions in drawn:
            curve = figures.layer_curves(results, conditions, title)
            yield Figures([curve], "Mean over the languages by layer; 0 is the embedding layer.")


def _maps(results: Results) -> Iterator[Part]:
    found: list[Part] = []
    for condition in results.find(task="alignment", method="argmax", vectors="centred"):
        for test in results.sets(condition)[:4]:
            svgs = []
            for model in results.models_of(condition, test):
                layer = results.best_layer(condition, test, model)[0]
                measured = results.measured(condition, test, model, layer)
                maps = measured.rows[0].notes.get("maps", []) if measured else []
                svgs += [figures.heat_map(m, f"{model}, layer {layer}") for m in maps[:1]]
            if svgs:
                text = f"{test.language}: cosines of centred word vectors; squares are gold links."
                found.append(Figures(svgs, text))
    if found:
        yield Heading("Alignment of sentence pairs")
        yield from found


# -------------------------------------------------------------------------------------- robustness


def _robustness(results: Results, bitext_languages: Sequence[str] | None) -> Iterator[Part]:
    parts = [
        *_noise(results), *_lengths(results), *_with_bitext(results, bitext_languages),
        *_rivals(results),
    ]  # fmt: skip
    if parts:
        yield Heading("Robustness")
        yield from parts


def _noise(results: Results) -> Iterator[Part]:
    noisy = [c for c in results.conditions if c.noise]
    rows = []
    for condition in noisy:
        clean = condition._replace(noise="")
        if clean not in results.conditions:
            continue
        for model, count, ours, theirs in _compared(results, condition, clean):
            drop = estimate(ours - theirs)  # the units are the same on both sides
            rows.append([
                condition.title, condition.fine_tuning, condition.noise, model, str(count),
                score(ours), points(drop.value), interval(drop.low, drop.high),
            ])  # fmt: skip
    if rows:
        yield Heading("Distorted text", 3)
        header = ["task", "fine-tuning", "noise", "model", "test sets", "score", "change"]
        yield Table(
            [*header, "95 % interval"], rows, "Against the same text undistorted, in points."
        )


def _compared(
    results: Results, one: Condition, other: Condition
) -> Iterator[tuple[str, int, Scores, Scores]]:
    """Of each model in two conditions: its test sets in both, and the mean scores over them."""
    for model in results.models_of(one):
        pairs = [
            (a, b)
            for test in results.sets(one)
            if (a := results.chosen(one, test, model)) and (b := results.chosen(other, test, model))
        ]
        if pairs:
            yield model, len(pairs), average([a for a, _ in pairs]), average([b for _, b in pairs])


def _lengths(results: Results) -> Iterator[Part]:
    """Each language's examples cut in three by their length."""
    rows = []
    for condition in _plain(results):
        if condition.vectors:
            continue
        models = results.models_of(condition)
        thirds: dict[str, list[list[Measured]]] = {m: [[], [], []] for m in models}
        for test in results.sets(condition):
            for model in models:
                found = results.chosen(condition, test, model)
                if found and len(found.keys) >= 9 and found.metric not in ("pearson", "spearman"):
                    for third, part in enumerate(_cut(found)):
                        thirds[model][third].append(part)
        for model in models:
            if thirds[model][0]:
                values = [score(average(part)) for part in thirds[model]]
                gap = _unpaired(average(thirds[model][2]), average(thirds[model][0]))
                rows.append([
                    condition.title, condition.setting, model, *values, points(gap[0]),
                    interval(*gap[1:]),
                ])  # fmt: skip
    if rows:
        yield Heading("Length of the input", 3)
        header = ["task", "setting", "model", "short", "middle", "long", "long less short"]
        yield Table(
            [*header, "95 % interval"], rows, "Thirds of each language's examples by characters."
        )


def _cut(found: Measured) -> list[Measured]:
    order = np.argsort(found.rows[0].lengths, kind="stable")
    parts = []
    for members in np.array_split(order, 3):
        scores = found.scores[:, members]
        keys = [found.keys[k] for k in members]
        parts.append(
            Measured(found.metric, keys, scores, found.units, found.fine_tuned, found.rows)
        )
    return parts


def _unpaired(ours: Scores, theirs: Scores) -> tuple[float, float, float]:
    """Different examples, the same units."""
    a, b = estimate(ours), estimate(theirs)
    error = (a.error**2 + b.error**2) ** 0.5
    freedom = min(a.freedom, b.freedom)
    from scipy import stats

    half = float(stats.t.ppf(0.975, freedom)) * error if error else 0.0
    value = a.value - b.value
    return value, value - half, value + half


def _bitext_codes(results: Results) -> set[str]:
    """Codes in the names of the bitexts of the models' runs."""
    found: set[str] = set()
    for row in results.rows:
        bitexts = row.facts.get("training", {}).get("bitext") or []
        for text in bitexts:
            name = str(text[0] if isinstance(text, list) else text).rpartition("/")[2]
            for a, b in re.findall(r"\b([a-z]{2})-([a-z]{2})\b", name):
                found |= {a, b}
    return found


def _with_bitext(results: Results, given: Sequence[str] | None) -> Iterator[Part]:
    codes = set(given) if given is not None else _bitext_codes(results)
    if not codes:
        return
    rows = []
    for condition in _plain(results):
        if not _shown_by_language(condition):
            continue
        models = results.models_of(condition)
        for k, theirs in enumerate(models):
            for ours in models[k + 1 :]:
                groups: dict[bool, list[tuple[Measured, Measured]]] = {True: [], False: []}
                for test in results.sets(condition):
                    languages = set(re.split(r"[-:]", test.language)) - {"en"}
                    a, b = (results.chosen(condition, test, m) for m in (ours, theirs))
                    if a and b and languages and len(a.keys) > 1:
                        groups[bool(languages & codes)].append((a, b))
                texts = [_group(groups[there]) for there in (True, False)]
                models_text = f"{ours} against {theirs}"
                rows.append([condition.title, str(condition), models_text, *texts[0], *texts[1]])
    if rows:
        yield Heading("Languages with and without bitext in pre-training", 3)
        yield Text(f"With bitext: {', '.join(sorted(codes))}.")
        header = ["task", "condition", "models", "with", "gain", "95 % interval"]
        yield Table([*header, "without", "gain", "95 % interval"], rows)


def _group(pairs: Sequence[tuple[Measured, Measured]]) -> list[str]:
    if not pairs:
        return ["0", "–", "–"]
    found = estimate(average([a for a, _ in pairs]), average([b for _, b in pairs]))
    return [str(len(pairs)), points(found.value), interval(found.low, found.high)]


def _rivals(results: Results) -> Iterator[Part]:
    """Robust against plain fine-tuning of one model, on clean and distorted text."""
    rows: list[list[str]] = []
    ps: list[float] = []
    for condition in results.conditions:
        if condition.fine_tuning in ("", "plain") or condition.selection == "oracle":
            continue
        plain = next(
            (
                c for c in results.conditions
                if c.fine_tuning == "plain" and (c.task, c.setting, c.selection, c.noise)
                == (condition.task, condition.setting, condition.selection, condition.noise)
            ),
            None,
        )  # fmt: skip
        if plain is None:
            continue
        for model, count, ours, theirs in _compared(results, condition, plain):
            found = estimate(ours, theirs)
            rows.append([
                condition.title, model, condition.fine_tuning, condition.noise or "–", str(count),
                points(found.value), interval(found.low, found.high),
            ])  # fmt: skip
            ps.append(found.p)
    if rows:
        found_ps = zip(rows, holm(ps), strict=True)
        table = [[*row, verdict(float(row[5]), p)] for row, p in found_ps]
        yield Heading("Robust against plain fine-tuning", 3)
        header = ["task", "model", "fine-tuning", "noise", "test sets", "gain", "95 % interval"]
        yield Table([*header, "verdict on “better”"], table)


# ----------------------------------------------------------------------- selection, what was used


def _selection(results: Results) -> Iterator[Part]:
    rows = []
    for condition in results.find(selection="oracle", noise=""):
        english = condition._replace(selection="english")
        for model, _, ours, theirs in _compared(results, condition, english):
            gain = estimate(ours - theirs)
            rows.append([
                condition.title, condition.setting, condition.fine_tuning, model, score(theirs),
                score(ours), points(gain.value), interval(gain.low, gain.high),
            ])  # fmt: skip
    if rows:
        yield Heading("Selection on English and on the target language")
        header = ["task", "setting", "fine-tuning", "model", "English", "oracle", "gain"]
        told = "The epoch chosen on English examples, or on those of the tested language."
        yield Table([*header, "95 % interval"], rows, told)


def _listed(names: Sequence[str]) -> str:
    """Not more of them than are read."""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def _used(results: Results, failed: Sequence[Failed]) -> Iterator[Part]:
    yield Heading("What was used")
    models: dict[tuple[str, str], None] = {(r.cell.model, r.directory): None for r in results.rows}
    rows = []
    for model, directory in models:
        row = next(r for r in results.rows if (r.cell.model, r.directory) == (model, directory))
        training = row.facts.get("training", {})
        names = ("objective", "step", "steps", "batch_size", "lr", "mask_probability", "seed")
        told = ", ".join(f"{n} {training[n]}" for n in names if training.get(n) is not None) or "–"
        place = "/".join(directory.rsplit("/", 3)[-3:])
        size = row.facts.get("parameters")
        shown = f"{size / 1e6:,.1f} M" if size else "–"
        rows.append([model, place, row.cell.model_sha256[:12], shown, told])
    yield Table(["model", "directory", "SHA-256", "parameters", "training"], rows)
    rows = []
    for task in dict.fromkeys(r.cell.task for r in results.rows):
        own = [r for r in results.rows if r.cell.task == task]
        facts = own[0].facts
        options = {k: v for k, v in own[0].cell.options.items() if not isinstance(v, list)}
        cut = facts.get("cut") or []
        rows.append([
            TITLES.get(task, task),
            str(len({r.cell.identity for r in own})),
            f"{facts['trained_on']:,}" if "trained_on" in facts else "–",
            ", ".join(f"{k} {v}" for k, v in sorted(options.items())),
            f"one set cut in two for selection and test: {_listed(cut)}" if cut else "–",
        ])  # fmt: skip
    yield Table(["task", "cells", "trained on", "settings", "splits"], rows)
    if failed:
        yield Heading("Failed cells", 3)
        yield Table(
            ["task", "model", "setting", "seed", "why"],
            [
                [f.cell.task, f.cell.model, f.cell.setting, str(f.cell.seed), f.reason]
                for f in failed
            ],
        )
