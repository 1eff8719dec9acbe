"""weam_ext.text.tokenizer: bare vocabularies, the three families, frames, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import real_data
from small_tokenizers import FAMILIES, SPECIAL, tokenizer
from transformers import BertConfig, DistilBertConfig, ModernBertConfig, XLMRobertaConfig

from weam_ext.common.errors import InputError
from weam_ext.text.tokenizer import Template, fingerprint, load_tokenizer, template, wordpiece
from weam_ext.text.words import segmenter, word_ids

WORDS = ["Ê", "##tre", "être", "etre", "##e", "no", "##n", "今", "天", "!"]
TEXTS = ["", "terdu, ginti!", "Être 今天 e\u0301", "\u00a0 [MASK] <mask> x", "👩\u200d👧 \t a"]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(vocabulary: list[str], name: str = "vocab.txt", end: str = "\n") -> str:
        path = tmp_path / name
        path.write_bytes("".join(token + end for token in vocabulary).encode())
        return str(path)

    return write


Write = Callable[..., str]


def pieces(tokenizer: Any, text: str) -> list[str]:
    tokens: list[str] = tokenizer.convert_ids_to_tokens(
        tokenizer(text, add_special_tokens=False)["input_ids"]
    )
    return tokens


# ------------------------------------------------------------------------------ bare vocabularies


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_bare_vocabulary_is_a_cased_wordpiece(write: Write, end: str) -> None:
    found = load_tokenizer(write([*SPECIAL, *WORDS], end=end))
    assert found.get_vocab() == {token: k for k, token in enumerate([*SPECIAL, *WORDS])}
    assert pieces(found, "Être être") == ["Ê", "##tre", "être"]
    assert pieces(found, "none nonn!") == ["no", "##n", "##e", "no", "##n", "##n", "!"]
    assert pieces(found, "今天!天") == ["今", "天", "!", "天"]
    assert pieces(found, "E\u0302tre x") == ["[UNK]", "[UNK]"]  # nothing is stripped or composed
    assert pieces(found, "no" * 51) == ["[UNK]"]  # over 100 characters, as BERT's
    assert [found.pad_token_id, found.unk_token_id, found.mask_token_id] == [0, 1, 4]


def test_real_vocabulary() -> None:
    found = load_tokenizer(str(real_data("mbert-vocab")))
    assert len(found) == 119_547
    assert pieces(found, "Être") == ["Ê", "##tre"]
    assert pieces(found, "今天下雨") == ["今", "天", "下", "雨"]
    frame = found("Être", "今天")
    assert found.convert_ids_to_tokens(frame["input_ids"]) == [
        "[CLS]", "Ê", "##tre", "[SEP]", "今", "天", "[SEP]",
    ]  # fmt: skip
    assert frame["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]


def test_directory_with_a_bare_vocabulary(write: Write, tmp_path: Path) -> None:
    file = load_tokenizer(write([*SPECIAL, *WORDS]))
    assert fingerprint(load_tokenizer(str(tmp_path))) == fingerprint(file)
    BertConfig(vocab_size=15).save_pretrained(tmp_path)
    assert fingerprint(load_tokenizer(str(tmp_path))) == fingerprint(file)


def test_tokenizer_files_go_before_a_vocabulary(write: Write, tmp_path: Path) -> None:
    load_tokenizer(write([*SPECIAL, *WORDS])).save_pretrained(tmp_path)
    write([*SPECIAL, "other"])
    assert pieces(load_tokenizer(str(tmp_path)), "Être") == ["Ê", "##tre"]


# ------------------------------------------------------------------------------------ all families


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded(family: str, tmp_path: Path) -> None:
    made = tokenizer(family)
    made.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert fingerprint(loaded) == fingerprint(made)
    assert loaded(TEXTS)["input_ids"] == made(TEXTS)["input_ids"]
    for pair in (True, False):
        assert template(loaded, pair=pair) == template(made, pair=pair)


def test_fingerprint_tells_tokenizers_apart() -> None:
    families = {fingerprint(tokenizer(family)) for family in FAMILIES}
    assert len(families) == 3
    vocabularies = ([*SPECIAL, *WORDS], [*SPECIAL, *WORDS[::-1]], [*SPECIAL, *WORDS[1:]])
    assert len({fingerprint(wordpiece(words, "test")) for words in vocabularies}) == 3


@pytest.mark.parametrize("family", FAMILIES)
def test_fingerprint_forgets_the_last_call(family: str, tmp_path: Path) -> None:
    """Padding and truncation are kept in the Rust tokenizer, and in tokenizer.json with it."""
    tokenizer(family).save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    before = fingerprint(loaded)
    loaded(TEXTS, padding=True, truncation=True, max_length=6)
    loaded.save_pretrained(tmp_path)
    assert fingerprint(load_tokenizer(str(tmp_path))) == before
    assert fingerprint(loaded) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_template_is_the_tokenizers_own_frame(family: str) -> None:
    made = tokenizer(family)
    texts = ("terdu ginti ib", "az mizonu .")
    first, second = made(list(texts), add_special_tokens=False)["input_ids"]
    for pair in (True, False):
        frame = template(made, pair=pair)
        parts = [frame.prefix, first, frame.middle, second if pair else [], frame.suffix]
        own = made(texts[0], texts[1] if pair else None, return_token_type_ids=True)
        assert [i for part in parts for i in part] == own["input_ids"]
        kinds = [kind for kind, part in zip(frame.segments, parts, strict=True) for _ in part]
        assert kinds == own["token_type_ids"]


def test_templates_by_hand() -> None:
    bert, xlmr = tokenizer("WordPiece"), tokenizer("Unigram")
    assert template(bert, pair=True) == Template([2], [3], [3], (0, 0, 0, 1, 1))
    assert template(bert, pair=False) == Template([2], [], [3], (0, 0, 0, 0, 0))
    assert template(xlmr, pair=True) == Template([0], [2, 2], [2], (0, 0, 0, 0, 0))
    assert template(xlmr, pair=False) == Template([0], [], [2], (0, 0, 0, 0, 0))


def test_template_needs_an_ordinary_token() -> None:
    with pytest.raises(InputError, match=r"^the tokenizer has no ordinary tokens$"):
        template(wordpiece(list(SPECIAL), "test"), pair=True)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("WordPiece", [0, 1, 2, 3, 4, 5]),
        ("Unigram", [0, 1, 2, 3, 3, 4]),  # the two characters are one token, "▁" before it
        ("byte-level BPE", [0, 1, -1, 2, -1, 3, 3, 3, 4, 4, 4, 5]),  # three bytes a character
    ],
)
def test_offsets_find_the_words(family: str, expected: list[int]) -> None:
    text = "k,  u 今天."
    encoded = tokenizer(family)(text, add_special_tokens=False, return_offsets_mapping=True)
    found = word_ids([text], [segmenter("bert")(text)], [encoded["offset_mapping"]])
    assert found.tokens.tolist() == expected


# ------------------------------------------------------------------------------------ what is not


@pytest.mark.parametrize("spec", ["/no/such", "./no", "../no", "~no/vocab.txt"])
def test_missing_path(spec: str) -> None:
    with pytest.raises(InputError) as error:
        load_tokenizer(spec)
    assert str(error.value) == f"{spec}: no such file or directory"


def test_hub_name_without_the_hub() -> None:
    with pytest.raises(InputError, match=r"^no-one/nothing: no tokenizer there \([^\n]{9,150}\)$"):
        load_tokenizer("no-one/nothing")


@pytest.mark.parametrize(
    ("vocabulary", "fault"),
    [
        ([*SPECIAL[:-1], *WORDS], "it has no [MASK]"),
        ([], "it has no [PAD]"),
        ([*SPECIAL, *WORDS, "no"], "it holds a token twice"),
        (["{", '"version": "1.0"}'], "it has no [PAD]"),  # a tokenizer.json
    ],
)
def test_vocabulary_that_is_none(write: Write, vocabulary: list[str], fault: str) -> None:
    path = write(vocabulary)
    for spec in (path, str(Path(path).parent)):
        with pytest.raises(InputError) as error:
            load_tokenizer(spec)
        assert str(error.value) == f"{path}: not a WordPiece vocabulary: {fault}"


def test_vocabulary_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"[PAD]\n\xff\n")
    with pytest.raises(InputError, match="line 2: invalid UTF-8"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"readme": "nothing here"},
        {"tokenizer.json": "{broken"},
        {"tokenizer.json": '{"version": "1.0"}'},
        {"tokenizer_config.json": "[]"},
        {"tokenizer_config.json": '{"tokenizer_class": "Nonsense"}'},
    ],
    ids=["empty", "other", "broken", "incomplete", "not an object", "unknown class"],
)
def test_directory_that_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    refuses(tmp_path, "no tokenizer there (")


@pytest.mark.parametrize("kind", [BertConfig, XLMRobertaConfig, ModernBertConfig, DistilBertConfig])
def test_model_without_a_tokenizer(tmp_path: Path, kind: Any) -> None:
    """transformers makes one of nothing but special tokens, or fails in its own words."""
    kind().save_pretrained(tmp_path)
    refuses(tmp_path, "no tokenizer there (")


def test_tokenizer_that_rust_refuses(tmp_path: Path) -> None:
    tokenizer("WordPiece").save_pretrained(tmp_path)
    change(tmp_path / "tokenizer.json", model={"type": "Nonsense"})
    refuses(tmp_path, "no tokenizer there (")


@pytest.mark.parametrize("name", ["mask", "pad"])
def test_tokenizer_without_a_token(tmp_path: Path, name: str) -> None:
    tokenizer("byte-level BPE").save_pretrained(tmp_path)
    change(tmp_path / "tokenizer_config.json", **{f"{name}_token": None})
    refuses(tmp_path, f"its tokenizer has no {name} token")


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refuses(directory: Path, fault: str) -> None:
    with pytest.raises(InputError) as error:
        load_tokenizer(str(directory))
    assert str(error.value).startswith(f"{directory}: {fault}")
    assert "\n" not in str(error.value)
