"""Retrieval: neighbours as the reference finds them, and the pairs that it is asked of."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from transfer_files import LAYERS, write
from weam_ref.retrieval import ranking, retrieval_accuracy

from weam_ext.common.errors import InputError
from weam_ext.text.bitext import BitextSource
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.frozen import retrieval
from weam_ext.transfer.frozen.retrieval import (
    METHODS,
    directions,
    published_pairs,
    read_pairs,
    retrieval_pairs,
    retrieve,
    search,
)


def accuracy(
    source: Any, target: Any, *, centred: bool, method: str = "cosine"
) -> tuple[float, float]:
    sides = [torch.as_tensor(side, dtype=torch.float32) for side in (source, target)]
    own = torch.arange(len(source))[:, None]
    found = retrieve(sides[0], sides[1], own, centred=centred, methods=[method])[method]
    for way in found:
        assert torch.equal(way.ranks == 1, way.nearest[:, None] == own)
    forward, backward = ((way.ranks == 1).double().mean().item() for way in found)
    return forward, backward


@st.composite
def two_sides(draw: st.DrawFn) -> list[list[list[float]]]:
    """Small integers, among which equal, parallel and zero vectors are common."""
    count, width = draw(st.integers(2, 9)), draw(st.integers(1, 4))
    vector = st.lists(st.integers(-2, 2).map(float), min_size=width, max_size=width)
    side = st.lists(vector, min_size=count, max_size=count)
    return [draw(side), draw(side)]


@settings(max_examples=200, deadline=None)
@given(two_sides(), st.booleans())
def test_as_the_reference(sides: list[list[list[float]]], centred: bool) -> None:
    assert accuracy(*sides, centred=centred) == retrieval_accuracy(*sides, centred=centred)


@settings(max_examples=200, deadline=None)
@given(two_sides(), st.data(), st.sampled_from([1, 7, 1 << 22]))
def test_ranks_as_the_reference(
    sides: list[list[list[float]]], data: st.DataObject, cells: int
) -> None:
    """Of captions in groups of any sizes; either side may have one more that is right to none."""
    owners = sorted(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=len(sides[0]) - 1)))
    queries, candidates = sides[0][: len(owners)], sides[1]
    groups = [[k for k, other in enumerate(owners) if other == own] for own in owners]
    right = torch.tensor([(group * len(owners))[: len(owners)] for group in groups])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_CELLS", cells)
        vectors = [directions(torch.tensor(side), centred=False) for side in (queries, candidates)]
        found = search(*vectors, right)
    expected = ranking(queries, candidates)
    assert found.nearest.tolist() == [order[0] for order in expected]
    for order, group, ranks in zip(expected, groups, found.ranks.tolist(), strict=True):
        assert ranks[: len(group)] == [order.index(k) + 1 for k in group]
        assert min(ranks) == min(ranks[: len(group)])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [2, 3, 40])
def test_every_method_as_the_reference(method: str, count: int) -> None:
    source = torch.randn(count, 5, generator=torch.Generator().manual_seed(count))
    target = source + torch.randn(count, 5, generator=torch.Generator().manual_seed(1))
    found = accuracy(source, target, centred=False, method=method)
    sides = source.tolist(), target.tolist()
    assert found == retrieval_accuracy(*sides, centred=False, method=method)
    own = torch.arange(count)[:, None]
    forward, _ = retrieve(source, target, own, centred=False, methods=METHODS)[method]
    orders = ranking(*sides, method)
    assert forward.ranks[:, 0].tolist() == [order.index(k) + 1 for k, order in enumerate(orders)]


def test_hubs_are_nobody_s_neighbours_to_csls_and_margin() -> None:
    # The last target lies in the middle of all sources: the nearest of most by cosine.
    source = torch.eye(6) + 0.6
    target = torch.cat([torch.eye(6)[:5] + 0.2 * torch.randn(
        5, 6, generator=torch.Generator().manual_seed(0)), torch.ones(1, 6)])  # fmt: skip
    plain, *rest = (accuracy(source, target, centred=False, method=m)[0] for m in METHODS)
    assert min(rest) > plain


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("cells", [1, 1 << 8, 1 << 22])
def test_as_the_reference_in_blocks(
    centred: bool, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weam_ext.transfer.frozen.retrieval._CELLS", cells)
    source = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    target = source + torch.randn(50, 7, generator=torch.Generator().manual_seed(1))
    found = accuracy(source, target, centred=centred)
    assert found == retrieval_accuracy(source.tolist(), target.tolist(), centred=centred)
    assert 0.1 < found[0] < 0.9


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("cells", [1, 1 << 8, 1 << 22])
def test_an_encoder_that_says_always_the_same(
    centred: bool, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weam_ext.transfer.frozen.retrieval._CELLS", cells)
    constant = torch.randn(1, 33).expand(50, 33)
    assert accuracy(constant, constant * 3, centred=centred) == (1 / 50, 1 / 50)


@pytest.mark.parametrize("centred", [False, True])
def test_identical_sides(centred: bool) -> None:
    vectors = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    assert accuracy(vectors, vectors, centred=centred) == (1.0, 1.0)


@settings(max_examples=50, deadline=None)
@given(two_sides(), st.lists(st.integers(-1000, 1000), min_size=4, max_size=4))
def test_centring_removes_an_offset(sides: list[list[list[float]]], offset: list[int]) -> None:
    source, target = (torch.tensor(side) for side in sides)
    moved = target + torch.tensor(offset[: target.shape[1]])
    own = torch.arange(len(source))[:, None]
    expected, found = (
        retrieve(source, side, own, centred=True)["cosine"] for side in (target, moved)
    )
    for way, other in zip(found, expected, strict=True):
        assert torch.equal(way.nearest, other.nearest) and torch.equal(way.ranks, other.ranks)


def test_an_offset_hurts_raw_vectors() -> None:
    vectors = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    moved = vectors + 50 * torch.eye(7)[0]
    assert accuracy(vectors, moved, centred=True) == (1.0, 1.0)
    assert max(accuracy(vectors, moved, centred=False)) < 0.5


def test_pairs_left_out() -> None:
    bitext = [
        ("a", "x"),
        ("b", ""),
        ("\u3000", "y"),
        ("c", "x"),
        ("a", "z"),
        ("d", "z"),
        ("e", "w"),
    ]
    found = retrieval_pairs("toy", bitext)
    # z was seen beside a, although that pair is not used.
    assert found.pairs == [("a", "x"), ("e", "w")]
    assert found.keys == ["0", "6"]  # of the lines, which are parallel over languages
    assert (found.empty, found.duplicates) == (2, 3)
    assert found.sha256 != retrieval_pairs("toy", [("a", "x"), ("e", "v")]).sha256


def test_pairs_of_several_captions() -> None:
    first, second = [("a", "x"), ("b", "y"), ("c", "")], [("d", "z"), ("a", "w"), ("e", "v")]
    found = retrieval_pairs("test_2016:de", first, second)
    assert found.pairs == [("a", "x"), ("d", "z"), ("b", "y"), ("e", "v")]
    assert found.groups() == {
        "test_2016:0": [0, 1], "test_2016:1": [2], "test_2016:2": [3],
    }  # fmt: skip
    assert found.first(1).pairs == found.pairs[:2]
    assert found.first(None) == found
    apart = retrieval_pairs("test_2016:de", found.pairs)
    assert found.sha256 != apart.sha256  # other ones are right


def test_retrieval_sets() -> None:
    data = real_data("tatoeba-laser").parent
    tatoeba = retrieval.published_pairs("tatoeba", data)
    assert len(tatoeba) == 112
    french = tatoeba["fr"]
    assert len(french.pairs) + french.empty + french.duplicates == 1000
    real_data("multi-ntrex")
    ntrex = retrieval.published_pairs("ntrex", data)
    assert len(ntrex) == 47
    assert {len(x.pairs) + x.empty + x.duplicates for x in ntrex.values()} == {1997}
    real_data("multi-flores200-devtest")
    flores = retrieval.published_pairs("flores", data)
    assert len(flores) == 49
    assert {len(x.pairs) + x.empty + x.duplicates for x in flores.values()} == {1012}
    real_data("bitext-multi30k")
    sets = {"test_2016_flickr", "test_2017_flickr", "test_2017_mscoco", "test_2018_flickr"}
    every = {f"{name}:{code}" for name in sets for code in ("cs", "de", "fr")}
    absent = {"test_2017_flickr:cs", "test_2017_mscoco:cs"}
    assert set(retrieval.published_pairs("multi30k", data)) == every - absent


def test_published_layouts(tmp_path: Path) -> None:
    write(tmp_path / "tatoeba/tatoeba.deu-eng.deu", "eins\nzwei\n")
    write(tmp_path / "tatoeba/tatoeba.deu-eng.eng", "one\ntwo\n")
    write(tmp_path / "multi-ntrex/all.tsv", "eng\tdeu\tfra\none\teins\tun\ntwo\tzwei\tdeux\n")
    for code, text in (("eng_Latn", "one\ntwo\n"), ("zho_Hant", "一\n二\n")):
        write(tmp_path / f"flores200/devtest/{code}.devtest", text)
    (german,) = published_pairs("tatoeba", tmp_path).items()
    assert (german[0], german[1].pairs) == ("de", [("one", "eins"), ("two", "zwei")])
    assert published_pairs("ntrex", tmp_path)["fr"].pairs == [("one", "un"), ("two", "deux")]
    assert list(published_pairs("ntrex", tmp_path, "de")) == ["en", "fr"]
    assert published_pairs("flores", tmp_path)["zh-Hant"].pairs[1] == ("two", "二")
    with pytest.raises(InputError, match="no files of multi30k there"):
        published_pairs("multi30k", tmp_path)


def test_multi30k_s_sets(tmp_path: Path) -> None:
    """Task 1 has a caption a picture, task 2 several that were written apart."""
    for code in ("en", "de"):
        write(tmp_path / f"multi30k/task1/raw/test_2017_mscoco.{code}.gz", f"{code} a\n{code} b\n")
        write(tmp_path / f"multi30k/task1/tok/test_2017_mscoco.lc.norm.tok.{code}", "a\n")
        write(tmp_path / f"multi30k/task2/raw/val.1.{code}", "a\n")
        for k in (1, 2):
            text = f"{code} a{k}\n{code} b{k}\n"
            write(tmp_path / f"multi30k/task2/raw/test_2016.{k}.{code}.gz", text)
    found = published_pairs("multi30k", tmp_path)
    assert list(found) == ["test_2016:de", "test_2017_mscoco:de"]
    assert found["test_2017_mscoco:de"].pairs == [("en a", "de a"), ("en b", "de b")]
    several = found["test_2016:de"]
    assert several.pairs[:2] == [("en a1", "de a1"), ("en a2", "de a2")]
    assert list(map(len, several.groups().values())) == [2, 2]
    for code in ("en", "de"):
        write(tmp_path / f"multi30k/task2/raw/test_2016.2.{code}.gz", "a\n")
    with pytest.raises(InputError, match=r"test_2016\.2\.de has 1 lines, others 2"):
        published_pairs("multi30k", tmp_path)


@pytest.mark.parametrize(
    ("task", "name", "text", "message"),
    [
        ("tatoeba", "tatoeba/de-en.de", "eins\n", "has 2 lines but .* has 1"),
        ("tatoeba", "tatoeba/de-en.de", "eins\n \n", r"tatoeba, de: 1 sentence pairs .*\(1 empty"),
        ("ntrex", "multi-ntrex/a.tsv", "eng\tdeu\none\n", "line 2: 1 columns instead of 2"),
        ("ntrex", "multi-ntrex/a.tsv", "fra\tdeu\nun\teins\n", "line 1: no column en"),
    ],
)
def test_published_files_that_are_broken(
    task: str, name: str, text: str, message: str, tmp_path: Path
) -> None:
    write(tmp_path / "tatoeba/de-en.en", "one\ntwo\n")
    write(tmp_path / name, text)
    with pytest.raises(InputError, match=message):
        published_pairs(task, tmp_path)


def test_one_pair_is_nothing_to_retrieve_among(tmp_path: Path) -> None:
    path = write(tmp_path / "x.txt", "a ||| b\na ||| c\n")
    with pytest.raises(InputError, match=r"x\.txt: 1 sentence pairs .*0 empty, 1 duplicates"):
        read_pairs(BitextSource("x", (str(path),)))


def test_directions_have_length_one_or_none() -> None:
    found = directions(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), centred=False)
    assert found.tolist() == [[0.6, 0.8], [0.0, 0.0]]
    assert directions(torch.tensor([[1.0], [1.0]]), centred=True).tolist() == [[0.0], [0.0]]


def test_a_sentence_is_its_own_translation(inputs: Path) -> None:
    encoder = Encoder(inputs / "a", 8, "cpu", "fp32")
    same = retrieval_pairs("de", [(text, text) for text in ("ido", "mira", "dalo venn " * 8)])
    found = list(retrieval.evaluate(encoder, {"de": same}, 2, ["cosine"]))
    assert len(found) == (LAYERS + 1) * 2
    for row in found:
        assert row.predictions == ["0 0", "1 1", "2 2"]
        assert [score.part for score in row.metrics["accuracy"]] == [1.0] * 3
        assert row.notes["truncated"] == [1, 1] and row.notes["sha256"] == same.sha256
        assert row.notes["median_rank"] == [1, 1]


def test_any_caption_of_the_picture_is_right(inputs: Path) -> None:
    """The captions of each of three pictures are those of the other side in another order."""
    encoder = Encoder(inputs / "a", 8, "cpu", "fp32")
    words = ("ido", "mira", "dalo", "venn", "toku", "orlu")
    first = [(words[k], words[k + 1]) for k in (0, 2, 4)]
    second = [(b, a) for a, b in first]
    both = retrieval_pairs("test_2016:de", first, second)
    for row in retrieval.evaluate(encoder, {"test_2016:de": both}, 2, ["cosine"]):
        assert row.keys == ["test_2016:0", "test_2016:1", "test_2016:2"]
        assert row.predictions == ["1,0 1,0", "3,2 3,2", "5,4 5,4"]
        assert {name: set(scores) for name, scores in row.metrics.items()} == {
            name: {(2.0, 2.0)} for name in row.metrics
        }


def test_recall_of_either_direction(inputs: Path) -> None:
    """Metrics agree with the predictions, whatever a random encoder finds."""
    encoder = Encoder(inputs / "a", 8, "cpu", "fp32")
    words = [f"ido {'mira ' * (k % 4)}{'venn' * (k // 4)}" for k in range(12)]
    pairs = retrieval_pairs("de", zip(words, words[1:] + words[:1], strict=True))
    for row in retrieval.evaluate(encoder, {"de": pairs}, 4):
        found = {name: [score.part for score in own] for name, own in row.metrics.items()}
        forward, backward = found["recall@1 forward"], found["recall@1 backward"]
        hits = [tuple(map(int, text.split())) for text in row.predictions]
        assert forward == [float(a == k) for k, (a, _) in enumerate(hits)]
        assert backward == [float(b == k) for k, (_, b) in enumerate(hits)]
        both = [(a + b) / 2 for a, b in zip(forward, backward, strict=True)]
        assert next(iter(row.metrics)) == "accuracy" and found["accuracy"] == both
        assert sum(both) <= sum(found["recall@5"]) <= sum(found["recall@10"]) <= 12
        for rank in row.notes["median_rank"]:
            assert 1 <= rank <= 12


def test_sorted_sentences_are_refused(tmp_path: Path) -> None:
    """XTREME's Tatoeba: its English files are in the order of the alphabet, not of the German."""
    english = [f"sentence {k:02}" for k in range(12)]
    german = "".join(f"Satz {k}\n" for k in range(12))
    write(tmp_path / "tatoeba/tatoeba.deu-eng.deu", german)
    path = write(tmp_path / "tatoeba/tatoeba.deu-eng.eng", "\n".join([*english[6:], *english[:6]]))
    assert len(published_pairs("tatoeba", tmp_path)["de"].pairs) == 12
    write(path, "\n".join(english))
    with pytest.raises(InputError, match="its lines are sorted"):
        published_pairs("tatoeba", tmp_path)


def test_variants_of_a_language_are_test_sets_of_their_own(tmp_path: Path) -> None:
    """NTREX: the Taiwanese reference is not "zh", and the Latin one not "sr"."""
    names = ("src.eng", "ref.zho-CN", "ref.zho-TW", "ref.srp-Cyrl", "ref.srp-Latn", "ref.fra-CA")
    for name in names:
        write(tmp_path / f"ntrex/newstest2019-{name}.txt", f"{name} one\n{name} two\n")
    found = published_pairs("ntrex", tmp_path)
    assert sorted(found) == ["fr-CA", "sr", "sr-Latn", "zh", "zh-TW"]
    assert found["zh"].pairs[0] == ("src.eng one", "ref.zho-CN one")
    write(tmp_path / "ntrex/more/newstest2019-ref.zho-CN.txt", "one\ntwo\n")
    with pytest.raises(InputError, match="are both of zh"):
        published_pairs("ntrex", tmp_path)


def test_two_columns_of_a_language_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "multi-ntrex/a.tsv", "en\tde\tdeu\na\tb\tc\nd\te\tf\n")
    with pytest.raises(InputError, match="line 1: two columns of de"):
        published_pairs("ntrex", tmp_path)
