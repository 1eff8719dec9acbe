"""The cells of a grid: what names each of them, and what makes it fail."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from transfer_files import flags, small_data

from weam_ext.common.errors import InputError
from weam_ext.transfer import cli, read_all
from weam_ext.transfer.results import read_failed


def test_one_bad_model_or_task_does_not_stop_the_others(
    inputs: Path, tmp_path: Path, capsys: Any
) -> None:
    data = small_data(tmp_path / "data")
    (data / "udpos/dev-de.tsv").write_text("a\tNOPE\n")
    bad = shutil.copytree(inputs / "a", tmp_path / "bad")
    (bad / "config.json").write_text('{"model_type": "t5"}')
    arguments = flags(inputs, tmp_path / "out", models=(f"good={inputs / 'a'}", f"bad={bad}",
                                                        f"gone={tmp_path / 'gone'}"))  # fmt: skip
    with pytest.raises(InputError, match="7 of 9 cells failed"):
        cli.main([*arguments, "--data", str(data), "--tasks", "tatoeba", "udpos", "alignment",
                       "--seeds", "1"])  # fmt: skip
    reasons = {(f.cell.model, f.cell.task): f.reason for f in read_failed(tmp_path / "out")}
    assert "line 1: tag 'NOPE' is none of ADJ" in reasons["good", "udpos"]
    assert reasons["gone", "tatoeba"].endswith("gone: no such directory")
    assert str(bad) in reasons["bad", "alignment"]
    assert {row.cell.task for row in read_all(tmp_path / "out")} == {"tatoeba", "alignment"}
