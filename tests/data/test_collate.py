"""Collate: shards read back, the order of a run, and padded batches with their links."""

import json
import pickle
from collections import Counter
from collections.abc import Callable
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from samples import Samples, sample_of
from small_tokenizers import FAMILIES, tokenizer
from weam_ref import links as twin

from weam_ext.common.errors import InputError
from weam_ext.data.collate import LEAST, LINKS, Batch, Collator, Layout, language_names
from weam_ext.data.shards import Sample, Shards, open_prepared
from weam_ext.ops.constants import UNITS
from weam_ext.ops.mask import capacity
from weam_ext.ops.token_links import Links
from weam_ext.prepare import chunks
from weam_ext.prepare.pipeline import prepare
from weam_ext.prepare.settings import PrepareSettings
from weam_ext.text.bitext import BitextSource
from weam_ext.text.pharaoh import Link
from weam_ext.text.toy_corpus import sentence_pairs

Texts = list[tuple[str, str]]


@pytest.fixture(scope="module")
def texts() -> dict[str, Texts]:
    """By bitext. Some sides share tokens between words, some words have many tokens."""
    sentences = {
        language: [(pair.source, pair.target) for pair in sentence_pairs(language, count)]
        for language, count in [("toku", 130), ("venn", 70)]
    }
    sentences["venn"][::5] = [(a.title(), f"今天 {b}") for a, b in sentences["venn"][::5]]
    return sentences


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def prepare_texts(directory: Path, texts: dict[str, Texts], family: str) -> Path:
    bitexts = []
    for name, pairs in texts.items():
        path = directory / f"{name}.txt"
        path.write_text("".join(f"{source} ||| {target}\n" for source, target in pairs))
        bitexts.append(BitextSource(name, (str(path),)))
    settings = PrepareSettings(max_length=256, posteriors=True, aligner="fast-align")
    prepare(bitexts, tokenizer(family), directory / "out", settings)
    return directory / "out"


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, texts: dict[str, Texts], family: str
) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "SHARD_PAIRS", 50)
        return prepare_texts(tmp_path_factory.mktemp("batch"), texts, family)


@pytest.fixture(scope="module")
def shards(prepared: Path) -> Shards:
    return open_prepared(prepared)[1]["train"]


# ----------------------------------------------------------------------------------------- shards


def test_shards_hold_what_was_written(prepared: Path) -> None:
    description, splits = open_prepared(prepared)
    for split, shards in splits.items():
        written = []
        for number, bitext in enumerate(description["corpora"]):
            for shard in bitext["shards"][split]:
                batch = pa.ipc.open_file(prepared / shard["file"]).get_batch(0)
                columns = [column.to_pylist() for column in batch]
                written += [(number, *row) for row in zip(*columns, strict=True)]
        found = [shards[k] for k in range(len(shards))]
        read = [tuple(column.tolist() for column in sample) for sample in found]
        assert [(n, *row) for n, row in zip(shards.corpus, read, strict=True)] == written
        assert [sample.tokens for sample in found] == shards.sides.sum(1).tolist()
        assert {column.dtype for sample in found for column in sample[:6]} == {np.dtype(np.int32)}
        assert shards.names == ["toku", "venn"]
        with pytest.raises(IndexError):
            shards[len(shards)]
    assert len(splits["train"]) == 180 and len(splits["heldout"]) == 20
    assert len(list(prepared.glob("train-*.arrow"))) == 5


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return prepare_texts(tmp_path, {"a": [(c, c) for c in "abcdefghijklmnopqrst"]}, "WordPiece")


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("name", "damage", "fault"),
    [
        ("train-00-00000.arrow", lambda path: flip(path, -1), "the file is not what was prepared"),
        ("train-00-00000.arrow", lambda path: flip(path, 700), "the file is not what was prepared"),
        ("heldout-00-00000.arrow", lambda path: path.write_bytes(b""), "the file is not what was"),
        ("train-00-00000.arrow", Path.unlink, "cannot be read (No such file or directory)"),
        ("prepared.json", lambda path: change(path, format=1), "format 1, expected 3"),
        ("prepared.json", lambda path: path.write_text("[1]"), "the record has no sha256"),
        ("prepared.json", lambda path: path.write_text("{}"), "the record has no sha256"),
        ("prepared.json", lambda path: path.write_text("{"), "not valid JSON"),
        ("prepared.json", lambda path: path.write_bytes(b"\xff"), "not valid JSON"),
    ],
)
def test_damaged_directories(
    small: Path, name: str, damage: Callable[[Path], object], fault: str
) -> None:
    open_prepared(small)
    damage(small / name)
    with pytest.raises(InputError) as error:
        open_prepared(small)
    assert str(error.value).startswith(f"{small / name}: {fault}")


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none: not a prepared directory \(no prepared.json\)$"):
        open_prepared(tmp_path / "none")


