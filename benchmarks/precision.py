"""How closely training in reduced precision follows float32, step by step, on real text.

    python benchmarks/precision.py --bitext en-fr=pairs.tsv.xz --work DIR

The same small BERT (without dropout, whose masks depend on the type) is trained on the same pairs
with the same seeds in each precision, and the losses of every step are kept. What is in --work is
not done again. `--table` writes into the docs how far each is from float32.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compare_objectives import MODEL, command, commit, save, wordpiece_vocabulary
from corpora import machine
from markers import insert

from weam_ext.common.errors import InputError, Parser, run
from weam_ext.common.files import write_whole
from weam_ext.text.bitext import parse_bitext

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "precision.json"
DOCS = ROOT / "docs" / "training.md"
BEGIN = "<!-- precision: written by benchmarks/precision.py --table -->"
END = "<!-- precision: end -->"
PRECISIONS = ("fp32", "bf16-autocast", "bf16")
WINDOW = 20
"""Steps of which the mean is compared: the losses of single batches differ by far more."""
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
Json = dict[str, Any]


def main() -> None:
    options = parse_options()
    if options.table:
        insert(DOCS, BEGIN, END, "\n".join(table(json.loads(options.output.read_bytes()))))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    prepare(options)
    results: Json = {
        "machine": machine() | {name: version(name) for name in ("transformers", "numpy")},
        "commit": commit(),
        "settings": {name: getattr(options, name) for name in options.figures},
        "runs": {precision: {} for precision in PRECISIONS},
    }
    for seed in range(options.seeds):
        for precision in PRECISIONS:
            results["runs"][precision][str(seed)] = trained(options, precision, seed)
            save(options.output, results)


def parse_options() -> argparse.Namespace:
    parser = Parser("precision", __doc__.split("\n")[0])
    parser.add_argument("--bitext", nargs="+", metavar="FILE", help="as weam_ext.train takes it")
    parser.add_argument("--work", type=Path, metavar="DIR", help="of the runs")
    figures = (
        ("limit", 20000, "pairs"),
        ("vocabulary", 8000, "entries of the WordPiece vocabulary"),
        ("steps", 300, "steps of each run"),
        ("seeds", 3, "of each precision"),
    )
    for name, value, text in figures:
        parser.add_argument(f"--{name}", type=int, default=value, metavar="N",
                            help=f"{text} (%(default)s)")  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="JSON", help="(benchmarks/results)"
    )
    parser.add_argument("--table", action="store_true", help="write the table into the docs")
    parser.set_defaults(figures=[name for name, *_ in figures])
    options = parser.parse_args()
    if not options.table and not (options.bitext and options.work):
        raise InputError("--bitext and --work are needed")
    return options


def prepare(options: argparse.Namespace) -> None:
    """The vocabulary, the model's configuration and the shards."""
    work: Path = options.work
    if (work / "prepared").exists():
        return
    bitext = parse_bitext(options.bitext, limit=options.limit)
    write_whole(work / "vocab.txt", wordpiece_vocabulary(bitext, options.vocabulary))
    write_whole(work / "model.json", json.dumps(MODEL | NO_DROPOUT).encode())
    command(
        "weam_ext.prepare", "--bitext", *options.bitext, "--limit", str(options.limit),
        "--tokenizer", str(work / "vocab.txt"), "--max-length", "128",
        "--output", str(work / "prepared"),
    )  # fmt: skip


def trained(options: argparse.Namespace, precision: str, seed: int) -> Json:
    """The loss of every step of a run, and the held-out loss after the last."""
    work: Path = options.work
    output = work / f"{precision}-{seed}"
    command(
        "weam_ext.train", "--prepared", str(work / "prepared"), "--max-length", "128",
        "--tokenizer", str(work / "vocab.txt"), "--model-config", str(work / "model.json"),
        "--steps", str(options.steps), "--seed", str(seed), "--precision", precision,
        "--batch-size", "32", "--log-every", "1", "--eval-every", str(options.steps),
        "--save-every", str(options.steps), "--no-tensorboard", "--output", str(output),
    )  # fmt: skip
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    heldout = [line["heldout/all"]["loss"] for line in lines if "heldout/all" in line]
    losses = [round(line["train"]["loss"], 5) for line in lines if "train" in line]
    return {"losses": losses, "heldout": heldout[-1]}


# ------------------------------------------------------------------------------------------ report


def table(results: Json) -> Iterator[str]:
    """The results as Markdown."""
    used, made = results["settings"], results["machine"]
    seeds = range(used["seeds"])
    yield (
        f"{used['limit']:,} pairs of Tatoeba (en-fr), {used['vocabulary']:,} tokens, BERT "
        f"{MODEL['num_hidden_layers']} x {MODEL['hidden_size']} from random weights, "
        f"{used['steps']} steps of 32 pairs, {used['seeds']} seeds. {made['processor']}, torch "
        f"{made['torch']}, transformers {made['transformers']}, one thread; commit "
        f"{results['commit']}."
    )
    yield ""
    yield "| | mean distance | largest distance | held-out loss | and its distance |"
    yield "| --- | --- | --- | --- | --- |"
    for precision, runs in results["runs"].items():
        exact = results["runs"]["fp32"]
        apart = [distances(runs[str(s)]["losses"], exact[str(s)]["losses"]) for s in seeds]
        ends = [runs[str(s)]["heldout"] - exact[str(s)]["heldout"] for s in seeds]
        yield (
            f"| {precision} | {spread([statistics.mean(each) for each in apart])} "
            f"| {spread([max(each) for each in apart])} "
            f"| {statistics.mean(runs[str(s)]['heldout'] for s in seeds):.4f} "
            f"| {spread(ends)} |"
        )
    yield ""
    yield (
        f"Distances in nats from the float32 run of the same seed, of the training loss as a mean "
        f"over {WINDOW} steps, at all steps; means over the seeds (from the lowest to the highest)."
    )


def distances(losses: list[float], others: list[float]) -> list[float]:
    """Absolute differences of two curves, each smoothed."""
    return [abs(a - b) for a, b in zip(smoothed(losses), smoothed(others), strict=True)]


def smoothed(losses: list[float]) -> list[float]:
    """The mean of the last `WINDOW` losses at each step from the first that has as many."""
    sums = [sum(losses[k : k + WINDOW]) for k in range(len(losses) - WINDOW + 1)]
    return [total / WINDOW for total in sums]


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


if __name__ == "__main__":
    run("precision", main)
