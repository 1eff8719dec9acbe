"""The gold sets: the table, and the most probable links."""

import json
from pathlib import Path
from typing import Any

import gold_sets


def row(**rates: float) -> dict[str, Any]:
    systems = {name: {"posterior": rate, "other": 1.0} for name, rate in rates.items()}
    return {"recall": False, "pairs": 2000, "gold": 100, "systems": systems}


def test_the_hybrid_counts_where_it_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "sets.json"
    found = {
        "won": row(eflomal=0.3, hmm=0.2, hybrid=0.1),
        "lost": row(eflomal=0.1, hmm=0.2, hybrid=0.15),
        "without": row(eflomal=0.3, hmm=0.2),
    }
    path.write_text(json.dumps(found))
    lines = gold_sets.table(path).splitlines()
    assert lines[-4].endswith("| AER | 0.3000 | 0.2000 | – |")
    assert lines[-2:] == [
        "The HMM is better than the better of eflomal's two on 2 of 3.",
        "The hybrid is better than the HMM and both of eflomal's on 1 of 2.",
    ]


def test_the_most_probable_links() -> None:
    links = {(0, 0), (1, 1)}
    gold = gold_sets.GoldSet("some", "de", [("a b", "c d")], [(links, links)], [], recall=True)
    found = [[((0, 0), 0.9), ((0, 1), 0.3), ((1, 1), 0.4)]]
    assert gold_sets.as_many(found, gold, 1) == gold_sets.Found({"1 links": 0.5}, 1)
    assert gold_sets.as_many(found, gold, 2) == gold_sets.Found({"2 links": 0.0}, 2)


def test_another_encoder_is_measured_anew() -> None:
    both = {"hmm": 1, "hybrid": 2}
    held: dict[str, Any] = {"systems": dict(both), "links": dict(both), "encoder": {"commit": "1"}}
    for encoder, kept in (({}, 2), ({"commit": "1"}, 2), ({"commit": "2"}, 1)):
        gold_sets.renew(held, encoder)
        assert len(held["systems"]) == len(held["links"]) == kept
