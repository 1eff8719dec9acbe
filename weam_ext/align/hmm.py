"""The HMM behind `weam_ext.Aligner`: what it is set to, its models, and what they do."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from anyascii import anyascii
from numpy.typing import NDArray

from weam_ext import _native
from weam_ext.align.links import Links
from weam_ext.align.model import (
    AlignerModel,
    Prior,
    Resources,
    Take,
    Training,
    with_posteriors,
)
from weam_ext.align.records import Reading, described, measured
from weam_ext.align.settings import AUTO, DIRECTIONS, POSTERIOR
from weam_ext.align.stems import Stem, apply_stem, parse_stems
from weam_ext.common.errors import InputError
from weam_ext.text.lines import read_lines

# Of the diagonal model, which training starts with.
START_ITERATIONS = 3
# With fewer words on a side of the text, several stems are worth their time, and spelling tells
# what the text does not; chosen on development sets (docs/aligner-settings.md).
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
# Among the scores: a pair's log-probability per word, the mean of both directions'.
PER_WORD = "per word"


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


class Hmm(AlignerModel):
    """An HMM aligner: one model of both directions for each of its stems.

    Args:
        settings: "stems" (as `parse_stems` takes them), "iterations", "p0", "spelling" and
            "fertility" may be "auto", for what suits the size of a text.
        stems: of the models, in their order; none before training.
        p0: of the models.
    """

    DEFAULTS: ClassVar[Mapping[str, Any]] = {
        "iterations": AUTO,
        "p0": AUTO,
        "alpha": 0.13,
        "spelling": AUTO,
        "fertility": AUTO,
        "threshold": 0.5,
        "stems": AUTO,
        "fold_case": True,
    }
    HEURISTICS: ClassVar[tuple[str, ...]] = (POSTERIOR, *AlignerModel.HEURISTICS)
    HEURISTIC: ClassVar[str] = POSTERIOR
    SCORES: ClassVar[tuple[str, ...]] = (PER_WORD,)
    TAKES_DICTIONARY: ClassVar[bool] = True

    def __init__(
        self, settings: Mapping[str, Any], stems: tuple[Stem, ...] = (), p0: float = 0.0
    ) -> None:
        super().__init__(settings)
        self.stems = stems
        self.p0 = p0
        self.models: list[_native.Model] = []

    @property
    def trained(self) -> bool:
        return bool(self.models)

    @property
    def native(self) -> _native.Model | None:
        """That of the first stem."""
        return self.models[0] if self.models else None

    def chosen(self, name: str, text: _native.Text) -> Any:
        """A setting, for a text."""
        if self.settings[name] != AUTO:
            return self.settings[name]
        words = sum(text.tokens) / 2
        return next(settings for most, settings in _BY_WORDS if words < most)[name]

    def check_start(self, init: Self) -> None:
        """Raise `InputError` where a model learns other stems than this one is to."""
        here, there = ",".join(map(str, init.stems)), self.settings["stems"]
        if there not in (AUTO, here):
            raise InputError(f"the model to go on from has the stems {here}, not {there}")
        if init.settings["fold_case"] != self.settings["fold_case"]:
            raise InputError("the model to go on from has another setting of fold_case")

    def choose_stems(self, text: _native.Text, init: Self | None) -> tuple[Stem, ...]:
        """For a text; with `init`, those of its models."""
        return init.stems if init else parse_stems(self.chosen("stems", text))

    def iterations(self, text: _native.Text, init: Self | None) -> int:
        """How many times training will report."""
        each = START_ITERATIONS + int(self.chosen("iterations", text))
        return each * len(self.choose_stems(text, init))

    def fit(self, text: _native.Text, training: Training[Self]) -> Self:
        init, resources = training.init, training.resources
        stems = self.choose_stems(text, init)
        fitted = type(self)(self.settings, stems, self.chosen("p0", text))
        spelling = self.chosen("spelling", text)
        settings = fitted.native_settings(
            int(self.chosen("iterations", text)), bool(self.chosen("fertility", text))
        )
        starts = init.models if init else [None] * len(stems)
        left = resources.left  # before the text is there once more for each stem
        texts = [self._renamed(text, *each, learn=True) for each in zip(stems, starts, strict=True)]
        plans = _plans(texts, left, resources, training.on_memory)
        for own, start, stem, plan in zip(texts, starts, stems, plans, strict=True):
            model = _native.fit_hmm(
                own,
                settings,
                threads=resources.threads,
                plan=plan,
                init=start,
                progress=training.progress,
                spelling=spelling,
                spellings=[[anyascii(word).lower() for word in own.words(n)] for n in (0, 1)],
                dictionary=self._stemmed(training.prior, stem),
            )
            fitted.models.append(model)
        if training.take:
            fitted._align(
                texts, fitted.decoding(training.heuristic), resources, training.take, False
            )
        return fitted

    def native_settings(self, iterations: int = 0, fertility: bool = False) -> _native.HmmSettings:
        """To train with, or to align with a model that is trained."""
        return _native.HmmSettings(
            start_iterations=START_ITERATIONS,
            iterations=iterations,
            p0=self.p0,
            fertility=fertility,
            alpha=self.settings["alpha"],
        )

    def decoding(self, heuristic: str) -> _native.Decoding:
        return _native.Decoding(heuristic, self.settings["threshold"])

    def align(
        self, text: _native.Text, heuristic: str, resources: Resources, take: Take, posteriors: bool
    ) -> None:
        texts = self._renamed_each(text)
        self._align(texts, self.decoding(heuristic), resources, take, posteriors)

    def align_posteriors(
        self, text: _native.Text, least: float, resources: Resources, take: Take
    ) -> None:
        """As `align`, with every pair of words whose mean posterior is above `least`."""
        decoding = _native.Decoding(POSTERIOR, least)
        self._align(self._renamed_each(text), decoding, resources, take, posteriors=True)

    def _renamed_each(self, text: _native.Text) -> list[_native.Text]:
        """In the words of each model."""
        return [
            self._renamed(text, stem, model, learn=False)
            for stem, model in zip(self.stems, self.models, strict=True)
        ]

    def _align(
        self,
        texts: Sequence[_native.Text],
        decoding: _native.Decoding,
        resources: Resources,
        take: Take,
        posteriors: bool,
    ) -> None:
        """The same for a text in the words of each model."""

        def taken(arrays: Any, scores: list[NDArray[np.float64]]) -> None:
            links = with_posteriors(Links(*arrays), posteriors)
            take(links, dict(zip((*DIRECTIONS, PER_WORD), scores, strict=True)))

        _native.align_hmm(self.models, texts, decoding, resources.threads, resources.left, taken)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            f"{number}.{name}": array
            for number, model in enumerate(self.models)
            for name, array in model.arrays().items()
        }

    def description(self) -> dict[str, Any]:
        models = list(map(described, self.models))
        return {"stems": list(map(str, self.stems)), "p0": self.p0, "models": models}

    @classmethod
    def restored(
        cls,
        settings: Mapping[str, Any],
        heuristic: str,
        description: Reading,
        arrays: dict[str, NDArray[Any]],
    ) -> Self:
        stems = description.take("stems", list)
        if not all(isinstance(stem, str) for stem in stems):
            raise ValueError("'stems' has one that is no string")
        p0 = description.number("p0")
        if not 0 <= p0 < 1:
            raise ValueError("'p0' is no probability")
        made = cls(settings, parse_stems(stems), p0)
        models = description.take("models", list)
        if len(models) != len(stems):
            raise ValueError("'models' has another number of entries than 'stems'")
        for number, model in enumerate(models):
            prefix = f"{number}."
            own = {
                name.removeprefix(prefix): array
                for name, array in arrays.items()
                if name.startswith(prefix)
            }
            kept = measured(Reading(model), 2)
            made.models.append(_native.load_hmm(own, made.native_settings(), *kept))
        return made

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
    left: int,
    resources: Resources,
    on_memory: Callable[[str, int, int, int], object],
) -> list[_native.Plan]:
    """How to train on one text after the other within `left` bytes, while the models stay.

    `on_memory` is told the mode that takes least of all that there are, the bytes that are needed,
    those that the fast mode would need, and those that the longest pair takes of them.
    """
    plans: list[_native.Plan] = []
    needed, fast, kept = 0, 0, sum(text.bytes for text in texts)
    for text in texts:
        plan = _native.plan_hmm(
            text,
            threads=resources.threads,
            memory=resources.memory,
            bytes=max(0, left - kept + text.bytes),
            directory=resources.directory,
        )
        plans.append(plan)
        needed, fast = max(needed, kept + plan.needed), max(fast, kept + plan.fast)
        kept += plan.kept
    modes = [plan.mode for plan in plans]
    mode = next(mode for mode in ("files", "low", "fast") if mode in modes)
    on_memory(mode, needed, fast, max(plan.longest for plan in plans))
    return plans
