"""What needs no knowledge: chance and the most frequent answer."""

from pathlib import Path
from typing import Any

import pytest

from weam_ext.report.baseline import baselines
from weam_ext.transfer.results import Cell, Evaluation, Finished, Score, read, write


@pytest.mark.parametrize(
    ("gold", "wholes", "expected"),
    [
        (
            ["a", "b", "b", "a b"],
            1,
            {"chance": 1 / 3, "most frequent": 1 / 2},
        ),  # labels as they are
        (["O O _ B-PER", "O"], 3, {"chance": 1 / 2, "most frequent": 3 / 4}),  # a tag a word
        (["haus\nheim", "kind"], 1, {"chance": 1 / 2, "most frequent": 1 / 2}),  # a lexicon
        ([], 1, {"chance": 1 / 2}),  # retrieval among two
    ],
)
def test_chance_and_the_most_frequent_answer(
    tmp_path: Path, gold: list[str], wholes: int, expected: dict[str, float]
) -> None:
    count = len(gold) or 2
    scores = [Score(1.0, float(wholes if k == 0 else 1)) for k in range(count)]
    keys = [str(k) for k in range(count)]
    metrics = {"accuracy": scores, "f1": scores}
    row = Evaluation("de", metrics, keys, gold=gold, lengths=[1] * count, predictions=keys)
    cell = Cell("m", "m", "task", "data", "zero-shot", 0, {})
    facts: dict[str, Any] = {}
    (found,) = read(write(tmp_path, Finished(cell, "/m", facts, [row])))
    assert baselines(found, "accuracy") == pytest.approx(expected)
    assert baselines(found, "f1") == {}
