"""weam_ref's aligner beyond its training: further training, posteriors, scores and the lexicon.

Values worked out on paper, laws, and a small recorded run of fast_align.
"""

import json
import lzma
import math
from collections.abc import Sequence
from copy import deepcopy
from itertools import product
from typing import Any

import pytest
from helpers import FAST_ALIGN
from hypothesis import given, settings
from hypothesis import strategies as st
from weam_ref.diagonal import (
    UNSEEN,
    DiagonalModel,
    DiagonalSettings,
    Table,
    expectation,
    fit,
    link_probabilities,
    maximisation,
    recovered_counts,
)
from weam_ref.lexicon import lexicon, read_parameters, write_parameters
from weam_ref.special import digamma, inverse_digamma, log_poisson, trigamma

from weam_ext.text.toy_corpus import sentence_pairs

MODEL_1: dict[str, Any] = {
    "favor_diagonal": False,
    "optimize_tension": False,
    "variational_bayes": False,
    "null_word": False,
}
SOURCE = [["a", "b"], ["a"]]
TARGET = [["x", "y"], ["x"]]

Side = Sequence[Sequence[str]]

sentences = st.lists(st.sampled_from("abcde"), min_size=1, max_size=5)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=6)
switches = st.fixed_dictionaries(
    {name: st.booleans() for name in ("favor_diagonal", "variational_bayes", "null_word")}
)
rows = st.dictionaries(st.sampled_from("uvwxyz"), st.floats(0.0, 1e6), min_size=1)


def toku(start: int, stop: int) -> tuple[Side, Side]:
    """Pairs `start` to `stop` of the built-in corpus."""
    pairs = sentence_pairs("toku", stop)[start:]
    return [pair.source.split() for pair in pairs], [pair.target.split() for pair in pairs]


def model_of_counts(counts: Table, chosen: DiagonalSettings) -> DiagonalModel:
    totals = {source_word: sum(row.values()) for source_word, row in counts.items()}
    return DiagonalModel(chosen, 4.0, maximisation(counts, chosen), totals)


# Special functions


def test_trigamma() -> None:
    """psi'(1) = pi^2/6, psi'(1/2) = pi^2/2, psi'(n) = pi^2/6 - 1 - 1/4 - .. - 1/(n-1)^2."""
    assert trigamma(1.0) == pytest.approx(math.pi**2 / 6, rel=1e-9)
    assert trigamma(0.5) == pytest.approx(math.pi**2 / 2, rel=1e-9)
    squares = sum(1 / k**2 for k in range(1, 100))
    assert trigamma(100.0) == pytest.approx(math.pi**2 / 6 - squares, abs=1e-12)


@given(st.floats(-7.0, 9.0))
def test_inverse_digamma(magnitude: float) -> None:
    x = 10.0**magnitude
    assert inverse_digamma(digamma(x)) == pytest.approx(x, rel=1e-9)


def test_log_poisson() -> None:
    """P(3; 2) = 2^3 e^-2 / 3!."""
    assert log_poisson(3, 2.0) == pytest.approx(math.log(8 / 6) - 2)
    assert log_poisson(0, 2.0) == -2.0


# Further training


def test_further_training_by_hand() -> None:
    """Model 1. The old text leaves c(x|a) = 3/2, c(y|a) = c(x|b) = c(y|b) = 1/2.

    That is t(x|a) = 3/4, t(x|b) = 1/2; so of the new pair (a b, x) a has 3/5, b 2/5, and
    a: 21/10, 1/2 of 26/10; b: 9/10, 1/2 of 14/10. In the second E-step a has 21/26 against 9/14,
    147/264. The old counts are as they were: a: 3/2 + 147/264, and 1/2.
    """
    old = fit(SOURCE, TARGET, DiagonalSettings(iterations=2, **MODEL_1))
    assert old.totals == {"a": 2.0, "b": 1.0}
    once = fit([["a", "b"]], [["x"]], DiagonalSettings(iterations=2, **MODEL_1), init=old)
    assert once.table["a"] == pytest.approx({"x": 21 / 26, "y": 5 / 26})
    assert once.table["b"] == pytest.approx({"x": 9 / 14, "y": 5 / 14})
    assert once.totals == pytest.approx({"a": 2.6, "b": 1.4})
    assert once.history[0].log_likelihood == pytest.approx(math.log(5 / 8))
    twice = fit([["a", "b"]], [["x"]], DiagonalSettings(iterations=3, **MODEL_1), init=old)
    share = 147 / 264
    assert twice.totals == pytest.approx({"a": 2 + share, "b": 2 - share})
    assert twice.table["a"] == pytest.approx(
        {"x": (1.5 + share) / (2 + share), "y": 0.5 / (2 + share)}
    )


