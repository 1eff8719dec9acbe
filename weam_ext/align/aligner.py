"""Word alignment: `Aligner`, and `python -m weam_ext.align`.

    alignment = Aligner().fit_align(["the house", "the book"], ["la maison", "le livre"])
    print(alignment.to_pharaoh())

The model is an HMM of both directions in agreement (Vogel, Ney & Tillmann 1996; Liang, Taskar &
Klein 2006), or fast_align's (Dyer, Chahuneau & Smith 2013), trained natively.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from weam_ext import _native
from weam_ext.align.fast_align import FastAlign
from weam_ext.align.hmm import check_prior
from weam_ext.align.links import Alignment, DroppedPairs, Links
from weam_ext.align.model import AlignerModel, Prior, Resources, Take, Training
from weam_ext.align.models import MODELS, checked_heuristic, checked_model
from weam_ext.align.settings import DIRECTIONS, checked
from weam_ext.align.storage import AlignerState, load_state, save_state
from weam_ext.common.errors import InputError, describe
from weam_ext.common.memory import available_memory, thread_count, used_memory
from weam_ext.text.bitext import BitextSource, NumberedWords, feed_bitext
from weam_ext.text.pharaoh import Link

_UNTRAINED = "the aligner has not been trained: call fit first"

Sentence = str | Sequence[str] | Sequence[int] | NDArray[np.integer[Any]]
Text = Iterable[Sentence] | Path | BitextSource | NumberedWords


class SpacesInWords(UserWarning):
    """There is white space other than blanks in words, where Python's split() would cut them."""


def told_spaces(pairs: int) -> str:
    """The message for users about such pairs, of which there are `pairs`."""
    return (
        "pairs with non-breaking spaces or other white space within words, which are split at "
        f"spaces and tabs only: {pairs:,}"
    )


@dataclass(frozen=True)
class MemoryPlan:
    """How much memory training will take.

    Attributes:
        mode: "fast" keeps an index of every pair of words that meet; "low" makes it anew, a part at
            a time; "files" does so too and keeps all that grows with the text in temporary files.
        needed: bytes, the text included.
        fast: bytes that the fast mode would need.
        limit: bytes that the process was asked to stay below, if it was. What is needed may be more
            where less would mean too many passes, and of an HMM where its table or its longest pair
            takes more.
        longest: bytes of `needed` that an HMM takes for the longest pair.
    """

    mode: str
    needed: int
    fast: int
    limit: int | None = None
    longest: int = 0


