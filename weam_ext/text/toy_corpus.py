"""The built-in corpus: parallel sentences in four invented languages, with their true word links.

A sentence begins as a meaning: a tree of phrases over units of meaning (atoms), drawn from a small
grammar. Each language spells the same tree by its own rules, a word remembers the atoms that it
expresses, and two words are linked where they share one. So the links are exact, and words that
express nothing of the meaning, or what the other language leaves unsaid, have none.

=====  ============================================================================================
mira   The pivot. Verb between subject and object, adjectives before nouns, prepositions, separate
       articles, a future word; suffixes for plural and past. Every eighth verb is two words.
toku   Verb last, adjectives after nouns, postpositions, relative clauses before the noun. No
       articles, a topic particle without counterpart, many suffixes: plural, negation, tenses,
       object case, and "and" on the second member. Every ninth noun is two words; three pairs of
       concepts are homographs.
venn   Verb first, in Cyrillic letters. The article, the pronoun subject and the future are
       suffixes, adjectives follow and agree in number, negation is two words around the verb.
orlu   No suffixes at all: places first, with a particle without counterpart; plural and tense are
       words, numerals carry a classifier, adpositions surround the noun, and every fifth verb puts
       its second word behind the object.
=====  ============================================================================================

Concepts are numbered within their class ("noun7"), by falling frequency: the one of rank r comes up
in proportion to 1 / (r + 2). Half of the words with content are moved to a concept of similar rank
that belongs to the sentence's topic, so that a sentence tells something about its own words.

Forms are coined from each language's letters, always the same ones. Grammatical words begin with
a vowel, words with content with a consonant, and no stem begins another, in any language; neither
does a suffix. So a greedy longest match over `vocabulary` splits a word into its stem and suffixes.

Pronoun, future, verb, adverb; and pronoun, topic particle, adverb, verb with future suffix:

>>> pair = sentence_pairs("toku", 3)[2]
>>> pair.source
'ido ota venan favid .'
>>> pair.target
'op ito yakipu tozusu .'
>>> pair.links
[(0, 0), (1, 3), (2, 3), (3, 2), (4, 4)]
"""

import random
import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from weam_ext.common.errors import InputError, Parser, results, run
from weam_ext.common.files import write_whole
from weam_ext.text.pharaoh import Link, format_links

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
_HEADS = {"noun", "verb", "act"}
_TOPICS = 8
_GRAMMATICAL_STEMS = ("VC", "VCV")


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
    double: dict[str, int] = field(default_factory=dict)  # every n-th of the class is two words
    homographs: dict[str, str] = field(default_factory=dict)  # a concept, and its look-alike


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
    roles: dict[str, list["Atom | Phrase"]]


Parts = list[Atom | Phrase]


def _cumulative_zipf(count: int) -> list[float]:
    sums = list(accumulate(1 / (rank + 2) for rank in range(count)))
    return [each / sums[-1] for each in sums]


_CUMULATIVE = {kind: _cumulative_zipf(len(concepts)) for kind, concepts in _CONCEPTS.items()}


