"""The benchmark of a GPU, tried on a small model without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "benchmarks" / "gpu.py"
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("gpu") / "gpu.json"
    ways = ["--ways", "weam_ext", "all tokens", "masked rows"]
    sizes = ["--lengths", "32", "--tokens", "128", "256", "--steps", "1"]
    done = benchmark("--tiny", "--no-tests", "--output", str(output), *ways, *sizes)
    assert done.returncode == 0, done.stderr
    return output


def test_every_way_computes_the_same_loss(measured: Path) -> None:
    results = json.loads(measured.read_text())
    for tokens in (128, 256):
        losses = [
            results[f"step 32 {way} {tokens}"]["loss"]
            for way in ("weam_ext", "all tokens", "masked rows")
        ]
        assert losses == pytest.approx(losses[:1] * 3, rel=2e-3)  # bfloat16
    assert results["repeatable weam_ext"] is True


def test_the_file_becomes_a_table(measured: Path) -> None:
    done = benchmark("--table", "--output", str(measured))
    assert done.returncode == 0, done.stderr
    assert "| gather backward | 256 |" in done.stdout
    assert "times the speed, each at its best batch" not in done.stdout  # of the compiled way
    assert done.stdout.count("| weam_ext |") == 2


def test_what_was_measured_is_not_measured_again(measured: Path) -> None:
    results = json.loads(measured.read_text())
    results["ceilings"]["bytes_per_second"] = 123.0
    measured.write_text(json.dumps(results))
    ways = ["--ways", "weam_ext", "--lengths", "32", "--tokens", "128", "256", "--steps", "1"]
    done = benchmark("--tiny", "--no-tests", "--output", str(measured), *ways)
    assert done.returncode == 0, done.stderr
    assert json.loads(measured.read_text()) == results


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = benchmark("--output", str(tmp_path / "gpu.json"))
    assert done.returncode == 2
    assert "there is no GPU here" in done.stderr
