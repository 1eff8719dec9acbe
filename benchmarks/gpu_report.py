"""The results of benchmarks/gpu.py as Markdown."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Json = dict[str, Any]


def failed(found: Any) -> bool:
    """Whether a result is why there is none."""
    return isinstance(found, dict) and "failed" in found


def table(results: Json) -> str:
    """What was measured, ratios where the rows they need are there, and what failed and why."""
    there = {name: found for name, found in results.items() if not failed(found)}
    parts = [part for part, needs in _PARTS.items() if needs <= there.keys()]
    said = [line for part in parts for line in (*part(there), "")]
    faults = (f"{name} FAILED: {r['failed']}" for name, r in results.items() if failed(r))
    return "\n".join([*said, *faults])


def conditions(results: Json) -> Iterator[str]:
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    yield f"{machine}; commit {results['commit']}."


def ceilings(results: Json) -> Iterator[str]:
    most = results["ceilings"]
    yield (
        f"Measured ceilings: {most['bytes_per_second'] / 1e12:.2f} TB/s copied, "
        f"{most['flops_per_second'] / 1e12:.0f} TFLOP/s in bfloat16."
    )


def kernels(results: Json) -> Iterator[str]:
    speed = results["ceilings"]["bytes_per_second"]
    yield from lines(
        ["kernel", "tokens", "µs", "µs its bytes take", "share of the bound"],
        (
            [
                name,
                f"{k['tokens']:,}",
                f"{k['seconds'] * 1e6:.1f}",
                f"{k['bytes'] / speed * 1e6:.1f}",
                f"{k['bytes'] / speed / k['seconds']:.0%}",
            ]
            for name, k in results["kernels"].items()
        ),
    )


def chunks(results: Json) -> Iterator[str]:
    yield from lines(
        ["head, chunk", "ms", "TFLOP/s", "GiB"],
        (
            [name, "does not fit", "–", "–"]
            if c is None
            else [
                name,
                f"{c['seconds'] * 1e3:.1f}",
                f"{c['flops_per_second'] / 1e12:.0f}",
                f"{c['bytes'] / 2**30:.2f}",
            ]
            for name, c in results["head_chunks"].items()
        ),
    )


def steps(results: Json) -> Iterator[str]:
    most = results["ceilings"]["flops_per_second"]
    yield from lines(
        ["length", "way", "tokens a batch", "tokens/s", "of the ceiling", "GiB", "loss"],
        (
            [length, way, f"{tokens:,}", "does not fit", "–", "–", "–"]
            if s is None
            else [
                length,
                way,
                f"{tokens:,}",
                f"{s['tokens_per_second']:,.0f}",
                f"{s['flops_per_second'] / most:.1%}",
                f"{s['peak_bytes'] / 2**30:.1f}",
                f"{s['loss']:.3f}",
            ]
            for length, way, tokens, s in steps_of(results)
        ),
    )


def ratios(results: Json) -> Iterator[str]:
    """Ours against the plain way over all tokens: at its largest batch, and each at its best."""
    found = [(length, way, s) for length, way, _, s in steps_of(results) if s]
    for length in dict.fromkeys(length for length, *_ in found):
        ours, plain = (
            {s["tokens"]: s for at, way, s in found if at == length and way == wanted}
            for wanted in ("weam_ext, compiled", "all tokens")
        )
        if not ours or not plain:
            continue
        speed = "tokens_per_second"
        largest = max(plain)
        best = [max(s[speed] for s in way.values()) for way in (ours, plain)]
        yield f"Length {length}: {best[0] / best[1]:.2f} times the speed, each at its best batch."
        if largest in ours:
            same = ours[largest], plain[largest]
            memory = same[0]["peak_bytes"] / max(1, same[1]["peak_bytes"])
            times = same[0][speed] / same[1][speed]
            yield (
                f"Length {length}, {largest:,} tokens, the most that fit that way: "
                f"{times:.2f} times the speed in {memory:.0%} of the memory."
            )
        rows = results["kernels"]
        tokens = rows["mask"]["tokens"]
        if tokens in ours:
            used = [k["seconds"] for name, k in rows.items() if "bfloat16" not in name]
            share = sum(used) / ours[tokens]["seconds"]
            yield f"Length {length}: masking and gather are {share:.2%} of the step."


def checks(results: Json) -> Iterator[str]:
    for name, same in results.items():
        if name.startswith("repeatable "):
            way = name.removeprefix("repeatable ")
            yield f"Two runs of {way} end in {'the same bits' if same else 'DIFFERENT BITS'}."
    if "tests" in results:
        yield f"Tests of masking, gather and head: {' '.join(results['tests']['summary'])}"


def steps_of(results: Json) -> Iterator[tuple[str, str, int, Json | None]]:
    """(length, way, tokens, figures) of each step measured."""
    for name, figures in results.items():
        kind, _, rest = name.partition(" ")
        if kind == "step":
            length, _, rest = rest.partition(" ")
            way, _, tokens = rest.rpartition(" ")
            yield length, way, int(tokens), figures


def lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(row)} |"


_PARTS: dict[Callable[[Json], Iterator[str]], set[str]] = {
    conditions: set(),
    ceilings: {"ceilings"},
    kernels: {"ceilings", "kernels"},
    chunks: {"head_chunks"},
    steps: {"ceilings"},
    ratios: {"kernels"},
    checks: set(),
}
"""In this order, each where the results it needs are there."""
