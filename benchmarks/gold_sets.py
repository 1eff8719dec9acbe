"""The HMM, fast_align and eflomal on every set of gold links: error rates, by default settings.

    python benchmarks/gold_sets.py --data DIR --fast-align PATH --eflomal PATH
    python benchmarks/gold_sets.py --table

The first command measures and adds each figure to a JSON file at once; given again, it goes on
where it was stopped. The second writes the file's table into docs/aligner.md. With `--encoder DIR`
the hybrid and the encoder alone are measured too, those of another encoder or commit anew.

Every system is trained on the lower-cased text of the set and of the bitext of its language pair,
words set off from punctuation; Chinese bitext is cut into words by jieba (`pip install jieba`). The
peers get the first four characters of each word as well as whole words: the stems that the HMM
takes by itself are no advantage over them. Of each peer the best of three combinations counts.
PUD's gold links are of content words alone, so that recall is what it measures, and recall alone
is won by whoever links most. So there the peers' grow-diag-final-and is compared with the most
probable links of the HMM, as many as the better of eflomal's two has.
"""

import argparse
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from aligner_results import Json, replace_durably
from compare_aligners import (
    ROOT,
    Gold,
    Step,
    code_version,
    gold_links,
    hmm_step,
    program,
    run_step,
)
from markers import insert

from weam_ext import Aligner
from weam_ext.align.links import Links, symmetrize
from weam_ext.align.scoring import score
from weam_ext.align.settings import DIRECTIONS, POSTERIOR
from weam_ext.common.errors import InputError, Parser, run, say
from weam_ext.text.lines import read_lines
from weam_ext.text.pharaoh import Link, parse_links, read_gold
from weam_ext.transfer.encoder import encoder_digest

RESULTS = ROOT / "benchmarks" / "results" / "gold_sets.json"
BEGIN = "<!-- gold sets: written by benchmarks/gold_sets.py --table -->"
END = "<!-- gold sets: end -->"
# Of the peers, whose best is taken: that is in their favour.
METHODS = ("intersect", "grow-diag", "grow-diag-final-and")
RECALL_METHOD = "grow-diag-final-and"
STEM = 4
# Where recall counts, our links above this are candidates for the most probable ones.
LEAST = 0.02
WITH_ENCODER = ("hybrid", "encoder")

_WORD = re.compile(r"\w+|[^\w\s]")
Pair = tuple[str, str]


@dataclass(frozen=True)
class GoldSet:
    """Pairs with gold links, and the bitext of the same languages: (file, its two columns)."""

    name: str
    language: str
    pairs: list[Pair]
    gold: Gold
    own: list[Pair]
    """More text of the set, without gold links."""
    recall: bool = False
    """Whether its gold links are of content words alone: then recall is what it measures."""


def plain(folder: Path, name: str, sides: Pair, gold: str) -> tuple[list[Pair], Gold]:
    texts = [list(read_lines(str(folder / f"{name}.{side}"))) for side in sides]
    return list(zip(*texts, strict=True)), read_gold(str(folder / gold))


def tabbed(path: Path) -> tuple[list[Pair], Gold]:
    rows = [line.split("\t") for line in read_lines(str(path))]
    links = [{(int(i), int(j)) for i, j in (x.split("-") for x in r[2].split())} for r in rows]
    return [(row[0], row[1]) for row in rows], [(sure, sure) for sure in links]


