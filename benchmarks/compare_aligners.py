"""The aligner and its peers on the WPT-03 Hansards: time, memory, error rate, and the same links?

    python benchmarks/compare_aligners.py --data DIR --fast-align PATH --eflomal PATH
    python benchmarks/compare_aligners.py --table

The first command measures and adds each figure to a JSON file at once; given again, it goes on
where it was stopped. The second writes the file's table into the README and draws its figure.

Every system is its own command line, from a text file to files of links. The systems take turns, so
that whatever else the machine does falls on all of them alike.
"""

import argparse
import json
import math
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import weam_ref
from aligner_report import draw, insert_table, markdown
from aligner_results import Figures, Json, Key, Results, Run, replace_durably

import weam_ext
from weam_ext import _native
from weam_ext.align.links import HEURISTICS, Links, symmetrize
from weam_ext.align.scoring import score
from weam_ext.align.settings import DIRECTIONS, POSTERIOR
from weam_ext.common.errors import InputError, Parser, run, say
from weam_ext.common.files import file_digest
from weam_ext.text.bitext import BitextSource, read_bitext
from weam_ext.text.pharaoh import Link, parse_links, read_gold

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "aligners.json"
METHOD = "grow-diag-final-and"
FLAGS = ("-d", "-o", "-v")
DATA = ("train.en.xz", "train.fr.xz", "test.en", "test.fr", "test.en-fr.gold")
# The measured package is the imported one, whatever the folder that a program runs in.
PACKAGES = os.pathsep.join(str(Path(made.__path__[0]).parent) for made in (weam_ext, weam_ref))
# A minute for both directions; it grows with the text, and says nothing more.
MOST_PAIRS_OF_PLAIN_PYTHON = 2000

# The folder of fast_align's links on one thread, kept to be compared with.
ORIGINALS = "originals"

Gold = list[tuple[set[Link], set[Link]]]


# ---------------------------------------------------------------------------------------- systems


@dataclass(frozen=True)
class Step:
    """A program to run in a folder; its standard output is the file `name` there."""

    name: str
    command: tuple[str, ...]
    packages: str = ""
    """The PYTHONPATH; the peers' own Python must not find ours."""


@dataclass(frozen=True)
class System:
    """What to run for a text on so many threads, one after the other."""

    name: str
    steps: Callable[[str, int], list[Step]]
    parallel: bool = True
    most_pairs: float = math.inf


def ours(text: str, threads: int, name: str, *flags: str) -> Step:
    """The links called `name`, a direction or a heuristic, by this aligner."""
    direction = {"forward": (), "backward": ("-r",)}.get(name, ("--symmetrize", name))
    command = (sys.executable, "-m", "weam_ext.align", "-i", text, *FLAGS, *direction, *flags)
    return Step(name, (*command, "--threads", str(threads)), PACKAGES)


def hmm_step(text: str, threads: int, *flags: str) -> Step:
    """The links of the HMM, by its defaults."""
    command = (sys.executable, "-m", "weam_ext.align", "-i", text, "--model", "hmm", *flags)
    return Step(POSTERIOR, (*command, "--threads", str(threads)), PACKAGES)


def in_one_run(flags: tuple[str, ...]) -> Callable[[str, int], list[Step]]:
    return lambda text, threads: [ours(text, threads, METHOD, *flags)]


def our_systems() -> list[System]:
    """Both directions in one run, at each setting of --memory, and one direction at a time."""
    program = (sys.executable, "-m", "weam_ext.align", "--help")
    help_text = subprocess.run(
        program, capture_output=True, text=True, check=True, env=environment(1, PACKAGES)
    ).stdout
    memory: list[tuple[str, ...]] = [()]
    if "--memory" in help_text:
        memory += [("--memory", "low"), ("--memory", "fast")]
    together = [System(" ".join(("weam_ext", *flags)), in_one_run(flags)) for flags in memory]
    apart = System(
        "weam_ext, one direction at a time",
        lambda text, threads: [ours(text, threads, name) for name in DIRECTIONS],
    )
    hmm = System("weam_ext --model hmm", lambda text, threads: [hmm_step(text, threads)])
    return [*together, apart, hmm]


def plain_python() -> System:
    program = Path(__file__).with_name("align_plain_python.py")
    return System(
        "weam_ref",
        lambda text, _: [Step(METHOD, (sys.executable, str(program), METHOD, text), PACKAGES)],
        parallel=False,
        most_pairs=MOST_PAIRS_OF_PLAIN_PYTHON,
    )


def atools_step(atools: str, name: str) -> Step:
    """Two files of directional links, combined."""
    return Step(name, (atools, "-i", "forward", "-j", "backward", "-c", name))


