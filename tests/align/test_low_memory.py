"""What training takes is what was planned, and below the limit where that can be."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Trains on pairs of invented words; tells the plan, the peak, and a digest of the links.
TRAIN = """
import hashlib, json, random, sys
from weam_ext import Aligner
from weam_ext.common.memory import peak_memory
given = json.loads(sys.argv[1])
chance = random.Random(1)
word = lambda: f"w{int(chance.random() ** 3 * 20_000)}"
sides = [
    [" ".join(word() for _ in range(length)) for length in given["lengths"]] for _ in (0, 1)
]
aligner = Aligner(**given["options"])
text = aligner.read(*sides)
del sides
digests = {"links": hashlib.sha256()}
def take(links, scores):
    digests["links"].update(links.to_pharaoh().encode())
    for name, values in scores.items():
        digests.setdefault(name, hashlib.sha256()).update(values.tobytes())
plans = []
aligner.fit_text(text, on_memory=plans.append, take=take)
(plan,) = plans
print(json.dumps({
    "mode": plan.mode, "needed": plan.needed, "longest": getattr(plan, "longest", 0),
    "peak": peak_memory(), "digests": {name: own.hexdigest() for name, own in digests.items()},
}))
"""
MB = 10**6
# One stem and one iteration: the test is of memory.
HMM: dict[str, Any] = {"stems": "words", "iterations": 1, "threads": 4}


def train(lengths: list[int], **options: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, json.dumps({"lengths": lengths, "options": options})],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_long_pair_is_planned() -> None:
    told = train([20, 2000], **HMM)
    assert told["longest"] > 100 * MB
    assert 0.7 * told["peak"] < told["needed"] < 1.5 * told["peak"]


def test_long_pairs_stay_below_the_limit() -> None:
    """Where they do not all fit at once, fewer are worked on at once; the result is the same."""
    lengths = [20] * 50 + [1500] * 6
    whole, limited = (train(lengths, **HMM, max_memory=most) for most in (100_000 * MB, 330 * MB))
    assert limited["needed"] <= 330 * MB < whole["needed"]
    assert limited["peak"] < 345 * MB < whole["peak"]
    assert limited["digests"] == whole["digests"]


def test_a_limit_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    lengths = [20] * 50 + [1500] * 3
    told = train(lengths, **HMM, max_memory=50 * MB, temp_dir=str(tmp_path))
    assert told["mode"] == "files"
    assert 50 * MB < told["longest"] < told["needed"]
    assert told["peak"] < 1.3 * told["needed"]


@pytest.mark.parametrize("model", ["hmm", "fast-align"])
def test_many_short_pairs_are_planned(model: str, tmp_path: Path) -> None:
    options = HMM if model == "hmm" else {"iterations": 2, "threads": 4}
    digests = []
    for most in (100_000 * MB, 60 * MB):
        told = train([20] * 10_000, model=model, **options, max_memory=most, temp_dir=str(tmp_path))
        assert told["peak"] < 1.5 * told["needed"]
        assert told["needed"] < 2 * told["peak"]
        digests.append(told["digests"])
    assert digests[0] == digests[1]
    assert told["mode"] == "files"
    assert told["needed"] > 60 * MB
