"""The built-in corpus: parallel sentences in four invented languages, with their true word links.

A sentence begins as a meaning: a tree of phrases over units of meaning (atoms), drawn from a small
grammar. Each language spells the same tree by its own rules, a word remembers the atoms that it
expresses, and two words are linked where they share one. So the links are exact, and words that
express nothing of the meaning, or what the other language leaves unsaid, have none.

- mira, the pivot, puts the verb between subject and object; it has articles and prepositions.
- toku puts the verb last; it has postpositions, many suffixes, a topic particle, and homographs.
- venn puts the verb first; its articles and pronouns are suffixes, its letters are Cyrillic.
- orlu has no suffixes; places come first, and many concepts are two words apart.

Concepts are numbered within their class ("noun7"), by falling frequency: the one of rank r comes up
in proportion to 1 / (r + 2). Half of the words with content are moved to a concept of similar rank
that belongs to the sentence's topic, so that a sentence tells something about its own words.

Forms are coined from each language's letters, always the same ones. No stem begins another, in any
language, and no suffix does. So a greedy longest match over `vocabulary` splits a word into its
stem and suffixes.

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
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from weam_ext.common.errors import InputError, Parser, results, run
from weam_ext.common.files import write_whole
from weam_ext.text.pharaoh import Link, format_links

_CONTENT = {"noun": 120, "verb": 60, "act": 25, "adjective": 45, "adverb": 20, "numeral": 9}
_GRAMMAR = {"adposition": 8, "pronoun": 6, "conjunction": 3, "demonstrative": 2} | dict.fromkeys(
    ["definite", "indefinite", "plural", "past", "future", "negation", "question", "that"], 1
)
_MEANINGLESS = ("topic", "accusative")
_MARKS = ".?,"
_PHRASES = ("sentence", "coordination", "clause", "relative", "noun", "place")
_TOPICS = 8
_CONCEPTS = {
    kind: [f"{kind}{rank}" for rank in range(count)]
    for kind, count in (_CONTENT | _GRAMMAR).items()
} | {name: [name] for name in (*_MEANINGLESS, *_MARKS)}

# How each language spells. "forms" are its consonants and vowels, and the shapes of its stems and
# of its suffixes. An order lists the roles of a phrase as its words follow; a role that no order
# and no inflection has is left unsaid. "role.1" and "role.2" are the two words of a concept, apart;
# "role+x" puts the meaningless particle x behind the role; "role-x" inflects the head of the role
# with what this phrase has in the role x, or with the meaningless ending x; "role=x" repeats an
# ending in agreement, without expressing anything. "inflection" lists the roles that are suffixes
# of their phrase's head; "double" the classes of which every n-th concept is two words.
_SHARED = {
    "sentence": "body stop",
    "coordination": "first conjunction second",
    "place": "adposition noun",
    "inflection": "",
    "homographs": "",
}
_RULES = {
    "mira": {
        "forms": "bdfglmnrstv aeiou / CVCV CVCVC CVCCV / VC",
        "clause": "question that pronoun subject future negation head object place adverb",
        "noun": "definite indefinite demonstrative numeral adjective head relative",
        "inflection": "plural past",
        "double": "verb=8",
    },
    "toku": {
        "forms": "hjkmnpstwyz aiou / CVCV CVCVCV / CV CVC",
        "coordination": "first second-conjunction",
        "clause": "subject+topic pronoun+topic place adverb object-accusative head question",
        "noun": "relative demonstrative numeral head adjective",
        "place": "noun adposition",
        "inflection": "plural negation past future that",
        "double": "noun=9",
        "homographs": "act3=noun6 adjective5=noun13 adverb2=adjective9",
    },
    "venn": {
        "forms": "бвгдзклмнпрст аеиоу / CVC CVCVC CVCCVC / VC",
        "coordination": "first+, conjunction second",
        "clause": "question that past negation.1 head negation.2 subject object place adverb",
        "noun": "numeral head adjective=plural demonstrative relative",
        "inflection": "plural definite future pronoun",
        "double": "negation=1 adverb=6",
    },
    "orlu": {
        "forms": "bchklnpqx aeoiu / CVC CVVC CVCVC /",
        "clause": "place+topic subject pronoun adverb negation head.1 past object head.2 future"
        " question",
        "relative": "negation head.1 past object head.2 place future that",
        "noun": "demonstrative numeral relative adjective head plural",
        "place": "adposition.1 noun adposition.2",
        "double": "numeral=1 adposition=1 verb=5 act=5",
    },
}
LANGUAGES: tuple[str, ...] = tuple(_RULES)


class Atom(NamedTuple):
    """One unit of a sentence's meaning: what it says, and its bit in the words that express it."""

    concept: str
    bit: int


_UNSAID = {name: [Atom(name, 0)] for name in _MEANINGLESS}


class Phrase(NamedTuple):
    """A node of the meaning: its parts by role. The role "head" is what the phrase is about."""

    kind: str
    roles: "Roles"


