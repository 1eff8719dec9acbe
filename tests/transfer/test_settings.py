"""The settings of an evaluation: what cannot be meant is told at once."""

from pathlib import Path

import pytest

from weam_ext.common.errors import InputError
from weam_ext.transfer import cli


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
         "none of typos"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/", "--noise", "synonyms=.1"],
         "needs --lexicon"),
        (["--models", "m=a", "--tasks", "xnli", "--data", "/", "--seeds", "0"], "at least 1"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_meant(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        cli.main([*arguments, "--output", str(tmp_path), "--device", "cpu"])
