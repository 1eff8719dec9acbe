"""The claims put to the test, with the measured figure, its interval and a verdict.

They are those of Yang et al. 2021 (arXiv 2106.01732) on alignment pre-training. Who is who is told
by the models' names, or by `--role`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weam_ext.common.errors import InputError
from weam_ext.report.statistics import (
    CHECKPOINTS,
    NOT_SUPPORTED,
    SUPPORTED,
    UNDECIDED,
    UNTESTABLE,
    Estimate,
    estimate,
    holm,
    verdict,
)
from weam_ext.report.table import (
    Condition,
    Pair,
    Results,
    Set,
    abroad,
    averages,
    left_out,
    matched,
    sides,
)

ROLES = {
    "base": ("base", "mbert", "bert"),
    "tlm": ("tlm",),
    "weam": ("weam",),
    "word-aligned": ("word-aligned", "wordaligned", "aligned"),
    "weam-.15": ("weam-.15", "weam-0.15", "weam-15", "weam.15"),
}
LARGE = 0.02
"""A "large margin", and what "about equal" and "close" allow: two points and one."""
CLOSE = 0.01
_COMPARED = (
    "lr", "schedule", "warmup", "step", "steps", "batch_size", "batch_tokens", "accumulate",
    "weight_decay", "betas", "clip", "freeze_layers", "layer_lr_decay", "mask_probability",
    "max_length", "temperature", "monolingual_share", "precision", "start", "text",
)  # fmt: skip
"""What claim 9 compares: `step` is the checkpoint's, `steps` those that the schedule was for;
`start` is the digest of the first weights and `text` that of the prepared text with its links."""
_ZERO, _TRANSLATED = "zero-shot", "translate-train"


@dataclass
class Claim:
    """A row of the table of claims."""

    number: int
    text: str
    figure: str = ""
    interval: str = ""
    verdict: str = UNTESTABLE
    reason: str = ""
    estimate: Estimate | None = None
    bound: float = 0.0
    """What the estimate is to exceed."""
    tasks: dict[str, Estimate] = field(default_factory=dict)
    """What the estimate is the mean of."""
    unlearnt: list[str] = field(default_factory=list)
    """The tasks that neither side learnt."""
    checkpoints: bool = False
    """Whether it is about single checkpoints, none of them pre-trained with another seed too."""

    @property
    def contradicting(self) -> list[str]:
        """The tasks that show the opposite, each by its own interval."""
        return [name for name, found in self.tasks.items() if found.high < self.bound]


def roles_of(models: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The model of each role; `InputError` for a role or a model that there is not."""
    for role, model in given.items():
        if role not in ROLES:
            raise InputError(f"--role {role}={model}: no such role; there are {', '.join(ROLES)}")
        if model not in models:
            known = ", ".join(models)
            raise InputError(f"--role {role}={model}: no results of that model; there are {known}")
    found = dict(given)
    for role, names in ROLES.items():
        for model in models:
            if role not in found and model.lower() in names:
                found[role] = model
    return found


