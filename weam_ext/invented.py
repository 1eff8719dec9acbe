"""The built-in corpus: parallel sentences in four invented languages, with their true word links.

A sentence begins as a meaning: a tree of phrases over units of meaning (atoms), drawn from a small
grammar. Each language spells the same tree by its own rules, a word remembers the atoms that it
expresses, and two words are linked where they share one. So the links are exact, and words that
express nothing of the meaning, or what the other language leaves unsaid, have none.

=====  ==============================================================================================
mira   The pivot. Verb between subject and object, adjectives before nouns, prepositions, separate
       articles, a future word; suffixes for plural and past. Every eighth verb is two words.
toku   Verb last, adjectives after nouns, postpositions, relative clauses before the noun. No
       articles, a topic particle without counterpart, many suffixes: plural, negation, tenses,
       object case, and "and" on the second member. Every ninth noun is two words; three pairs of
       concepts are homographs.
venn   Verb first, in Cyrillic letters. The article, the pronoun subject and the future are suffixes,
       adjectives follow and agree in number, negation is two words around the verb.
orlu   No suffixes at all: places first, with a particle without counterpart; plural and tense are
       words, numerals carry a classifier, adpositions surround the noun, and every fifth verb puts
       its second word behind the object.
=====  ==============================================================================================

Concepts are numbered within their class ("noun7"), by falling frequency: the one of rank r comes up
in proportion to 1 / (r + 2). Half of the words with content are moved to a concept of similar rank
that belongs to the sentence's topic, so that a sentence tells something about its own words.

Forms are coined from each language's letters, always the same ones. Grammatical words begin with
a vowel, words with content with a consonant, and no stem begins another, in any language; neither
does a suffix. So a greedy longest match over `vocabulary` splits a word into its stem and suffixes.

>>> pair = sentence_pairs("venn", 3)[2]
>>> pair.source
''
>>> pair.target
''
>>> pair.links
[]
"""

import argparse
import os
import random
import re
import sys
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from weam_ext.corpus import format_links
from weam_ext.errors import InputError, run

__all__ = ["LANGUAGES", "InventedPair", "sentence_pairs", "vocabulary"]

Link = tuple[int, int]
Word = tuple[str, int]  # its form and the bits of the atoms that it expresses

_CONTENT = {"noun": 120, "verb": 60, "act": 25, "adjective": 45, "adverb": 20, "numeral": 9}
_GRAMMAR = {
    "adposition": 8,
    "pronoun": 6,
    "conjunction": 3,
    "demonstrative": 2,
    **dict.fromkeys(("definite", "indefinite", "plural", "past", "future"), 1),
    **dict.fromkeys(("negation", "question", "that"), 1),
}
_CONCEPTS = {
    kind: [f"{kind}{rank}" for rank in range(count)]
    for kind, count in (_CONTENT | _GRAMMAR).items()
}
_TOPICS = 8


@dataclass(frozen=True)
class InventedPair:
    """Two sentences, words between single blanks, and the links (i, j) of their words, sorted."""

    source: str
    target: str
    links: list[Link]


@dataclass(frozen=True)
class Language:
    """The rules of one language.

    `orders` lists the roles of each kind of phrase in the order of their words. "role.2" is the
    second word of a concept that has two, apart from the first; "role+x" puts the meaningless
    particle x behind the role; "role-x" inflects the head of the role with what this phrase has in
    the role x (or, if x is no role, with a mere ending); "role=x" repeats such an ending in
    agreement, without expressing anything. `inflection` lists the roles that are suffixes of their
    phrase's head. A role that is in neither is left unsaid.
    """

    name: str
    consonants: str
    vowels: str
    stems: tuple[str, ...]  # shapes: C a consonant, V a vowel
    suffixes: tuple[str, ...]
    orders: dict[str, str]
    inflection: tuple[str, ...] = ()
    double: dict[str, int] | None = None  # every n-th concept of the class is two words
    homographs: dict[str, str] | None = None  # a concept, and the one that it looks like


