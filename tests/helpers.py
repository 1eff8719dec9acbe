"""What several tests share."""

import os
from pathlib import Path

import pytest

from weam_ext.text.lines import read_lines
from weam_ext.text.pharaoh import Link, parse_links

ROOT = Path(__file__).resolve().parents[1]
FAST_ALIGN = ROOT / "tests" / "fast_align"


def real_data(name: str) -> Path:
    """A folder of real data, kept outside of the repository; skips the test where it is absent."""
    folder = Path(os.environ.get("WEAM_DATA", ROOT.parent / "shared" / "data"), name)
    if not folder.is_dir():
        pytest.skip(f"needs the data set {name}: set WEAM_DATA to the folder that holds it")
    return folder


def recorded_links(name: str) -> list[list[Link]]:
    """What the original fast_align or atools wrote: see the README beside the files."""
    return [parse_links(line, name) for line in read_lines(str(FAST_ALIGN / f"{name}.xz"))]
