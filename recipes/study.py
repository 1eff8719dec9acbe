"""The study: does WEAM stay robust beyond XNLI? From one encoder to the page that says so.

    python recipes/study.py --model ENCODER --data DATA --output study --size small

The text is prepared once. The encoder, with a new head if `--fresh-head` says so, is continued by
every objective on the same pairs for equally many steps, with several seeds each; all are evaluated
on the same tasks beside the encoder as it was, and `study/scores/report.html` compares them. What
was done from the same encoder and text is not done again, so that a command that was stopped is
given again; given twice, even on two machines with one file system, it shares the work. What fails
is told of and tried once; the rest goes on. `--dry-run` says what there is to do and about how long
it takes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weam_ext.common.errors import InputError, Parser, run, say
from weam_ext.common.files import file_digest, locked, write_whole
from weam_ext.text.bitext import languages, parse_bitext

OBJECTIVES: dict[str, tuple[str, ...]] = {
    "mlm": ("--objective", "mlm"),
    "tlm": ("--objective", "tlm"),
    "word-aligned": ("--objective", "word-aligned"),
    "contrastive": ("--objective", "contrastive"),
    "weam": (),
    "weam-shuffled": ("--links", "shuffled"),
    "weam-.15": ("--mask-probability", "0.15"),
}
"""What is compared, beside the encoder as it was."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "weam-exclusive": ("--masking", "exclusive"),
    "weam-apart": ("--encode", "apart"),
    "weam-language": ("--exchange-head", "language"),
    "weam-layer": ("--exchange-layer", "6"),
    "contrastive-upper": ("--objective", "contrastive", "--freeze-layers", "6"),
    "weam-upper": ("--freeze-layers", "6"),
}
"""What WEAM's options and the closest peer's freezing bring, with one seed each (--variants)."""
LANGUAGES = (
    "en",
    "ar",
    "bg",
    "de",
    "es",
    "et",
    "fi",
    "fr",
    "hi",
    "it",
    "ja",
    "ru",
    "sw",
    "tr",
    "zh",
)
POLL_SECONDS = 5.0


@dataclass(frozen=True)
class Group:
    """Tasks that are evaluated alike, and about the seconds that a seed of one encoder takes."""

    tasks: tuple[str, ...]
    flags: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Size:
    """How much of everything; the seconds are those of one core, or of one H100 for `base`."""

    pairs: int
    heldout: int
    steps: int
    head_steps: int
    flags: tuple[str, ...]
    """Of every training."""
    step_seconds: float
    training_seeds: int
    seeds: int
    groups: tuple[Group, ...]


def _fine_tuned(train: int, length: int, test: int, rate: str = "1e-4") -> tuple[str, ...]:
    limits = "--train-limit", str(train), "--select-limit", "100", "--test-limit", str(test)
    return (*limits, "--max-length", str(length), "--learning-rate", rate, "--epochs", "3")


