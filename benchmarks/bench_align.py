"""The native aligner's two models against their plain-Python twins and, where given, fast_align.

Set WEAM_FAST_ALIGN to the original program to have it timed in the same run.
"""

import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from align_plain_python import Side, diagonal_links, hmm_links
from corpora import Record, sentences
from pytest_benchmark.fixture import BenchmarkFixture

from weam_ext.align.aligner import Aligner
from weam_ext.text.pharaoh import Link

METHOD = "grow-diag-final-and"
FAST_ALIGN = {"model": "fast-align", "heuristic": METHOD}
# The twin learns whole words with their case, and knows one thread.
HMM = {"model": "hmm", "stems": "words", "fold_case": False}
MODELS: dict[str, tuple[dict[str, Any], Callable[[Side, Side], list[list[Link]]]]] = {
    "HMM": (HMM, hmm_links),
    "fast_align's model": (FAST_ALIGN, lambda *text: diagonal_links(*text, METHOD)),
}
FEW, MANY = 300, 20_000


def words(pairs: int) -> tuple[Side, Side]:
    source, target = ([line.split() for line in side] for side in sentences(pairs))
    return source, target


def f1(ours: Iterable[list[Link]], theirs: Iterable[list[Link]]) -> float:
    """Of links with links."""
    pairs = [(set(a), set(b)) for a, b in zip(ours, theirs, strict=True)]
    return 2 * sum(len(a & b) for a, b in pairs) / sum(len(a) + len(b) for a, b in pairs)


@pytest.mark.parametrize("implementation", ["weam_ext", "weam_ref"])
@pytest.mark.parametrize("model", MODELS)
def bench_one_thread(
    benchmark: BenchmarkFixture, record: Record, model: str, implementation: str
) -> None:
    benchmark.group = f"train and align {FEW} pairs, one thread, {model}"
    text, (options, twin) = words(FEW), MODELS[model]
    native = Aligner(threads=1, **options).fit_align
    ours = implementation == "weam_ext"
    links = benchmark.pedantic(native if ours else twin, text, rounds=20 if ours else 3)
    # Not 1: of two links that are equally good, float32 and float64 may take different ones.
    assert f1(native(*text), links) >= 0.995
    record(implementation, pairs=FEW)


@pytest.mark.parametrize("options", [{}, FAST_ALIGN], ids=["HMM", "fast-align"])
@pytest.mark.benchmark(group=f"train and align {MANY:,} pairs, both directions, all processors")
def bench_defaults(benchmark: BenchmarkFixture, record: Record, options: dict[str, Any]) -> None:
    aligner = Aligner(**options)
    links = benchmark.pedantic(aligner.fit_align, sentences(MANY), rounds=5)
    assert len(links) == MANY
    record(f"weam_ext, {aligner.kind}", pairs=MANY)


@pytest.mark.skipif("WEAM_FAST_ALIGN" not in os.environ, reason="WEAM_FAST_ALIGN names no program")
@pytest.mark.benchmark(group=f"train and align {MANY:,} pairs, both directions, all processors")
def bench_fast_align(benchmark: BenchmarkFixture, record: Record, tmp_path: Path) -> None:
    text = tmp_path / "text"
    lines = [f"{s} ||| {t}\n" for s, t in zip(*sentences(MANY), strict=True)]
    text.write_text("".join(lines))

    def both_directions() -> None:
        for direction in ([], ["-r"]):
            program = [os.environ["WEAM_FAST_ALIGN"], "-i", str(text), "-d", "-o", "-v"]
            subprocess.run([*program, *direction], check=True, capture_output=True)

    benchmark.pedantic(both_directions, rounds=3)
    record("fast_align, without symmetrisation", pairs=MANY)
