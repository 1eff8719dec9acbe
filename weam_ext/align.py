"""Word alignment: `Aligner`, and `python -m weam_ext.align`.

    links = Aligner().fit_align(["the house", "the book"], ["la maison", "le livre"])
    print(links.to_pharaoh())

The model is fast_align's (Dyer, Chahuneau & Smith 2013), trained natively, both directions at once.
"""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from weam_ext import _native
from weam_ext.corpus import BitextSource, Link, feed_bitext
from weam_ext.errors import InputError
from weam_ext.links import HEURISTICS, Links, thread_count
from weam_ext.memory import available_memory, used_memory

DIRECTIONS = ("forward", "backward")
MEMORY_MODES = ("auto", "low", "fast")

Sentence = str | Sequence[str] | NDArray[np.integer[Any]]
Text = Sequence[Sentence] | Path | BitextSource
# What is given the links of a block of pairs, and their scores by direction.
Take = Callable[[Links, dict[str, NDArray[np.float64]]], object]


@dataclass(frozen=True)
class DroppedPairs:
    """Sentence pairs that were given empty link lists, by reason."""

    empty: int = 0
    too_long: int = 0

    def __add__(self, other: "DroppedPairs") -> "DroppedPairs":
        return DroppedPairs(self.empty + other.empty, self.too_long + other.too_long)

    def __str__(self) -> str:
        return f"{self.empty:,} with an empty side, {self.too_long:,} over-long"


@dataclass(frozen=True)
class MemoryPlan:
    """What training is about to take.

    Attributes:
        mode: "fast" keeps an index of every pair of words that meet; "low" makes it anew, a part at
            a time; "files" does so too and keeps all that grows with the text in temporary files.
        needed: bytes, the text included.
        fast: bytes that the fast mode would need.
        limit: bytes that the process was asked to stay below, if it was. What is needed may be more
            where less would mean too many passes.
    """

    mode: str
    needed: int
    fast: int
    limit: int | None = None


