"""weam_ext.align against its plain-Python twin, against fast_align, and against its own laws.

The twin says what is right; fast_align's own output on the built-in corpus, and on real sentences
where they are at hand, says that the twin means the same model.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pytest
from helpers import real_data
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from weam_ref import diagonal
from weam_ref import symmetrize as twin_symmetrize
from weam_ref.score import alignment_error_rate

from weam_ext import InputError, _native
from weam_ext.align import HEURISTICS, Aligner, DroppedPairs, Links, score, symmetrize
from weam_ext.corpus import Link, parse_links, read_gold, read_lines
from weam_ext.invented import LANGUAGES, sentence_pairs

OTHERS = LANGUAGES[1:]
FAST_ALIGN = Path(__file__).parent / "data" / "fast_align"
SWITCHES = ("favor_diagonal", "optimize_tension", "variational_bayes", "null_word")

Words = Sequence[Sequence[str]]
Bitext = tuple[Words, Words]
each_language = pytest.mark.parametrize("language", OTHERS)


def bitext(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Bitext:
    """Both sides, hashable."""
    return tuple(tuple(e) for e, _ in pairs), tuple(tuple(f) for _, f in pairs)


@cache
def corpus(language: str, start: int, stop: int | None = None) -> Bitext:
    """Pairs `start` to `stop` of the built-in corpus, or the first `start`."""
    pairs = sentence_pairs(language, stop or start)[start if stop else 0 :]
    return bitext([(pair.source.split(" "), pair.target.split(" ")) for pair in pairs])


# ------------------------------------------------------------------------------- implementations


class Fitted(NamedTuple):
    """P(target | source), however it was trained."""

    history: Sequence[diagonal.Iteration | _native.Iteration]
    align: Callable[[Words, Words], list[list[Link]]]


Fit = Callable[..., Fitted]


@lru_cache(100)
def twin(train: Bitext, **settings: Any) -> diagonal.DiagonalModel:
    return diagonal.fit(*train, diagonal.DiagonalSettings(**settings))


def fit_twin(source: Words, target: Words, **settings: Any) -> Fitted:
    model = twin(bitext(list(zip(source, target, strict=True))), **settings)
    return Fitted(model.history, model.align)


def fit_forward(source: Words, target: Words, **settings: Any) -> Fitted:
    aligner = Aligner(heuristic="forward", **settings).fit(source, target)
    return Fitted(aligner.history["forward"], lambda s, t: list(aligner.align(s, t)))


def fit_backward(source: Words, target: Words, **settings: Any) -> Fitted:
    """The same model with the languages exchanged throughout."""
    aligner = Aligner(heuristic="backward", **settings).fit(target, source)
    return Fitted(
        aligner.history["backward"], lambda s, t: [exchanged(row) for row in aligner.align(t, s)]
    )


def fit_first_of_both(source: Words, target: Words, **settings: Any) -> Fitted:
    aligner = Aligner(heuristic="union", **settings).fit(source, target)
    return Fitted(
        aligner.history["forward"], lambda s, t: list(Links(*aligner._native.align(s, t)[0]))
    )


def fit_second_of_both(source: Words, target: Words, **settings: Any) -> Fitted:
    aligner = Aligner(heuristic="union", **settings).fit(target, source)
    return Fitted(
        aligner.history["backward"],
        lambda s, t: [exchanged(row) for row in Links(*aligner._native.align(t, s)[1])],
    )


def exchanged(links: Sequence[Link]) -> list[Link]:
    return sorted((j, i) for i, j in links)


NATIVE: dict[str, Fit] = {
    "forward": fit_forward,
    "backward": fit_backward,
    "first of both": fit_first_of_both,
    "second of both": fit_second_of_both,
}
each_native = pytest.mark.parametrize("fit", NATIVE.values(), ids=NATIVE)
each_implementation = pytest.mark.parametrize(
    "fit", [*NATIVE.values(), fit_twin], ids=[*NATIVE, "weam_ref"]
)


def assert_agreement(fit: Fit, train: Bitext, new: Bitext, **settings: Any) -> float:
    """Trains like the twin and links like it, but where its best scores all but tie.

    Returns the share of new target words that are linked otherwise for that reason.
    """
    model = twin(train, **settings)
    fitted = fit(*train, **settings)
    tokens = sum(len(f) for e, f in zip(*train, strict=True) if e)
    for expected, found in zip(model.history, fitted.history, strict=True):
        likelihood = pytest.approx(expected.log_likelihood, rel=1e-5, abs=1e-5 * tokens)
        assert found.log_likelihood == likelihood
        assert found.perplexity == pytest.approx(expected.perplexity, rel=1e-4)
        assert found.posterior_p0 == pytest.approx(expected.posterior_p0, rel=1e-4, abs=1e-7)
        feature = pytest.approx(expected.posterior_feature, rel=1e-4, abs=1e-6)
        assert found.posterior_feature == feature
        if settings.get("favor_diagonal", True):
            assert found.tension == pytest.approx(expected.tension, rel=1e-4)
    ties = 0
    for e, f, links in zip(*new, fitted.align(*new), strict=True):
        if not e or not f:
            assert links == []
        elif links != model.align([e], [f])[0]:
            assert links == sorted(set(links))
            partners = {j: i for i, j in links}
            assert len(partners) == len(links)
            for j, scores in enumerate(model.scores(e, f)):
                ties += assert_best(scores[model.first_state :], partners, j, model.first_state)
    return ties / max(1, sum(map(len, new[1])))


def assert_best(scores: list[float], partners: dict[int, int], j: int, first_state: int) -> bool:
    """Whether another state than the best was taken; it must score almost the same."""
    found = partners.get(j, -1) + 1 - first_state
    assert scores[found] >= max(scores) * (1 - 1e-5)
    return found != scores.index(max(scores))


# ------------------------------------------------------------------------------- like the twin


@each_native
@each_language
def test_trains_and_links_like_the_twin(language: str, fit: Fit) -> None:
    train, new = corpus(language, 250), corpus(language, 200, 350)
    assert assert_agreement(fit, train, train) < 0.005
    assert assert_agreement(fit, train, new) < 0.01  # two neighbours of an unknown word may tie


@each_native
@pytest.mark.parametrize("switches", list(product([True, False], repeat=4)))
def test_every_switch(fit: Fit, switches: tuple[bool, ...]) -> None:
    chosen = dict(zip(SWITCHES, switches, strict=True))
    train, new = corpus("toku", 50), corpus("toku", 40, 60)
    # Model 1 knows no positions: words that always come together tie.
    assert assert_agreement(fit, train, new, **chosen) < 0.03


@each_native
@pytest.mark.parametrize(
    "chosen",
    [
        {"iterations": 1},
        {"iterations": 2},
        {"iterations": 9},
        {"p0": 0.0},
        {"p0": 0.6},
        {"alpha": 0.3},
        {"alpha": 5.0},
        {"alpha": 0.0005},  # exp(digamma) is below the smallest double
        {"tension": 0.1, "optimize_tension": False},
        {"tension": 14.0, "optimize_tension": False},
    ],
    ids=str,
)
def test_every_setting(fit: Fit, chosen: dict[str, Any]) -> None:
    train, new = corpus("orlu", 50), corpus("orlu", 40, 60)
    assert assert_agreement(fit, train, new, **chosen) < 0.03


words = st.sampled_from(["a", "b", "c", "das", "été", "e\u0301", "今天", "👩‍👩‍👧", "\0", "", " "])
sentences = st.lists(words, max_size=7)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=6)


@given(
    train=corpora.filter(lambda pairs: any(e and f for e, f in pairs)),
    new=corpora,
    name=st.sampled_from(sorted(NATIVE)),
    switches=st.tuples(*[st.booleans()] * 4),
    iterations=st.integers(1, 6),
    p0=st.sampled_from([0.02, 0.08, 0.5]),
    alpha=st.sampled_from([0.01, 0.1, 1.0]),
)
@example([(["a"], ["b"])], [(["a"], ["b"])], "forward", (True,) * 4, 5, 0.08, 0.01)
@example([(["a"] * 40, ["b"] * 3)], [([""], ["b"])], "backward", (True,) * 4, 5, 0.08, 0.01)
@hypothesis_settings(deadline=None, max_examples=200)
def test_any_tiny_corpus(
    train: list[tuple[list[str], list[str]]],
    new: list[tuple[list[str], list[str]]],
    name: str,
    switches: tuple[bool, ...],
    iterations: int,
    p0: float,
    alpha: float,
) -> None:
    """Repeated words, unknown words, empty sides, sides of one word, words of any text."""
    chosen: dict[str, Any] = dict(zip(SWITCHES, switches, strict=True))
    chosen |= {"iterations": iterations, "p0": p0, "alpha": alpha}
    assert_agreement(NATIVE[name], bitext(train), bitext(new), **chosen)


@pytest.mark.parametrize("fit", [fit_forward, fit_first_of_both])
def test_a_word_with_very_many_partners(fit: Fit) -> None:
    """More than 16 bits can number."""
    size = 110
    parts = [[f"{part}:{n}" for n in range(part * size, (part + 1) * size)] for part in range(600)]
    train = bitext([(["all", f"part {k // 50}"], part) for k, part in enumerate(parts)])
    assert 600 * size > 2**16
    new = bitext([(["all"], ["?", parts[-1][-1]]), (["part 11", "all"], ["0:0", parts[-1][0]])])
    assert assert_agreement(fit, train, new, iterations=3) == 0


@each_implementation
def test_ties_go_to_null_and_then_to_the_first(fit: Fit) -> None:
    fitted = fit([["a"]], [["x"]], iterations=1, p0=0.5)
    assert fitted.align([["a"]], [["x"]]) == [[]]
    fitted = fit([["a", "a", "a"]], [["x"]], favor_diagonal=False, null_word=False)
    assert fitted.align([["b", "a", "a"]], [["x"]]) == [[(1, 0)]]


@each_implementation
def test_unknown_words_are_linked_through_the_prior(fit: Fit) -> None:
    fitted = fit(*corpus("venn", 50))
    unknown = [["?1", "?2", "?3"]]
    assert fitted.align(unknown, unknown) == [[(0, 0), (1, 1), (2, 2)]]


# ------------------------------------------------------------------------------- like fast_align


def recorded(name: str) -> list[list[Link]]:
    return [parse_links(line, name) for line in read_lines(str(FAST_ALIGN / f"{name}.xz"))]


def link_f1(found: Sequence[Sequence[Link]], expected: Sequence[Sequence[Link]]) -> float:
    both = sum(len(set(a) & set(b)) for a, b in zip(found, expected, strict=True))
    return 2 * both / (sum(map(len, found)) + sum(map(len, expected)))


def figures(log: dict[str, Any]) -> dict[str, list[float]]:
    """What fast_align printed, by our names. It sets the tension after iterations 2, 3 and 4."""
    iterations, tensions = log["iterations"], log["tensions"]
    return {
        "log_likelihood": [each["log_e_likelihood"] for each in iterations],
        "perplexity": [each["perplexity"] for each in iterations],
        "posterior_p0": [each["posterior_p0"] for each in iterations],
        "posterior_feature": [each["posterior_al_feat"] for each in iterations],
        "tension": [4.0, 4.0, *tensions],
    }


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize(
    ("language", "fit"),
    [
        *(pytest.param(name, fit_first_of_both, id=f"{name}-native") for name in OTHERS),
        pytest.param(OTHERS[0], fit_twin, id=f"{OTHERS[0]}-weam_ref"),
    ],
)
def test_meets_fast_align(language: str, direction: str, fit: Fit) -> None:
    """To the six digits that it prints; in its last iteration it prints two zeros."""
    source, target = corpus(language, 2000)
    links = recorded(f"{language}.{direction}")
    if direction == "reverse":
        source, target, links = target, source, [exchanged(row) for row in links]
    fitted = fit(source, target)
    log = json.loads((FAST_ALIGN / "log.json").read_text())[language][direction]
    for name, printed in figures(log).items():
        found = [getattr(iteration, name) for iteration in fitted.history]
        last = 4 if name.startswith("posterior") else 5
        assert found[:last] == pytest.approx(printed[:last], rel=6e-6), name
    assert link_f1(fitted.align(source, target), links) >= 0.999


@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_symmetrizes_like_atools(heuristic: str) -> None:
    forward, backward = recorded("toku.forward"), recorded("toku.reverse")
    expected = recorded(f"toku.{heuristic}")
    found = symmetrize(Links.from_lists(forward), Links.from_lists(backward), heuristic)
    assert list(found) == expected
    assert [
        twin_symmetrize.symmetrize(f, b, heuristic) for f, b in zip(forward, backward, strict=True)
    ] == expected
    assert (
        link_f1(list(Aligner(heuristic=heuristic).fit_align(*corpus("toku", 2000))), expected)
        > 0.999
    )


# ------------------------------------------------------------------------------- symmetrisation

grids = st.integers(1, 9).flatmap(
    lambda size: st.lists(st.tuples(*[st.integers(0, size)] * 2), max_size=30, unique=True)
)


@given(st.lists(st.tuples(grids, grids), max_size=4), st.sampled_from(HEURISTICS))
@hypothesis_settings(deadline=None, max_examples=300)
def test_symmetrizes_like_the_twin(
    pairs: list[tuple[list[Link], list[Link]]], heuristic: str
) -> None:
    forward, backward = (Links.from_lists(pair[side] for pair in pairs) for side in (0, 1))
    expected = [twin_symmetrize.symmetrize(f, b, heuristic) for f, b in pairs]
    for threads in (1, 2):
        assert list(symmetrize(forward, backward, heuristic, threads=threads)) == expected


def test_symmetrize_refuses() -> None:
    one, two = Links.from_lists([[(0, 0)]]), Links.from_lists([[(0, 0)], []])
    with pytest.raises(InputError, match="unknown heuristic 'refined'; there are intersect, union"):
        symmetrize(one, one, "refined")
    with pytest.raises(ValueError, match="different numbers of pairs"):
        symmetrize(one, two, "union")
    with pytest.raises(InputError, match="threads must be at least 1"):
        symmetrize(one, one, "union", threads=0)


def test_a_link_may_be_far_out() -> None:
    far = 2**31 - 1
    links = Links.from_lists([[(0, 0), (far, far)], [(1, far)]])
    for heuristic in HEURISTICS:
        assert symmetrize(links, links, heuristic) == links


# ------------------------------------------------------------------------------- determinism


def everything(aligner: Aligner, links: Links) -> bytes:
    numbers = [
        [each.log_likelihood, each.posterior_p0, each.posterior_feature, each.tension]
        for iterations in aligner.history.values()
        for each in iterations
    ]
    return np.array(numbers).tobytes() + links.offsets.tobytes() + links.pairs.tobytes()


@pytest.mark.parametrize("heuristic", ["grow-diag-final-and", "forward", "backward"])
def test_the_same_bytes_at_any_number_of_threads(heuristic: str) -> None:
    source, target = corpus("venn", 1500)
    results = set()
    for threads in (1, 2, 3, 8, 1, 3):
        aligner = Aligner(heuristic=heuristic, threads=threads)
        results.add(everything(aligner, aligner.fit_align(source, target)))
        results.add(everything(aligner, aligner.align(source, target)))
    assert len(results) == 1


@pytest.mark.parametrize("heuristic", ["union", "forward", "backward"])
def test_fit_align_is_fit_and_align(heuristic: str) -> None:
    source, target = corpus("orlu", 300)
    together, apart = (Aligner(heuristic=heuristic) for _ in range(2))
    assert together.fit_align(source, target) == apart.fit(source, target).align(source, target)
    assert apart.align(source[:7], target[:7]) == Links.from_lists(
        list(apart.align(source, target))[:7]
    )


def test_a_direction_alone_is_that_half_of_both() -> None:
    source, target = corpus("toku", 1000)
    halves = Aligner(heuristic="union").fit(source, target)._native.align(source, target)
    for heuristic, half in zip(("forward", "backward"), halves, strict=True):
        alone = Aligner(heuristic=heuristic).fit_align(source, target)
        assert link_f1(list(alone), list(Links(*half))) > 0.999


# ------------------------------------------------------------------------------- sentences


def test_strings_and_lists_of_words_are_the_same() -> None:
    source, target = corpus("venn", 100)
    expected = Aligner().fit_align(source, target)
    e, f = ([f" \t{'  '.join(row)}\t" for row in side] for side in (source, target))
    assert Aligner().fit_align(e, f) == expected
    assert Aligner().fit_align(tuple(e), tuple(f)) == expected
    assert Aligner().fit_align([list(row) for row in source], f) == expected


def test_only_blanks_and_tabs_separate_words() -> None:
    text = "a\u00a0b\u3000c\u2028d\x0be\nf"
    aligner = Aligner(heuristic="forward")
    assert list(aligner.fit_align([text], [text])) == [[(0, 0)]]
    assert list(aligner.align([f"{text} {text}"], [[text, text]])) == [[(0, 0), (1, 1)]]


def test_words_of_the_same_hash() -> None:
    """FNV-1a, folded to 32 bits."""
    pairs = [("ecdy", "A"), ("kybn", "B"), ("ecdy kybn", "B A"), ("kybn ecdy", "A B")] * 3
    aligner = Aligner(heuristic="forward", favor_diagonal=False)
    links = aligner.fit_align([e for e, _ in pairs], [f for _, f in pairs])
    assert list(links)[:4] == [[(0, 0)], [(0, 0)], [(0, 1), (1, 0)], [(0, 1), (1, 0)]]
    assert aligner._native.vocabulary_sizes == (2, 2)


def test_empty_and_over_long_pairs_have_no_links_and_are_counted() -> None:
    source, target = map(list, corpus("toku", 50))
    expected = Aligner().fit_align(source, target)
    gaps = {
        3: ("", "x y"),
        10: ("x", ""),
        20: (" \t", ""),
        51: ("a " * 21, "b"),
        52: ("a", "b " * 21),
    }
    for at, (e, f) in gaps.items():
        source.insert(at, e.split())
        target.insert(at, f.split())
    aligner = Aligner(max_length=20)
    for links in (aligner.fit_align(source, target), aligner.align(source, target)):
        assert aligner.dropped == DroppedPairs(empty=3, too_long=2)
        assert [row for k, row in enumerate(links) if k not in gaps] == list(expected)
        assert all(links[k] == [] for k in gaps)
    assert str(aligner.dropped) == "3 with an empty side, 2 over-long"
    # Twenty words are not over-long, and without a limit nothing is.
    aligner.align(["a " * 20], ["b"])
    assert aligner.dropped == DroppedPairs()
    unlimited = Aligner(max_length=0).fit(["a " * 3000], ["b " * 2000])
    assert unlimited.dropped == DroppedPairs()


@pytest.mark.parametrize("pairs", [[], [("", "")], [("a", ""), ("", "b")], [("a b", "c")]])
def test_nothing_to_learn_from(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="no sentence pair to learn from"):
        Aligner(max_length=1).fit([e for e, _ in pairs], [f for _, f in pairs])


def test_aligning_nothing() -> None:
    aligner = Aligner().fit(["a"], ["b"])
    assert list(aligner.align([], [])) == []
    assert list(aligner.align([""], ["b"])) == [[]]


def test_bad_sentences() -> None:
    aligner = Aligner().fit(["a b"], ["c d"])
    before = everything(aligner, aligner.align(["a b"], ["c d"]))
    for call in (aligner.fit, aligner.align, aligner.fit_align):
        with pytest.raises(ValueError, match="source has 2 sentences, target has 1"):
            call(["a", "b"], ["c"])
        with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
            call(["a", "b \ud800"], ["c", "d"])
        with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
            call(["a", "b"], [["c"], ["\udcff"]])
        with pytest.raises(TypeError):
            call(["a", None], ["c", "d"])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            call(["a", ["b", 1]], ["c", "d"])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            call([b"a"], ["c"])  # type: ignore[list-item]
    assert everything(aligner, aligner.align(["a b"], ["c d"])) == before


# ------------------------------------------------------------------------------- the object


def test_settings_are_checked() -> None:
    bad: list[tuple[str, Any]] = [
        ("iterations", 0),
        ("p0", -0.1),
        ("p0", 1.0),
        ("p0", float("nan")),
        ("tension", 0.0),
        ("tension", 14.1),
        ("alpha", 0.0),
        ("alpha", float("inf")),
        ("max_length", -1),
        ("threads", 0),
    ]
    for name, value in bad:
        with pytest.raises(InputError, match=f"^{name} must be"):
            Aligner(**{name: value})
    with pytest.raises(InputError, match="unknown heuristic 'diag'; there are intersect, union"):
        Aligner(heuristic="diag")


def test_align_needs_fit() -> None:
    with pytest.raises(RuntimeError, match="call fit first"):
        Aligner().align(["a"], ["b"])


def test_progress_counts_iterations() -> None:
    seen: list[int] = []
    Aligner(iterations=3).fit(["a"], ["b"], seen.append)
    assert seen == [1, 2, 3]


def test_an_interrupt_leaves_the_earlier_model() -> None:
    source, target = corpus("toku", 200)
    aligner = Aligner().fit(source, target)
    before = everything(aligner, aligner.align(source, target))

    def interrupt(iteration: int) -> None:
        if iteration == 3:
            raise KeyboardInterrupt

    for call in (aligner.fit, aligner.fit_align):
        with pytest.raises(KeyboardInterrupt):
            call(target[:50], source[:50], interrupt)
        assert everything(aligner, aligner.align(source, target)) == before


def test_the_earlier_model_serves_until_training_ends() -> None:
    source, target = corpus("orlu", 100)
    aligner = Aligner().fit(source, target)
    expected = aligner.align(source, target)
    seen: list[Links] = []
    aligner.fit(target, source, lambda _: seen.append(aligner.align(source, target)))
    assert seen == [expected] * 5
    assert aligner.align(source, target) != expected


def test_a_signal_stops_training_at_once() -> None:
    """Its handler's exception comes out of fit, which would go on for minutes."""

    class Alarm(Exception):
        pass

    def ring(number: int, frame: FrameType | None) -> None:
        raise Alarm

    source, target = corpus("venn", 500)
    aligner = Aligner(iterations=100_000, max_length=0)
    previous = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        start = time.monotonic()
        with pytest.raises(Alarm):
            aligner.fit(source, target)
        assert time.monotonic() - start < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_control_c_stops_training_at_once() -> None:
    script = """
from weam_ext.align import Aligner
def progress(iteration):
    if iteration == 1:
        print("training", flush=True)
aligner = Aligner(iterations=100_000)
try:
    aligner.fit(["a b c", "b d"] * 300, ["x y z", "y w"] * 300, progress)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "training\n"
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert time.monotonic() - start < 5
    assert child.returncode == 0


# ------------------------------------------------------------------------------- links

LISTS = [[(0, 2), (1, 0), (1, 1)], [], [(3, 0)]]


def test_links() -> None:
    links = Links.from_lists([[(1, 1), (0, 2), (1, 0)], [], [(3, 0)]])
    assert list(links) == LISTS
    assert [links[k] for k in range(-3, 3)] == LISTS * 2
    assert len(links) == 3
    for outside in (3, -4, 10**9):
        with pytest.raises(IndexError, match=f"pair {outside} of 3"):
            links[outside]
    assert links.source.tolist() == [0, 1, 1, 3]
    assert links.target.tolist() == [2, 0, 1, 0]
    assert links.offsets.dtype == np.int64
    assert links.pairs.dtype == np.int32
    assert links == Links([0, 3, 3, 4], [(0, 2), (1, 0), (1, 1), (3, 0)])
    assert links != Links.from_lists(LISTS[:2])
    assert links != LISTS
    with pytest.raises(TypeError, match="unhashable"):
        hash(links)


def test_to_pharaoh() -> None:
    links = Links.from_lists(LISTS)
    assert links.to_pharaoh() == "0-2 1-0 1-1\n\n3-0\n"
    assert links.to_pharaoh(by_target=True) == "1-0 1-1 0-2\n\n3-0\n"
    assert Links.from_lists([]).to_pharaoh() == ""
    assert Links.from_lists([[(2**31 - 1, 10)]]).to_pharaoh() == "2147483647-10\n"


@given(st.lists(grids, max_size=5))
def test_links_there_and_back(rows: list[list[Link]]) -> None:
    links = Links.from_lists(rows)
    assert list(links) == [sorted(row) for row in rows]
    assert Links.from_lists(links) == links
    lines = links.to_pharaoh().splitlines()
    assert [parse_links(line, "here") for line in lines] == list(links)
    by_target = links.to_pharaoh(by_target=True).splitlines()
    assert [parse_links(line, "here") for line in by_target] == list(links)


@pytest.mark.parametrize(
    ("offsets", "pairs"),
    [
        ([], [[0, 0]]),
        ([[0, 1]], [[0, 0]]),
        ([0, 1], [0, 0]),
        ([0, 1], [[0, 0, 0]]),
        ([0, 1], [[[0, 0]]]),
        ([0, 2], [[0, 0]]),
        ([0, 0], [[0, 0]]),
        ([1, 1], [[0, 0]]),
        ([0, 2, 1], [[0, 0]]),
        ([0, -1, 1], [[0, 0]]),
        ([0, 2**62, 1], [[0, 0]]),
        ([0, 1], [[-1, 0]]),
        ([0, 1], [[0, -(2**31)]]),
    ],
)
def test_malformed_links(offsets: Any, pairs: Any) -> None:
    arrays = np.array(offsets, np.int64), np.array(pairs, np.int32)
    good = np.array([0, 1], np.int64), np.array([[0, 0]], np.int32)
    with pytest.raises(ValueError, match="links"):
        _native.pharaoh(*arrays, False)
    for forward, backward in ((good, arrays), (arrays, good)):
        with pytest.raises(ValueError, match="links"):
            _native.symmetrize(*forward, *backward, "union", 1)
    with pytest.raises(ValueError, match="unknown heuristic"):
        _native.symmetrize(*good, *good, "refined", 1)


def test_links_of_another_layout() -> None:
    """Strided and unsorted arrays are taken as what they show."""
    pairs = np.array([[0, 1], [9, 9], [0, 0], [9, 9]], np.int32)[::2]
    offsets = np.array([0, 9, 2, 9])[::2]
    assert _native.pharaoh(offsets, pairs, False) == b"0-0 0-1\n"
    with pytest.raises(TypeError):
        _native.pharaoh(offsets, pairs.astype(np.float32), False)


# ------------------------------------------------------------------------------- scores


@given(st.lists(st.tuples(grids, grids, grids), max_size=4))
def test_scores_like_the_twin(rows: list[tuple[list[Link], list[Link], list[Link]]]) -> None:
    answers, sure, possible = ([row[k] for row in rows] for k in range(3))
    expected = alignment_error_rate(answers, sure, possible)
    found = score(answers, [(set(s), {*s, *p}) for s, p in zip(sure, possible, strict=True)])
    assert found.precision == pytest.approx(expected.precision)
    assert found.recall == pytest.approx(expected.recall)
    assert found.aer == pytest.approx(expected.aer)


def test_scores_need_as_many_answers_as_gold() -> None:
    with pytest.raises(ValueError, match="shorter"):
        score([[]], [])


# ------------------------------------------------------------------------------- real sentences


def test_hansards() -> None:
    """The 447 test pairs of WPT-03 alone, with the error rates of fast_align and atools."""
    folder = real_data("wa-enfr-wpt03")
    source, target = (
        [line.lower() for line in read_lines(str(folder / f"test.{x}"))] for x in ("en", "fr")
    )
    gold = read_gold(str(folder / "test.en-fr.gold"))
    for heuristic, expected in {
        "forward": 0.3017,
        "backward": 0.2843,
        "intersect": 0.2514,
        "union": 0.3212,
        "grow-diag": 0.2883,
        "grow-diag-final": 0.3154,
        "grow-diag-final-and": 0.2929,
    }.items():
        aligners = [Aligner(heuristic=heuristic, threads=threads) for threads in (1, 2)]
        links = [aligner.fit_align(source, target) for aligner in aligners]
        assert links[0] == links[1]
        assert score(links[0], gold).aer == pytest.approx(expected, abs=0.002)
