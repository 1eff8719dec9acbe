"""What a run leaves and reads back: changed bytes, two runs at once, full disks, rights."""

import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runs import (
    command,
    contents,
    environment,
    flags,
    log,
    steps_done,
)

from weam_ext.common.errors import InputError
from weam_ext.common.files import LOCK, owned, read_record, write_record
from weam_ext.model.loading import new_model
from weam_ext.text.tokenizer import wordpiece
from weam_ext.train import checkpoint
from weam_ext.train import loop as train
from weam_ext.train.checkpoint import BEST, checkpoints, load_state


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of the whole run."""
    return Path(shutil.copytree(whole, tmp_path / "run", symlinks=True))


ANCHORED = {"objective": "word-aligned", "steps": 4}


@pytest.fixture(scope="module")
def anchored(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of word-aligned, which keeps the model before training."""
    run = tmp_path_factory.mktemp("anchored") / "run"
    train.main(flags(inputs, run, **ANCHORED))
    return run


def replaced(before: bytes, after: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        assert data.count(before) == 1
        return data.replace(before, after)

    return change


# ------------------------------------------------------------------------------------ changed bytes

STATES: dict[str, Callable[[bytes], bytes]] = {
    "another place in the data": replaced(b'"batch": 8', b'"batch": 9'),
    "another step": replaced(b'"step": 8,', b'"step": 7,'),
    "no UTF-8": replaced(b'"batch"', b'"b\xe1tch"'),
    "a key less": replaced(b'"place"', b'"plaxe"'),
    "a list": lambda _: b"[]\n",
    "a number": lambda _: b"7",
    "no JSON": lambda data: b"(" + data[1:],
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "no digests": replaced(b'"files"', b'"fires"'),
}


@pytest.mark.parametrize("name", STATES)
def test_a_changed_state_is_passed_over(
    inputs: Path, whole: Path, run: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    state = run / "step-00000008" / "state.json"
    state.write_bytes(STATES[name](state.read_bytes()))
    with pytest.raises(InputError, match=re.escape(str(state))):
        load_state(state.parent)
    train.main(flags(inputs, run))
    said = capsys.readouterr().err
    assert f"passed over: {state}: " in said
    assert "now called torn-step-00000008" in said
    assert f"going on from {run / 'step-00000006'}" in said
    assert contents(run) == contents(whole)
    assert log(run) == log(whole)


def test_a_state_of_another_version(inputs: Path, run: Path) -> None:
    """Nothing is wrong with it, so that nothing is put aside."""
    for path in checkpoints(run):
        state = read_record(path / "state.json")
        write_record(path / "state.json", state | {"format": 99})
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(InputError, match=r"state\.json: format 99, expected \d+: .*another vers"):
        train.main(flags(inputs, run))
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_damaged_best_is_not_removed(inputs: Path, run: Path, capsys: Any) -> None:
    """Its weights may be all that somebody wants of it."""
    best = run / "step-00000001"
    (run / "step-00000008").rename(best)
    (best / "state.json").write_bytes(b"{}")
    train.main(flags(inputs, run, keep=1))
    assert (run / "torn-step-00000001" / "model.safetensors").exists()
    assert f"passed over: {best / 'state.json'}" in capsys.readouterr().err
    assert (run / BEST).exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_changed_model_before_training(
    inputs: Path, anchored: Path, tmp_path: Path, name: str
) -> None:
    run = Path(shutil.copytree(anchored, tmp_path / "run", symlinks=True))
    changed = run / "initial" / name
    data = changed.read_bytes()
    changed.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    with pytest.raises(InputError) as error:
        train.main(flags(inputs, run, **ANCHORED))
    assert str(error.value) == f"{changed}: the file was changed since it was saved"
    assert len(checkpoints(run)) == 2
    changed.write_bytes(data)
    train.main(flags(inputs, run, **ANCHORED))


def test_a_model_before_training_of_a_start_that_was_given_up(
    inputs: Path, anchored: Path, tmp_path: Path
) -> None:
    """Where there is no checkpoint nothing vouches for it, so that it is written anew."""
    run = Path(shutil.copytree(anchored, tmp_path / "run", symlinks=True))
    for path in checkpoints(run):
        shutil.rmtree(path)
    (run / "initial" / "model.safetensors").write_bytes(b"half of i")
    train.main(flags(inputs, run, **ANCHORED))
    assert contents(run) == contents(anchored)


def test_a_changed_tokenizer(inputs: Path, run: Path) -> None:
    changed = run / "tokenizer" / "tokenizer_config.json"
    changed.write_bytes(changed.read_bytes().replace(b"[MASK]", b"[PAD]"))
    with pytest.raises(InputError) as error:
        train.main(flags(inputs, run))
    assert str(error.value) == f"{changed}: the file was changed since it was saved"


@pytest.mark.parametrize(
    "change",
    [
        replaced(b'{"step": 3, "train"', b'{"step": 3, "tr\xe1in"'),
        replaced(b'{"step": 3, "train"', b'{"step": 3, "train'),
        replaced(b'{"step": 3, "train"', b'{"stop": 3, "train"'),
        replaced(b'{"step": 3, "train": {"loss": ', b'{"step": 3, "train": {"loss": NaN, "x": '),
        replaced(b'{"step": 3, "train"', b'\n{"step": 3, "train\n'),
    ],
)
def test_damaged_lines_of_the_log_are_left_out(
    inputs: Path, whole: Path, run: Path, capsys: Any, change: Callable[[bytes], bytes]
) -> None:
    path = run / "log.jsonl"
    path.write_bytes(change(path.read_bytes()))
    shutil.rmtree(run / "step-00000008")
    train.main(flags(inputs, run))
    assert re.search(rf"{path}, line \d+: damaged, left out\n", capsys.readouterr().err)
    assert contents(run) == contents(whole)
    kept = [r for r in log(whole) if not (r["step"] == 3 and "train" in r)]
    assert [r for r in log(run) if not (r["step"] == 3 and "train" in r)] == kept
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


# ---------------------------------------------------------------------------------- one at a time


def test_the_second_of_two_is_told_who_holds_the_directory(inputs: Path, run: Path) -> None:
    before = sorted(path.name for path in run.iterdir()), (run / "log.jsonl").read_bytes()
    with owned(run), pytest.raises(InputError, match=rf"{run}: process {os.getpid()} on .* is wr"):
        train.main(flags(inputs, run))
    assert (sorted(path.name for path in run.iterdir()), (run / "log.jsonl").read_bytes()) == before


def test_two_trainings_at_once(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = command(flags(inputs, run, steps=30, save_every=3))
    first = subprocess.Popen(given, env=environment(), stderr=subprocess.PIPE, text=True)
    while steps_done(run) < 1 and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    second = subprocess.run(given, env=environment(), capture_output=True, text=True)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    holder = f"error: {run}: process {first.pid} on "
    assert holder in second.stderr and "Traceback" not in second.stderr
    assert first.wait(240) == 0, first.communicate()[1]
    first.communicate()
    assert sorted({r["step"] for r in log(run) if "train" in r}) == list(range(1, 31))
    assert not (run / LOCK).exists()


ORPHANS = """
import os, signal, sys, time
from pathlib import Path
from weam_ext.common.files import owned

with owned(Path(sys.argv[1])):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, b".")
        time.sleep(20)
        os._exit(0)
    os.read(read, 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_children_do_not_hold_what_their_process_held(tmp_path: Path) -> None:
    """Workers that make batches live on for a moment when their run is killed."""
    done = subprocess.run([sys.executable, "-c", ORPHANS, str(tmp_path)], env=environment())
    assert done.returncode == -signal.SIGKILL
    with owned(tmp_path):
        pass


def test_what_killed_processes_left_is_removed(inputs: Path, whole: Path, tmp_path: Path) -> None:
    """In a new directory, where only such things lie, and in one that goes on."""
    run = tmp_path / "run"
    for steps in (2, 2):
        for name in (".step-00000002.0123abcd.part", ".initial.0123abcd.part"):
            (run / name).mkdir(parents=True)
            (run / name / ".tmpXyZ").write_bytes(b"as large as the model")
        (run / ".run.yaml.0123abcd.part").write_text("half of th")
        (run / LOCK).write_text("process 1 on nowhere\n")
        train.main(flags(inputs, run, steps=steps))
        assert not [path.name for path in run.iterdir() if path.name.startswith(".")]


def test_another_s_parts_are_not_removed(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    (tmp_path / ".download.part").write_text("mine, too")
    with pytest.raises(InputError, match="not empty, and no run"):
        train.main(flags(inputs, tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == [".download.part", "precious.txt"]


# ------------------------------------------------------------------------------- rights, full disks


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_others_may_read_what_the_umask_lets_them(inputs: Path, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        train.main(flags(inputs, tmp_path / "run", objective="word-aligned", steps=2))
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"model.safetensors", "optimizer.safetensors"} <= {path.name for path in files}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask, path


@pytest.mark.parametrize("limit", [300, 1 << 10, 1 << 12, 1 << 13, 1 << 15, 1 << 16])
def test_a_disk_that_is_full_from_the_start(inputs: Path, tmp_path: Path, limit: int) -> None:
    """Wherever that is: one sentence, which names a file, and status 2."""
    given = flags(inputs, tmp_path / "run", objective="word-aligned", steps=2, tensorboard=True)

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        command(given), env=environment(), capture_output=True, text=True, preexec_fn=full
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (error,) = [line for line in done.stderr.splitlines() if ": error: " in line]
    assert str(tmp_path / "run") in error and "File too large" in error
    assert not checkpoints(tmp_path / "run")


# -------------------------------------------------------------------------- what may differ, how


def test_intervals_may_change(inputs: Path, whole: Path, run: Path) -> None:
    """What is measured and saved on the way changes nothing of what is learned."""
    shutil.rmtree(run / "step-00000008")
    train.main(flags(inputs, run, eval_every=1, save_every=1))
    names = ("model.safetensors", "optimizer.safetensors")
    assert [contents(run)[n] for n in names] == [contents(whole)[n] for n in names]
    train_lines, wanted = ([r for r in log(each) if "train" in r] for each in (run, whole))
    assert train_lines == wanted
    assert {r["step"] for r in log(run) if "heldout/all" in r} == {0, 4, 7, 8}
    assert checkpoint.checkpoints(run)[0].name == "step-00000007"


def test_a_torn_checkpoint_is_passed_over(
    inputs: Path, whole: Path, tmp_path: Path, capsys: Any
) -> None:
    run = tmp_path / "run"
    train.main(flags(inputs, run))
    torn = checkpoints(run)[-1] / "model.safetensors"
    data = torn.read_bytes()
    torn.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"model\.safetensors: the file was changed"):
        load_state(torn.parent)
    (torn.parent / "README.md").write_text("Mine, which is nobody else's concern.")
    left = run / ".step-00000004.part"  # of a run that was killed while it wrote
    left.mkdir()
    train.main(flags(inputs, run, keep=1))
    said = capsys.readouterr().err
    assert f"passed over: {torn}: the file was changed" in said
    assert "now called torn-step-00000008" in said
    assert "going on from " + str(run / "step-00000006") in said
    assert contents(run) == contents(whole)
    assert log(run) == log(whole)
    assert (run / "torn-step-00000008" / "model.safetensors").read_bytes() != data
    assert not left.exists()
    assert [path.name for path in checkpoints(run)][-1] == "step-00000008"


def test_an_edited_card_is_no_torn_checkpoint(
    inputs: Path, whole: Path, tmp_path: Path, capsys: Any
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run, symlinks=True)
    (run / "step-00000008" / "README.md").write_text("Better words.")
    train.main(flags(inputs, run))
    assert "passed over" not in capsys.readouterr().err
    assert (run / "step-00000008" / "README.md").read_text() == "Better words."


def test_killed_before_its_settings_were_written(inputs: Path, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.yaml.part").write_text("half of th")
    train.main(flags(inputs, tmp_path / "run", steps=1))
    assert checkpoints(tmp_path / "run")


def test_another_run_s_directory(inputs: Path, whole: Path) -> None:
    with pytest.raises(InputError, match=r"holds a run with lr None, not 0\.5; give another"):
        train.main(flags(inputs, whole, lr=0.5))
    with pytest.raises(InputError, match="holds a run already"):
        train.main(flags(inputs, whole, resume="never"))


def test_a_directory_with_other_things(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty, and no run"):
        train.main(flags(inputs, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_the_encoder_of_the_aligner_is_known_by_its_content(inputs: Path, tmp_path: Path) -> None:
    """Moved, the run goes on; with other weights in its place, it does not."""
    here, there = tmp_path / "here", tmp_path / "there"
    made = wordpiece((inputs / "vocab.txt").read_text().split(), "the test's")
    for folder, seed in ((here, 1), (there, 2)):
        new_model(str(inputs / "model.json"), made, 128, seed).save_pretrained(folder)
        made.save_pretrained(folder)
    changes = {"aligner": "hybrid", "steps": 2}
    arguments = flags(inputs, tmp_path / "run", aligner_encoder=here, **changes)
    train.main(arguments)
    with pytest.raises(
        InputError, match=r"holds a run with aligner_encoder .*give another --output"
    ):
        train.main(flags(inputs, tmp_path / "run", aligner_encoder=there, **changes))
    moved = here.rename(tmp_path / "moved")
    train.main(flags(inputs, tmp_path / "run", aligner_encoder=moved, **changes))
