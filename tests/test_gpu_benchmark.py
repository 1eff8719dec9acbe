"""The benchmark of a GPU, tried on a small model without one, and what goes wrong in it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT

CONDITIONS = {"gpu": "H900", "torch": "3.0", "triton": "4.0", "transformers": "6.0",
              "commit": "abc", "model": "tiny"}  # fmt: skip
KEY = "gpu H900, torch 3.0, triton 4.0, transformers 6.0, commit abc, model tiny"


@pytest.fixture(scope="module")
def gpu() -> Any:
    """benchmarks/gpu.py, as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import gpu

        yield gpu


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All of it, once, as one command."""
    output = tmp_path_factory.mktemp("gpu") / "gpu.json"
    script = str(ROOT / "benchmarks" / "gpu.py")
    command = [sys.executable, script, "--tiny", "--steps", "1", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    [results] = json.loads(output.read_text()).values()
    return results, done.stdout


def test_every_item_runs(measured: Any) -> None:
    items = measured[0]["items"]
    assert [name for name, found in items.items() if "failed" in (found or {"failed": 0})] == []
    assert items["launches"]["launches"] > 30
    for length in (128, 256, 512):
        same = {"forward": True, "backward": True, "optimizer": True}
        assert items[f"repeatable {length}"] == same
    chosen = {name: found["kernel"] for name, found in items["attention"].items()}
    assert len(chosen) == 6
    assert "passed" in items["tests"]["summary"]


def test_every_way_computes_the_same_loss(measured: Any) -> None:
    steps = {name: found for name, found in measured[0]["items"].items() if "full 128" in name}
    losses = [found["loss"] for found in steps.values()]
    assert len(losses) >= 7
    assert losses == pytest.approx(losses[:1] * len(losses), rel=2e-3)  # bfloat16
    plain, ours = (steps[f"step; {way}; full 128; 512"] for way in ("all tokens", "autocast"))
    work = [found["flops_per_second"] * found["seconds"] for found in (plain, ours)]
    assert work[0] > 1.5 * work[1]  # of the rows that each predicts


def test_what_was_measured_becomes_tables(measured: Any) -> None:
    table = measured[1]
    assert "| gather backward float32 | 512 |" in table
    assert "| Liger | not installed" in table or "| Liger | failed" in table
    assert "| real | bf16, compiled | 512 |" in table
    assert "times the speed of 'all tokens', each at its best batch" in table
    assert "FAILED" not in table


def test_the_documents_say_what_the_file_holds(gpu: Any, tmp_path: Path) -> None:
    """Also where there is no file: that nothing was measured, and what is predicted."""
    from gpu_report import MARKERS, write_tables

    names = ("README.md", "docs/kernels.md")
    (tmp_path / "docs").mkdir()
    for name in names:
        (tmp_path / name).write_text((ROOT / name).read_text())
    write_tables(gpu.read(gpu.RESULTS), tmp_path)
    for name in names:
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), "run gpu.py --table"
    step = {"tokens_per_second": 4e5, "flops_per_second": 395e12, "data_sheet": 989e12,
            "padding": 0.1, "peak_bytes": 1 << 30, "loss": 2.0, "sm_mhz": 1980.0, "watts": 650.0,
            "kernels": [["gemm", 9, 1.5]]}  # fmt: skip
    known = CONDITIONS | {"model": "BERT base"}
    write_tables({"a": {"conditions": known, "items": {"step; bf16; real; 65536": step}}}, tmp_path)
    readme, kernels = ((tmp_path / name).read_text() for name in names)
    assert "real: 400,000 tokens/s (50% of 790 TFLOP/s; bf16, 65,536)" in readme
    assert "| real | bf16 | 65,536 | 400,000 | 50.0% | 39.9% |" in kernels
    assert "| `gemm` | 9 | 1.50 |" in kernels
    assert "Nothing has been measured" not in readme.partition(MARKERS[0])[2]


# ------------------------------------------------------------------------------- what goes wrong


def broken() -> None:
    raise RuntimeError("CUDA error: an illegal memory access\nwas encountered")


def out_of_memory() -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hanging() -> None:
    subprocess.run(["sleep", "600"])


Measure = Callable[[], Any]


def measure(gpu: Any, path: Path, seconds: float = 60, **items: Measure) -> dict[str, Any]:
    """The results after measuring these items, each with two seconds."""
    results = gpu.Results(path, CONDITIONS)
    made = [gpu.Item(name, 2, item) for name, item in items.items()]
    gpu.measure_all(made, results, time.monotonic() + seconds)
    found: dict[str, Any] = json.loads(path.read_text())[KEY]["items"]
    assert found == results.items
    return found


def test_what_fails_costs_that_item_alone_and_is_tried_again(gpu: Any, tmp_path: Path) -> None:
    begun = time.monotonic()
    found = measure(
        gpu, tmp_path / "gpu.json", broken=broken, killed=killed, hanging=hanging,
        large=out_of_memory, last=lambda: {"x": 1},
    )  # fmt: skip
    assert time.monotonic() - begun < 60
    assert found == {
        "broken": {"failed": "RuntimeError: CUDA error: an illegal memory access was encountered"},
        "killed": {"failed": f"its process ended with status {-signal.SIGKILL}"},
        "hanging": {"failed": "stopped after 2 seconds"},
        "large": None,
        "last": {"x": 1},
    }
    again = measure(gpu, tmp_path / "gpu.json", broken=lambda: {"x": 2}, last=broken)
    assert again["broken"] == {"x": 2} and again["last"] == {"x": 1}


def test_what_does_not_fit_into_the_time_is_left_for_a_second_call(
    gpu: Any, tmp_path: Path
) -> None:
    path = tmp_path / "gpu.json"
    found = measure(gpu, path, seconds=0, first=lambda: {"x": 1}, second=broken)
    late = {"failed": "not run: time"}
    assert found == {"first": late, "second": late}
    table = gpu.table({"conditions": CONDITIONS, "items": found})
    assert table.endswith("Not run: time: first; second.") and "FAILED" not in table
    assert measure(gpu, path, first=lambda: {"x": 1}) == {"first": {"x": 1}, "second": late}


def test_another_card_stays(gpu: Any, tmp_path: Path) -> None:
    path, other = tmp_path / "gpu.json", {"conditions": {"gpu": "A100"}, "items": {"a": {"x": 1}}}
    path.write_text(json.dumps({"gpu A100": other}))
    measure(gpu, path, a=lambda: {"x": 2})
    held = json.loads(path.read_text())
    assert held["gpu A100"] == other and held[KEY]["items"] == {"a": {"x": 2}}


@pytest.mark.parametrize("text", ["{", '{"old": {"ceilings": 1}}'])
def test_no_other_file_is_written_over(gpu: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "gpu.json").write_text(text)
    with pytest.raises(gpu.InputError, match=r"gpu\.json: not a file of results"):
        gpu.Results(tmp_path / "gpu.json", CONDITIONS)
    assert (tmp_path / "gpu.json").read_text() == text


def test_a_place_that_cannot_be_written_to_is_told_first(gpu: Any, tmp_path: Path) -> None:
    with pytest.raises(gpu.InputError, match="cannot be written: No such file or directory"):
        gpu.Results(tmp_path / "absent" / "gpu.json", CONDITIONS)
    if Path("/dev/full").exists():
        with pytest.raises(gpu.InputError, match=r"/dev/full: cannot be written: No space left"):
            gpu.Results(Path("/dev/full"), CONDITIONS).add("a", {"x": 1})


def test_the_clocks_are_read_meanwhile(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpu_kernels import clocks

    monkeypatch.setenv("PATH", str(tmp_path))
    with clocks() as found:
        pass
    assert found == {}
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\necho 1700, 2619, 400.5\necho 1800, 2619, 600.5\necho 17")
    script.chmod(0o755)
    with clocks() as found:
        time.sleep(1)
    assert found == {"sm_mhz": 1750.0, "memory_mhz": 2619.0, "watts": 500.5}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(gpu: Any, tmp_path: Path) -> None:
    with pytest.raises(gpu.InputError, match="there is no GPU here"):
        gpu.main(["--output", str(tmp_path / "gpu.json")])