_FROZEN = ("tatoeba", "alignment")
SIZES = {
    "smoke": Size(
        pairs=60, heldout=6, steps=2, head_steps=2, flags=("--batch-size", "4"), step_seconds=0.5,
        training_seeds=1, seeds=2,
        groups=(
            Group(
                ("udpos", "tatoeba"),
                ("--train-limit", "8", "--test-limit", "8", "--epochs", "1", "--max-length", "32"),
                5,
            ),
        ),
    ),
    "pilot": Size(
        pairs=4_000, heldout=50, steps=100, head_steps=40,
        flags=("--batch-size", "16", "--eval-every", "100"), step_seconds=2.5,
        training_seeds=2, seeds=1,
        groups=(
            Group(("udpos",), _fine_tuned(600, 96, 200), 370),
            Group(("panx",), _fine_tuned(600, 96, 200), 210),
            Group(_FROZEN, (), 400),
            Group(("sib200",), _fine_tuned(600, 96, 200), 330),
        ),
    ),
    "small": Size(
        pairs=10_000, heldout=100, steps=600, head_steps=100,
        flags=("--batch-size", "32", "--eval-every", "200"), step_seconds=4.5,
        training_seeds=2, seeds=3,
        groups=(
            Group(("udpos",), _fine_tuned(600, 96, 200), 370),
            Group(("panx",), _fine_tuned(600, 96, 200), 210),
            Group(("sib200",), _fine_tuned(600, 96, 200), 330),
            Group(("xnli",), _fine_tuned(4000, 64, 400), 1500),
            Group(("pawsx",), (*_fine_tuned(1000, 96, 400), "--train-on-dev"), 600),
            Group(("xquad", "mlqa"), _fine_tuned(1000, 256, 150), 1200),
            Group(_FROZEN, (), 400),
        ),
    ),
    "base": Size(
        pairs=1_000_000, heldout=300, steps=20_000, head_steps=500,
        flags=("--batch-tokens", "32768"), step_seconds=0.1, training_seeds=3, seeds=5,
        groups=(
            Group(("udpos", "panx", "sib200", "xnli", "pawsx", "xquad", "mlqa"), (), 7200),
            Group(_FROZEN, (), 600),
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A command of the study, what must be done before it, and about how long it takes."""

    name: str
    command: tuple[str, ...]
    seconds: float
    needs: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------ what there is


def parts_of(options: argparse.Namespace) -> list[Part]:
    """All commands but the report's, in the order in which they are best done."""
    size, output = SIZES[options.size], Path(options.output)
    text = Part(
        "text",
        ("weam_ext.prepare", *_bitext_flags(options), "--limit", str(size.pairs),
         "--heldout", str(size.heldout),
         "--tokenizer", options.model, "--output", str(output / "text")),
        120,
    )  # fmt: skip
    found = [text]
    start = options.model
    if options.fresh_head:
        start = str(output / "head" / f"step-{size.head_steps:08}")
        fresh = ("--fresh-head", "--head-steps", str(size.head_steps))
        head = ("--objective", "mlm", "--model", options.model, *fresh, *_precision_flag(options))
        found.append(_training("head", head, size, size.head_steps, 0, output, ("text",)))
    needs = (found[-1].name,)
    trainings: dict[str, list[str]] = {"base": []}
    for seed in range(size.training_seeds):
        for name, flags in _objectives(options, seed):
            way = ("--model", start, *flags, *_precision_flag(options))
            part = _training(f"{name}-{seed}", way, size, size.steps, seed, output, needs)
            trainings.setdefault(name, []).append(part.name)
            found.append(part)
    return found + list(_evaluations(options, size, trainings))


def _objectives(options: argparse.Namespace, seed: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in options.objectives:
        yield name, OBJECTIVES[name]
    if options.variants and seed == 0:
        yield from VARIANTS.items()


def _precision_flag(options: argparse.Namespace) -> tuple[str, ...]:
    return () if options.precision is None else ("--precision", options.precision)


def _bitext_flags(options: argparse.Namespace) -> Iterator[str]:
    for given in options.bitext:
        yield from ("--bitext", *given)
    if options.columns:
        yield from ("--columns", options.columns)


def _training(
    name: str,
    flags: tuple[str, ...],
    size: Size,
    steps: int,
    seed: int,
    output: Path,
    needs: tuple[str, ...],
) -> Part:
    command = (
        "weam_ext.train", "--prepared", str(output / "text"), *flags, "--steps", str(steps),
        "--seed", str(seed), *size.flags, "--keep", "1", "--no-tensorboard",
        "--output", str(output / name),
    )  # fmt: skip
    return Part(name, command, steps * size.step_seconds, needs)


def _evaluations(
    options: argparse.Namespace, size: Size, trainings: dict[str, list[str]]
) -> Iterator[Part]:
    output = Path(options.output)
    for group in size.groups:
        for name, runs in trainings.items():
            directories = [str(output / each / f"step-{size.steps:08}") for each in runs]
            command = (
                "weam_ext.transfer", "--data", options.data, "--output", str(output / "scores"),
                "--models", f"{name}={','.join(directories or [options.model])}",
                "--tasks", *group.tasks, "--languages", *options.languages,
                "--seeds", str(size.seeds), *group.flags, *_precision_flag(options),
            )  # fmt: skip
            seconds = group.seconds * size.seeds * max(1, len(runs))
            yield Part(f"{'+'.join(group.tasks)}-{name}", command, seconds, tuple(runs))


# ---------------------------------------------------------------------------------------- doing it


class Study:
    """The parts of a study in its directory.

    What is done is marked with its command, and with `inputs`, the digests of the files that the
    study is made of.
    """

    def __init__(self, output: Path, parts: Sequence[Part], inputs: dict[str, str]) -> None:
        self.output, self.parts, self.inputs = output, parts, inputs
        self.failed: set[str] = set()
        """What this process has tried in vain."""

    def done(self, part: Part) -> bool:
        mark = self._file("done", part)
        return mark.exists() and json.loads(mark.read_text()) == self._mark(part)

    def _mark(self, part: Part) -> dict[str, Any]:
        return {"command": list(part.command), "inputs": self.inputs}

    def work(self) -> None:
        """Do what is to be done until nothing is left that could be."""
        for folder in ("done", "logs"):
            (self.output / folder).mkdir(parents=True, exist_ok=True)
        finished = {part.name for part in self.parts if self.done(part)}
        while left := [p for p in self.parts if p.name not in finished | self.failed]:
            ready = [part for part in left if finished.issuperset(part.needs)]
            for part in left:
                if self.failed.intersection(part.needs):
                    self.failed.add(part.name)
            if ready and not any(self._try(part, len(finished)) for part in ready):
                time.sleep(POLL_SECONDS)  # all of it is held by others
            finished |= {part.name for part in left if self.done(part)}

    def _try(self, part: Part, done: int) -> bool:
        """Do a part if no other process is at it; whether there was anything to do."""
        with locked(self._file("done", part).with_suffix(".claim")) as held:
            if not held:
                return False
            if self.done(part):
                return True
            say(f"{done + 1} of {len(self.parts)}: {part.name}")
            begin = time.monotonic()
            log = self._file("logs", part)
            with log.open("ab") as lines:
                status = subprocess.run(
                    [sys.executable, "-m", *part.command], stdout=lines, stderr=lines,
                    env=_environment(),
                ).returncode  # fmt: skip
            if status:
                self.failed.add(part.name)
                say(f"{part.name} failed with status {status}: {_last_line(log)} (see {log})")
            else:
                write_whole(self._file("done", part), json.dumps(self._mark(part)).encode())
                say(f"{part.name}: {(time.monotonic() - begin) / 60:.1f} minutes")
            return True

    def _file(self, folder: str, part: Part) -> Path:
        return self.output / folder / part.name

    def report(self, languages: Sequence[str]) -> Path:
        """Make the page of what there is; `languages` are those with bitext."""
        scores = self.output / "scores"
        command = ["-m", "weam_ext.report", str(scores), "--bitext-languages", *languages]
        if subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL).returncode:
            raise InputError(f"{scores}: no report could be made; why is said above")
        return scores / "report.html"


def inputs_of(options: argparse.Namespace) -> dict[str, str]:
    """SHA-256 of the encoder's files and of the text, by where they lie; a name has none.

    The tasks' examples are not among them: every cell of an evaluation has a digest of its own.
    """
    text = (Path(p) for given in options.bitext for p in parse_bitext(given).paths)
    files = [p for p in Path(options.model).glob("*") if p.suffix in (".json", ".safetensors")]
    return {str(p): file_digest(p) for p in sorted([*files, *text]) if p.is_file()}


def _environment() -> dict[str, str]:
    """One thread a process, unless the caller wants more: several share the cores."""
    return {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} | os.environ


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def describe(study: Study) -> Iterator[str]:
    """What there is to do, as Markdown."""
    yield from ("| part | hours, about | |", "| --- | --- | --- |")
    for part in study.parts:
        yield f"| {part.name} | {part.seconds / 3600:.2f} | {'done' if study.done(part) else ''} |"
    left = sum(part.seconds for part in study.parts if not study.done(part)) / 3600
    yield ""
    yield f"About {left:.1f} hours are left for one process."


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("recipes/study.py", (__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--model", required=True, metavar="ENCODER", help="a hub name or directory")
    parser.add_argument("--data", required=True, metavar="DIR", help="the data sets of the tasks")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR",
                        help="where all of it is kept")  # fmt: skip
    parser.add_argument("--size", choices=SIZES, default="small",
                        help="how much of everything: base needs a GPU (%(default)s)")  # fmt: skip
    parser.add_argument("--bitext", nargs="+", action="append", required=True, metavar="FILE",
                        help="as weam_ext.train takes it; once for each pair")  # fmt: skip
    parser.add_argument("--columns", metavar="S,T", help="as weam_ext.train takes them")
    parser.add_argument("--languages", nargs="+", metavar="CODE",
                        default=list(LANGUAGES),
                        help="to test on (%(default)s)")  # fmt: skip
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES),
                        metavar="NAME", help="to compare (%(default)s)")  # fmt: skip
    parser.add_argument("--fresh-head", action="store_true",
                        help="for an encoder whose head is missing or untrained")  # fmt: skip
    parser.add_argument("--precision", choices=("fp32", "bf16-autocast"),
                        help="of training and evaluation; bf16-autocast takes about half the time"
                             " on a processor that multiplies bfloat16 matrices (AMX); else each"
                             " command decides, fp32 on a CPU")  # fmt: skip
    parser.add_argument("--variants", action="store_true", help="WEAM's options and freezing too")
    parser.add_argument("--dry-run", action="store_true", help="say what there is to do, and stop")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    study = Study(options.output, parts_of(options), inputs_of(options))
    if options.dry_run:
        print("\n".join(describe(study)))
        return
    study.work()
    known = {code for text in options.bitext for code in languages(parse_bitext(text))}
    page = study.report(sorted(known))
    print(page)
    if study.failed:
        raise InputError(
            f"{len(study.failed)} parts are missing: {', '.join(sorted(study.failed))}"
        )


if __name__ == "__main__":
    run("recipes/study.py", main)
