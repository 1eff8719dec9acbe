"""Held-out losses of a run as a Markdown table: `python benchmarks/heldout_table.py RUN`."""

import json
import sys
from pathlib import Path

from weam_ext.common.errors import run


def table(run: Path) -> str:
    """One row for each evaluation and bitext, from the run's log."""
    rows = ["| step | bitext | multilingual loss | cross-lingual loss | linked accuracy |",
            "|---|---|---|---|---|"]  # fmt: skip
    for line in (run / "log.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        for key, means in record.items():
            if key.startswith("heldout/"):
                rows.append(
                    f"| {record['step']} | {key.removeprefix('heldout/')} "
                    f"| {means['multilingual_loss']:.3f} | {means['cross_lingual_loss']:.3f} "
                    f"| {means['linked_accuracy']:.3f} |"
                )
    return "\n".join(rows)


if __name__ == "__main__":
    run("benchmarks/heldout_table.py", lambda: print(table(Path(sys.argv[1]))))
