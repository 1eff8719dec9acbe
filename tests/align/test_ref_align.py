"""weam_ref's word aligner against values worked out on paper, and against its own laws."""

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weam_ref.diagonal import (
    UNSEEN,
    DiagonalModel,
    DiagonalSettings,
    expectation,
    fit,
    maximisation,
)
from weam_ref.links import shuffle_links, token_links
from weam_ref.philox import philox4x32
from weam_ref.score import alignment_error_rate
from weam_ref.special import digamma
from weam_ref.symmetrize import METHODS, symmetrize
from weam_ref.tension import feature, fit_tension, geometric_normaliser, model_feature

EULER = 0.5772156649015329
LOG_2 = math.log(2.0)

Link = tuple[int, int]
Links = list[Link]

MODEL_1 = {
    "favor_diagonal": False,
    "optimize_tension": False,
    "variational_bayes": False,
    "null_word": False,
}

# The smallest corpus on which EM must tell two words apart.
SOURCE = [["a", "b"], ["a"]]
TARGET = [["x", "y"], ["x"]]

sentences = st.lists(st.sampled_from("abcde"), min_size=1, max_size=5)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=6)
link_sets = st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12)


# The diagonal model


def test_model_1_by_hand() -> None:
    """IBM Model 1 without NULL.

    First E-step, t uniform: c(x|a) = 1/2 + 1, c(y|a) = c(x|b) = c(y|b) = 1/2.
    First M-step: t(x|a) = 3/4, t(y|a) = 1/4, t(x|b) = t(y|b) = 1/2.
    Second E-step, first pair: P(x) = (3/4 + 1/2)/2 = 5/8, of which a has 3/5;
    P(y) = (1/4 + 1/2)/2 = 3/8, of which a has 1/3. Second pair: P(x) = 3/4.
    Second M-step: a: 8/5 and 1/3 of 29/15; b: 2/5 and 2/3 of 16/15.
    """
    once = fit(SOURCE, TARGET, DiagonalSettings(iterations=2, **MODEL_1))
    assert once.table == {"a": {"x": 3 / 4, "y": 1 / 4}, "b": {"x": 1 / 2, "y": 1 / 2}}
    first, second = once.history
    assert first.log_likelihood == pytest.approx(3 * math.log(UNSEEN))
    assert first.perplexity == pytest.approx(1 / UNSEEN)
    assert second.log_likelihood == pytest.approx(math.log(5 / 8 * 3 / 8 * 3 / 4))
    assert second.perplexity == pytest.approx((5 / 8 * 3 / 8 * 3 / 4) ** (-1 / 3))

    twice = fit(SOURCE, TARGET, DiagonalSettings(iterations=3, **MODEL_1))
    assert twice.table["a"] == pytest.approx({"x": 24 / 29, "y": 5 / 29})
    assert twice.table["b"] == pytest.approx({"x": 3 / 8, "y": 5 / 8})
    assert twice.align(SOURCE, TARGET) == [[(0, 0), (1, 1)], [(0, 0)]]


def test_prior_by_hand() -> None:
    """I = J = 2 and lambda = 2 log 2, so that exp(-lambda/2) = 1/2: Z = 1 + 1/2 at either j."""
    model = DiagonalModel(DiagonalSettings(p0=0.1), tension=2 * LOG_2)
    assert model.prior(1, 2, 2) == pytest.approx([0.1, 0.6, 0.3])
    assert model.prior(2, 2, 2) == pytest.approx([0.1, 0.3, 0.6])
    without_null = DiagonalModel(DiagonalSettings(p0=0.1, null_word=False), tension=2 * LOG_2)
    assert without_null.prior(1, 2, 2) == pytest.approx([0.0, 0.6, 0.3])


def test_uniform_prior() -> None:
    model = DiagonalModel(DiagonalSettings(favor_diagonal=False), tension=4.0)
    assert model.prior(1, 7, 3) == [0.25] * 4
    without_null = DiagonalModel(DiagonalSettings(favor_diagonal=False, null_word=False), 4.0)
    assert without_null.prior(1, 7, 4) == [0.0, 0.25, 0.25, 0.25, 0.25]


