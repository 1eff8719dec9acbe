"""weam_ext.model: models made, models loaded, and what fits neither tokenizer nor length."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_tokenizers import tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from weam_ext.common.errors import InputError
from weam_ext.model.heads import split_model
from weam_ext.model.loading import BUILTIN_CONFIG, new_model, pretrained_model

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
FAMILIES = {
    "bert": "WordPiece",
    "xlm-roberta": "Unigram",
    "modernbert": "byte-level BPE",
    "distilbert": "WordPiece",
}
WORD_PIECE = tokenizer("WordPiece")


def tiny(family: str = "bert", **more: Any) -> dict[str, Any]:
    if family == "distilbert":
        return {"model_type": family, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24,
                "max_position_embeddings": 40, **more}  # fmt: skip
    return {"model_type": family, **TINY, **more}


def same_weights(one: Any, other: Any) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


# ------------------------------------------------------------------------------------- new models


@pytest.mark.parametrize("family", FAMILIES)
def test_new_model_fits_its_tokenizer(family: str) -> None:
    made = tokenizer(FAMILIES[family])
    model = new_model(tiny(family), made, 38, seed=1)
    assert model.config.model_type == family
    assert model.config.vocab_size == len(made)
    assert model.config.pad_token_id == made.pad_token_id
    assert same_weights(new_model(tiny(family), made, 38, seed=1), model)
    assert not same_weights(new_model(tiny(family), made, 38, seed=2), model)
    encoded = made(["terdu ginti", "a"], padding=True, return_tensors="pt")
    assert model(**encoded).logits.shape == (*encoded["input_ids"].shape, len(made))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_for_an_encoder_that_has_none(family: str, tmp_path: Path) -> None:
    """And another for one whose head is there; the encoder stays as it is."""
    made = tokenizer(FAMILIES[family])
    model = new_model(tiny(family), made, 38, seed=1)
    model.base_model.save_pretrained(tmp_path / "encoder")
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="not a masked language model"):
        pretrained_model(str(tmp_path / "encoder"), made, 38)
    first, same, other = (
        pretrained_model(str(tmp_path / name), made, 38, head_seed=seed)
        for name, seed in (("encoder", 1), ("model", 1), ("model", 2))
    )
    assert same_weights(first, same) and same_weights(first.base_model, model.base_model)
    head = split_model(first)[1]
    assert head.weight is first.get_input_embeddings().weight
    assert not same_weights(first, other) and same_weights(first.base_model, other.base_model)


def test_an_encoder_that_lacks_a_layer_gets_no_head(tmp_path: Path) -> None:
    new_model(tiny(), WORD_PIECE, 38, seed=1).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["bert.encoder.layer.0.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"not an encoder: no weights that fit bert\.encoder"):
        pretrained_model(str(tmp_path), WORD_PIECE, 38, head_seed=0)


def test_builtin_model() -> None:
    model = new_model(BUILTIN_CONFIG, WORD_PIECE, 128, seed=0)
    assert model.get_input_embeddings().weight.shape == (len(WORD_PIECE), 128)


def test_new_model_from_a_file(tmp_path: Path) -> None:
    """BERT's where no family is named; its own vocabulary may be larger, its type is float32."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**TINY, "vocab_size": 1400, "dtype": "float16"}))
    model = new_model(str(path), WORD_PIECE, 40, seed=0)
    assert type(model).__name__ == "BertForMaskedLM"
    assert model.get_input_embeddings().num_embeddings == 1400
    assert model.dtype == torch.float32


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"{", "not valid JSON (Expecting property name"),
        (b"", "not valid JSON (Expecting value"),
        (b"\xff", "not valid JSON ('utf-8' codec"),
        (b"[1]", "not a model's configuration (not a JSON object)"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: bytes, fault: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    refuses_to_make(str(path), f"{path}: {fault}")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"model_type": "nonsense"}, "not a model's configuration (Unrecognized model"),
        ({"model_type": "gpt2"}, "not a model's configuration (Unrecognized configuration"),
        ({"hidden_size": "many"}, "not a model's configuration (Validation error"),
        ({"hidden_size": -3}, "not a model's configuration ("),
        ({"num_attention_heads": 7}, "not a model's configuration (The hidden size"),
        ({"pad_token_id": 5000}, "not a model's configuration (Padding_idx must be"),
        ({"vocab_size": 10}, "the model knows 10 tokens but the tokenizer has 1,376"),
        (
            {"max_position_embeddings": 37},
            "the model takes 37 tokens, fewer than the text's --max",
        ),
        (
            {"model_type": "xlm-roberta", "max_position_embeddings": 38},
            "the model takes 37 tokens, fewer than the text's --max",
        ),
        (
            {"model_type": "xlm-roberta", "pad_token_id": 1},
            "pad_token_id is 1, but the tokenizer pads with 0",
        ),
    ],
)
def test_configurations_that_cannot_be(values: dict[str, Any], fault: str) -> None:
    refuses_to_make(TINY | values, f"the built-in model: {fault}")