class Judge:
    """All claims over some results."""

    def __init__(self, results: Results, roles: Mapping[str, str]) -> None:
        self.results, self.roles = results, roles

    def claims(self) -> list[Claim]:
        """All of them, in the order of their numbers."""
        weam_ways = [("weam", _ZERO), ("weam", _TRANSLATED)]
        continued = [("tlm", _ZERO), ("word-aligned", _ZERO)]
        found = [
            self._better(
                1, "TLM beats the base model by a large margin zero-shot", "tlm", "base", _ZERO,
                bound=LARGE,
            ),
            self._better(
                2, "TLM is not as good as the base model in translate-train", "base", "tlm",
                _TRANSLATED,
            ),
            self._better(3, "WEAM beats the base model zero-shot", "weam", "base", _ZERO),
            self._better(
                3, "WEAM beats the base model in translate-train", "weam", "base", _TRANSLATED
            ),
            self._within(
                4, "TLM and word-aligned improve about equally on XNLI", continued, -CLOSE, CLOSE,
                f"±{100 * CLOSE:g} point",
            ),
            self._better(5, "WEAM beats TLM on XNLI", "weam", "tlm", _ZERO, "xnli"),
            self._better(
                5, "WEAM beats word-aligned on XNLI", "weam", "word-aligned", _ZERO, "xnli"
            ),
            self._within(
                6, "WEAM zero-shot is slightly below, but close to, translate-train on XNLI",
                weam_ways, -LARGE, 0.0, f"-{100 * LARGE:g} to 0",
            ),
            self._shorter(),
            self._better(
                8, "Masking probability 0.3 does better than 0.15", "weam", "weam-.15", _ZERO
            ),
            self._same_settings(),
            self._setting(
                10, "The weight of the cross-lingual prediction is 1", "exchange_weight", 1.0
            ),
            self._setting(11, "The aligner's links are the prior", "links", "true"),
            self._setting(12, "Every masked token gets both predictions", "exchange_weight", None),
        ]  # fmt: skip
        for claim in _corrected(found):
            if claim.checkpoints and claim.verdict in (SUPPORTED, NOT_SUPPORTED):
                claim.verdict += CHECKPOINTS
        return found

    # -------------------------------------------------------------------------------- differences

    def _conditions(self, setting: str, task: str = "") -> list[Condition]:
        """Plain fine-tuning, English selection, undistorted text."""
        wanted = {"setting": setting, "fine_tuning": "plain", "noise": "", "selection": "english"}
        found = self.results.find(**wanted, **({"task": task} if task else {}))
        first = dict.fromkeys(c.task for c in found)
        return [next(c for c in found if c.task == name) for name in first]

    def _pairs(
        self, claim: Claim, compared: Sequence[tuple[str, str]], task: str
    ) -> dict[str, list[Pair]]:
        """What both sides, a (role, setting) each, measured on the same test sets, by the task.

        Without English: the claims are about transfer to other languages. And without the tasks
        that neither side learnt, which the claim names.
        """
        (ours, setting), (theirs, other_setting) = compared
        found = {}
        for condition in self._conditions(setting, task):
            for other in self._conditions(other_setting, condition.task):
                sides = (condition, self.roles[ours]), (other, self.roles[theirs])
                if any(self.results.learnt(*side) for side in sides):
                    found[condition.task] = abroad(self.results.pairs(*sides))
                else:
                    claim.unlearnt.append(condition.task)
        return {name: pairs for name, pairs in found.items() if pairs}

    def _compare(
        self, claim: Claim, compared: Sequence[tuple[str, str]], task: str = ""
    ) -> Estimate | None:
        """By how much the first side exceeds the second; None where the claim's reason says why."""
        absent = [r for r in dict.fromkeys(role for role, _ in compared) if r not in self.roles]
        if absent:
            claim.reason = f"because no model is {' or '.join(absent)} (--role)"
            return None
        tasks = self._pairs(claim, compared, task)
        if claim.unlearnt and not tasks:
            claim.reason = f"because neither model learnt {' or '.join(claim.unlearnt)}"
            return None
        if not tasks:
            settings = " and ".join(dict.fromkeys(setting for _, setting in compared))
            where = f" on {task.upper()}" if task else ""
            claim.reason = f"because there are no {settings} results{where} of both models"
            return None
        return _mean_over_tasks(claim, tasks)

    def _better(
        self, number: int, text: str, ours: str, theirs: str, setting: str, task: str = "",
        bound: float = 0.0,
    ) -> Claim:  # fmt: skip
        claim = Claim(number, text, bound=bound)
        claim.estimate = self._compare(claim, [(ours, setting), (theirs, setting)], task)
        return claim

    def _within(
        self, number: int, text: str, compared: Sequence[tuple[str, str]], low: float, high: float,
        shown: str,
    ) -> Claim:  # fmt: skip
        """Whether the interval of a difference on XNLI lies between two bounds."""
        claim = Claim(number, text)
        if found := self._compare(claim, compared, "xnli"):
            outside = found.high < low or found.low > high
            claim.verdict = NOT_SUPPORTED if outside else UNDECIDED
            if low < found.low and found.high < high:
                claim.verdict = SUPPORTED
            claim.reason += f"; supported where the interval lies within {shown}"
        return claim

    def _shorter(self) -> Claim:
        claim = Claim(7, "XNLI's inputs are shorter than MLQA's")
        lengths = {task: self._lengths(task) for task in ("xnli", "mlqa")}
        if not all(lengths.values()):
            claim.reason = "because XNLI and MLQA were not both evaluated"
            return claim
        short, long = (np.concatenate(lengths[task]).astype(float) for task in ("xnli", "mlqa"))
        ratio = long.mean() / short.mean()
        # The delta method on the logarithm.
        error = (
            sum(side.var(ddof=1) / len(side) / side.mean() ** 2 for side in (short, long)) ** 0.5
        )
        low, high = (ratio * np.exp(sign * 1.96 * error) for sign in (-1, 1))
        claim.figure = f"{short.mean():.0f} against {long.mean():.0f} characters, {ratio:.1f} x"
        claim.interval = f"[{low:.1f}, {high:.1f}]"
        claim.verdict = SUPPORTED if low > 1 else NOT_SUPPORTED if high < 1 else UNDECIDED
        claim.reason = "of the lengths; the noise of translated training data is not measured"
        return claim

    def _lengths(self, task: str) -> list[NDArray[np.int32]]:
        """Of each test set once, however many models and seeds took it."""
        rows = [r for r in self.results.rows if r.cell.task == task and not r.noise]
        return list({Set.of(row): row.lengths for row in rows}.values())

    # ----------------------------------------------------------------------------------- settings

    def _trainings(self, role: str) -> list[dict[str, Any]]:
        """How each encoder of a role was trained, where that is known."""
        rows = [row for row in self.results.rows if row.cell.model == self.roles.get(role)]
        found = {row.cell.model_sha256: row.facts.get("training") for row in rows}
        return [training for training in found.values() if training]

    def _same_settings(self) -> Claim:
        claim = Claim(9, "The settings of the continued models are the same")
        found = {r: self._trainings(r) for r in ("tlm", "word-aligned", "weam")}
        found = {role: trainings for role, trainings in found.items() if trainings}
        if len(found) < 2:
            claim.reason = (
                "because fewer than two of the models have their run's settings beside them"
            )
            return claim
        every = [training for trainings in found.values() for training in trainings]
        known = [name for name in _COMPARED if any(name in training for training in every)]
        differ = [n for n in known if len({repr(training.get(n)) for training in every}) > 1]
        claim.figure = f"{len(known) - len(differ)} of {len(known)} equal"
        claim.verdict = NOT_SUPPORTED if differ else SUPPORTED
        claim.reason = (
            f"{', '.join(differ or known)} of {', '.join(found)}; a fact, not an estimate"
        )
        return claim

    def _setting(self, number: int, text: str, name: str, wanted: Any) -> Claim:
        claim = Claim(number, text)
        settings = next(iter(self._trainings("weam")), {})
        if name not in settings:
            claim.reason = "because WEAM's directory has no settings of its run beside it"
            return claim
        claim.figure = f"{name} = {settings[name]}"
        held = settings[name] == wanted if wanted is not None else float(settings[name]) > 0
        held = held and settings.get("objective") == "weam"
        claim.verdict = SUPPORTED if held else NOT_SUPPORTED
        claim.reason = "a setting of the run, not an estimate"
        return claim


