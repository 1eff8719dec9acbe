"""fast_align's model behind `weam_ext.Aligner` (Dyer, Chahuneau & Smith 2013)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from weam_ext import _native
from weam_ext.align.links import Links
from weam_ext.align.model import AlignerModel, Resources, Take, Training, with_posteriors
from weam_ext.align.records import Reading, described, measured
from weam_ext.align.settings import DIRECTIONS


class FastAlign(AlignerModel):
    """IBM model 2 with a log-linear diagonal prior, of one direction or of both."""

    DEFAULTS: ClassVar[Mapping[str, Any]] = {
        "iterations": 5,
        "p0": 0.08,
        "tension": 4.0,
        "alpha": 0.01,
        "favor_diagonal": True,
        "optimize_tension": True,
        "variational_bayes": True,
        "null_word": True,
    }

    def __init__(self, settings: Mapping[str, Any], model: _native.Model | None = None) -> None:
        super().__init__(settings)
        self._model = model

    @property
    def trained(self) -> bool:
        return self._model is not None

    @property
    def native(self) -> _native.Model | None:
        return self._model

    def directions(self, heuristic: str) -> tuple[str, ...]:
        return (heuristic,) if heuristic in DIRECTIONS else DIRECTIONS

    def is_reversed(self, heuristic: str) -> bool:
        return heuristic == "backward"

    def new_text(self, init: Self | None, known: bool) -> _native.Text:
        return _native.Text((init or self).native if init or known else None, learn=not known)

    def iterations(self, text: _native.Text, init: Self | None) -> int:
        return int(self.settings["iterations"])

    def fit(self, text: _native.Text, training: Training[Self]) -> Self:
        resources, heuristic, take = training.resources, training.heuristic, training.take
        model = _native.fit(
            text,
            _native.Settings(**self.settings),
            len(self.directions(heuristic)),
            threads=resources.threads,
            memory=resources.memory,
            bytes=resources.left + text.bytes,
            directory=resources.directory,
            init=training.init.native if training.init else None,
            on_memory=lambda mode, needed, fast: training.on_memory(mode, needed, fast, 0),
            progress=training.progress,
            output=None if take is None else self._output(heuristic, take, posteriors=False),
        )
        return type(self)(self.settings, model)

    def align(
        self, text: _native.Text, heuristic: str, resources: Resources, take: Take, posteriors: bool
    ) -> None:
        assert self._model
        output = self._output(heuristic, take, posteriors)
        _native.align(self._model, text, resources.threads, output)

    def _output(self, heuristic: str, take: Take, posteriors: bool) -> _native.Output:
        def oriented(arrays: Any, scores: list[NDArray[np.float64]]) -> None:
            links = with_posteriors(Links(*arrays), posteriors)
            if self.is_reversed(heuristic):
                links = links.inverted()
            take(links, dict(zip(self.directions(heuristic), scores, strict=True)))

        method = None if heuristic in DIRECTIONS else heuristic
        return _native.Output(method, posteriors, oriented)

    def arrays(self) -> dict[str, NDArray[Any]]:
        assert self._model
        return self._model.arrays()

    def description(self) -> dict[str, Any]:
        assert self._model
        return described(self._model)

    @classmethod
    def restored(
        cls,
        settings: Mapping[str, Any],
        heuristic: str,
        description: Reading,
        arrays: dict[str, NDArray[Any]],
    ) -> Self:
        directions = 1 if heuristic in DIRECTIONS else 2
        chosen = _native.Settings(**settings)
        kept = measured(description, directions)
        return cls(settings, _native.load_model(arrays, chosen, directions, *kept))
