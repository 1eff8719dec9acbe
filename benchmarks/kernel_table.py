"""What each kernel takes of a GPU, compiled without one: `make kernels` writes it into the docs."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markers import insert

from weam_ext.common.errors import run

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- kernels: written by benchmarks/kernel_table.py --table -->"
END = "<!-- kernels: end -->"
TARGETS = ("80", "90", "100")
FIGURES = ("registers", "spilled_bytes", "barriers", "barriers_in_loops", "shared_bytes")

Figures = dict[str, int]


def compiled() -> dict[str, Any]:
    """By call and target, the kernels that it launches (`tests/ahead_of_time.py`)."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    program = [sys.executable, str(ROOT / "tests" / "ahead_of_time.py"), *TARGETS]
    done = subprocess.run(program, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def most(calls: dict[str, Any]) -> dict[str, dict[str, Figures]]:
    """The largest figures of each kernel for each target, of any call but those in float64."""
    largest: dict[str, dict[str, Figures]] = {}
    for name, targets in calls.items():
        if "float64" in name:
            continue
        for target, kernels in targets.items():
            for kernel in kernels:
                row = largest.setdefault(kernel["kernel"].lstrip("_"), {})
                before = row.get(target, dict.fromkeys(FIGURES, 0))
                row[target] = {what: max(before[what], kernel[what]) for what in FIGURES}
    return largest


def table(largest: dict[str, dict[str, Figures]]) -> str:
    """Markdown: a row for each kernel and GPU."""
    return "\n".join(
        [
            "| kernel | GPU | registers of a thread | bytes spilled | barriers | in loops "
            "| bytes shared |",
            "|---|---|---|---|---|---|---|",
            *_rows(largest),
        ]
    )


def _rows(largest: dict[str, dict[str, Figures]]) -> Iterator[str]:
    for kernel, targets in sorted(largest.items()):
        for target in TARGETS:
            figures = " | ".join(f"{targets[target][what]:,}" for what in FIGURES)
            yield f"| `{kernel}` | sm_{target} | {figures} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, help="also write it between the marks of this file")
    options = parser.parse_args()
    text = table(most(compiled()))
    print(text)
    if options.table:
        insert(options.table, BEGIN, END, text)


if __name__ == "__main__":
    run("benchmarks/kernel_table.py", main)
