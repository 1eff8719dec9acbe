"""What the tests of the aligner share: texts, ways to train it, its model in words and numbers."""

import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from weam_ext import _native
from weam_ext.align.aligner import Aligner, MemoryPlan
from weam_ext.align.fast_align import FastAlign
from weam_ext.align.links import Alignment
from weam_ext.align.settings import DIRECTIONS
from weam_ext.text.toy_corpus import sentence_pairs

Words = Sequence[Sequence[str]]
Bitext = tuple[Words, Words]
Pairs = list[tuple[list[str], list[str]]]
# By target word for each source word; NULL is None.
Table = dict[str | None, dict[str, float]]

SWITCHES = ("favor_diagonal", "optimize_tension", "variational_bayes", "null_word")
PLENTY = 10**12
# With a byte of memory, even small texts are cut into many parts.
MODES: dict[str, dict[str, Any]] = {
    "fast": {"memory": "fast"},
    "low": {"memory": "low", "max_memory": PLENTY},
    "files": {"max_memory": 1},
}

# ---------------------------------------------------------------------------------------- texts


def bitext(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> Bitext:
    """Both sides, hashable."""
    return tuple(tuple(e) for e, _ in pairs), tuple(tuple(f) for _, f in pairs)


@cache
def corpus(language: str, start: int, stop: int | None = None) -> Bitext:
    """Pairs `start` to `stop` of the built-in corpus, or the first `start`."""
    pairs = sentence_pairs(language, stop or start)[start if stop else 0 :]
    return bitext([(pair.source.split(" "), pair.target.split(" ")) for pair in pairs])


_few = ["a", "b", "c", "das", "été", "e\u0301", "今天", "👩‍👩‍👧", "\0", "", " ", "|||", "<eps>"]
words = st.sampled_from(_few) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
sentences = st.lists(words, max_size=7)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=6)
trainable = corpora.filter(lambda pairs: any(e and f for e, f in pairs))
switches = st.fixed_dictionaries({name: st.booleans() for name in SWITCHES})

# ------------------------------------------------------------------------------------- training


def trained(
    source: Any,
    target: Any = None,
    *,
    model: str = "fast-align",
    memory: str = "fast",
    init: Aligner | None = None,
    **options: Any,
) -> Aligner:
    """An aligner that was trained in this memory mode."""
    aligner = Aligner(model=model, **MODES[memory], **options)
    plans: list[MemoryPlan] = []
    text = aligner.read(source, target, init=init)
    aligner.fit_text(text, init=init, on_memory=plans.append)
    assert [plan.mode for plan in plans] == [memory]
    return aligner


def one_direction(aligner: Aligner, direction: str) -> Aligner:
    """One half of an aligner of both directions, as an aligner of its own."""
    arrays, number = aligner.model.arrays(), DIRECTIONS.index(direction)
    rows = np.repeat(
        np.arange(len(arrays["rows"]) - 1, dtype=np.uint32),
        np.diff(arrays["rows"].astype(np.int64)),
    )
    given, generated, t = rows, arrays["columns"], arrays["t"][:, number]
    if number == 1:
        order = np.lexsort((given, generated))
        given, generated, t = generated[order], given[order], t[order]
    words = len(arrays[f"word_ends{number}"]) - 1
    half = {
        "rows": np.cumsum([0, *np.bincount(given, minlength=words)], dtype=np.uint64),
        "columns": generated,
        "t": t[:, None].copy(),
        "null0": arrays[f"null{number}"],
        "totals0": arrays[f"totals{number}"],
    }
    for name in ("words", "word_ends"):
        half |= {f"{name}{side}": arrays[f"{name}{abs(side - number)}"] for side in (0, 1)}
    alone = Aligner(model="fast-align", heuristic=direction, **aligner.settings)
    alone._model = FastAlign(alone.settings, load_model(aligner, half, number))
    return alone


def load_model(
    aligner: Aligner, arrays: dict[str, NDArray[Any]], direction: int | None = None
) -> _native.Model:
    """The aligner's model, or one direction of it, but with these arrays."""
    model = aligner.model
    numbers = range(model.directions) if direction is None else [direction]

    def two(values: Sequence[float]) -> list[float]:
        return [*(values[number] for number in numbers), 0.0][:2]

    return _native.load_model(
        arrays,
        _native.Settings(**aligner.settings),
        len(numbers),
        two(model.tension),
        two(model.length_ratio),
        two(model.null_totals),
        [model.history(number) for number in numbers],
    )


# ----------------------------------------------------------------------------------- the result


def everything(aligner: Aligner, links: Alignment | None = None) -> bytes:
    """All the numbers that training and aligning made."""
    numbers = [
        [each.log_likelihood, each.perplexity, each.posterior_p0, each.posterior_feature]
        for iterations in aligner.history.values()
        for each in iterations
    ]
    single = [aligner.model.tension, aligner.model.length_ratio, aligner.model.null_totals]
    arrays = [np.array(numbers), np.array(single), *aligner.model.arrays().values()]
    if links is not None:
        arrays += [links.offsets, links.pairs, *links.scores.values()]
        if links.probability is not None:
            arrays.append(links.probability)
    return b"".join(array.tobytes() for array in arrays)


def table_of(aligner: Aligner, direction: str) -> Table:
    """t(generated | given) of one direction, with the row of NULL."""
    if aligner.heuristic not in DIRECTIONS:
        aligner = one_direction(aligner, direction)
    arrays = aligner.model.arrays()
    given, generated = aligner.model.words(0), aligner.model.words(1)
    t = (arrays["t"][:, 0] / 2.0**96).tolist()
    names = [generated[word] for word in arrays["columns"].tolist()]
    table: Table = {
        word: dict(zip(names[begin:end], t[begin:end], strict=True))
        for word, (begin, end) in zip(given, pairwise(arrays["rows"].tolist()), strict=True)
    }
    table[None] = dict(zip(generated, (arrays["null0"] / 2.0**96).tolist(), strict=True))
    return table


Write = Callable[[str, str | bytes], str]


Run = Callable[..., tuple[str, str]]


Refuse = Callable[..., str]


Command = Callable[..., subprocess.Popen[str]]
