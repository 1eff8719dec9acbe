"""Distorted text, to see what a model bears: at a strength, the share of the words distorted.

typos: a letter is left out, doubled, exchanged with the next one or replaced by another of the
word; case: a word in capitals; accents: marks dropped; code-switch: a word becomes its translation
in the aligner's lexicon (into English; English words into the lexicon's other language);
synonyms: a word becomes another with the same translation, a thesaurus without a thesaurus.

The same example is distorted alike for every model: the generator is seeded by its key.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from weam_ext.common.errors import InputError
from weam_ext.text.lines import read_lines
from weam_ext.transfer.families.answering import Question
from weam_ext.transfer.families.choice import Choice
from weam_ext.transfer.families.classification import Text
from weam_ext.transfer.families.tagging import Sentence

KINDS = ("typos", "case", "accents", "code-switch", "synonyms")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Lexicon:
    """Each word's most probable translation, both ways, in lower case."""

    forward: Mapping[str, str]
    """From English."""
    backward: Mapping[str, str]

    def synonym(self, word: str, english: bool) -> str | None:
        """What is translated alike, if it is another word."""
        there, back = self.forward, self.backward
        if not english:
            there, back = back, there
        other = back.get(there.get(word, ""), word)
        return other if other != word else None


def read_lexicon(path: Path) -> Lexicon:
    """What `weam-align --lexicon` writes of the direction from English: "translation word p".

    Raises `InputError` with the line's number for anything else.
    """
    forward: dict[str, tuple[float, str]] = {}
    backward: dict[str, tuple[float, str]] = {}
    for number, line in enumerate(read_lines(str(path)), 1):
        try:
            translation, word, text = line.split(" ")
            probability = float(text)
        except ValueError:
            raise InputError(f"{path}, line {number}: not 'translation word probability'") from None
        if _WORD.fullmatch(word) and _WORD.fullmatch(translation):
            a, b = word.lower(), translation.lower()
            forward[a] = max(forward.get(a, (0.0, "")), (probability, b))
            backward[b] = max(backward.get(b, (0.0, "")), (probability, a))
    return Lexicon(
        {word: best for word, (_, best) in forward.items()},
        {word: best for word, (_, best) in backward.items()},
    )


@dataclass(frozen=True)
class Noise:
    """A kind of distortion at a strength."""

    kind: str
    strength: float
    lexica: Mapping[str, Lexicon] = field(default_factory=dict)
    """By the language that is not English."""
    source: str = "en"

    def __str__(self) -> str:
        return f"{self.kind} {self.strength:g}"

    def applies(self, language: str) -> bool:
        """Whether there is what the kind needs of a language."""
        if self.kind not in ("code-switch", "synonyms"):
            return True
        return bool(self.lexica) if language == self.source else language in self.lexica

    def example(self, example: Any, language: str, salt: str = "") -> Any:
        """A distorted example: labels stay, and of a question the text that it is asked of."""
        text = f"{salt}|{self}|{language}|{example.key}"
        generator = np.random.default_rng(
            np.frombuffer(hashlib.sha256(text.encode()).digest(), "<u8")
        )
        change = self._change(language, generator)
        match example:
            case Text():
                second = example.second and _words(change, example.second)
                return replace(example, first=_words(change, example.first), second=second)
            case Choice():
                choices = tuple(_words(change, choice) for choice in example.choices)
                return replace(example, premise=_words(change, example.premise), choices=choices)
            case Question():
                return replace(example, question=_words(change, example.question))
            case Sentence():
                words = tuple(change(word) or word for word in example.words)
                return replace(example, words=words)
        raise TypeError(f"no noise for {type(example).__name__}")

    def _change(self, language: str, generator: np.random.Generator) -> Callable[[str], str]:
        lexicon = self.lexica.get(language)
        if lexicon is None and self.lexica:
            names = sorted(self.lexica)
            lexicon = self.lexica[names[int(generator.integers(len(names)))]]
        english = language == self.source

        def change(word: str) -> str:
            if generator.random() >= self.strength:
                return word
            match self.kind:
                case "typos":
                    return _typo(word, generator)
                case "case":
                    return word.upper()
                case "accents":
                    marks = unicodedata.normalize("NFD", word)
                    bare = "".join(c for c in marks if unicodedata.category(c) != "Mn")
                    return unicodedata.normalize("NFC", bare)
                case "code-switch":
                    assert lexicon
                    table = lexicon.forward if english else lexicon.backward
                    return table.get(word.lower(), word)
                case _:
                    assert lexicon
                    return lexicon.synonym(word.lower(), english) or word

        return change


def _words(change: Callable[[str], str], text: str) -> str:
    return _WORD.sub(lambda match: change(match[0]) or match[0], text)


def _typo(word: str, generator: np.random.Generator) -> str:
    if len(word) < 2:
        return word
    place = int(generator.integers(len(word) - 1))
    match int(generator.integers(4)):
        case 0:
            return word[:place] + word[place + 1 :]
        case 1:
            return word[: place + 1] + word[place:]
        case 2:
            return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        case _:
            other = word[int(generator.integers(len(word)))]
            return word[:place] + other + word[place + 1 :]


def parse_noises(
    arguments: Sequence[str], lexica: Mapping[str, Lexicon], source: str
) -> list[Noise]:
    """The command line's `--noise KIND=STRENGTH[,STRENGTH...] ...`."""
    found = []
    for argument in arguments:
        kind, _, strengths = argument.partition("=")
        if kind not in KINDS:
            raise InputError(f"--noise {argument}: {kind!r} is not one of {', '.join(KINDS)}")
        for text in strengths.split(","):
            try:
                strength = float(text)
            except ValueError:
                strength = -1
            if not 0 < strength <= 1:
                raise InputError(f"--noise {argument}: a strength is above 0 and at most 1")
            if kind in ("code-switch", "synonyms") and not lexica:
                raise InputError(f"--noise {argument}: needs --lexicon")
            found.append(Noise(kind, strength, lexica, source))
    return found