# ---------------------------------------------------------------------------------------- batches

APART = Layout(together=False, linked=False)
MEMBERS = [(3, 1003), (170, 5), (0, 2**40), (99, 7), (3, 8), (151, 0)]


def original(shards: Shards, texts: dict[str, Texts], family: str) -> dict[int, tuple[str, str]]:
    """The texts of the members, found by their tokens."""
    made = tokenizer(family)
    known = {}
    for source, target in chain.from_iterable(texts.values()):
        ids = made([source, target], add_special_tokens=False)["input_ids"]
        known[tuple(map(tuple, ids))] = (source, target)
    samples = {number: shards[number] for number, _ in MEMBERS}
    return {
        number: known[tuple(s.source_ids.tolist()), tuple(s.target_ids.tolist())]
        for number, s in samples.items()
    }


def compare(batch: Batch, own: Any) -> None:
    """A batch against the tokenizer's own."""
    assert torch.equal(batch.input_ids, own["input_ids"])
    assert torch.equal(batch.attention_mask, own["attention_mask"])
    assert torch.equal(batch.token_type_ids, own["token_type_ids"])
    assert torch.equal(batch.words >= 0, own["special_tokens_mask"] == 0)
    assert batch.tokens == int((batch.words >= 0).sum())
    assert {t.dtype for t in (batch.input_ids, batch.attention_mask, batch.token_type_ids)} == {
        torch.int64
    }


def compare_words(batch: Batch, expected: list[list[Any]]) -> None:
    """The words of a batch against those of the samples, and its sums over them."""
    squares = linked_squares = longest = 0
    degrees = [0] * batch.words.numel() if batch.links is None else batch.links.offsets.diff()
    for row, (found, sentences) in enumerate(zip(batch.words, expected, strict=True)):
        # A word of the sample, counted on from the sentence before; none is one of its own.
        known = [
            (side, word if word >= 0 else (place,))
            for side, words in enumerate(sentences)
            for place, word in enumerate(words.tolist())
        ]
        numbers = list(dict.fromkeys(known))
        assert found[found >= 0].tolist() == [numbers.index(word) for word in known]
        places = (found >= 0).nonzero().flatten().tolist()
        sizes = Counter(known)
        linked = Counter(
            word
            for word, place in zip(known, places, strict=True)
            if degrees[row * batch.words.shape[1] + place]
        )
        squares += sum(size**2 for size in sizes.values())
        linked_squares += sum(size**2 for size in linked.values())
        longest += max(sizes.values())
    assert (batch.squares, batch.linked_squares) == (squares, linked_squares)
    assert batch.longest == longest


def encoded(family: str, *sides: list[str]) -> Any:
    return tokenizer(family)(
        *sides,
        padding=True,
        return_tensors="pt",
        return_token_type_ids=True,
        return_special_tokens_mask=True,
    )


def test_pairs_are_framed_as_the_tokenizer_does(
    shards: Shards, texts: dict[str, Texts], family: str
) -> None:
    batch = Collator(tokenizer(family), Layout())(shards, MEMBERS)
    found = original(shards, texts, family)
    pairs = [found[number] for number, _ in MEMBERS]
    compare(batch, encoded(family, [a for a, _ in pairs], [b for _, b in pairs]))
    assert batch.draws.tolist() == [1003, 5, 2**40, 7, 8, 0]


def test_sentences_alone_are_framed_as_the_tokenizer_does(
    shards: Shards, texts: dict[str, Texts], family: str
) -> None:
    batch = Collator(tokenizer(family), APART)(shards, MEMBERS)
    found = original(shards, texts, family)
    compare(batch, encoded(family, [side for number, _ in MEMBERS for side in found[number]]))
    assert batch.draws.tolist() == [2 * n + side for _, n in MEMBERS for side in (0, 1)]
    assert batch.links is None and batch.linked == 0
    assert batch.capacities(0.3) == (capacity(batch.tokens, 0.3), 0)
    compare_words(
        batch, [[w] for n, _ in MEMBERS for w in (shards[n].source_words, shards[n].target_words)]
    )


