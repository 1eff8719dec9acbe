"""Batches of a given shape for the benchmarks of the training step.

The sentences are random; what the step's speed depends on is not: every sequence is full, a word
has 1 to 4 tokens, and 90 % of the words are linked, about as in aligned news text.
"""

from functools import cache

import numpy as np
import torch

from weam_ext.data.collate import Batch, Collator, Layout
from weam_ext.data.shards import Sample
from weam_ext.text.tokenizer import wordpiece

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENS_A_WORD = (0.62, 0.22, 0.11, 0.05)
LINKED = 0.9


@cache
def tokenizer(vocabulary: int):  # type: ignore[no-untyped-def]
    """A WordPiece tokenizer with that many entries."""
    words = [f"w{number}" for number in range(vocabulary - len(SPECIAL))]
    return wordpiece(SPECIAL + words, "the benchmark's vocabulary")


def batches(number: int, size: int, length: int, vocabulary: int, device: str) -> list[Batch]:
    """`number` batches of `size` pairs, each `length` tokens long with its special tokens."""
    random = np.random.default_rng(length)
    samples = [sample(random, length, vocabulary) for _ in range(number * size)]
    collate = Collator(tokenizer(vocabulary), Layout())
    return [
        collate(samples, [(k, k) for k in range(n * size, (n + 1) * size)]).to(torch.device(device))
        for n in range(number)
    ]


def sample(random: np.random.Generator, length: int, vocabulary: int) -> Sample:
    """A sentence pair of `length` tokens, the three special ones included."""
    ordinary = length - 3
    sizes = ordinary // 2, ordinary - ordinary // 2
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
