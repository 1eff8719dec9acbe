"""Every objective and control from the same model, pairs, steps and seeds, and what comes of them.

    python benchmarks/compare_objectives.py --bitext en-fr=train.en.xz train.fr.xz \
        --test hansards=test.en test.fr --test multi30k=test.en test.fr --work DIR

A WordPiece vocabulary is trained on the text, a small BERT on its sentences by masked language
modelling, and from that model each way goes on for the same steps with the same seeds. Measured:
held-out losses; retrieval accuracy of sentences encoded alone, mean-pooled, by layer, raw and with
each language's mean removed; and the speed of the steps, all ways in turn in one process. What is
in --work and in the results already is not done again. `--table` writes the results into the docs.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from corpora import machine
from markers import insert
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from weam_ext.common.errors import InputError, Parser, run, say
from weam_ext.common.files import write_whole
from weam_ext.common.ranks import Ranks
from weam_ext.text.bitext import BitextSource, parse_bitext, read_bitext
from weam_ext.train.checkpoint import checkpoints
from weam_ext.train.loop import Trainer
from weam_ext.train.run_directory import open_run
from weam_ext.train.settings import parse
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.frozen.retrieval import retrieve

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "objectives.json"
DOCS = ROOT / "docs" / "training.md"
BEGIN = "<!-- objectives: written by benchmarks/compare_objectives.py --table -->"
END = "<!-- objectives: end -->"
MODEL = {"model_type": "bert", "hidden_size": 128, "num_hidden_layers": 4,
         "num_attention_heads": 4, "intermediate_size": 512,
         "max_position_embeddings": 128}  # fmt: skip
WAYS: dict[str, list[str]] = {
    "mlm": ["--objective", "mlm"],
    "tlm": ["--objective", "tlm"],
    "word-aligned": ["--objective", "word-aligned", "--betas", "0.9", "0.98", "--schedule",
                     "constant", "--weight-decay", "0"],
    "weam": [],
    "weam, lambda 0": ["--exchange-weight", "0"],
    "weam, shuffled links": ["--links", "shuffled"],
    "weam, random links": ["--links", "random"],
}  # fmt: skip
"""The flags of each, beside those that all have."""
Json = dict[str, Any]


def main() -> None:
    options = parse_options()
    if options.table:
        text = "\n".join(table(json.loads(options.output.read_bytes())))
        insert(DOCS, BEGIN, END, text)
        return
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    bitext = parse_bitext(options.bitext, limit=options.limit)
    tests = [parse_bitext(files) for files in options.test]
    results: Json = json.loads(options.output.read_bytes()) if options.output.exists() else {}
    results |= {"machine": machine(), "commit": commit(), "settings": settings(options)}
    base = prepare_base(options, bitext, work)
    for seed in range(options.seeds):
        for way in WAYS:
            run_dir = work / f"{way.replace(', ', '-').replace(' ', '-')}-{seed}"
            train([*from_base(options, work, base), *WAYS[way], "--seed", str(seed)], run_dir)
            results.setdefault(way, {})[str(seed)] = measured(run_dir, tests)
            save(options.output, results)
    results["speed"] = speeds(options, work, base)
    save(options.output, results)


def parse_options() -> argparse.Namespace:
    parser = Parser("compare_objectives", __doc__.split("\n")[0])
    parser.add_argument("--bitext", nargs="+", metavar="FILE", help="as weam_ext.train takes it")
    parser.add_argument(
        "--test", nargs="+", action="append", default=[], metavar="FILE",
        help="bitext whose translations are to be found",
    )  # fmt: skip
    parser.add_argument("--work", type=Path, metavar="DIR", help="of the runs")
    for name, value, text in (
        ("limit", 20000, "pairs"),
        ("vocabulary", 8000, "entries of the WordPiece vocabulary"),
        ("base-steps", 1200, "steps of the model that all start from"),
        ("steps", 400, "steps of each way"),
        ("seeds", 2, "of each way"),
        ("rounds", 20, "timed steps of each way"),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, metavar="N",
                            help=f"{text} (%(default)s)")  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="JSON", help="(benchmarks/results)"
    )
    parser.add_argument(
        "--table", action="store_true", help="write the table into docs/training.md"
    )
    options = parser.parse_args()
    if not options.table and not (options.bitext and options.work):
        raise InputError("--bitext and --work are needed")
    return options


def settings(options: argparse.Namespace) -> Json:
    """What a figure means nothing without."""
    names = ("limit", "vocabulary", "base_steps", "steps", "seeds", "rounds")
    return {name: getattr(options, name) for name in names} | {"ways": WAYS}


# ---------------------------------------------------------------------------------------- training


def prepare_base(options: argparse.Namespace, bitext: BitextSource, work: Path) -> Path:
    """The vocabulary, the shards and the model that all ways start from; its checkpoint."""
    if not (work / "vocab.txt").exists():
        write_whole(work / "vocab.txt", wordpiece_vocabulary(bitext, options.vocabulary))
    (work / "model.json").write_text(json.dumps(MODEL))
    if not (work / "prepared").exists():
        command(
            "weam_ext.prepare", "--bitext", *options.bitext, "--limit", str(options.limit),
            "--lowercase", "--tokenizer", str(work / "vocab.txt"), "--max-length", "64",
            "--output", str(work / "prepared"),
        )  # fmt: skip
    flags = ["--prepared", str(work / "prepared"), "--max-length", "64", "--tokenizer",
             str(work / "vocab.txt"), "--model-config", str(work / "model.json"),
             "--objective", "mlm", "--steps", str(options.base_steps)]  # fmt: skip
    return train(flags, work / "base")


def wordpiece_vocabulary(bitext: BitextSource, size: int) -> bytes:
    """A cased WordPiece vocabulary of both sides of a text, one entry a line."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator((side for pair in read_bitext(bitext) for side in pair), trainer)
    ids = tokenizer.get_vocab()
    return "".join(f"{token}\n" for token in sorted(ids, key=ids.__getitem__)).encode()