def test_statistics_by_hand() -> None:
    """The posteriors of the first E-step are the prior above: NULL .1, .6 and .3.

    h at the 0-based j = 0: -1/2, -1; at j = 1: 0, -1/2. So the two target words expect
    .6 (-1/2) + .3 (-1) = -.6 and .3 (0) + .6 (-1/2) = -.3.
    """
    model = DiagonalModel(DiagonalSettings(p0=0.1), tension=2 * LOG_2)
    counts, statistics = expectation(model, [(["a", "b"], ["x", "y"])])
    assert counts[None] == pytest.approx({"x": 0.1, "y": 0.1})
    assert counts["a"] == pytest.approx({"x": 0.6, "y": 0.3})
    assert counts["b"] == pytest.approx({"x": 0.3, "y": 0.6})
    assert statistics.posterior_p0 == pytest.approx(0.1)
    assert statistics.posterior_feature == pytest.approx(-0.45)
    assert statistics.log_likelihood == pytest.approx(2 * math.log(UNSEEN))
    assert statistics.tension == 2 * LOG_2


def test_tension_by_hand() -> None:
    """With I = J = 2, lambda = 2 log 2 the model expects (1/2)(-1/2) / (3/2) = -1/6 at either j."""
    lengths = Counter({(2, 2): 5})
    assert model_feature(1, 2, 2, 2 * LOG_2) == pytest.approx(-1 / 6)
    assert fit_tension(2 * LOG_2, -1 / 6, lengths) == pytest.approx(2 * LOG_2)
    assert fit_tension(2 * LOG_2, -1.0, lengths) == 0.1
    assert fit_tension(2 * LOG_2, 1.0, lengths) == 14.0


def test_tension_divides_by_the_normaliser_of_swapped_lengths() -> None:
    """I = 1, J = 3, j = 2, lambda = 3 log 2, so that exp(-lambda/3) = 1/2.

    The numerator is h exp(lambda h) with h = -|1/1 - 2/3| = -1/3: -1/6. The divisor sums over
    positions i/3 about 2/1, that is about 6 > 3: descending from 6 to 1, 1 + 1/2 + .. + 1/32 =
    63/32; ascending from 7 without end, 1/2 + 1/4 + .. = 1. Their sum is 95/32.
    """
    assert geometric_normaliser(2, 1, 3, 3 * LOG_2) == pytest.approx(95 / 32)
    assert model_feature(2, 3, 1, 3 * LOG_2) == pytest.approx(-1 / 6 * 32 / 95)


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0.1, 14.0), st.data())
def test_geometric_normaliser_is_the_sum(
    target_length: int, source_length: int, tension: float, data: st.DataObject
) -> None:
    j = data.draw(st.integers(1, target_length))
    total = sum(
        math.exp(tension * feature(i, j, source_length, target_length))
        for i in range(1, source_length + 1)
    )
    assert geometric_normaliser(j, target_length, source_length, tension) == pytest.approx(total)


def test_tension_waits_for_the_second_iteration() -> None:
    history = fit(SOURCE, TARGET).history
    assert len(history) == 5
    assert history[0].tension == history[1].tension == 4.0
    assert history[2].tension != 4.0
    fixed = fit(SOURCE, TARGET, DiagonalSettings(optimize_tension=False))
    assert {iteration.tension for iteration in fixed.history} == {4.0}
    uniform = fit(SOURCE, TARGET, DiagonalSettings(favor_diagonal=False))
    assert {iteration.tension for iteration in uniform.history} == {4.0}


def test_ties_go_to_null_then_to_the_first_word() -> None:
    """After one iteration nothing is known but the prior, which is uniform here."""
    settings_with_null = DiagonalSettings(iterations=1, favor_diagonal=False)
    assert fit(SOURCE, TARGET, settings_with_null).align(SOURCE, TARGET) == [[], []]
    without_null = DiagonalSettings(iterations=1, **MODEL_1)
    assert fit(SOURCE, TARGET, without_null).align(SOURCE, TARGET) == [[(0, 0), (0, 1)], [(0, 0)]]


