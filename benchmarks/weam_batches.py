"""Text of a given shape for the benchmarks of the training step: batches, and prepared directories.

The sentences are random; what the step's speed depends on is not: how long the pairs are, that a
word has 1 to 4 tokens, and that 90 % of the words are linked, about as in aligned news text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weam_ext.common.files import whole_directory, write_record
from weam_ext.common.ragged import Lists
from weam_ext.data.collate import Batch, Collator, Layout
from weam_ext.data.shards import COLUMNS, DESCRIPTION, FORMAT, SPLITS, Sample, write_shard
from weam_ext.prepare.settings import PrepareSettings
from weam_ext.text.tokenizer import fingerprint, load_tokenizer, wordpiece

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FRAME = 3
"""Special tokens of a pair."""
TOKENS_A_WORD = (0.62, 0.22, 0.11, 0.05)
LINKED = 0.9
# Source and target tokens of the 1st, 3rd, 5th .. 79th of 80 equal parts of 20,000 pairs of the
# WPT-03 Hansards in mBERT's vocabulary, by their sum, those above 128 with their frame left out.
REAL = [
    (3, 3), (4, 3), (4, 5), (5, 5), (6, 6), (6, 7), (6, 9), (9, 7), (9, 9), (11, 9), (11, 11),
    (12, 12), (13, 13), (12, 16), (16, 13), (14, 17), (12, 21), (16, 18), (16, 20), (15, 23),
    (14, 26), (22, 19), (16, 28), (19, 27), (21, 27), (24, 26), (22, 31), (29, 26), (26, 32),
    (26, 35), (24, 40), (25, 42), (30, 40), (30, 44), (35, 43), (32, 51), (41, 47), (42, 53),
    (45, 59), (48, 69),
]  # fmt: skip


@cache
def tokenizer(vocabulary: int) -> Any:
    """A WordPiece tokenizer with that many entries."""
    return wordpiece(words_of(vocabulary), "the benchmark's vocabulary")


def words_of(vocabulary: int) -> list[str]:
    """The entries of that tokenizer."""
    return SPECIAL + [f"w{number}" for number in range(vocabulary - len(SPECIAL))]


def batches(number: int, size: int, length: int, vocabulary: int, device: str) -> list[Batch]:
    """`number` batches of `size` pairs, each `length` tokens long with its special tokens."""
    random = np.random.default_rng(length)
    samples = [sample(random, _halves(length), vocabulary) for _ in range(number * size)]
    collate = Collator(tokenizer(vocabulary), Layout())
    return [
        collate(samples, [(k, k) for k in range(n * size, (n + 1) * size)]).to(torch.device(device))
        for n in range(number)
    ]


def sample(random: np.random.Generator, sizes: Sequence[int], vocabulary: int) -> Sample:
    """A sentence pair with that many ordinary tokens on either side."""
    words = [word_of_each_token(random, size) for size in sizes]
    counts = [int(of_tokens[-1]) + 1 for of_tokens in words]
    # Near the diagonal, as the links of most language pairs are.
    source = np.flatnonzero(random.random(counts[0]) < LINKED)
    target = source * counts[1] / counts[0] + random.normal(0, 1.5, len(source))
    links = np.unique([source, target.round().clip(0, counts[1] - 1)], axis=1).astype(np.int32)
    ids = [random.integers(len(SPECIAL), vocabulary, size).astype(np.int32) for size in sizes]
    return Sample(ids[0], words[0], ids[1], words[1], links[0], links[1])


def word_of_each_token(random: np.random.Generator, tokens: int) -> np.ndarray:
    sizes = random.choice(np.arange(1, 5), size=tokens, p=TOKENS_A_WORD)
    return np.repeat(np.arange(tokens, dtype=np.int32), sizes)[:tokens]


def _halves(length: int) -> tuple[int, int]:
    ordinary = length - FRAME
    return ordinary // 2, ordinary - ordinary // 2


# ------------------------------------------------------------------------------------ prepared text


def prepared(directory: Path, text: str, tokens: int, vocabulary: int) -> Path:
    """A prepared directory under `directory`, made where it is not there yet.

    Args:
        text: "full L" (pairs of L tokens with their frame), "padded L" (of L / 2 to L), or "real"
            (as long as those of the Hansards).
        tokens: about how many there are in all.
        vocabulary: the tokenizer's size; it is read from "vocab.txt" under `directory`.
    """
    made = directory / text.replace(" ", "-")
    if not made.exists():
        (directory / "vocab.txt").write_text("\n".join(words_of(vocabulary)) + "\n")
        random = np.random.default_rng(tokens)
        samples = [sample(random, sizes, vocabulary) for sizes in _sizes(random, text, tokens)]
        settings = asdict(PrepareSettings(max_length=512))
        with whole_directory(made) as part:
            write_record(part / DESCRIPTION, _description(part, samples, settings, directory))
    return made


def _sizes(random: np.random.Generator, text: str, tokens: int) -> Iterable[tuple[int, int]]:
    kind, _, length = text.partition(" ")
    if kind == "real":
        while tokens > 0:
            yield REAL[random.integers(len(REAL))]
            tokens -= sum(map(sum, REAL)) // len(REAL)
    else:
        most = int(length)
        least = most if kind == "full" else most // 2
        for _ in range(max(20, tokens // most)):
            yield _halves(int(random.integers(least, most, endpoint=True)))


def _description(
    part: Path, samples: Sequence[Sample], settings: dict[str, Any], directory: Path
) -> dict[str, Any]:
    read = load_tokenizer(str(directory / "vocab.txt"))
    shards = {}
    for split, chosen in zip(SPLITS, (samples, samples[:10]), strict=True):
        columns = {
            name: Lists.of_lengths(np.array([len(x) for x in column]), np.concatenate(column))
            for name, column in zip(
                COLUMNS, zip(*(s[:6] for s in chosen), strict=True), strict=True
            )
        }
        shards[split] = [write_shard(part / f"{split}.arrow", columns)]
    corpus = {"name": "xx-yy", "kind": "bitext", "languages": ["xx", "yy"], "paths": [],
              "columns": None, "limit": None, "counts": {}, "shards": shards}  # fmt: skip
    return {
        "format": FORMAT,
        "tokenizer": {"sha256": fingerprint(read), "size": len(read)},
        "settings": settings,
        "corpora": [corpus],
    }
