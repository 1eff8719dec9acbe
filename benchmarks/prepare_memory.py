"""What preparing a million real sentence pairs takes, and reading them back in batches.

    python benchmarks/prepare_memory.py --data DIR --tokenizer DIR

DIR holds `train.en.xz` and `train.fr.xz`, the WPT-03 Hansards; the tokenizer is mBERT's vocabulary.
Both parts are processes of their own, watched ten times a second. RSS counts the pages of mapped
files that happen to be in memory, which the system takes back when it wants to; anonymous memory
(RssAnon) does not.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from corpora import machine

from weam_ext.common.errors import Parser, run, say
from weam_ext.common.files import write_whole
from weam_ext.data.collate import Collator, Layout
from weam_ext.data.loader import Feed
from weam_ext.data.sampler import Corpora, Order, Place
from weam_ext.data.shards import open_prepared
from weam_ext.prepare.chunks import Part, cut, tokenise
from weam_ext.prepare.settings import PrepareSettings
from weam_ext.text.bitext import BitextSource, read_bitext
from weam_ext.text.cached_tokenizer import Pieces
from weam_ext.text.tokenizer import load_tokenizer

RESULTS = Path(__file__).resolve().parent / "results" / "prepare.json"
Json = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser("benchmarks/prepare_memory.py", __doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="with train.{en,fr}.xz")
    parser.add_argument("--tokenizer", required=True, metavar="DIR")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N pairs only")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="(%(default)s)")
    parser.add_argument("--max-memory", metavar="SIZE", help="for the aligner")
    parser.add_argument("--read", type=Path, metavar="DIR", help="only read a prepared directory")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="JSON")
    options = parser.parse_args(arguments)
    if options.read:
        print(json.dumps(read(options.read, options.tokenizer, options.batch_size)))
        return
    files = [str(options.data / f"train.{language}.xz") for language in ("en", "fr")]
    with tempfile.TemporaryDirectory(dir=options.output.parent) as directory:
        prepared = Path(directory) / "prepared"
        results: Json = {
            "machine": machine() | {"cores": len(os.sched_getaffinity(0))},
            "one_core": first_stage(files, options.tokenizer, Path(directory)),
        }
        say(json.dumps(results["one_core"]))
        limit = ["--limit", str(options.limit)] if options.limit else []
        memory = ["--max-memory", options.max_memory] if options.max_memory else []
        results["prepare"] = prepare = watched(
            ["-m", "weam_ext.prepare", "--bitext", f"hansards.en-fr={files[0]}", files[1],
             "--tokenizer", options.tokenizer, "--output", str(prepared),
             "--workers", str(options.workers), *limit, *memory],
            stages(prepared.with_name(".prepared.part")),
        )  # fmt: skip
        (corpus,) = json.loads((prepared / "prepared.json").read_bytes())["corpora"]
        prepare.pop("stdout")
        prepare |= {
            "workers": options.workers,
            "max_memory": options.max_memory,
            "counts": corpus["counts"],
            "pairs_per_second": round(corpus["counts"]["read"] / prepare["seconds"]),
            "pairs_per_cpu_second": round(corpus["counts"]["read"] / prepare["cpu_seconds"]),
            "bytes_on_disk": sum(path.stat().st_size for path in prepared.iterdir()),
        }
        say(json.dumps(prepare))
        results["read"] = watched(
            [__file__, "--read", str(prepared), "--tokenizer", options.tokenizer,
             "--batch-size", str(options.batch_size)],
            lambda: "all",
        )  # fmt: skip
        results["read"] |= json.loads(results["read"].pop("stdout"))
        say(json.dumps(results["read"]))
    write_whole(options.output, (json.dumps(results, indent=1) + "\n").encode())


def first_stage(files: Sequence[str], spec: str, directory: Path) -> Json:
    """Pairs in a second of one core that tokenises and finds words, with nothing remembered."""
    source = BitextSource("hansards", tuple(files))
    text = next(cut(read_bitext(source)))
    settings = PrepareSettings()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    pieces = Pieces(load_tokenizer(spec).backend_tokenizer, settings.words, settings.lowercase)
    begun = time.process_time()  # other programs may want the core, too
    part = Part.of(directory, 0, 0)
    counts = tokenise(text, part, pieces, settings, settings.max_length - 3)
    seconds = time.process_time() - begun
    part.remove()
    return {"pairs": counts.read, "tokenised_pairs_per_cpu_second": round(counts.read / seconds)}


def read(directory: Path, spec: str, batch_size: int) -> Json:
    """Every batch of one pass over the training pairs, as training takes them."""
    begun = time.perf_counter()
    shards = open_prepared(directory)[1]["train"]
    opened = time.perf_counter() - begun
    collate = Collator(load_tokenizer(spec), Layout())
    corpora = Corpora(shards.corpus, collate.sizes(shards.sides), [1.0])
    order = Order(corpora, batch_size=batch_size, seed=0)
    feed = Feed(order, shards, collate, place=Place(), device=torch.device("cpu"))
    batches = len(shards) // batch_size
    begun = time.perf_counter()
    tokens = sum(next(feed).request.tokens for _ in range(batches))
    return {
        "batches": batches,
        "batch_size": batch_size,
        "pairs": batches * batch_size,
        "tokens": tokens,
        "open_seconds": opened,
        "batches_per_second": batches / (time.perf_counter() - begun),
    }


# ------------------------------------------------------------------------------------ what it takes


def stages(part: Path) -> Callable[[], str]:
    """Tells what a preparation is at, by the files of its unfinished directory."""
    seen: list[bool] = []

    def stage() -> str:
        if (part / "source.words").exists():
            seen.append(True)
            return "training the aligner"
        return "links and shards" if seen else "words and tokens"

    return stage


def watched(arguments: Sequence[str], stage: Callable[[], str]) -> Json:
    """Run a Python program; its seconds, its standard output, and bytes at their peaks by stage.

    Of the largest process and of all at once; pages that processes share count for each of them.
    """
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    peaks: dict[str, dict[str, int]] = {}
    seconds: dict[str, float] = {}
    while child.poll() is None:
        now = stage()
        held = [found for process in _family(child.pid) if (found := _memory(process))]
        highest = peaks.setdefault(now, {})
        for kind, name in (("VmRSS", "rss"), ("RssAnon", "anonymous")):
            sizes = [each[kind] for each in held]
            for scope, size in (("largest", max(sizes, default=0)), ("sum", sum(sizes))):
                key = f"{name}_{scope}_bytes"
                highest[key] = max(highest.get(key, 0), size)
        seconds[now] = time.perf_counter() - begun
        time.sleep(0.1)
    assert child.stdout is not None
    if child.returncode:
        sys.exit(child.returncode)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
        "ended_after_seconds": seconds,
        "peaks": peaks,
        "stdout": child.stdout.read(),
    }


def _family(process: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(each for child in children for each in _family(int(child)))]


def _memory(process: int) -> dict[str, int] | None:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    sizes = re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB$", status, re.M)
    return {name: int(size) * 1024 for name, size in sizes} if len(sizes) == 2 else None


if __name__ == "__main__":
    run("benchmarks/prepare_memory.py", main)
