"""Masked language models: pre-trained, from a configuration, or from a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from weam_ext.common.errors import InputError, describe
from weam_ext.model.families import family_of
from weam_ext.text.tokenizer import load_tokenizer, reason, require_local

# The no-argument run's model: two layers are enough for sentences of a dozen words.
BUILTIN_CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": 128,
}


def load_model(
    kind: Any, spec: str, what: str, *, needed: Callable[[Any, str], bool], **options: Any
) -> Any:
    """A model in float32 from a hub name or a directory, its weights from safetensors alone.

    Args:
        kind: an auto class of transformers.
        what: what it is, for messages.
        needed: of a model and a weight's name, whether that must be there, and not at random.
        options: more for `from_pretrained`.

    Raises `InputError` for what is no such model, and for one that lacks needed weights.
    """
    require_local(spec)
    try:
        model, report = kind.from_pretrained(
            spec,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # of any kind: safetensors and the configurations have their own
        raise InputError(f"{spec}: no {what} there ({reason(error)})") from error
    misfits = {name for name, *_ in report["mismatched_keys"]}
    missing = sorted(n for n in {*report["missing_keys"], *misfits} if needed(model, n))
    if missing:
        article = "an" if what[0] in "aeiou" else "a"
        raise InputError(
            f"{spec}: not {article} {what}: no weights that fit {', '.join(missing[:3])}"
        )
    return model


def load_encoder(spec: str) -> tuple[Any, Any]:
    """An encoder in float32, to be used as it is, and its tokenizer: a hub name or a directory.

    Raises `InputError` where one of them is missing or does not fit the other.
    """
    tokenizer = load_encoder_tokenizer(spec)
    # Only a pooler may be made up at random: the layers do not read it.
    needed = lambda model, name: "pooler." not in name  # noqa: E731
    model = load_model(AutoModel, spec, "whole encoder", needed=needed)
    if model.config.is_encoder_decoder:
        raise InputError(f"{spec}: an encoder with a decoder, which is not supported")
    check_vocabulary_size(spec, model, tokenizer)
    return model.eval(), tokenizer


def load_encoder_tokenizer(spec: str) -> Any:
    """Raises `InputError` where there is none."""
    tokenizer = load_tokenizer(spec)
    # transformers makes one up where only its settings are there.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise InputError(f"{spec}: its tokenizer knows nothing but special tokens")
    return tokenizer


def check_vocabulary_size(spec: str, model: Any, tokenizer: Any) -> None:
    """Raise `InputError` where a model has fewer embeddings than its tokenizer has tokens."""
    rows = model.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        raise InputError(
            f"{spec}: the model knows {rows:,} tokens but the tokenizer has {len(tokenizer):,}"
        )


def pretrained_model(
    spec: str, tokenizer: Any, max_length: int, *, head_seed: int | None = None
) -> Any:
    """A masked language model in float32 from a hub name or a directory.

    With a `head_seed`, its prediction head gets random weights in place of those that are there, if
    any are. Raises `InputError` for what is no such model, is of an unsupported family, or does not
    fit the tokenizer or the length.
    """
    fresh = head_seed is not None
    model = load_model(
        AutoModelForMaskedLM,
        spec,
        "encoder" if fresh else "masked language model",
        needed=lambda model, name: not (fresh and _of_head(model, name)),
    )
    if head_seed is not None:
        _renew_head(model, head_seed)
    _check_fit(spec, model, tokenizer, max_length)
    return model


def _of_head(model: Any, name: str) -> bool:
    return any(name.startswith(f"{part}.") for part in family_of(model).parts)


def _renew_head(model: Any, seed: int) -> None:
    """Random weights for the head, but for what the output layer shares with the embeddings."""
    torch.manual_seed(seed)
    other = AutoModelForMaskedLM.from_config(model.config, dtype=torch.float32)
    shared = model.get_input_embeddings().weight
    for part in family_of(model).parts:
        new = dict(other.get_submodule(part).named_parameters())
        for name, parameter in model.get_submodule(part).named_parameters():
            if parameter is not shared:
                parameter.data.copy_(new[name])


def check_vocabulary(name: str, tokenizer: Any, spec: str) -> None:
    """Raise `InputError` where a tokenizer numbers its tokens otherwise than a model's own does.

    Args:
        name: the tokenizer, for messages.
        spec: the model; one that comes without a tokenizer is not known to differ.
    """
    try:
        own = load_tokenizer(spec)
    except InputError:
        return
    ids, theirs = tokenizer.get_vocab(), own.get_vocab()
    for token, number in sorted(theirs.items(), key=lambda item: item[1]):
        if (found := ids.get(token)) != number:
            raise InputError(
                f"{name}: not the tokenizer of {spec}: its id of {token!r} is {found}, not {number}"
            )
    for kind in ("pad", "mask", "cls", "sep", "unk"):
        mine, other = (getattr(each, f"{kind}_token") for each in (tokenizer, own))
        if mine != other:
            raise InputError(
                f"{name}: not the tokenizer of {spec}: its {kind} token is {mine!r}, not {other!r}"
            )


def new_model(config: str | dict[str, Any], tokenizer: Any, max_length: int, seed: int) -> Any:
    """A model in float32 with random weights; what `config` leaves out comes from the tokenizer.

    `config` is a JSON file in Hugging Face's form, BERT's where it names no "model_type", or the
    same as a dictionary. Raises `InputError` as `pretrained_model` does.
    """
    origin = config if isinstance(config, str) else "the built-in model"
    values = _read_config(config) if isinstance(config, str) else config
    values = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "model_type": "bert",
        **values,
    }
    try:
        settings = AutoConfig.for_model(**values)
        torch.manual_seed(seed)
        model = AutoModelForMaskedLM.from_config(settings, dtype=torch.float32)
    except Exception as error:  # of any kind: whatever a layer says of an impossible size
        raise InputError(f"{origin}: not a model's configuration ({reason(error)})") from error
    _check_fit(origin, model, tokenizer, max_length)
    return model


def _read_config(path: str) -> dict[str, Any]:
    try:
        values = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(describe(error)) from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({describe(error)})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a model's configuration (not a JSON object)")
    return values


def _check_fit(origin: str, model: Any, tokenizer: Any, max_length: int) -> None:
    family = family_of(model)
    check_vocabulary_size(origin, model, tokenizer)
    config = model.config
    padding = getattr(config, "pad_token_id", None)
    if padding is not None and padding != tokenizer.pad_token_id:
        raise InputError(
            f"{origin}: pad_token_id is {padding}, but the tokenizer pads with "
            f"{tokenizer.pad_token_id}"
        )
    most = getattr(config, "max_position_embeddings", max_length)
    positions = most - family.first_position(config)
    if positions < max_length:
        raise InputError(
            f"{origin}: the model takes {positions} tokens, fewer than the text's --max-length "
            f"{max_length}"
        )
