"""A tokenizer of each family, made here: nothing is fetched."""

from functools import cache
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast, XLMRobertaTokenizer

from weam_ext.text.tokenizer import wordpiece
from weam_ext.text.toy_corpus import LANGUAGES, sentence_pairs, vocabulary

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def word_piece() -> Any:
    """mBERT's kind, over the invented languages' vocabulary."""
    return wordpiece(vocabulary(), "the invented vocabulary")


def unigram() -> Any:
    """XLM-R's kind: "▁" begins what follows a blank; a pair has two </s> between; no segments."""
    plain = [piece for piece in vocabulary() if piece not in SPECIAL]
    stems = [f"▁{piece}" for piece in plain if not piece.startswith("##")]
    pieces = dict.fromkeys(["▁", *stems, *(piece.removeprefix("##") for piece in plain)], -10.0)
    pieces |= {"今天": -9.0, "今": -10.0, "天": -10.0, "下雨": -9.0, "é": -10.0}
    special = dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>"], 0.0)
    return XLMRobertaTokenizer(vocab=[*(special | pieces).items(), ("<mask>", 0.0)])


def byte_level() -> Any:
    """ModernBERT's kind: tokens of bytes, a blank belongs to the token that follows it."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    texts = [side for language in LANGUAGES[1:] for pair in sentence_pairs(language, 50)
             for side in (pair.source, pair.target)]  # fmt: skip
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [AddedToken(token, lstrip=token == "[MASK]", special=True) for token in SPECIAL]
    trainer = BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **dict(zip(names, SPECIAL, strict=True))
    )


FAMILIES = {"WordPiece": word_piece, "Unigram": unigram, "byte-level BPE": byte_level}


@cache
def tokenizer(family: str) -> Any:
    """One of `FAMILIES`, made once."""
    return FAMILIES[family]()