def test_new_words_and_cells_by_hand() -> None:
    """(a, z) is new to a row of 3/2 and 1/2, and c to the table; old words come first."""
    old = fit(SOURCE, TARGET, DiagonalSettings(iterations=2, **MODEL_1))
    chosen = DiagonalSettings(iterations=2, **MODEL_1)
    model = fit([["a"], ["c"]], [["z"], ["w"]], chosen, init=old)
    assert model.history[0].log_likelihood == pytest.approx(2 * math.log(UNSEEN))
    assert model.table["a"] == pytest.approx({"x": 1 / 2, "y": 1 / 6, "z": 1 / 3})
    assert model.table["c"] == {"w": 1.0}
    assert model.table["b"] == old.table["b"]
    assert (list(model.table), model.target_words) == (["a", "b", "c"], ["x", "y", "z", "w"])


def test_variational_bayes_further_by_hand() -> None:
    """alpha = 1, old counts 1 and 2; the new text adds 3 to the second and 4 in a new cell.

    t = exp(psi(c + 1) - psi(10 + 3)) of c = 1, 5, 4; psi(n) = 1 + 1/2 + .. + 1/(n-1) - gamma.
    """
    chosen = DiagonalSettings(iterations=2, alpha=1.0, null_word=False)
    old = model_of_counts({"a": {"x": 1.0, "y": 2.0}}, chosen)
    model = fit([["a"]] * 7, [["y"]] * 3 + [["z"]] * 4, chosen, init=old)
    harmonic = [sum(1 / k for k in range(1, n)) for n in range(14)]
    expected = {
        f: math.exp(harmonic[n] - harmonic[13]) for f, n in {"x": 2, "y": 6, "z": 5}.items()
    }
    assert model.table["a"] == pytest.approx(expected, rel=1e-8)
    assert model.totals == pytest.approx({"a": 10.0})


@given(rows, st.floats(0.005, 10.0), st.booleans())
def test_counts_are_recovered(row: dict[str, float], alpha: float, variational: bool) -> None:
    counts: Table = {"a": row, None: {"x": 0.25}}
    chosen = DiagonalSettings(alpha=alpha, variational_bayes=variational)
    recovered = recovered_counts(model_of_counts(counts, chosen))
    assert recovered["a"] == pytest.approx(row, rel=1e-9, abs=1e-9)
    assert recovered[None] == pytest.approx({"x": 0.25})


def test_counts_that_underflowed_are_recovered_as_nothing() -> None:
    """exp(psi(1/1000)) is about e^-1000, no number."""
    model = model_of_counts({"a": {"x": 0.0, "y": 3.0}}, DiagonalSettings(alpha=0.001))
    assert model.table["a"]["x"] == 0.0
    assert recovered_counts(model)["a"] == pytest.approx({"x": 0.0, "y": 3.0})


def test_counts_are_never_negative() -> None:
    """A t below that of a count of 0, as rounding may make it."""
    model = model_of_counts({"a": {"x": 0.0, "y": 3.0}}, DiagonalSettings())
    model.table["a"]["x"] *= 0.99
    assert recovered_counts(model)["a"]["x"] == 0.0


@given(corpora, switches)
@settings(deadline=None, max_examples=30)
def test_text_without_common_words_leaves_the_table(
    corpus: list[tuple[list[str], list[str]]], chosen: dict[str, bool]
) -> None:
    old = fit([e for e, _ in corpus], [f for _, f in corpus], DiagonalSettings(**chosen))
    new = [["A", "B"], ["B"]], [["X"], ["X", "Y", "Z"]]
    model = fit(*new, DiagonalSettings(**chosen), init=old)
    assert old.totals is not None and model.totals is not None
    for source_word in old.table.keys() - {None}:
        row = pytest.approx(old.table[source_word], rel=1e-8, abs=1e-300)
        assert model.table[source_word] == row
        total = pytest.approx(old.totals[source_word], rel=1e-8, abs=1e-9)
        assert model.totals[source_word] == total
    if chosen["null_word"]:
        assert model.table[None].keys() == old.table[None].keys() | set("XYZ")
        assert model.totals[None] >= old.totals[None] * (1 - 1e-8) - 1e-9


