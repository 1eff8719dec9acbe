"""weam_ext.text.cached_tokenizer: what is looked up piece by piece is what whole texts give."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from small_tokenizers import FAMILIES, tokenizer
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from weam_ext.text import cached_tokenizer as pieces
from weam_ext.text.cached_tokenizer import Pieces, Tokenised, separable
from weam_ext.text.words import segmenter, word_ids

LETTERS = "abeÉ'.\u0301\u3099今がก่▁"
# Blanks, what Unicode and Python, or Python alone, or nobody takes for white space, and ordinary
# characters of many kinds.
BLANKS = " \t\r\x0b\x85\xa0\u2028\u3000\x1c\x00\u200b\ufeff"
TEXTS = st.text(f"{LETTERS}{BLANKS}\ufffd👩\u200d[]", max_size=24)
UGLY = ["", " ", "a b", "a  b", " a b ", "a\t b", "a \u0301b", "a\x1c b", "a \x85 b", "a\u3000 b",
        "it 's a [MASK] b", "今天 b 下雨", "ก่อน abc", "x" * 300 + " a"]  # fmt: skip


@cache
def gemma() -> Tokenizer:
    """mmBERT's kind: blanks become "▁", and nothing but the vocabulary keeps the words apart."""
    tokens = ["<pad>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁▁"]
    tokens += [*dict.fromkeys("abe今が"), "ab", "▁a", "▁ab", "be", "▁▁a"]
    merges = [("a", "b"), ("▁", "▁"), ("▁", "a"), ("▁", "ab"), ("b", "e"), ("▁▁", "a")]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.add_tokens([AddedToken("ee", normalized=False)])
    return backend


def backend(family: str) -> Tokenizer:
    found = gemma() if family == "Gemma" else tokenizer(family).backend_tokenizer
    made = Tokenizer.from_str(found.to_str())
    made.no_truncation()  # which belongs to the last call of a tokenizer that other tests share
    made.no_padding()
    return made


Rows = list[tuple[list[int], list[int], list[int], str]]


def whole(encode: Tokenizer, words: str, texts: Sequence[str]) -> Rows:
    """Each text by itself: ids, the word of each, the number of each word, the joined words."""
    find = segmenter(words)
    encode.encode_special_tokens = True
    rows = []
    for text in texts:
        encoded, spans = encode.encode(text, add_special_tokens=False), find(text)
        found = word_ids([text], [spans], [encoded.offsets])
        joined = " ".join(text[start:end] for start, end in spans)
        rows.append((encoded.ids, found.tokens.tolist(), found.words[0].tolist(), joined))
    return rows


def looked_up(tokenise: Pieces, texts: Sequence[str]) -> Rows:
    found = tokenise(texts)
    columns = [
        [values[start:end].tolist() for start, end in pairwise(at)] for at, values in found[:3]
    ]
    return list(zip(*columns, joined(found), strict=True))


def joined(found: Tokenised) -> list[str]:
    """The words of each text, between blanks."""
    words, (at, numbers) = found.vocabulary, found.vocabulary_ids
    return [" ".join(words[n] for n in numbers[start:end]) for start, end in pairwise(at)]


@pytest.mark.parametrize("words", ["bert", "blanks"])
@pytest.mark.parametrize("family", [*FAMILIES, "Gemma"])
@given(st.lists(TEXTS, max_size=6))
@example(UGLY)
def test_pieces_are_the_whole(family: str, words: str, texts: list[str]) -> None:
    tokenise = Pieces(backend(family), words, lowercase=False)
    expected = whole(backend(family), words, texts)
    assert looked_up(tokenise, texts) == expected
    assert looked_up(tokenise, texts[::-1]) == expected[::-1]  # now remembered


@pytest.mark.parametrize("family", [*FAMILIES, "Gemma"])
def test_these_families_are_looked_up(family: str) -> None:
    assert separable(backend(family))


def test_others_are_not() -> None:
    """Each looks across a blank, or might."""
    for change in (
        lambda b: setattr(b, "pre_tokenizer", pre_tokenizers.Punctuation()),
        lambda b: setattr(b, "pre_tokenizer", pre_tokenizers.Metaspace()),
        lambda b: setattr(b, "pre_tokenizer", None),
        lambda b: setattr(b, "normalizer", normalizers.Replace(" ", "")),
        lambda b: setattr(b, "normalizer", normalizers.Strip()),
        lambda b: b.add_tokens(["a b"]),
        lambda b: b.add_tokens([AddedToken("x", lstrip=True)]),
    ):
        made = backend("WordPiece")
        change(made)
        assert not separable(made)
    state = gemma().to_str()
    assert separable(Tokenizer.from_str(state))
    assert not separable(
        Tokenizer.from_str(state.replace('"▁▁a"', '"a▁▁"').replace('["▁▁","a"]', '["a","▁▁"]'))
    )


def test_a_tokenizer_that_is_not_looked_up() -> None:
    made = backend("WordPiece")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    texts = ["toku b .", "a,b", "", "toku b ."]
    assert not separable(made)
    found = looked_up(Pieces(made, "bert", lowercase=False), texts)
    assert found == whole(made, "bert", texts)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"a{k} b{k % 7} c" for k in range(300)]
    expected = whole(backend("WordPiece"), "bert", texts)
    monkeypatch.setattr(pieces, "_TEXTS", 8)
    monkeypatch.setattr(pieces, "_CHARACTERS", 20)
    for limit in ("_MOST_PIECES", "_MOST_CHARACTERS"):
        with monkeypatch.context() as patch:
            patch.setattr(pieces, limit, 50)
            tokenise = Pieces(backend("WordPiece"), "bert", lowercase=False)
            assert looked_up(tokenise, texts) == expected
            assert len(tokenise._known) <= 50


def test_lower_case_is_that_of_the_words() -> None:
    text = "ΑΣ ΑΣ'Σ İx ẞ"
    found = Pieces(backend("WordPiece"), "bert", lowercase=True)([text])
    words = " ".join(text[start:end] for start, end in segmenter("bert")(text))
    assert joined(found) == [words.lower()]