Roles = dict[str, list[Any]]  # atoms and phrases


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

    def atom(self, kind: str) -> Atom:
        concepts = _CONCEPTS[kind]
        rank = bisect(_zipf(len(concepts)), self.random())
        if kind in _CONTENT and self.random() < 0.5:
            rank = min(rank - rank % _TOPICS + self.topic, len(concepts) - 1)
        self.size += 1
        return Atom(concepts[rank], 1 << self.size)

    def add(self, roles: Roles, draw: float, **bounds: float) -> None:
        """Give `roles` an atom of the first kind whose bound is above `draw`, if there is one."""
        for kind in [kind for kind, bound in bounds.items() if draw < bound][:1]:
            roles[kind] = [self.atom(kind)]

    def sentence(self) -> Phrase:
        asked = self.random() < 0.12
        body = self.clause()
        if asked:
            body.roles["question"] = [self.atom("question")]
        elif self.maybe(0.15):
            body = self.coordination(body, self.clause())
        return Phrase("sentence", {"body": [body], "stop": [self.atom("?" if asked else ".")]})

    def coordination(self, first: Phrase, second: Phrase) -> Phrase:
        roles: Roles = {"first": [first], "second": [second]}
        return Phrase("coordination", roles | {"conjunction": [self.atom("conjunction")]})

    def clause(self) -> Phrase:
        roles: Roles = {}
        self.add(roles, self.random(), pronoun=0.25)
        if not roles:
            roles["subject"] = [self.nominal()]
        self.predicate(roles)
        if "object" not in roles or self.maybe(0.2):
            roles["adverb"] = [self.atom("adverb")]
        return Phrase("clause", roles)

    def predicate(self, roles: Roles) -> None:
        transitive = self.random() < 0.7
        roles["head"] = [self.atom("verb" if transitive else "act")]
        if transitive:
            roles["object"] = [self.nominal()]
        self.add(roles, self.random(), past=0.3, future=0.5)
        self.add(roles, self.random(), negation=0.12)
        if self.maybe(0.3):
            place: Roles = {"adposition": [self.atom("adposition")], "noun": [self.noun()]}
            roles["place"] = [Phrase("place", place)]

    def nominal(self) -> Phrase:
        first = self.noun()
        return self.coordination(first, self.noun()) if self.maybe(0.08) else first

    def noun(self) -> Phrase:
        roles: Roles = {"head": [self.atom("noun")]}
        determiner, number = self.random(), self.random()
        self.add(roles, determiner, definite=0.4, demonstrative=0.5, indefinite=0.7)
        if "indefinite" not in roles:
            self.add(roles, number, plural=0.3, numeral=0.45)
        if self.maybe(0.35):
            roles["adjective"] = [self.atom("adjective")]
            if self.maybe(0.2):
                roles["adjective"].append(self.atom("adjective"))
        if self.maybe(0.08):
            relative: Roles = {"that": [self.atom("that")]}
            self.predicate(relative)
            roles["relative"] = [Phrase("relative", relative)]
        return Phrase("noun", roles)


@cache
def _zipf(count: int) -> list[float]:
    """The cumulative probabilities of `size` concepts."""
    sums = list(accumulate(1 / (rank + 2) for rank in range(count)))
    return [each / sums[-1] for each in sums]


class _Coiner:
    """Makes up forms of which none is the beginning of another."""

    def __init__(self) -> None:
        self.random = random.Random(0).random
        self.forms: set[str] = set()
        self.beginnings: set[str] = set()

    def coin(self, letters: dict[str, str], shapes: Sequence[str]) -> str:
        while True:
            form = "".join(self.one_of(letters[letter]) for letter in self.one_of(shapes))
            beginnings = {form[:length] for length in range(1, len(form) + 1)}
            if form not in self.beginnings and self.forms.isdisjoint(beginnings):
                self.forms.add(form)
                self.beginnings |= beginnings
                return form

    def one_of(self, options: Sequence[str]) -> str:
        return options[int(self.random() * len(options))]


Word = tuple[str, int]  # its form and the bits of the atoms that it expresses
_SLOT = re.compile(r"(\w+)(?:\.(\d))?(?:([-+=])(\S+))?")  # role, which word, mark, its name
_WHICH = {"": slice(None), "1": slice(0, 1), "2": slice(1, None)}


