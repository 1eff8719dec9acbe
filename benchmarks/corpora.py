"""What the benchmarks run on: the built-in corpus, and the machine."""

import platform
from collections.abc import Callable
from functools import cache

import torch

from weam_ext.text.toy_corpus import sentence_pairs

Record = Callable[..., None]
"""What keeps a benchmark's figures: see conftest.py."""


@cache
def sentences(pairs: int) -> tuple[list[str], list[str]]:
    """Source and target sentences of the first built-in language pair."""
    made = sentence_pairs("toku", pairs)
    return [pair.source for pair in made], [pair.target for pair in made]


def machine() -> dict[str, str | int]:
    """What a figure means nothing without."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
    }
