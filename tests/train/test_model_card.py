"""Model cards: what a checkpoint was made from, how, and how good it is."""

from pathlib import Path
from typing import Any

import yaml
from runs import flags, logged

from weam_ext.train import loop as train
from weam_ext.train.checkpoint import checkpoints
from weam_ext.train.model_card import model_card


def test_the_card(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train.main(flags(inputs, run, steps=2, monolingual=inputs / "alone.txt", links="random",
                     license="apache-2.0", data_license="CC0, invented"))  # fmt: skip
    card = (checkpoints(run)[-1] / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter["license"] == "apache-2.0"
    assert matter["tags"] == ["cross-lingual", "weam_ext", "weam"]
    assert "base_model" not in matter
    for words in (
        "# weam, step 2 of 2", "a control with random links", "from random weights",
        "Licence of the data: CC0, invented.", "mask_probability: 0.3", "heuristic: ",
        "| toku | ", "| venn | ", "| alone | ", "## Held-out losses",
    ):  # fmt: skip
        assert words in text, words
    loss = logged(run, "heldout/all")[-1]["loss"]
    assert f"{loss:.4f}" in text


COUNTS = {"train": 1200, "heldout": 0, "train_tokens": 34567, "links": 2400}
CORPUS: dict[str, Any] = {"name": "a|b", "languages": ["en", "a|b:target"], "kind": "bitext",
                          "aligner": None, "counts": COUNTS}  # fmt: skip
SETTINGS = {"objective": "tlm", "links": "true", "model": None}


def card(corpora: list[dict[str, Any]], heldout: dict[str, Any], **changes: Any) -> str:
    return model_card(
        SETTINGS | changes, corpora, heldout, objective="TLM", step=2, steps=1000, license="mit",
        data_license="none",
    )  # fmt: skip


def test_a_card_of_little() -> None:
    text = card([CORPUS], {})
    matter = yaml.safe_load(text.split("---\n")[1])
    assert matter["language"] == ["en"]  # the other is no code
    assert "# tlm, step 2 of 1,000" in text and "Not measured yet." in text
    assert "| a\\|b | en and a\\|b:target | bitext | 1,200 | 34,567 | 0 | 2.0 |" in text
    assert "Word links" not in text and "a control" not in text
    assert "language" not in yaml.safe_load(card([], {}).split("---\n")[1])


def test_where_a_model_came_from_and_how_good_it_is() -> None:
    alone = CORPUS | {"kind": "monolingual", "aligner": {"rule": "x", "fit": {"deep": 1}}}
    text = card([alone], {"all": {"loss": 1.23456, "masked": 7.0, "linked_accuracy": 0.5}},
                model="bert-base: x")  # fmt: skip
    assert yaml.safe_load(text.split("---\n")[1])["base_model"] == "bert-base: x"
    assert "from `bert-base: x`." in text and "| – |" in text
    assert "Word links: rule x." in text
    assert "| corpus | loss | linked accuracy |\n| --- | --- | --- |\n" in text
    assert "| all | 1.2346 | 0.5000 |" in text
