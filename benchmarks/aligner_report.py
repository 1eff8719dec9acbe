"""What compare_aligners.py has measured, as Markdown in the README and as a figure."""

import importlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from aligner_results import Figures, Results, Run
from markers import insert

from weam_ext.common.errors import InputError

BEGIN = "<!-- aligners: written by benchmarks/compare_aligners.py --table -->"
END = "<!-- aligners: end -->"
APART = "weam_ext, one direction at a time"
BASELINES = ("fast_align", "weam_ref")
METHOD = "grow-diag-final-and"
DIRECTIONS = ("forward", "backward")
RATES = (*DIRECTIONS, "intersect", METHOD, "posterior")
NOTHING = "–"


# ----------------------------------------------------------------------------------------- figures


@dataclass(frozen=True)
class Cell:
    """Medians over the rounds of one system at one size and number of threads."""

    wall_s: float
    cpu_s: float
    peak_bytes: float

    @classmethod
    def of(cls, rounds: Sequence[Figures]) -> "Cell":
        return cls(
            median(figures.wall_s for figures in rounds),
            median(figures.cpu_s for figures in rounds),
            median(figures.peak_bytes for figures in rounds),
        )


def by_threads(runs: Iterable[Run], step: str | None = None) -> dict[int, Cell]:
    """The medians of whole runs, or of one of their steps."""
    rounds: dict[int, list[Figures]] = {}
    for run in runs:
        figures = run.steps[step] if step else run.total
        rounds.setdefault(run.key.threads, []).append(figures)
    return {threads: Cell.of(figures) for threads, figures in sorted(rounds.items())}


def fastest(cells: dict[int, Cell]) -> Cell:
    return min(cells.values(), key=lambda cell: cell.wall_s)


@dataclass(frozen=True)
class Row:
    """A system at one size: its medians by threads, and how good its links are."""

    pairs: int
    system: str
    cells: dict[int, Cell]
    baseline: float | None
    """Wall seconds of what it is compared with, at that one's best number of threads."""
    aer: dict[str, float]
    f1: dict[str, float]


def rows(results: Results) -> Iterator[Row]:
    """Size by size, each system in the order in which it was first measured."""
    for pairs in sorted({key.pairs for key in results.runs}):
        systems: dict[str, list[Run]] = {}
        for run in results.runs.values():
            if run.key.pairs == pairs:
                systems.setdefault(run.key.system, []).append(run)
        yield from _rows_of_size(pairs, systems, results.fidelity.get(pairs, {}))


def _rows_of_size(
    pairs: int, systems: dict[str, list[Run]], fidelity: dict[str, dict[str, float]]
) -> Iterator[Row]:
    peer = next((systems[name] for name in BASELINES if name in systems), [])
    f1 = {name: fidelity[name]["f1"] for name in DIRECTIONS if name in fidelity}
    for system, runs in systems.items():
        if system == APART:  # two rows, each against that direction alone
            for name in DIRECTIONS:
                yield Row(
                    pairs,
                    f"weam_ext, {name} alone",
                    by_threads(runs, name),
                    _best_wall(peer, name),
                    {name: error_rates(runs)[name]},
                    {name: f1[name]} if f1 else {},
                )
        else:
            rates = error_rates(runs)
            if system == "weam_ext" and APART in systems:  # the same links, one direction at a time
                rates["intersect"] = error_rates(systems[APART])["intersect"]
            yield Row(pairs, system, by_threads(runs), _best_wall(peer), rates, {})


def _best_wall(runs: Sequence[Run], step: str | None = None) -> float | None:
    """At the best number of threads; None where there is nothing, or no such step."""
    if not runs or (step and step not in runs[0].steps):
        return None
    return fastest(by_threads(runs, step)).wall_s


def error_rates(runs: Sequence[Run]) -> dict[str, float]:
    """Means over the runs: a sampler's links differ from run to run."""
    shared = [name for name in RATES if all(name in run.aer for run in runs)]
    return {name: fmean(run.aer[name] for run in runs) for name in shared}


# ---------------------------------------------------------------------------------------- markdown


def markdown(results: Results) -> str:
    """The tables, with what they were measured on. Raises `InputError` where there is nothing."""
    if not results.runs:
        raise InputError(f"{results.path} holds no figures")
    text = [_conditions(results), "", *_main_table(results), "", *_notes(results)]
    if results.fidelity:
        text += ["", *_fidelity_table(results)]
    return "\n".join(text)


def _conditions(results: Results) -> str:
    machine = results.conditions["machine"]
    build = results.conditions["build of weam_ext"]
    dates = sorted(run.date.split()[0] for run in results.runs.values())
    counts = Counter((key.system, key.threads, key.pairs) for key in results.runs).values()
    most = max(counts)
    runs = f"{min(counts)} to {most} runs" if min(counts) < most else f"{most} runs"
    rounds = f"medians of {runs}" if most > 1 else "one run each"
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return (
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}; {build['compiler']}; "
        f"commit {results.conditions['commit of weam_ext']}; {when}; {rounds}."
    )


