"""What the tests of preparing share."""

from pathlib import Path

import pytest

from weam_ext.text.toy_corpus import vocabulary


@pytest.fixture
def vocab(tmp_path: Path) -> str:
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary()))
    return str(tmp_path / "vocab.txt")