_LANGUAGES = (
    Language(
        name="mira",
        consonants="bdfglmnrstv",
        vowels="aeiou",
        stems=("CVCV", "CVCVC", "CVCCV"),
        suffixes=("VC",),
        orders={
            "sentence": "body stop",
            "coordination": "first conjunction second",
            "clause": "question pronoun subject future negation head object place adverb",
            "relative": "that future negation head object place",
            "noun": "definite indefinite demonstrative numeral adjective head relative",
            "place": "adposition noun",
        },
        inflection=("plural", "past"),
        double={"verb": 8},
    ),
    Language(
        name="toku",
        consonants="hjkmnpstwyz",
        vowels="aiou",
        stems=("CVCV", "CVCVCV"),
        suffixes=("CV", "CVC"),
        orders={
            "sentence": "body stop",
            "coordination": "first second-conjunction",
            "clause": "subject+topic pronoun+topic place adverb object-accusative head question",
            "relative": "place object-accusative head",
            "noun": "relative demonstrative numeral head adjective",
            "place": "noun adposition",
        },
        inflection=("plural", "negation", "past", "future", "that"),
        double={"noun": 9},
        homographs={"act3": "noun6", "adjective5": "noun13", "adverb2": "adjective9"},
    ),
    Language(
        name="venn",
        consonants="бвгдзклмнпрст",
        vowels="аеиоу",
        stems=("CVC", "CVCVC", "CVCCVC"),
        suffixes=("VC",),
        orders={
            "sentence": "body stop",
            "coordination": "first+, conjunction second",
            "clause": "question past negation head negation.2 subject object place adverb",
            "relative": "that past negation head negation.2 object place",
            "noun": "numeral head adjective=plural demonstrative relative",
            "place": "adposition noun",
        },
        inflection=("plural", "definite", "future", "pronoun"),
        double={"negation": 1, "adverb": 6},
    ),
    Language(
        name="orlu",
        consonants="bchklnpqx",
        vowels="aeoiu",
        stems=("CVC", "CVVC", "CVCVC"),
        suffixes=(),
        orders={
            "sentence": "body stop",
            "coordination": "first conjunction second",
            "clause": "place+topic subject pronoun adverb negation head past object head.2 future"
            " question",
            "relative": "negation head past object head.2 place future that",
            "noun": "demonstrative numeral relative adjective head plural",
            "place": "adposition noun adposition.2",
        },
        double={"numeral": 1, "adposition": 1, "verb": 5, "act": 5},
    ),
)
LANGUAGES: tuple[str, ...] = tuple(language.name for language in _LANGUAGES)


# ---------------------------------------------------------------------------------------- meaning


class Atom(NamedTuple):
    """One unit of a sentence's meaning: what it says, and its bit in the words that express it."""

    concept: str
    bit: int


class Phrase(NamedTuple):
    """A node of the meaning: its parts by role. The role "head" is what the phrase is about."""

    kind: str
    roles: dict[str, Sequence["Atom | Phrase"]]


def _cumulative_zipf(count: int) -> list[float]:
    sums = list(accumulate(1 / (rank + 2) for rank in range(count)))
    return [each / sums[-1] for each in sums]


_CUMULATIVE = {kind: _cumulative_zipf(len(concepts)) for kind, concepts in _CONCEPTS.items()}


