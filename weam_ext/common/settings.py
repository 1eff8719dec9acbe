"""Typed settings: a frozen dataclass a command, from which flags, YAML and records are made.

    @dataclass(frozen=True)
    class Mine(Settings, group="training"):
        steps: int = option(800, "How many steps are trained.", rule=at_least(1))

    parser = Parser("weam_ext.mine", "What it does.")
    add_flags(parser, Mine)
    mine = Mine(**given(parser, Mine, arguments))

Every instance is checked, wherever its values come from: `given` takes those of a command line,
`converted` those of a YAML file, and `identity` gives those that decide the result.
"""

import argparse
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import partial
from inspect import get_annotations
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from weam_ext.common.errors import InputError
from weam_ext.common.files import user_path

S = TypeVar("S", bound="Settings")
_LARGEST = 1 << 31
REQUIRED: Any = MISSING
"""The default of a setting that has none, and must be given."""


class Rule(NamedTuple):
    """The values that a setting takes; `expected` completes the sentence "--name must be"."""

    allows: Callable[[Any], bool]
    expected: str


def at_least(least: float) -> Rule:
    return Rule(lambda value: bool(value >= least), f"at least {least:,}")


def above(bound: float) -> Rule:
    return Rule(lambda value: bool(value > bound), f"above {bound}")


def within(least: float, most: float) -> Rule:
    return Rule(lambda value: bool(least <= value <= most), f"from {least:,} to {most:,}")


def between(low: float, high: float) -> Rule:
    return Rule(lambda value: bool(low < value < high), f"between {low} and {high}")


class Option(NamedTuple):
    """What is said of a setting beside its name, type and default; see `option`."""

    help: str
    group: str | None
    rule: Rule | None
    choices: Collection[str] | None
    metavar: str | tuple[str, ...] | None
    parse: Callable[[str], Any] | None
    again: bool
    identity: bool
    flags: tuple[str, ...] | None
    switch: bool


def option(
    default: Any,
    help: str,
    *,
    group: str | None = None,
    rule: Rule | None = None,
    choices: Collection[str] | None = None,
    metavar: str | tuple[str, ...] | None = None,
    parse: Callable[[str], Any] | None = None,
    again: bool = False,
    identity: bool = True,
    flags: tuple[str, ...] | None = None,
    switch: bool = False,
) -> Any:
    """A field of a settings class.

    Its type says how it is written: bool as --name and --no-name; int, float, str and Path as one
    value; tuple[float, float] as two, tuple[str, ...] as one or more. With `| None`, None stands
    for a value that is chosen later, and `help` says which.

    Args:
        default: the value where none is given; a function without arguments that makes it; or
            `REQUIRED`.
        help: a sentence for `--help`, which adds the default.
        group: the heading under which `--help` lists it, by default that of the class.
        rule: the values that it takes, beside None.
        choices: the strings that it takes, such as a registry.
        metavar: what `--help` calls its value; by default N, X, TEXT or PATH after its type.
        parse: makes the value from a string, where the type alone does not say how.
        again: the flag may be given several times; the field is a tuple with a value of each time.
        identity: whether it decides what is computed, and not only where, or how fast.
        flags: the flag's forms, where they are not --name alone.
        switch: of a bool, whether there is --name alone, without --no-name.
    """
    said = {
        "option": Option(help, group, rule, choices, metavar, parse, again, identity, flags, switch)
    }
    if default is REQUIRED:
        return field(kw_only=True, metadata=said)
    if callable(default):
        return field(default_factory=default, metadata=said)
    return field(default=default, metadata=said)


@dataclass(frozen=True)
class Settings:
    """The base of settings classes. Raises `InputError` for a value that no flag would take."""

    _GROUP: ClassVar[str] = "settings"

    def __init_subclass__(cls, group: str | None = None) -> None:
        if group:
            cls._GROUP = group

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each.name, _said(each), getattr(self, each.name))


def _said(each: "Field[Any]") -> Option:
    found: Option = each.metadata["option"]
    return found


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _check(name: str, said: Option, value: Any) -> None:
    shown = said.flags[-1] if said.flags else flag(name)
    for each in _flat(value):
        if isinstance(each, int | float) and not said.parse and not abs(each) < _LARGEST:  # nor NaN
            raise InputError(f"{shown} must be a number below 2^31, not {each}")
        if isinstance(each, str | Path) and ("\0" in str(each) or not str(each).strip()):
            raise InputError(f"{shown} must be a name, not {str(each)!r}")
        if said.choices and each is not None and each not in said.choices:
            raise InputError(f"{shown} must be one of {', '.join(said.choices)}, not {each}")
    if value is not None and said.rule and not said.rule.allows(value):
        raise InputError(f"{shown} must be {said.rule.expected}, not {value}")


def _flat(value: Any) -> list[Any]:
    return [x for each in value for x in _flat(each)] if isinstance(value, tuple) else [value]


# ------------------------------------------------------------------------------------ command line