def fast_align_system(fast_align: str, atools: str) -> System:
    directions = {"forward": (), "backward": ("-r",)}
    return System(
        "fast_align",
        lambda text, _: [
            *(
                Step(name, (fast_align, "-i", text, *FLAGS, *flags))
                for name, flags in directions.items()
            ),
            atools_step(atools, METHOD),
        ],
    )


def eflomal_system(eflomal: str, atools: str | None) -> System:
    """Its default model, 3: HMM with fertility. One run writes both directions."""
    command = (eflomal, "-m", "3", "-f", "forward", "-r", "backward", "--overwrite")
    return System(
        "eflomal",
        lambda text, _: [
            Step("eflomal", (*command, "-i", text)),
            *([atools_step(atools, METHOD)] if atools else []),
        ],
    )


# -------------------------------------------------------------------------------------- measuring


def environment(threads: int, packages: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": packages}


def run_step(step: Step, folder: Path, threads: int) -> Figures:
    """Run a program in a folder. Raises `InputError` where it fails, with its last words."""
    report, errors = folder / "figures.json", folder / "errors"
    launcher = str(Path(__file__).with_name("launch.py"))
    command = [sys.executable, "-I", "-S", launcher, str(report), *step.command]
    with (
        (folder / step.name).open("wb") as out,
        errors.open("wb") as err,
        subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment(threads, step.packages),
            process_group=0,
        ) as launched,
    ):
        try:
            status = launched.wait()
        except BaseException:  # what was begun would go on, and be timed with what comes next
            os.killpg(launched.pid, signal.SIGKILL)
            raise
    if status:
        said = errors.read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
        raise InputError(f"{shlex.join(step.command)}: exit status {status} ({last})")
    return Figures(**json.loads(report.read_text()))