class Language:
    """A language ready to spell: the orders of its words, and its stems and endings by concept."""

    def __init__(self, name: str, stems: _Coiner, suffixes: _Coiner) -> None:
        rules = {"relative": _RULES[name]["clause"]} | _SHARED | _RULES[name]
        self.orders = {kind: _SLOT.findall(rules[kind]) for kind in _PHRASES}
        self.inflection = rules["inflection"].split()
        self.homographs = dict(re.findall(r"(\w+)=(\w+)", rules["homographs"]))
        double = dict(re.findall(r"(\w+)=(\d+)", rules["double"]))
        orders = " ".join(rules[kind] for kind in _PHRASES)
        spoken = {"verb", "act", *re.findall(r"(?<![-=\w])\w+", orders)}
        inflected = {*self.inflection, *re.findall(r"[-=](\w+)", orders)}
        letters, stem_shapes, suffix_shapes = map(str.split, rules["forms"].split("/"))
        alphabet = dict(zip("CV", letters, strict=True))
        self.words = {mark: [mark] for mark in _MARKS}
        self.endings = {}
        for kind, concepts in _CONCEPTS.items():
            shapes = stem_shapes if kind in _CONTENT else ["VC", "VCV"]
            for number, concept in enumerate(concepts, 1):
                if kind in spoken:
                    count = 2 if kind in double and number % int(double[kind]) == 0 else 1
                    self.words[concept] = [stems.coin(alphabet, shapes) for _ in range(count)]
                if kind in inflected:
                    self.endings[concept] = suffixes.coin(alphabet, suffix_shapes)
        self.words |= {concept: self.words[other] for concept, other in self.homographs.items()}

    def spell(self, phrase: Phrase, outer: Word = ("", 0)) -> list[Word]:
        """The words of a phrase; its head, or the heads within a headless one, end in `outer`."""
        words: list[Word] = []
        for role, which, mark, name in self.orders[phrase.kind]:
            if role not in phrase.roles:
                continue
            suffix, bits = self._suffixes(phrase, [name] if mark in ("-", "=") else [])
            ending = (suffix, bits if mark == "-" else 0)
            if role == "head":
                ending = _joined(self._suffixes(phrase, self.inflection), outer)
            elif "head" not in phrase.roles:
                ending = _joined(outer, ending)
            for part in phrase.roles[role]:
                if isinstance(part, Phrase):
                    words += self.spell(part, ending)
                else:
                    first, *second = ((form, part.bit) for form in self.words[part.concept])
                    words += [_joined(first, ending), *second][_WHICH[which]]
            if mark == "+":
                words.append((self.words[name][0], 0))
        return words

    def _suffixes(self, phrase: Phrase, roles: Sequence[str]) -> Word:
        """The endings that express roles of a phrase, or nothing."""
        ending = ("", 0)
        for role in roles:
            for concept, bit in phrase.roles.get(role, _UNSAID.get(role, ())):
                ending = _joined(ending, (self.endings[concept], bit))
        return ending


def _joined(first: Word, second: Word) -> Word:
    return first[0] + second[0], first[1] | second[1]


@cache
def _languages() -> dict[str, Language]:
    stems, suffixes = _Coiner(), _Coiner()
    return {name: Language(name, stems, suffixes) for name in LANGUAGES}


@dataclass(frozen=True)
class InventedPair:
    """Two sentences, words between single blanks, and the links (i, j) of their words, sorted."""

    source: str
    target: str
    links: list[Link]


def sentence_pairs(language: str, count: int, *, seed: int = 0) -> list[InventedPair]:
    """The first `count` pairs of a seed, from the pivot to `language`.

    Pair k depends on the seed and k alone, and its source side not on the language either.
    Raises `InputError` for an unknown language, the pivot, a negative count and a negative seed.
    """
    if language not in LANGUAGES[1:]:
        raise InputError(f"{language!r} is not one of the invented languages {LANGUAGES[1:]}")
    if count < 0 or seed < 0:
        raise InputError(f"neither the count ({count}) nor the seed ({seed}) can be negative")
    return [_pair(language, _Thought(seed, ordinal).sentence()) for ordinal in range(count)]


def _pair(language: str, meaning: Phrase) -> InventedPair:
    source, target = (_languages()[name].spell(meaning) for name in (LANGUAGES[0], language))
    links = [(i, j) for i, x in enumerate(source) for j, y in enumerate(target) if x[1] & y[1]]
    return InventedPair(_text(source), _text(target), links)


def _text(words: list[Word]) -> str:
    return " ".join(form for form, _ in words)


def vocabulary() -> list[str]:
    """A WordPiece vocabulary for all languages: special tokens, characters, stems and suffixes."""
    languages = _languages().values()
    stems = [word for language in languages for words in language.words.values() for word in words]
    suffixes = [suffix for language in languages for suffix in language.endings.values()]
    characters = sorted({character for form in (*stems, *suffixes) for character in form})
    pieces = [f"##{piece}" for piece in (*characters, *suffixes)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return list(dict.fromkeys([*special, *characters, *stems, *pieces]))


def main() -> None:
    """Write "source ||| target" lines to standard output, and the true links to a file."""
    parser = Parser("weam_ext.text.toy_corpus", main.__doc__)
    parser.add_argument("--language", required=True, choices=LANGUAGES[1:], help="of the target")
    parser.add_argument("--count", type=int, default=1000, help="pairs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides the pairs (default: 0)")
    parser.add_argument("--links", metavar="FILE", help="write the true links here, as Pharaoh i-j")
    arguments = parser.parse_args()
    pairs = sentence_pairs(arguments.language, arguments.count, seed=arguments.seed)
    if arguments.links:
        links = "".join(f"{format_links(pair.links)}\n" for pair in pairs)
        write_whole(Path(arguments.links), links.encode())
    results().writelines(f"{pair.source} ||| {pair.target}\n" for pair in pairs)


if __name__ == "__main__":
    run("weam_ext.text.toy_corpus", main)
