"""One changed byte anywhere in what a run goes on from: it is told, or it changes nothing."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from damage import files_of, one_byte_changes
from runs import contents, flags

from weam_ext.common.checkpoint_state import CARD
from weam_ext.common.errors import InputError
from weam_ext.train import loop as train
from weam_ext.train.checkpoint import checkpoints

RUN: dict[str, Any] = {"objective": "word-aligned", "steps": 5, "eval_every": 5, "keep": 3}


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    train.main(flags(inputs, run, **RUN))
    return run


def result(run: Path) -> dict[str, bytes]:
    """The last checkpoint but for its card, which is for readers."""
    return {name: data for name, data in contents(run).items() if name != CARD}


@pytest.mark.parametrize("count", [12, pytest.param(1000, marks=pytest.mark.long)])
def test_one_byte_changes_of_a_run(
    inputs: Path, whole: Path, tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of its newest checkpoint, of which there is an older one, and of all else but the text."""
    stopped, run = tmp_path / "stopped", tmp_path / "run"
    shutil.copytree(whole, stopped, symlinks=True)
    shutil.rmtree(checkpoints(stopped)[-1])
    older, newest = checkpoints(stopped)
    beside = [*files_of(stopped / "initial"), *files_of(stopped / "tokenizer")]
    others = [stopped / "log.jsonl", stopped / "run.yaml"]
    told = {"passed over": 0, "refused": 0, "no other result": 0}
    for change in one_byte_changes([*files_of(newest), *beside, *others], count):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(stopped, run, symlinks=True)
        try:
            train.main(flags(inputs, run, **RUN))
        except InputError as error:
            assert str(run) in str(error), change
            told["refused"] += 1
            continue
        assert result(run) == result(whole), change
        said = capsys.readouterr().err
        went_back = f"going on from {run / older.name}" in said
        assert went_back == (f"passed over: {run / newest.name}" in said), change
        told["passed over" if went_back else "no other result"] += 1
    with capsys.disabled():
        print(f"\n{count} changes: {told}")
    assert told["passed over"] and told["refused"]
