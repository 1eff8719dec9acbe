"""The HMM behind `weam_ext.align.Aligner`: what it is set to, its models, and what they do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from weam_ext import _native
from weam_ext.stems import Stem, apply_stem, parse_stems

# Of the diagonal model, which training starts with.
START_ITERATIONS = 3
# By the mean number of words on a side of the text, from which on they hold: chosen on development
# sets (docs/aligner.md).
_STEMS = ((0, "prefix:4"), (1_000_000, "prefix:5"))
_ALPHAS = ((0, 0.2), (1_000_000, 0.1))
_SAME_WORD = 11.0


@dataclass
class Hmm:
    """An HMM aligner: one model of both directions for each of its stems.

    Attributes:
        settings: "iterations", "p0", "alpha" (None: by the size of the text), "threshold", "stems"
            ("auto", or as `parse_stems` takes them) and "fold_case".
        stems: of `models`, in their order; empty before training.
        alpha: that the models were trained with.
    """

    settings: dict[str, Any]
    stems: tuple[Stem, ...] = ()
    alpha: float = 0.0
    models: list[_native.Model] = field(default_factory=list)

    def plan(self, text: _native.Text, init: "Hmm | None") -> tuple[tuple[Stem, ...], float]:
        """The stems and the alpha for a text; with `init`, those of its models."""
        if init:
            return init.stems, init.alpha
        size = sum(text.tokens) / 2
        stems = self.settings["stems"]
        if stems == "auto":
            stems = _by_size(_STEMS, size)
        return parse_stems(stems), self.settings["alpha"] or _by_size(_ALPHAS, size)

    def iterations(self, text: _native.Text, init: "Hmm | None") -> int:
        """How many times training will report."""
        stems, _ = self.plan(text, init)
        return len(stems) * (START_ITERATIONS + int(self.settings["iterations"]))

    def fit(
        self,
        text: _native.Text,
        init: "Hmm | None",
        on_memory: Callable[[str, int, int], object],
        progress: Callable[[list[_native.Iteration]], object],
        **resources: Any,
    ) -> "tuple[Hmm, list[_native.Text]]":
        """Train a model for each stem: a new `Hmm`, and the text in the words of each model."""
        stems, alpha = self.plan(text, init)
        fitted, texts = Hmm(self.settings, stems, alpha), []
        settings = fitted.native_settings()
        for number, stem in enumerate(stems):
            start = init.models[number] if init else None
            own = self._renamed(text, stem, start, learn=True)
            model = _native.fit_hmm(
                own,
                settings,
                init=start,
                on_memory=on_memory if number == 0 else lambda *plan: None,
                progress=progress,
                **resources,
            )
            fitted.models.append(model)
            texts.append(own)
        return fitted, texts

    def native_settings(self) -> _native.HmmSettings:
        """What the models were trained with."""
        return _native.HmmSettings(
            start_iterations=START_ITERATIONS,
            iterations=self.settings["iterations"],
            p0=self.settings["p0"],
            alpha=self.alpha,
            same_word=_SAME_WORD,
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
        threads: int,
        take: Callable[[Any, Any], object],
    ) -> None:
        """Give `take` the links, with probabilities, and the scores of a text in `texts`."""
        decoding = _native.Decoding(heuristic, self.settings["threshold"])
        _native.align_hmm(self.models, texts, decoding, threads, take)

    def _renamed(
        self, text: _native.Text, stem: Stem, model: _native.Model | None, *, learn: bool
    ) -> _native.Text:
        fold = self.settings["fold_case"]
        words = [apply_stem(stem, text.words(side), fold) for side in (0, 1)]
        return text.renamed(words, model, learn)


def _by_size(choices: Sequence[tuple[int, Any]], size: float) -> Any:
    return [choice for least, choice in choices if size >= least][-1]