class Aligner:
    """fast_align's model: IBM model 2 with a log-linear diagonal prior and variational Bayes.

    Dyer, Chahuneau & Smith 2013, "A Simple, Fast, and Effective Reparameterization of IBM Model 2",
    with the original program's settings as defaults (its `-d -o -v`). The same input gives the same
    links, to the byte, at any number of threads and in any amount of memory.

    Wherever sentences are given, `source` and `target` are sequences of strings (words set off by
    blanks), of sequences of words, or of one-dimensional integer arrays (a number stands for the
    word of its decimal digits); or two line-aligned files as `Path`; or `source` alone is the
    `Path` of a file of "source ||| target" or tab-separated lines, or a `BitextSource`.

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
        memory: "low", "fast", or "auto" to choose by what there is; see `MemoryPlan`.
        max_memory: bytes that this process should stay below; by default 80 % of what is free.
        temp_dir: where temporary files go when there is not enough memory.

    Raises `InputError` for arguments that cannot be meant.
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
        max_length: int = 0,
        threads: int | None = None,
        memory: str = "auto",
        max_memory: int | None = None,
        temp_dir: str | Path | None = None,
    ) -> None:
        if heuristic not in HEURISTICS + DIRECTIONS:
            names = ", ".join(HEURISTICS + DIRECTIONS)
            raise InputError(f"unknown heuristic {heuristic!r}; there are {names}")
        _check("iterations", 1 <= iterations < 2**31, "at least 1")
        _check("p0", 0 <= p0 < 1, "at least 0 and below 1")
        _check("tension", 1e-6 <= tension <= 14, "at least 1e-6 and at most 14")
        _check("alpha", 0 < alpha <= 1e6, "above 0 and at most 1e6")
        _check("max_length", 0 <= max_length < 2**31, "at least 0 and below 2^31")
        _check("memory", memory in MEMORY_MODES, f"one of {', '.join(MEMORY_MODES)}")
        _check("max_memory", max_memory is None or max_memory > 0, "above 0")
        self.heuristic = heuristic
        self.settings: dict[str, Any] = {
            "iterations": iterations,
            "p0": float(p0),
            "tension": float(tension),
            "alpha": float(alpha),
            "favor_diagonal": favor_diagonal,
            "optimize_tension": optimize_tension,
            "variational_bayes": variational_bayes,
            "null_word": null_word,
        }
        self.max_length = max_length
        self.dropped = DroppedPairs()
        self.scores: dict[str, NDArray[np.float64]] = {}
        self._threads = thread_count(threads)
        self._memory = memory
        self._max_memory = max_memory
        self._temp_dir = str(temp_dir or tempfile.gettempdir())
        self._model: _native.Model | None = None

    def save(self, directory: str | Path) -> None:
        """Write the trained model to a directory; see `weam_ext.align_files.save_aligner`."""
        from weam_ext.align_files import save_aligner

        save_aligner(self, directory)

    @staticmethod
    def load(directory: str | Path, **options: Any) -> "Aligner":
        """Read what `save` wrote; see `weam_ext.align_files.load_aligner`."""
        from weam_ext.align_files import load_aligner

        return load_aligner(directory, **options)

    @property
    def model(self) -> _native.Model:
        """The trained model. Raises `RuntimeError` where there is none."""
        if self._model is None:
            raise RuntimeError("the aligner has not been trained: call fit first")
        return self._model

    @model.setter
    def model(self, model: _native.Model) -> None:
        self._model = model

    # ------------------------------------------------------------------------------------- use

    def fit(
        self,
        source: Text,
        target: Text | None = None,
        progress: Callable[[int], object] | None = None,
        *,
        init: "Aligner | None" = None,
    ) -> Self:
        """Train on sentence pairs. `progress` is called with the number of iterations done.

        With `init`, training goes on from that aligner's model: its probabilities are the start and
        its expected counts are kept beside those of the new text (incremental EM, Neal & Hinton
        1998), so that the result knows both. Raises `ValueError` when the sides differ in length or
        no pair is usable. An interrupt stops at once and leaves the model that was there before.
        """
        text = self.read(source, target, init=init)
        self.fit_text(text, init=init, progress=_counting(progress))
        return self

    def align(self, source: Text, target: Text | None = None, *, posteriors: bool = False) -> Links:
        """The links of sentence pairs under the trained model; unseen words have the prior alone.

        A pair with an empty side, or longer than `max_length`, has none (see `dropped`). With
        `posteriors` each link has its posterior probability, the mean of both directions'.
        """
        text = self.read(source, target, model=self.model)
        return self._collect(lambda take: self.align_text(text, take, posteriors=posteriors))

    def fit_align(
        self,
        source: Text,
        target: Text | None = None,
        progress: Callable[[int], object] | None = None,
        *,
        init: "Aligner | None" = None,
        posteriors: bool = False,
    ) -> Links:
        """`fit` and `align` on the same pairs; without `posteriors` in one pass."""
        text = self.read(source, target, init=init)
        options: Any = {"init": init, "progress": _counting(progress)}
        if not posteriors:
            return self._collect(lambda take: self.fit_text(text, **options, take=take))
        self.fit_text(text, **options)
        return self._collect(lambda take: self.align_text(text, take, posteriors=True))

    def align_pair(self, source: Sentence, target: Sentence) -> list[Link]:
        """The links of one sentence pair, in microseconds and on this thread."""
        if self.heuristic != "backward":
            return self.model.align_pair(source, target, self._method(), self.max_length)
        links = self.model.align_pair(target, source, None, self.max_length)
        return sorted((i, j) for j, i in links)

    def lexicon(self, top: int, direction: str = "forward") -> dict[str, list[tuple[str, float]]]:
        """For each word its `top` most probable translations and their probabilities.

        "forward" gives t(target word | source word). Words without any translation more probable
        than that of an unseen pair are left out.
        """
        model, number = self.model, self._direction_number(direction)
        offsets, words, probabilities = model.lexicon(number, top, self._threads)
        given, generated = model.words(number), model.words(1 - number)
        names = [generated[word] for word in words.tolist()]
        entries = list(zip(names, probabilities.tolist(), strict=True))
        return {
            word: entries[begin:end]
            for word, begin, end in zip(
                given, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True
            )
            if begin < end
        }

    def lexicon_text(self, top: int, direction: str = "forward") -> bytes:
        """The same as UTF-8 lines "translation word probability" (Moses' `lex`, Marian)."""
        model, number = self.model, self._direction_number(direction)
        return model.lexicon_text(number, top, self._threads)

    def parameters_text(self, threshold: float = -4.0) -> bytes:
        """A one-directional model as a parameter file of fast_align (its `-p`), UTF-8.

        Of each row, what has log t at least -`threshold` times the logarithm of its largest t.
        """
        if self.heuristic not in DIRECTIONS:
            raise InputError("a parameter file of fast_align holds one direction only")
        return self.model.parameters(threshold, self._threads)

    def take_parameters(self, path: Path, length_ratio: float = 1.0) -> Self:
        """Take the table of one direction from a parameter file of fast_align (its `-f`).

        The tension is that of the settings; `length_ratio`, which scores include, is what
        fast_align prints as "expected target length". Raises `InputError` for a line that is not
        "source TAB target TAB log probability".
        """
        if self.heuristic not in DIRECTIONS:
            raise InputError("a parameter file of fast_align holds one direction only")
        _check("length_ratio", 0 < length_ratio < math.inf, "above 0 and finite")
        try:
            text = path.read_bytes()
            settings = _native.Settings(**self.settings)
            self._model = _native.load_parameters(text, settings, length_ratio)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from error
        except _native.LineError as error:
            raise InputError(f"{path}, line {error.args[1]}: {error.args[2]}") from None
        if not text.strip():
            raise InputError(f"{path}: there are no parameters in it")
        return self

    @property
    def history(self) -> dict[str, list[_native.Iteration]]:
        """What each iteration measured, by direction, as fast_align prints it."""
        model = self.model
        return {name: model.history(number) for number, name in enumerate(self._directions())}

    @property
    def tension(self) -> dict[str, float]:
        """Of the diagonal prior after training, by direction."""
        return dict(zip(self._directions(), self.model.tension, strict=False))

    @property
    def length_ratio(self) -> dict[str, float]:
        """By direction: the mean ratio of generated words to given words, which scores include."""
        return dict(zip(self._directions(), self.model.length_ratio, strict=False))

    # ------------------------------------------------------------------------------ block by block

    def read(
        self,
        source: Text,
        target: Text | None = None,
        *,
        init: "Aligner | None" = None,
        model: _native.Model | None = None,
        lowercase: bool = False,
        on_bytes: Callable[[int], object] = lambda size: None,
    ) -> _native.Text:
        """Sentence pairs as numbers, for `fit_text` and `align_text`.

        With `model`, words that it does not know are unknown; else they are learnt, after those of
        `init`. Files can be lower-cased; `on_bytes` is told how much has been read.
        """
        text = _native.Text(self._start(init) or model, learn=model is None)
        reversed_ = self.heuristic == "backward"
        files = _files(source, target)
        if files:
            columns = files.columns
            reader = _native.TextReader(
                text=text,
                files=len(files.paths),
                columns=(columns[0] - 1, columns[1] - 1),
                max_length=self.max_length,
                limit=files.limit or 0,
                reversed=reversed_,
                threads=self._threads,
                bytes=self._budget() // 4,
                directory=self._temp_dir,
            )
            feed_bitext(files, reader, lowercase=lowercase, on_bytes=on_bytes)
        else:
            first, second = (target, source) if reversed_ else (source, target)
            text.add(cast(Any, first), cast(Any, second), self.max_length)
        self.dropped = DroppedPairs(*text.dropped)
        return text

    def fit_text(
        self,
        text: _native.Text,
        *,
        init: "Aligner | None" = None,
        progress: Callable[[list[_native.Iteration]], object] = lambda measures: None,
        on_memory: Callable[[MemoryPlan], object] = lambda plan: None,
        take: Take | None = None,
    ) -> None:
        """Train on a text that `read` has read, which belongs to the model from then on.

        `on_memory` is told before training starts, `progress` what each iteration measured in each
        direction, and `take` the links and scores of the text, block by block in its order.
        """
        held = used_memory()  # the text, and the interpreter
        self._model = _native.fit(
            text,
            _native.Settings(**self.settings),
            len(self._directions()),
            self._threads,
            self._memory,
            max(0, self._budget() - held + text.bytes),
            self._temp_dir,
            self._start(init),
            lambda mode, needed, fast: on_memory(
                MemoryPlan(mode, held + needed, held + fast, self._max_memory)
            ),
            progress,
            None if take is None else self._output(take, posteriors=False),
        )

    def align_text(
        self,
        text: _native.Text,
        take: Take,
        *,
        posteriors: bool = False,
    ) -> None:
        """Give `take` the links and scores of a text, block by block in its order."""
        _native.align(self.model, text, self._threads, self._output(take, posteriors))

    # ------------------------------------------------------------------------------------ inside

    def _start(self, init: "Aligner | None") -> _native.Model | None:
        if init and init._directions() != self._directions():
            there, wanted = (" and ".join(each._directions()) for each in (init, self))
            raise InputError(f"the model to go on from is {there}, not {wanted}")
        return init.model if init else None

    def _budget(self) -> int:
        return self._max_memory or used_memory() + available_memory() * 4 // 5

    def _collect(self, work: Callable[[Callable[..., object]], object]) -> Links:
        """All the blocks of links that `work` hands on; the scores are kept."""
        blocks: list[Links] = []
        scores: list[Mapping[str, NDArray[np.float64]]] = []

        def take(links: Links, block: dict[str, NDArray[np.float64]]) -> None:
            blocks.append(links)
            scores.append(block)

        work(take)
        none = np.zeros(0)
        self.scores = {
            name: np.concatenate([none, *(block[name] for block in scores)])
            for name in self._directions()
        }
        return Links.concatenate(blocks)

    def _output(self, take: Take, posteriors: bool) -> _native.Output:
        def oriented(arrays: Any, scores: list[NDArray[np.float64]]) -> None:
            links = Links(*arrays)
            if posteriors and links.probability is None:  # no pair of the block has links
                links.probability = np.zeros(0, np.float32)
            if self.heuristic == "backward":
                links = links.inverted()
            take(links, dict(zip(self._directions(), scores, strict=True)))

        return _native.Output(self._method(), posteriors, oriented)

    def _method(self) -> str | None:
        return None if self.heuristic in DIRECTIONS else self.heuristic

    def _directions(self) -> tuple[str, ...]:
        return (self.heuristic,) if self.heuristic in DIRECTIONS else DIRECTIONS

    def _direction_number(self, direction: str) -> int:
        if direction not in self._directions():
            raise InputError(f"this aligner has no direction {direction!r}")
        return self._directions().index(direction)


def _files(source: Text, target: Text | None) -> BitextSource | None:
    """The files that are meant, or None where sentences are given."""
    if isinstance(source, BitextSource) and target is None:
        return source
    if isinstance(source, Path) and (target is None or isinstance(target, Path)):
        return BitextSource("text", (str(source), *([str(target)] if target is not None else [])))
    if (
        target is None
        or isinstance(source, BitextSource | Path | str)
        or isinstance(target, BitextSource | Path | str)
    ):
        raise TypeError("two lists of sentences, two Paths, one Path or one BitextSource")
    return None


def _counting(
    progress: Callable[[int], object] | None,
) -> Callable[[list[_native.Iteration]], object]:
    """A callback that counts its calls for one that wants their number."""
    done = iter(range(1, 2**31))
    return lambda measures: progress(next(done)) if progress else None


def _check(name: str, valid: bool, expected: str) -> None:
    if not valid:
        raise InputError(f"{name} must be {expected}")


if __name__ == "__main__":
    from weam_ext.align_command import script

    script()