def matrix(batch: Batch) -> set[Link]:
    """The links of a batch as (position, position); its rows ascend."""
    assert batch.links is not None
    offsets, positions = (tensor.tolist() for tensor in batch.links[:2])
    assert len(offsets) == batch.input_ids.numel() + 1
    assert (offsets[0], offsets[-1]) == (0, len(positions))
    rows = [positions[start:end] for start, end in pairwise(offsets)]
    assert all(a < b for row in rows for a, b in pairwise(row))
    assert batch.linked == sum(map(bool, rows))
    return {(a, b) for a, row in enumerate(rows) for b in row}


Weights = dict[Link, float]


def weights_of(batch: Batch) -> tuple[Weights, Weights]:
    """By entry (a, b): its share of row a, and of row b."""
    assert batch.links is not None
    offsets, positions, *both = batch.links
    rows = torch.arange(batch.input_ids.numel()).repeat_interleave(offsets.diff())
    entries = list(zip(rows.tolist(), positions.tolist(), strict=True))
    own, others = (
        dict(zip(entries, weights.tolist(), strict=True)) for weights in both if weights is not None
    )
    return own, others


def expected_weights(
    family: str,
    samples: list[Sample],
    word_links: list[dict[Link, float]],
    mode: str,
    length: int,
) -> tuple[Weights, Weights]:
    """Word link by word link, so that it is known where a token link comes from."""
    weights: Weights = {}
    for row, links in enumerate(word_links):
        for link, probability in links.items():
            linked: list[list[Link]] = [[] for _ in samples]
            linked[row] = [link]
            for entry in expected_links(family, samples, linked, mode, length):
                weights[entry] = max(probability, LEAST)
    sums: Counter[int] = Counter()
    for (a, _), weight in weights.items():
        sums[a] += weight  # type: ignore[assignment]
    own = {(a, b): weight / sums[a] for (a, b), weight in weights.items()}
    return own, {(a, b): own[b, a] for a, b in own}


def expected_links(
    family: str, samples: list[Sample], word_links: list[list[Link]], mode: str, length: int
) -> set[Link]:
    """Every token link of weam_ref, shifted to its place in the batch, both ways."""
    special = tokenizer(family).num_special_tokens_to_add(pair=True)
    found = set()
    for row, (sample, links) in enumerate(zip(samples, word_links, strict=True)):
        source, target = sample.source_words.tolist(), sample.target_words.tolist()
        for a, b in twin.token_links(source, target, links, mode):
            here = row * length + 1 + a
            there = row * length + special - 1 + len(source) + b
            found |= {(here, there), (there, here)}
    return found


def links_of(sample: Sample) -> list[Link]:
    return list(zip(sample.link_source.tolist(), sample.link_target.tolist(), strict=True))


@pytest.mark.parametrize("mode", twin.MODES)
def test_links(shards: Shards, family: str, mode: str) -> None:
    batch = Collator(tokenizer(family), Layout(link_mode=mode))(shards, MEMBERS)
    samples = [shards[number] for number, _ in MEMBERS]
    found = matrix(batch)
    assert found == expected_links(
        family, samples, [links_of(s) for s in samples], mode, batch.input_ids.shape[1]
    )
    assert all(batch.words.view(-1)[a] >= 0 for a, _ in found)
    assert batch.capacities(0.3) == (capacity(batch.tokens, 0.3), capacity(batch.linked, 0.3))
    compare_words(batch, [[s.source_words, s.target_words] for s in samples])


def test_capacities_follow_the_unit_and_the_rate(shards: Shards, family: str) -> None:
    batch = Collator(tokenizer(family), Layout())(shards, MEMBERS)
    for unit in UNITS:
        for exact in (False, True):
            rounding = (len(MEMBERS) if unit == "token" else batch.longest) / 2 * exact
            assert batch.capacities(0.3, unit, exact) == (
                capacity(batch.tokens, 0.3, unit=unit, squares=batch.squares, rounding=rounding),
                capacity(
                    batch.linked, 0.3, unit=unit, squares=batch.linked_squares, rounding=rounding
                ),
            )


def shuffled(s: Any, sample: int) -> list[Link]:
    return twin.shuffle_links(links_of(s), max(s.target_words) + 1, seed=9, sample=sample)


def random(s: Any, sample: int) -> list[Link]:
    sizes = max(s.source_words) + 1, max(s.target_words) + 1
    return twin.random_links(len(links_of(s)), *sizes, seed=9, sample=sample)


