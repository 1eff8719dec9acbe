"""The encoder as aligner beside awesome-align and SimAlign, all with the same encoder.

    python benchmarks/encoder_peers.py --encoder DIR --awesome-align PYTHON --simalign PYTHON
    python benchmarks/encoder_peers.py --table

PYTHON is the interpreter of an environment that has the program (and torch and transformers); what
is not given is left out. The first command measures, the second writes the table into
docs/aligner.md. Each figure is added to a JSON file at once; given again, it goes on where it was
stopped, and begins anew with another encoder, commit, machine or version.

Every system is a command, from a text file to a file of links, on one thread. The systems take
turns, so that whatever else the machine does falls on all alike. Rates are of processor seconds
(what a free core takes), less those of a text of one pair: reading the encoder is not aligning.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from statistics import median

from aligner_results import Figures, Json, replace_durably
from compare_aligners import (
    PACKAGES,
    ROOT,
    Gold,
    Step,
    code_version,
    gold_links,
    machine,
    program,
    run_step,
)
from encoder_alignment import SETS
from gold_sets import Pair
from markers import insert
from safetensors.torch import load_file
from torch import save

from weam_ext.align.scoring import score
from weam_ext.common.errors import InputError, Parser, run, say
from weam_ext.transfer.encoder import encoder_digest

RESULTS = ROOT / "benchmarks" / "results" / "encoder_peers.json"
BEGIN = "<!-- peers with the same encoder: written by benchmarks/encoder_peers.py --table -->"
END = "<!-- peers with the same encoder: end -->"
# awesome-align's defaults are made for mBERT. These were chosen with multilingual-e5-small (golden
# pt), and go as deep into the encoder as ours do.
CHOSEN = {"align_layer": "7", "softmax_threshold": "0.7"}
DISTRIBUTIONS = {"awesome-align": "awesome_align", "simalign": "simalign"}


@dataclass(frozen=True)
class System:
    """A program: its command for a text, and the files of links that it writes.

    The best of these counts.
    """

    name: str
    command: Callable[[Path], Step]
    links: tuple[str, ...]


def ours(model: str, encoder: str) -> System:
    def command(text: Path) -> Step:
        flags = ("--model", model, "--encoder", encoder, "--device", "cpu", "--threads", "1")
        program = (sys.executable, "-m", "weam_ext.align", "-i", str(text), *flags)
        return Step("links", program, PACKAGES)

    return System(model, command, ("links",))


def awesome_align(python: str, encoder: Path, settings: dict[str, str]) -> System:
    """One process: workers that read text would take a second core."""

    def command(text: Path) -> Step:
        shim = str(Path(__file__).with_name("peer_awesome_align.py"))
        chosen = chain.from_iterable((f"--{name}", value) for name, value in settings.items())
        files = ("--data_file", str(text), "--output_file", "links")
        model = ("--model_name_or_path", str(encoder), "--num_workers", "0")
        return Step("said", (python, shim, *files, *model, *chosen))

    named = (f"{name.rpartition('_')[2]} {value}" for name, value in settings.items())
    return System(", ".join(("awesome-align", *named)), command, ("links",))


def simalign(python: str, encoder: str) -> System:
    shim = str(Path(__file__).with_name("peer_simalign.py"))
    return System(
        "SimAlign",
        lambda text: Step("said", (python, shim, str(text), encoder)),
        ("inter", "itermax"),
    )


def systems(pythons: dict[str, str], encoder: str, work: Path) -> list[System]:
    made = [ours(model, encoder) for model in ("encoder", "hybrid")]
    if python := pythons.get("awesome-align"):
        copy = pickled(Path(encoder), work / "encoder")
        made += [awesome_align(python, copy, settings) for settings in ({}, CHOSEN)]
    if python := pythons.get("simalign"):
        made.append(simalign(python, encoder))
    return made


def pickled(encoder: Path, folder: Path) -> Path:
    """The encoder with its weights in the one format that awesome-align reads."""
    shutil.copytree(
        encoder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors")
    )
    save(load_file(encoder / "model.safetensors"), folder / "pytorch_model.bin")
    return folder


def measure(system: System, pairs: list[Pair], gold: Gold, work: Path) -> Json:
    """Of the text, and of its first pair alone."""
    whole = timed(system, pairs, work / "whole")
    start = timed(system, pairs[:1], work / "start")
    aer = {
        name: score(gold_links(work / "whole" / name, 0, gold), gold).aer for name in system.links
    }
    return {
        "aer": aer,
        "wall_s": round(whole.wall_s, 2),
        "cpu_s": round(whole.cpu_s, 2),
        "start_cpu_s": round(start.cpu_s, 2),
        "peak_mb": round(whole.peak_bytes / 1e6),
    }


def timed(system: System, pairs: list[Pair], folder: Path) -> Figures:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = folder / "text"
    text.write_text("".join(f"{a} ||| {b}\n" for a, b in pairs), encoding="utf-8")
    return run_step(system.command(text), folder, 1)


def conditions(pythons: dict[str, str], encoder: str) -> Json:
    return machine() | {
        "torch": version("torch"),
        "transformers": version("transformers"),
        "programs": {name: version_there(name, python) for name, python in pythons.items()},
        "commit": code_version(),
        "encoder_sha256": encoder_digest(Path(encoder)),
    }


def version_there(name: str, python: str) -> str:
    """Raises `InputError` where that Python does not have the program."""
    told = f"from importlib.metadata import version; print(version({DISTRIBUTIONS[name]!r}))"
    found = subprocess.run((python, "-c", told), capture_output=True, text=True)
    if found.returncode:
        raise InputError(f"{python}: it has no {name}")
    return found.stdout.strip()


def compare(options: argparse.Namespace) -> None:
    given = {"awesome-align": options.awesome_align, "simalign": options.simalign}
    pythons = {name: program(f"--{name}", path) for name, path in given.items() if path}
    for name in given.keys() - pythons.keys():
        say(f"{name} is left out: give --{name} the Python that has it")
    output: Path = options.output.absolute()
    work = output.with_suffix(".work")
    stated = conditions(pythons, options.encoder)
    held = json.loads(output.read_text()) if output.exists() else {}
    results = held if held.get("conditions") == stated else {"conditions": stated, "sets": {}}
    chosen = {name: SETS[name](options.data)[1:] for name in options.set}
    turns = systems(pythons, str(Path(options.encoder).absolute()), work)
    for turn in range(options.repeat):
        for name, (pairs, gold) in chosen.items():
            found = results["sets"].setdefault(name, {"pairs": len(pairs), "systems": {}})
            for system in turns:
                runs = found["systems"].setdefault(system.name, [])
                if len(runs) <= turn:
                    runs.append(measure(system, pairs, gold, work))
                    replace_durably(output, (json.dumps(results, indent=1) + "\n").encode())
                    say(f"{name}, round {turn + 1}, {system.name}: {runs[-1]}")
    shutil.rmtree(work, ignore_errors=True)


def rate(runs: list[Json], pairs: int) -> float:
    """Pairs a processor second."""
    rates = [(pairs - 1) / (each["cpu_s"] - each["start_cpu_s"]) for each in runs]
    return float(median(rates))


def table(path: Path) -> str:
    """Markdown, medians over the rounds. The first system is the one whose rate is compared."""
    lines = ["| set | system | AER | pairs a second | encoder's rate to its | MB |"]
    lines.append("|---|---|---|---|---|---|")
    for name, found in json.loads(path.read_text())["sets"].items():
        rates = {system: rate(runs, found["pairs"]) for system, runs in found["systems"].items()}
        for system, runs in found["systems"].items():
            aer, memory = min(runs[0]["aer"].values()), median(each["peak_mb"] for each in runs)
            lines.append(
                f"| {name} | {system} | {aer:.4f} | {rates[system]:.1f} | "
                f"{rates['encoder'] / rates[system]:.2f} | {memory:,.0f} |"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    made = Parser("benchmarks/encoder_peers.py", (__doc__ or "").split("\n")[0])
    data = os.environ.get("WEAM_DATA")
    made.add_argument("--data", type=Path, metavar="DIR", default=Path(data) if data else None,
                      help="the folder of the data sets (default: $WEAM_DATA)")  # fmt: skip
    made.add_argument("--encoder", metavar="DIR", help="a BERT's directory")
    made.add_argument("--awesome-align", metavar="PYTHON", help="a Python that has it")
    made.add_argument("--simalign", metavar="PYTHON", help="a Python that has it")
    made.add_argument("--set", nargs="+", metavar="NAME", choices=[*SETS],
                      default=["WPT-03 test", "zh-en"], help="(WPT-03 test and zh-en)")  # fmt: skip
    made.add_argument("--repeat", type=int, metavar="N", default=3, help="rounds (%(default)s)")
    made.add_argument("--output", type=Path, metavar="FILE", default=RESULTS,
                      help="the figures (benchmarks/results/encoder_peers.json)")  # fmt: skip
    made.add_argument("--table", type=Path, nargs="?", metavar="FILE",
                      const=ROOT / "docs" / "aligner.md",
                      help="measure nothing: write the table into a file, between its markers "
                      "(docs/aligner.md)")  # fmt: skip
    options = made.parse_args(arguments)
    if options.table:
        insert(options.table, BEGIN, END, table(options.output))
        return
    if options.data is None or options.encoder is None:
        raise InputError("--encoder is needed, and --data where WEAM_DATA is not set")
    compare(options)


if __name__ == "__main__":
    run("encoder_peers", main)
