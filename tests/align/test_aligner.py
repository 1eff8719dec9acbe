"""weam_ext.align against its plain-Python twin, against fast_align, and against its own laws.

The twin says what is right; fast_align's own output on the built-in corpus, and on real sentences
where they are at hand, says that the twin means the same model.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aligners import (
    MODES,
    SWITCHES,
    Bitext,
    Pairs,
    Words,
    bitext,
    corpora,
    corpus,
    everything,
    one_direction,
    trainable,
    trained,
)
from aligners import switches as any_switches
from helpers import FAST_ALIGN, real_data, recorded_links
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from weam_ref import diagonal

from weam_ext import _native
from weam_ext.align.aligner import Aligner
from weam_ext.align.links import HEURISTICS, Links
from weam_ext.align.scoring import score
from weam_ext.text.bitext import BitextSource
from weam_ext.text.lines import read_lines
from weam_ext.text.pharaoh import Link, read_gold
from weam_ext.text.toy_corpus import LANGUAGES

OTHERS = LANGUAGES[1:]
each_language = pytest.mark.parametrize("language", OTHERS)

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
    aligner = trained(source, target, heuristic="forward", **settings)
    return Fitted(aligner.history["forward"], lambda s, t: list(aligner.align(s, t)))


def fit_backward(source: Words, target: Words, **settings: Any) -> Fitted:
    """The same model with the languages exchanged throughout."""
    aligner = trained(target, source, heuristic="backward", **settings)
    return Fitted(
        aligner.history["backward"], lambda s, t: [exchanged(row) for row in aligner.align(t, s)]
    )


def fit_first_of_both(source: Words, target: Words, **settings: Any) -> Fitted:
    half = one_direction(trained(source, target, **settings), "forward")
    return Fitted(half.history["forward"], lambda s, t: list(half.align(s, t)))


def fit_second_of_both(source: Words, target: Words, **settings: Any) -> Fitted:
    half = one_direction(trained(target, source, **settings), "backward")
    return Fitted(
        half.history["backward"], lambda s, t: [exchanged(row) for row in half.align(t, s)]
    )


def exchanged(links: Sequence[Link]) -> list[Link]:
    return sorted((j, i) for i, j in links)


NATIVE: dict[str, Fit] = {
    "forward": fit_forward,
    "backward": fit_backward,
    "first of both": fit_first_of_both,
    "second of both": fit_second_of_both,
    "forward in files": partial(fit_forward, memory="files"),
    "first of both, low": partial(fit_first_of_both, memory="low"),
    "second of both in files": partial(fit_second_of_both, memory="files"),
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


@given(
    train=trainable,
    new=corpora,
    name=st.sampled_from(sorted(NATIVE)),
    chosen=any_switches,
    iterations=st.integers(1, 5),
    p0=st.sampled_from([0.02, 0.08, 0.5]),
    alpha=st.sampled_from([0.01, 0.1, 1.0]),
)
@example([(["a"], ["b"])], [(["a"], ["b"])], "forward", {}, 5, 0.08, 0.01)
@example([(["a"] * 40, ["b"] * 3)], [([""], ["b"])], "backward", {}, 5, 0.08, 0.01)
@hypothesis_settings(deadline=None, max_examples=120)
def test_any_tiny_corpus(
    train: Pairs,
    new: Pairs,
    name: str,
    chosen: dict[str, Any],
    iterations: int,
    p0: float,
    alpha: float,
) -> None:
    """Repeated words, unknown words, empty sides, sides of one word, words of any text."""
    numbers = {"iterations": iterations, "p0": p0, "alpha": alpha}
    assert_agreement(NATIVE[name], bitext(train), bitext(new), **chosen, **numbers)


@pytest.mark.parametrize("name", ["first of both", "forward in files"])
def test_sentences_of_a_thousand_words(name: str) -> None:
    source, target = corpus("venn", 300)
    e, f = (tuple(word for row in side for word in row) for side in (source, target))
    train = ((e[:1000], e[:2], e[500:1500]), (f[:1000], f[:1000], f[500:530]))
    assert assert_agreement(NATIVE[name], train, train, iterations=3) < 0.01


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
    links = recorded_links(f"{language}.{direction}")
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
def test_symmetrizes_its_own_links_like_atools(heuristic: str) -> None:
    links = Aligner(model="fast-align", heuristic=heuristic).fit_align(*corpus("toku", 2000))
    assert link_f1(list(links), recorded_links(f"toku.{heuristic}")) > 0.999


# ------------------------------------------------------------------------------- determinism


def assert_same_bytes(source: Any, target: Any, modes: Sequence[str], **options: Any) -> None:
    """Links, scores, history and model, in every memory mode and at any number of threads."""
    results = set()
    for memory, threads in product(modes, (1, 2, 3, 8)):
        aligner = trained(source, target, memory=memory, threads=threads, **options)
        results.add(everything(aligner, aligner.align(source, target)))
        again = Aligner(model="fast-align", **MODES[memory], threads=threads, **options)
        results.add(everything(again, again.fit_align(source, target)))
    assert len(results) == 1


@pytest.mark.parametrize("heuristic", ["grow-diag-final-and", "forward", "backward"])
def test_the_same_bytes_at_any_number_of_threads_in_any_memory(heuristic: str) -> None:
    assert_same_bytes(*corpus("venn", 500), list(MODES), heuristic=heuristic, iterations=4)


@given(
    train=trainable,
    chosen=any_switches,
    heuristic=st.sampled_from(["union", "forward", "backward"]),
)
@hypothesis_settings(max_examples=20)
def test_the_same_bytes_of_any_tiny_corpus(
    train: Pairs, chosen: dict[str, bool], heuristic: str
) -> None:
    assert_same_bytes(*bitext(train), list(MODES), heuristic=heuristic, iterations=3, **chosen)


def test_small_texts_are_cut_into_many_parts() -> None:
    """Else the tests above would prove little. Each block of pairs hands on its links."""
    source, target = corpus("venn", 500)
    blocks = {}
    for memory, options in MODES.items():
        aligner, links = Aligner(model="fast-align", **options), list[Links]()
        text = aligner.read(source, target)
        aligner.fit_text(text, take=lambda block, _, links=links: links.append(block))
        assert Links.concatenate(links) == aligner.align(source, target)
        blocks[memory] = len(links)
    assert blocks["low"] == 1
    assert blocks["files"] > 4


@pytest.mark.parametrize("heuristic", ["union", "forward", "backward"])
def test_fit_align_is_fit_and_align(heuristic: str) -> None:
    source, target = corpus("orlu", 300)
    together, apart = (Aligner(model="fast-align", heuristic=heuristic) for _ in range(2))
    assert together.fit_align(source, target) == apart.fit(source, target).align(source, target)
    assert apart.align(source[:7], target[:7]) == Links.from_lists(
        list(apart.align(source, target))[:7]
    )


def test_a_direction_alone_is_that_half_of_both() -> None:
    source, target = corpus("toku", 1000)
    both = Aligner(model="fast-align", heuristic="union").fit(source, target)
    for heuristic in ("forward", "backward"):
        half = one_direction(both, heuristic).align(source, target)
        alone = Aligner(model="fast-align", heuristic=heuristic).fit_align(source, target)
        assert link_f1(list(alone), list(half)) > 0.999


# ------------------------------------------------------------------------------- real sentences


def hansards(pairs: int) -> tuple[BitextSource, Path]:
    """The first training pairs of WPT-03."""
    folder = real_data("wa-enfr-wpt03")
    files = (str(folder / "train.en.xz"), str(folder / "train.fr.xz"))
    return BitextSource("train", files, limit=pairs), folder


@pytest.mark.parametrize("heuristic", ["grow-diag-final-and", "backward"])
def test_the_same_bytes_of_real_sentences(heuristic: str) -> None:
    source, _ = hansards(2000)
    results = set()
    for memory, threads in (("fast", 1), ("fast", 3), ("low", 2), ("files", 8)):
        aligner = trained(source, memory=memory, heuristic=heuristic, threads=threads, iterations=3)
        results.add(everything(aligner, aligner.align(source)))
    assert len(results) == 1


@pytest.mark.long
def test_the_same_bytes_of_a_text_that_is_cut_in_low_mode() -> None:
    """The index takes more than 100 MB: several tiles of 64 MiB."""
    source, _ = hansards(120_000)
    results = set()
    for memory, threads in (("fast", 2), ("low", 1), ("low", 3)):
        aligner, blocks = (
            Aligner(model="fast-align", **MODES[memory], threads=threads, iterations=3),
            list[Links](),
        )
        aligner.fit_text(aligner.read(source), take=lambda block, _, to=blocks: to.append(block))
        assert len(blocks) > 1
        results.add(everything(aligner, Links.concatenate(blocks)))
    assert len(results) == 1


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
        aligners = [
            Aligner(model="fast-align", heuristic=heuristic, threads=threads) for threads in (1, 2)
        ]
        links = [aligner.fit_align(source, target) for aligner in aligners]
        assert links[0] == links[1]
        assert score(links[0], gold).aer == pytest.approx(expected, abs=0.002)