def test_empty_sides_are_skipped() -> None:
    padded = fit([[], *SOURCE, ["c"]], [["z"], *TARGET, []])
    assert padded == fit(SOURCE, TARGET)
    assert padded.align([[], ["a"]], [["x"], []]) == [[], []]
    nothing = fit([], [])
    assert (nothing.table, nothing.history[0].perplexity) == ({}, 1.0)


def test_unseen_words_have_the_floor_probability() -> None:
    model = fit(SOURCE, TARGET, DiagonalSettings(iterations=3, **MODEL_1))
    assert model.scores(["a", "new"], ["x", "new"]) == [
        pytest.approx([0.0, 24 / 29 / 2, UNSEEN / 2]),
        pytest.approx([0.0, UNSEEN / 2, UNSEEN / 2]),
    ]


def test_sides_of_unequal_length() -> None:
    with pytest.raises(ValueError, match="shorter"):
        fit(SOURCE, TARGET[:1])


ENGLISH = """one two three four five six seven
two one four three seven six
one two three six five
five six seven one"""
FRENCH = """un deux trois quatre cinq six sept
deux un quatre trois sept six
un deux trois six cinq
cinq six puis sept un"""


def test_meets_a_recorded_run_of_fast_align() -> None:
    """What `fast_align -d -o -v` printed for this corpus; it prints zeros in its last iteration."""
    source = [line.split() for line in ENGLISH.splitlines()]
    target = [line.split() for line in FRENCH.splitlines()]
    model = fit(source, target)
    history = model.history
    printed = [-476.635, -47.0488, -31.9016, -28.7263, -27.9341]
    assert [h.log_likelihood for h in history] == pytest.approx(printed, rel=3e-6)
    printed = [1e9, 7.7338, 4.00293, 3.48674, 3.3687]
    assert [h.perplexity for h in history] == pytest.approx(printed, rel=1e-5)
    printed = [0.08, 0.00756597, 6.73231e-07, 3.31336e-39]
    assert [h.posterior_p0 for h in history[:-1]] == pytest.approx(printed, rel=5e-6, abs=0.0)
    printed = [-0.214357, -0.177491, -0.176076, -0.174484]
    assert [h.posterior_feature for h in history[:-1]] == pytest.approx(printed, rel=5e-6)
    printed = [4.0, 4.0, 3.03622, 3.07912, 3.12807]
    assert [h.tension for h in history] == pytest.approx(printed, rel=3e-6)
    assert model.align(source, target) == [
        [(k, k) for k in range(7)],
        [(k, k) for k in range(6)],
        [(k, k) for k in range(5)],
        [(0, 0), (1, 1), (1, 2), (2, 3), (3, 4)],
    ]


def test_links_are_sorted_by_source_word() -> None:
    model = fit(SOURCE, TARGET, DiagonalSettings(iterations=3, **MODEL_1))
    assert model.align([["b", "a"]], [["x", "y"]]) == [[(0, 1), (1, 0)]]


@given(corpora, st.booleans(), st.booleans())
@settings(deadline=None, max_examples=50)
def test_posteriors_of_each_target_word_sum_to_one(
    corpus: list[tuple[list[str], list[str]]], favor_diagonal: bool, null_word: bool
) -> None:
    chosen = DiagonalSettings(iterations=3, favor_diagonal=favor_diagonal, null_word=null_word)
    model = fit([e for e, _ in corpus], [f for _, f in corpus], chosen)
    counts, _ = expectation(model, corpus)
    totals: Counter[str] = Counter()
    for row in counts.values():
        totals.update(row)
    assert totals == pytest.approx(Counter(word for _, f in corpus for word in f))
    assert (None in counts) == null_word


@given(corpora, st.booleans(), st.booleans())
@settings(deadline=None, max_examples=50)
def test_likelihood_never_falls_under_maximum_likelihood(
    corpus: list[tuple[list[str], list[str]]], favor_diagonal: bool, null_word: bool
) -> None:
    chosen = DiagonalSettings(
        iterations=8,
        optimize_tension=False,
        variational_bayes=False,
        favor_diagonal=favor_diagonal,
        null_word=null_word,
    )
    model = fit([e for e, _ in corpus], [f for _, f in corpus], chosen)
    likelihoods = [iteration.log_likelihood for iteration in model.history]
    for before, after in pairwise(likelihoods):
        assert after >= before - 1e-9
    assert all(sum(row.values()) == pytest.approx(1.0) for row in model.table.values())


