"""What the report says first: whether what was trained further is better, task by task."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from weam_ext.report.page import Part, Table, Text
from weam_ext.report.statistics import (
    BETTER,
    CHECKPOINTS,
    UNDECIDED,
    UNTESTABLE,
    WORSE,
    estimate,
    holm,
)
from weam_ext.report.table import (
    TITLES,
    Gain,
    Results,
    abroad,
    average,
    averages,
    gains,
    varies,
)

XNLI = ("xnli", "gxnli")
"""What the question is not about: it is whether the models stay robust elsewhere."""
MEAN = "mean"
Gains = Mapping[str, Gain]
"""By task, and under `MEAN` that over the fine-tuned tasks but XNLI, which weigh the same."""


def answer(results: Results, base: str) -> Iterator[Part]:
    """A sentence on every model that is compared with the base, and the table behind it."""
    found = {model: _gains(results, model, base) for model in results.models if model != base}
    verdicts = _verdicts(found)
    for model, own in found.items():
        yield Text(_sentence(model, base, own, verdicts[model]))
    if not found:
        yield Text(f"Only {base} was evaluated, so that there is nothing to compare.")
    models = [base, *found]
    rows = []
    for task, condition in results.primary.items():
        scored = [_scores(results, task, model) for model in models]
        cells = [_cell(own.get(task), verdicts[model].get(task)) for model, own in found.items()]
        sets = {s.language for s in results.sets(condition) if not s.is_english}
        rows.append(
            [condition.title, str(len(sets)), scored[0][0], *cells, *(gap for _, gap in scored)]
        )
    means = [_cell(own.get(MEAN), verdicts[model].get(MEAN)) for model, own in found.items()]
    if any(mean != "–" for mean in means):
        rows.append(["mean of the fine-tuned but XNLI", "", "", *means, *[""] * len(models)])
    header = ["task", "languages", base, *found, *(f"gap of {model}" for model in models)]
    yield Table(header, rows, _caption(base, found))


def _gains(results: Results, model: str, base: str) -> Gains:
    found = {
        task: gain
        for task, condition in results.primary.items()
        for gain in gains(results, condition, model, base)
        if gain.language == "mean"
    }
    own = [t for t, g in found.items() if g.learnt and g.condition.selection and t not in XNLI]
    pairs, names = [], []
    for task in own:
        condition = results.primary[task]
        here = abroad(results.pairs((condition, model), (condition, base)))
        pairs += here
        names += [task] * len(here)
    ours, theirs = averages(pairs, names)
    if len(own) > 1 and len(ours) and len(theirs):
        mean = replace(found[own[0]], estimate=estimate(ours, theirs), varies=varies(pairs))
        found[MEAN] = mean
    return found


def _verdicts(found: Mapping[str, Gains]) -> dict[str, dict[str, str]]:
    """Corrected for the number of all that the table says; the mean's is no verdict where a task
    that is in it says the contrary."""
    every = [(model, task, gain) for model, own in found.items() for task, gain in own.items()]
    verdicts: dict[str, dict[str, str]] = {model: {} for model in found}
    for (model, task, gain), p in zip(every, holm([g.estimate.p for *_, g in every]), strict=True):
        said = gain.verdict(p)
        contrary = [
            g
            for t, g in found[model].items()
            if t not in (*XNLI, MEAN) and g.condition.selection and g.learnt
            if np.sign(g.estimate.low) == np.sign(g.estimate.high) == -np.sign(gain.estimate.value)
        ]
        verdicts[model][task] = UNDECIDED if task == MEAN and contrary else said
    return verdicts


def _sentence(model: str, base: str, own: Gains, verdicts: Mapping[str, str]) -> str:
    outside = {task: verdicts[task] for task in own if task not in (*XNLI, MEAN)}
    parts = []
    for word in (BETTER, WORSE, UNDECIDED, UNTESTABLE):
        names = [TITLES.get(task, task) for task, said in outside.items() if said.startswith(word)]
        shown = f" ({', '.join(names)})" if word in (BETTER, WORSE) and names else ""
        if names or word in (BETTER, WORSE):
            parts.append(f"{word.replace(UNTESTABLE, 'no verdict')} on {len(names)}{shown}")
    tasks = f"{len(outside)} task{'' if len(outside) == 1 else 's'}"
    text = f"{model} against {base} on {tasks} other than XNLI: {', '.join(parts)}."
    if mean := own.get(MEAN):
        text += (
            f" In the mean over the fine-tuned ones, without English, the gain is "
            f"{mean.estimate.points} points {mean.estimate.interval}: {verdicts[MEAN]}."
        )
    return text


def _cell(gain: Gain | None, verdict: str | None) -> str:
    if not gain or not verdict:
        return "–"
    word = verdict.removesuffix(CHECKPOINTS).removeprefix(f"{UNTESTABLE}: ")
    return f"{word} {gain.estimate.points} {gain.estimate.interval}"


def _scores(results: Results, task: str, model: str) -> tuple[str, str]:
    """The mean over the languages but English, and what English scores more than that."""
    found = results.all_chosen(results.primary[task], model)
    others = average([m for test, m in found.items() if not test.is_english])
    english = [m.value for test, m in found.items() if test.is_english]
    if not len(others):
        return "–", "–"
    mean = float(others.mean())
    gap = f"{round(100 * (np.mean(english) - mean), 1) + 0.0:.1f}" if english else "–"
    return f"{100 * mean:.1f}", gap


def _caption(base: str, found: Mapping[str, Gains]) -> str:
    text = (
        f"{base}: percent. The others: gain over it in points, with the 95 % interval and the "
        "verdict. Gap: English less the mean of the other languages, in points. All but the gap is "
        "without English."
    )
    limited = [
        model
        for model, own in found.items()
        if own and not any("pre-training seeds" in gain.varies for gain in own.values())
    ]
    if limited:
        text += (
            f" Of {', '.join(limited)} and {base} none was pre-trained with a second seed: what is "
            "said holds for these checkpoints."
        )
    return text