@pytest.mark.parametrize("control", [shuffled, random])
def test_the_controls_links(shards: Shards, family: str, control: Any) -> None:
    """They belong to the sample, whatever its ordinal; the rest stays as it is."""
    true = Collator(tokenizer(family), Layout())(shards, MEMBERS)
    links = control.__name__
    batch = Collator(tokenizer(family), Layout(), links=links, seed=9)(shards, MEMBERS)
    samples = [shards[number] for number, _ in MEMBERS]
    expected = [control(s, number) for s, (number, _) in zip(samples, MEMBERS, strict=True)]
    length = batch.input_ids.shape[1]
    assert matrix(batch) == expected_links(family, samples, expected, "all", length)
    assert matrix(batch) != matrix(true)
    for name in ("input_ids", "attention_mask", "token_type_ids", "words", "draws"):
        assert torch.equal(getattr(batch, name), getattr(true, name))


def probabilities(sample: Any) -> list[float]:
    found: list[float] = sample.probability.tolist()
    return found


def shuffled_weights(s: Any, sample: int) -> dict[Link, float]:
    """Each link on its own goes where the permutation takes it, with its weight."""
    count = max(s.target_words) + 1
    moved = [twin.shuffle_links([link], count, seed=9, sample=sample)[0] for link in links_of(s)]
    return dict(zip(moved, probabilities(s), strict=True))


def random_link_weights(s: Any, sample: int) -> dict[Link, float]:
    return dict(zip(random(s, sample), probabilities(s), strict=True))


def true_weights(s: Any, _: int) -> dict[Link, float]:
    return dict(zip(links_of(s), probabilities(s), strict=True))


@pytest.mark.parametrize(
    ("links", "mode"),
    [*(("true", mode) for mode in twin.MODES), ("shuffled", "all"), ("random", "all")],
)
def test_soft_links(shards: Shards, family: str, links: str, mode: str) -> None:
    """The weights of a plain computation, each the share of its row and of its column."""
    known = {"true": true_weights, "shuffled": shuffled_weights, "random": random_link_weights}
    layout = Layout(link_mode=mode, soft=True)
    batch = Collator(tokenizer(family), layout, links=links, seed=9)(shards, MEMBERS)
    hard = Collator(tokenizer(family), Layout(link_mode=mode), links=links, seed=9)(shards, MEMBERS)
    assert batch.links is not None and hard.links is not None
    assert hard.links[2:] == (None, None)
    assert torch.equal(batch.links.offsets, hard.links.offsets)
    assert torch.equal(batch.links.positions, hard.links.positions)
    assert {weights.dtype for weights in batch.links[2:] if weights is not None} == {torch.float32}
    samples = [shards[number] for number, _ in MEMBERS]
    words = [known[links](s, number) for s, (number, _) in zip(samples, MEMBERS, strict=True)]
    found = weights_of(batch)
    expected = expected_weights(family, samples, words, mode, batch.input_ids.shape[1])
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    assert len(set(found[0].values())) > 10


