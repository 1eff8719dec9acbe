"""What the benchmarks run on: the built-in corpus, aligned, prepared and batched."""

import platform
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from weam_ext.batch import Batch, Collator, open_prepared
from weam_ext.corpus import BitextSource
from weam_ext.invented import sentence_pairs, vocabulary
from weam_ext.prepare import PrepareSettings, prepare
from weam_ext.tokenizer import wordpiece

TOKENIZER = wordpiece(vocabulary(), "the built-in vocabulary")


@cache
def sentences(pairs: int) -> tuple[list[str], list[str]]:
    """Source and target sentences of the first built-in language pair."""
    made = sentence_pairs("toku", pairs)
    return [pair.source for pair in made], [pair.target for pair in made]


@cache
def prepared(pairs: int) -> Path:
    """A prepared directory of that text."""
    directory = Path(mkdtemp(prefix="weam-bench-"))
    text = directory / "text.txt"
    lines = [f"{s} ||| {t}\n" for s, t in zip(*sentences(pairs), strict=True)]
    text.write_text("".join(lines))
    prepare([BitextSource("bench", (str(text),))], TOKENIZER, directory / "out", PrepareSettings())
    return directory / "out"


def batch(size: int, device: str = "cpu") -> Batch:
    """One batch of sentence pairs with their links."""
    _, splits = open_prepared(prepared(400))
    members = [(sample, sample) for sample in range(size)]
    return Collator(TOKENIZER, pair=True)(splits["train"], members).to(torch.device(device))


def machine() -> dict[str, str | int]:
    """What a figure means nothing without."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
    }
