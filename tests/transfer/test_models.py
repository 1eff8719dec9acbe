"""The models that are compared: what identifies one, and what is told of it."""

import shutil
from pathlib import Path

import pytest
from transfer_files import flags
from transformers import BertConfig, BertModel

from weam_ext.common.errors import InputError
from weam_ext.transfer import cli, models


def test_the_same_encoder_is_no_other_seed(inputs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(inputs / "a", tmp_path / "copy")
    with pytest.raises(InputError, match="the same encoder as"):
        cli.main(flags(inputs, tmp_path, "toku", models=(f"m={inputs / 'a'},{copy}",)))


def test_the_size_of_a_model_is_told(tmp_path: Path) -> None:
    model = BertModel(BertConfig(vocab_size=7, hidden_size=8, num_hidden_layers=1,
                                 num_attention_heads=2, intermediate_size=16))  # fmt: skip
    model.save_pretrained(tmp_path)
    assert models.facts_of(tmp_path) == {"training": {}, "parameters": model.num_parameters()}
    assert models.facts_of(tmp_path / "nowhere") == {"training": {}}
