"""The grid: every cell is made once, and one that fails stops no other."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weam_ext.common.errors import InputError
from weam_ext.transfer import read_all
from weam_ext.transfer.grid import Job, run_grid
from weam_ext.transfer.results import Cell, Evaluation, Score, read_failed


def job(name: str, make: Callable[[Path], Any]) -> Job:
    return Job(Cell(name, "sha", "task", "data", "frozen", 0, {}), "there", make)


def one_row(_: Path) -> Any:
    return [Evaluation("en", {"accuracy": [Score(1.0)]}, ["k"])], {}


def test_a_cell_that_fails_says_why_and_the_rest_goes_on(tmp_path: Path) -> None:
    def refused(_: Path) -> Any:
        raise InputError("wrong label in line 3")

    def broken(work: Path) -> Any:
        work.mkdir(parents=True)
        raise RuntimeError("a fault of ours")

    jobs = [job("a", refused), job("b", broken), job("c", one_row)]
    tally = run_grid(jobs, tmp_path)
    assert (tally.made, len(tally.failed or ())) == (1, 2)
    reasons = [failed.reason for failed in read_failed(tmp_path)]
    assert reasons[0] == "wrong label in line 3"
    assert reasons[1].startswith("RuntimeError: a fault of ours (test_grid.py:")
    assert not list((tmp_path / "work").iterdir()) and not list(tmp_path.rglob("*.claim"))
    # Given again, what failed is tried again, and a success wipes the word of the failure.
    run_grid([job("a", one_row), job("b", one_row), job("c", one_row)], tmp_path)
    assert not list(read_failed(tmp_path)) and len(read_all(tmp_path)) == 3


def test_processes_share_a_grid(tmp_path: Path) -> None:
    """Four at once make every cell once, whoever makes it."""
    program = tmp_path / "worker.py"
    program.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from weam_ext.transfer.grid import Job, run_grid\n"
        "from weam_ext.transfer.results import Cell, Evaluation, Score\n"
        "output, rank = Path(sys.argv[1]), int(sys.argv[2])\n"
        "def make(work):\n"
        "    with (output / 'log').open('a') as log: log.write(work.name + '\\n')\n"
        "    time.sleep(0.02)\n"
        "    return [Evaluation('en', {'accuracy': [Score(1.0)]}, ['k'])], {}\n"
        "cells = [Cell(f'm{k}', 's', 't', 'd', 'frozen', 0, {}) for k in range(12)]\n"
        "run_grid([Job(cell, 'there', make) for cell in cells], output, rank, 4)\n"
    )
    output = tmp_path / "out"
    output.mkdir()
    running = [
        subprocess.Popen([sys.executable, str(program), str(output), str(k)]) for k in range(4)
    ]
    assert [process.wait() for process in running] == [0] * 4
    made = (output / "log").read_text().split()
    assert len(made) == len(set(made)) == 12
    assert len(read_all(output)) == 12


def test_a_cell_held_elsewhere_is_left_alone(tmp_path: Path) -> None:
    import fcntl

    cells = tmp_path / "cells"
    cells.mkdir()
    held = job("a", one_row)
    with (cells / f"{held.cell.name}.claim").open("w") as claim:
        fcntl.flock(claim, fcntl.LOCK_EX)
        assert run_grid([held, job("b", one_row)], tmp_path).elsewhere == 1
    # Whoever held it is gone, however it went.
    assert run_grid([held], tmp_path).made == 1
