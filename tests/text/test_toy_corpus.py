"""Toy corpus: the same sentences everywhere, true links, and a vocabulary that fits them."""

import doctest
import hashlib
import itertools
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from helpers import FAST_ALIGN
from tokenizers import Tokenizer, models, pre_tokenizers

from weam_ext import InputError
from weam_ext.text import toy_corpus as invented
from weam_ext.text.bitext import BitextSource, read_bitext
from weam_ext.text.lines import read_lines
from weam_ext.text.pharaoh import Link, format_links, parse_links
from weam_ext.text.toy_corpus import LANGUAGES, InventedPair, sentence_pairs, vocabulary

PIVOT, *OTHERS = LANGUAGES
# Of the first 100 pairs of seed 0. A change here makes the files in data/fast_align stale.
DIGESTS = {
    "toku": "4767ba574329f68af0d9e6858b3740c30c32d271fda5efa60f6684719b7efa9c",
    "venn": "d561293637a4d979c5ac5cf5f8a1781260a735d78f1d7f0e28545445e8a0a55a",
    "orlu": "c2913640ef89a9d21b39c438f3c654377098c707331ebb74ae7a6f7cdb73b4cc",
}
every_language = pytest.mark.parametrize("language", OTHERS)


def lines(pairs: list[InventedPair]) -> str:
    return "".join(f"{pair.source} ||| {pair.target}\n" for pair in pairs)


