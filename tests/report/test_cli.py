"""The report's command line: what it needs, and what it refuses."""

import sys
from pathlib import Path

import pytest
from report_files import cells

from weam_ext.common.errors import InputError
from weam_ext.report import cli as report


def test_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no results of weam_ext\.transfer there"):
        report.main([str(tmp_path)])


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"needs matplotlib: pip install 'weam-ext\[transfer\]'"):
        report.main([str(tmp_path)])


def test_a_role_without_a_model(tmp_path: Path) -> None:
    cells(tmp_path, "m", ["1101"])
    with pytest.raises(InputError, match="expected ROLE=MODEL"):
        report.main([str(tmp_path), "--role", "base"])
