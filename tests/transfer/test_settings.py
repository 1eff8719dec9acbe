"""The settings of an evaluation: what cannot be meant is told at once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transfer_files import write

from weam_ext.common.errors import InputError
from weam_ext.transfer import cli
from weam_ext.transfer.settings import TransferSettings
from weam_ext.transfer.tasks import Limits, Recipe


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--models", "m", "--tasks", "xnli", "--data", "/"], "expected NAME=DIR"),
        (["--models", "m=a", "m=b", "--tasks", "xnli", "--data", "/"], "two models are called"),
        (["--models", "m=a", "--tasks", "xnli"], "--data is needed"),
        (["--models", "m=a"], "nothing to do"),
        (["--models", "m=a", "--tasks", "nope"], "unknown; there are"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/no/such"], "no such directory"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/", "--settings", "few-shot"],
         "none of zero-shot"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/", "--noise", "rain=1"],
         "one of typos"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/", "--noise", "synonyms=.1"],
         "needs --lexicon"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/", "--seeds", "0"], "at least 1"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_meant(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        cli.main([*arguments, "--output", str(tmp_path), "--device", "cpu"])


def made(**given: Any) -> TransferSettings:
    """Settings of one model, with bitext for a task."""
    return TransferSettings(**{"models": (("m=a,b", "n=c"),), "output": Path("out"),
                               "bitext": (("x.txt",),)} | given)  # fmt: skip


def test_what_a_command_line_stands_for() -> None:
    found = made(tasks=("xnli", "bitext", "xnli"), data=Path("/"), test_limit=7)
    assert found.chosen_tasks == ("xnli", "bitext")
    assert found.limits() == Limits(None, None, 7)
    directories = {name: [path.name for path in paths]
                   for name, paths in found.model_directories().items()}  # fmt: skip
    assert directories == {"m": ["a", "b"], "n": ["c"]}
    default = Recipe(warmup=500)
    assert found.recipe(default) == default
    own = replace(found, epochs=1.5, batch_size=4).recipe(default)
    assert own == replace(default, epochs=1.5, batch_size=4)


def test_bitexts_of_one_name() -> None:
    assert [source.name for source in made().bitexts()] == ["x"]
    with pytest.raises(InputError, match="two bitexts are called 'x': write --bitext NAME=FILE"):
        made(bitext=(("x.txt",), ("y/x.txt",))).bitexts()


def test_lexica_by_language(tmp_path: Path) -> None:
    path = write(tmp_path / "lex", "haus house 0.9\n")
    found = made(lexicon=(f"de={path}",)).lexica()
    assert found["de"].forward == {"house": "haus"}
    for argument in (str(path), f"={path}", "de="):
        with pytest.raises(InputError, match="expected CODE=FILE"):
            made(lexicon=(argument,)).lexica()


def test_a_setting_that_is_none() -> None:
    for setting in ("few-shot-0", "few-shot-x", "translate"):
        with pytest.raises(InputError, match=f"--settings {setting}: none of zero-shot"):
            made(settings=(setting,))