def _main_table(results: Results) -> Iterator[str]:
    numbers = sorted({key.threads for key in results.runs})
    header = [
        "pairs",
        "system",
        *(f"s, {threads} thread{'s'[: threads > 1]}" for threads in numbers),
        "CPU s",
        "MiB",
        *(f"AER {name}" for name in RATES),
        *(f"F1 {name}" for name in DIRECTIONS),
    ]
    yield from _lines(header, (_row(row, numbers) for row in rows(results)))


def _row(row: Row, numbers: Sequence[int]) -> list[str]:
    best = fastest(row.cells)
    return [
        f"{row.pairs:,}",
        row.system,
        *(_wall(row.cells.get(threads), row.baseline) for threads in numbers),
        f"{best.cpu_s:.2f}",
        f"{best.peak_bytes / 2**20:,.0f}",
        *(_number(row.aer.get(name), 4) for name in RATES),
        *(_number(row.f1.get(name), 5) for name in DIRECTIONS),
    ]


def _wall(cell: Cell | None, baseline: float | None) -> str:
    if cell is None:
        return NOTHING
    ratio = f" ({baseline / cell.wall_s:.3g}×)" if baseline else ""
    return f"{cell.wall_s:.2f}{ratio}"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _notes(results: Results) -> Iterator[str]:
    systems = {key.system for key in results.runs}
    baselines = [name for name in BASELINES if name in systems]
    yield (
        "From a text file to files of links, the test pairs on top; both directions and "
        "grow-diag-final-and, by atools for the peers, where the row does not say otherwise; the "
        "HMM's links are those of its posteriors."
    )
    if baselines:
        also = f" (of {baselines[1]} where there is none)" if len(baselines) > 1 else ""
        yield (
            f"In brackets: times the speed of {baselines[0]}{also}, the same directions, at its "
            "own best number of threads."
        )
    yield (
        "CPU seconds and memory are those of the fastest number of threads; memory is the peak of "
        "the largest process."
    )
    if "weam_ref" in systems:
        most = max(key.pairs for key in results.runs if key.system == "weam_ref")
        yield (
            f"weam_ref, the plain-Python twin, was run at {most:,} pairs and fewer only: it is too "
            "slow for more."
        )
    if results.fidelity:
        yield "F1 is that of the links with fast_align's own, of all pairs."


def _fidelity_table(results: Results) -> Iterator[str]:
    pairs = max(results.fidelity)
    yield f"The links of {pairs:,} pairs and those of fast_align and atools on one thread:"
    yield ""
    yield from _lines(
        ["links", "F1", "AER", "AER of the original's"],
        (
            [
                name,
                _number(links["f1"], 5),
                _number(links["aer"], 4),
                _number(links["aer_of_fast_align"], 4),
            ]
            for name, links in results.fidelity[pairs].items()
        ),
    )


def _lines(header: Sequence[str], body: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *body):
        yield f"| {' | '.join(cells)} |"


def insert_table(readme: Path, table: str) -> None:
    """Put the table between the two markers of a file, in place of what is there.

    Raises `InputError` where the markers are not there once each, in their order.
    """
    insert(readme, BEGIN, END, table)


# ------------------------------------------------------------------------------------------ figure


def draw(results: Results) -> bytes | None:
    """A PNG image; none without matplotlib.

    Wall time, memory and the best error rate against pairs, and that rate against wall time.
    """
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
    except ImportError:
        return None
    figure = figures.Figure(figsize=(12, 8), layout="constrained")
    panels = figure.subplots(2, 2).flat
    lines: dict[str, list[Row]] = {}
    for row in rows(results):
        lines.setdefault(row.system, []).append(row)
    for system, points in lines.items():
        pairs = [row.pairs for row in points]
        best = [fastest(row.cells) for row in points]
        panels[0].plot(pairs, [cell.wall_s for cell in best], "-o", label=system)
        panels[1].plot(pairs, [cell.peak_bytes / 2**20 for cell in best], "-o")
        rates = [min(row.aer.values()) for row in points]
        panels[2].plot(pairs, rates, "-o")
        panels[3].plot([cell.wall_s for cell in best], rates, "-o")
    size, time, rate = "sentence pairs", "wall seconds", "AER of its best links"
    labels = ((size, time), (size, "peak memory, MiB"), (size, rate), (time, rate))
    for panel, (across, up) in zip(panels, labels, strict=True):
        panel.set(xscale="log", xlabel=across, ylabel=up)
        if up != rate:
            panel.set_yscale("log")
        panel.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    return image.getvalue()
