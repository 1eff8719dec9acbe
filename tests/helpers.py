"""What several tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def real_data(name: str) -> Path:
    """A folder of real data, kept outside of the repository; skips the test where it is absent."""
    folder = Path(os.environ.get("WEAM_DATA", ROOT.parent / "shared" / "data"), name)
    if not folder.is_dir():
        pytest.skip(f"needs the data set {name}: set WEAM_DATA to the folder that holds it")
    return folder
