"""The models that are compared: what identifies one, and what is told of it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import runs
from transfer_files import flags
from transformers import BertConfig, BertModel

from weam_ext.common.checkpoint_state import read_state
from weam_ext.common.errors import InputError
from weam_ext.train import loop as train
from weam_ext.train.checkpoint import BEST, checkpoints
from weam_ext.transfer import cli, models
from weam_ext.transfer.models import Model, facts_of, identified


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


# --------------------------------------------------------------- what a checkpoint tells of itself


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small training run."""
    directory = tmp_path_factory.mktemp("trained")
    train.main(runs.flags(runs.write_inputs(directory), directory / "run"))
    return directory / "run"


def test_a_checkpoint_that_was_copied_out_keeps_its_facts(trained: Path, tmp_path: Path) -> None:
    """As they came to be: the rate and the steps that were done, not only those that were given."""
    copy = Path(shutil.copytree(trained / "step-00000006", tmp_path / "weam"))
    training = facts_of(copy)["training"]
    assert (training["step"], training["steps"], training["lr"]) == (6, 8, 1e-3)
    assert (training["batch_size"], training["batch_tokens"]) == (8, None)
    assert (training["objective"], training["exchange_weight"]) == ("weam", 1.0)
    assert training["precision"] == "fp32"
    assert training == facts_of(trained / "step-00000006")["training"]
    assert facts_of(trained / BEST)["training"]["step"] in (4, 8)


def test_steps_and_rate_that_were_left_to_be_decided(tmp_path: Path) -> None:
    run, texts = tmp_path / "run", runs.write_inputs(tmp_path)
    train.main(runs.flags(texts, run, steps=None, batch_size=40, batch_tokens=2000))
    last = checkpoints(run)[-1]
    training = facts_of(last)["training"]
    content = read_state(last)["content"]
    assert training["text"] == content["prepared"]
    # Unknown is not equal: what there is no digest of cannot be compared.
    assert ("start" in training) == ("model" in content)
    assert training["steps"] == training["step"] == int(last.name[5:]) > 0
    assert (training["batch_size"], training["batch_tokens"]) == (None, 2000)


def test_a_state_that_is_damaged_tells_nothing(trained: Path, tmp_path: Path, capsys: Any) -> None:
    copy = Path(shutil.copytree(trained / "step-00000006", tmp_path / "weam"))
    (copy / "state.json").write_bytes(b"\xff")
    assert facts_of(copy)["training"] == {}
    assert f"{copy / 'state.json'}: not valid JSON" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer_config.json"])
def test_a_changed_checkpoint_is_not_evaluated(trained: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(trained / "step-00000006", tmp_path / "weam"))
    (copy / "optimizer.safetensors").unlink()  # which only training needs
    (model,) = identified({"m": [copy]})
    assert not model.fault
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    (model,) = identified({"m": [copy]})
    assert model.fault.startswith(f"{copy / name}: the file was changed since it was saved")
