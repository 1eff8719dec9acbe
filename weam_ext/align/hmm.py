"""The HMM behind `weam_ext.align.Aligner`: what it is set to, its models, and what they do."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from anyascii import anyascii

from weam_ext import _native
from weam_ext.align.stems import Stem, apply_stem, parse_stems
from weam_ext.common.errors import InputError
from weam_ext.text.lines import read_lines

# Of the diagonal model, which training starts with.
START_ITERATIONS = 3
# With fewer words on a side of the text, several stems are worth their time, and spelling tells
# what the text does not; chosen on development sets (docs/aligner.md).
_OF_FEW = {
    "stems": "prefix:3,prefix:5",
    "iterations": 2,
    "p0": 0.06,
    "spelling": 3.0,
    "fertility": True,
}
_OF_SOME = _OF_FEW | {"stems": "prefix:3,prefix:5,words"}
_OF_MORE = _OF_FEW | {"stems": "prefix:4,words", "p0": 0.1, "spelling": 1.0, "fertility": False}
_OF_MANY = _OF_MORE | {"stems": "prefix:6", "iterations": 3}
_BY_WORDS = (
    (100_000, _OF_FEW),
    (1_000_000, _OF_SOME),
    (10_000_000, _OF_MORE),
    (math.inf, _OF_MANY),
)
# Of a dictionary's pair; as much as two words have that are spelt the same, by default.
_DICTIONARY_COUNT = 3.0
# What a dictionary says of (source word, target word): a number of links seen beforehand.
Prior = Mapping[tuple[str, str], float]


def read_dictionary(path: str) -> dict[tuple[str, str], float]:
    """A bilingual dictionary, lines "source target" or "source target count", as a `Prior`.

    Raises `InputError` for any other line, and as `read_lines` does.
    """
    found = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        try:
            source, target = fields[:2]
            (count,) = map(float, fields[2:]) if fields[2:] else (_DICTIONARY_COUNT,)
            if not 0 < count <= 1e6:
                raise ValueError
        except ValueError:
            raise InputError(
                f"{path}, line {number}: not 'source target' or 'source target count'"
            ) from None
        found[source, target] = count
    return found


def check_prior(prior: Prior) -> None:
    """Raise `InputError` for what is no `Prior`, or has numbers of links not from 0 to 1e6."""
    if not isinstance(prior, Mapping):
        raise InputError("a prior is a mapping of (source word, target word) to numbers of links")
    for words, count in prior.items():
        pair = isinstance(words, tuple) and len(words) == 2
        number = isinstance(count, (int, float, np.integer, np.floating))
        if not (pair and all(isinstance(word, str) for word in words)):
            raise InputError(f"of a prior, {words!r} is no pair (source word, target word)")
        if not number or isinstance(count, bool) or not 0 <= count <= 1e6:
            raise InputError(f"of a prior, {words!r} has {count!r}: not a number from 0 to 1e6")


@dataclass
class Hmm:
    """An HMM aligner: one model of both directions for each of its stems.

    Attributes:
        settings: "alpha" and "fold_case"; "stems" (as `parse_stems` takes them),
            "iterations", "p0", "spelling" and "fertility", or "auto" for what suits the size of a
            text.
        stems: of `models`, in their order; empty before training.
        p0: of the models.
    """

    settings: Mapping[str, Any]
    stems: tuple[Stem, ...] = ()
    p0: float = 0.0
    models: list[_native.Model] = field(default_factory=list)

    def chosen(self, name: str, text: _native.Text) -> Any:
        """A setting, for a text."""
        if self.settings[name] != "auto":
            return self.settings[name]
        words = sum(text.tokens) / 2
        return next(settings for most, settings in _BY_WORDS if words < most)[name]

    def check_start(self, init: "Hmm") -> None:
        """Raise `InputError` where a model learns other stems than this one is to."""
        here, there = ",".join(map(str, init.stems)), self.settings["stems"]
        if there not in ("auto", here):
            raise InputError(f"the model to go on from has the stems {here}, not {there}")
        if init.settings["fold_case"] != self.settings["fold_case"]:
            raise InputError("the model to go on from has another setting of fold_case")

    def choose_stems(self, text: _native.Text, init: "Hmm | None") -> tuple[Stem, ...]:
        """For a text; with `init`, those of its models."""
        return init.stems if init else parse_stems(self.chosen("stems", text))

    def iterations(self, text: _native.Text, init: "Hmm | None") -> int:
        """How many times training will report."""
        each = START_ITERATIONS + int(self.chosen("iterations", text))
        return each * len(self.choose_stems(text, init))

    def fit(
        self,
        text: _native.Text,
        init: "Hmm | None",
        prior: Prior,
        on_memory: Callable[[str, int, int, int], object],
        progress: Callable[[list[_native.Iteration]], object],
        *,
        threads: int,
        **resources: Any,
    ) -> "tuple[Hmm, list[_native.Text]]":
        """Train a model for each stem: a new `Hmm`, and the text in the words of each model."""
        stems = self.choose_stems(text, init)
        fitted = Hmm(self.settings, stems, self.chosen("p0", text))
        spelling = self.chosen("spelling", text)
        settings = fitted.native_settings(
            int(self.chosen("iterations", text)), bool(self.chosen("fertility", text))
        )
        starts = init.models if init else [None] * len(stems)
        texts = [self._renamed(text, *each, learn=True) for each in zip(stems, starts, strict=True)]
        plans = _plans(texts, on_memory, threads=threads, **resources)
        for own, start, stem, plan in zip(texts, starts, stems, plans, strict=True):
            model = _native.fit_hmm(
                own,
                settings,
                threads=threads,
                plan=plan,
                init=start,
                progress=progress,
                spelling=spelling,
                spellings=[[anyascii(word).lower() for word in own.words(n)] for n in (0, 1)],
                dictionary=self._stemmed(prior, stem),
            )
            fitted.models.append(model)
        return fitted, texts

    def native_settings(self, iterations: int = 0, fertility: bool = False) -> _native.HmmSettings:
        """To train with, or to align with a model that is trained."""
        return _native.HmmSettings(
            start_iterations=START_ITERATIONS,
            iterations=iterations,
            p0=self.p0,
            fertility=fertility,
            alpha=self.settings["alpha"],
        )

    def texts(self, text: _native.Text) -> list[_native.Text]:
        """A text in the words of each model."""
        return [
            self._renamed(text, stem, model, learn=False)
            for stem, model in zip(self.stems, self.models, strict=True)
        ]

    def align(
        self,
        texts: Sequence[_native.Text],
        heuristic: str,
        threshold: float,
        threads: int,
        memory: int,
        take: Callable[[Any, Any], object],
    ) -> None:
        """Give `take` the links, with probabilities, and the scores of a text in `texts`.

        Long pairs share so many bytes of memory; one may take more.
        """
        decoding = _native.Decoding(heuristic, threshold)
        _native.align_hmm(self.models, texts, decoding, threads, memory, take)

    def _stemmed(self, prior: Prior, stem: Stem) -> list[tuple[str, str, float]]:
        """Of pairs with the same stems, the largest count."""
        sides = [
            apply_stem(stem, [words[side] for words in prior], self.settings["fold_case"])
            for side in (0, 1)
        ]
        found: dict[tuple[str, str], float] = {}
        for source, target, count in zip(*sides, prior.values(), strict=True):
            found[source, target] = max(count, found.get((source, target), 0.0))
        return [(*words, float(count)) for words, count in found.items()]

    def _renamed(
        self, text: _native.Text, stem: Stem, model: _native.Model | None, *, learn: bool
    ) -> _native.Text:
        fold = self.settings["fold_case"]
        words = [apply_stem(stem, text.words(side), fold) for side in (0, 1)]
        return text.renamed(words, model, learn)


def _plans(
    texts: Sequence[_native.Text],
    on_memory: Callable[[str, int, int, int], object],
    *,
    bytes: int,
    **resources: Any,
) -> list[_native.Plan]:
    """How to train on one text after the other, in so many bytes together; the models stay.

    `on_memory` is told the mode that takes least of all that there are, the bytes that are needed,
    those that the fast mode would need, and those that the longest pair takes of them.
    """
    plans: list[_native.Plan] = []
    needed, fast, kept = 0, 0, sum(text.bytes for text in texts)
    for text in texts:
        left = max(0, bytes - kept + text.bytes)
        plans.append(_native.plan_hmm(text, bytes=left, **resources))
        needed, fast = (
            max(most, kept + now)
            for most, now in ((needed, plans[-1].needed), (fast, plans[-1].fast))
        )
        kept += plans[-1].kept
    modes = [plan.mode for plan in plans]
    mode = next(mode for mode in ("files", "low", "fast") if mode in modes)
    on_memory(mode, needed, fast, max(plan.longest for plan in plans))
    return plans
