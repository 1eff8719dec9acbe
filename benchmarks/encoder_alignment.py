"""An encoder as aligner: error rates of the HMM, of the encoder alone, and of both.

    python benchmarks/encoder_alignment.py --data DIR --encoder DIR [--set NAME ...]

Each figure is added to a JSON file at once; given again, it goes on where it was stopped, and
begins anew with another encoder, commit or machine. Texts are as they are written. The development
sets chose the defaults; the others only report. All by default settings. The Hansards' models learn
from the first 100,000 pairs and the pairs with gold links, XL-WA's from its own text, and Chinese
has no text but that with gold links.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from aligner_results import replace_durably
from compare_aligners import ROOT, Gold, code_version
from corpora import machine
from gold_sets import Pair, plain, tabbed

from weam_ext import Aligner, score
from weam_ext.common.errors import InputError, Parser, run, say
from weam_ext.text.lines import read_lines
from weam_ext.transfer.encoder import encoder_digest

RESULTS = ROOT / "benchmarks" / "results" / "encoder_alignment.json"
MODELS = ("hmm", "encoder", "hybrid")
HANSARDS = 100_000
Set = tuple[list[Pair], list[Pair], Gold]  # more text, and pairs with gold links


def hansards(data: Path, name: str) -> Set:
    folder = data / "wa-enfr-wpt03"
    train = zip(*(read_lines(str(folder / f"train.{side}.xz")) for side in ("en", "fr")))  # noqa: B905
    pairs, gold = plain(folder, name, ("en", "fr"), f"{name}.en-fr.gold")
    return list(islice(train, HANSARDS)), pairs, gold


def xlwa(data: Path, language: str) -> Set:
    folder = data / "wa-xlwa" / language
    return (tabbed(folder / "train.tsv")[0], *tabbed(folder / "dev.tsv"))


def chinese(data: Path) -> Set:
    return ([], *plain(data / "wa-zhen", "test", ("zh", "en"), "test.zh-en.gold"))


def golden(data: Path, language: str) -> Set:
    folder = data / f"wa-golden-{language}"
    return ([], *plain(folder, "gold", ("en", language), f"gold.en-{language}.gold"))


SETS: dict[str, Callable[[Path], Set]] = {
    "WPT-03 trial": lambda data: hansards(data, "trial"),
    "WPT-03 test": lambda data: hansards(data, "test"),
    "zh-en": chinese,
    **{
        f"XL-WA {language} dev": lambda data, language=language: xlwa(data, language)
        for language in ("hu", "et", "sl", "ru")
    },
    **{
        f"golden {language}": lambda data, language=language: golden(data, language)
        for language in ("es", "fr", "pt")
    },
}


def figures(chosen: Set, model: str, encoder: str) -> dict[str, Any]:
    text, pairs, gold = chosen
    options: dict[str, Any] = {} if model == "hmm" else {"encoder": encoder, "device": "cpu"}
    aligner = Aligner(model=model, threads=1, **options)
    begin = time.perf_counter()
    if model != "encoder":
        aligner.fit(*zip(*(text + pairs), strict=True))
    trained = time.perf_counter()
    scored = score(aligner.align(*zip(*pairs, strict=True)).to_lists(), gold)
    return {
        "pairs": len(text) + len(pairs),
        "gold": len(pairs),
        "precision": round(scored.precision, 4),
        "recall": round(scored.recall, 4),
        "aer": round(scored.aer, 4),
        "training_s": round(trained - begin, 1),
        "pairs_a_second": round(len(pairs) / (time.perf_counter() - trained), 1),
    }


def todo(found: dict[str, Any], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if name not in SETS:
            raise InputError(f"there is no set {name!r}; there are {', '.join(SETS)}")
        yield from ((name, model) for model in MODELS if model not in found.get(name, {}))


def main(arguments: Sequence[str] | None = None) -> None:
    made = Parser("benchmarks/encoder_alignment.py", (__doc__ or "").split("\n")[0])
    data = os.environ.get("WEAM_DATA")
    made.add_argument("--data", type=Path, metavar="DIR", default=Path(data) if data else None,
                      help="the folder of the data sets (default: $WEAM_DATA)")  # fmt: skip
    made.add_argument("--encoder", required=True, metavar="DIR", help="a directory")
    made.add_argument("--set", nargs="+", metavar="NAME", default=[*SETS], help="by default all")
    made.add_argument("--output", type=Path, metavar="FILE", default=RESULTS,
                      help="the figures (benchmarks/results/encoder_alignment.json)")  # fmt: skip
    options = made.parse_args(arguments)
    if options.data is None:
        raise InputError("--data is needed where WEAM_DATA is not set")
    output: Path = options.output
    conditions = machine() | {
        "transformers": version("transformers"),
        "commit": code_version(),
        "encoder_sha256": encoder_digest(Path(options.encoder)),
    }
    held = json.loads(output.read_text()) if output.exists() else {}
    results = held if held.get("conditions") == conditions else {"conditions": conditions}
    found = results.setdefault("sets", {})
    for name, model in todo(found, options.set):
        measured = figures(SETS[name](options.data), model, options.encoder)
        found.setdefault(name, {})[model] = measured
        replace_durably(output, (json.dumps(results, indent=1) + "\n").encode())
        say(f"{name}, {model}: {measured}")


if __name__ == "__main__":
    run("encoder_alignment", main)
