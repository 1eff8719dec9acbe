"""The study's results: `python benchmarks/study_tables.py STUDY` takes them into the repository.

What is taken from the directory of recipes/study.py is the report, for readers and for programs,
with the names of directories in place of where they lay. Without STUDY the tables of docs/study.md
are written again from what was taken.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markers import insert

from weam_ext.common.errors import InputError, run
from weam_ext.report.statistics import UNTESTABLE

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks" / "results" / "study"
PAGE = ROOT / "docs" / "study.md"
BEGIN = "<!-- study: written by benchmarks/study_tables.py -->"
END = "<!-- study: end -->"
CLAIMS = "Claims of the paper"

Part = dict[str, Any]


def collect(study: Path, kept: Path) -> None:
    """Take a study's report, in place of what was taken before."""
    scores = study / "scores"
    found = [scores / f"report.{suffix}" for suffix in ("html", "md", "json")]
    for path in found:
        if not path.exists():
            raise InputError(f"{path}: no report there; run recipes/study.py to its end first")
    models = json.loads((scores / "models.json").read_text())["models"]
    directories = sorted({each for model in models.values() for each in model}, key=len)[::-1]
    kept.mkdir(parents=True, exist_ok=True)
    for path in found:
        text = path.read_text(encoding="utf-8")
        for directory in directories:
            text = text.replace(directory, Path(directory).name)
        (kept / path.name).write_text(text, encoding="utf-8")


def tables(report: dict[str, Any]) -> str:
    """Markdown: the answer with its table, and of the claims those that were tested."""
    parts: list[Part] = report["parts"]
    claims = next(n for n, part in enumerate(parts) if part.get("text") == CLAIMS)
    tested = next(part for part in parts[claims:] if part["kind"] == "table")
    rows = [row for row in tested["rows"] if UNTESTABLE not in row]
    shown = [*_answer(parts), *([parts[claims], tested | {"rows": rows}] if rows else [])]
    return "\n\n".join(line for part in shown for line in _markdown(part))


def _answer(parts: list[Part]) -> Iterator[Part]:
    """What stands above the fold."""
    for part in parts:
        if part["kind"] == "heading":
            return
        yield part


def _markdown(part: Part) -> Iterator[str]:
    if part["kind"] == "heading":
        yield f"## {part['text']}"
    elif part["kind"] == "text":
        yield part["text"]
    else:
        if part["caption"]:
            yield part["caption"]
        rows = [part["header"], ["---"] * len(part["header"]), *part["rows"]]
        yield "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("study", type=Path, nargs="?", help="the --output of recipes/study.py")
    options = parser.parse_args()
    if options.study:
        collect(options.study, KEPT)
    insert(PAGE, BEGIN, END, tables(json.loads((KEPT / "report.json").read_text())))


if __name__ == "__main__":
    run("benchmarks/study_tables.py", main)
