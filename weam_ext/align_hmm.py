"""The HMM behind `weam_ext.align.Aligner`: what it is set to, its models, and what they do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from weam_ext import _native
from weam_ext.stems import Stem, apply_stem, parse_stems

# Of the diagonal model, which training starts with.
START_ITERATIONS = 3
# With fewer words on a side of the text, several stems are worth their time; chosen on development
# sets (docs/aligner.md).
_FEW_WORDS = 1_000_000
_STEMS_OF_FEW, _STEMS_OF_MANY = "prefix:3,prefix:5", "prefix:6"
_SAME_WORD = 11.0


@dataclass
class Hmm:
    """An HMM aligner: one model of both directions for each of its stems.

    Attributes:
        settings: "iterations", "p0", "alpha", "threshold", "stems" ("auto", or as
            `parse_stems` takes them) and "fold_case".
        stems: of `models`, in their order; empty before training.
    """

    settings: dict[str, Any]
    stems: tuple[Stem, ...] = ()
    models: list[_native.Model] = field(default_factory=list)

    def choose_stems(self, text: _native.Text, init: "Hmm | None") -> tuple[Stem, ...]:
        """For a text; with `init`, those of its models."""
        if init:
            return init.stems
        stems = self.settings["stems"]
        if stems == "auto":
            stems = _STEMS_OF_FEW if sum(text.tokens) / 2 < _FEW_WORDS else _STEMS_OF_MANY
        return parse_stems(stems)

    def iterations(self, text: _native.Text, init: "Hmm | None") -> int:
        """How many times training will report."""
        return len(self.choose_stems(text, init)) * (
            START_ITERATIONS + int(self.settings["iterations"])
        )

    def fit(
        self,
        text: _native.Text,
        init: "Hmm | None",
        on_memory: Callable[[str, int, int], object],
        progress: Callable[[list[_native.Iteration]], object],
        **resources: Any,
    ) -> "tuple[Hmm, list[_native.Text]]":
        """Train a model for each stem: a new `Hmm`, and the text in the words of each model."""
        stems = self.choose_stems(text, init)
        fitted, texts = Hmm(self.settings, stems), []
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
            alpha=self.settings["alpha"],
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
