"""The proof on a GPU, in one call: does every kernel run, is it right, repeatable, and how fast.

    python benchmarks/gpu.py --minutes 8
    python benchmarks/gpu.py --table

The first command builds the native module where it is not built, and measures one item after
another, in the order of what matters most. Each is done in a process of its own with a time limit,
so that a hang, a crash, a fault on the device or too little memory loses that item alone. What is
measured is written at once, for each card, its libraries and the commit by itself, and is not
measured again: the same command goes on with what is missing. The second writes the tables of
docs/kernels.md and the README.

A machine without a network gets what it lacks from benchmarks/carry, which
`sh benchmarks/gpu_carry.sh` fills. `--tiny` is for machines without a GPU: everything runs, on a
small model, and no figure means anything.
"""

import importlib.util
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout is not installed

# Asked by its driver's library, a GPU's presence can be known before a process is forked.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

from gpu_report import Json, failed, table, write_tables

from weam_ext.common.errors import InputError, Parser, is_out_of_memory, run, say
from weam_ext.common.files import check_writable, write_whole

ROOT = Path(__file__).resolve().parents[1]
CARRY = ROOT / "benchmarks" / "carry"
RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
TESTS = ["test_mask.py", "test_gather.py", "test_cross_entropy.py", "test_philox.py", "triton"]
STEPS = [
    *(("bf16", "full 128", tokens) for tokens in (65_536, 16_384, 131_072)),
    *(("all tokens", "full 128", tokens) for tokens in (8_192, 16_384, 24_576, 32_768)),
    *(("masked rows", "full 128", tokens) for tokens in (16_384, 32_768)),
    *(("bf16, compiled", "full 128", tokens) for tokens in (65_536, 131_072)),
    ("bf16, compiled, not repeatable", "full 128", 131_072),
    *(("autocast", "full 128", tokens) for tokens in (65_536, 131_072)),
    ("autocast, compiled", "full 128", 131_072),
    *(
        (way, "real", 65_536)
        for way in ("bf16, compiled", "bf16, compiled, packed", "bf16, packed")
    ),
    ("bf16", "full 256", 65_536),
]
"""(way, text, tokens of a batch), in the order of what matters most."""


class Item(NamedTuple):
    """What is measured by itself."""

    name: str
    seconds: float
    """It may take."""
    measure: Callable[[], Any]


def parse(arguments: Sequence[str] | None) -> Any:
    parser = Parser("benchmarks/gpu.py", "Check and time the WEAM step on a GPU.")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="JSON", help="the results (%(default)s)"
    )
    parser.add_argument("--table", action="store_true", help="write the tables of the documents")
    parser.add_argument("--tiny", action="store_true", help="a small model, on any machine")
    parser.add_argument(
        "--minutes", type=float, default=8.0, metavar="M",
        help="no item begins that would not end by then (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int, default=10, metavar="N", help="timed, of each way (%(default)s)"
    )
    return parser.parse_args(arguments)


# ------------------------------------------------------------------------- one item, one process


def isolated(measure: Callable[[], Any], limit: float) -> Any:
    """What a call returns in a process of its own, which ends with all that it started.

    None where memory does not suffice, and {"failed": why} for whatever else goes wrong. The
    process is a fork, so that nothing is imported again; CUDA must not have begun before.
    """
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=_send, args=(measure, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit):
            return {"failed": f"stopped after {limit:.0f} seconds"}
        return receiver.recv()
    except EOFError:
        process.join()
        return {"failed": f"its process ended with status {process.exitcode}"}
    finally:
        with suppress(OSError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()


def _send(measure: Callable[[], Any], sender: Connection) -> None:
    os.setsid()
    try:
        found = measure()
    except Exception as error:
        traceback.print_exc()
        found = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        if is_out_of_memory(error):
            found = None
    sender.send(found)


# ----------------------------------------------------------------------------------------- the file


class Results:
    """What is known, in one file for all cards and conditions; each addition is written at once."""

    def __init__(self, path: Path, conditions: Json) -> None:
        self._path, self._all = path, read(path)
        check_writable(path)
        named = ("gpu", "torch", "triton", "transformers", "commit", "model")
        key = ", ".join(f"{name} {conditions[name]}" for name in named)
        self.here: Json = self._all.setdefault(key, {"conditions": conditions, "items": {}})
        self.items: Json = self.here["items"]

    def lacks(self, name: str) -> bool:
        return name not in self.items or failed(self.items[name])

    def add(self, name: str, found: Any) -> None:
        self.items[name] = found
        write_whole(self._path, (json.dumps(self._all, indent=1) + "\n").encode())
        say(f"{name}: {json.dumps(found)[:300]}")


def read(path: Path) -> Json:
    """The file, or nothing where there is none; `InputError` for another."""
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"{path}: not a file of results ({error})") from error
    if not all(isinstance(each, dict) and "items" in each for each in found.values()):
        raise InputError(f"{path}: not a file of results; give another --output")
    return found


