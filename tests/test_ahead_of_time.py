"""Every kernel compiles for an A100 and an H100, reads rows 16 bytes a load, and spills nothing."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from helpers import ROOT

Kernels = dict[str, dict[str, list[dict[str, Any]]]]
TARGETS = ["80", "90"]


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    # The interpreter is chosen for a whole process, and the compiler needs another.
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    program = [sys.executable, str(ROOT / "tests" / "ahead_of_time.py")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("target", TARGETS)
def test_kernels_compile_and_spill_nothing(kernels: Kernels, target: str) -> None:
    assert len(kernels) > 10
    for name, compiled in kernels.items():
        assert compiled[target], name
        for kernel in compiled[target]:
            assert kernel["target"].startswith(f"sm_{target}"), name
            assert kernel["spilled_bytes"] == 0, (name, kernel)


@pytest.mark.parametrize("target", TARGETS)
def test_rows_are_read_and_written_16_bytes_at_a_time(kernels: Kernels, target: str) -> None:
    wide = {name: compiled for name, compiled in kernels.items() if "aligned" in name}
    assert wide
    for name, compiled in wide.items():
        for kernel in compiled[target]:
            assert {"ld.global.v4.b32", "ld.global.v2.b64"} & {*kernel["loads"]}, (name, kernel)
            if "no gradient" not in name:  # which stores no rows
                assert {"st.global.v4.b32", "st.global.v2.b64"} & {*kernel["stores"]}, (
                    name,
                    kernel,
                )


def test_masking_takes_three_launches(kernels: Kernels) -> None:
    masks = [compiled for name, compiled in kernels.items() if name.startswith("mask")]
    assert len(masks) == 16
    for compiled in masks:
        names = [kernel["kernel"] for kernel in compiled["80"]]
        assert names == ["_write_keys", "_select", "_number"]
