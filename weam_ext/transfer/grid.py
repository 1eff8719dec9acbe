"""A grid of cells, shared out among processes: each takes what no other one holds.

A process holds a cell by a lock on its claim file, which the system lets go of however the process
ends. So a killed call is given again, a second job is started beside the first, or all under
`torchrun`: nothing is made twice and nothing is left out.
"""

import shutil
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weam_ext.common.errors import InputError, describe, say
from weam_ext.common.files import locked
from weam_ext.transfer.results import CELLS, Cell, Evaluation, Failed, Finished, write, write_failed

Made = tuple[list[Evaluation], dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """A cell and how it is made, given a directory to work in."""

    cell: Cell
    directory: str
    make: Callable[[Path], Made]


@dataclass
class Tally:
    """What became of a grid's cells in this process."""

    made: int = 0
    there: int = 0
    elsewhere: int = 0
    """Held by another process."""
    failed: list[Failed] | None = None


def run_grid(jobs: Sequence[Job], output: Path, rank: int = 0, ranks: int = 1) -> Tally:
    """Make the cells that are not there. One that fails leaves word of why; the rest go on.

    Process `rank` of `ranks` begins its own way along, so that few meet at a claim.
    """
    (output / CELLS).mkdir(parents=True, exist_ok=True)
    start = len(jobs) * rank // ranks
    tally = Tally(failed=[])
    for number, job in enumerate([*jobs[start:], *jobs[:start]], 1):
        place = f"{number} of {len(jobs)}: {job.cell.name}"
        target = output / CELLS / f"{job.cell.name}.arrow"
        with locked(target.with_suffix(".claim")) as held:
            if target.exists():
                tally.there += 1
            elif not held:
                tally.elsewhere += 1
                say(f"{place}: held by another process")
            elif failed := _make(job, output, place):
                assert tally.failed is not None
                tally.failed.append(failed)
            else:
                tally.made += 1
    return tally


def _make(job: Job, output: Path, place: str) -> Failed | None:
    work = output / "work" / job.cell.name
    say(place)
    try:
        evaluations, facts = job.make(work)
        write(output, Finished(job.cell, job.directory, facts, evaluations))
        (output / CELLS / f"{job.cell.name}.failed").unlink(missing_ok=True)
        return None
    except Exception as error:  # of any kind: a cell's fault must not end the others
        reason = describe(error)
        if not isinstance(error, InputError | OSError):
            where = traceback.extract_tb(error.__traceback__)[-1]
            reason = (
                f"{type(error).__name__}: {reason} ({Path(where.filename).name}:{where.lineno})"
            )
        failed = Failed(job.cell, job.directory, reason)
        write_failed(output, failed)
        say(f"{place}: failed: {reason}")
        return failed
    finally:
        shutil.rmtree(work, ignore_errors=True)
