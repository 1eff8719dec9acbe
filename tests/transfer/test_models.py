"""The models that are compared: what identifies one, and what is told of it."""

import shutil
from pathlib import Path

import pytest
from transfer_files import flags
from transformers import BertConfig, BertModel

from weam_ext.common.errors import InputError
from weam_ext.transfer import cli, models
from weam_ext.transfer.models import Model, identified


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


def test_what_cannot_be_used_says_why(inputs: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    good, bad, gone = identified({"good": [inputs / "a"], "bad": [empty, tmp_path / "gone"]})
    assert good == Model("good", inputs / "a", good.sha256) and len(good.sha256) == 64
    assert bad.fault == f"{empty}: no model.safetensors there"
    assert gone.fault == f"{tmp_path / 'gone'}: no such directory"


def test_how_a_checkpoint_was_trained_is_told_if_it_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models.training_settings(tmp_path) == {}
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / models.STATE).write_text("{")
    assert models.training_settings(broken) == {}
    assert "how it was trained is not told" in capsys.readouterr().err
