"""A cell's file: what is written is read again, and nothing else is."""

from pathlib import Path

import pytest

from weam_ext.common.errors import InputError
from weam_ext.transfer import read


def test_a_file_that_is_no_cell(tmp_path: Path) -> None:
    (tmp_path / "x.arrow").write_bytes(b"ARROW1 but not really")
    with pytest.raises(InputError, match=r"x\.arrow: not predictions of weam_ext\.transfer"):
        read(tmp_path / "x.arrow")