@pytest.mark.parametrize("variational", [True, False])
def test_further_training_moves_towards_training_on_both(variational: bool) -> None:
    chosen = DiagonalSettings(variational_bayes=variational)
    first, second, both = toku(0, 60), toku(60, 90), toku(0, 90)
    pairs = list(zip(*both, strict=True))
    alone = fit(*second, chosen)
    further = fit(*second, chosen, init=fit(*first, chosen))
    whole = fit(*both, chosen)
    likelihoods = [expectation(each, pairs)[1].log_likelihood for each in (alone, further, whole)]
    assert likelihoods == sorted(likelihoods)
    assert likelihoods[2] - likelihoods[1] < 0.1 * (likelihoods[2] - likelihoods[0])
    assert distance(further, whole) < 0.5 * distance(alone, whole)
    assert further.table.keys() == whole.table.keys()
    assert further.totals is not None
    tokens = sum(len(f) for _, f in pairs)
    assert sum(further.totals.values()) == pytest.approx(tokens, rel=1e-8)


def distance(model: DiagonalModel, other: DiagonalModel) -> float:
    cells = {(e, f) for each in (model, other) for e, row in each.table.items() for f in row}
    return sum(abs(model.translation(*cell) - other.translation(*cell)) for cell in cells)


def test_without_totals_a_model_is_a_starting_point_only() -> None:
    """The E-step of the hand-worked case: a has 3/5 of x, b 2/5, and nothing else is counted."""
    chosen = DiagonalSettings(iterations=2, **MODEL_1)
    old = fit(SOURCE, TARGET, chosen)
    old.totals = None
    model = fit([["a", "b"]], [["x"]], chosen, init=old)
    assert model.totals == pytest.approx({"a": 0.6, "b": 0.4})
    assert model.table == {"a": {"x": 1.0, "y": 0.0}, "b": {"x": 1.0, "y": 0.0}}


def test_one_iteration_only_measures() -> None:
    old = fit(*toku(0, 20))
    new = toku(20, 25)
    model = fit(*new, DiagonalSettings(iterations=1), init=old)
    _, expected = expectation(old, list(zip(*new, strict=True)))
    assert (model.history, model.table, model.totals) == ([expected], old.table, old.totals)


def test_the_tension_goes_on_at_once() -> None:
    """It starts where it was, not at the settings', and the first posteriors know the words."""
    old = fit(*toku(0, 20))
    model = fit(*toku(20, 40), DiagonalSettings(tension=9.0), init=old)
    assert model.history[0].tension == old.tension
    assert model.history[1].tension != old.tension


def test_settings_may_change_between_texts() -> None:
    """Old counts are those of the old settings: alpha = 1, then maximum likelihood."""
    old = model_of_counts({"a": {"x": 1.0, "y": 2.0}}, DiagonalSettings(alpha=1.0))
    model = fit([["a"]], [["x"]], DiagonalSettings(iterations=2, **MODEL_1), init=old)
    assert model.table["a"] == pytest.approx({"x": 0.5, "y": 0.5})


def test_the_old_model_stays_as_it_was() -> None:
    old = fit(SOURCE, TARGET)
    before = deepcopy(old)
    fit([["a", "new"]], [["x", "new"]], init=old)
    assert old == before


# Posteriors


def test_posteriors_by_hand() -> None:
    """t(x|a) = 3/4 against t(x|b) = 1/2; t(y|a) = 1/4 against t(y|b) = 1/2."""
    model = fit(SOURCE, TARGET, DiagonalSettings(iterations=2, **MODEL_1))
    assert model.posteriors(["a", "b"], ["x", "y"]) == [
        pytest.approx([0.0, 3 / 5, 2 / 5]),
        pytest.approx([0.0, 1 / 3, 2 / 3]),
    ]


def test_posteriors_with_null_and_a_prior() -> None:
    """I = J = 2, exp(-lambda/2) = 1/2: the prior of x is .1, .6, .3; t is 1/2, 1/4, 1/2."""
    table: Table = {None: {"x": 0.5}, "a": {"x": 0.25}, "b": {"x": 0.5}}
    model = DiagonalModel(DiagonalSettings(p0=0.1), 2 * math.log(2), table)
    posteriors = model.posteriors(["a", "b"], ["x", "new"])
    assert posteriors[0] == pytest.approx([0.05 / 0.35, 0.15 / 0.35, 0.15 / 0.35])
    assert posteriors[1] == pytest.approx([0.1, 0.3, 0.6])


