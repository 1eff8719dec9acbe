"""Predictions as an evaluation leaves them, of which reports are made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weam_ext.transfer.results import Cell, Evaluation, Finished, Score, write


def cells(
    output: Path,
    model: str,
    hits: Sequence[str],
    *,
    task: str = "xnli",
    setting: str = "zero-shot",
    languages: Sequence[str] = ("de",),
    sha: str = "",
    directory: str = "",
    noise: str = "",
    training: dict[str, Any] | None = None,
    texts: str = "",
    trained_on: str = "",
    **options: Any,
) -> None:
    """A cell for each seed: "1101" are hits on four examples, the same in every language."""
    for seed, bits in enumerate(hits):
        data = f"{' '.join(languages)} {trained_on}"
        cell = Cell(model, sha or model, task, data, setting, seed,
                    {"fine_tuning": "plain", "batch_size": 32} | options)  # fmt: skip
        rows = [
            Evaluation(
                language=language,
                metrics={"accuracy": [Score(float(bit)) for bit in bits]},
                keys=[f"k{k}" for k in range(len(bits))],
                selection=selection,
                noise=noise,
                lengths=[10 * (k + 1) for k in range(len(bits))],
                gold=["abcd"[k % 4] for k in range(len(bits))],
                predictions=["abcd"[(k + (bit == "0")) % 4] for k, bit in enumerate(bits)],
                notes={"sha256": texts},
            )
            for language in languages
            for selection in ("english", "oracle")
        ]
        known = {"objective": model, "lr": 5e-5, "exchange_weight": 1.0, "links": "true",
                 "bitext": [["en-de=x.tsv"]]}  # fmt: skip
        facts = {"training": known | (training or {}), "trained_on": 100, "cut": ["de"]}
        facts |= {"training_sha256": trained_on} if trained_on else {}
        write(output, Finished(cell, directory or f"/runs/{model}", facts, rows))


def layered(
    output: Path,
    model: str,
    languages: dict[str, Sequence[str]],
    sha: str = "",
    notes: dict[str, Any] | None = None,
) -> None:
    """A frozen task: of each language the hits of every layer."""
    cell = Cell(model, sha or model, "tatoeba", "data", "frozen", 0, {"max_length": 128})
    rows = [
        Evaluation(
            language=language,
            metrics={"accuracy": [Score(float(bit)) for bit in bits]},
            keys=[str(k) for k in range(len(bits))],
            layer=layer,
            vectors=vectors,
            method="cosine",
            lengths=[5] * len(bits),
            gold=[],
            predictions=[f"{k} {k}" for k in range(len(bits))],
            notes=notes or {},
        )
        for language, layers in languages.items()
        for layer, bits in enumerate(layers)
        for vectors in ("raw", "centred")
    ]
    write(output, Finished(cell, f"/runs/{sha or model}", {"layers": 2}, rows))


def many(share: float, seed: int) -> list[str]:
    """Three seeds' hits on 600 examples."""
    generator = np.random.default_rng(seed)
    return ["".join("1" if x < share else "0" for x in generator.random(600)) for _ in range(3)]