def test_a_row_does_not_depend_on_its_batch(shards: Shards, family: str) -> None:
    collate = Collator(tokenizer(family), Layout(soft=True))
    whole = collate(shards, MEMBERS)
    length = whole.input_ids.shape[1]
    linked = matrix(whole)
    weights = weights_of(whole)[0]
    for row, member in enumerate(MEMBERS):
        alone = collate(shards, [member])
        size = alone.input_ids.shape[1]
        assert torch.equal(whole.input_ids[row, :size], alone.input_ids[0])
        assert alone.attention_mask is None
        assert whole.attention_mask is not None
        assert not whole.attention_mask[row, size:].any()
        here = {(a - row * length, b - row * length) for a, b in linked if a // length == row}
        assert here == matrix(alone)
        shift = row * length
        assert weights_of(alone)[0] == {
            (a - shift, b - shift): weight
            for (a, b), weight in weights.items()
            if a // length == row
        }


def test_sentences_apart_keep_their_links(shards: Shards, family: str) -> None:
    """The same links between the same tokens, which lie in rows of their own."""
    together = Collator(tokenizer(family), Layout())(shards, MEMBERS)
    apart = Collator(tokenizer(family), Layout(together=False))(shards, MEMBERS)
    plain = Collator(tokenizer(family), APART)(shards, MEMBERS)
    assert torch.equal(apart.input_ids, plain.input_ids)
    assert torch.equal(apart.draws, plain.draws)
    assert apart.linked == together.linked and apart.unlinked == together.unlinked
    assert apart.paired.all() and together.paired.all()

    def ordinary(batch: Batch) -> list[int]:
        """The places of ordinary tokens, in the order of the text: the same in both layouts."""
        return (batch.words.flatten() >= 0).nonzero().flatten().tolist()

    number = dict(zip(ordinary(apart), ordinary(together), strict=True))
    assert {(number[a], number[b]) for a, b in matrix(apart)} == matrix(together)
    length = apart.input_ids.shape[1]
    assert all({a // length % 2, b // length % 2} == {0, 1} for a, b in matrix(apart))


@pytest.mark.parametrize("together", [True, False])
def test_sizes_are_those_of_batches(shards: Shards, family: str, together: bool) -> None:
    collate = Collator(tokenizer(family), Layout(together=together))
    sizes = collate.sizes(shards.sides)
    for number in range(0, len(shards), 7):
        batch = collate(shards, [(number, number)])
        found = sizes.tokens[number], sizes.widths[number], sizes.rows[number]
        assert found == (batch.tokens, batch.input_ids.shape[1], batch.input_ids.shape[0])
        mask = batch.attention_mask
        assert sizes.used[number] == (batch.input_ids.numel() if mask is None else mask.sum())


def test_one_to_one_links_at_the_last_token(shards: Shards, family: str) -> None:
    layout = Layout(together=False, link_mode="last", one_to_one=True, anchors=True)
    batch = Collator(tokenizer(family), layout)(shards, MEMBERS)
    found = matrix(batch)
    assert len({a for a, _ in found}) == len(found)
    length, words = batch.input_ids.shape[1], batch.words
    expected = 0
    for sample in (shards[number] for number, _ in MEMBERS):
        expected += len(twin.one_to_one(links_of(sample)))
    assert len(found) == 2 * expected
    assert batch.anchors is not None
    for place in [*(a for a, _ in found), *batch.anchors.tolist()]:
        row, at = divmod(place, length)
        assert words[row, at] >= 0
        assert at + 1 == length or words[row, at + 1] != words[row, at]


def test_languages_and_the_pivot() -> None:
    """Anchors lie on the English side, on the source side where there is none."""
    pair = sample_of([0, 1], [0, 1, 1, 2], [])
    alone = sample_of([0, 1], [], [])
    given: Any = Samples(
        [pair, pair, pair, alone], [("de", "en"), ("en", "sw"), ("fr", "de"), ("en",)]
    )
    assert language_names(given) == ["de", "en", "fr", "sw"]
    layout = Layout(languages=True, anchors=True)
    batch = Collator(tokenizer("WordPiece"), layout)(given, [(k, k) for k in range(4)])
    assert batch.languages is not None and batch.anchors is not None
    assert batch.languages.tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 1, 0],
        [0, 1, 1, 0, 3, 3, 3, 3, 0],
        [0, 2, 2, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0, 0, 0, 0],
    ]
    assert batch.paired.tolist() == [True, True, True, False]
    assert batch.anchors.tolist() == [4, 6, 7, 10, 11, 19, 20, 28, 29]
    assert batch.tokens == 20 and batch.unlinked == 18


@pytest.mark.parametrize("links", LINKS)
def test_no_links_at_all(links: str) -> None:
    """Not even a word on the target side; the kernels still get a matrix."""
    samples: Any = [sample_of([0, 1], [0], []), sample_of([0], [-1, -1], [])]
    batch = Collator(tokenizer("WordPiece"), Layout(), links=links)(samples, [(0, 0), (1, 1)])
    assert matrix(batch) == set()
    assert batch.linked == 0
    assert batch.capacities(0.5) == (6, 0)
    assert batch.links is not None
    assert [tensor.dtype for tensor in batch.links[:2]] == [torch.int64] * 2
    soft = Collator(tokenizer("WordPiece"), Layout(soft=True), links=links)
    weights = (soft(samples, [(0, 0), (1, 1)]).links or ())[2:]
    assert [(w.shape, w.dtype) for w in weights if w is not None] == [((0,), torch.float32)] * 2


SOFT = Layout(soft=True)


def test_uniform_weights_are_hard_links() -> None:
    """Also those below the least weight, 0 among them: they are never divided by."""
    links = [(0, 0), (0, 1), (0, 2), (1, 1), (2, 1)]
    for weight in (1.0, 0.3, 1e-20, 0.0):
        pair: Any = [sample_of([0, 1, 2], [0, 1, 2], links, [weight] * 5)]
        own, others = weights_of(Collator(tokenizer("WordPiece"), SOFT)(pair, [(0, 0)]))
        degrees = Counter(a for a, _ in own)
        assert own == pytest.approx({(a, b): 1 / degrees[a] for a, b in own}, rel=1e-7)
        assert others == {(a, b): own[b, a] for a, b in own}


def test_an_unlikely_link_still_counts() -> None:
    pair: Any = [sample_of([0], [0, 1], [(0, 0), (0, 1)], [0.0, 1.0])]
    own, _ = weights_of(Collator(tokenizer("WordPiece"), SOFT)(pair, [(0, 0)]))
    assert own == pytest.approx({(1, 3): LEAST, (1, 4): 1, (3, 1): 1, (4, 1): 1}, rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "fault"),
    [
        (None, "need the probability of each link: prepare with --posteriors"),
        ([float("nan")], "sample 0: the probability of a link is not between 0 and 1"),
        ([float("inf")], "sample 0: the probability of a link is not between 0 and 1"),
        ([-0.5], "sample 0: the probability of a link is not between 0 and 1"),
    ],
)
def test_weights_that_are_none(weights: list[float] | None, fault: str) -> None:
    pair: Any = [sample_of([0], [0], [(0, 0)], weights)]
    with pytest.raises(InputError, match=fault):
        Collator(tokenizer("WordPiece"), SOFT)(pair, [(0, 0)])


