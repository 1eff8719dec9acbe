"""Members of a kept aligner's description, checked as they are taken."""

import sys
from typing import Any

from weam_ext import _native

_MEASURES = ("log_likelihood", "perplexity", "posterior_p0", "posterior_feature", "tension")
Measured = tuple[list[float], list[float], list[float], list[list[_native.Iteration]]]


class Reading:
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

    def numbers(self, name: str, count: int) -> list[float]:
        values = self.take(name, list)
        if len(values) != count:
            raise ValueError(f"{name!r} has {len(values)} entries, not {count}")
        return [Reading({name: value}).number(name) for value in values]

    def within(self, name: str) -> "Reading":
        return Reading(self.take(name, dict))


def described(model: _native.Model) -> dict[str, Any]:
    """What is kept of a model beside its arrays; `measured` reads it."""
    directions = model.directions
    return {
        "tension": list(model.tension[:directions]),
        "length_ratio": list(model.length_ratio[:directions]),
        "null_totals": list(model.null_totals[:directions]),
        "history": [
            [{name: getattr(each, name) for name in _MEASURES} for each in model.history(direction)]
            for direction in range(directions)
        ],
    }


def measured(description: Reading, directions: int) -> Measured:
    """Tension, length ratio and counts of NULL by direction, and what each iteration measured."""
    history = [
        [Reading(measures) for measures in iterations]
        for iterations in description.take("history", list)
        if isinstance(iterations, list)
    ]
    tension, length_ratio, null_totals = (
        [*description.numbers(name, directions), 0.0][:2]
        for name in ("tension", "length_ratio", "null_totals")
    )
    return (
        tension,
        length_ratio,
        null_totals,
        [
            [_native.Iteration(*(each.number(name) for name in _MEASURES)) for each in row]
            for row in history
        ],
    )