def gold_sets(data: Path) -> Iterator[GoldSet]:
    """All but the Hansards, which compare_aligners.py is for."""
    yield GoldSet(
        "en-sv", "sv", *plain(data / "wa-ensv", "gold", ("en", "sv"), "gold.en-sv.gold"), []
    )
    pairs, gold = plain(data / "wa-zhen", "test", ("zh", "en"), "test.zh-en.gold")
    exchanged = [tuple({(j, i) for i, j in links} for links in both) for both in gold]
    yield GoldSet("zh-en", "zh", [(e, z) for z, e in pairs], exchanged, [])  # type: ignore[arg-type]
    for language in ("es", "fr", "pt"):
        folder, name = data / f"wa-golden-{language}", f"gold.en-{language}.gold"
        yield GoldSet(
            f"golden {language}", language, *plain(folder, "gold", ("en", language), name), []
        )
    for folder in sorted((data / "wa-xlwa").iterdir()):
        parts = {
            name: tabbed(folder / f"{name}.tsv")
            for name in ("train", "dev", "test")
            if (folder / f"{name}.tsv").exists()
        }
        last = "test" if "test" in parts else "dev"
        if "train" in parts:
            own = [pair for name in parts if name != last for pair in parts[name][0]]
            yield GoldSet(f"XL-WA {folder.name} {last}", folder.name, *parts[last], own)
    for folder in sorted((data / "wa-pud").iterdir()):
        language = folder.name
        if folder.is_dir():
            read = plain(folder, "pud", ("en", language), f"pud.en-{language}.gold")
            yield GoldSet(f"PUD {language}", language, *read, [], recall=True)


def bitext(data: Path, language: str, most: int) -> Iterator[Pair]:
    """The first pairs of each bitext of English and a language."""
    files = (
        (f"bitext-opus-testsets/opus.en-{language}.tsv.xz", (1, 2)),
        (f"bitext-msdocs/msdocs.en-{language}.tsv.xz", (0, 1)),
        (f"bitext-manythings/tatoeba.en-{language}.tsv.xz", (0, 1)),
    )
    for name, (source, target) in files:
        if not (data / name).exists():
            continue
        for line in islice(read_lines(str(data / name)), most):
            row = line.split("\t")
            english, other = (" ".join(_WORD.findall(row[side])) for side in (source, target))
            yield english, chinese_words(other) if language == "zh" else other


def chinese_words(text: str) -> str:
    """Raises `InputError` where jieba is not installed."""
    try:
        import jieba
    except ModuleNotFoundError:
        raise InputError("Chinese bitext needs jieba: pip install jieba") from None
    jieba.setLogLevel("ERROR")
    return " ".join(word for word in jieba.cut(text) if not word.isspace())


def training_pairs(gold_set: GoldSet, data: Path, most: int) -> list[Pair]:
    """Those without gold links, none with an empty side."""
    found = [*bitext(data, gold_set.language, most), *gold_set.own]
    return [pair for pair in found if all(side.split() for side in pair)]


def write_text(path: Path, before: list[Pair], pairs: list[Pair], stem: int | None) -> None:
    """In lower case, the gold pairs at the end."""
    with path.open("w", encoding="utf-8") as file:
        for pair in (*before, *pairs):
            sides = [[word[:stem] for word in side.lower().split()] for side in pair]
            file.write(" ||| ".join(map(" ".join, sides)) + "\n")


def steps(system: str, text: str, paths: dict[str, str], threads: int, recall: bool) -> list[Step]:
    if system == "eflomal":
        command = (paths[system], "-m", "3", "-f", "forward", "-r", "backward", "--overwrite")
        return [Step("eflomal", (*command, "-i", text))]
    if system == "fast_align":
        flags = {"forward": (), "backward": ("-r",)}
        return [
            Step(name, (paths[system], "-i", text, "-d", "-o", "-v", *flags[name]))
            for name in DIRECTIONS
        ]
    flags = ("--posteriors", "--threshold", str(LEAST)) if recall else ()
    return [hmm_step(text, threads, *flags)]


@dataclass(frozen=True)
class Found:
    """Rates by the name of the links, 1 - recall or AER, and how many links the first have."""

    rates: dict[str, float]
    links: int


def directional(folder: Path, gold_set: GoldSet, before: int) -> Found:
    """Combinations of two directions."""
    both = [
        Links.from_lists(gold_links(folder / name, before, gold_set.gold)) for name in DIRECTIONS
    ]
    methods = (RECALL_METHOD,) if gold_set.recall else METHODS
    combined = {method: list(symmetrize(both[0], both[1], method)) for method in methods}
    rates = {method: rate(gold_set, links) for method, links in combined.items()}
    return Found(rates, sum(map(len, combined[methods[0]])))


def rate(gold_set: GoldSet, links: Sequence[Sequence[Link]]) -> float:
    scored = score(links, gold_set.gold)
    return 1 - scored.recall if gold_set.recall else scored.aer