def test_digamma() -> None:
    """psi(1) = -gamma, psi(1/2) = -gamma - 2 log 2, psi(n) = -gamma + 1 + 1/2 + .. + 1/(n-1)."""
    assert digamma(1.0) == pytest.approx(-EULER, abs=1e-9)
    assert digamma(0.5) == pytest.approx(-EULER - 2 * LOG_2, abs=1e-9)
    harmonic = sum(1 / k for k in range(1, 100))
    assert digamma(100.0) == pytest.approx(harmonic - EULER, abs=1e-12)
    for x in (0.01, 0.3, 6.99, 7.0, 50.0):
        step = 1e-4 * x
        slope = (math.lgamma(x + step) - math.lgamma(x - step)) / (2 * step)
        assert digamma(x) == pytest.approx(slope, rel=1e-6)


def test_variational_bayes_by_hand() -> None:
    """alpha = 1, counts 1 and 1: exp(psi(2) - psi(4)) = exp((1 - gamma) - (11/6 - gamma)).

    A word that occurred with one target word only keeps all of its mass.
    """
    counts: dict[str | None, dict[str, float]] = {"a": {"x": 1.0, "y": 1.0}, None: {"x": 0.3}}
    table = maximisation(counts, DiagonalSettings(alpha=1.0))
    assert table["a"] == pytest.approx({"x": math.exp(-5 / 6), "y": math.exp(-5 / 6)})
    assert table[None] == {"x": 1.0}


# Symmetrisation


def test_grow_diag_by_hand() -> None:
    """Intersection 0-0, 2-2. Of 1-1 and 1-2 the scan meets 1-1 first: it touches 0-0 and covers.

    Then source word 1 and target word 2 are covered, and 1-2 is left out.
    """
    forward, backward = [(0, 0), (1, 2), (2, 2)], [(0, 0), (1, 1), (2, 2)]
    assert symmetrize(forward, backward, "intersect") == [(0, 0), (2, 2)]
    assert symmetrize(forward, backward, "union") == [(0, 0), (1, 1), (1, 2), (2, 2)]
    assert symmetrize(forward, backward, "grow-diag") == [(0, 0), (1, 1), (2, 2)]


def test_grow_diag_grows_from_what_it_added() -> None:
    """1-1 touches 0-0, 2-2 touches 1-1 in the same pass; 3-0 touches 3-1 only in the next one."""
    forward = [(0, 0), (1, 1), (2, 2)]
    assert symmetrize(forward, [(0, 0)], "grow-diag") == forward
    forward = [(0, 0), (1, 3), (2, 2), (3, 1)]
    assert symmetrize(forward, [(3, 1)], "grow-diag") == [(1, 3), (2, 2), (3, 1)]


def test_final_steps_by_hand() -> None:
    """Nothing touches the intersection, 0-0. Forward adds 3-1, both of whose words are uncovered.

    Backward adds 2-3 likewise; 3-3 covers nothing new; 3-4 covers one word, enough for "final".
    """
    forward, backward = [(0, 0), (3, 1)], [(0, 0), (2, 3), (3, 3), (3, 4)]
    assert symmetrize(forward, backward, "grow-diag") == [(0, 0)]
    final = [(0, 0), (2, 3), (3, 1), (3, 4)]
    assert symmetrize(forward, backward, "grow-diag-final") == final
    assert symmetrize(forward, backward, "grow-diag-final-and") == [(0, 0), (2, 3), (3, 1)]


def test_results_depend_on_the_order_of_the_scan() -> None:
    """Forward goes first in the final steps, and source words before target words throughout."""
    assert symmetrize([(0, 2)], [(0, 4)], "grow-diag-final-and") == [(0, 2)]
    assert symmetrize([(0, 4)], [(0, 2)], "grow-diag-final-and") == [(0, 4)]
    # The first pass meets 0-0 before it touches anything, then adds 0-1 and 1-0, which cover its
    # words. Transposed, the first pass adds only 1-0, and the second meets 0-0 in time.
    links, seed = [(0, 0), (0, 1), (0, 2), (1, 0)], [(0, 2)]
    assert symmetrize(links, seed, "grow-diag") == [(0, 1), (0, 2), (1, 0)]
    assert symmetrize(transpose(links), transpose(seed), "grow-diag") == transpose(links)


