"""Encoders: the vectors of all layers, and what identifies one."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_tokenizers import FAMILIES
from transfer_files import LAYERS, one_by_one, save_encoder

from weam_ext.text.toy_corpus import sentence_pairs
from weam_ext.transfer.encoder import Encoder, encoder_digest, mask_ready_made, mean_pool


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_means_of_ordinary_tokens(family: str, tmp_path: Path) -> None:
    encoder = Encoder(save_encoder(tmp_path / "m", family), 16, "cpu", "fp32")
    sentences = [pair.target for pair in sentence_pairs("toku", 20)]
    sentences.append(" ".join(sentences))
    vectors, truncated = encoder.encode(sentences, batch_size=4)
    lengths = [len(ids) for ids in encoder.tokenizer(sentences)["input_ids"]]
    assert truncated == sum(length > 16 for length in lengths) > 0
    assert vectors.shape == (LAYERS + 1, len(sentences), 16)
    assert encoder.layers == LAYERS
    expected = torch.stack([one_by_one(encoder, sentence) for sentence in sentences], dim=1)
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-5)

    again, _ = encoder.encode(sentences, batch_size=4)
    assert torch.equal(again, vectors)
    backwards, _ = encoder.encode(sentences[::-1], batch_size=7)
    torch.testing.assert_close(backwards.flip(1), vectors, rtol=0, atol=1e-5)


def test_words_that_look_special_are_words(inputs: Path) -> None:
    encoder = Encoder(inputs / "a", 16, "cpu", "fp32")
    (vectors, _) = encoder.encode(["ido [SEP] .", "ido [ SEP ] .", "\u200b"], batch_size=2)
    assert torch.allclose(vectors[:, 0], vectors[:, 1], atol=1e-5)
    assert not vectors[:, 2].any()  # no token at all


def test_pooling_never_reads_what_is_not_chosen() -> None:
    hidden = torch.tensor([[[1.0], [2.0], [4.0], [torch.nan]], [[8.0], [torch.inf], [1.0], [1.0]]])
    chosen = torch.tensor([[False, True, True, False], [False] * 4])
    assert mean_pool(hidden, chosen).tolist() == [[3.0], [0.0]]


def test_reduced_precision_is_close(inputs: Path) -> None:
    sentences = [pair.source for pair in sentence_pairs("toku", 10)]
    full, half = (
        Encoder(inputs / "a", 32, "cpu", precision).encode(sentences, 4)[0]
        for precision in ("fp32", "bf16-autocast")
    )
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, rtol=0, atol=0.02)


def test_what_identifies_an_encoder(inputs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(inputs / "a", tmp_path / "copy")
    (copy / "optimizer.safetensors").write_bytes(b"anything")
    assert encoder_digest(copy) == encoder_digest(inputs / "a") != encoder_digest(inputs / "b")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-5}))
    assert encoder_digest(copy) != encoder_digest(inputs / "a")


def test_an_encoder_keeps_to_its_device_and_is_not_waited_for(inputs: Path) -> None:
    """Torch's meta device stands for a GPU: it has no values that could be read."""
    encoder = Encoder(inputs / "a", 32, "cpu", "fp32")
    sentences = [pair.source for pair in sentence_pairs("toku", 10)]
    rows = encoder.tokenizer(sentences, return_special_tokens_mask=True)
    expected = encoder._encode_batch(dict(rows))
    mask_ready_made(encoder.model)
    torch.testing.assert_close(encoder._encode_batch(dict(rows)), expected)
    encoder.model.to("meta")
    encoder.device = torch.device("meta")
    found = encoder._encode_batch(dict(rows))
    assert found.device.type == "meta" and found.shape == expected.shape


def test_vectors_are_fetched_a_block_of_batches_at_a_time(inputs: Path) -> None:
    """More than one block, and the same as all in one batch."""
    encoder = Encoder(inputs / "a", 32, "cpu", "fp32")
    sentences = [pair.source for pair in sentence_pairs("toku", 80)]
    one_by_one, at_once = (encoder.encode(sentences, size)[0] for size in (1, 80))
    torch.testing.assert_close(one_by_one, at_once, rtol=1e-4, atol=1e-5)
