"""Distorted text: what each kind does, and that it is alike for every model."""

from pathlib import Path

import pytest
from transfer_files import run, write

from weam_ext.common.errors import InputError
from weam_ext.transfer.families.answering import Question
from weam_ext.transfer.families.choice import Choice
from weam_ext.transfer.families.classification import Text
from weam_ext.transfer.families.tagging import Sentence
from weam_ext.transfer.noise import KINDS, Lexicon, Noise, parse_noises, read_lexicon


def test_noisy_text_is_predicted_too(encoder: Path, data: Path, tmp_path: Path) -> None:
    rows = run(encoder, data, tmp_path, "--tasks", "xnli", "--noise", "typos=0.5,1", "case=1")
    noises = {row.noise for row in rows}
    assert noises == {"", "typos 0.5", "typos 1", "case 1"}
    assert all(row.selection == "english" for row in rows if row.noise)


LEXICON = Lexicon({"house": "haus", "home": "haus"}, {"haus": "house"})


def test_noise_is_the_same_for_every_model() -> None:
    x = Text("7", "The big house, again", None, "travel")
    for kind in KINDS:
        noise = Noise(kind, 0.5, {"de": LEXICON})
        assert noise.example(x, "en") == noise.example(x, "en")
        assert noise.example(x, "en").label == "travel"
    lighter = Noise("case", 0.01).example(x, "en")
    assert lighter.first == x.first


def test_what_noise_does() -> None:
    def noisy(kind: str, text: str, language: str = "en") -> str:
        noise = Noise(kind, 1.0, {"de": LEXICON})
        found: str = noise.example(Text("1", text, None, "travel"), language).first
        return found

    assert noisy("case", "the house!") == "THE HOUSE!"
    assert noisy("accents", "été à Zürich", "fr") == "ete a Zurich"
    assert noisy("code-switch", "the House") == "the haus"
    assert noisy("code-switch", "das Haus", "de") == "das house"
    assert noisy("synonyms", "my home") == "my house"
    assert noisy("typos", "wonderful") != "wonderful"
    assert Noise("code-switch", 1.0, {"de": LEXICON}).applies("de")
    assert not Noise("code-switch", 1.0, {"de": LEXICON}).applies("fr")


def test_tags_keep_their_words() -> None:
    sentence = Sentence("1", ("a", "house", "!"), ("DET", "NOUN", "PUNCT"))
    for kind in KINDS:
        words = Noise(kind, 1.0, {"de": LEXICON}).example(sentence, "en").words
        assert len(words) == 3 and all(words)


def test_lexica_of_the_aligner(tmp_path: Path) -> None:
    path = write(tmp_path / "lex", "haus house 0.9\nheim house 0.1\nhaus home 0.8\n, , 0.9\n")
    found = read_lexicon(path)
    assert (found.forward, found.backward) == (
        {"house": "haus", "home": "haus"},
        {"haus": "house", "heim": "house"},
    )
    write(path, "haus house 0.9\nhaus house\n")
    with pytest.raises(InputError, match="line 2: not 'translation word probability'"):
        read_lexicon(path)


def test_what_is_asked_stays_answerable() -> None:
    """Of a question the text stays, since answers are places in it."""
    noise = Noise("case", 1.0)
    question = noise.example(Question("1", "das Haus", "wo?", (("Haus", 4),)), "de")
    assert (question.context, question.question) == ("das Haus", "WO?")
    choice = noise.example(Choice("1", "es regnet", "cause", ("ja", "nein"), 1), "de")
    assert (choice.premise, choice.choices, choice.label) == ("ES REGNET", ("JA", "NEIN"), 1)


def test_noises_of_a_command_line() -> None:
    assert list(map(str, parse_noises(["typos=0.5,1", "case=.1"], {}, "en"))) == [
        "typos 0.5", "typos 1", "case 0.1",
    ]  # fmt: skip
    for strengths in ("", "0", "1.5", "a", "0.1,", "nan"):
        with pytest.raises(InputError, match="a strength is above 0 and at most 1"):
            parse_noises([f"typos={strengths}"], {}, "en")
