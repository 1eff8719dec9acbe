"""The native aligner against its plain-Python twin, and against fast_align where one is given.

Set WEAM_FAST_ALIGN to the original program to have it timed in the same run.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import weam_ref.diagonal
import weam_ref.symmetrize
from corpora import machine, sentences
from pytest_benchmark.fixture import BenchmarkFixture

from weam_ext.align import Aligner
from weam_ext.links import Links

METHOD = "grow-diag-final-and"


def native(source: list[str], target: list[str]) -> Links:
    return Aligner(heuristic=METHOD).fit_align(source, target)


def plain_python(source: list[str], target: list[str]) -> Links:
    left, right = [[line.split() for line in side] for side in (source, target)]
    forward = weam_ref.diagonal.fit(left, right).align(left, right)
    backward = weam_ref.diagonal.fit(right, left).align(right, left)
    swapped = [sorted((i, j) for j, i in links) for links in backward]
    return Links.from_lists(
        [
            weam_ref.symmetrize.symmetrize(f, b, METHOD)
            for f, b in zip(forward, swapped, strict=True)
        ]
    )


@pytest.mark.parametrize("implementation", [native, plain_python], ids=["native", "weam_ref"])
@pytest.mark.benchmark(group="align 1,000 pairs, both directions")
def bench_against_plain_python(
    benchmark: BenchmarkFixture, implementation: Callable[[list[str], list[str]], Links]
) -> None:
    source, target = sentences(1000)
    rounds = 20 if implementation is native else 3
    links = benchmark.pedantic(implementation, (source, target), rounds=rounds)
    same = [ours == theirs for ours, theirs in zip(links, native(source, target), strict=True)]
    assert sum(same) >= 0.99 * len(same)  # near ties may fall either way in float32
    benchmark.extra_info |= machine() | {"pairs/s": 1000 / benchmark.stats.stats.median}


@pytest.mark.benchmark(group="align 20,000 pairs, both directions")
def bench_native(benchmark: BenchmarkFixture) -> None:
    source, target = sentences(20_000)
    links = benchmark.pedantic(native, (source, target), rounds=5)
    assert len(links) == 20_000
    benchmark.extra_info |= machine() | {"pairs/s": 20_000 / benchmark.stats.stats.median}


@pytest.mark.skipif("WEAM_FAST_ALIGN" not in os.environ, reason="WEAM_FAST_ALIGN names no program")
@pytest.mark.benchmark(group="align 20,000 pairs, both directions")
def bench_fast_align(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    text = tmp_path / "text"
    lines = [f"{s} ||| {t}\n" for s, t in zip(*sentences(20_000), strict=True)]
    text.write_text("".join(lines))

    def both_directions() -> None:
        for direction in ([], ["-r"]):
            program = [os.environ["WEAM_FAST_ALIGN"], "-i", str(text), "-d", "-o", "-v"]
            subprocess.run([*program, *direction], check=True, capture_output=True)

    benchmark.pedantic(both_directions, rounds=3)
    benchmark.extra_info |= machine() | {"pairs/s": 20_000 / benchmark.stats.stats.median}
