"""Loading tokenizers: from a hub name, a directory, or a bare WordPiece vocabulary."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from weam_ext.common.errors import InputError, describe, is_out_of_memory
from weam_ext.text.lines import read_lines


def load_tokenizer(spec: str) -> PreTrainedTokenizerFast:
    """A fast tokenizer with a mask token, from a hub name, a directory or a `vocab.txt`.

    A bare vocabulary (a file, or a directory with `vocab.txt` and no tokenizer files) is read as a
    cased WordPiece: transformers would lower-case it, or read nothing but its special tokens.
    Raises `InputError` where that does not give a usable tokenizer.
    """
    path = Path(spec)
    if path.is_file():
        return wordpiece(list(read_lines(spec)), spec)
    if (path / "vocab.txt").is_file() and not (
        (path / "tokenizer.json").is_file() or (path / "tokenizer_config.json").is_file()
    ):
        return load_tokenizer(str(path / "vocab.txt"))
    require_local(spec)
    try:
        tokenizer = AutoTokenizer.from_pretrained(spec)
    except Exception as error:  # of any kind: the Rust part raises bare ones
        raise InputError(f"{spec}: no tokenizer there ({reason(error)})") from error
    if path.is_dir() and not _has_files(path, tokenizer):
        raise InputError(
            f"{spec}: no tokenizer there (no tokenizer.json and no vocabulary): name one by "
            "--tokenizer"
        )
    if not tokenizer.is_fast:
        raise InputError(f"{spec}: its tokenizer is not a fast one, which word links need")
    for name in ("mask", "pad"):
        if getattr(tokenizer, f"{name}_token_id") is None:
            raise InputError(f"{spec}: its tokenizer has no {name} token")
    return tokenizer


def _has_files(directory: Path, tokenizer: Any) -> bool:
    """Whether a tokenizer comes from a directory; else transformers has made one of nothing."""
    names = {*tokenizer.vocab_files_names.values(), "tokenizer.json"}
    return any((directory / name).is_file() for name in names)


def require_local(spec: str) -> None:
    """Raise `InputError` for what can only be a path and is not there; hub names pass."""
    if spec.startswith(("/", ".", "~")) and not Path(spec).exists():
        raise InputError(f"{spec}: no such file or directory")


def reason(error: Exception) -> str:
    """The first sentence of what transformers says; those after it list all the models it knows.

    Memory that runs out is no fault of what is loaded: such an error is raised again.
    """
    if is_out_of_memory(error):
        raise error
    return describe(error).partition(". ")[0].removesuffix(".")


def wordpiece(vocabulary: list[str], origin: str) -> PreTrainedTokenizerFast:
    """A cased BERT WordPiece tokenizer over a vocabulary, the line number less 1 being the id."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ids = {token: number for number, token in enumerate(vocabulary)}
    for token in special:
        if token not in ids:
            raise InputError(f"{origin}: not a WordPiece vocabulary: it has no {token}")
    if len(ids) != len(vocabulary):
        raise InputError(f"{origin}: not a WordPiece vocabulary: it holds a token twice")
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return BertTokenizer(
        tokenizer_object=backend, do_lower_case=False, strip_accents=False, vocab=ids
    )


def fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of everything that decides which ids a text becomes."""
    backend = tokenizer.backend_tokenizer
    # They belong to the last call, and every call sets them anew.
    backend.no_truncation()
    backend.no_padding()
    return hashlib.sha256(backend.to_str().encode()).hexdigest()


class Template(NamedTuple):
    """The special tokens around one sentence or a pair, and the segment ids of all tokens."""

    prefix: list[int]
    middle: list[int]
    suffix: list[int]
    segments: tuple[int, int, int, int, int]
    """Of prefix, first sentence, middle, second sentence, suffix."""


def template(tokenizer: PreTrainedTokenizerFast, *, pair: bool) -> Template:
    """How the tokenizer frames a sentence (`middle` is then empty) or a pair."""
    word = _plain_word(tokenizer)
    encoded = tokenizer(word, word if pair else None, return_token_type_ids=True)
    ids: list[int] = encoded["input_ids"]
    kinds: list[int] = encoded["token_type_ids"]
    sides: list[int | None] = encoded.sequence_ids(0)
    first = [k for k, side in enumerate(sides) if side == 0]
    second = [k for k, side in enumerate(sides) if side == 1] or first
    return Template(
        prefix=ids[: first[0]],
        middle=ids[first[-1] + 1 : second[0]],
        suffix=ids[second[-1] + 1 :],
        segments=(kinds[0], kinds[first[0]], kinds[second[0] - 1], kinds[second[0]], kinds[-1]),
    )


def framer(tokenizer: Any) -> Callable[[list[int]], tuple[dict[str, Any], list[int]]]:
    """What frames a sentence's ids: the model's inputs, and the places of the ordinary tokens."""
    frame = template(tokenizer, pair=False)
    before, own, _, _, after = frame.segments
    segments = "token_type_ids" in tokenizer.model_input_names

    def framed(ids: list[int]) -> tuple[dict[str, Any], list[int]]:
        full = [*frame.prefix, *ids, *frame.suffix]
        row = {"input_ids": full, "attention_mask": [1] * len(full)}
        if segments:
            kinds = [before] * len(frame.prefix) + [own] * len(ids) + [after] * len(frame.suffix)
            row["token_type_ids"] = kinds
        return row, list(range(len(frame.prefix), len(frame.prefix) + len(ids)))

    return framed


def _plain_word(tokenizer: PreTrainedTokenizerFast) -> str:
    """A word that becomes ordinary tokens."""
    special = set(tokenizer.all_special_ids)
    word: str
    for word in ("a", "1", ".", *tokenizer.get_vocab()):
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        if ids and not special.intersection(ids):
            return word
    raise InputError("the tokenizer has no ordinary tokens")
