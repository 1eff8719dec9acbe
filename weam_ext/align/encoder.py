"""A pre-trained multilingual encoder as an aligner: alone, or with the HMM.

`weam_ext.model.word_scores` scores the words of a pair. "encoder" links by these scores alone and
learns nothing. "hybrid" trains the HMM with them as a dictionary, and links where the mean of the
HMM's posterior and the score is above the threshold. Settings were chosen on development sets
(docs/aligner-settings.md).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from weam_ext import _native
from weam_ext.align.hmm import PER_WORD, Hmm
from weam_ext.align.links import Links, symmetrize
from weam_ext.align.model import AlignerModel, Resources, Take, Training, with_posteriors
from weam_ext.align.records import Reading
from weam_ext.align.settings import AUTO, DIRECTIONS, POSTERIOR
from weam_ext.common.errors import InputError

if TYPE_CHECKING:
    from weam_ext.model.word_scores import WordScorer

Scores = NDArray[np.float32]
_ENCODER: Mapping[str, Any] = {"encoder": None, "layer": AUTO, "scale": 30.0}
# The scores of so many pairs, evenly spread over the text, are the HMM's dictionary. A text of many
# words a side knows better (docs/aligner-settings.md).
_SAMPLE = 3_000
_MANY_WORDS = 1_000_000
_COUNT = 2.0  # pseudo-counts of a link whose score is 1
_LEAST_SCORE = 0.1  # what is below adds up to more than it says
_LEAST_POSTERIOR = 2.0**-10  # the HMM's below count as 0
_LEAST_LIKENESS = 2.0**-10
_BLOCK = 1_024  # pairs


class _Encoded(AlignerModel):
    """What both models share: the encoder, by the setting that names it."""

    def scorer(self, resources: Resources) -> "WordScorer":
        """Loads the encoder, and torch; raises `InputError` for what is no encoder."""
        return _scorer(self.settings, resources.device)

    def scores(
        self, text: "_Pairs", which: Sequence[int], resources: Resources
    ) -> Iterator[Scores]:
        """Of these pairs of a text, one after the other."""
        pairs = [text[k] for k in which]
        return self.scorer(resources).scores(pairs, self.settings["scale"], resources.threads)

    def identity(self, resources: Resources) -> dict[str, str]:
        return {"encoder_sha256": self.scorer(resources).digest}

    @classmethod
    def checked_settings(cls, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        settings = super().checked_settings(name, given)
        if settings["encoder"] is None:
            raise InputError(f"{name} needs an encoder: give its name or directory")
        return settings


def _scorer(settings: Mapping[str, Any], device: str | None) -> "WordScorer":
    from weam_ext.model.word_scores import word_scorer

    layer = settings["layer"]
    return word_scorer(settings["encoder"], None if layer == AUTO else layer, device)


class EncoderModel(_Encoded):
    """An encoder alone. Its scores of a pair tell how alike each word is to its best partner."""

    DEFAULTS: ClassVar[Mapping[str, Any]] = {**_ENCODER, "threshold": 0.6}
    HEURISTICS: ClassVar[tuple[str, ...]] = Hmm.HEURISTICS
    HEURISTIC: ClassVar[str] = POSTERIOR
    SCORES: ClassVar[tuple[str, ...]] = (PER_WORD,)

    @property
    def trained(self) -> bool:
        return True

    def fit(self, text: _native.Text, training: Training[Self]) -> Self:
        """Nothing is learnt."""
        if training.take:
            self.align(text, training.heuristic, training.resources, training.take, False)
        return self

    def align(
        self, text: _native.Text, heuristic: str, resources: Resources, take: Take, posteriors: bool
    ) -> None:
        pairs = _Pairs(text)
        for start in range(0, len(pairs), _BLOCK):
            block = range(start, min(start + _BLOCK, len(pairs)))
            scores = [np.nan_to_num(each) for each in self.scores(pairs, block, resources)]
            links = decoded(scores, heuristic, self.settings["threshold"])
            take(with_posteriors(links, posteriors), _likeness(scores))


def _likeness(scores: Sequence[Scores]) -> dict[str, NDArray[np.float64]]:
    """log of each word's best score, summed for each direction; NaN for a dropped pair."""
    found = np.full((3, len(scores)), np.nan)
    for k, pair in enumerate(scores):
        if pair.size:
            best = [np.log(np.maximum(pair.max(axis), _LEAST_LIKENESS)) for axis in (0, 1)]
            found[:, k] = best[0].sum(), best[1].sum(), (best[0].mean() + best[1].mean()) / 2
    return dict(zip((*DIRECTIONS, PER_WORD), found, strict=True))


