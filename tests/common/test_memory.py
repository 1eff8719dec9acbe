"""Memory that is told, and sizes as people write them."""

import subprocess
import sys

import pytest

from weam_ext.common.errors import InputError
from weam_ext.common.memory import (
    available_memory,
    format_size,
    parse_size,
    peak_memory,
    thread_count,
    used_memory,
)

MB = 10**6


def test_peak_is_that_of_this_process() -> None:
    """Not of the one that started it."""
    held = bytearray(400 * MB)
    script = "from weam_ext.common.memory import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) < 200 * MB < len(held) < peak_memory()


@pytest.mark.parametrize(
    ("text", "size"),
    [("500M", 500 * MB), ("1.5g", 1_500_000_000), (" 2GB ", 2 * 10**9), ("1000000", MB),
     ("1 k", 1000), ("0.001K", 1), ("3b", 3)],
)  # fmt: skip
def test_sizes_there(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "0", "0.0001K", "-1", "1e9", "2X", "GB", "٣", "1..5G", "1" * 16]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError) as error:
        parse_size(text)
    assert str(error.value) == f"expected a size such as 500M or 2G, not {text!r}"


def test_sizes_back() -> None:
    assert [format_size(size) for size in (1.336e9, 1e8, 99.94e6, 0)] == [
        "1.34 GB", "0.10 GB", "99.9 MB", "0.0 MB",
    ]  # fmt: skip


def test_what_is_held_is_told() -> None:
    before = used_memory()
    held = bytearray(b"x") * (200 * MB)
    assert used_memory() - before == pytest.approx(len(held), rel=0.1)
    assert peak_memory() >= used_memory() * 0.99
    assert 0 < available_memory() < 10**15


def test_threads_are_those_of_the_processors_or_as_many_as_are_asked_for() -> None:
    assert thread_count(None) >= 1
    assert thread_count(3) == 3
    for wrong in (0, -1, 2**31, 2.5, "2"):
        with pytest.raises(InputError, match="threads must be at least 1"):
            thread_count(wrong)  # type: ignore[arg-type]