class Aligner:
    """A statistical word aligner.

    "hmm" is a hidden Markov model of each direction (Vogel, Ney & Tillmann 1996), with the NULL
    states of Och & Ney 2003, both trained in agreement (Liang, Taskar & Klein 2006) by variational
    Bayes, on stems; it links where both directions together say so. "fast-align" is IBM model 2
    with a log-linear diagonal prior (Dyer, Chahuneau & Smith 2013, "A Simple, Fast, and Effective
    Reparameterization of IBM Model 2"), with the original program's settings as defaults (its
    `-d -o -v`): less exact, and three times as fast. The same input gives the same links, to the
    byte, at any number of threads and in any amount of memory.

    Wherever sentences are given, `source` and `target` are lists or other iterables of strings
    (words set off by blanks), of sequences of words or of whole numbers, or of one-dimensional
    integer arrays (a number stands for the word of its decimal digits); or two line-aligned files
    as `Path`; or `source` alone is the `Path` of a file of "source ||| target" or tab-separated
    lines, or a `BitextSource`; or both are `NumberedWords`, of which nothing is split or looked at
    but each distinct word.

    Args:
        model: one of `MODELS`; by default "hmm", and "hybrid" where there is an encoder.
        encoder: of "hybrid" and "encoder": a multilingual encoder, a name on Hugging Face's hub or
            a directory, of any family of `weam_ext.model.families`. "hybrid" is the HMM with its
            help, "encoder" links by its scores alone and needs no training.
        heuristic: how the two directions are combined. "posterior", of the HMM and its default,
            links where the mean of their posteriors is above `threshold`. One of `HEURISTICS`
            combines each word's best partners, of the HMM the best paths (Viterbi);
            "grow-diag-final-and" is fast-align's default. One of `DIRECTIONS` gives that direction
            alone: "forward" links each target word to a source word, "backward" the other way
            round; fast-align then trains no other.
        iterations: of expectation maximisation (2, for ten million words a side or more 3). The
            HMM's come after 3 of the diagonal model; the last of fast-align's 5 only measures, as
            in the original.
        p0: prior probability of NULL (HMM 0.06, for a million words a side or more 0.1; fast-align
            0.08).
        alpha: of the Dirichlet prior over each translation distribution (HMM 0.13, fast-align
            0.01).
        spelling: HMM: a number of links, seen beforehand, of two words that are spelt the same in
            Latin letters (3, for a million words a side or more 1); fewer of words spelt alike.
        fertility: HMM: whether the number of links of each word is learnt (yes, for a million words
            a side or more no).
        threshold: of "posterior".
        stems: HMM: what of each word is learnt: "words", "prefix:N", "suffix:N", or several, whose
            posteriors are averaged; "auto" is "prefix:3,prefix:5", from 100,000 words a side on
            "prefix:3,prefix:5,words", from a million on "prefix:4,words", from ten million on
            "prefix:6".
        fold_case: HMM: learn words without their case.
        tension: fast-align: of the diagonal prior at the start (lambda of the paper's equation 2).
        favor_diagonal, optimize_tension, variational_bayes, null_word: fast-align's switches.
        layer: of the encoder, counted from 1; by default the two in the middle.
        scale: of the encoder's cosines before their softmax (30).
        weight: hybrid: of the encoder's score in the mean with the HMM's posterior (0.5).
        max_length: pairs with more words on a side get no links and train nothing; 0 for no limit.
        threads: default: the processors this process may use.
        memory: "low", "fast", or "auto" to choose by what there is; see `MemoryPlan`.
        max_memory: bytes that this process should stay below; by default 80 % of what is free.
        temp_dir: where temporary files go when there is not enough memory.
        device: of the encoder, as torch names it; by default a GPU where there is one.

    `heuristic`, `max_length` and, of an HMM, `threshold` may be set after training too, but a
    model of one direction stays one of that direction. All raises `InputError` for what cannot be
    meant.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        encoder: str | Path | None = None,
        heuristic: str | None = None,
        iterations: int | str | None = None,
        p0: float | str | None = None,
        alpha: float | None = None,
        spelling: float | str | None = None,
        fertility: bool | str | None = None,
        threshold: float | None = None,
        stems: str | Sequence[str] | None = None,
        fold_case: bool | None = None,
        tension: float | None = None,
        favor_diagonal: bool | None = None,
        optimize_tension: bool | None = None,
        variational_bayes: bool | None = None,
        null_word: bool | None = None,
        layer: int | str | None = None,
        scale: float | None = None,
        weight: float | None = None,
        max_length: int = 0,
        threads: int | None = None,
        memory: str = "auto",
        max_memory: int | None = None,
        temp_dir: str | Path | None = None,
        device: str | None = None,
    ) -> None:
        by_default = "hmm" if encoder is None else "hybrid"
        self.kind = checked_model(by_default if model is None else model)
        given: dict[str, Any] = {
            "iterations": iterations,
            "p0": p0,
            "alpha": alpha,
            "spelling": spelling,
            "fertility": fertility,
            "threshold": threshold,
            "stems": stems,
            "fold_case": fold_case,
            "tension": tension,
            "favor_diagonal": favor_diagonal,
            "optimize_tension": optimize_tension,
            "variational_bayes": variational_bayes,
            "null_word": null_word,
            "encoder": encoder,
            "layer": layer,
            "scale": scale,
            "weight": weight,
        }
        self._settings = MODELS[self.kind].checked_settings(self.kind, given)
        self._heuristic = checked_heuristic(self.kind, heuristic)
        self._max_length = checked("max_length", max_length)
        self._threads = thread_count(None if threads is None else checked("threads", threads))
        self._memory = checked("memory", memory)
        self._max_memory = None if max_memory is None else checked("max_memory", max_memory)
        self._temp_dir = os.fsencode(checked("temp_dir", temp_dir or tempfile.gettempdir()))
        self._device = None if device is None else checked("device", device)
        self._model = MODELS[self.kind](self.settings)

    @property
    def heuristics(self) -> tuple[str, ...]:
        """What `heuristic` may be."""
        return MODELS[self.kind].HEURISTICS

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the model is, or was, trained with; and the HMM's `threshold`."""
        return MappingProxyType(self._settings)

    @property
    def heuristic(self) -> str:
        """How the two directions are combined; see `Aligner`."""
        return self._heuristic

    @heuristic.setter
    def heuristic(self, heuristic: str) -> None:
        there = self.directions
        before, self._heuristic = self._heuristic, checked_heuristic(self.kind, heuristic)
        if self._model.trained and self.directions != there:
            self._heuristic = before
            names = " and ".join(there)
            raise InputError(f"the model was trained {names}: its heuristic cannot be {heuristic}")

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that the model has."""
        return self._model.directions(self.heuristic)

    @property
    def max_length(self) -> int:
        """Pairs with more words on a side have no links; 0 for no limit."""
        return int(self._max_length)

    @max_length.setter
    def max_length(self, max_length: int) -> None:
        self._max_length = checked("max_length", max_length)

    @property
    def threshold(self) -> float | None:
        """Of an HMM's heuristic "posterior"; fast-align has none."""
        return self._settings.get("threshold")

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        if "threshold" not in self._settings:
            raise InputError(f"threshold is no setting of {self.kind}")
        self._settings["threshold"] = checked("threshold", threshold)

    def save(self, directory: str | Path) -> None:
        """Write the trained model to a directory; see `weam_ext.align.storage.save_state`."""
        save_state(self.state(), checked("directory", directory))

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        threads: int | None = None,
        memory: str = "auto",
        max_memory: int | None = None,
        temp_dir: str | Path | None = None,
        device: str | None = None,
        encoder: str | Path | None = None,
    ) -> Self:
        """Read what `save` wrote, to use with these resources (see `Aligner`).

        `encoder` says where the model's encoder is now; its content must be the same.

        Raises `InputError` for whatever is missing, wrong or changed.
        """
        resources: Any = {
            "threads": threads, "memory": memory, "max_memory": max_memory, "temp_dir": temp_dir,
            "device": device,
        }  # fmt: skip
        cls(**resources)  # so that a mistake in these is not reported as one of the file
        state = load_state(checked("directory", directory))
        if encoder is not None and "encoder" not in state.settings:
            raise InputError(f"{directory}: a model of {state.kind} has no encoder")
        moved = {} if encoder is None else {"encoder": encoder}
        made = cls(
            model=state.kind,
            heuristic=state.heuristic,
            max_length=state.max_length,
            **{**state.settings, **moved},
            **resources,
        )
        made._model = state.model
        made._model.settings = made.settings  # whose threshold may be changed
        return made

    def state(self) -> AlignerState:
        """What `save` keeps; raises `RuntimeError` where there is no trained model."""
        settings = dict(self.settings)
        return AlignerState(self.kind, self.heuristic, self.max_length, settings, self._trained())

    def identity(self) -> dict[str, str]:
        """What a trained model's links depend on and its settings name by a path: digests."""
        return self._trained().identity(self._resources())

    def __repr__(self) -> str:
        trained = self._model.trained
        return f"Aligner(model={self.kind!r}, heuristic={self.heuristic!r}, trained={trained})"

    @property
    def model(self) -> _native.Model:
        """The trained model; of an HMM with several stems, that of the first.

        Raises `RuntimeError` before training, and `InputError` if the model has no such table.
        """
        native = self._trained().native
        if native is None:
            raise InputError(f"a model of {self.kind} has no translation table")
        return native

    def _trained(self) -> AlignerModel:
        if not self._model.trained:
            raise RuntimeError(_UNTRAINED)
        return self._model

    # ------------------------------------------------------------------------------------- use

    def fit(
        self,
        source: Text,
        target: Text | None = None,
        progress: Callable[[int], object] | None = None,
        *,
        init: "Aligner | None" = None,
        prior: Prior | None = None,
    ) -> Self:
        """Train on sentence pairs. `progress` is called with the number of iterations done.

        With `init`, training goes on from that aligner's model: its probabilities are the start and
        its expected counts are kept beside those of the new text (incremental EM, Neal & Hinton
        1998), so that the result knows both. An HMM may be given a dictionary as its `prior`: for
        (source word, target word) a number of links seen beforehand. Raises `ValueError` when the
        sides differ in length or no pair is usable. An interrupt stops at once and leaves the model
        that was there before.
        """
        self._check_start(init, prior)
        counting = _counting(progress)
        text = self._read(source, target, init=init)
        self.fit_text(text, init=init, prior=prior, progress=counting)
        return self

    def align(
        self, source: Text, target: Text | None = None, *, posteriors: bool = False
    ) -> Alignment:
        """The links of sentence pairs under the trained model; unseen words have the prior alone.

        A pair with an empty side, or longer than `max_length`, has none. With `posteriors` each
        link has its posterior probability, the mean of both directions'.
        """
        self._trained()
        text = self._read(source, target, known=True)
        return self._collect(text, lambda take: self.align_text(text, take, posteriors=posteriors))

    def fit_align(
        self,
        source: Text,
        target: Text | None = None,
        progress: Callable[[int], object] | None = None,
        *,
        init: "Aligner | None" = None,
        prior: Prior | None = None,
        posteriors: bool = False,
    ) -> Alignment:
        """`fit` and `align` on the same pairs; without `posteriors` in one pass."""
        self._check_start(init, prior)
        options: Any = {"init": init, "prior": prior, "progress": _counting(progress)}
        text = self._read(source, target, init=init)
        if not posteriors:
            return self._collect(text, lambda take: self.fit_text(text, **options, take=take))
        self.fit_text(text, **options)
        return self._collect(text, lambda take: self.align_text(text, take, posteriors=True))

    def align_pair(self, source: Sentence, target: Sentence) -> list[Link]:
        """The links of one sentence pair, on this thread: 20 microseconds, of an HMM 200."""
        if not isinstance(self._model, FastAlign):
            return self.align([source], [target])[0]
        model, pair = self.model, (source, target)
        try:
            if not self._model.is_reversed(self.heuristic):
                return model.align_pair(*pair, self._method(), self.max_length)
            links = model.align_pair(*pair[::-1], None, self.max_length)
        except (TypeError, ValueError) as error:
            _refuse(error)
        return sorted((i, j) for j, i in links)

    def lexicon(self, top: int, direction: str = "forward") -> dict[str, list[tuple[str, float]]]:
        """For each word its `top` most probable translations and their probabilities.

        "forward" gives t(target word | source word). Words without any translation more probable
        than that of an unseen pair are left out. Those of an HMM are stems, of its first model.
        """
        model, number = self.model, self._direction_number(direction)
        offsets, words, probabilities = model.lexicon(number, checked("top", top), self._threads)
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
        """The same as UTF-8 lines "translation word probability" (Moses' `lex`, Marian).

        Raises `InputError` where a word is empty, or has a blank or a line break in it.
        """
        model, number = self.model, self._direction_number(direction)
        top = checked("top", top)
        try:
            return model.lexicon_text(number, top, self._threads)
        except ValueError as error:
            _refuse(error)

    def parameters_text(self, threshold: float = -4.0) -> bytes:
        """A one-directional model as a parameter file of fast_align (its `-p`), UTF-8.

        Of each row, what has log t at least -`threshold` times the logarithm of its largest t.
        Raises `InputError` where a word is empty, or has a blank or a line break in it.
        """
        self._check_parameters()
        model, threshold = self.model, checked("beam threshold", threshold)
        try:
            return model.parameters(threshold, self._threads)
        except ValueError as error:
            _refuse(error)

    def take_parameters(self, path: str | Path, length_ratio: float = 1.0) -> Self:
        """Take the table of one direction from a parameter file of fast_align (its `-f`).

        The tension is that of the settings; `length_ratio`, which scores include, is what
        fast_align prints as "expected target length". Raises `InputError` for a line that is not
        "source TAB target TAB log probability".
        """
        self._check_parameters()
        length_ratio = checked("length_ratio", length_ratio)
        path = checked("path", path)
        try:
            text = Path(path).read_bytes()
            settings = _native.Settings(**self.settings)
            model = _native.load_parameters(text, settings, length_ratio)
            self._model = FastAlign(self.settings, model)
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
        native = self._trained().native
        return {
            name: native.history(number) if native else []
            for number, name in enumerate(self.directions)
        }

    @property
    def tension(self) -> dict[str, float]:
        """Of the diagonal prior after training, by direction."""
        native = self._trained().native
        return dict(zip(self.directions, native.tension if native else (), strict=False))

    @property
    def length_ratio(self) -> dict[str, float]:
        """By direction: the mean ratio of generated words to given words, which scores include."""
        native = self._trained().native
        return dict(zip(self.directions, native.length_ratio if native else (), strict=False))

    # ------------------------------------------------------------------------------ block by block

    def read(
        self,
        source: Text,
        target: Text | None = None,
        *,
        init: "Aligner | None" = None,
        known: bool = False,
        into: _native.Text | None = None,
        lowercase: bool = False,
        on_bytes: Callable[[int], object] = lambda size: None,
    ) -> _native.Text:
        """Sentence pairs as numbers, for `fit_text` and `align_text`.

        Words are learnt, after those of `init`; or, with `known`, those that the trained model does
        not know are unknown. Sentences that are not in files are added to those of `into`, if any.
        Files can be lower-cased; `on_bytes` is told how much has been read.
        """
        self._check_start(init)
        start = init._model if init else None
        text = self._model.new_text(start, known) if into is None else into
        reversed_ = self._model.is_reversed(self.heuristic)
        files = _files(source, target)
        if isinstance(source, NumberedWords) and isinstance(target, NumberedWords):
            words = (target, source) if reversed_ else (source, target)
            text.add_numbered(
                [side.vocabulary for side in words],
                [side.offsets for side in words],
                [side.numbers for side in words],
                self.max_length,
            )
            if text.bytes > self._budget() // 4:
                text.keep_in_files(self._temp_dir)
            return text
        if files:
            columns = files.columns
            reader = _native.TextReader(
                text=text,
                files=len(files.paths),
                columns=columns and (columns[0] - 1, columns[1] - 1),
                max_length=self.max_length,
                limit=files.limit or 0,
                reversed=reversed_,
                threads=self._threads,
                bytes=self._budget() // 4,
                directory=self._temp_dir,
            )
            feed_bitext(files, reader, lowercase=lowercase, on_bytes=on_bytes)
        else:
            sides = _sentences(source, target)
            try:
                text.add(*(sides[::-1] if reversed_ else sides), self.max_length)
            except (TypeError, ValueError) as error:
                _refuse(error)
        return text

    def _read(self, source: Text, target: Text | None, **options: Any) -> _native.Text:
        """The same for a caller of a caller, who is warned of what Python would split otherwise."""
        text = self.read(source, target, **options)
        if text.other_spaces:
            warnings.warn(told_spaces(text.other_spaces), SpacesInWords, stacklevel=3)
        return text

    def fit_text(
        self,
        text: _native.Text,
        *,
        init: "Aligner | None" = None,
        prior: Prior | None = None,
        progress: Callable[[list[_native.Iteration]], object] = lambda measures: None,
        on_memory: Callable[[MemoryPlan], object] = lambda plan: None,
        take: Take | None = None,
    ) -> None:
        """Train on a text that `read` has read, which fast-align's model takes over.

        `on_memory` is told before training starts, `progress` what each iteration measured in each
        direction, and `take` the links and scores of the text, block by block in its order.
        """
        self._check_start(init, prior)
        _check_text(text)
        resources, held = self._resources(), used_memory()  # the text, and the interpreter

        def tell(mode: str, needed: int, fast: int, longest: int) -> None:
            on_memory(MemoryPlan(mode, held + needed, held + fast, self._max_memory, longest))

        start = init._model if init else None
        training = Training(self.heuristic, resources, start, prior or {}, tell, progress, take)
        self._model = self._model.fit(text, training)

    def iterations(self, text: _native.Text, init: "Aligner | None" = None) -> int:
        """How many times `fit_text` will call `progress`."""
        return self._model.iterations(text, init._model if init else None)

    def align_text(
        self,
        text: _native.Text,
        take: Take,
        *,
        posteriors: bool = False,
    ) -> None:
        """Give `take` the links and scores of a text, block by block in its order."""
        _check_text(text)
        self._trained().align(text, self.heuristic, self._resources(), take, posteriors)

    # ------------------------------------------------------------------------------------ inside

    def _check_start(self, init: "Aligner | None", prior: Prior | None = None) -> None:
        if prior and not self._model.TAKES_DICTIONARY:
            raise InputError(f"{self.kind} takes no dictionary")
        check_prior(prior or {})
        if init is None:
            return
        if not isinstance(init, Aligner):
            raise InputError(f"the model to go on from is an Aligner, not {type(init).__name__}")
        if not init._model.trained:
            raise InputError("the model to go on from has not been trained: call its fit first")
        if init.kind != self.kind:
            raise InputError(f"the model to go on from is of {init.kind}, not {self.kind}")
        if init.directions != self.directions:
            there, wanted = (" and ".join(each.directions) for each in (init, self))
            raise InputError(f"the model to go on from is {there}, not {wanted}")
        self._model.check_start(init._model)

    def _check_parameters(self) -> None:
        if not isinstance(self._model, FastAlign):
            raise InputError(f"a parameter file of fast_align holds no model of {self.kind}")
        if self.heuristic not in DIRECTIONS:
            raise InputError("a parameter file of fast_align holds one direction only")

    def _resources(self) -> Resources:
        return Resources(self._threads, self._memory, self._budget(), self._temp_dir, self._device)

    def _budget(self) -> int:
        return self._max_memory or used_memory() + available_memory() * 4 // 5

    def _collect(self, text: _native.Text, work: Callable[[Take], object]) -> Alignment:
        """All the blocks of links and scores that `work` hands on."""
        blocks: list[tuple[Links, dict[str, NDArray[np.float64]]]] = []
        dropped = DroppedPairs(*text.dropped)  # before training takes the text over
        work(lambda links, scores: blocks.append((links, scores)))
        links = Links.concatenate([block for block, _ in blocks])
        scores = {
            name: np.concatenate([np.zeros(0), *(scores[name] for _, scores in blocks)])
            for name in (*self.directions, *self._model.SCORES)
        }
        return Alignment(links.offsets, links.pairs, links.probability, scores, dropped)

    def _method(self) -> str | None:
        return None if self.heuristic in DIRECTIONS else self.heuristic

    def _direction_number(self, direction: str) -> int:
        if direction not in self.directions:
            raise InputError(f"this aligner has no direction {direction!r}")
        return self.directions.index(direction)


