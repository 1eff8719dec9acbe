"""Files written whole, records that vouch for themselves, and one owner a directory."""

import json
import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from safetensors.numpy import load_file, save_file

from weam_ext.common.errors import InputError
from weam_ext.common.files import (
    LOCK,
    owned,
    read_record,
    remove_parts,
    tensors_durably,
    write_record,
    write_whole,
)

RECORD = {"step": 8, "rate": 0.1, "name": "Œuvre", "files": {"a": "0", "b": "1"}, "none": None}
HOLD = """
import sys, time
from pathlib import Path
from weam_ext.common.files import owned
with owned(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_record_comes_back(tmp_path: Path) -> None:
    write_record(tmp_path / "a.json", RECORD)
    assert read_record(tmp_path / "a.json") == RECORD


def test_every_flipped_bit_of_a_record_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_record(path, RECORD)
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                assert read_record(path) == RECORD
            except InputError as error:
                assert str(path) in str(error)
                refused += 1
    assert refused > 7 * len(whole)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"step": 1}', "[" * 10**5, "\x00", "null"])
def test_what_is_no_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        read_record(path)


def test_records_hold_no_numbers_that_json_has_not(tmp_path: Path) -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON compliant"):
            write_record(tmp_path / "a.json", {"loss": value})
        assert not (tmp_path / "a.json").exists()


def hold(directory: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_owner_a_directory(tmp_path: Path) -> None:
    place = tmp_path / "new"
    process = hold(place)
    said = rf"new: process {process.pid} on .* is writing there"
    with pytest.raises(InputError, match=said), owned(place):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with owned(place):
        assert str(os.getpid()) in (place / LOCK).read_text()
    assert not list(place.iterdir())


def test_two_who_write_one_file_do_not_meet(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c",
             "import sys; from pathlib import Path; from weam_ext.common.files import write_whole\n"
             f"for _ in range(200): write_whole(Path(sys.argv[1]), b'{letter}' * 100000)",
             str(tmp_path / "out")],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for letter in "abc"
    ]  # fmt: skip
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    data = (tmp_path / "out").read_bytes()
    assert len(data) == 100000
    assert len(set(data)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_parts_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.json.0123abcd.part", "b.part", ".c"):
        (tmp_path / name).write_text("half")
    (tmp_path / ".step.part").mkdir()
    (tmp_path / ".step.part" / "half").write_text("half")
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".c", "b.part"]


def test_json_that_others_can_read(tmp_path: Path) -> None:
    write_record(tmp_path / "a.json", RECORD)
    assert json.loads((tmp_path / "a.json").read_text())["name"] == "Œuvre"
    write_whole(tmp_path / "b", b"x")
    mode = (tmp_path / "b").stat().st_mode & 0o777
    assert mode == (tmp_path / "a.json").stat().st_mode & 0o777


SAVE_TENSORS = """
import os, sys
from functools import partial
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from weam_ext.common.files import tensors_durably
os.umask(int(sys.argv[2], 8))
tensors = {"a": np.zeros(int(sys.argv[3]), np.float32)}
tensors_durably(partial(save_file, tensors), Path(sys.argv[1]))
"""


@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("002", 0o664), ("077", 0o600)])
def test_tensors_can_be_read_by_whom_the_umask_lets(tmp_path: Path, umask: str, mode: int) -> None:
    path = tmp_path / "a.safetensors"
    subprocess.run(
        [sys.executable, "-c", SAVE_TENSORS, str(path), umask, "9"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    assert path.stat().st_mode & 0o777 == mode
    assert load_file(path)["a"].shape == (9,)
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_full_disk_leaves_the_old_tensors(tmp_path: Path) -> None:
    """The largest file that the process may write stands for a disk."""
    path = tmp_path / "a.safetensors"
    tensors_durably(partial(save_file, {"a": np.ones(3)}), path)
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 50; trap "" XFSZ; exec "$0" "$@"',
         sys.executable, "-c", SAVE_TENSORS, str(path), "022", "1000000"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "InputError" in done.stderr.splitlines()[-1]
    assert f"{path}: cannot be written (" in done.stderr
    assert load_file(path)["a"].tolist() == [1, 1, 1]
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


def test_tensors_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    def die(path: Path) -> None:
        path.with_name(".tmpAbCdEf").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tensors_durably(die, tmp_path / "a")
    assert not list(tmp_path.iterdir())
    (tmp_path / ".a.01234567.part").mkdir()  # where there was no time even for that
    (tmp_path / ".a.01234567.part" / ".tmpAbCdEf").write_bytes(b"half")
    remove_parts(tmp_path)
    assert not list(tmp_path.iterdir())
