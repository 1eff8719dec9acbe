"""Word alignment: `Aligner`, symmetrisation, scoring, and `python -m weam_ext.align`.

    links = Aligner().fit_align(["the house", "the book"], ["la maison", "le livre"])
    print(links.to_pharaoh())

The model is fast_align's (Dyer, Chahuneau & Smith 2013), trained natively, both directions at once.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from weam_ext import _native
from weam_ext.corpus import BitextSource, Link, parse_columns, read_bitext, read_gold
from weam_ext.errors import InputError, Parser, run, say

HEURISTICS = ("intersect", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and")
DIRECTIONS = ("forward", "backward")

Sentences = Sequence[str] | Sequence[Sequence[str]]


class Links:
    """The word links of a list of sentence pairs, as compressed rows.

    Attributes:
        offsets: int64 [pairs + 1]; pair k has the links `offsets[k]` up to `offsets[k + 1]`.
        pairs: int32 [links, 2]; (source word, target word), both from 0, sorted within each pair.
    """

    def __init__(self, offsets: ArrayLike, pairs: ArrayLike) -> None:
        self.offsets: NDArray[np.int64] = np.asarray(offsets, np.int64)
        self.pairs: NDArray[np.int32] = np.asarray(pairs, np.int32).reshape(-1, 2)

    @classmethod
    def from_lists(cls, links: Iterable[Sequence[Link]]) -> Self:
        rows = [sorted(row) for row in links]
        return cls(np.cumsum([0, *map(len, rows)]), [link for row in rows for link in row])

    @property
    def source(self) -> NDArray[np.int32]:
        return self.pairs[:, 0]

    @property
    def target(self) -> NDArray[np.int32]:
        return self.pairs[:, 1]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, pair: int) -> list[Link]:
        if not -len(self) <= pair < len(self):
            raise IndexError(f"pair {pair} of {len(self)}")
        pair %= len(self)
        rows = self.pairs[self.offsets[pair] : self.offsets[pair + 1]]
        return [(i, j) for i, j in rows.tolist()]

    def __iter__(self) -> Iterator[list[Link]]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Links)
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.pairs, other.pairs)
        )

    __hash__ = None  # type: ignore[assignment]

    def to_pharaoh(self, *, by_target: bool = False) -> str:
        """One line "0-0 1-2" for each pair, sorted by source word, or by target word first."""
        return _native.pharaoh(self.offsets, self.pairs, by_target).decode("ascii")


def symmetrize(
    forward: Links, backward: Links, method: str, *, threads: int | None = None
) -> Links:
    """Combine two directional alignments (Och & Ney 2003; Koehn et al. 2005), as atools does.

    Args:
        forward, backward: links of the same sentence pairs, both (source word, target word).
        method: one of `HEURISTICS`.

    Raises:
        InputError: for an unknown method.
        ValueError: for different numbers of pairs.
    """
    if method not in HEURISTICS:
        raise InputError(f"unknown heuristic {method!r}; there are {', '.join(HEURISTICS)}")
    return Links(
        *_native.symmetrize(
            forward.offsets,
            forward.pairs,
            backward.offsets,
            backward.pairs,
            method,
            _threads(threads),
        )
    )


@dataclass(frozen=True)
class DroppedPairs:
    """Sentence pairs that were given empty link lists, by reason."""

    empty: int = 0
    too_long: int = 0

    def __str__(self) -> str:
        return f"{self.empty:,} with an empty side, {self.too_long:,} over-long"


class Aligner:
    """fast_align's model: IBM model 2 with a log-linear diagonal prior and variational Bayes.

    Dyer, Chahuneau & Smith 2013, "A Simple, Fast, and Effective Reparameterization of IBM Model 2",
    with the original program's settings as defaults (its `-d -o -v`). The same input gives the same
    links, to the byte, at any number of threads.

    Args:
        heuristic: how the two directions are combined, one of `HEURISTICS`; or one of `DIRECTIONS`
            to train and give that direction alone: "forward" links each target word to its best
            source word, "backward" the other way round.
        iterations: of expectation maximisation; the last only measures, as in fast_align.
        p0: prior probability of NULL.
        tension: of the diagonal prior at the start (lambda of the paper's equation 2).
        alpha: of the Dirichlet prior over each translation distribution.
        favor_diagonal, optimize_tension, variational_bayes, null_word: switches of the model.
        max_length: pairs with more words on a side get no links and train nothing; 0 for no limit.
        threads: default: the processors this process may use.
    """

    def __init__(
        self,
        *,
        heuristic: str = "grow-diag-final-and",
        iterations: int = 5,
        p0: float = 0.08,
        tension: float = 4.0,
        alpha: float = 0.01,
        favor_diagonal: bool = True,
        optimize_tension: bool = True,
        variational_bayes: bool = True,
        null_word: bool = True,
        max_length: int = 1000,
        threads: int | None = None,
    ) -> None:
        if heuristic not in HEURISTICS + DIRECTIONS:
            names = ", ".join(HEURISTICS + DIRECTIONS)
            raise InputError(f"unknown heuristic {heuristic!r}; there are {names}")
        _check("iterations", iterations >= 1, "at least 1")
        _check("p0", 0 <= p0 < 1, "at least 0 and below 1")
        _check("tension", 0 < tension <= 14, "above 0 and at most 14")
        _check("alpha", 0 < alpha < float("inf"), "above 0 and finite")
        _check("max_length", max_length >= 0, "at least 0")
        self.heuristic = heuristic
        self.settings: dict[str, int | float | bool | str] = {
            "iterations": iterations,
            "p0": p0,
            "tension": tension,
            "alpha": alpha,
            "favor_diagonal": favor_diagonal,
            "optimize_tension": optimize_tension,
            "variational_bayes": variational_bayes,
            "null_word": null_word,
            "max_length": max_length,
        }
        self._threads = _threads(threads)
        self._fitted = False
        self._native = _native.DiagonalAligner(
            iterations=iterations,
            p0=p0,
            tension=tension,
            alpha=alpha,
            favor_diagonal=favor_diagonal,
            optimize_tension=optimize_tension,
            variational_bayes=variational_bayes,
            null_word=null_word,
            directions=1 if heuristic in DIRECTIONS else 2,
            max_length=max_length,
            threads=self._threads,
        )

    def fit(
        self, source: Sentences, target: Sentences, progress: Callable[[int], None] | None = None
    ) -> Self:
        """Train on sentence pairs: strings of words set off by blanks, or lists of words.

        `progress` is called with the number of iterations done. Raises `ValueError` when the sides
        differ in length or no pair is usable. An interrupt stops at once and leaves the model that
        was there before.
        """
        self._native.fit(*self._oriented(source, target), False, progress)
        self._fitted = True
        return self

    def align(self, source: Sentences, target: Sentences) -> Links:
        """The links of sentence pairs under the trained model; unseen words have the prior alone.

        A pair with an empty side, or longer than `max_length`, has none (see `dropped`).
        """
        if not self._fitted:
            raise RuntimeError("the aligner has not been trained: call fit first")
        return self._combined(self._native.align(*self._oriented(source, target)))

    def fit_align(
        self, source: Sentences, target: Sentences, progress: Callable[[int], None] | None = None
    ) -> Links:
        """`fit` and `align` on the same pairs, in one pass."""
        links = self._native.fit(*self._oriented(source, target), True, progress)
        self._fitted = True
        return self._combined(links)

    @property
    def dropped(self) -> DroppedPairs:
        """Of the last call."""
        return DroppedPairs(*self._native.dropped)

    @property
    def history(self) -> dict[str, list[_native.Iteration]]:
        """What each iteration measured, by direction, as fast_align prints it."""
        if self.heuristic in DIRECTIONS:
            return {self.heuristic: self._native.history(0)}
        return {name: self._native.history(d) for d, name in enumerate(DIRECTIONS)}

    def _oriented(self, source: Sentences, target: Sentences) -> tuple[Sentences, Sentences]:
        return (target, source) if self.heuristic == "backward" else (source, target)

    def _combined(self, arrays: list[tuple[NDArray[np.int64], NDArray[np.int32]]]) -> Links:
        if self.heuristic == "forward":
            return Links(*arrays[0])
        if self.heuristic == "backward":
            return _swapped(Links(*arrays[0]))
        forward, backward = (Links(*direction) for direction in arrays)
        return symmetrize(forward, backward, self.heuristic, threads=self._threads)


def _swapped(links: Links) -> Links:
    rows = np.repeat(np.arange(len(links)), np.diff(links.offsets))
    order = np.lexsort((links.source, links.target, rows))
    return Links(links.offsets, links.pairs[order][:, ::-1])


def _threads(threads: int | None) -> int:
    if threads is None:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    _check("threads", threads >= 1, "at least 1")
    return threads


def _check(name: str, valid: bool, expected: str) -> None:
    if not valid:
        raise InputError(f"{name} must be {expected}")


@dataclass(frozen=True)
class AlignmentScore:
    """Precision, recall and alignment error rate against gold links (Och & Ney 2003, section 6)."""

    precision: float
    recall: float
    aer: float

    def __str__(self) -> str:
        return f"precision {self.precision:.4f}  recall {self.recall:.4f}  AER {self.aer:.4f}"


def score(
    links: Iterable[Sequence[Link]], gold: Iterable[tuple[set[Link], set[Link]]]
) -> AlignmentScore:
    """Score links against (sure, possible) gold, where possible includes sure.

    precision = |A & P| / |A|, recall = |A & S| / |S|, AER = 1 - (|A & S| + |A & P|) / (|A| + |S|);
    a ratio over nothing counts as perfect.
    """
    found = sure_found = possible_found = sure_total = 0
    for row, (sure, possible) in zip(links, gold, strict=True):
        answer = set(row)
        found += len(answer)
        sure_total += len(sure)
        sure_found += len(answer & sure)
        possible_found += len(answer & possible)
    return AlignmentScore(
        possible_found / found if found else 1.0,
        sure_found / sure_total if sure_total else 1.0,
        1 - (sure_found + possible_found) / (found + sure_total) if found + sure_total else 0.0,
    )


# ---------------------------------------------------------------------------------- command line


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "weam_ext.align",
        "Word alignment with fast_align's model. Links go to standard output, one line "
        "'0-0 1-2' for each input line; what is said about the run goes to standard error.",
    )
    text = parser.add_argument_group("input")
    text.add_argument(
        "-i",
        "--input",
        nargs="+",
        required=True,
        metavar="FILE",
        help="'source ||| target' or tab-separated lines, or two line-aligned files; plain, gzip, "
        "xz, bzip2 or Zstandard; - for standard input",
    )
    text.add_argument(
        "--columns",
        default="1,2",
        metavar="S,T",
        help="tab-separated columns (default: %(default)s)",
    )
    text.add_argument("--limit", type=int, metavar="N", help="take the first N pairs")
    text.add_argument("--lowercase", action="store_true", help="lower-case before aligning")
    text.add_argument(
        "--max-length", type=int, default=1000, metavar="N",
        help="pairs with more words on a side get an empty line; 0: no limit (%(default)s)",
    )  # fmt: skip
    model = parser.add_argument_group("model, with fast_align's letters (recommended: -d -o -v)")
    model.add_argument("-d", "--favor_diagonal", action="store_true", help="favour the diagonal")
    model.add_argument("-o", "--optimize_tension", action="store_true", help="learn how much")
    model.add_argument(
        "-v", "--variational_bayes", action="store_true", help="Dirichlet prior on translations"
    )
    model.add_argument("-r", "--reverse", action="store_true", help="the other direction")
    model.add_argument("-I", "--iterations", type=int, default=5, metavar="N", help="(%(default)s)")
    model.add_argument("-q", "--p0", type=float, default=0.08, help="prior of NULL (%(default)s)")
    model.add_argument("-a", "--alpha", type=float, default=0.01, help="of -v (%(default)s)")
    model.add_argument(
        "-T", "--diagonal_tension", type=float, metavar="LAMBDA", help="start of -o (4); implies -d"
    )
    model.add_argument("-N", "--no_null_word", action="store_true", help="no NULL word")
    output = parser.add_argument_group("output and resources")
    output.add_argument(
        "--symmetrize", choices=HEURISTICS, metavar="METHOD",
        help=f"train both directions and combine them: {', '.join(HEURISTICS)}",
    )  # fmt: skip
    output.add_argument(
        "--gold", metavar="FILE",
        help="score the last lines of the input against gold links ('i-j' sure, 'i?j' possible)",
    )  # fmt: skip
    output.add_argument("--threads", type=int, metavar="N", help="default: all processors")
    return parser


def _report(aligner: Aligner) -> None:
    for name, iterations in aligner.history.items():
        for number, done in enumerate(iterations, 1):
            say(
                f"{name:8}  iteration {number}  log likelihood {done.log_likelihood:.6g}  "
                f"perplexity {done.perplexity:.6g}  posterior p0 {done.posterior_p0:.6g}  "
                f"posterior al-feat {done.posterior_feature:.6g}  tension {done.tension:.6g}"
            )
    say(f"dropped pairs: {aligner.dropped}")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.symmetrize and options.reverse:
        raise InputError("--symmetrize trains both directions: leave out -r")
    aligner = Aligner(
        heuristic=options.symmetrize or DIRECTIONS[options.reverse],
        iterations=options.iterations,
        p0=options.p0,
        tension=4.0 if options.diagonal_tension is None else options.diagonal_tension,
        alpha=options.alpha,
        favor_diagonal=options.favor_diagonal or options.diagonal_tension is not None,
        optimize_tension=options.optimize_tension,
        variational_bayes=options.variational_bayes,
        null_word=not options.no_null_word,
        max_length=options.max_length,
        threads=options.threads,
    )
    gold = read_gold(options.gold) if options.gold else []
    bitext = BitextSource(
        "input", tuple(options.input), parse_columns(options.columns), options.limit
    )
    source, target = _read(bitext, options.lowercase)
    if len(gold) > len(source):
        raise InputError(f"{options.gold} has {len(gold)} lines, the input only {len(source)}")
    with tqdm(total=options.iterations, desc="aligning", unit="iteration", disable=None) as bar:
        try:
            links = aligner.fit_align(source, target, lambda _: bar.update())
        except ValueError as error:
            raise InputError(f"{' and '.join(bitext.paths)}: {error}") from error
    sys.stdout.write(links.to_pharaoh(by_target=aligner.heuristic == "forward"))
    sys.stdout.flush()  # a full disk leaves nothing to report
    _report(aligner)
    if gold:
        tail = range(len(links) - len(gold), len(links))
        say(f"{len(gold)} gold pairs: {score((links[k] for k in tail), gold)}")


def _read(bitext: BitextSource, lowercase: bool) -> tuple[list[str], list[str]]:
    pairs = tqdm(read_bitext(bitext), desc="reading", unit=" pairs", disable=None)
    source, target = [], []
    for left, right in pairs:
        source.append(left.lower() if lowercase else left)
        target.append(right.lower() if lowercase else right)
    return source, target


if __name__ == "__main__":
    run("weam_ext.align", main)