def run_system(system: System, text: Path, threads: int, folder: Path) -> dict[str, Figures]:
    """All the programs of a system, in a folder that is new."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    steps = system.steps(str(text), threads)
    return {step.name: run_step(step, folder, threads) for step in steps}


def gold_links(path: Path, pairs: int, gold: Gold) -> list[list[Link]]:
    """The links of the pairs that have gold ones, after so many others.

    Raises `InputError` for another number of lines, and for what is no link.
    """
    lines = 0
    tail: deque[tuple[int, str]] = deque(maxlen=len(gold))
    with path.open(encoding="utf-8") as file:
        for lines, line in enumerate(file, 1):
            tail.append((lines, line))
    if lines != pairs + len(gold):
        raise InputError(f"{path}: {lines:,} lines of links, not {pairs + len(gold):,}")
    return [parse_links(line, f"{path}, line {number}") for number, line in tail]


def error_rates(folder: Path, pairs: int, gold: Gold) -> dict[str, float]:
    """AER of the links that a system wrote, and of two combinations of its directions."""
    names = [name for name in (*DIRECTIONS, METHOD, POSTERIOR) if (folder / name).exists()]
    links = {name: gold_links(folder / name, pairs, gold) for name in names}
    if links.keys() >= set(DIRECTIONS):
        forward, backward = (Links.from_lists(links[name]) for name in DIRECTIONS)
        for name in ("intersect", METHOD):
            links.setdefault(name, list(symmetrize(forward, backward, name)))
    return {name: score(rows, gold).aer for name, rows in links.items()}


def link_f1(ours: Path, theirs: Path) -> float:
    """F1 of two files of links, which is symmetric. Raises `InputError` for unequal lengths."""
    both = total = 0
    with ours.open() as our_file, theirs.open() as their_file:
        try:
            for our_line, their_line in zip(our_file, their_file, strict=True):
                left, right = set(our_line.split()), set(their_line.split())
                both += len(left & right)
                total += len(left) + len(right)
        except ValueError as error:
            raise InputError(f"{ours} and {theirs} differ in their number of lines") from error
    return 2 * both / total if total else 1.0


# --------------------------------------------------------------------------------- the comparison


@dataclass
class Comparison:
    """The systems on one text after another, with what is known of them already."""

    data: Path
    work: Path
    systems: list[System]
    paths: dict[str, str]
    """Of the peers' programs."""
    threads: list[int]
    repeats: int
    results: Results

    def __post_init__(self) -> None:
        self.gold = read_gold(str(self.data / "test.en-fr.gold"))

    def measure(self, pairs: int) -> None:
        """What is missing of one size."""
        keys = [key for key in self._keys(pairs) if key not in self.results.runs]
        peer = next((system for system in self.systems if system.name == "fast_align"), None)
        if peer and pairs in self.results.fidelity:
            peer = None
        if not keys and not peer:
            say(f"{pairs:,} pairs: all measured")
            return
        text = self._write_text(pairs)
        for key in keys:
            self._run(key, text)
        if peer:
            self.results.fidelity[pairs] = self._fidelity(peer, pairs, text)
            self.results.write()
        shutil.rmtree(text.parent)

    def _keys(self, pairs: int) -> list[Key]:
        """In the order in which they are measured."""
        turns = [
            (system.name, threads)
            for system, threads in product(self.systems, self.threads)
            if pairs <= system.most_pairs and (system.parallel or threads == self.threads[0])
        ]
        return [
            Key(system, threads, pairs, repeat)
            for repeat in range(self.repeats)
            for system, threads in turns
        ]

    def _run(self, key: Key, text: Path) -> None:
        load = os.getloadavg()[0]
        system = next(system for system in self.systems if system.name == key.system)
        one_thread = system.name == "fast_align" and key.threads == 1
        folder = text.parent / (ORIGINALS if one_thread else "links")
        steps = run_system(system, text, key.threads, folder)
        run = Run(key, steps, error_rates(folder, key.pairs, self.gold), load, now())
        self.results.add(run)
        say(
            f"{key.pairs:,} pairs, round {key.repeat + 1} of {self.repeats}, {key.system}, "
            f"threads {key.threads}: {run.total.wall_s:.2f} s, "
            f"{run.total.peak_bytes / 2**20:,.0f} MiB"
        )

    def _fidelity(self, peer: System, pairs: int, text: Path) -> dict[str, dict[str, float]]:
        """Link F1 with fast_align's own output, and the error rates of both, on one thread."""
        say(f"{pairs:,} pairs: comparing links with fast_align's")
        theirs, here = text.parent / ORIGINALS, text.parent / "ours"
        if not theirs.exists():  # its runs on one thread were measured before, or not asked for
            run_system(peer, text, 1, theirs)
        here.mkdir(exist_ok=True)
        found = {}
        for name in (*DIRECTIONS, *HEURISTICS):
            run_step(ours(str(text), 1, name), here, 1)
            if name in HEURISTICS:
                run_step(atools_step(self.paths["atools"], name), theirs, 1)
            rates = [
                score(gold_links(folder / name, pairs, self.gold), self.gold).aer
                for folder in (here, theirs)
            ]
            f1 = link_f1(here / name, theirs / name)
            found[name] = {"f1": f1, "aer": rates[0], "aer_of_fast_align": rates[1]}
        return found

    def _write_text(self, pairs: int) -> Path:
        """The first training pairs and then the test pairs, in lower case."""
        say(f"{pairs:,} pairs: writing the text")
        train, test = (
            BitextSource(name, tuple(str(self.data / f"{name}.{side}") for side in sides), limit=n)
            for name, sides, n in (
                ("train", ("en.xz", "fr.xz"), pairs),
                ("test", ("en", "fr"), None),
            )
        )
        text, count = self.work / str(pairs) / "text", 0
        text.parent.mkdir(parents=True, exist_ok=True)
        with text.open("w", encoding="utf-8") as file:
            for bitext in (train, test):
                for source, target in read_bitext(bitext):
                    file.write(f"{source.lower()} ||| {target.lower()}\n")
                    count += 1
        if count != pairs + len(self.gold):
            raise InputError(
                f"{self.data}: {pairs:,} training pairs and {len(self.gold)} test pairs were "
                f"expected, but there are {count:,} in all"
            )
        return text


# ------------------------------------------------------------------------------------- conditions


def now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def conditions(data: Path) -> Json:
    """What a figure means nothing without."""
    return {
        "commit of weam_ext": code_version(),
        "build of weam_ext": {
            "version": weam_ext.__version__,
            "compiler": compiler(Path(_native.__file__)),
            "sha256": file_digest(Path(_native.__file__)),
            "python": platform.python_version(),
        },
        "machine": machine(),
        "text": {name: file_digest(data / name) for name in DATA},
    }


def code_version() -> str:
    """The commit that last changed what is measured, which committing the results does not."""
    folder = Path(weam_ext.__path__[0]).parent
    measured = ["csrc", "weam_ext", "python", "setup.py", "CMakeLists.txt"]

    def git(*command: str) -> str:
        program = ["git", "-C", str(folder), *command, "--", *measured]
        return subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("log", "-1", "--format=%h", "--abbrev=12") or "unknown"
        return commit + (" and changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def compiler(module: Path) -> str:
    """What compilers for ELF write into a module of themselves."""
    found = re.search(rb"(?:GCC: \([^)]*\) |clang version )[\w.]+", module.read_bytes())
    return found[0].decode() if found else "unknown"


def machine() -> Json:
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{operating_system()}, {platform.machine()}",
    }