def words(pair: InventedPair) -> tuple[list[str], list[str]]:
    return pair.source.split(" "), pair.target.split(" ")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    ids = {piece: number for number, piece in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@every_language
def test_the_same_sentences_everywhere(language: str) -> None:
    pairs = sentence_pairs(language, 100)
    text = lines(pairs) + "".join(f"{format_links(pair.links)}\n" for pair in pairs)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGESTS[language]


@every_language
def test_a_pair_depends_on_seed_and_number_alone(language: str) -> None:
    assert sentence_pairs(language, 20, seed=7)[:10] == sentence_pairs(language, 10, seed=7)
    assert sentence_pairs(language, 10, seed=7) != sentence_pairs(language, 10, seed=8)
    sources = [pair.source for pair in sentence_pairs(language, 20, seed=7)]
    assert sources == [pair.source for pair in sentence_pairs(OTHERS[0], 20, seed=7)]
    assert sentence_pairs(language, 0) == []


@every_language
def test_sentences_are_distinct_and_of_natural_length(language: str) -> None:
    pairs = sentence_pairs(language, 2000)
    assert len({(pair.source, pair.target) for pair in pairs}) >= 0.95 * len(pairs)
    lengths = sorted(len(side) for pair in pairs for side in words(pair))
    assert lengths[0] >= 3
    assert lengths[-1] <= 24
    share = sum(4 <= length <= 16 for length in lengths) / len(lengths)
    assert share >= 0.95


@every_language
def test_links_are_sorted_unique_and_in_range(language: str) -> None:
    for pair in sentence_pairs(language, 2000):
        source, target = words(pair)
        assert all(0 <= i < len(source) and 0 <= j < len(target) for i, j in pair.links)
        assert pair.links == sorted(set(pair.links))
        assert (len(source) - 1, len(target) - 1) in pair.links  # the final punctuation


@every_language
def test_links_are_true(language: str, tokenizer: Tokenizer) -> None:
    """Wherever a stem with content occurs, it is linked to one and the same stem, its concept's."""
    common: dict[str, set[str]] = {}
    for pair in sentence_pairs(language, 2000):
        source, target = (
            [tokenizer.encode(word).tokens[0] for word in side] for side in words(pair)
        )
        linked: dict[str, set[str]] = defaultdict(set)
        for i, j in pair.links:
            linked[source[i]].add(target[j])
        for stem in source:
            if stem[0] not in "aeiou":
                common[stem] = common.get(stem, linked[stem]) & linked[stem]
    assert len(common) > 250
    assert all(common.values())


@every_language
def test_every_phenomenon_occurs(language: str) -> None:
    counts: dict[str, int] = defaultdict(int)
    for pair in sentence_pairs(language, 2000):
        source, target = words(pair)
        forward, backward = defaultdict(list), defaultdict(list)
        for i, j in pair.links:
            forward[i].append(j)
            backward[j].append(i)
        counts["source word without a link"] += len(forward) < len(source)
        counts["target word without a link"] += len(backward) < len(target)
        counts["one to many"] += any(len(js) > 1 for js in forward.values())
        counts["many to one"] += any(len(each) > 1 for each in backward.values())
        counts["one to words apart"] += any(js[-1] - js[0] >= len(js) for js in forward.values())
        counts["crossing"] += any(
            (a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in itertools.combinations(pair.links, 2)
        )
    if language == "toku":  # keeps the two words of a concept together
        assert not counts.pop("one to words apart")
    assert len(counts) >= 5
    assert all(count > 20 for count in counts.values()), counts


def test_questions_and_negation_occur() -> None:
    pairs = sentence_pairs("venn", 2000)
    assert 100 < sum(pair.target.endswith(" ?") for pair in pairs) < 500
    first, second = invented._languages()["venn"].words["negation0"]
    negated = [words(pair)[1] for pair in pairs if first in words(pair)[1]]
    assert len(negated) > 100
    assert all(target.count(first) == target.count(second) for target in negated)


# --------------------------------------------------------------------------------------- language


def test_forms_belong_to_one_concept_of_one_language() -> None:
    owners: dict[str, set[tuple[str, str]]] = defaultdict(set)
    homographs = set()
    for name, language in invented._languages().items():
        homographs |= {(name, concept) for concept in language.homographs}
        for concept, forms in language.words.items():
            for form in forms:
                assert form.isalpha() or form in ".?,"
                owners[form].add((name, concept))
    shared = {form for form, concepts in owners.items() if len(concepts - homographs) > 1}
    assert shared == {".", "?", ","}
    assert sum(len(concepts) > 1 for concepts in owners.values()) == 3 + len(homographs)


def test_no_stem_begins_another_and_no_suffix_either() -> None:
    languages = invented._languages().values()
    stems = {word for each in languages for forms in each.words.values() for word in forms}
    suffixes = {suffix for each in languages for suffix in each.endings.values()}
    for forms in (sorted(stems), sorted(suffixes)):
        assert not any(b.startswith(a) for a, b in itertools.pairwise(forms))


def test_orders_name_known_roles() -> None:
    """A misspelt role would silently be left unsaid."""
    parts = {"body", "stop", "first", "second", "subject", "object", "place", "noun", "relative"}
    known = parts | {"head", *invented._CONTENT, *invented._GRAMMAR}
    for language in invented._languages().values():
        assert {role for order in language.orders.values() for role, *_ in order} <= known
        assert set(language.inflection) <= known


# ------------------------------------------------------------------------------------- vocabulary


def test_vocabulary_is_unique_and_begins_as_bert_does() -> None:
    pieces = vocabulary()
    assert pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(set(pieces)) == len(pieces)
    assert set(vocabulary()) >= {piece.removeprefix("##") for piece in pieces if len(piece) == 3}


@every_language
def test_words_are_berts_and_none_is_unknown(language: str, tokenizer: Tokenizer) -> None:
    seen = set()
    for pair in sentence_pairs(language, 2000):
        for text, side in zip((pair.source, pair.target), words(pair), strict=True):
            pre_tokenized = tokenizer.pre_tokenizer.pre_tokenize_str(text)
            assert [word for word, _ in pre_tokenized] == side
            seen.update(side)
    for word in seen:
        stem, *suffixes = tokenizer.encode(word).tokens
        assert "".join((stem, *(piece[2:] for piece in suffixes))) == word
        assert len(stem) > 1 or word in ".?,"  # no word is spelt out by its letters
        assert all(len(piece) > 3 for piece in suffixes)


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_split_into_stem_and_suffixes(language: str, tokenizer: Tokenizer) -> None:
    rules = invented._languages()[language]
    endings = sorted(rules.endings.values())
    for stem in filter(str.isalpha, itertools.chain(*rules.words.values())):
        for suffixes in [(), *itertools.product(endings[:6]), *itertools.permutations(endings[:4])]:
            tokens = tokenizer.encode("".join((stem, *suffixes))).tokens
            assert tokens == [stem, *(f"##{suffix}" for suffix in suffixes)]


# -------------------------------------------------------------------------- errors, command line


@pytest.mark.parametrize(
    ("language", "count", "seed"),
    [("esperanto", 1, 0), (PIVOT, 1, 0), ("venn", -1, 0), ("venn", 1, -1)],
)
def test_refusals(language: str, count: int, seed: int) -> None:
    with pytest.raises(InputError):
        sentence_pairs(language, count, seed=seed)


def test_command_line(tmp_path: Path) -> None:
    links = tmp_path / "links"
    command = [sys.executable, "-m", "weam_ext.text.toy_corpus"]
    flags = ["--language", "venn", "--count", "30", "--seed", "5", "--links", str(links)]
    output = subprocess.run(command + flags, check=True, capture_output=True).stdout
    pairs = sentence_pairs("venn", 30, seed=5)
    assert output.decode() == lines(pairs)
    assert [parse_links(line, "links") for line in read_lines(str(links))] == [
        pair.links for pair in pairs
    ]
    assert list(tmp_path.iterdir()) == [links]
    written = tmp_path / "bitext"
    written.write_bytes(output)
    bitext = read_bitext(BitextSource("invented", (str(written),)))
    assert list(bitext) == [(pair.source, pair.target) for pair in pairs]


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (["--count", "-1"], "weam_ext.text.toy_corpus: error: neither the count (-1) nor the seed"),
        (["--links", "/nonexistent/links"], "/nonexistent/links"),
        (["--language", "esperanto"], "invalid choice"),
    ],
)
def test_command_line_refusals(flags: list[str], fault: str) -> None:
    command = [sys.executable, "-m", "weam_ext.text.toy_corpus", "--language", "venn", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert fault in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_the_example_in_the_docstring() -> None:
    failed, attempted = doctest.testmod(invented)
    assert attempted and not failed


# ------------------------------------------------------------------- fast_align on these sentences


def fixture(name: str) -> list[list[Link]]:
    return [parse_links(line, name) for line in read_lines(str(FAST_ALIGN / f"{name}.xz"))]


@every_language
def test_fast_align_was_given_these_sentences(language: str) -> None:
    log = json.loads((FAST_ALIGN / "log.json").read_text())[language]
    corpus = lines(sentence_pairs(language, 2000)).encode()
    assert log["corpus_sha256"] == hashlib.sha256(corpus).hexdigest()


@every_language
def test_the_sentences_are_neither_trivial_nor_hopeless(language: str) -> None:
    true = [set(pair.links) for pair in sentence_pairs(language, 2000)]
    both = [fixture(f"{language}.{direction}") for direction in ("forward", "reverse")]
    found = [set(forward) & set(reverse) for forward, reverse in zip(*both, strict=True)]
    hits = sum(len(a & b) for a, b in zip(true, found, strict=True))
    error_rate = 1 - 2 * hits / (sum(map(len, true)) + sum(map(len, found)))
    assert 0.02 < error_rate < 0.25