def refuses_to_make(config: str | dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError) as error:
        new_model(config, WORD_PIECE, 38, seed=0)
    assert str(error.value).startswith(fault)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_no_configuration(tmp_path: Path) -> None:
    path = str(tmp_path / "none")
    refuses_to_make(path, f"{path}: No such file or directory")


def test_family_that_cannot_be_split() -> None:
    refuses_to_make(tiny("electra"), "cannot split a ElectraForMaskedLM into encoder and")


# ---------------------------------------------------------------------------------- loaded models


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_and_loaded(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    made = tokenizer(FAMILIES[family])
    model = new_model(tiny(family), made, 38, seed=1).to(dtype)
    model.save_pretrained(tmp_path)
    loaded = pretrained_model(str(tmp_path), made, 38)
    assert type(loaded) is type(model)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert same_weights(loaded, model.float())


def test_first_bert_checkpoints(saved: Path) -> None:
    """mBERT's file: old names of the normalisation, tied weights once, heads that MLM has not."""
    path = saved / "model.safetensors"
    old = {"cls.seq_relationship.weight": torch.zeros(2, 16)}
    for name, weight in load_file(path).items():
        if not name.startswith("cls.predictions.decoder"):
            once = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            old[once.replace("LayerNorm.bias", "LayerNorm.beta")] = weight
    assert "bert.embeddings.LayerNorm.gamma" in old and "cls.predictions.bias" in old
    old["bert.pooler.dense.weight"] = torch.zeros(16, 16)
    save_file(old, path, {"format": "pt"})
    model = pretrained_model(str(saved), WORD_PIECE, 38)
    assert same_weights(model, new_model(tiny(), WORD_PIECE, 38, seed=0))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    new_model(tiny(), WORD_PIECE, 38, seed=0).save_pretrained(tmp_path)
    return tmp_path


def refused(spec: Path, fault: str, made: Any = WORD_PIECE, max_length: int = 38) -> None:
    with pytest.raises(InputError) as error:
        pretrained_model(str(spec), made, max_length)
    assert str(error.value).startswith(f"{spec}: {fault}")
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_models_that_do_not_fit(saved: Path) -> None:
    refused(saved, "the model takes 40 tokens, fewer than the text's --max", max_length=41)
    unigram = tokenizer("Unigram")
    refused(saved, f"the model knows 1,376 tokens but the tokenizer has {len(unigram):,}", unigram)


def test_directories_without_a_model(tmp_path: Path) -> None:
    refused(tmp_path / "none", "no such file or directory")
    refused(tmp_path, "no masked language model there (Unrecognized model in")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    refused(tmp_path, "no masked language model there (Error no file named model.safetensors")


def test_hub_name_without_the_hub() -> None:
    with pytest.raises(InputError, match=r"^no-one/nothing: no masked language model there \("):
        pretrained_model("no-one/nothing", WORD_PIECE, 38)


def test_encoder_without_its_head(saved: Path) -> None:
    AutoModelForMaskedLM.from_pretrained(saved).base_model.save_pretrained(saved)
    refused(saved, "not a masked language model: no weights that fit cls.predictions.bias, ")


def test_weights_of_another_shape(saved: Path) -> None:
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 32}))
    refused(saved, "not a masked language model: no weights that fit bert.encoder.layer.0.")


def test_torn_weights(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    refused(saved, "no masked language model there (Error while deserializing header")


def test_pickled_weights_are_left_alone(saved: Path) -> None:
    """Reading a pickle may run whatever its author wished."""
    model = AutoModelForMaskedLM.from_pretrained(saved)
    (saved / "model.safetensors").unlink()
    torch.save(model.state_dict(), saved / "pytorch_model.bin")
    refused(saved, "no masked language model there (")


def test_a_language_model_of_another_kind(tmp_path: Path) -> None:
    config = AutoConfig.for_model("gpt2", n_embd=8, n_layer=1, n_head=1, vocab_size=1376)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    refused(tmp_path, "no masked language model there (Unrecognized configuration class")