class _Kind(NamedTuple):
    """How a field's values are written."""

    scalar: Any
    nargs: int | str | None

    @classmethod
    def of(cls, settings: type[Settings], each: "Field[Any]") -> "_Kind":
        kind = get_type_hints(settings)[each.name]
        if get_origin(kind) in (Union, UnionType):
            # Of several types the first one, whatever else `parse` makes of a value.
            kind = next(part for part in get_args(kind) if part is not type(None))
        if _said(each).again:
            kind = get_args(kind)[0]
        if get_origin(kind) is not tuple:
            return cls(kind, None)
        parts = get_args(kind)
        return cls(parts[0], "+" if parts[-1] is Ellipsis else len(parts))

    def parse(self, said: Option) -> Callable[[str], Any]:
        if said.parse:
            return partial(_parsed, said.parse)
        found: Callable[[str], Any] = user_path if self.scalar is Path else self.scalar
        return found


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    """argparse tells the sentence of its own error alone."""
    try:
        return parse(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def add_flags(parser: argparse.ArgumentParser, settings: type[Settings]) -> None:
    """A flag for each field of a settings class, under the headings of their groups."""
    groups: dict[str, Any] = {}
    for each in fields(settings):
        said, kind = _said(each), _Kind.of(settings, each)
        group = said.group or next(
            vars(base)["_GROUP"] for base in settings.__mro__ if each.name in get_annotations(base)
        )
        if group not in groups:
            groups[group] = parser.add_argument_group(group)
        more: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(each)}
        more["required"] = each.default is each.default_factory is MISSING
        if kind.scalar is bool:
            more["action"] = "store_true" if said.switch else argparse.BooleanOptionalAction
        else:
            shown = f"{{{','.join(said.choices)}}}" if said.choices else _METAVARS[kind.scalar]
            more |= {"type": kind.parse(said), "nargs": kind.nargs}
            more["metavar"] = said.metavar or shown
            more["action"] = "append" if said.again else "store"
        groups[group].add_argument(*said.flags or [flag(each.name)], dest=each.name, **more)


def _help(each: "Field[Any]") -> str:
    """Its sentence and its default. Percent signs are argparse's own."""
    factory = each.default_factory
    default = each.default if factory is MISSING else factory()
    text = _said(each).help.replace("%", "%%")
    if default is None or default is MISSING or _said(each).switch:
        return text
    shown = {True: "yes", False: "no"}[default] if isinstance(default, bool) else default
    if isinstance(default, tuple):
        shown = " ".join(map(str, default))
    return f"{text.removesuffix('.')} (default: {shown})"


def given(
    parser: argparse.ArgumentParser, settings: type[Settings], arguments: Sequence[str] | None
) -> dict[str, Any]:
    """The fields that a command line names, with their values."""
    named = vars(parser.parse_args(arguments))
    return {
        each.name: _as_tuple(named[each.name]) for each in fields(settings) if each.name in named
    }


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


# ------------------------------------------------------------------------------- files and records


def converted(settings: type[Settings], values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Plain values, as YAML holds them, as those of the fields; None stands for a field's default.

    Raises `InputError`, beginning with `place`, for a name that no field has and for a value that
    the field's flag would not take.
    """
    known = {each.name: each for each in fields(settings)}
    if unknown := sorted(map(str, values.keys() - known.keys())):
        raise InputError(f"{place}: unknown setting {unknown[0]!r}")
    found = {}
    for name, value in values.items():
        if value is not None:
            said, kind = _said(known[name]), _Kind.of(settings, known[name])
            try:
                found[name] = _converted(said, kind, value)
            except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
                raise InputError(f"{place}: {name} cannot be {value!r}") from error
            with telling(place):
                _check(name, said, found[name])
    return found


@contextmanager
def telling(place: str) -> Iterator[None]:
    """An `InputError` begins with where the fault is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def _converted(said: Option, kind: _Kind, value: Any) -> Any:
    if not said.again:
        return _row(kind, said, value)
    rows = value if isinstance(value, list) else [value]
    return tuple(_row(kind, said, row) for row in rows)


def _row(kind: _Kind, said: Option, value: Any) -> Any:
    if kind.nargs is None:
        return _scalar(kind, said, value)
    row = value if isinstance(value, list) else [value]
    if isinstance(kind.nargs, int) and len(row) != kind.nargs:
        raise ValueError(f"{kind.nargs} values are needed")
    return tuple(_scalar(kind, said, each) for each in row)


def _scalar(kind: _Kind, said: Option, value: Any) -> Any:
    if kind.scalar is bool or isinstance(value, bool | list | dict):
        if kind.scalar is not bool or not isinstance(value, bool):
            raise TypeError("a switch is true or false, and nothing else is")
        return value
    return kind.parse(said)(str(value))


def identity(settings: Settings) -> dict[str, Any]:
    """The fields that decide what is computed, as plain values, in the order of their names."""
    return {
        each.name: _plain(getattr(settings, each.name))
        for each in sorted(fields(settings), key=lambda each: each.name)
        if _said(each).identity
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def narrowed(settings: Settings, part: type[S]) -> S:
    """The settings of a base class that an instance of a class made from it holds."""
    return part(**{each.name: getattr(settings, each.name) for each in fields(part)})