class _Thought:
    """Draws the meaning of sentence `ordinal` of a seed.

    By `Random.random` alone: for a seed, Python promises the same values in every version.
    """

    def __init__(self, seed: int, ordinal: int) -> None:
        self.random = random.Random(seed << 64 | ordinal).random
        self.topic = int(self.random() * _TOPICS)
        self.size = 0

    def maybe(self, probability: float) -> bool:
        """Whether to add something that the sentence can do without: never when it is long."""
        return self.random() < probability and self.size < 10

    def atom(self, kind: str) -> Parts:
        rank = bisect(_CUMULATIVE[kind], self.random())
        if kind in _CONTENT and self.random() < 0.5:
            rank = min(rank - rank % _TOPICS + self.topic, len(_CONCEPTS[kind]) - 1)
        return self.named(_CONCEPTS[kind][rank])

    def named(self, concept: str) -> Parts:
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
        roles: dict[str, Parts] = {}
        if self.random() < 0.25:
            roles["pronoun"] = self.atom("pronoun")
        else:
            roles["subject"] = [self.nominal()]
        self.predicate(roles)
        if "object" not in roles or self.maybe(0.2):
            roles["adverb"] = self.atom("adverb")
        return Phrase("clause", roles)

    def predicate(self, roles: dict[str, Parts]) -> None:
        if self.random() < 0.7:
            roles["head"] = self.atom("verb")
            roles["object"] = [self.nominal()]
        else:
            roles["head"] = self.atom("act")
        tense = self.random()
        if tense < 0.3:
            roles["past"] = self.atom("past")
        elif tense < 0.5:
            roles["future"] = self.atom("future")
        if self.random() < 0.12:
            roles["negation"] = self.atom("negation")
        if self.maybe(0.3):
            adposition = self.atom("adposition")
            roles["place"] = [Phrase("place", {"adposition": adposition, "noun": [self.noun()]})]

    def nominal(self) -> Phrase:
        first = self.noun()
        return self.coordination(first, self.noun()) if self.maybe(0.08) else first

    def noun(self) -> Phrase:
        roles: dict[str, Parts] = {"head": self.atom("noun")}
        determiner, number = self.random(), self.random()
        for kind, below in (("definite", 0.4), ("demonstrative", 0.5), ("indefinite", 0.7)):
            if determiner < below:
                roles[kind] = self.atom(kind)
                break
        if "indefinite" not in roles and number < 0.45:
            kind = "plural" if number < 0.3 else "numeral"
            roles[kind] = self.atom(kind)
        if self.maybe(0.35):
            roles["adjective"] = self.atom("adjective")
            if self.maybe(0.2):
                roles["adjective"] += self.atom("adjective")
        if self.maybe(0.08):
            roles["relative"] = [self.relative()]
        return Phrase("noun", roles)

    def relative(self) -> Phrase:
        roles: dict[str, Parts] = {"that": self.atom("that")}
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
    endings: dict[str, str]


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
    spoken = {slot.role for slot in slots} | _HEADS
    inflected = {*language.inflection, *(slot.name for slot in slots if slot.mark in {"-", "="})}
    words = {mark: [mark] for mark in ".?,"}
    endings = {}
    for kind, concepts in _CONCEPTS.items():
        shapes = language.stems if kind in _CONTENT else _GRAMMATICAL_STEMS
        every = language.double.get(kind, len(concepts) + 1)
        for number, concept in enumerate(concepts, 1):
            if kind in spoken:
                count = 2 if number % every == 0 else 1
                words[concept] = [stems.coin(language, shapes) for _ in range(count)]
            if kind in inflected:
                endings[concept] = suffixes.coin(language, language.suffixes)
    for slot in slots:
        if slot.mark == "+" and slot.name not in words:
            words[slot.name] = [stems.coin(language, _GRAMMATICAL_STEMS)]
        if slot.mark == "-" and slot.name not in _CONCEPTS and slot.name not in endings:
            endings[slot.name] = suffixes.coin(language, language.suffixes)
    words |= {concept: words[other] for concept, other in language.homographs.items()}
    return Lexicon(orders, language.inflection, words, endings)


def _parse_order(order: str) -> list[Slot]:
    slots = []
    for role, second, mark, name in re.findall(r"(\w+)(\.2)?(?:([-+=])(\S+))?", order):
        apart = f"{role}.2" in order
        words = slice(1, None) if second else slice(0, 1) if apart else slice(None)
        slots.append(Slot(role, words, mark, name))
    return slots


# --------------------------------------------------------------------------------------- spelling


def _spell(phrase: Phrase, lexicon: Lexicon, ending: Word = ("", 0)) -> list[Word]:
    """The words of a phrase; its head, or the heads within a headless one, take `ending`."""
    words: list[Word] = []
    for slot in lexicon.orders[phrase.kind]:
        if slot.role not in phrase.roles:
            continue
        if slot.role == "head":
            carried = _joined(_inflection(phrase, lexicon), ending)
        elif "head" in phrase.roles:
            carried = _slot_ending(slot, phrase, lexicon)
        else:
            carried = _joined(ending, _slot_ending(slot, phrase, lexicon))
        for part in phrase.roles[slot.role]:
            if isinstance(part, Phrase):
                words += _spell(part, lexicon, carried)
            else:
                first, *second = ((form, part.bit) for form in lexicon.words[part.concept])
                words += [_joined(first, carried), *second][slot.words]
        if slot.mark == "+":
            words.append((lexicon.words[slot.name][0], 0))
    return words