Probable = list[list[tuple[Link, float]]]  # of each pair, links and their probabilities


def read_posteriors(folder: Path, pairs: int) -> Probable:
    """Of the last pairs."""
    lines = list(read_lines(str(folder / POSTERIOR)))[-pairs:]
    rows = [[link.rpartition(":") for link in line.split()] for line in lines]
    return [[(parse_links(link, "posteriors")[0], float(p)) for link, _, p in row] for row in rows]


def as_many(found: Probable, gold_set: GoldSet, links: int) -> Found:
    """The most probable links."""
    least = sorted((p for row in found for _, p in row), reverse=True)[:links][-1]
    kept = [[link for link, p in row if p >= least] for row in found]
    return Found({f"{links} links": rate(gold_set, kept)}, sum(map(len, kept)))


def with_encoder(
    model: str, gold_set: GoldSet, before: list[Pair], options: argparse.Namespace, links: int
) -> Found:
    """On text as it is written. In this process: only the gold pairs are aligned."""
    aligner = Aligner(
        model=model,
        encoder=options.encoder,
        threshold=LEAST if gold_set.recall else None,
        threads=options.threads,
        device="cpu",
    )
    if model == "hybrid":
        aligner.fit(*columns([*before, *gold_set.pairs]))
    found = aligner.align(*columns(gold_set.pairs), posteriors=True)
    if not gold_set.recall:
        return Found({POSTERIOR: rate(gold_set, found.to_lists())}, len(found.pairs))
    assert found.probability is not None
    values = np.split(found.probability, found.offsets[1:-1])
    rows = zip(found.to_lists(), values, strict=True)
    return as_many([list(zip(row, p.tolist(), strict=True)) for row, p in rows], gold_set, links)


def columns(pairs: list[Pair]) -> tuple[list[str], list[str]]:
    return [source for source, _ in pairs], [target for _, target in pairs]


def measure_system(
    label: str, gold_set: GoldSet, options: argparse.Namespace, paths: dict[str, str], links: int
) -> tuple[Found, int]:
    """And the number of sentence pairs. `links`: how many of ours, where recall counts."""
    system, _, stem = label.partition(", ")
    before = training_pairs(gold_set, options.data, options.bitext)
    pairs = len(before) + len(gold_set.pairs)
    if system in WITH_ENCODER:
        return with_encoder(system, gold_set, before, options, links), pairs
    folder = options.output.absolute().with_suffix(".work") / "links"  # programs run in it
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = folder.with_name("text")
    write_text(text, before, gold_set.pairs, STEM if stem else None)
    for step in steps(system, str(text), paths, options.threads, gold_set.recall):
        run_step(step, folder, options.threads)
    if system != "hmm":
        return directional(folder, gold_set, len(before)), pairs
    if gold_set.recall:
        found = read_posteriors(folder, len(gold_set.gold))
        return as_many(found, gold_set, links), pairs
    linked = gold_links(folder / POSTERIOR, len(before), gold_set.gold)
    return Found({POSTERIOR: rate(gold_set, linked)}, sum(map(len, linked))), pairs


def renew(row: Json, encoder: dict[str, str]) -> None:
    """Drops what was measured with another encoder or commit."""
    if encoder and row.get("encoder") != encoder:
        for label in WITH_ENCODER:
            row["systems"].pop(label, None)
            row["links"].pop(label, None)
        row["encoder"] = encoder


