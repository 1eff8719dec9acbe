"""Every kernel that can be launched compiles for NVIDIA's GPUs, and what ptxas makes of it is good.

For an H100 the launches that training gives and one of each kind; the long test takes all of them
for an A100, an H100 and a B200.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import ROOT

Kernel = dict[str, Any]
LONG = [
    pytest.param([str(t), "--all"], marks=pytest.mark.long, id=f"all {t}") for t in (80, 90, 100)
]
WIDE_LOADS = {"ld.global.v4.b32", "ld.global.v2.b64"}
WIDE_STORES = {"st.global.v4.b32", "st.global.v2.b64"}


@pytest.fixture(scope="module", params=[pytest.param(["90"], id="90"), *LONG])
def calls(request: Any) -> dict[str, list[Kernel] | str]:
    """By call, the kernels it launches, or what the compiler says against them."""
    # The interpreter is chosen for a whole process, and the compiler needs another.
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    program = [sys.executable, str(ROOT / "tests" / "ahead_of_time.py"), *request.param]
    done = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    target = request.param[0]
    found = {name: of_targets[target] for name, of_targets in json.loads(done.stdout).items()}
    for name, kernel in kernels(found):
        assert kernel["target"].startswith(f"sm_{target}"), name
    return found


def kernels(calls: dict[str, list[Kernel] | str]) -> Iterator[tuple[str, Kernel]]:
    return ((name, kernel) for name, each in calls.items() if not isinstance(each, str)
            for kernel in each)  # fmt: skip


def test_every_launch_compiles(calls: dict[str, list[Kernel] | str]) -> None:
    """Each argument that may be None is None in some: the interpreter would not see it read."""
    assert {name: said for name, said in calls.items() if not isinstance(said, list)} == {}
    assert all(calls.values())
    for prefix in ("gather, no links", "gather backward, no links", "head, no bias", "mask"):
        assert any(name.startswith(prefix) for name in calls)


def test_every_objective_launches_what_it_needs(calls: dict[str, list[Kernel] | str]) -> None:
    steps = {name: each for name, each in calls.items() if name.startswith("training")}
    assert len(steps) == 26
    for name, each in steps.items():
        assert isinstance(each, list), name
        launched = {kernel["kernel"] for kernel in each}
        learned = set() if "word-aligned" in name else {"_gather_rows_backward", "_gradients"}
        masks = {"_write_keys", "_select", "_number"}
        assert launched == {"_gather_rows", "_row_statistics"} | learned | masks, name


def test_no_register_is_spilled(calls: dict[str, list[Kernel] | str]) -> None:
    assert [(name, k) for name, k in kernels(calls) if k["spilled_bytes"]] == []


def test_rows_are_read_and_written_16_bytes_at_a_time(
    calls: dict[str, list[Kernel] | str],
) -> None:
    aligned = [(name, kernel) for name, kernel in kernels(calls) if name.endswith(" aligned")]
    assert aligned
    for name, kernel in aligned:
        assert WIDE_LOADS & {*kernel["loads"]}, (name, kernel)
        if kernel["kernel"] != "_row_statistics":  # which stores no rows
            assert WIDE_STORES & {*kernel["stores"]}, (name, kernel)


def test_offsets_of_rows_have_64_bits(calls: dict[str, list[Kernel] | str]) -> None:
    """65,536 rows of 119,552 logits are more than 2^31: a program's number is widened at once."""
    for name, kernel in kernels(calls):
        assert {*kernel["uses_of_programs"]} == {"arith.extsi"}, (name, kernel)


def test_nothing_waits_in_the_loops_of_the_head(calls: dict[str, list[Kernel] | str]) -> None:
    found = [(name, k) for name, k in kernels(calls)
             if k["kernel"] in ("_row_statistics", "_gradients")]  # fmt: skip
    assert found
    assert [(name, k) for name, k in found if k["barriers_in_loops"]] == []


def test_masking_takes_three_launches(calls: dict[str, list[Kernel] | str]) -> None:
    masks = [list_ for name, list_ in calls.items() if name.startswith("mask")]
    assert len(masks) > 50
    for launched in masks:
        assert isinstance(launched, list)
        assert [k["kernel"] for k in launched] == ["_write_keys", "_select", "_number"]
