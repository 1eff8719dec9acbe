"""The HMM: weam_ref against brute force and formulas, the native model against weam_ref."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aligners import MODES, Bitext, Pairs, bitext, corpora, corpus, everything, trainable, trained
from anyascii import anyascii
from helpers import real_data
from hypothesis import example, given, settings
from hypothesis import strategies as st
from weam_ref import hmm
from weam_ref.diagonal import DiagonalModel, DiagonalSettings, Table
from weam_ref.hmm import HmmModel, HmmSettings, Jumps, run_chain
from weam_ref.special import digamma

from weam_ext import _native
from weam_ext.align.aligner import Aligner
from weam_ext.align.hmm import read_dictionary
from weam_ext.align.links import HEURISTICS, Links, symmetrize
from weam_ext.align.scoring import score
from weam_ext.align.settings import DIRECTIONS, POSTERIOR
from weam_ext.common.errors import InputError
from weam_ext.text.lines import read_lines
from weam_ext.text.pharaoh import read_gold

# As the twin: whole words with their case.
PLAIN: dict[str, Any] = {"model": "hmm", "stems": "words", "fold_case": False}
each_mode = pytest.mark.parametrize("memory", MODES)

probabilities = st.floats(1e-6, 1.0)
few_words = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)


@st.composite
def models(draw: st.DrawFn) -> tuple[DiagonalModel, Jumps]:
    """Any t of three words, any jumps."""
    table: Table = {
        e: {f: draw(probabilities) for f in "abc" if draw(st.booleans())} for e in [*"abc", None]
    }
    near = {d: draw(probabilities) for d in range(-hmm.BAND, hmm.BAND + 1)}
    jumps = Jumps(near, min(near.values()))
    return DiagonalModel(DiagonalSettings(), 4.0, table), jumps


def paths(
    model: DiagonalModel, jumps: Jumps, p0: float, e: Sequence[str], f: Sequence[str]
) -> Iterator[tuple[float, list[int | None], list[int]]]:
    """Every state sequence: its probability, the given words it links, the distances it jumps."""
    for choice in product([None, *range(1, len(e) + 1)], repeat=len(f)):
        probability, at, distances = 1.0, 0, []
        for word, state in zip(f, choice, strict=True):
            if state is None:
                probability *= p0 * model.translation(None, word)
                continue
            everywhere = sum(jumps(i - at) for i in range(1, len(e) + 1))
            probability *= (1 - p0) * jumps(state - at) / everywhere
            probability *= model.translation(e[state - 1], word)
            distances.append(state - at)
            at = state
        probability *= jumps(len(e) + 1 - at)
        yield probability, [None if k is None else k - 1 for k in choice], distances


# --------------------------------------------------------------------------------- brute force


@given(models(), few_words, few_words, st.sampled_from([0.0, 0.1, 0.5]))
@settings(max_examples=60)
def test_a_chain_is_the_sum_over_all_state_sequences(
    parts: tuple[DiagonalModel, Jumps], e: list[str], f: list[str], p0: float
) -> None:
    model, jumps = parts
    chain = run_chain(model, jumps, p0, e, f)
    sequences = list(paths(model, jumps, p0, e, f))
    total = sum(probability for probability, _, _ in sequences)
    assert chain.log_probability == pytest.approx(math.log(total), abs=1e-9)
    for j, row in enumerate(chain.posteriors):
        for state in (None, *range(len(e))):
            mass = sum(p for p, links, _ in sequences if links[j] == state)
            found = row[0] if state is None else row[state + 1]
            assert found == pytest.approx(mass / total, abs=1e-9)
    for distance in range(-len(e), len(e) + 1):
        count = sum(p * d.count(distance) for p, _, d in sequences) / total
        assert chain.jumps.get(distance, 0.0) == pytest.approx(count, abs=1e-9)


@given(models(), few_words, few_words, st.sampled_from([0.1, 0.5]))
@settings(max_examples=60)
def test_viterbi_is_the_most_probable_state_sequence(
    parts: tuple[DiagonalModel, Jumps], e: list[str], f: list[str], p0: float
) -> None:
    model, jumps = parts
    path = hmm.best_path(model, jumps, p0, e, f)
    probability = {tuple(links): p for p, links, _ in paths(model, jumps, p0, e, f)}
    assert probability[tuple(path)] == pytest.approx(max(probability.values()), rel=1e-9)


@given(st.lists(st.floats(0, 1), max_size=6))
def test_numbers_of_links_are_those_of_all_subsets(posteriors: list[float]) -> None:
    expected = [0.0] * 4
    for linked in product([False, True], repeat=len(posteriors)):
        chances = (p if on else 1 - p for p, on in zip(posteriors, linked, strict=True))
        expected[min(sum(linked), 3)] += math.prod(chances)
    assert hmm.numbers_of_links(posteriors) == pytest.approx(expected, abs=1e-12)


def test_fertility_weights_by_hand() -> None:
    """Two words that both look like "a": one link makes the other less probable."""
    counts = {"a": [1.0, 8.0, 0.5, 0.5], "b": [6.0, 3.0, 0.5, 0.5]}
    shared = [
        5 * (x + y + 0.01) / 2.04
        for x, y in zip((0.1, 0.8, 0.05, 0.05), (0.6, 0.3, 0.05, 0.05), strict=True)
    ]
    of_a = [(8 + shared[1]) / (1 + shared[0]), (0.5 + shared[2]) / (8 + shared[1])]
    weights = hmm.fertility_weights(counts, [[0.1, 0.9, 0.0], [0.3, 0.6, 0.1]], ["a", "b"])
    assert weights[0][0] == pytest.approx(0.4 * of_a[0] + 0.6 * of_a[1])
    assert weights[1][0] == pytest.approx(0.1 * of_a[0] + 0.9 * of_a[1])
    assert hmm.fertility_ratios(counts)[None] == pytest.approx(
        [shared[1] / shared[0], shared[2] / shared[1], shared[3] / shared[2]]
    )


def test_one_iteration_by_the_formulas() -> None:
    """Product of the posteriors; NULL what is left; exp(psi(c + a) - psi(sum(c + a)))."""
    pairs: Pairs = [(["a", "b"], ["x", "y", "x"]), (["a"], ["x"])]
    forward = DiagonalModel(DiagonalSettings(), 4.0, {"a": {"x": 0.7, "y": 0.1}, "b": {"y": 0.4}})
    backward = DiagonalModel(DiagonalSettings(), 4.0, {"x": {"a": 0.6}, "y": {"a": 0.2, "b": 0.3}})
    forward.table[None] = {"x": 0.5, "y": 0.5}
    backward.table[None] = {"a": 0.5, "b": 0.5}
    alpha = 0.2
    model = HmmModel(HmmSettings(alpha=alpha, p0=0.2), forward, backward)

    def posterior(half: DiagonalModel, e: list[str], f: list[str], j: int, i: int) -> float:
        sequences = list(paths(half, Jumps(), 0.2, e, f))
        total = sum(p for p, _, _ in sequences)
        return sum(p for p, links, _ in sequences if links[j] == i) / total

    counts: dict[tuple[str, str], float] = {}
    left: dict[str, float] = {"x": 0.0, "y": 0.0}
    for e, f in pairs:
        for j, word in enumerate(f):
            left[word] += 1
            for i in range(len(e)):
                both = posterior(forward, e, f, j, i) * posterior(backward, f, e, i, j)
                counts[e[i], word] = counts.get((e[i], word), 0.0) + both
                left[word] -= both
    found, _, _, _ = hmm.expectation(model, pairs)
    for (e_word, f_word), count in counts.items():
        assert found[0][e_word][f_word] == pytest.approx(count, abs=1e-12)
        assert found[1][f_word][e_word] == pytest.approx(count, abs=1e-12)
    assert found[0][None] == pytest.approx(left, abs=1e-12)
    forward.settings = DiagonalSettings(alpha=alpha)
    hmm.update(forward, found[0])
    total = counts["a", "x"] + counts["a", "y"] + 2 * alpha
    expected = math.exp(digamma(counts["a", "x"] + alpha) - digamma(total))
    assert forward.table["a"]["x"] == pytest.approx(expected, rel=1e-9)


def test_jump_weights_by_the_formula() -> None:
    jumps = hmm.jump_weights({1: 5.0, -2: 1.0, 11: 0.5, -30: 1.0})
    total = 7.5 + 11
    assert jumps(1) == pytest.approx(5.5 / total)
    assert jumps(-2) == pytest.approx(1.5 / total)
    assert jumps(0) == pytest.approx(0.5 / total)
    assert jumps(99) == jumps(-11) == pytest.approx(2.0 / 20 / total)
    assert hmm.jump_weights({40: 100.0})(3) == pytest.approx(100.5 / 20 / 111)  # none below far


# --------------------------------------------------------------- the native model, and weam_ref


@lru_cache(100)
def twin(train: Bitext, init: Bitext | None = None, **chosen: Any) -> HmmModel:
    start = twin(init, **chosen) if init else None
    return hmm.fit(*train, HmmSettings(**chosen), start, spell=spell)


def spell(word: str) -> str:
    return anyascii(word).lower()


def tables(aligner: Aligner) -> tuple[Table, Table]:
    """t(generated | given) of both directions, with the row of NULL."""
    arrays = aligner.model.arrays()
    source, target = aligner.model.words(0), aligner.model.words(1)
    forward: Table = {word: {} for word in source}
    backward: Table = {word: {} for word in target}
    t = (arrays["t"] / 2.0**96).tolist()
    columns = arrays["columns"].tolist()
    for word, (begin, end) in zip(source, pairwise(arrays["rows"].tolist()), strict=True):
        for cell in range(begin, end):
            forward[word][target[columns[cell]]] = t[cell][0]
            backward[target[columns[cell]]][word] = t[cell][1]
    for table, number, words in ((forward, 0, target), (backward, 1, source)):
        null = (arrays[f"null{number}"] / 2.0**96).tolist()
        table[None] = dict(zip(words, null, strict=True))
    return forward, backward


def assert_same_training(model: HmmModel, aligner: Aligner) -> None:
    for half, table, name in zip(
        (model.forward, model.backward), tables(aligner), DIRECTIONS, strict=True
    ):
        assert len(half.history) == len(aligner.history[name])
        for expected, found in zip(half.history, aligner.history[name], strict=True):
            assert found.perplexity == pytest.approx(expected.perplexity, rel=1e-4)
            assert found.posterior_p0 == pytest.approx(expected.posterior_p0, abs=1e-4)
            assert found.tension == pytest.approx(expected.tension, rel=1e-3)
        for given_word, row in half.table.items():
            for word, t in row.items():
                assert table[given_word][word] == pytest.approx(t, rel=5e-3, abs=1e-6)
    for number, jumps in enumerate(model.jumps):
        weights = aligner.model.arrays()[f"jumps{number}"]
        expected_weights = [*(jumps(d) for d in range(-hmm.BAND, hmm.BAND + 1)), jumps.far]
        np.testing.assert_allclose(weights, expected_weights, rtol=1e-3, atol=1e-6)


def all_posteriors(aligner: Aligner, text: Bitext) -> list[np.ndarray[Any, Any]]:
    """The mean posteriors of every pair, [source words, target words]."""
    threshold, aligner.threshold = aligner.threshold, 0.0
    links = aligner.align(*text, posteriors=True)
    aligner.threshold = threshold
    assert links.probability is not None
    matrices = []
    for k, (e, f) in enumerate(zip(*text, strict=True)):
        matrix = np.zeros((len(e), len(f)))
        part = links.part(k, k + 1)
        if e and f:
            matrix[part.source, part.target] = part.probability
        matrices.append(matrix)
    return matrices


def assert_same_posteriors(model: HmmModel, aligner: Aligner, text: Bitext) -> None:
    for found, e, f in zip(all_posteriors(aligner, text), *text, strict=True):
        if e and f:
            np.testing.assert_allclose(found, model.link_posteriors(e, f), atol=2e-4)


@each_mode
@given(pairs=trainable, new=corpora)
@example(pairs=[(["a"] * 70, ["x"] * 5), (["a"], ["x"])], new=[(["b", "a"], ["q"])])
@example(pairs=[(["a", "b"], ["a", "x"])] * 3, new=[([], ["q"])])
@settings(max_examples=15)
def test_native_training_and_posteriors_are_those_of_weam_ref(
    memory: str, pairs: Pairs, new: Pairs
) -> None:
    train = bitext(pairs)
    model = twin(train)
    aligner = trained(*train, memory=memory, **PLAIN)
    assert_same_training(model, aligner)
    for text in (train, bitext(new)):
        assert_same_posteriors(model, aligner, text)


@pytest.mark.parametrize(
    "options", [{}, {"fertility": False}, {"p0": 0.3, "alpha": 0.2, "iterations": 3}]
)
def test_native_training_on_the_built_in_corpus(options: dict[str, Any]) -> None:
    train = corpus("toku", 80)
    model = twin(train, **options)
    aligner = trained(*train, **PLAIN | options)
    assert_same_training(model, aligner)
    assert_same_posteriors(model, aligner, corpus("toku", 80, 100))
    pairs = list(zip(*train, strict=True))
    links = hmm.align([model], [pairs], 0.5)
    found = aligner.align(*train)
    assert sum(a == b for a, b in zip(links, found, strict=True)) >= 79
    for direction, name in enumerate(DIRECTIONS):
        scores = [model.log_probability(direction, e, f) for e, f in pairs]
        np.testing.assert_allclose(found.scores[name], scores, rtol=1e-3)


def test_native_paths_are_those_of_weam_ref() -> None:
    train = corpus("venn", 60)
    model = twin(train)
    by_direction = []
    for direction, name in enumerate(DIRECTIONS):
        aligner = trained(*train, heuristic=name, **PLAIN)
        found = aligner.align(*train)
        paths = [model.best_path(direction, e, f) for e, f in zip(*train, strict=True)]
        assert sum(a == b for a, b in zip(paths, found, strict=True)) >= 59  # ties but for rounding
        by_direction.append(found)
    for heuristic in HEURISTICS:
        aligner.heuristic = heuristic
        assert aligner.align(*train) == symmetrize(*by_direction, heuristic)


def test_further_training_is_that_of_weam_ref() -> None:
    first, more = corpus("orlu", 30), corpus("orlu", 30, 50)
    kept = trained(*first, **PLAIN)
    assert_same_training(twin(more, first), trained(*more, init=kept, **PLAIN))


# -------------------------------------------------------------------------------- hints beforehand


@given(st.text("abcde\U0001f600é", max_size=70), st.text("abcdeé", max_size=70))
def test_likeness_is_that_of_weam_ref(a: str, b: str) -> None:
    a, b = spell(a), spell(b)
    assert _native.likeness(a, b) == pytest.approx(hmm.likeness(a, b), abs=1e-12)
    assert hmm.likeness(a, b) == pytest.approx(hmm.likeness(b, a), abs=1e-12)


def test_likeness_by_hand() -> None:
    for a, b, distance in (("night", "nacht", 2), ("moskva", "moscow", 3), ("house", "tree", 4)):
        expected = max(0.0, (1 - distance / max(len(a), len(b)) - 0.4) / 0.6)
        assert hmm.likeness(a, b) == pytest.approx(expected)
    assert hmm.likeness("word", "word") == 1
    assert hmm.likeness(",", ",") == 0.25  # a quarter of a word
    assert hmm.likeness("", "") == 0


@pytest.mark.parametrize("spelling", [0.0, 3.0])
def test_a_dictionary_is_that_of_weam_ref(spelling: float) -> None:
    train, more = corpus("venn", 60), corpus("venn", 60, 90)
    pairs = {(e, f) for s, t in zip(*train, strict=True) for e in s for f in t}
    prior = dict.fromkeys(sorted(pairs)[::17], 2.0) | {("of", "nowhere"): 1.0}
    model = hmm.fit(*train, HmmSettings(spelling=spelling), None, prior, spell)
    aligner = Aligner(**PLAIN, spelling=spelling).fit(*train, prior=prior)
    assert_same_training(model, aligner)
    further = hmm.fit(*more, HmmSettings(spelling=spelling), model, prior, spell)
    aligner = Aligner(**PLAIN, spelling=spelling).fit(*more, init=aligner, prior=prior)
    assert_same_training(further, aligner)


def test_hints_decide_where_the_text_does_not() -> None:
    """Two words on each side that always meet: only a hint tells which belongs to which."""
    text = [["alpha", "beta"]] * 3, [["gamma", "delta"], ["delta", "gamma"]] * 2
    text = text[0] + text[0][:1], text[1]
    prior = {("alpha", "delta"): 3.0, ("beta", "gamma"): 3.0}
    links = Aligner(stems="words").fit_align(*text, prior=prior)
    assert list(links) == [[(0, 1), (1, 0)], [(0, 0), (1, 1)]] * 2
    cyrillic = [["Москва", "Ницца"]] * 4, [["Nizza", "Moskva"], ["Moskva", "Nizza"]] * 2
    links = Aligner(stems="words").fit_align(*cyrillic)
    assert list(links) == [[(0, 1), (1, 0)], [(0, 0), (1, 1)]] * 2


def test_dictionary_files(tmp_path: Path) -> None:
    path = tmp_path / "dictionary"
    path.write_text("cat chat\ndog\tchien\t0.5\n")
    assert read_dictionary(str(path)) == {("cat", "chat"): 3.0, ("dog", "chien"): 0.5}
    for line in ("cat", "", "a b 0", "a b x", "a b 1 2", "a b nan"):
        path.write_text(f"cat chat\n{line}\n")
        with pytest.raises(InputError, match="dictionary, line 2: not 'source target'"):
            read_dictionary(str(path))


# --------------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("heuristic", [POSTERIOR, "grow-diag"])
@pytest.mark.parametrize("stems", ["auto", "prefix:2,words"])
def test_the_same_bytes_however_the_work_is_cut(heuristic: str, stems: str) -> None:
    source, target = corpus("orlu", 300)
    made = set()
    for memory, threads in product(MODES, (1, 3)):
        options: dict[str, Any] = {"heuristic": heuristic, "stems": stems, "threads": threads}
        aligner = trained(source, target, model="hmm", memory=memory, **options)
        made.add(everything(aligner, aligner.align(source, target, posteriors=True)))
    assert len(made) == 1


def test_training_and_aligning_at_once_and_apart() -> None:
    source, target = corpus("orlu", 200)
    aligner = Aligner()
    links = aligner.fit_align(source, target)
    assert links == aligner.align(source, target)
    assert links.probability is None
    with_posteriors = aligner.fit_align(source, target, posteriors=True)
    assert with_posteriors.probability is not None
    assert (with_posteriors.probability > aligner.settings["threshold"]).all()
    assert with_posteriors.pairs.tobytes() == links.pairs.tobytes()
    for name in DIRECTIONS:
        np.testing.assert_array_equal(links.scores[name], with_posteriors.scores[name])


def test_a_few_pairs_and_many_are_aligned_alike() -> None:
    """Looked up word by word, and through an index; with words that were never seen."""
    source, target = corpus("orlu", 120)
    aligner = Aligner(**PLAIN).fit(source[:60], target[:60])
    together = aligner.align(source, target, posteriors=True)
    apart = [aligner.align([e], [f], posteriors=True) for e, f in zip(source, target, strict=True)]
    assert Links.concatenate(apart) == together
    assert [aligner.align_pair(*pair) for pair in zip(source, target, strict=True)] == list(
        together
    )


def test_several_stems_are_averaged() -> None:
    source, target = corpus("toku", 100)
    options: dict[str, Any] = {"model": "hmm", "alpha": 0.1}
    both = all_posteriors(
        trained(source, target, stems="prefix:2,words", **options), (source, target)
    )
    apart = [
        all_posteriors(trained(source, target, stems=stem, **options), (source, target))
        for stem in ("prefix:2", "words")
    ]
    for mean, one, other in zip(both, *apart, strict=True):
        np.testing.assert_allclose(mean, (one + other) / 2, atol=1e-6)


def test_kept_models(tmp_path: Path) -> None:
    source, target = corpus("venn", 100)
    aligner = Aligner(stems=["prefix:3", "words"], heuristic="grow-diag", threshold=0.4, p0=0.2)
    links = aligner.fit_align(source, target, posteriors=True)
    aligner.save(tmp_path)
    loaded = Aligner.load(tmp_path, threads=1)
    assert (loaded.settings, loaded.heuristic) == (aligner.settings, "grow-diag")
    assert loaded.align(source, target, posteriors=True) == links
    further = [Aligner().fit(*corpus("venn", 100, 150), init=init) for init in (aligner, loaded)]
    assert everything(further[0]) == everything(further[1])
    assert further[0]._model.stems == aligner._model.stems  # type: ignore[attr-defined]


def test_extreme_settings_stay_finite() -> None:
    source, target = corpus("toku", 40)
    for options in (
        {"alpha": 1e-4},
        {"alpha": 1e6},
        {"p0": 0.0},
        {"p0": 0.999},
        {"iterations": 20},
    ):
        aligner = Aligner(**options)  # type: ignore[arg-type]
        links = aligner.fit_align(source, target, posteriors=True)
        assert links.probability is not None
        assert np.isfinite(links.probability).all()
        for name in DIRECTIONS:
            assert np.isfinite(links.scores[name]).all()


def test_it_beats_fast_align_where_there_is_gold() -> None:
    folder = real_data("wa-enfr-wpt03")

    def lines(name: str) -> list[str]:
        return [line.lower() for line in islice(read_lines(str(folder / name)), 3000)]

    source, target = (lines(f"train.{s}.xz") + lines(f"trial.{s}") for s in ("en", "fr"))
    gold = read_gold(str(folder / "trial.en-fr.gold"))
    hmm_rate, rate = (
        score(list(Aligner(model=model).fit_align(source, target))[-37:], gold).aer
        for model in ("hmm", "fast-align")
    )
    assert hmm_rate < rate - 0.05


@pytest.mark.long
@pytest.mark.parametrize(("pairs", "most"), [(10_000, 0.058), (100_000, 0.047)])
def test_error_rates_of_the_hansards_by_default_settings(pairs: int, most: float) -> None:
    folder = real_data("wa-enfr-wpt03")

    def lines(name: str) -> list[str]:
        return [line.lower() for line in islice(read_lines(str(folder / name)), pairs)]

    source, target = (lines(f"train.{s}.xz") + lines(f"test.{s}") for s in ("en", "fr"))
    gold = read_gold(str(folder / "test.en-fr.gold"))
    assert score(list(Aligner().fit_align(source, target))[-len(gold) :], gold).aer <= most