def measure(options: argparse.Namespace) -> None:
    paths = {"fast_align": options.fast_align, "eflomal": options.eflomal}
    paths = {name: program(f"--{name}", path) for name, path in paths.items() if path}
    found: Json = json.loads(options.output.read_text()) if options.output.exists() else {}
    encoder: dict[str, str] = {}
    if options.encoder:
        digest = encoder_digest(Path(options.encoder))
        encoder = {"commit": code_version(), "encoder_sha256": digest}
    ours = ["hmm", *(WITH_ENCODER if encoder else ())]
    labels = [f"{name}{stem}" for name in paths for stem in (f", {STEM} characters", "")]
    for gold_set in gold_sets(options.data):
        row = found.setdefault(
            gold_set.name, {"recall": gold_set.recall, "systems": {}, "links": {}}
        )
        renew(row, encoder)
        for label in [*labels, *ours]:
            if label in row["systems"]:
                continue
            peers = [
                (min(rates.values()), row["links"][name])
                for name, rates in row["systems"].items()
                if name.startswith("eflomal")
            ]
            if label in ours and gold_set.recall and not peers:
                continue  # nothing says how many links
            measured, pairs = measure_system(
                label, gold_set, options, paths, min(peers, default=(0, 0))[1]
            )
            row["systems"][label], row["links"][label] = measured.rates, measured.links
            row |= {"pairs": pairs, "gold": len(gold_set.gold)}
            options.output.parent.mkdir(parents=True, exist_ok=True)
            replace_durably(options.output, (json.dumps(found, indent=1) + "\n").encode())
            say(f"{gold_set.name}, {label}: {measured.rates}")


def table(path: Path) -> str:
    """Markdown: the best links of each peer, and ours."""
    found = json.loads(path.read_text())
    labels = list(dict.fromkeys(label for row in found.values() for label in row["systems"]))
    lines = [
        f"| set | pairs | with gold | measure | {' | '.join(labels)} |",
        f"|{' --- |' * (len(labels) + 4)}",
    ]
    best = {
        name: {label: min(rates.values()) for label, rates in row["systems"].items()}
        for name, row in found.items()
    }
    for name, row in found.items():
        cells = [f"{best[name][label]:.4f}" if label in best[name] else "–" for label in labels]
        measure = "1 - recall" if row["recall"] else "AER"
        lines.append(
            f"| {name} | {row['pairs']:,} | {row['gold']:,} | {measure} | {' | '.join(cells)} |"
        )
    peers = tuple(label for label in labels if label.startswith("eflomal"))
    claims = [wins(best.values(), "hmm", peers, "The HMM", "the better of eflomal's two")]
    if "hybrid" in labels:
        others = "the HMM and both of eflomal's"
        claims.append(wins(best.values(), "hybrid", (*peers, "hmm"), "The hybrid", others))
    return "\n".join([*lines, "", *claims])


def wins(
    rows: Iterable[dict[str, float]], label: str, others: Sequence[str], name: str, beaten: str
) -> str:
    """On how many sets, of those where all are measured, one is better than all others."""
    known = [row for row in rows if row.keys() >= {label, *others}]
    better = sum(row[label] < min(row[other] for other in others) for row in known)
    return f"{name} is better than {beaten} on {better} of {len(known)}."


def main(arguments: Sequence[str] | None = None) -> None:
    made = Parser("benchmarks/gold_sets.py", (__doc__ or "").split("\n")[0])
    data = os.environ.get("WEAM_DATA")
    made.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        default=Path(data) if data else None,
        help="the folder of the data sets (default: $WEAM_DATA)",
    )
    made.add_argument(
        "--bitext",
        type=int,
        metavar="N",
        default=20_000,
        help="the first N pairs of each bitext of the language (%(default)s)",
    )
    made.add_argument("--threads", type=int, metavar="T", default=2, help="(%(default)s)")
    made.add_argument("--fast-align", metavar="PATH", help="the original program")
    made.add_argument("--eflomal", metavar="PATH", help="eflomal-align")
    made.add_argument("--encoder", metavar="DIR", help="a directory, for the hybrid")
    made.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        default=RESULTS,
        help="the figures; what it holds already is not measured again (benchmarks/results/"
        "gold_sets.json)",
    )
    made.add_argument(
        "--table",
        type=Path,
        nargs="?",
        metavar="FILE",
        const=ROOT / "docs" / "aligner.md",
        help="measure nothing: write the table into a file, between its markers (docs/aligner.md)",
    )
    options = made.parse_args(arguments)
    if not options.table:
        if options.data is None:
            raise InputError("--data is needed where WEAM_DATA is not set")
        measure(options)
        return
    insert(options.table, BEGIN, END, table(options.output))


if __name__ == "__main__":
    run("gold_sets", main)
