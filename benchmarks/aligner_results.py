"""What compare_aligners.py has measured: a JSON file that is whole after every measurement."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weam_ext.common.errors import InputError
from weam_ext.common.files import rename_durably, write_durably

Json = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """What a run is a run of. `pairs` counts the training pairs; the test pairs come on top."""

    system: str
    threads: int
    pairs: int
    repeat: int


@dataclass(frozen=True)
class Figures:
    """What one program took, or several one after the other: seconds, and bytes at the peak."""

    wall_s: float
    user_s: float
    system_s: float
    peak_bytes: int

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


@dataclass(frozen=True)
class Run:
    """One measurement of one system, text file in to links files out."""

    key: Key
    steps: dict[str, Figures]
    """Of each program of the system, in their order, by the name of the links it wrote."""
    aer: dict[str, float]
    """Alignment error rate on the test pairs, by the name of the links."""
    load: float
    """Of the machine in the minute before."""
    date: str

    @property
    def total(self) -> Figures:
        steps = self.steps.values()
        return Figures(
            sum(step.wall_s for step in steps),
            sum(step.user_s for step in steps),
            sum(step.system_s for step in steps),
            max(step.peak_bytes for step in steps),
        )

    @classmethod
    def from_json(cls, record: Json) -> "Run":
        steps = {name: Figures(**figures) for name, figures in record["steps"].items()}
        return cls(Key(**record["key"]), steps, record["aer"], record["load"], record["date"])


@dataclass
class Results:
    """Runs that may be compared: of the same code, programs and text, on the same machine.

    Attributes:
        conditions: what they share, by name; each value is anything JSON can say.
        programs: SHA-256 of the peers, by name.
        runs: in the order in which they were measured.
        fidelity: by pairs, then by the name of the links: "f1" against fast_align's own, "aer" of
            both.
    """

    path: Path
    conditions: Json
    programs: dict[str, str]
    runs: dict[Key, Run]
    fidelity: dict[int, dict[str, dict[str, float]]]

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Raises `InputError` for a file that is not one of results."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            runs = [Run.from_json(record) for record in stored["runs"]]
            fidelity = {int(pairs): links for pairs, links in stored["fidelity"].items()}
            return cls(
                path,
                stored["conditions"],
                stored["programs"],
                {run.key: run for run in runs},
                fidelity,
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a file of aligner results ({error})") from error

    @classmethod
    def resume(
        cls, path: Path, conditions: Json, programs: dict[str, str], restart: bool
    ) -> "Results":
        """What the file holds, to be gone on with, or nothing where there is no file.

        Raises `InputError` where it was measured under other conditions or with other programs;
        `restart` drops it instead. Programs that it does not know yet may join.
        """
        if restart or not path.exists():
            return cls(path, conditions, programs, {}, {})
        found = cls.read(path)
        known = found.programs
        changed = [key for key in conditions if found.conditions.get(key) != conditions[key]]
        changed += [key for key in programs if known.get(key, programs[key]) != programs[key]]
        if changed:
            raise InputError(
                f"{path} was measured with another {' and '.join(changed)}: give another --output, "
                "or --restart to measure all of it again"
            )
        found.programs |= programs
        return found

    def add(self, run: Run) -> None:
        self.runs[run.key] = run
        self.write()

    def write(self) -> None:
        """Replace the file; after a crash it is the old one or the new one."""
        record = {
            "conditions": self.conditions,
            "programs": self.programs,
            "runs": [asdict(run) for run in self.runs.values()],
            "fidelity": self.fidelity,
        }
        replace_durably(self.path, (json.dumps(record, indent=1) + "\n").encode())


def replace_durably(path: Path, data: bytes) -> None:
    """Write a file so that its name always stands for a whole one."""
    beside = path.with_name(f".{path.name}.part")
    write_durably(beside, data)
    rename_durably(beside, path)
