"""Make the files in this folder again: `python make.py FOLDER_OF_FAST_ALIGNS_BINARIES`."""

import hashlib
import json
import lzma
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from weam_ext.text.toy_corpus import LANGUAGES, sentence_pairs

HERE = Path(__file__).parent
PAIRS = 2000
SYMMETRISED = "toku"
FEW = 20  # pairs to train on, and as many new ones
HEURISTICS = ("intersect", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and")
ONE_FILE = ("convert", "display", "invert")
ATOOLS_PAIRS = 80
# Each flag's effect on the few pairs, and on new ones with the table of a run with or without -r.
RUNS = (
    "",
    "-d",
    "-o",
    "-v",
    "-N",
    "-r",
    "-d -o",
    "-d -v",
    "-d -o -v",
    "-d -o -v -r",
    "-d -o -v -N",
    "-I 1",
    "-d -I 1",
    "-d -o -v -N -I 1",
    "-d -o -v -I 9",
    "-d -v -q 0.3",
    "-v -a 0.5",
    "-T 7",
    "-d -o -v -T 7",
    "-d -o -v -t -2",
    "-d -o -v -t -1",
)
FORCED_RUNS = ("", "-d", "-N", "-d -N -q 0.3", "-d -T {tension} -m {ratio}", "-m 2")
UNSEEN = "one two\tthree\none ||| two three four\n"
DIRECTIONS: dict[str, list[str]] = {"forward": [], "reverse": ["-r"]}
FIGURES = {
    "log_e_likelihood": r"log_e likelihood: (\S+)",
    "cross_entropy": r"cross entropy: (\S+)",
    "perplexity": r"perplexity: (\S+)",
    "posterior_p0": r"posterior p0: (\S+)",
    "posterior_al_feat": r"posterior al-feat: (\S+)",
}


def call(*command: str | Path) -> tuple[bytes, str]:
    done = subprocess.run(
        command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return done.stdout, done.stderr.decode()


def figures(log: str) -> dict[str, object]:
    """What fast_align prints about its five iterations; the tension is set after 2, 3 and 4."""
    parts = log.split("ITERATION ")[1:]
    tensions = [float(each) for each in re.findall(r"final tension: (\S+)", log)]
    iterations = [
        {name: float(re.findall(pattern, part)[0]) for name, pattern in FIGURES.items()}
        for part in parts
    ]
    return {"iterations": iterations, "tensions": tensions, "final_tension": tensions[-1]}


def keep(name: str, text: bytes) -> None:
    (HERE / f"{name}.xz").write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


def keep_parameters(build: Path, folder: Path) -> dict[str, float]:
    """The table and the scores of a small model, and what it makes of new pairs when read again."""
    pairs = [f"{pair.source} ||| {pair.target}\n" for pair in sentence_pairs(SYMMETRISED, 2 * FEW)]
    train, new, parameters = folder / "train", folder / "new", folder / "parameters"
    train.write_text("".join(pairs[:FEW]))
    new.write_text("".join(pairs[FEW:]))
    scores, log = call(build / "fast_align", "-i", train, "-d", "-o", "-v", "-s", "-p", parameters)
    tension = re.findall(r"final tension: (\S+)", log)[-1]
    ratio = re.findall(r"source length \* (\S+)", log)[0]
    model = "-f", parameters, "-d", "-T", tension, "-m", ratio
    forced, _ = call(build / "fast_align", "-i", new, *model)
    keep("few.parameters", parameters.read_bytes())
    keep("few.scores", scores)
    keep("few.forced", forced)
    return {"tension": float(tension), "mean_length_ratio": float(ratio)}


def keep_runs(build: Path, folder: Path) -> None:
    """What each flag changes: standard output, error, and the table."""
    fast_align, train, new = build / "fast_align", folder / "train", folder / "new"
    with new.open("a") as file:
        file.write(UNSEEN)
    trained: list[dict[str, str]] = []
    forced: list[dict[str, str]] = []
    for flags in RUNS:
        table = folder / "table"
        command = ("-i", train, "-s", "-p", table, *flags.split())
        links, log = call(fast_align, *command)
        lines = sorted(table.read_text().splitlines())  # its order is that of a hash table
        log = re.sub(r"ARG=.*\n", "", log).replace(str(table), "TABLE")
        made = {"output": links.decode(), "log": log, "table": "\n".join(lines)}
        trained.append({"flags": flags, **made})
    for reverse in ("", " -r"):
        table = folder / f"table{reverse}"
        _, log = call(fast_align, "-i", train, "-p", table, *f"-d -o -v{reverse}".split())
        found = {
            "tension": re.findall(r"final tension: (\S+)", log)[-1],
            "ratio": re.findall(r"source length \* (\S+)", log)[0],
        }
        for pattern in FORCED_RUNS:
            flags = pattern.format(**found) + reverse
            rows, log = call(fast_align, "-i", new, "-f", table, *flags.split())
            total = re.findall(r"TOTAL LOG PROB (.*)", log)[0]
            forced.append({"flags": flags, "output": rows.decode(), "total": total})
    keep("few.runs", json.dumps({"trained": trained, "forced": forced}).encode())


def any_links(number: int) -> str:
    """Lines of few and many links, sorted or not, with repeats and in the forms atools reads."""
    draw = random.Random(number)
    lines = []
    for _ in range(ATOOLS_PAIRS):
        size = draw.choice((1, 3, 4, 6, 15))
        links = [
            f"{draw.randrange(size)}-{draw.randrange(size)}"
            for _ in range(draw.randrange(3 * size))
        ]
        line = draw.choice((" ", " ", "  ")).join(links)
        before = draw.choice(("", "", "", "a b ||| c ||| ", "0-0 x ||| "))
        lines.append(before + line + draw.choice(("", "", " " if links else "", "\r")))
    return "".join(f"{line}\n" for line in lines)  # atools would take an unended last line twice


def atools_on_any_links(atools: Path, folder: Path) -> dict[str, str]:
    """The two inputs, and what each command writes."""
    made = {f"input_{number}": any_links(number) for number in (1, 2)}
    for name, text in made.items():
        (folder / name).write_text(text)
    inputs = [f"--{name}={folder / name}" for name in made]
    for command in (*ONE_FILE, *HEURISTICS, "fmeasure"):
        files = inputs[: 1 if command in ONE_FILE else 2]
        made[command] = call(atools, "-c", command, *files)[0].decode()
    return made


def main() -> None:
    build = Path(sys.argv[1])
    logs: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for language in LANGUAGES[1:]:
            corpus = Path(folder, language)
            pairs = sentence_pairs(language, PAIRS)
            text = "".join(f"{pair.source} ||| {pair.target}\n" for pair in pairs).encode()
            corpus.write_bytes(text)
            logs[language] = {"corpus_sha256": hashlib.sha256(text).hexdigest()}
            for direction, flags in DIRECTIONS.items():
                links, log = call(build / "fast_align", "-i", corpus, "-d", "-o", "-v", *flags)
                Path(folder, direction).write_bytes(links)
                keep(f"{language}.{direction}", links)
                logs[language][direction] = figures(log)
            if language == SYMMETRISED:
                both = "-i", Path(folder, "forward"), "-j", Path(folder, "reverse")
                for heuristic in HEURISTICS:
                    links, _ = call(build / "atools", *both, "-c", heuristic)
                    keep(f"{language}.{heuristic}", links)
        few = keep_parameters(build, Path(folder))
        keep_runs(build, Path(folder))
        made = atools_on_any_links(build / "atools", Path(folder))
    (HERE / "few.json").write_text(json.dumps(few, indent=1) + "\n")
    (HERE / "log.json").write_text(json.dumps(logs, indent=1) + "\n")
    (HERE / "atools.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