@given(corpora, switches)
@settings(deadline=None, max_examples=30)
def test_posteriors_sum_to_one_and_to_the_counts(
    corpus: list[tuple[list[str], list[str]]], chosen: dict[str, bool]
) -> None:
    model = fit([e for e, _ in corpus], [f for _, f in corpus], DiagonalSettings(**chosen))
    source, target = corpus[0]
    posteriors = model.posteriors(source, target)
    assert [len(row) for row in posteriors] == [len(source) + 1] * len(target)
    assert [sum(row) for row in posteriors] == pytest.approx([1.0] * len(target))
    counts, _ = expectation(model, [(source, target)])
    for word in set(source):
        at = [i for i, each in enumerate(source, start=1) if each == word]
        found = sum(row[i] for row in posteriors for i in at)
        assert found == pytest.approx(sum(counts[word].values()))
    best = {j: i for i, j in model.align([source], [target])[0]}
    for j, row in enumerate(posteriors):
        assert row[best.get(j, -1) + 1] == pytest.approx(max(row))


def test_posteriors_of_what_underflowed() -> None:
    model = DiagonalModel(DiagonalSettings(**MODEL_1), 4.0, {"a": {"x": 0.0, "y": 1.0}})
    assert model.posteriors(["a"], ["x", "y"]) == [[0.0, 0.0], [0.0, 1.0]]
    assert model.log_probability(["a"], ["x"]) == -math.inf


def test_link_probabilities_by_hand() -> None:
    """The text exchanged gives the same table: t(a|x) = 3/4, t(b|x) = 1/4, t(a|y) = t(b|y) = 1/2.

    Forward a has 3/5 of x and 1/3 of y; backward x has 3/5 of a and 1/3 of b.
    """
    chosen = DiagonalSettings(iterations=2, **MODEL_1)
    forward, backward = fit(SOURCE, TARGET, chosen), fit(TARGET, SOURCE, chosen)
    pair = ["a", "b"], ["x", "y"]
    links = [(1, 0), (0, 1), (0, 0)]
    of_target = pytest.approx([2 / 5, 1 / 3, 3 / 5])
    assert link_probabilities(*pair, links, forward) == of_target
    of_source = pytest.approx([1 / 3, 2 / 5, 3 / 5])
    assert link_probabilities(*pair, links, backward=backward) == of_source
    mean = pytest.approx([11 / 30, 11 / 30, 3 / 5])
    assert link_probabilities(*pair, links, forward, backward) == mean
    assert link_probabilities(*pair, [], forward, backward) == []


def test_pairs_with_an_empty_side() -> None:
    model = fit(SOURCE, TARGET)
    for source, target in product(([], ["a"]), ([], ["x"])):
        if not source or not target:
            assert model.posteriors(source, target) == []
            assert math.isnan(model.log_probability(source, target))
            assert link_probabilities(source, target, [], model, model) == []


# Scores


def test_log_probability_by_hand() -> None:
    """Mean J/I = (2/2 + 1/1) / 2 = 1, so J of two words is Poisson of mean 2.05."""
    model = fit(SOURCE, TARGET, DiagonalSettings(iterations=2, **MODEL_1))
    length = 2 * math.log(2.05) - math.log(2) - 2.05
    expected = length + math.log(5 / 8 * 3 / 8)
    assert model.log_probability(["a", "b"], ["x", "y"]) == pytest.approx(expected)


def test_mean_length_ratio() -> None:
    """A mean of ratios, not the ratio of sums; pairs with an empty side do not count."""
    uneven = fit([["a"], ["a", "b"], []], [["x", "y"], ["x"], ["x"]])
    assert uneven.mean_length_ratio == (2 + 0.5) / 2
    assert fit(SOURCE, TARGET, init=uneven).mean_length_ratio == 1.0
    assert fit([], [], init=uneven).mean_length_ratio == 1.25
    assert fit([], []).mean_length_ratio == 1.0


# The lexicon


