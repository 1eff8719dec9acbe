"""What a trained aligner gives beside its links, and training it further, against weam_ref."""

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aligners import (
    MODES,
    Bitext,
    Pairs,
    bitext,
    corpora,
    corpus,
    everything,
    one_direction,
    switches,
    table_of,
    trainable,
    trained,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from weam_ref import diagonal, lexicon

from weam_ext import InputError
from weam_ext.align.aligner import Aligner
from weam_ext.align.fast_align import FastAlign
from weam_ext.align.links import HEURISTICS
from weam_ext.align.settings import DIRECTIONS
from weam_ext.text.pharaoh import Link

Models = dict[str, diagonal.DiagonalModel]
each_mode = pytest.mark.parametrize("memory", MODES)


def oriented(text: Bitext, direction: str) -> Bitext:
    """The text as the model of that direction reads it: given words, generated words."""
    return text if direction == "forward" else (text[1], text[0])


def twin(
    text: Bitext,
    direction: str,
    init: diagonal.DiagonalModel | None = None,
    **chosen: Any,
) -> diagonal.DiagonalModel:
    return diagonal.fit(*oriented(text, direction), diagonal.DiagonalSettings(**chosen), init)


def directions_of(heuristic: str) -> tuple[str, ...]:
    return (heuristic,) if heuristic in DIRECTIONS else DIRECTIONS


# ----------------------------------------------------------------------------- further training


def assert_same_model(aligner: Aligner, direction: str, expected: diagonal.DiagonalModel) -> None:
    """Every t, expected count and measure; cells that the twin lacks are unseen to it."""
    table = table_of(aligner, direction)
    tokens = max(1, len(expected.target_words))
    # A count is what is left of t, float32, less alpha; only likelihood shows its digits.
    least = 1e-15 if expected.settings.variational_bayes else 1e-10
    if not expected.settings.null_word:
        del table[None]  # never read; the twin has none
    for given_word, row in table.items():
        for word, t in row.items():
            assert t == pytest.approx(expected.translation(given_word, word), rel=2e-3, abs=least)
    for given_word, expected_row in expected.table.items():
        assert expected_row.keys() <= table.get(given_word, {}).keys()
    for mine, theirs in zip(aligner.history[direction], expected.history, strict=True):
        likelihood = pytest.approx(theirs.log_likelihood, rel=1e-4, abs=1e-4 * tokens)
        assert mine.log_likelihood == likelihood
        assert mine.posterior_p0 == pytest.approx(theirs.posterior_p0, rel=1e-3, abs=1e-6)
        assert mine.posterior_feature == pytest.approx(theirs.posterior_feature, rel=1e-3, abs=1e-5)
    if expected.settings.favor_diagonal:
        assert aligner.tension[direction] == pytest.approx(expected.tension, rel=1e-3)
    assert aligner.length_ratio[direction] == pytest.approx(expected.mean_length_ratio)
    alone = aligner if aligner.heuristic in DIRECTIONS else one_direction(aligner, direction)
    totals = alone.model.arrays()["totals0"].tolist()
    if expected.totals is None:
        assert totals == []
        return
    for word, total in zip(alone.model.words(0), totals, strict=True):
        assert total == pytest.approx(expected.totals.get(word, 0.0), rel=1e-4, abs=1e-5)


@each_mode
@pytest.mark.parametrize("heuristic", ["union", "forward", "backward"])
def test_training_goes_on_like_the_twin(heuristic: str, memory: str) -> None:
    """Twice, with other words each time; the same text again; and what was known stays known."""
    texts = [corpus("toku", 60), corpus("toku", 50, 90), corpus("toku", 50, 90)]
    aligner: Aligner | None = None
    twins: dict[str, diagonal.DiagonalModel | None] = dict.fromkeys(directions_of(heuristic))
    for text in texts:
        aligner = trained(*text, memory=memory, heuristic=heuristic, init=aligner, iterations=4)
        for direction, former in twins.items():
            model = twins[direction] = twin(text, direction, former, iterations=4)
            assert_same_model(aligner, direction, model)
    assert aligner is not None
    for direction, expected in twins.items():
        assert expected is not None
        half = aligner if heuristic in DIRECTIONS else one_direction(aligner, direction)
        given, generated = oriented(texts[0], direction)
        links = list(half.align(*texts[0]))
        if direction == "backward":
            links = [sorted((j, i) for i, j in row) for row in links]
        same = sum(a == b for a, b in zip(links, expected.align(given, generated), strict=True))
        assert same >= len(links) - 2  # neighbours may tie


@given(
    first=trainable,
    second=trainable,
    before=switches,
    after=switches,
    memory=st.sampled_from(list(MODES)),
    heuristic=st.sampled_from(["union", "forward", "backward"]),
    iterations=st.tuples(st.integers(2, 3), st.integers(1, 3)),
)
@settings(max_examples=50)
def test_training_goes_on_from_any_text_and_settings(
    first: Pairs,
    second: Pairs,
    before: dict[str, Any],
    after: dict[str, Any],
    memory: str,
    heuristic: str,
    iterations: tuple[int, int],
) -> None:
    old, new = bitext(first), bitext(second)
    before = before | {"iterations": iterations[0]}
    # Where NULL comes or goes, the twin's row of NULL has the words of one text only.
    after = after | {"iterations": iterations[1], "null_word": before["null_word"]}
    init = trained(*old, heuristic=heuristic, **before)
    aligner = trained(*new, heuristic=heuristic, memory=memory, init=init, **after)
    for direction in directions_of(heuristic):
        model = twin(old, direction, **before)
        assert_same_model(aligner, direction, twin(new, direction, model, **after))


@pytest.mark.parametrize("variational_bayes", [True, False])
def test_null_may_come_later(variational_bayes: bool) -> None:
    text, bayes = corpus("toku", 60), {"variational_bayes": variational_bayes}
    init = Aligner(model="fast-align", null_word=False, **bayes).fit(*text)
    aligner = Aligner(model="fast-align", **bayes).fit(*text, init=init)
    for direction in DIRECTIONS:
        model = twin(text, direction, twin(text, direction, null_word=False, **bayes), **bayes)
        assert_same_model(aligner, direction, model)


def test_the_start_stays_as_it_was_and_its_use_changes_nothing() -> None:
    old, new = corpus("venn", 80), corpus("venn", 60, 120)
    fresh, used = (Aligner(model="fast-align").fit(*old) for _ in range(2))
    used.align(*old)
    results = {
        everything(Aligner(model="fast-align").fit(*new, init=init)) for init in (fresh, used)
    }
    results |= {everything(trained(*new, memory=memory, init=used)) for memory in MODES}
    results.add(everything(used.fit(*new, init=used)))
    assert len(results) == 1
    assert everything(fresh) == everything(Aligner(model="fast-align").fit(*old))


def test_training_goes_on_from_a_parameter_file(tmp_path: Path) -> None:
    """Whose counts are not known: a start and no more."""
    old, new = corpus("orlu", 60), corpus("orlu", 40, 90)
    model = twin(old, "forward")
    lines = list(lexicon.write_parameters(model, -1e6))
    (tmp_path / "parameters").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    chosen = diagonal.DiagonalSettings()
    init = Aligner(model="fast-align", heuristic="forward").take_parameters(tmp_path / "parameters")
    start = lexicon.read_parameters(lines, chosen)
    for memory in MODES:
        aligner = trained(*new, heuristic="forward", memory=memory, init=init)
        assert_same_model(aligner, "forward", diagonal.fit(*new, chosen, start))


def test_a_start_of_another_kind_is_refused() -> None:
    both, forward = (
        Aligner(model="fast-align").fit(["a"], ["b"]),
        Aligner(model="fast-align", heuristic="forward").fit(["a"], ["b"]),
    )
    for heuristic, init in (("backward", forward), ("forward", both), ("union", forward)):
        aligner = Aligner(model="fast-align", heuristic=heuristic)
        for call in (aligner.fit, aligner.fit_align):
            with pytest.raises(InputError, match="the model to go on from is"):
                call(["a"], ["b"], init=init)
    with pytest.raises(InputError, match="the model to go on from has not been trained"):
        Aligner(model="fast-align").fit(["a"], ["b"], init=Aligner(model="fast-align"))
    text = Aligner(model="fast-align").read(["a"], ["b"])
    with pytest.raises(ValueError, match="the text was read for another model"):
        Aligner(model="fast-align").fit_text(text, init=both)
    with pytest.raises(ValueError, match="the text was read for another model"):
        both.align_text(text, lambda links, scores: None)


# ------------------------------------------------------------------------- posteriors and scores


def assert_measures(
    aligner: Aligner, models: dict[str, diagonal.DiagonalModel], new: Bitext
) -> None:
    """Posteriors and scores like the twins'."""
    links = aligner.align(*new, posteriors=True)
    assert links.probability is not None
    assert ((links.probability >= 0) & (links.probability <= 1)).all()
    forward, backward = models.get("forward"), models.get("backward")
    for k, (e, f) in enumerate(zip(*new, strict=True)):
        expected = diagonal.link_probabilities(e, f, links[k], forward, backward)
        found = links.part(k, k + 1).probability
        assert found is not None
        assert found.tolist() == pytest.approx(expected, rel=1e-3, abs=1e-5)
        for direction, model in models.items():
            score = model.log_probability(*((e, f) if direction == "forward" else (f, e)))
            mine = links.scores[direction][k]
            if math.isinf(score):  # an underflow, which float32 scaled by 2^96 has elsewhere
                assert mine < -100
            else:
                assert mine == pytest.approx(score, rel=1e-4, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize("heuristic", ["grow-diag-final-and", "forward", "backward"])
def test_posteriors_and_scores(heuristic: str) -> None:
    """Of known and of unknown words; a pair with an empty side scores NaN."""
    train, new = corpus("venn", 100), corpus("venn", 80, 140)
    new = ((*new[0], ("?",), (), ("a",)), (*new[1], ("?", "??"), ("b",), ()))
    models = {name: twin(train, name) for name in directions_of(heuristic)}
    aligner = trained(*train, heuristic=heuristic)
    assert_measures(aligner, models, new)
    found = aligner.align(*new).scores.values()
    assert all(np.isnan(scores[-2:]).all() for scores in found)
    assert not any(np.isnan(scores[:-2]).any() for scores in found)
    together = Aligner(model="fast-align", heuristic=heuristic)
    links = together.fit_align(*train, posteriors=True)
    assert everything(together, links) == everything(
        aligner, aligner.align(*train, posteriors=True)
    )
    assert links.probability is not None
    assert aligner.align(*train).probability is None
    assert everything(aligner, aligner.align(*train)) == everything(
        together, Aligner.fit_align(together, *train)
    )


@given(train=trainable, new=corpora, chosen=switches, iterations=st.integers(1, 4))
@settings(max_examples=60)
def test_posteriors_and_scores_of_any_text(
    train: Pairs, new: Pairs, chosen: dict[str, Any], iterations: int
) -> None:
    chosen |= {"iterations": iterations}
    models = {name: twin(bitext(train), name, **chosen) for name in DIRECTIONS}
    assert_measures(trained(*bitext(train), heuristic="union", **chosen), models, bitext(new))


# ------------------------------------------------------------------------------------ few pairs


@pytest.mark.parametrize("heuristic", [*HEURISTICS, "forward", "backward"])
def test_few_pairs_many_pairs_and_one_are_the_same(heuristic: str) -> None:
    """Up to 64 are looked up word by word, more through an index."""
    train, new = corpus("orlu", 150), corpus("orlu", 100, 250)
    aligner = trained(*train, heuristic=heuristic)
    many = aligner.align(*new, posteriors=True)
    for start, stop in ((0, 64), (64, 128), (128, 129), (80, 145)):
        few = aligner.align(new[0][start:stop], new[1][start:stop], posteriors=True)
        assert few == many.part(start, stop)
        for name in directions_of(heuristic):
            assert np.array_equal(few.scores[name], many.scores[name][start:stop], equal_nan=True)
    for k, (e, f) in enumerate(zip(*new, strict=True)):
        assert aligner.align_pair(e, " ".join(f)) == many[k]


def test_align_pair_of_odd_pairs() -> None:
    aligner = Aligner(model="fast-align", max_length=3).fit(["a b", "a"], ["x y", "x"])
    pairs: list[tuple[Any, Any]] = [
        ("", "x"),
        ("a", []),
        ("a b a", "x"),
        ("a b a b", "x"),
        ("? ??", ["é", "x"]),
        (np.array([1, 2]), "1 2"),
    ]
    for e, f in pairs:
        assert aligner.align_pair(e, f) == aligner.align([e], [f])[0]
    for bad in (None, 3, [1.5], b"a", np.array([1.5]), np.array([[1]])):
        with pytest.raises(InputError):
            aligner.align_pair("a", bad)
    with pytest.raises(RuntimeError, match="call fit first"):
        Aligner(model="fast-align").align_pair("a", "b")


def test_one_aligner_in_many_threads() -> None:
    """Whoever comes first sorts the rows, and the others wait for it without the GIL."""
    source, target = corpus("toku", 400)
    expected = list(Aligner(model="fast-align").fit(source, target).align(source[:80], target[:80]))
    aligner = Aligner(model="fast-align").fit(source, target)
    found: list[list[list[Link]]] = []

    def work(number: int) -> None:
        if number % 2:
            found.append(list(aligner.align(source[:80], target[:80])))
        else:
            rows = [aligner.align_pair(e, f) for e, f in zip(source[:80], target, strict=False)]
            found.append(rows)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [expected] * 6


# -------------------------------------------------------------------------------------- lexica


def assert_lexicon(
    aligner: Aligner, direction: str, model: diagonal.DiagonalModel, top: int
) -> None:
    found, expected = aligner.lexicon(top, direction), lexicon.lexicon(model, 10**6)
    for word, row in expected.items():
        seen = [t for _, t in row if t > diagonal.UNSEEN * 1.001][:top]
        # Those that all but tie with an unseen pair may be there or not.
        most = [t for _, t in row if t > diagonal.UNSEEN * 0.999][:top]
        entries = found.get(word, [])
        theirs = [dict(row)[f] for f, _ in entries]
        assert len(seen) <= len(entries) <= len(most)
        assert [t for _, t in entries] == pytest.approx(most[: len(entries)], rel=1e-3)
        assert [t for _, t in entries] == pytest.approx(theirs, rel=1e-3)
    assert found.keys() <= expected.keys()


@pytest.mark.parametrize("heuristic", ["union", "forward", "backward"])
def test_lexicon(heuristic: str) -> None:
    train = corpus("venn", 150)
    aligner = trained(*train, heuristic=heuristic)
    for direction in directions_of(heuristic):
        for top in (0, 1, 3, 10**6):
            assert_lexicon(aligner, direction, twin(train, direction), top)
        lines = aligner.lexicon_text(2, direction).decode().splitlines()
        rows = [line.split(" ") for line in lines]
        entries = [(e, f, t) for e, row in aligner.lexicon(2, direction).items() for f, t in row]
        assert [(given, generated) for generated, given, _ in rows] == [row[:2] for row in entries]
        assert [float(t) for _, _, t in rows] == pytest.approx([t for *_, t in entries], rel=1e-6)
    for name in {"forward", "backward", "diag"} - set(directions_of(heuristic)):
        with pytest.raises(InputError, match=f"this aligner has no direction '{name}'"):
            aligner.lexicon(1, name)
        with pytest.raises(InputError, match=f"this aligner has no direction '{name}'"):
            aligner.lexicon_text(1, name)


@given(train=trainable, chosen=switches, top=st.integers(0, 4))
@settings(max_examples=60)
def test_lexicon_of_any_text(train: Pairs, chosen: dict[str, Any], top: int) -> None:
    aligner = trained(*bitext(train), **chosen)
    for direction in DIRECTIONS:
        assert_lexicon(aligner, direction, twin(bitext(train), direction, **chosen), top)
    sizes = {threads: Aligner(model="fast-align", threads=threads) for threads in (1, 3)}
    for other in sizes.values():
        other._model = FastAlign(other.settings, aligner.model)
    assert sizes[1].lexicon(3) == sizes[3].lexicon(3)
