"""The benchmark of a GPU, tried on a small model without one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import ROOT

SIZES = ["--lengths", "32", "--tokens", "128", "256", "--steps", "1"]


@pytest.fixture(scope="module")
def gpu() -> Any:
    """benchmarks/gpu.py, as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import gpu

        yield gpu


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("gpu") / "gpu.json"
    script = str(ROOT / "benchmarks" / "gpu.py")
    ways = ["--ways", "weam_ext", "all tokens", "masked rows"]
    command = [sys.executable, script, "--tiny", "--no-tests", "--output", str(output)]
    done = subprocess.run([*command, *ways, *SIZES], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return output


def results_of(path: Path) -> dict[str, Any]:
    """Of the one card that a file holds, or "none"."""
    [results] = json.loads(path.read_text()).values()
    return results


def test_every_way_computes_the_same_loss(measured: Path) -> None:
    results = results_of(measured)
    for tokens in (128, 256):
        losses = [
            results[f"step 32 {way} {tokens}"]["loss"]
            for way in ("weam_ext", "all tokens", "masked rows")
        ]
        assert losses == pytest.approx(losses[:1] * 3, rel=2e-3)  # bfloat16
    assert results["repeatable weam_ext"] is True


def test_the_file_becomes_a_table(gpu: Any, measured: Path, capsys: Any) -> None:
    gpu.main(["--table", "--output", str(measured)])
    table = capsys.readouterr().out
    assert "| gather backward float32 | 256 |" in table
    assert "times the speed, each at its best batch" not in table  # of the compiled way
    assert table.count("| weam_ext |") == 2


def test_what_was_measured_is_not_measured_again(gpu: Any, measured: Path, capsys: Any) -> None:
    held = json.loads(measured.read_text())
    for results in held.values():
        results["ceilings"]["bytes_per_second"] = 123.0
    held["another card"] = {"ceilings": 1}
    measured.write_text(json.dumps(held))
    gpu.main(["--tiny", "--no-tests", "--output", str(measured), "--ways", "weam_ext", *SIZES])
    assert json.loads(measured.read_text()) == held


def test_a_failure_stops_nothing_else_and_is_tried_again(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    output = tmp_path / "gpu.json"
    command = ["--tiny", "--no-tests", "--output", str(output), "--ways", "weam_ext", *SIZES]
    for name in ("ceilings", "kernels", "Run"):
        monkeypatch.setattr(gpu, name, broken)
    with pytest.raises(gpu.InputError, match="could not be measured: ceilings, kernels, step 32"):
        gpu.main(command)
    assert "ceilings FAILED: RuntimeError: CUDA error: an illegal" in capsys.readouterr().out
    results = results_of(output)
    assert results["head_chunks"] and results["repeatable weam_ext"] is True
    assert results["step 32 weam_ext 256"] == results["ceilings"]
    monkeypatch.undo()
    gpu.main(command)
    assert "FAILED" not in capsys.readouterr().out
    assert results_of(output)["step 32 weam_ext 256"]["tokens"] == 256


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(gpu: Any, tmp_path: Path) -> None:
    with pytest.raises(gpu.InputError, match="there is no GPU here"):
        gpu.main(["--output", str(tmp_path / "gpu.json")])
