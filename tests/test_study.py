"""recipes/study.py: from an encoder to the page, stopped and gone on with, shared and failing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import study
from helpers import ROOT
from small_tokenizers import tokenizer
from transfer_files import SMALL, small_data

from weam_ext.common.errors import InputError
from weam_ext.model.loading import new_model
from weam_ext.text.toy_corpus import sentence_pairs

OBJECTIVES = ("mlm", "contrastive", "weam")
NAMES = ["base", *OBJECTIVES]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder without a head, the data sets of its tasks, and bitext."""
    directory = tmp_path_factory.mktemp("study")
    small_data(directory / "data")
    new_model(SMALL, tokenizer("WordPiece"), 128, 0).base_model.save_pretrained(directory / "e5")
    tokenizer("WordPiece").save_pretrained(directory / "e5")
    lines = [f"{pair.source} ||| {pair.target}\n" for pair in sentence_pairs("toku", 60)]
    (directory / "en-de.txt").write_text("".join(lines))
    return directory


def arguments(inputs: Path, **changes: Any) -> list[str]:
    """A smoke study in the working directory."""
    given = {
        "--model": inputs / "e5", "--data": inputs / "data", "--output": "out", "--size": "smoke",
        "--bitext": f"en-de={inputs / 'en-de.txt'}", **changes,
    }  # fmt: skip
    flags = [text for name, value in given.items() for text in (name, str(value))]
    return [*flags, "--languages", "en", "de", "--objectives", *OBJECTIVES, "--fresh-head"]


def page(directory: Path) -> bytes:
    return (directory / "out/scores/report.html").read_bytes()


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        study.main(arguments(inputs))
    return directory


def test_everything_is_compared(whole: Path, inputs: Path, capsys: Any) -> None:
    text = page(whole).decode()
    assert all(f">{name}<" in text for name in NAMES)
    done = {path.name for path in (whole / "out/done").iterdir() if not path.suffix}
    trainings = {f"{name}-0" for name in OBJECTIVES}
    assert done == {"text", "head"} | trainings | {f"udpos+tatoeba-{name}" for name in NAMES}


def test_killed_and_gone_on_with_it_ends_in_the_same_page(
    whole: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """From where one training and the evaluations of two encoders are missing."""
    shutil.copytree(whole / "out", tmp_path / "out")
    (tmp_path / "out/scores/report.html").unlink()
    shutil.rmtree(tmp_path / "out/weam-0")
    for name in ("weam-0", "udpos+tatoeba-base", "udpos+tatoeba-weam"):
        (tmp_path / f"out/done/{name}").unlink()
    for path in (tmp_path / "out/scores/cells").glob("*base*"):
        path.unlink()
    command = [sys.executable, str(ROOT / "recipes/study.py"), *arguments(inputs)]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as process:
        while not (tmp_path / "out/weam-0").exists():
            time.sleep(0.01)
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "out/done/weam-0").exists()
    monkeypatch.chdir(tmp_path)
    study.main(arguments(inputs))
    assert page(tmp_path) == page(whole)
    assert capsys.readouterr().err.count(" of 9: ") == 3


def test_what_is_left_is_told(
    whole: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(whole)
    study.main([*arguments(inputs), "--dry-run"])
    assert "About 0.0 hours are left for one process." in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    study.main([*arguments(inputs), "--dry-run", "--variants"])
    told = capsys.readouterr().out
    assert "| head | 0.00 |  |" in told and "weam-exclusive-0" in told
    assert not list(tmp_path.iterdir())


def test_precision_is_that_of_all_commands(inputs: Path) -> None:
    given = study.parts_of(study.parse([*arguments(inputs), "--precision", "bf16-autocast"]))
    told = {part.name: "bf16-autocast" in part.command for part in given}
    assert not told.pop("text") and all(told.values())
    without = study.parts_of(study.parse(arguments(inputs)))
    assert not any("--precision" in part.command for part in without)


def test_another_command_is_not_taken_for_done(whole: Path, inputs: Path) -> None:
    found, other = (
        study.parts_of(study.parse(arguments(inputs, **{"--size": size})))
        for size in ("smoke", "small")
    )
    files = study.inputs_of(study.parse(arguments(inputs)))
    assert {Path(name).name for name in files} >= {"model.safetensors", "en-de.txt"}
    made = study.Study(whole / "out", found, files)
    assert all(map(made.done, found)) and not any(map(made.done, other))
    changed = study.Study(whole / "out", found, files | {str(inputs / "en-de.txt"): "0" * 64})
    assert not any(map(changed.done, found))


def parts(directory: Path) -> list[study.Part]:
    """Of which the second fails, and the third needs it."""
    command = ("weam_ext.align", "--help")
    (directory / "made").mkdir()
    return [
        study.Part("one", command, 1),
        study.Part("two", ("weam_ext.prepare", "--nosuch"), 1, ("one",)),
        study.Part("three", command, 1, ("two",)),
        study.Part("four", command, 1, ("one",)),
    ]


def test_what_fails_does_not_stop_the_rest(tmp_path: Path, capsys: Any) -> None:
    made = study.Study(tmp_path, parts(tmp_path), {})
    made.work()
    assert made.failed == {"two", "three"}
    assert [part.name for part in made.parts if made.done(part)] == ["one", "four"]
    told = capsys.readouterr().err
    assert "two failed with status 2: " in told and f"(see {tmp_path / 'logs/two'})" in told
    assert json.loads((tmp_path / "done/four").read_text())["command"][0] == "weam_ext.align"


def test_what_is_missing_is_the_status(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "parts_of", lambda options: parts(tmp_path))
    monkeypatch.setattr(study.Study, "report", lambda study, languages: Path("page"))
    with pytest.raises(InputError, match="2 parts are missing: three, two"):
        study.main(arguments(inputs))


def test_two_share_the_work(tmp_path: Path) -> None:
    """What another process holds is waited for, and not done twice."""
    driver = (
        "import sys; sys.path.insert(0, sys.argv[1]); import study; from pathlib import Path; "
        "command = ('weam_ext.align', '--help'); study.POLL_SECONDS = 0.05; "
        "study.Study(Path(sys.argv[2]), "
        "[study.Part(str(k), command, 1, (str(k - 1),) if k else ()) for k in range(3)], {}).work()"
    )
    command = [sys.executable, "-c", driver, str(ROOT / "recipes"), str(tmp_path)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = "".join(process.communicate(timeout=120)[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert told.count(" of 3: ") == 3