def _files(source: Text, target: Text | None) -> BitextSource | None:
    """The files that are meant, or None where sentences are given."""
    if isinstance(source, BitextSource) and target is None:
        return source
    if isinstance(source, Path) and (target is None or isinstance(target, Path)):
        return BitextSource("text", (str(source), *([str(target)] if target is not None else [])))
    return None


def _sentences(source: Text, target: Text | None) -> tuple[Any, Any]:
    """Both sides as sequences of the same length; raises `InputError`."""
    sides = []
    for side in (source, target):
        # Of bytes, a text is made by decoding; mappings and sets have no order that a text has.
        refused = (str, bytes, bytearray, Path, BitextSource, Mapping, Set)
        if isinstance(side, refused) or not isinstance(side, Iterable):
            raise InputError("give two lists of sentences, two Paths, one Path or one BitextSource")
        sides.append(side if isinstance(side, (Sequence, np.ndarray)) else list(side))
    if len(sides[0]) != len(sides[1]):
        raise InputError(f"source has {len(sides[0])} sentences, target has {len(sides[1])}")
    return sides[0], sides[1]


def _check_text(text: object) -> None:
    if not isinstance(text, _native.Text):
        raise InputError("a text is what an aligner's read has made")


def _refuse(error: Exception) -> NoReturn:
    """What the native module refuses is the caller's."""
    raise InputError(describe(error)) from error


def _counting(
    progress: Callable[[int], object] | None,
) -> Callable[[list[_native.Iteration]], object]:
    """A callback that counts its calls for one that wants their number."""
    if progress is not None and not callable(progress):
        raise InputError("progress must be a function")
    done = iter(range(1, 2**31))
    return lambda measures: progress(next(done)) if progress else None
