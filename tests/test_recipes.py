"""Each recipe trains: its settings, on a tiny model of its family and tiny text."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import ROOT
from runs import logged, write_inputs
from small_tokenizers import tokenizer
from transformers import BertConfig, BertForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

from weam_ext.common.settings import converted, identity
from weam_ext.train import loop as train
from weam_ext.train.checkpoint import checkpoints
from weam_ext.train.settings import TrainSettings, parse

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 32, "max_position_embeddings": 128}  # fmt: skip


def test_there_are_recipes() -> None:
    assert [path.stem for path in RECIPES] == ["modern", "paper", "word-aligned"]
    manifest = (ROOT / "MANIFEST.in").read_text()
    assert "recursive-include recipes *.json *.yaml" in manifest


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text, and a tiny model of each family with its tokenizer."""
    directory = write_inputs(tmp_path_factory.mktemp("recipes"))
    torch.manual_seed(0)
    for name, family, make in [
        ("bert", "WordPiece", lambda n: BertForMaskedLM(BertConfig(vocab_size=n, **SIZES))),
        ("modernbert", "byte-level BPE", lambda n: ModernBertForMaskedLM(ModernBertConfig(
            vocab_size=n, pad_token_id=0, local_attention=8, **SIZES))),
    ]:  # fmt: skip
        made = tokenizer(family)
        make(len(made)).save_pretrained(directory / name)
        made.save_pretrained(directory / name)
    return directory


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains(inputs: Path, tmp_path: Path, recipe: Path) -> None:
    family = "modernbert" if recipe.stem == "modern" else "bert"
    run = tmp_path / "run"
    train.main(
        ["--config", str(recipe), "--bitext", f"en-toku={inputs / 'toku.txt'}",
         "--bitext", f"en-venn={inputs / 'venn.txt'}", "--model", str(inputs / family),
         "--heldout", "6", "--steps", "3", "--eval-every", "3", "--output", str(run),
         "--no-tensorboard", "--no-compile", "--workers", "0",
         *(["--batch-tokens", "400"] if recipe.stem == "modern" else [])]  # as a processor can
    )  # fmt: skip
    given: dict[str, Any] = yaml.safe_load(recipe.read_text())
    settings = yaml.safe_load((run / "run.yaml").read_text())
    overridden = {"model", "compile", "workers", "batch_tokens"}
    for name, value in given.items():
        assert name in overridden or settings[name] == value, name
    assert len(logged(run, "train")) == 3
    assert logged(run, "heldout/all")[-1]["loss"] < 50
    assert (checkpoints(run)[-1] / "model.safetensors").exists()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_it_changes_and_why(recipe: Path) -> None:
    """It gives settings that there are; the paper's are the defaults but for model and links."""
    options = parse(["--config", str(recipe), "--bitext", "text"])
    given = yaml.safe_load(recipe.read_text())
    assert converted(TrainSettings, given, "").items() <= vars(options).items()
    if recipe.stem == "paper":
        links = ["--aligner", "fast-align", "--heuristic", "grow-diag-final-and"]
        pairs = ["--batch-size", "32"]  # on a GPU no default
        default = identity(parse(["--bitext", "text", "--model", given["model"], *links, *pairs]))
        assert {**identity(options), "lr": None} == default