def from_base(options: argparse.Namespace, work: Path, base: Path) -> list[str]:
    """The flags that all ways have."""
    return ["--prepared", str(work / "prepared"), "--max-length", "64", "--model", str(base),
            "--lr", "5e-4", "--steps", str(options.steps)]  # fmt: skip


def train(flags: list[str], run_dir: Path) -> Path:
    """Begin, go on with or find finished a run; its last checkpoint."""
    command(
        "weam_ext.train", *flags, "--output", str(run_dir), "--keep", "1", "--no-tensorboard",
        "--log-every", "50",
    )  # fmt: skip
    return checkpoints(run_dir)[-1]


def command(*arguments: str) -> None:
    say(" ".join(arguments))
    subprocess.run([sys.executable, "-m", *arguments], check=True, stdout=subprocess.DEVNULL)


# ------------------------------------------------------------------------------------- measurement


def measured(run_dir: Path, tests: list[BitextSource]) -> Json:
    """Held-out means at the end, and retrieval accuracy."""
    lines = map(json.loads, (run_dir / "log.jsonl").read_text().splitlines())
    heldout = [line["heldout/all"] for line in lines if "heldout/all" in line]
    encoder = Encoder(checkpoints(run_dir)[-1], 64, "cpu", "fp32")
    return {
        "heldout": heldout[-1],
        "retrieval": {test.name: retrieval(encoder, test) for test in tests},
    }


def retrieval(encoder: Encoder, test: BitextSource) -> list[Json]:
    """By layer, the embeddings first: accuracies in the mean of both directions."""
    pairs = list(dict.fromkeys(read_bitext(test)))
    sides = [encoder.encode([pair[side] for pair in pairs], 64)[0] for side in (0, 1)]
    figures = []
    own = torch.arange(len(pairs))[:, None]
    for layer in range(encoder.layers + 1):
        found = {
            name: retrieve(sides[0][layer], sides[1][layer], own, centred=name == "centred")
            for name in ("raw", "centred")
        }
        figures.append(
            {
                name: torch.cat([way.ranks for way in each["cosine"]]).eq(1).double().mean().item()
                for name, each in found.items()
            }
        )
    return figures


