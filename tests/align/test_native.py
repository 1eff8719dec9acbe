"""The native sources by themselves: their own tests, and with sanitizers the fuzz targets too."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from helpers import ROOT

PLAIN = ""
SANITIZERS = ("address,undefined", "thread")
TARGETS = sorted(path.stem for path in (ROOT / "tests" / "fuzz").glob("fuzz_*.cpp"))
FUZZ_SECONDS = int(os.environ.get("WEAM_FUZZ_SECONDS", "120"))

Build = Callable[[str], Path]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, errors="replace")
    shown = " ".join(map(str, command))
    assert done.returncode == 0, f"in {cwd}: {shown}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The folder of the programs with a sanitizer, or of the tests alone; each built once."""
    for tool in ("cmake", "ninja"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")

    @cache
    def built(sanitizer: str) -> Path:
        folder = tmp_path_factory.mktemp(sanitizer.partition(",")[0] or "plain")
        if sanitizer:
            require(sanitizer, folder)
        options = ("-GNinja", "-DWEAM_TESTS=ON", f"-DWEAM_SANITIZE={sanitizer}")
        run("cmake", f"-S{ROOT}", f"-B{folder}", *options, cwd=folder)
        run(
            "cmake",
            "--build",
            folder,
            "--target",
            "all" if sanitizer else "native_tests",
            cwd=folder,
        )
        return folder

    return built


def require(sanitizer: str, folder: Path) -> None:
    """Skip where the compiler or the machine cannot do it."""
    empty = folder / "empty.cpp"
    empty.write_text("int main() {}\n")
    compiler = os.environ.get("CXX", "c++")
    compiled = f"{compiler} -fsanitize={sanitizer} {empty} -o {folder / 'empty'}"
    try:
        subprocess.run(compiled.split(), check=True, capture_output=True)
        subprocess.run(folder / "empty", check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no sanitizer {sanitizer}: {error}")


def fuzz(program: Path, seconds: int, seed: int, cwd: Path) -> None:
    run(program, f"-max_total_time={seconds}", f"-seed={seed}", cwd=cwd)


def test_native_tests(build: Build, tmp_path: Path) -> None:
    assert ", 0 failed" in run(build(PLAIN) / "native_tests", cwd=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("target", TARGETS)
def test_fuzz_targets(build: Build, sanitizer: str, target: str, tmp_path: Path) -> None:
    fuzz(build(sanitizer) / target, 2, seed=1, cwd=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_native_tests_at_length(build: Build, sanitizer: str, tmp_path: Path) -> None:
    assert ", 0 failed" in run(build(sanitizer) / "native_tests", "10", cwd=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("target", TARGETS)
def test_fuzz_targets_at_length(build: Build, sanitizer: str, target: str, tmp_path: Path) -> None:
    """New inputs every time; the name of the input that fails has the seed."""
    fuzz(build(sanitizer) / target, FUZZ_SECONDS, seed=int(time.time()), cwd=tmp_path)