def operating_system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:  # not Linux
        return platform.platform()


def processor() -> str:
    """The processor's name as its maker sells it."""
    try:
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.check_output(command, text=True).strip()
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except (OSError, subprocess.CalledProcessError):
        found = None
    return found[1] if found else platform.processor() or platform.machine()


# ---------------------------------------------------------------------------------- command line


def parser() -> argparse.ArgumentParser:
    made = Parser("benchmarks/compare_aligners.py", (__doc__ or "").split("\n")[0])
    data = os.environ.get("WEAM_DATA")
    made.add_argument(
        "--data", type=Path, metavar="DIR", default=Path(data, "wa-enfr-wpt03") if data else None,
        help=f"folder with {', '.join(DATA)} (default: wa-enfr-wpt03 in $WEAM_DATA)",
    )  # fmt: skip
    made.add_argument(
        "--pairs", type=int, nargs="+", metavar="N",
        default=[100, 1000, 10_000, 100_000, 1_130_104],
        help="so many training pairs, and the test pairs after them (%(default)s)",
    )  # fmt: skip
    made.add_argument(
        "--threads", type=int, nargs="+", metavar="T", default=[1, 2], help="(%(default)s)"
    )
    made.add_argument(
        "--repeat", type=int, metavar="N", default=3, help="rounds over all systems (%(default)s)"
    )
    made.add_argument("--fast-align", metavar="PATH", help="the original program")
    made.add_argument(
        "--atools", metavar="PATH", help="its companion (default: the one beside fast_align)"
    )
    made.add_argument("--eflomal", metavar="PATH", help="eflomal-align")
    made.add_argument(
        "--output", type=Path, metavar="FILE", default=RESULTS,
        help="the figures; what it holds already is not measured again (benchmarks/results/"
        "aligners.json)",
    )  # fmt: skip
    made.add_argument(
        "--restart", action="store_true", help="drop what the output file holds and measure anew"
    )
    made.add_argument(
        "--table", type=Path, nargs="?", metavar="README", const=ROOT / "README.md",
        help="measure nothing: write the table of the output file into the README, and the figure "
        "beside the file",
    )  # fmt: skip
    return made


def program(name: str, path: str) -> str:
    """Where a program is, for any folder. Raises `InputError` where there is none."""
    found = shutil.which(path)
    if not found:
        raise InputError(f"{name}: there is no program {path}")
    return str(Path(found).absolute())  # not resolved: a script finds its environment by its place


def peers(options: argparse.Namespace) -> dict[str, str]:
    """The paths of the programs that were given, by name."""
    paths = {"fast_align": options.fast_align, "atools": options.atools, "eflomal": options.eflomal}
    if options.fast_align and not options.atools:
        paths["atools"] = str(Path(program("--fast-align", options.fast_align)).with_name("atools"))
    return {
        name: program(f"--{name.replace('_', '-')}", path) for name, path in paths.items() if path
    }


def check(options: argparse.Namespace) -> None:
    """Raises `InputError` for what cannot be meant."""
    if options.data is None:
        raise InputError("--data is needed where WEAM_DATA is not set")
    for name in ("pairs", "threads", "repeat"):
        value = getattr(options, name)
        if min(value if isinstance(value, list) else [value]) < 1:
            raise InputError(f"--{name}: numbers count from 1")


def compare(options: argparse.Namespace) -> Results:
    """Measure all that is missing."""
    check(options)
    paths = peers(options)
    systems = our_systems()
    if "fast_align" in paths:
        systems.append(fast_align_system(paths["fast_align"], paths["atools"]))
    if "eflomal" in paths:
        systems.append(eflomal_system(paths["eflomal"], paths.get("atools")))
    systems.append(plain_python())
    output = options.output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    digests = {name: file_digest(Path(path)) for name, path in paths.items()}
    work = output.with_suffix(".work")
    if options.restart:
        shutil.rmtree(work, ignore_errors=True)
    results = Results.resume(output, conditions(options.data), digests, options.restart)
    comparison = Comparison(
        options.data.absolute(),
        work,
        systems,
        paths,
        sorted(set(options.threads)),
        options.repeat,
        results,
    )
    for pairs in sorted(set(options.pairs)):
        comparison.measure(pairs)
    shutil.rmtree(work, ignore_errors=True)
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    if options.table:
        results = Results.read(options.output)
        insert_table(options.table, markdown(results))
        say(f"{options.table}: table written")
    else:
        results = compare(options)
    if image := draw(results):
        replace_durably(options.output.with_name("aligners.png"), image)


if __name__ == "__main__":
    run("compare_aligners", main)