def measure_all(items: Sequence[Item], results: Results, deadline: float) -> None:
    """Measure what is not there yet, until the time is over."""
    for item in items:
        left = deadline - time.monotonic()
        if not results.lacks(item.name):
            continue
        if left < item.seconds / 3:
            results.add(item.name, {"failed": "not run: time"})
        else:
            found = isolated(item.measure, min(item.seconds, left))
            results.add(item.name, found)
            say(f"  {deadline - time.monotonic():.0f} seconds are left")


# ------------------------------------------------------------------------------ what there is to do


def make_ready() -> None:
    """Install what was carried along and is not there, and build the native module."""
    site = CARRY / "site"
    lacking = [n for n in ("anyascii", "zstandard") if importlib.util.find_spec(n) is None]
    if lacking and not site.exists():
        wheels = list(map(str, CARRY.glob("*.whl")))
        if not wheels:
            raise InputError(f"{', '.join(lacking)} not installed: run benchmarks/gpu_carry.sh")
        pip = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(site)]
        subprocess.run([sys.executable, *pip, *wheels], check=True)
    sys.path.append(str(site))
    paths = [str(ROOT), str(ROOT / "python"), str(site), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    sys.path.append(str(ROOT / "python"))
    if importlib.util.find_spec("weam_ext._native") is None:
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        if subprocess.run(build, cwd=ROOT, stdout=sys.stderr).returncode:
            raise InputError("the native module cannot be built: see what CMake says above")
        importlib.invalidate_caches()


def conditions(tiny: bool) -> Json:
    """What a figure means nothing without."""
    import torch
    import transformers
    import triton
    from compare_aligners import code_version
    from corpora import machine

    commit, carried = code_version(), CARRY / "commit"
    if commit == "unknown" and carried.exists():
        commit = carried.read_text().strip()
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else ()
    return machine() | {
        "triton": triton.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "capability": ".".join(map(str, capability)),
        "commit": commit,
        "model": "tiny" if tiny else "BERT base",
    }


def plan(work: Path, options: Any) -> Iterator[Item]:
    """Every item, in the order of what matters most."""
    import gpu_kernels
    import gpu_steps

    machine = gpu_kernels.Machine("cpu" if options.tiny else "cuda", work)
    for name, limit in (("launches", 90), ("checks", 60)):
        yield Item(name, limit, partial(getattr(gpu_kernels, name), machine))
    for length in (128, 256, 512):
        yield Item(f"repeatable {length}", 60, partial(gpu_steps.same_bits, machine, length, []))
    for name in ("ceilings", "attention", "kernels", "head"):
        timed = partial(getattr(gpu_kernels, name), machine)
        yield Item(name, 60, partial(gpu_kernels.clocked, timed))
    for way, text, tokens in STEPS:
        size = machine.tokens(tokens)
        step = partial(gpu_steps.measure, machine, way, text, size, options.steps)
        yield Item(f"step; {way}; {text}; {size}", 90, step)
    tests = partial(run_tests, ["test_constants.py"] if options.tiny else TESTS)
    yield Item("tests", 150, tests)


def run_tests(names: Sequence[str]) -> Json:
    """The operators' tests, with their tensors on the GPU where there is one."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    if importlib.util.find_spec("xdist") and len(names) > 1:
        command += ["-n", "8"]
    files = [str(ROOT / "tests" / "ops" / name) for name in names]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()[-1:]
    faults = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if done.returncode:
        raise RuntimeError("; ".join([*faults[:20], *lines[-1:]]))
    return {"summary": lines[-1]}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.table:
        write_tables(read(options.output), ROOT)
        return
    deadline = time.monotonic() + 60 * options.minutes
    make_ready()
    if options.tiny:
        os.environ["TRITON_INTERPRET"] = "1"  # before its kernels are imported
    import gpu_steps  # noqa: F401  # all that the processes below need, once

    known = isolated(partial(conditions, options.tiny), 120)
    if failed(known):
        raise InputError(f"torch cannot be used here: {known['failed']}")
    if known["gpu"] == "none" and not options.tiny:
        raise InputError("there is no GPU here; --tiny tries the script without one")
    results = Results(options.output, known)
    with TemporaryDirectory() as work:
        items = list({item.name: item for item in plan(Path(work), options)}.values())
        measure_all(items, results, deadline)
    print(table(results.here))
    wanted = [item.name for item in items if failed(results.items[item.name])]
    if faults := [name for name in wanted if results.items[name]["failed"] != "not run: time"]:
        raise InputError(f"these could not be measured: {', '.join(faults)}")


if __name__ == "__main__":
    run("benchmarks/gpu.py", main)
