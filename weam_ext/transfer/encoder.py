"""Encoders under evaluation: what identifies one, and the sentence vectors of all its layers."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from weam_ext.common.errors import InputError, is_out_of_memory
from weam_ext.common.files import file_digest
from weam_ext.model.attention import ready_mask, takes_ready_masks
from weam_ext.model.loading import check_vocabulary_size, load_encoder, load_encoder_tokenizer
from weam_ext.text.bitext import blocks
from weam_ext.text.tokenizer import fingerprint, framer
from weam_ext.transfer.families.tagging import all_word_tokens

PRECISIONS = ("auto", "fp32", "bf16-autocast")
_BLOCK = 32
"""Batches after which their vectors are fetched from a GPU; waiting for each, it would be idle."""


def encoder_digest(directory: Path) -> str:
    """SHA-256 of all that decides an encoder's vectors: configuration, weights and tokenizer.

    Raises `InputError` where one of them is missing. Weights are read from safetensors only.
    """
    if not directory.is_dir():
        raise InputError(f"{directory}: no such directory")
    weights = sorted(directory.glob("model*.safetensors"))
    if not weights:
        raise InputError(f"{directory}: no model.safetensors there")
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory}: no config.json there")
    parts = [file_digest(path) for path in (directory / "config.json", *weights)]
    parts.append(fingerprint(load_encoder_tokenizer(str(directory))))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Encoder:
    """A Hugging Face encoder, without whatever head stands on it.

    `layers` is the number of its layers, the embedding layer not counted, `width` that of its
    vectors. Raises `InputError` for a directory that holds no whole encoder, and for one that does
    not fit its tokenizer or `max_length` (tokens of a sentence with its special tokens).
    """

    def __init__(self, directory: Path, max_length: int, device: str, precision: str) -> None:
        self.directory = directory
        self.max_length = max_length
        self.device = torch.device(device)
        self.precision = precision
        self.model, self.tokenizer = load_encoder(str(directory))
        hidden = longest_states(self.model, self.tokenizer, directory, max_length)
        self.layers, self.width = len(hidden) - 1, hidden[0].shape[-1]
        self.model.to(self.device)
        if self.device.type != "cpu":
            mask_ready_made(self.model)

    @torch.inference_mode()
    def encode(self, sentences: Sequence[str], batch_size: int) -> tuple[Tensor, int]:
        """Sentence vectors [layers + 1, sentences, H], float32, and how many were truncated.

        Each sentence is encoded alone, framed by its special tokens as the tokenizer does it; its
        vector is the mean over its ordinary tokens. That of a sentence without any is zero. The
        vectors are kept on the host. Raises `InputError` where one is not finite.
        """
        tokens = self.tokenizer(
            list(sentences),
            truncation=True,
            max_length=self.max_length,
            return_special_tokens_mask=True,
            split_special_tokens=True,  # "[MASK]" in a text is text
            verbose=False,
        )
        truncated = sum(bool(sentence.overflowing) for sentence in tokens.encodings)
        vectors = torch.empty(self.layers + 1, len(sentences), self.width)
        # Alike in length, so that little is padding; the longest first, so that a batch which is
        # too large for the memory is found out at once.
        order = sorted(range(len(sentences)), key=lambda k: -len(tokens["input_ids"][k]))
        with tqdm(total=len(sentences), unit=" sentences", disable=None) as show:
            for block in blocks(order, _BLOCK * batch_size):
                sent = []
                for members in blocks(block, batch_size):
                    rows = {name: [column[k] for k in members] for name, column in tokens.items()}
                    sent.append((members, self._encode_batch(rows)))
                for members, found in sent:
                    vectors[:, members] = found.cpu()
                show.update(len(block))
        if not vectors.isfinite().all():
            raise InputError(f"{self.directory}: some of its sentence vectors are not finite")
        return vectors, truncated

    @torch.inference_mode()
    def tokens(
        self, sentences: Sequence[Sequence[str]], batch_size: int
    ) -> Iterator[tuple[int, Tensor, list[int]]]:
        """Vectors [layers + 1, tokens, H] of the tokens of each sentence of words, on the device.

        With the sentence's number, in any order, and the word of each token. Each sentence is
        encoded alone; what is beyond `max_length` is cut off. Raises `InputError` as `encode` does.
        """
        ids = list(all_word_tokens(self.tokenizer, sentences))
        most = self.max_length - self.tokenizer.num_special_tokens_to_add()
        framed = framer(self.tokenizer)
        order = sorted(range(len(ids)), key=lambda k: -len(ids[k][0]))
        with tqdm(total=len(ids), unit=" sentences", disable=None) as show:
            for members in blocks(order, batch_size):
                rows, places = zip(*(framed(ids[k][0][:most]) for k in members), strict=True)
                columns = {name: [row[name] for row in rows] for name in rows[0]}
                batch = self.tokenizer.pad(columns, return_tensors="pt", verbose=False)
                with self._autocast():
                    inputs = to_device(batch, self.device)
                    hidden = self.model(**inputs, output_hidden_states=True)
                layers = torch.stack(hidden.hidden_states).float()
                if not layers.isfinite().all():
                    raise InputError(f"{self.directory}: some of its vectors are not finite")
                for k, number in enumerate(members):
                    yield number, layers[:, k, places[k]], ids[number][1][:most]
                show.update(len(members))

    def _encode_batch(self, rows: dict[str, list[list[int]]]) -> Tensor:
        """[layers + 1, sentences, H] on the device, which is not waited for."""
        padded = self.tokenizer.pad(rows, return_tensors="pt", verbose=False)
        batch = to_device(padded, self.device)
        special = batch.pop("special_tokens_mask").bool()
        ordinary = batch["attention_mask"].bool() & ~special
        with self._autocast():
            hidden = self.model(**batch, output_hidden_states=True).hidden_states
        return torch.stack([mean_pool(layer, ordinary) for layer in hidden])

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "bf16-autocast":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """A batch on a device; a copy to a GPU is not waited for."""
    if device.type == "cuda":
        batch = {name: value.pin_memory() for name, value in batch.items()}
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def mask_ready_made(encoder: Any) -> None:
    """Have the masks [B, L] of an encoder made ready; those that cannot be so go on asking."""
    if not takes_ready_masks(encoder):
        return

    def expand(_: Any, given: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = named.get("attention_mask")
        if mask is not None and mask.dim() == 2:
            named = named | {"attention_mask": ready_mask(mask)}
        return given, named

    encoder.register_forward_pre_hook(expand, with_kwargs=True)


def mean_pool(hidden: Tensor, chosen: Tensor) -> Tensor:
    """[B, H] float32 means of the vectors [B, L, H] at the chosen positions, bool [B, L].

    Zero where none is chosen.
    """
    total = hidden.float().masked_fill(~chosen[..., None], 0.0).sum(1)
    return total / chosen.sum(1, keepdim=True).clamp(min=1)


@torch.inference_mode()
def longest_states(
    model: Any, tokenizer: Any, directory: Path, max_length: int
) -> tuple[Tensor, ...]:
    """The hidden states of the longest sequence; `InputError` for a model that cannot take it.

    Tried out, since families count positions in their own ways, and on the host, since a GPU would
    not survive a bad index.
    """
    check_vocabulary_size(str(directory), model, tokenizer)
    longest = torch.full((1, max_length), tokenizer.mask_token_id)
    try:
        hidden: tuple[Tensor, ...] = model(longest, output_hidden_states=True).hidden_states
    except (IndexError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"{directory}: the model takes fewer tokens than the {max_length} of the task"
        ) from error
    return hidden