class _Thought:
    """Draws the meaning of sentence `ordinal` of a seed.

    Only `Random.random` is used: Python promises to keep its values for an integer seed.
    """

    def __init__(self, seed: int, ordinal: int) -> None:
        self.random = random.Random(seed << 64 | ordinal).random
        self.topic = int(self.random() * _TOPICS)
        self.size = 0

    def maybe(self, probability: float) -> bool:
        """Whether to add something that the sentence can do without: never when it is long."""
        return self.random() < probability and self.size < 10

    def atom(self, kind: str) -> list[Atom]:
        rank = bisect(_CUMULATIVE[kind], self.random())
        if kind in _CONTENT and self.random() < 0.5:
            rank = min(rank - rank % _TOPICS + self.topic, len(_CONCEPTS[kind]) - 1)
        return self.named(_CONCEPTS[kind][rank])

    def named(self, concept: str) -> list[Atom]:
        self.size += 1
        return [Atom(concept, 1 << self.size)]

    def sentence(self) -> Phrase:
        asked = self.random() < 0.12
        body = self.clause()
        if asked:
            body.roles["question"] = self.atom("question")
        elif self.maybe(0.15):
            body = self.coordination(body, self.clause())
        return Phrase("sentence", {"body": [body], "stop": self.named("?" if asked else ".")})

    def coordination(self, first: Phrase, second: Phrase) -> Phrase:
        conjunction = self.atom("conjunction")
        return Phrase(
            "coordination", {"first": [first], "conjunction": conjunction, "second": [second]}
        )

    def clause(self) -> Phrase:
        roles: dict[str, Sequence[Atom | Phrase]] = {}
        if self.random() < 0.25:
            roles["pronoun"] = self.atom("pronoun")
        else:
            roles["subject"] = [self.nominal()]
        self.predicate(roles)
        if "object" not in roles or self.maybe(0.2):
            roles["adverb"] = self.atom("adverb")
        return Phrase("clause", roles)

    def predicate(self, roles: dict[str, Sequence[Atom | Phrase]]) -> None:
        if self.random() < 0.7:
            roles["head"] = self.atom("verb")
            roles["object"] = [self.nominal()]
        else:
            roles["head"] = self.atom("act")
        tense = self.random()
        if tense < 0.5:
            roles |= {"past": self.atom("past")} if tense < 0.3 else {"future": self.atom("future")}
        if self.random() < 0.12:
            roles["negation"] = self.atom("negation")
        if self.maybe(0.3):
            roles["place"] = [
                Phrase("place", {"adposition": self.atom("adposition"), "noun": [self.noun()]})
            ]

    def nominal(self) -> Phrase:
        first = self.noun()
        return self.coordination(first, self.noun()) if self.maybe(0.08) else first

    def noun(self) -> Phrase:
        roles: dict[str, Sequence[Atom | Phrase]] = {"head": self.atom("noun")}
        determiner, number = self.random(), self.random()
        for kind, below in (("definite", 0.4), ("demonstrative", 0.5), ("indefinite", 0.7)):
            if determiner < below:
                roles[kind] = self.atom(kind)
                break
        if "indefinite" not in roles and number < 0.45:
            kind = "plural" if number < 0.3 else "numeral"
            roles[kind] = self.atom(kind)
        if self.maybe(0.35):
            roles["adjective"] = self.atom("adjective") + (
                self.atom("adjective") if self.maybe(0.2) else []
            )
        if self.maybe(0.08):
            roles["relative"] = [self.relative()]
        return Phrase("noun", roles)

    def relative(self) -> Phrase:
        roles: dict[str, Sequence[Atom | Phrase]] = {"that": self.atom("that")}
        self.predicate(roles)
        return Phrase("relative", roles)


# -------------------------------------------------------------------------------------- languages


class Slot(NamedTuple):
    """One place in an order of words, as `Language.orders` writes it."""

    role: str
    words: slice  # which words of a concept stand here
    mark: str
    name: str  # of the particle or ending


class Lexicon(NamedTuple):
    """A language ready to spell: its orders taken apart, and its forms by concept."""

    orders: dict[str, list[Slot]]
    inflection: tuple[str, ...]
    words: dict[str, list[str]]
    suffixes: dict[str, str]


class _Coiner:
    """Makes up forms of which none is the beginning of another."""

    def __init__(self) -> None:
        self.random = random.Random(0).random
        self.forms: set[str] = set()
        self.beginnings: set[str] = set()

    def coin(self, language: Language, shapes: Sequence[str]) -> str:
        while True:
            letters = {"C": language.consonants, "V": language.vowels}
            form = "".join(self.one_of(letters[letter]) for letter in self.one_of(shapes))
            beginnings = {form[:length] for length in range(1, len(form) + 1)}
            if form not in self.beginnings and self.forms.isdisjoint(beginnings):
                self.forms.add(form)
                self.beginnings |= beginnings
                return form

    def one_of(self, options: Sequence[str]) -> str:
        return options[int(self.random() * len(options))]


@cache
def _lexica() -> dict[str, Lexicon]:
    stems, suffixes = _Coiner(), _Coiner()
    return {language.name: _lexicon(language, stems, suffixes) for language in _LANGUAGES}


def _lexicon(language: Language, stems: _Coiner, suffixes: _Coiner) -> Lexicon:
    orders = {kind: _parse_order(order) for kind, order in language.orders.items()}
    slots = [slot for order in orders.values() for slot in order]
    said = {slot.role for slot in slots} | {"noun", "verb", "act"}
    endings = {*language.inflection, *(slot.name for slot in slots if slot.mark in {"-", "="})}
    words = {".": ["."], "?": ["?"], ",": [","]}
    forms = {}
    for kind, concepts in _CONCEPTS.items():
        every = (language.double or {}).get(kind, len(concepts) + 1)
        shapes = language.stems if kind in _CONTENT else ("VC", "VCV")
        for rank, concept in enumerate(concepts, 1):
            if kind in said:
                words[concept] = [
                    stems.coin(language, shapes) for _ in range(1 + (rank % every == 0))
                ]
            if kind in endings:
                forms[concept] = suffixes.coin(language, language.suffixes)
    ...