@pytest.mark.parametrize("soft", [False, True])
def test_batches_travel_from_workers(soft: bool) -> None:
    pair: Any = [sample_of([0], [0], [(0, 0)], [0.5])]
    batch = Collator(tokenizer("WordPiece"), Layout(soft=soft))(pair, [(0, 0)])
    for moved in (pickle.loads(pickle.dumps(batch)), batch.mapped(torch.clone)):
        assert moved.links is not None and batch.links is not None
        assert isinstance(moved.links, Links)
        for there, here in zip(moved.links, batch.links, strict=True):
            assert there is here is None or torch.equal(there, here)


def test_a_token_in_no_word_is_a_word_of_its_own() -> None:
    samples: Any = [sample_of([0, 0, -1, -1, 1], [0, 0, -1], [])]
    batch = Collator(tokenizer("WordPiece"), Layout())(samples, [(0, 0)])
    assert batch.words.tolist() == [[-1, 0, 0, 1, 2, 3, -1, 4, 4, 5, -1]]
    assert (batch.tokens, batch.squares, batch.longest) == (8, 12, 2)


def test_golden_example() -> None:
    """Figure 1 of the paper: positions 1 to 12, padded at the end."""
    golden: Any = [sample_of([0, 1, 2, 3, 4], [0, 1, 2, 3], [(2, 1), (3, 0), (4, 3)])]
    batch = Collator(tokenizer("WordPiece"), Layout())(golden, [(0, 0)])
    assert matrix(batch) == {(3, 8), (8, 3), (4, 7), (7, 4), (5, 10), (10, 5)}


def test_the_processor_keeps_the_batch() -> None:
    batch = Collator(tokenizer("WordPiece"), APART)([sample_of([0], [0], [])], [(0, 0)])  # type: ignore[arg-type]
    assert batch.to(torch.device("cpu")) is batch


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("pair", [True, False])
def test_batches_on_a_device(pair: bool) -> None:
    samples: Any = [sample_of([0, 1], [0], [(0, 0)]), sample_of([0], [0], [])]
    batch = Collator(tokenizer("WordPiece"), Layout(together=pair, linked=pair))(
        samples, [(0, 0), (1, 1)]
    )
    moved = batch.to(torch.device("cuda"))
    assert (moved.tokens, moved.linked) == (batch.tokens, batch.linked)
    for name in ("input_ids", "attention_mask", "token_type_ids", "words", "draws"):
        assert getattr(moved, name).is_cuda
        assert torch.equal(getattr(moved, name).cpu(), getattr(batch, name))
    for there, here in zip(moved.links or (), batch.links or (), strict=True):
        assert there is here is None or torch.equal(there.cpu(), here)


def test_collators_that_cannot_be(shards: Shards, family: str) -> None:
    with pytest.raises(InputError, match=r"^unknown links 'best'; there are true, shuffled, r"):
        Collator(tokenizer(family), Layout(), links="best")
    with pytest.raises(InputError, match=r"^unknown link mode 'middle'"):
        Collator(tokenizer(family), Layout(link_mode="middle"))(shards, MEMBERS)