@pytest.mark.parametrize("method", METHODS)
def test_symmetrize_of_nothing(method: str) -> None:
    assert symmetrize([], [], method) == []


def test_unknown_symmetrisation() -> None:
    with pytest.raises(ValueError, match="intersect, union, grow-diag, grow-diag-final, grow-diag"):
        symmetrize([], [], "refined")


def transpose(links: Links) -> Links:
    return sorted((j, i) for i, j in links)


@given(link_sets, link_sets)
def test_symmetrisation_laws(forward: set[Link], backward: set[Link]) -> None:
    results = {method: symmetrize(forward, backward, method) for method in METHODS}
    sets = {method: set(links) for method, links in results.items()}
    assert all(links == sorted(sets[method]) for method, links in results.items())
    assert sets["intersect"] == forward & backward
    assert sets["union"] == forward | backward
    assert sets["intersect"] <= sets["grow-diag"] <= sets["grow-diag-final"] <= sets["union"]
    assert sets["grow-diag"] <= sets["grow-diag-final-and"] <= sets["union"]
    for side in (0, 1):
        covered = {link[side] for link in results["grow-diag-final"]}
        assert covered == {link[side] for link in results["union"]}
    for method in ("intersect", "union", "grow-diag"):
        assert symmetrize(backward, forward, method) == results[method]
    for method in ("intersect", "union"):
        transposed = symmetrize(transpose(list(forward)), transpose(list(backward)), method)
        assert transposed == transpose(results[method])


@given(link_sets, st.sampled_from(METHODS))
def test_agreeing_directions_are_kept(links: set[Link], method: str) -> None:
    assert symmetrize(links, links, method) == sorted(links)


# Alignment error rate


def test_error_rate_by_hand() -> None:
    """|A| = 3 + 1, |S| = 2 + 1; A meets S in 1 + 1 links, P in 2 + 1: AER = 1 - 5/7."""
    score = alignment_error_rate(
        [[(0, 0), (1, 2), (2, 2)], [(0, 0)]],
        [[(0, 0), (1, 1)], [(0, 0)]],
        [[(0, 0), (1, 1), (1, 2)], [(0, 0)]],
    )
    assert (score.links, score.sure, score.sure_hits, score.possible_hits) == (4, 3, 2, 3)
    assert (score.precision, score.recall) == (3 / 4, 2 / 3)
    assert score.aer == pytest.approx(2 / 7)


def test_error_rate_counts_each_link_once_and_sure_links_as_possible() -> None:
    score = alignment_error_rate([[(0, 0), (0, 0)]], [[(0, 0)]], [[]])
    assert (score.links, score.precision, score.recall, score.aer) == (1, 1.0, 1.0, 0.0)


def test_error_rate_of_nothing() -> None:
    for empty in (alignment_error_rate([], [], []), alignment_error_rate([[]], [[]], [[]])):
        assert (empty.precision, empty.recall, empty.aer) == (1.0, 1.0, 0.0)
    no_links = alignment_error_rate([[]], [[(0, 0)]], [[(0, 0)]])
    assert (no_links.precision, no_links.recall, no_links.aer) == (1.0, 0.0, 1.0)
    no_gold = alignment_error_rate([[(0, 0)]], [[]], [[]])
    assert (no_gold.precision, no_gold.recall, no_gold.aer) == (0.0, 1.0, 1.0)


@given(link_sets, link_sets, link_sets)
def test_error_rate_is_zero_between_sure_and_possible(
    a: set[Link], b: set[Link], c: set[Link]
) -> None:
    score = alignment_error_rate([a | b], [a], [a | b | c])
    assert score.aer == 0.0


# Token links