def test_lexicon_by_hand() -> None:
    """y appears before x in the text; with a the other way round."""
    source, target = [["b"], ["a", "a"]], [["y", "y", "y", "z"], ["x", "y"]]
    model = fit(source, target, DiagonalSettings(iterations=2, variational_bayes=False))
    assert lexicon(model, 2) == {
        "b": [("y", 0.75), ("z", 0.25)],
        "a": [("y", pytest.approx(0.5)), ("x", pytest.approx(0.5))],
    }
    assert lexicon(model, 1)["b"] == [("y", 0.75)]
    assert lexicon(model, 0) == {"b": [], "a": []}


def test_threshold_by_hand() -> None:
    """The largest t is 1/2: at -2 a t of 1/4 stays, at -1 only 1/2 does; a sure row is alone."""
    table: Table = {None: {"x": 0.5, "y": 0.25, "z": 0.2}, "a": {"x": 1.0, "y": 0.999, "z": 0.0}}
    model = DiagonalModel(DiagonalSettings(), 4.0, table)
    half, quarter = "<eps>\tx\t-0.693147", "<eps>\ty\t-1.38629"
    assert list(write_parameters(model, -1.0)) == [half, "a\tx\t0"]
    assert list(write_parameters(model, -2.0)) == [half, quarter, "a\tx\t0"]
    assert list(write_parameters(model)) == [half, quarter, "<eps>\tz\t-1.60944", "a\tx\t0"]
    assert list(write_parameters(DiagonalModel(DiagonalSettings(), 4.0))) == []


def test_reading_by_hand() -> None:
    lines = ["b\ty\t-0.5\n", "<eps>\tx\t-1\n", "b\tx\t0\n", "b\ty\t-2"]
    model = read_parameters(lines, DiagonalSettings(tension=3.0), mean_length_ratio=1.5)
    assert model.table == {"b": {"y": math.exp(-2), "x": 1.0}, None: {"x": math.exp(-1)}}
    assert (model.tension, model.mean_length_ratio, model.totals) == (3.0, 1.5, None)
    assert model.target_words == ["y", "x"]


@pytest.mark.parametrize(
    "line", ["", "a\tb", "a b -1", "a\tb\tc", "a\tb\tnan", "a\tb\t0.1", "a\t\tb\t-1"]
)
def test_lines_that_are_not_parameters(line: str) -> None:
    with pytest.raises(ValueError, match="line 2: "):
        read_parameters(["a\tb\t-1", line], DiagonalSettings())


def test_a_word_that_looks_like_null() -> None:
    with pytest.raises(ValueError, match="<eps>"):
        list(write_parameters(fit([["<eps>"]], [["x"]])))


# A recorded run of fast_align


def recorded(name: str) -> list[str]:
    return lzma.decompress((FAST_ALIGN / f"few.{name}.xz").read_bytes()).decode().splitlines()


def test_meets_the_parameters_and_scores_of_fast_align() -> None:
    printed = json.loads((FAST_ALIGN / "few.json").read_text())
    model = fit(*toku(0, 20))
    assert model.tension == pytest.approx(printed["tension"], rel=1e-5)
    assert model.mean_length_ratio == pytest.approx(printed["mean_length_ratio"], rel=1e-5)
    expected, found = (
        logarithms(lines) for lines in (recorded("parameters"), write_parameters(model))
    )
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-8)
    scores = [float(line.split(" ||| ")[-1]) for line in recorded("scores")]
    pairs = zip(*toku(0, 20), strict=True)
    assert [model.log_probability(*pair) for pair in pairs] == pytest.approx(scores, rel=1e-5)


def logarithms(lines: Any) -> dict[tuple[str, str], float]:
    cells = [line.split("\t") for line in lines]
    assert len({(e, f) for e, f, _ in cells}) == len(cells)
    return {(e, f): float(log_t) for e, f, log_t in cells}


def test_reads_the_parameters_of_fast_align() -> None:
    """What fast_align makes of new text when it reads its own file, `-f`."""
    printed = json.loads((FAST_ALIGN / "few.json").read_text())
    chosen = DiagonalSettings(tension=printed["tension"])
    model = read_parameters(recorded("parameters"), chosen, printed["mean_length_ratio"])
    source, target = toku(20, 40)
    columns = [line.split(" ||| ") for line in recorded("forced")]
    links = [
        " ".join(f"{i}-{j}" for i, j in sorted(row, key=lambda link: link[1]))
        for row in model.align(source, target)
    ]
    assert links == [each[2] for each in columns]
    scores = [model.log_probability(e, f) for e, f in zip(source, target, strict=True)]
    assert scores == pytest.approx([float(each[3]) for each in columns], rel=1e-5)
