"""Scores of words by an encoder's vectors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import each_family, tiny
from small_tokenizers import tokenizer
from weam_ref import word_scores as reference

from weam_ext.common.errors import InputError
from weam_ext.model.word_scores import Vectors, WordScorer, word_scores

POSITIONS = 40
PAIRS = [
    (["tämä", "on", "koira"], ["this", "is", "a", "dog"]),
    (["the", "cat"], ["le", "chat"]),
    (["a"], ["b", "c"]),
    (["one", "two", "three", "four", "five", "six"], ["一", "二", "三"]),
]


def saved(
    folder: Path, family: str = "BertForMaskedLM", words: str = "WordPiece", **own: Any
) -> str:
    """An encoder of two layers with its tokenizer."""
    made = tokenizer(words)
    depth = "n_layers" if family.startswith("Distil") else "num_hidden_layers"
    most = "max_position_embeddings"
    sizes = {"vocab_size": len(made), "pad_token_id": made.pad_token_id, depth: 2, most: POSITIONS}
    tiny(family, **(sizes | own)).save_pretrained(folder)
    made.save_pretrained(folder)
    return str(folder)


def scores(scorer: WordScorer, pairs: Sequence[Any], threads: int = 1) -> list[bytes]:
    return [each.tobytes() for each in scorer.scores(pairs, 30.0, threads)]


small = st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 0.1)
sentence = st.lists(st.tuples(small, st.integers(0, 2)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(sentence, sentence, st.sampled_from([1.0, 30.0]))
def test_scores_of_words(a: Any, b: Any, scale: float) -> None:
    sides, owned = [], []
    for side in (a, b):
        vectors = torch.tensor([vector for vector, _ in side])
        shown = sorted({word for _, word in side})
        owners = np.array([shown.index(word) for _, word in side])
        numbers = np.array([shown.index(word) if word in shown else -1 for word in range(3)])
        unit = torch.nn.functional.normalize(vectors, dim=1)
        sides.append(Vectors(unit, owners, numbers))
        owned.append([[t for t, own in enumerate(owners) if own == number] for number in numbers])
    tokens = [np.array([vector for vector, _ in side]) for side in (a, b)]
    expected = reference.word_scores(reference.token_scores(*tokens, scale), *owned)
    np.testing.assert_allclose(word_scores(*sides, scale), expected, atol=2e-5)


@each_family
def test_what_is_said_of_a_pair_depends_on_it_alone(family: str, tmp_path: Path) -> None:
    words = "byte-level BPE" if family.startswith("Modern") else "Unigram"
    scorer = WordScorer(saved(tmp_path, family, words), None, "cpu")
    alone = [scores(scorer, [pair])[0] for pair in PAIRS]
    assert scores(scorer, PAIRS) == scores(scorer, PAIRS, threads=3) == alone
    assert scores(scorer, PAIRS[::-1] * 9)[-1] == alone[0]
    assert scorer.layers == (1, 2)


def test_against_the_model_itself(tmp_path: Path) -> None:
    """One layer, sentences of one batch or another, padded or not."""
    scorer = WordScorer(saved(tmp_path), 1, "cpu")
    made = tokenizer("WordPiece")
    model = tiny("BertForMaskedLM", vocab_size=len(made), num_hidden_layers=2).bert
    found = next(scorer.scores([PAIRS[1]], 5.0, 1))
    vectors, owned = [], []
    for words in PAIRS[1]:
        encoded = made(" ".join(words), return_tensors="pt", return_offsets_mapping=True)
        offsets = encoded.pop("offset_mapping")[0, 1:-1].tolist()
        with torch.inference_mode():
            vectors.append(model(**encoded, output_hidden_states=True).hidden_states[1][0, 1:-1])
        first = len(words[0])
        owned.append([[k for k, (begin, _) in enumerate(offsets) if (begin > first) == word]
                      for word in (False, True)])  # fmt: skip
    tokens = reference.token_scores(*(each.double().numpy() for each in vectors), 5.0)
    np.testing.assert_allclose(found, reference.word_scores(tokens, *owned), atol=2e-5)


def test_a_sentence_beyond_the_positions(tmp_path: Path) -> None:
    scorer = WordScorer(saved(tmp_path), None, "cpu")
    many = [f"w{n}" for n in range(3 * POSITIONS)]
    found = next(scorer.scores([(many, ["a", "b"])], 30.0, 1))
    assert found.shape == (len(many), 2) and not np.isnan(found).any()
    most = scorer._most
    for length in range(1, 4 * most):
        windows = list(scorer._windows(0, list(range(length))))
        kept = [token for each in windows for token in each.ids[each.kept]]
        assert kept == list(range(length)) and all(len(each.ids) <= most for each in windows)


def test_scripts_without_blanks_are_read_as_they_are_written(tmp_path: Path) -> None:
    """A character a word, as prepared text has them, is the same text as one word of all."""
    scorer = WordScorer(saved(tmp_path, words="Unigram"), None, "cpu")
    other = ["a", "b"]
    characters, whole = scorer.scores([([*"今天天气"], other), (["今天天气"], other)], 30.0, 1)
    np.testing.assert_array_equal(characters.max(0), whole[0])


def test_words_that_no_token_shows(tmp_path: Path) -> None:
    scorer = WordScorer(saved(tmp_path), None, "cpu")
    found = next(scorer.scores([(["a", "\x01", "b"], ["\x01", "c"])], 30.0, 1))
    assert np.isnan(found).tolist() == [[True, False], [True, True], [True, False]]
    assert np.isnan(next(scorer.scores([(["\x01"], ["c"])], 30.0, 1))).all()
    assert next(scorer.scores([([], ["c"])], 30.0, 1)).shape == (0, 1)


def test_what_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        WordScorer(str(tmp_path / "none"), None, "cpu")
    made = saved(tmp_path / "made")
    with pytest.raises(InputError, match="has 2 layers, no layer 3"):
        WordScorer(made, 3, "cpu")
    with pytest.raises(InputError, match="no such device"):
        WordScorer(made, None, "somewhere")
    few = saved(tmp_path / "few", max_position_embeddings=6)
    with pytest.raises(InputError, match="takes only 6 tokens"):
        WordScorer(few, None, "cpu")
    (tmp_path / "made" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="tokenizer"):
        WordScorer(made, None, "cpu")


def test_the_digest_is_of_what_counts(tmp_path: Path) -> None:
    whole = WordScorer(saved(tmp_path / "a"), 1, "cpu").digest
    assert WordScorer(saved(tmp_path / "b"), 1, "cpu").digest == whole
    assert WordScorer(saved(tmp_path / "b"), 2, "cpu").digest != whole
    model = tiny("BertForMaskedLM", vocab_size=len(tokenizer("WordPiece")), num_hidden_layers=2)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.bias[0] += 1
    model.save_pretrained(tmp_path / "b")
    assert WordScorer(str(tmp_path / "b"), 1, "cpu").digest != whole