class Hybrid(_Encoded, Hmm):
    """The HMM with an encoder, which it must be given again wherever it is kept."""

    DEFAULTS: ClassVar[Mapping[str, Any]] = {**Hmm.DEFAULTS, **_ENCODER, "weight": 0.5}
    digest: str = ""
    """That of the encoder that it was trained with."""

    def fit(self, text: _native.Text, training: Training[Self]) -> Self:
        resources, pairs = training.resources, _Pairs(text)
        digest = self.scorer(resources).digest  # what is no encoder is told before training
        known = self._sample(pairs, resources) if sum(text.tokens) / 2 < _MANY_WORDS else {}
        prior = self._dictionary(pairs, known)
        for words, count in training.prior.items():
            prior[words] += count
        fitted = super().fit(text, replace(training, prior=prior, take=None))
        fitted.digest = digest
        if training.take:
            fitted._mix(text, training.heuristic, resources, training.take, False, known)
        return fitted

    def _sample(self, pairs: "_Pairs", resources: Resources) -> dict[int, Scores]:
        """The scores of pairs that are evenly spread over a text."""
        count = min(len(pairs), _SAMPLE)
        chosen = [k * len(pairs) // count for k in range(count)]
        return dict(zip(chosen, self.scores(pairs, chosen, resources), strict=True))

    def _dictionary(
        self, pairs: "_Pairs", sample: Mapping[int, Scores]
    ) -> defaultdict[tuple[str, str], float]:
        """Scores as links seen beforehand."""
        found: defaultdict[tuple[str, str], float] = defaultdict(float)
        for k, scores in sample.items():
            source, target = pairs[k]
            for i, j in np.argwhere(scores > _LEAST_SCORE).tolist():
                words = (source[i], target[j])
                if self.settings["fold_case"]:
                    words = (words[0].casefold(), words[1].casefold())
                found[words] += _COUNT * float(scores[i, j])
        return found

    def align(
        self, text: _native.Text, heuristic: str, resources: Resources, take: Take, posteriors: bool
    ) -> None:
        if self.scorer(resources).digest != self.digest:
            raise InputError(
                f"{self.settings['encoder']}: not the encoder that this model was trained with"
            )
        self._mix(text, heuristic, resources, take, posteriors, {})

    def _mix(
        self,
        text: _native.Text,
        heuristic: str,
        resources: Resources,
        take: Take,
        posteriors: bool,
        known: Mapping[int, Scores],
    ) -> None:
        """As `align`, where the scores of some pairs are known."""
        pairs, start = _Pairs(text), 0

        def mixed(links: Links, scores: dict[str, NDArray[np.float64]]) -> None:
            nonlocal start
            block = range(start, start + len(links))
            start += len(links)
            others = self.scores(pairs, [k for k in block if k not in known], resources)
            own = (known[k] if k in known else next(others) for k in block)
            mean = map(partial(mixture, weight=self.settings["weight"]), links_of(links), own)
            found = decoded(mean, heuristic, self.settings["threshold"])
            take(with_posteriors(found, posteriors), scores)

        self.align_posteriors(text, _LEAST_POSTERIOR, resources, mixed)

    def description(self) -> dict[str, Any]:
        return {**super().description(), "encoder_sha256": self.digest}

    @classmethod
    def restored(
        cls,
        settings: Mapping[str, Any],
        heuristic: str,
        description: Reading,
        arrays: dict[str, NDArray[Any]],
    ) -> Self:
        made = super().restored(settings, heuristic, description, arrays)
        made.digest = description.take("encoder_sha256", str)
        return made


class _Pairs:
    """The pairs of a text in words."""

    def __init__(self, text: _native.Text) -> None:
        self._sides = [(text.words(side), *text.sentences(side)) for side in (0, 1)]

    def __len__(self) -> int:
        return len(self._sides[0][1]) - 1

    def __getitem__(self, pair: int) -> tuple[list[str], list[str]]:
        source, target = (
            [words[number] for number in numbers[offsets[pair] : offsets[pair + 1]].tolist()]
            for words, offsets, numbers in self._sides
        )
        return source, target


def links_of(links: Links) -> Iterator[tuple[NDArray[np.int32], Scores]]:
    """The links [n, 2] of each pair, and their probabilities [n]."""
    assert links.probability is not None
    for begin, end in pairwise(links.offsets.tolist()):
        yield links.pairs[begin:end], links.probability[begin:end]


def mixture(posteriors: tuple[NDArray[np.int32], Scores], scores: Scores, weight: float) -> Scores:
    """(1 - w) posterior + w score, float32 [m, n]; the posterior of words that have no score.

    Equivalent to `weam_ref.mixture`.

    Args:
        posteriors: pairs of words [links, 2], and the posteriors of these, all others being 0.
    """
    links, values = posteriors
    own = np.zeros_like(scores)
    own[links[:, 0], links[:, 1]] = values
    share, other = np.float32(weight), np.float32(1 - weight)
    return np.where(np.isnan(scores), own, other * own + share * scores)


def decoded(scores: Iterable[Scores], heuristic: str, threshold: float) -> Links:
    """The links of pairs whose words have these scores, each with its own as its probability.

    "posterior" takes those above the threshold. A direction takes the best partner of each word
    whose score is above half of it, of equal ones the first, and the heuristics of
    `weam_ext.symmetrize` combine the two directions. Equivalent to `weam_ref.decoded`.
    """
    scores = list(scores)
    if heuristic == POSTERIOR:
        links = _links([np.argwhere(each > threshold) for each in scores])
    else:
        sides = [_links([_best(each, axis, threshold / 2) for each in scores]) for axis in (0, 1)]
        links = (
            sides[DIRECTIONS.index(heuristic)]
            if heuristic in DIRECTIONS
            else symmetrize(sides[0], sides[1], heuristic, threads=1)
        )
    rows = pairwise(links.offsets.tolist())
    values = [
        each[links.source[begin:end], links.target[begin:end]]
        for each, (begin, end) in zip(scores, rows, strict=True)
    ]
    links.probability = np.concatenate([np.zeros(0, np.float32), *values]).clip(max=1.0)
    return links


def _links(found: list[NDArray[np.int64]]) -> Links:
    offsets = np.cumsum([0, *map(len, found)])
    return Links(offsets, np.concatenate([np.zeros((0, 2), np.int64), *found]))


def _best(scores: Scores, axis: int, least: float) -> NDArray[np.int64]:
    if not scores.size:
        return np.zeros((0, 2), np.int64)
    chosen = np.zeros(scores.shape, np.bool_)
    np.put_along_axis(chosen, np.expand_dims(scores.argmax(axis), axis), True, axis)
    return np.argwhere(chosen & (scores > least))