# [CLS] a0 a0 a1 [SEP] against [CLS] b0 b1 b1 b1 [SEP]
SOURCE_WORDS = [-1, 0, 0, 1, -1]
TARGET_WORDS = [-1, 0, 1, 1, 1, -1]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("all", [(1, 1), (2, 1), (3, 2), (3, 3), (3, 4)]),
        ("first", [(1, 1), (3, 2)]),
        ("monotone", [(1, 1), (2, 1), (3, 2), (3, 3), (3, 4)]),
    ],
)
def test_token_links_by_hand(mode: str, expected: Links) -> None:
    assert token_links(SOURCE_WORDS, TARGET_WORDS, [(0, 0), (1, 1)], mode) == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("all", [(a, b) for a in (1, 2) for b in (2, 3, 4)]),
        ("first", [(1, 2)]),
        # k = 0, 1, 2: source floor(2k/3) = 0, 0, 1; target k.
        ("monotone", [(1, 2), (1, 3), (2, 4)]),
    ],
)
def test_two_tokens_against_three(mode: str, expected: Links) -> None:
    assert token_links(SOURCE_WORDS, TARGET_WORDS, [(0, 1)], mode) == expected
    transposed = token_links(TARGET_WORDS, SOURCE_WORDS, [(1, 0)], mode)
    assert transposed == transpose(expected)


def test_interleaved_words_and_missing_tokens() -> None:
    assert token_links([0, 1, 0], [1, 0, 1, 0], [(0, 0)], "monotone") == [(0, 1), (2, 3)]
    assert token_links([0, 1, 0], [1, 0, 1, 0], [(1, 1)], "all") == [(1, 0), (1, 2)]
    assert token_links([-1, 0], [0, -1], [(0, 5), (7, 0)], "all") == []
    assert token_links([-1, 0], [0, -1], [(0, 0), (0, 0)], "all") == [(1, 0)]


def test_unknown_link_mode() -> None:
    with pytest.raises(ValueError, match="all, first, last, monotone"):
        token_links([0], [0], [(0, 0)], "middle")


@given(
    st.lists(st.integers(-1, 3), max_size=8), st.lists(st.integers(-1, 3), max_size=8), link_sets
)
def test_link_modes_are_nested_and_cover(
    source_words: list[int], target_words: list[int], links: set[Link]
) -> None:
    by_mode = {
        mode: set(token_links(source_words, target_words, links, mode))
        for mode in ("all", "first", "monotone")
    }
    assert by_mode["first"] <= by_mode["monotone"] <= by_mode["all"]
    assert all((source_words[a], target_words[b]) in links for a, b in by_mode["all"])
    for side in (0, 1):
        covered = {link[side] for link in by_mode["all"]}
        assert covered == {link[side] for link in by_mode["monotone"]}


# Shuffled links


@given(link_sets, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_shuffling_keeps_degrees(links: set[Link], seed: int, sample: int) -> None:
    shuffled = shuffle_links(links, 5, seed=seed, sample=sample)
    assert shuffled == sorted(set(shuffled))
    assert Counter(i for i, _ in shuffled) == Counter(i for i, _ in links)
    before, after = Counter(j for _, j in links), Counter(j for _, j in shuffled)
    assert sorted(before.values()) == sorted(after.values())


def test_shuffling_by_its_definition() -> None:
    """Rank k of the draws is the new name of target word k; both halves of seed and sample count.

    A diagonal alignment reads the permutation off.
    """
    seed, sample, length = 0x0123456789ABCDEF, 0xFEDCBA9876543210, 20
    draws = [
        philox4x32((0x76543210, 0xFEDCBA98, j, 1), (0x89ABCDEF, 0x01234567))[0]
        for j in range(length)
    ]
    permutation = [draws.index(draw) for draw in sorted(draws)]
    diagonal = [(j, j) for j in range(length)]
    assert shuffle_links(diagonal, length, seed=seed, sample=sample) == [
        (j, permutation[j]) for j in range(length)
    ]


def test_every_shuffle_occurs() -> None:
    diagonal = [(0, 0), (1, 1), (2, 2)]
    seen = {tuple(shuffle_links(diagonal, 3, seed=1, sample=n)) for n in range(100)}
    assert len(seen) == 6
