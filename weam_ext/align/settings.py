"""What an `Aligner` may be set to: the one place that checks a setting.

Whether it comes from the constructor, an attribute, a kept file or a command line.
"""

import math
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from weam_ext.common.errors import InputError

DIRECTIONS = ("forward", "backward")
# Links by the mean of both directions' posteriors; the HMM alone has it.
POSTERIOR = "posterior"
MEMORY_MODES = ("auto", "low", "fast")
AUTO = "auto"


class _Rule(NamedTuple):
    kind: type
    within: Callable[[Any], bool]
    expected: str


def _one_of(names: tuple[str, ...]) -> _Rule:
    return _Rule(str, lambda name: name in names, f"one of {', '.join(names)}")


def _is_path(path: str) -> bool:
    return "\0" not in path


_SWITCH = _Rule(bool, lambda value: True, "True or False")
_RULES = {
    "iterations": _Rule(int, lambda n: 1 <= n < 2**31, "a whole number, at least 1"),
    "p0": _Rule(float, lambda p: 0 <= p < 1, "at least 0 and below 1"),
    "alpha": _Rule(float, lambda x: 0 < x <= 1e6, "above 0 and at most 1e6"),
    "tension": _Rule(float, lambda x: 1e-6 <= x <= 14, "at least 1e-6 and at most 14"),
    "threshold": _Rule(float, lambda p: 0 <= p < 1, "at least 0 and below 1"),
    "spelling": _Rule(float, lambda x: 0 <= x <= 1e6, "from 0 to 1e6"),
    "fertility": _SWITCH,
    "fold_case": _SWITCH,
    "encoder": _Rule(os.PathLike, lambda name: name != "" and _is_path(name), "a name or a folder"),
    "layer": _Rule(int, lambda n: 1 <= n < 2**31, "a whole number, at least 1"),
    "scale": _Rule(float, lambda x: 0 < x <= 1e4, "above 0 and at most 10000"),
    "weight": _Rule(float, lambda w: 0 <= w <= 1, "from 0 to 1"),
    "device": _Rule(str, lambda name: name != "", "a device, as torch names it"),
    "favor_diagonal": _SWITCH,
    "optimize_tension": _SWITCH,
    "variational_bayes": _SWITCH,
    "null_word": _SWITCH,
    "max_length": _Rule(int, lambda n: 0 <= n < 2**31, "at least 0 and below 2^31"),
    "threads": _Rule(int, lambda n: 1 <= n < 2**31, "at least 1"),
    "memory": _one_of(MEMORY_MODES),
    "max_memory": _Rule(int, lambda n: 0 < n < 2**63, "above 0"),
    "temp_dir": _Rule(os.PathLike, _is_path, "a folder"),
    "directory": _Rule(os.PathLike, _is_path, "a folder"),
    "path": _Rule(os.PathLike, _is_path, "a file"),
    "length_ratio": _Rule(float, lambda x: 0 < x < 2**32, "above 0 and finite"),
    "beam threshold": _Rule(float, math.isfinite, "finite"),
    "top": _Rule(int, lambda n: 0 <= n < 2**63, "at least 0"),
}


def checked(name: str, value: Any) -> Any:
    """A setting or an argument as Python's own type; raises `InputError` for what it cannot be."""
    kind, within, expected = _RULES[name]
    plain = _plain(kind, value)
    if plain is None or not within(plain):
        raise InputError(f"{name} must be {expected}")
    return plain


def _plain(kind: type, value: Any) -> Any:
    """A value as `kind`, which NumPy's numbers are converted to; None if it is of another kind."""
    is_switch = isinstance(value, (bool, np.bool_))
    if kind is bool:
        return bool(value) if is_switch else None
    if is_switch:
        return None
    if kind is int:
        return int(value) if isinstance(value, (int, np.integer)) else None
    if kind is float:
        with suppress(OverflowError):  # there are larger whole numbers
            is_number = isinstance(value, (int, float, np.integer, np.floating))
            return float(value) if is_number else None
    if isinstance(value, os.PathLike) and kind is os.PathLike:
        value = os.fspath(value)
    return value if isinstance(value, str) else None
