"""The record of a checkpoint, and the files for which it vouches."""

from pathlib import Path

import pytest

from weam_ext.common.checkpoint_state import (
    FORMAT,
    OPTIMIZER,
    STATE,
    OtherFormatError,
    check_files,
    check_unchanged,
    digests,
    read_state,
)
from weam_ext.common.errors import InputError
from weam_ext.common.files import write_record


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of three files, one of them in a folder."""
    for name in ("model.safetensors", OPTIMIZER, "folder/more"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    write_record(tmp_path / STATE, {"format": FORMAT, "files": digests(tmp_path, tmp_path)})
    return tmp_path


def test_a_state_vouches_for_its_files(saved: Path) -> None:
    files = read_state(saved)["files"]
    assert list(files) == ["folder/more", "model.safetensors", OPTIMIZER]
    check_files(saved, files)
    (saved / "folder/more").write_text("less")
    with pytest.raises(InputError, match="folder/more: the file was changed since it was saved"):
        check_files(saved, files)
    (saved / "folder/more").unlink()
    with pytest.raises(InputError, match="folder/more: No such file or directory"):
        check_files(saved, files)


def test_folders_that_are_not_there_hold_no_files(tmp_path: Path) -> None:
    assert digests(tmp_path, tmp_path / "none") == {}


def test_of_what_is_evaluated_the_optimizer_is_no_part(saved: Path) -> None:
    (saved / OPTIMIZER).unlink()
    check_unchanged(saved)
    (saved / "model.safetensors").write_text("another")
    with pytest.raises(InputError, match=r"was saved; if that was meant, remove its state\.json"):
        check_unchanged(saved)
    (saved / STATE).unlink()  # as the sentence says
    check_unchanged(saved)


def test_a_state_of_another_version(tmp_path: Path) -> None:
    write_record(tmp_path / STATE, {"format": FORMAT + 1, "files": {"gone": "0"}})
    with pytest.raises(OtherFormatError, match=f"format {FORMAT + 1}, expected {FORMAT}: the run"):
        read_state(tmp_path)
    check_unchanged(tmp_path)  # nothing is known of it


def test_a_state_that_was_edited(saved: Path) -> None:
    state = saved / STATE
    state.write_text(state.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError) as error:
        read_state(saved)
    assert not isinstance(error.value, OtherFormatError)
    assert str(error.value).startswith(f"{state}: ")
