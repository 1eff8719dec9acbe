"""Typed settings: the same values and the same checks from flags, YAML and Python."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from weam_ext.common.errors import InputError, Parser
from weam_ext.common.settings import (
    REQUIRED,
    Rule,
    Settings,
    above,
    add_flags,
    at_least,
    between,
    converted,
    given,
    identity,
    narrowed,
    option,
    within,
)


@dataclass(frozen=True)
class Small(Settings, group="first"):
    steps: int | None = option(None, "How many steps. By default all.", rule=at_least(1))
    rate: float = option(0.5, "The rate, of 100 %.", rule=between(0, 1))


@dataclass(frozen=True)
class Large(Small, group="second"):
    texts: tuple[tuple[str, ...], ...] | None = option(None, "Files.", again=True, metavar="FILE")
    names: tuple[str, ...] | None = option(None, "Names.", again=True)
    betas: tuple[float, float] = option(
        (0.9, 0.99), "Two.", rule=Rule(lambda b: max(b) < 1, "below 1")
    )
    fast: bool = option(False, "Whether it is fast.", identity=False)
    quiet: bool = option(False, "Say nothing.", switch=True, flags=("-q", "--be_quiet"))
    kind: str = option("a", "The kind.", choices=("a", "b"), group="third")
    size: int = option(3, "The size.", rule=within(1, 9000), parse=lambda text: int(text, 16))
    ratio: float = option(1.0, "A ratio.", rule=above(0))
    output: Path = option(REQUIRED, "Where.", identity=False, metavar="DIR")


def flags(*arguments: str) -> Large:
    parser = Parser("weam_ext.mine", None)
    add_flags(parser, Large)
    return Large(**given(parser, Large, arguments))


def test_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home")
    texts = "--texts a b --texts c --names x --names y"
    others = "--betas 0.1 0.2 --no-fast -q --kind b --size ff --steps 5 --output ~/out"
    found = flags(*texts.split(), *others.split())
    assert found == Large(
        steps=5, texts=(("a", "b"), ("c",)), names=("x", "y"), betas=(0.1, 0.2), fast=False,
        quiet=True, kind="b", size=255, output=Path("/home/out"),
    )  # fmt: skip
    assert flags("--output", "o") == Large(output=Path("o"))


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        flags("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "first: --steps N How many steps. By default all. --rate X" in text
    assert "The rate, of 100 % (default: 0.5) second: --texts FILE [FILE ...]" in text
    assert "-q, --be_quiet Say nothing. " in text
    assert "third: --kind {a,b} The kind (default: a)" in text


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"steps": 0}, "--steps must be at least 1, not 0"),
        ({"rate": 1.0}, "--rate must be between 0 and 1, not 1.0"),
        ({"rate": float("nan")}, "--rate must be a number below 2^31, not nan"),
        ({"betas": [0.5, 1.0]}, "--betas must be below 1, not (0.5, 1.0)"),
        ({"kind": "c"}, "--kind must be one of a, b, not c"),
        ({"names": [" "]}, "--names must be a name, not ' '"),
        ({"size": 9999}, "--size must be from 1 to 9,000, not 39321"),
        ({"ratio": -1}, "--ratio must be above 0, not -1.0"),
    ],
)
def test_what_a_rule_does_not_allow(values: dict[str, Any], fault: str) -> None:
    """In the same words wherever it comes from; of a file, with its name."""
    with pytest.raises(InputError) as error:
        converted(Large, values, "c.yaml")
    assert str(error.value) == f"c.yaml: {fault}"
    arguments: list[str] = []
    for name, value in values.items():
        arguments += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    with pytest.raises(InputError) as error:
        flags("--output", "o", *arguments)
    assert str(error.value) == fault


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"speed": 1}, "c.yaml: unknown setting 'speed'"),
        ({1: 1}, "c.yaml: unknown setting '1'"),
        ({"steps": 1.5}, "c.yaml: steps cannot be 1.5"),
        ({"steps": True}, "c.yaml: steps cannot be True"),
        ({"fast": "yes"}, "c.yaml: fast cannot be 'yes'"),
        ({"fast": 1}, "c.yaml: fast cannot be 1"),
        ({"betas": [1]}, "c.yaml: betas cannot be [1]"),
        ({"rate": {"a": 1}}, "c.yaml: rate cannot be {'a': 1}"),
    ],
)
def test_what_a_file_cannot_say(values: dict[Any, Any], fault: str) -> None:
    with pytest.raises(InputError) as error:
        converted(Large, values, "c.yaml")
    assert str(error.value) == fault


def test_a_record_gives_the_same_settings() -> None:
    made = Large(steps=7, texts=(("a", "b"), ("c",)), kind="b", output=Path("o"))
    record = identity(made)
    assert list(record) == sorted(record)
    assert record["texts"] == [["a", "b"], ["c"]] and "fast" not in record
    assert Large(**converted(Large, record, "r"), output=Path("o")) == made
    assert narrowed(made, Small) == Small(steps=7)