def speeds(options: argparse.Namespace, work: Path, base: Path) -> Json:
    """Median tokens/s of each way, in turn, so that whatever else runs slows all alike."""
    trainers = {way: trainer(options, work, base, way) for way in WAYS}
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for way, _ in zip(cycle(WAYS), range(len(WAYS) * (options.rounds + 2)), strict=False):
        begun = time.perf_counter()
        sums, requests = trainers[way].train_step()
        sums.means()  # waits for the device
        seconds = time.perf_counter() - begun
        rates[way].append(sum(request.tokens for request in requests) / seconds)
    return {way: statistics.median(each[2:]) for way, each in rates.items()}


def trainer(options: argparse.Namespace, work: Path, base: Path, way: str) -> Trainer:
    output = work / "speed" / way.replace(", ", "-").replace(" ", "-")
    settings = parse([*from_base(options, work, base), *WAYS[way], "--output", str(output)])
    return Trainer(settings, *open_run(settings), Ranks())


def save(output: Path, results: Json) -> None:
    write_whole(output, (json.dumps(results, indent=1) + "\n").encode())


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip()[:12]


# ------------------------------------------------------------------------------------------ report


def table(results: Json) -> Iterator[str]:
    """The results as Markdown: means over the seeds."""
    used, made = results["settings"], results["machine"]
    seeds = (
        "one seed" if used["seeds"] == 1 else f"means of {used['seeds']} seeds (± half the range)"
    )
    tests = list(next(iter(results[next(iter(WAYS))].values()))["retrieval"])
    yield (
        f"{used['limit']:,} pairs, {used['vocabulary']:,} tokens, BERT "
        f"{MODEL['num_hidden_layers']} x {MODEL['hidden_size']}; {used['base_steps']:,} steps of "
        f"MLM for all, then {used['steps']:,} steps of each; {seeds}. {made['processor']}, torch "
        f"{made['torch']}, one thread; commit {results['commit']}."
    )
    yield ""
    layer = int(MODEL["num_hidden_layers"]) - 1
    header = ["", "L_mp", "L_cp", "L_mp apart", "L_cp apart",
              *(f"{test} raw" for test in tests), *(f"{test} centred" for test in tests),
              "tokens/s"]  # fmt: skip
    for row in (header, ["---"] * len(header), *(figures(results, way, layer) for way in WAYS)):
        yield "| " + " | ".join(row) + " |"
    yield ""
    yield (
        "L_mp and L_cp: held-out losses in nats of both predictions with the true links, with the "
        "sentences of a pair in one sequence and *apart*. Then retrieval accuracy in % of "
        f"sentences encoded alone at layer {layer}, raw and with each language's mean removed."
    )


def figures(results: Json, way: str, layer: int) -> list[str]:
    seeds = list(results[way].values())
    names = ("multilingual_loss", "cross_lingual_loss", "apart_multilingual_loss",
             "apart_cross_lingual_loss")  # fmt: skip
    cells = [cell([seed["heldout"][name] for seed in seeds], 2) for name in names]
    for kind in ("raw", "centred"):
        cells += [
            cell([100 * seed["retrieval"][test][layer][kind] for seed in seeds], 1)
            for test in seeds[0]["retrieval"]
        ]
    return [way, *cells, f"{results['speed'][way]:,.0f}"]


def cell(values: list[float], digits: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    half = (max(values) - min(values)) / 2
    return f"{statistics.mean(values):.{digits}f} (±{half:.{digits}f})"


if __name__ == "__main__":
    run("compare_objectives", main)