def _inflection(phrase: Phrase, lexicon: Lexicon) -> Word:
    """The suffixes by which the head expresses other roles of its phrase."""
    suffix, bits = "", 0
    for role in lexicon.inflection:
        for atom in _atoms(phrase, role):
            suffix += lexicon.endings[atom.concept]
            bits |= atom.bit
    return suffix, bits


def _slot_ending(slot: Slot, phrase: Phrase, lexicon: Lexicon) -> Word:
    """The ending that an order gives to the parts in a slot."""
    if slot.mark not in {"-", "="}:
        return "", 0
    for atom in _atoms(phrase, slot.name):
        return lexicon.endings[atom.concept], atom.bit if slot.mark == "-" else 0
    return lexicon.endings.get(slot.name, ""), 0


def _atoms(phrase: Phrase, role: str) -> list[Atom]:
    return [part for part in phrase.roles.get(role, ()) if isinstance(part, Atom)]


def _joined(first: Word, second: Word) -> Word:
    return first[0] + second[0], first[1] | second[1]


# ------------------------------------------------------------------------------------------ public


def sentence_pairs(language: str, count: int, *, seed: int = 0) -> list[InventedPair]:
    """The first `count` pairs of a seed, from the pivot to `language`.

    Pair k depends on the seed and k alone, and its source side not on the language either.
    Raises `InputError` for an unknown language, the pivot, a negative count and a negative seed.
    """
    if language not in LANGUAGES[1:]:
        raise InputError(f"{language!r} is not one of the invented languages {LANGUAGES[1:]}")
    if count < 0 or seed < 0:
        raise InputError(f"neither the count ({count}) nor the seed ({seed}) can be negative")
    lexica = _lexica()
    return [_pair(lexica[LANGUAGES[0]], lexica[language], seed, k) for k in range(count)]


def _pair(pivot: Lexicon, language: Lexicon, seed: int, ordinal: int) -> InventedPair:
    meaning = _Thought(seed, ordinal).sentence()
    source, target = _spell(meaning, pivot), _spell(meaning, language)
    return InventedPair(
        " ".join(form for form, _ in source),
        " ".join(form for form, _ in target),
        [
            (i, j)
            for i, (_, said) in enumerate(source)
            for j, (_, heard) in enumerate(target)
            if said & heard
        ],
    )


def vocabulary() -> list[str]:
    """A WordPiece vocabulary for all languages: special tokens, characters, stems and suffixes."""
    lexica = _lexica().values()
    stems = [word for lexicon in lexica for words in lexicon.words.values() for word in words]
    suffixes = [suffix for lexicon in lexica for suffix in lexicon.endings.values()]
    characters = sorted({character for form in (*stems, *suffixes) for character in form})
    pieces = [f"##{piece}" for piece in (*characters, *suffixes)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return list(dict.fromkeys([*special, *characters, *stems, *pieces]))


def main() -> None:
    """Write "source ||| target" lines to standard output, and the true links to a file."""
    parser = Parser("weam_ext.text.toy_corpus", main.__doc__)
    parser.add_argument(
        "--language", required=True, choices=LANGUAGES[1:], help="the target language"
    )
    parser.add_argument(
        "--count", type=int, default=1000, help="number of sentence pairs (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="0 or more; same seed, same pairs (default: 0)"
    )
    parser.add_argument("--links", metavar="FILE", help="write the true links here, as Pharaoh i-j")
    arguments = parser.parse_args()
    pairs = sentence_pairs(arguments.language, arguments.count, seed=arguments.seed)
    if arguments.links:
        links = "".join(f"{format_links(pair.links)}\n" for pair in pairs)
        write_whole(Path(arguments.links), links.encode())
    lines = (f"{pair.source} ||| {pair.target}\n" for pair in pairs)
    results().writelines(lines)


if __name__ == "__main__":
    run("weam_ext.text.toy_corpus", main)