def _mean_over_tasks(claim: Claim, tasks: Mapping[str, list[Pair]]) -> Estimate | None:
    """The mean over tasks of the means over their test sets, with what the claim says of it."""
    names = [name for name, own in tasks.items() for _ in own]
    pairs = [pair for own in tasks.values() for pair in own]
    units = averages(pairs, names)
    if not all(len(side) for side in units):
        claim.reason = "because no seed of a model was put to all test sets"
        return None
    out = _seeds_left_out(pairs)
    if all(len(side) == 1 for side in units):
        claim.reason = f"because neither model has a second seed: how far one moves is unknown{out}"
        return None
    found = estimate(*units)
    claim.figure, claim.interval = f"{found.points} points", found.interval
    claim.tasks = {name: estimate(*averages(own)) for name, own in tasks.items()}
    shown = [f"{name} {e.points} {e.interval}" for name, e in claim.tasks.items()]
    each = f": {', '.join(shown)}" if len(tasks) > 1 else f" of {names[0]}"
    claim.reason = f"{_count(len(names), 'test set')} without English{each}{out}"
    if claim.unlearnt:
        verb = "is" if len(claim.unlearnt) == 1 else "are"
        claim.reason += (
            f"; {' and '.join(claim.unlearnt)} {verb} left out, which neither model learnt"
        )
    if not any(len(m.encoders) > 1 for side in sides(pairs) for m in matched(side)):
        claim.checkpoints = True
        claim.reason += "; neither model was pre-trained a second time"
    return found


def _seeds_left_out(pairs: Sequence[Pair]) -> str:
    count = sum(left_out(side) for side in sides(pairs))
    if not count:
        return ""
    verb = "is" if count == 1 else "are"
    return f"; {_count(count, 'seed')} that not all test sets have {verb} left out"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _corrected(claims: list[Claim]) -> list[Claim]:
    """Holm's correction over the claims that a difference exceeds a bound."""
    tested = [claim for claim in claims if claim.estimate]
    ps = holm([c.estimate.against(c.bound) for c in tested if c.estimate])
    for claim, p in zip(tested, ps, strict=True):
        assert claim.estimate
        claim.verdict = verdict(claim.estimate.value - claim.bound, p)
        if claim.verdict == SUPPORTED and claim.contradicting:
            claim.verdict = UNDECIDED
            claim.reason += f"; contradicted by {', '.join(claim.contradicting)}"
        claim.reason += f"; p = {p:.2g} by Holm"
        if claim.bound:
            claim.reason += f" of a gain above {100 * claim.bound:g} points"
    return claims
