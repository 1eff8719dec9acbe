"""What each benchmark gets done in a second, and how many times the speed of the plain way.

Torch has one thread: the tensors are small, and a busy core would be timed instead.
`--benchmark-disable` runs every benchmark once, to see that it works and that all ways agree.
"""

from typing import NamedTuple

import pytest
import torch
from corpora import Record, machine
from pytest_benchmark.fixture import BenchmarkFixture

torch.set_num_threads(1)

BASELINES = ("weam_ref", "plain PyTorch")


class Figure(NamedTuple):
    seconds: float
    rates: dict[str, float]


FIGURES: dict[str, dict[str, Figure]] = {}
"""By group and implementation."""


@pytest.fixture
def record(benchmark: BenchmarkFixture) -> Record:
    """`record(implementation, pairs=1000)`: who was timed, and what each round got done.

    The seconds are the median of the rounds, where no others are given.
    """

    def keep(implementation: str, seconds: float | None = None, **done: float) -> None:
        if not benchmark.enabled:
            return
        seconds = seconds or benchmark.stats.stats.median
        rates = {f"{what}/s": number / seconds for what, number in done.items()}
        benchmark.extra_info |= machine() | {implementation: {"seconds": seconds} | rates}
        FIGURES.setdefault(benchmark.group, {})[implementation] = Figure(seconds, rates)

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for group, figures in FIGURES.items():
        terminalreporter.section(group, sep="-")
        for name, figure in figures.items():
            terminalreporter.write_line(f"{name}: {', '.join(said(figure, figures))}")


def said(figure: Figure, others: dict[str, Figure]) -> list[str]:
    parts = [f"{1000 * figure.seconds:,.1f} ms"]
    parts += [f"{rate:,.0f} {what}" for what, rate in figure.rates.items()]
    for name in BASELINES:
        if name in others and others[name] is not figure:
            parts.append(f"{others[name].seconds / figure.seconds:,.1f} times the speed of {name}")
    return parts
