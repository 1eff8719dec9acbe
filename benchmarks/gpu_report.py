"""The results of benchmarks/gpu.py as Markdown."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from markers import insert

Json = dict[str, Any]
GOAL = 790e12
"""FLOP/s of large bfloat16 products that was measured on an H100 and an H200."""
MARKERS = "<!-- gpu: written by benchmarks/gpu.py --table -->", "<!-- gpu: end -->"
UNMEASURED = """**Nothing has been measured on a GPU yet.**
Predicted, not measured, for one H100: the bytes that a step must move over 3.0 TB/s, and its
floating-point operations over 790 TFLOP/s; mBERT's shape, 256 pairs of 128 tokens, 30 % masked,
90 % linked, under autocast."""
PREDICTED = [
    ("encoder: products", "16.7 TFLOP", "29.4", "29.4"),
    ("encoder: norms, residual, GELU, dropout, casts", "79 GB, 45 GB compiled", "29.3", "16.8"),
    ("attention", "0.46 TFLOP, 8 GB", "3.4", "3.4"),
    ("head: products", "10.7 TFLOP", "15.8", "15.8"),
    ("head: softmax kernel", "14 GB", "7.4", "7.4"),
    ("head: gradients of bias and weight, casts", "15 GB", "5.8", "5.8"),
    ("clipping, AdamW", "8.6 GB", "3.2", "3.2"),
    ("embeddings, casts, masking, gather", "2.4 GB", "1.1", "1.1"),
    ("a step", "27.3 TFLOP", "95", "83"),
    ("tokens/s, share of 790 TFLOP/s", "", "344,000, 36 %", "396,000, 42 %"),
]


def failed(found: Any) -> bool:
    """Whether a result is why there is none."""
    return isinstance(found, dict) and "failed" in found


def write_tables(measured: Json, root: Path) -> None:
    """Write docs/kernels.md's and the README's part on what was measured on GPUs."""
    real = [each for each in measured.values() if each["conditions"]["model"] != "tiny"]
    long = "\n".join(map(table, real)) or "\n".join([UNMEASURED, "", *predictions()])
    short = "\n".join(map(summary, real)) or "**Nothing has been measured on a GPU yet.**"
    insert(root / "docs" / "kernels.md", *MARKERS, long)
    insert(root / "README.md", *MARKERS, short)


def predictions() -> Iterator[str]:
    header = ["predicted", "FLOP or bytes", "ms eager", "ms compiled"]
    yield from lines(header, PREDICTED)


def table(results: Json) -> str:
    """What was measured, and what was not and why."""
    there = {name: found for name, found in results["items"].items() if not failed(found)}
    faults = [(n, r["failed"]) for n, r in results["items"].items() if failed(r)]
    said = [conditions(results["conditions"]), ""]
    for part, needs in PARTS.items():
        if needs in there or needs == "step":
            said += [*part(there), ""]
    said += [f"- {name} FAILED: {why}" for name, why in faults if why != "not run: time"]
    late = [name for name, why in faults if why == "not run: time"]
    return "\n".join([*said, *([f"Not run: time: {'; '.join(late)}."] if late else [])])


def conditions(known: Json) -> str:
    return ", ".join(f"{name} {value}" for name, value in known.items()) + "."


def summary(results: Json) -> str:
    """The fastest way at each text, in a sentence."""
    best: dict[str, tuple[float, str]] = {}
    for way, text, tokens, step in steps_of(results["items"]):
        if step and way not in ("all tokens", "masked rows"):
            speed, share = step["tokens_per_second"], step["flops_per_second"] / GOAL
            said = f"{text}: {speed:,.0f} tokens/s ({share:.0%} of 790 TFLOP/s; {way}, {tokens:,})"
            best[text] = max(best.get(text, (0.0, "")), (speed, said))
    told = "; ".join(said for _, said in best.values())
    return f"{results['conditions']['gpu']}, the fastest by text: {told or 'nothing yet'}."


def checks(items: Json) -> Iterator[str]:
    number = items["launches"]["launches"]
    yield f"{number} launches of kernels, each optional argument given and not, ran."
    if errors := items.get("checks"):
        worst = max(errors.values())
        yield f"The largest error beside float64 is {worst:.1e}; the masks are the host's."
    for name, same in items.items():
        if name.startswith("repeatable"):
            bad = [what for what, equal in same.items() if not equal]
            end = f"DIFFERENT BITS in {', '.join(bad)}" if bad else "the same bits"
            yield f"Two runs on padded pairs of {name.split()[1]} tokens: {end}."
    if "tests" in items:
        yield f"Tests of the operators: {items['tests']['summary']}"


def ceilings(items: Json) -> Iterator[str]:
    most = items["ceilings"]
    yield (
        f"Measured ceilings: {most['bytes_per_second'] / 1e12:.2f} TB/s copied, "
        f"{most['flops_per_second'] / 1e12:.0f} TFLOP/s in bfloat16{clock(most)}."
    )


def attention(items: Json) -> Iterator[str]:
    found = timed(items["attention"])
    rows = ([name, a["kernel"], f"{a['seconds'] * 1e3:.2f}"] for name, a in found)
    yield from lines(["attention of a layer", "kernel", "ms"], rows)


def kernels(items: Json) -> Iterator[str]:
    speed = items.get("ceilings", {"bytes_per_second": 3e12})["bytes_per_second"]
    header = ["kernel", "tokens", "µs", "µs its bytes take", "share of the bound"]
    yield from lines(
        header,
        (
            [
                name,
                f"{k['tokens']:,}",
                f"{k['seconds'] * 1e6:.1f}",
                f"{k['bytes'] / speed * 1e6:.1f}",
                f"{k['bytes'] / speed / k['seconds']:.0%}",
            ]
            for name, k in timed(items["kernels"])
        ),
    )


def head(items: Json) -> Iterator[str]:
    def row(name: str, found: Any) -> list[str]:
        if not isinstance(found, dict):
            return [name, found or "does not fit", "–", "–"]
        ms, flops = f"{found['seconds'] * 1e3:.1f}", f"{found['flops_per_second'] / 1e12:.0f}"
        return [name, ms, flops, f"{found['bytes'] / 2**30:.2f}"]

    found = {name: value for name, value in items["head"].items() if not isinstance(value, float)}
    yield from lines(["head", "ms", "TFLOP/s", "GiB"], (row(*each) for each in found.items()))


def steps(items: Json) -> Iterator[str]:
    def row(way: str, text: str, tokens: int, s: Json | None) -> list[str]:
        if s is None:
            return [text, way, f"{tokens:,}", "does not fit", *["–"] * 6]
        sheet = f"{s['flops_per_second'] / s['data_sheet']:.1%}" if s["data_sheet"] else "–"
        return [
            text,
            way,
            f"{tokens:,}",
            f"{s['tokens_per_second']:,.0f}",
            f"{s['flops_per_second'] / GOAL:.1%}",
            sheet,
            f"{s['padding']:.1%}",
            f"{s['peak_bytes'] / 2**30:.1f}",
            f"{s['loss']:.3f}",
            clock(s).strip(" ,()"),
        ]

    header = ["text", "way", "tokens a batch", "tokens/s", "of 790 TFLOP/s", "of the data sheet",
              "padding", "GiB", "loss", "clocks"]  # fmt: skip
    yield from lines(header, (row(*step) for step in steps_of(items)))
    yield ""
    yield from ratio(items)


def ratio(items: Json) -> Iterator[str]:
    """The plainest way beside ours, each at its best on full batches."""
    found = [(way, s) for way, text, _, s in steps_of(items) if s and text == "full 128"]
    speed = "tokens_per_second"
    plain = max((s[speed] for way, s in found if way == "all tokens"), default=0.0)
    ours = [(s[speed], way) for way, s in found if way not in ("all tokens", "masked rows")]
    if plain and ours:
        best, way = max(ours)
        yield f"{way}: {best / plain:.2f} times the speed of 'all tokens', each at its best batch."


def profiles(items: Json) -> Iterator[str]:
    """Of each way its last step's kernels."""
    last = {(way, text): s["kernels"] for way, text, _, s in steps_of(items) if s}
    for (way, text), rows in last.items():
        yield f"{way}, {text}:" + (f" {rows}" if isinstance(rows, str) else "")
        yield ""
        if not isinstance(rows, str):
            header = ["kernel", "launches a step", "ms a step"]
            yield from lines(header, ([f"`{n}`", f"{c:,}", f"{ms:.2f}"] for n, c, ms in rows))
        yield ""


def clock(found: Json) -> str:
    """The clocks beside a figure, where they were read."""
    if "watts" not in found:
        return ""
    return f" ({found['sm_mhz']:.0f} MHz, {found['watts']:.0f} W)"


def timed(found: Json) -> Iterator[tuple[str, Json]]:
    """Without the clocks."""
    return ((name, each) for name, each in found.items() if isinstance(each, dict))


def steps_of(items: Json) -> Iterator[tuple[str, str, int, Json | None]]:
    """(way, text, tokens, figures) of each step measured."""
    for name, figures in items.items():
        kind, *rest = name.split("; ")
        if kind == "step" and not failed(figures):
            way, text, tokens = rest
            yield way, text, int(tokens), figures


def lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(row)} |"


PARTS: dict[Callable[[Json], Iterator[str]], str] = {
    checks: "launches",
    ceilings: "ceilings",
    attention: "attention",
    kernels: "kernels",
    head: "head",
    steps: "step",
    profiles: "step",
}
"""In this order, each where the item it needs is there."""
