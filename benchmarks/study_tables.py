"""The study's results: `python benchmarks/study_tables.py STUDY` takes them into the repository.

What is taken from the directory of recipes/study.py is the report, for readers and for programs,
with the names of directories in place of where they lay. Without STUDY the tables of docs/study.md
are written again from what was taken.
"""

import argparse
import json
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from markers import insert

from weam_ext.common.errors import InputError, run
from weam_ext.report.compose import place
from weam_ext.report.page import Heading, Table, Text, to_markdown
from weam_ext.report.statistics import UNTESTABLE

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks" / "results" / "study"
PAGE = ROOT / "docs" / "study.md"
BEGIN = "<!-- study: written by benchmarks/study_tables.py -->"
END = "<!-- study: end -->"
CLAIMS = "Claims of the paper"
KINDS: dict[str, type] = {kind.kind: kind for kind in (Heading, Text, Table)}


def collect(study: Path, kept: Path) -> None:
    """Take a study's report, in place of what was taken before."""
    scores = study / "scores"
    found = [scores / f"report.{suffix}" for suffix in ("html", "md", "json")]
    for path in found:
        if not path.exists():
            raise InputError(f"{path}: no report there; run recipes/study.py to its end first")
    models = json.loads((scores / "models.json").read_text())["models"]
    directories = sorted({each for model in models.values() for each in model})
    kept.mkdir(parents=True, exist_ok=True)
    for path in found:
        text = path.read_text(encoding="utf-8")
        for directory in directories:
            text = text.replace(place(directory), _name(Path(directory), study))
        (kept / path.name).write_text(text, encoding="utf-8")


def _name(directory: Path, study: Path) -> str:
    """Of a run within the study, and of an encoder from elsewhere."""
    path = directory.absolute()
    inside = path.is_relative_to(study.absolute())
    return str(path.relative_to(study.absolute())) if inside else path.name


def tables(report: dict[str, Any]) -> str:
    """Markdown: the answer with its table, and of the claims those that were tested."""
    parts = [KINDS[part["kind"]](**{k: part[k] for k in part if k != "kind"})
             for part in report["parts"]]  # fmt: skip
    answer = list(takewhile(lambda part: not isinstance(part, Heading), parts))
    claims = parts.index(Heading(CLAIMS))
    tested = next(part for part in parts[claims:] if isinstance(part, Table))
    rows = [row for row in tested.rows if UNTESTABLE not in row]
    shown = [*answer, parts[claims], replace(tested, rows=rows)]
    return to_markdown(report["title"], shown).partition("\n")[2].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("study", type=Path, nargs="?", help="the --output of recipes/study.py")
    options = parser.parse_args()
    if options.study:
        collect(options.study, KEPT)
    insert(PAGE, BEGIN, END, tables(json.loads((KEPT / "report.json").read_text())))


if __name__ == "__main__":
    run("benchmarks/study_tables.py", main)
