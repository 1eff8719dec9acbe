"""What an aligner's model is to do: how `Aligner` trains it, aligns with it and keeps it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from weam_ext import _native
from weam_ext.align.links import HEURISTICS, Links
from weam_ext.align.records import Reading
from weam_ext.align.settings import AUTO, DIRECTIONS, checked
from weam_ext.align.stems import parse_stems
from weam_ext.common.errors import InputError
from weam_ext.common.memory import used_memory

# What is given the links of a block of pairs, and their scores by direction.
Take = Callable[[Links, dict[str, NDArray[np.float64]]], object]
# What a dictionary says of (source word, target word): a number of links seen beforehand.
Prior = Mapping[tuple[str, str], float]
T = TypeVar("T")


@dataclass(frozen=True)
class Resources:
    """What a model may take.

    Attributes:
        threads: at least 1; the result does not depend on their number.
        memory: "low", "fast", or "auto" to choose by what there is.
        most: bytes that the process should stay below.
        directory: where temporary files go.
        device: of an encoder, as torch names it; None for a GPU where there is one.
    """

    threads: int
    memory: str
    most: int
    directory: bytes
    device: str | None = None

    @property
    def left(self) -> int:
        """Bytes, beside what the process holds now."""
        return max(0, self.most - used_memory())


@dataclass(frozen=True)
class Training(Generic[T]):
    """How a model is trained, and who is told of it.

    Attributes:
        heuristic: one of the model's.
        init: a trained model of the kind to go on from.
        prior: of a model that takes a dictionary.
        on_memory: is told the mode, the bytes that are needed, those that the fast mode would need,
            and those of the longest pair.
        progress: is told what an iteration measured in each direction.
        take: is given the links and scores of the text.
    """

    heuristic: str
    resources: Resources
    init: T | None
    prior: Prior
    on_memory: Callable[[str, int, int, int], object]
    progress: Callable[[list[_native.Iteration]], object]
    take: Take | None


class AlignerModel(ABC):
    """A model of word alignment by its name in `weam_ext.align.models.MODELS`.

    `weam_ext.Aligner` holds one: untrained after its constructor, trained as `fit` or `restored`
    returned it. A text (`_native.Text`) has sentence pairs as numbers of words: its `words`,
    `sentences` and `renamed` give them.

    Args:
        settings: those of `DEFAULTS`, checked; "threshold" may change later.
    """

    DEFAULTS: ClassVar[Mapping[str, Any]] = {}
    """The settings that there are, and what each is by default."""
    HEURISTICS: ClassVar[tuple[str, ...]] = HEURISTICS + DIRECTIONS
    """How its two directions may be combined, or one of them taken."""
    HEURISTIC: ClassVar[str] = "grow-diag-final-and"
    """That of `HEURISTICS` by default."""
    SCORES: ClassVar[tuple[str, ...]] = ()
    """What it scores besides each direction."""
    TAKES_DICTIONARY: ClassVar[bool] = False

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings

    @property
    @abstractmethod
    def trained(self) -> bool:
        """Whether it can align."""

    @property
    def native(self) -> _native.Model | None:
        """The translation table of a trained model, if it has one."""
        return None

    def directions(self, heuristic: str) -> tuple[str, ...]:
        """Those that it has when it was trained for a heuristic."""
        return DIRECTIONS

    def is_reversed(self, heuristic: str) -> bool:
        """Whether texts are read with the languages exchanged."""
        return False

    def new_text(self, init: Self | None, known: bool) -> _native.Text:
        """An empty text whose words are learnt, after those of `init`; or are those it knows."""
        return _native.Text(None, learn=True)

    def check_start(self, init: Self) -> None:  # noqa: B027, most have nothing to refuse
        """Raise `InputError` where training cannot go on from a trained model of its kind."""

    def iterations(self, text: _native.Text, init: Self | None) -> int:
        """How many times `fit` will call `progress`."""
        return 0

    @abstractmethod
    def fit(self, text: _native.Text, training: Training[Self]) -> Self:
        """A trained model of the same settings; this one stays as it is."""

    @abstractmethod
    def align(
        self, text: _native.Text, heuristic: str, resources: Resources, take: Take, posteriors: bool
    ) -> None:
        """Give `take` the links and scores of a text, block by block in its order.

        With `posteriors`, each link has its probability.
        """

    def identity(self, resources: Resources) -> dict[str, str]:
        """SHA-256 of what is not kept with it, by name."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is kept of a trained model, as tensors by name."""
        return {}

    def description(self) -> dict[str, Any]:
        """What is kept of it besides, as JSON."""
        return {}

    @classmethod
    def restored(
        cls,
        settings: Mapping[str, Any],
        heuristic: str,
        description: Reading,
        arrays: dict[str, NDArray[Any]],
    ) -> Self:
        """A trained model, of what `arrays` and `description` gave; `ValueError` for others."""
        return cls(settings)

    @classmethod
    def checked_settings(cls, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """All settings, those that are None by default; raises `InputError`."""
        settings = dict(cls.DEFAULTS)
        for setting, value in given.items():
            if value is None:
                continue
            if setting not in settings:
                raise InputError(f"{setting} is no setting of {name}")
            if isinstance(value, str) and value == AUTO == cls.DEFAULTS[setting]:
                settings[setting] = AUTO
            elif setting == "stems":
                settings[setting] = ",".join(map(str, parse_stems(value)))
            else:
                settings[setting] = checked(setting, value)
        return settings


def with_posteriors(links: Links, posteriors: bool) -> Links:
    """Links with their probabilities, or without: of no links at all, those of none."""
    if not posteriors:
        links.probability = None
    elif links.probability is None:  # no pair of the block has links
        links.probability = np.zeros(0, np.float32)
    return links
