"""The WEAM step on a GPU: checks it, times its kernels and the whole, and writes JSON and a table.

    python benchmarks/gpu.py --output benchmarks/results/gpu.json
    python benchmarks/gpu.py --output benchmarks/results/gpu.json --table

The first command takes some minutes: the tests of masking, gather and head on the GPU; the kernels
against the time their bytes take to move; the head by chunk size; and the training step of a BERT
base with mBERT's vocabulary against three ways of plain PyTorch. What is measured is written at
once, for each card by itself; stopped and started again, it goes on, and what failed is tried
again. The second prints what the file holds as Markdown.
`--tiny` is for machines without a GPU: everything runs, no figure means anything.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

# Before CUDA starts: without it cuBLAS may take another way from run to run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
from compare_aligners import code_version
from corpora import machine
from gpu_kernels import Shape, ceilings, head_chunks, kernels
from gpu_report import failed, table
from gpu_steps import OURS, WAYS, Run, forget, measure, repeatable

from weam_ext.common.errors import InputError, run
from weam_ext.common.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
TESTS = ["test_mask.py", "test_gather.py", "test_head.py"]
BASE = Shape(vocabulary=119_547, hidden=768, layers=12, heads=12, intermediate=3072)
TINY = Shape(vocabulary=499, hidden=32, layers=1, heads=2, intermediate=48)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check and time the WEAM step on a GPU.")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON", help="the results")
    parser.add_argument("--table", action="store_true", help="print what the file holds")
    parser.add_argument("--tiny", action="store_true", help="a small model, on any machine")
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[128, 256], metavar="TOKENS",
        help="of a sentence pair (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[16_384, 65_536, 131_072],
        metavar="N", help="of a batch (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY",
        help="; ".join(f"'{way}': {what}" for way, what in WAYS.items()) + " (all)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int, default=10, metavar="N", help="timed, of each (%(default)s)"
    )
    parser.add_argument("--no-tests", dest="tests", action="store_false", help="leave them out")
    return parser.parse_args(arguments)


class Recorder:
    """Measures what the file does not hold yet for this card, and writes it there at once.

    The file holds results by card; those under other conditions are measured anew. What fails is
    noted as {"failed": why} and does not keep the rest from being measured.
    """

    def __init__(self, path: Path, card: str, conditions: dict[str, Any]) -> None:
        self.path = path
        self._all = json.loads(path.read_text()) if path.exists() else {}
        held = self._all.get(card, {})
        same = all(held.get(name) == value for name, value in conditions.items())
        self.results = self._all[card] = held if same else conditions

    def __call__(self, name: str, measure: Callable[[], Any]) -> None:
        if name not in self.results or failed(self.results[name]):
            try:
                self.results[name] = measure()
            except Exception as error:
                self.results[name] = {"failed": f"{type(error).__name__}: {error}"}
            write_whole(self.path, (json.dumps(self._all, indent=1) + "\n").encode())
        print(f"{name}: {json.dumps(self.results[name])}", file=sys.stderr, flush=True)


def run_tests() -> dict[str, Any]:
    """The tests of the three operators, with their tensors on the GPU."""
    files = [str(ROOT / "tests" / name) for name in TESTS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *files],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    print(done.stdout[-2000:], file=sys.stderr)
    return {"status": done.returncode, "summary": done.stdout.strip().splitlines()[-1:]}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.table:
        for results in json.loads(options.output.read_text()).values():
            print(table(results))
        return
    device = "cpu" if options.tiny else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU here; --tiny tries the script without one")
    shape = TINY if options.tiny else BASE
    sizes = {"shape": list(shape), "tokens": options.tokens, "steps": options.steps}
    here = machine()
    conditions = {"commit": code_version(), "machine": here, "sizes": sizes}
    record = Recorder(options.output, str(here["gpu"]), conditions)
    record("ceilings", lambda: ceilings(device))
    record("kernels", lambda: kernels(shape, options.tokens[len(options.tokens) // 2], device))
    record("head_chunks", lambda: head_chunks(shape, options.tokens[0], device))
    for way in options.ways:
        if way in OURS:
            longest = max(options.lengths)
            again = partial(repeatable, way, shape, longest, options.tokens[0], device)
            record(f"repeatable {way}", again)
        forget()
        training = cache(partial(Run, way, shape, device))
        for length, tokens in product(options.lengths, options.tokens):
            record(
                f"step {length} {way} {tokens}",
                lambda length=length, tokens=tokens, training=training: measure(
                    training(), length, tokens, options.steps
                ),
            )
        del training
    if options.tests:
        record("tests", run_tests)
    print(table(record.results))
    if faults := [name for name, found in record.results.items() if failed(found)]:
        raise InputError(f"these could not be measured: {', '.join(faults)}")


if __name__ == "__main__":
    run("benchmarks/gpu.py", main)
