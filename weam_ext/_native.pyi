from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Bytes = bytes
_Sentence = str | Sequence[str] | Sequence[int] | NDArray[Any]
_Links = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32] | None]

class LineError(ValueError):
    """Arguments: file (0 or 1), line (from 1), what is wrong."""

class UnequalLines(ValueError):
    """Arguments: the lines of the two files."""

class Iteration:
    def __init__(
        self,
        log_likelihood: float,
        perplexity: float,
        posterior_p0: float,
        posterior_feature: float,
        tension: float,
    ) -> None: ...
    @property
    def log_likelihood(self) -> float: ...
    @property
    def perplexity(self) -> float: ...
    @property
    def posterior_p0(self) -> float: ...
    @property
    def posterior_feature(self) -> float: ...
    @property
    def tension(self) -> float: ...

class Settings:
    def __init__(
        self,
        *,
        iterations: int,
        p0: float,
        tension: float,
        alpha: float,
        favor_diagonal: bool,
        optimize_tension: bool,
        variational_bayes: bool,
        null_word: bool,
    ) -> None: ...

class HmmSettings:
    def __init__(
        self,
        *,
        start_iterations: int,
        iterations: int,
        p0: float,
        alpha: float,
        fertility: bool,
    ) -> None: ...

class Decoding:
    def __init__(self, method: str, threshold: float) -> None: ...

class Output:
    def __init__(
        self,
        heuristic: str | None,
        posteriors: bool,
        take: Callable[[_Links, list[NDArray[np.float64]]], object],
    ) -> None: ...

class Model:
    @property
    def directions(self) -> int: ...
    @property
    def cells(self) -> int: ...
    @property
    def tension(self) -> tuple[float, float]: ...
    @property
    def length_ratio(self) -> tuple[float, float]: ...
    @property
    def null_totals(self) -> tuple[float, float]: ...
    def history(self, direction: int) -> list[Iteration]: ...
    def words(self, side: int) -> list[str]: ...
    def arrays(self) -> dict[str, NDArray[Any]]: ...
    def lexicon(
        self, direction: int, top: int, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float32]]: ...
    def lexicon_text(self, direction: int, top: int, threads: int) -> bytes: ...
    def parameters(self, threshold: float, threads: int) -> bytes: ...
    def align_pair(
        self, source: _Sentence, target: _Sentence, heuristic: str | None, max_length: int
    ) -> list[tuple[int, int]]: ...

class Text:
    def __init__(self, model: Model | None, learn: bool) -> None: ...
    def add(
        self, source: Sequence[_Sentence], target: Sequence[_Sentence], max_length: int
    ) -> None: ...
    def add_numbered(
        self,
        vocabularies: Sequence[_Bytes],
        offsets: Sequence[NDArray[np.int64]],
        numbers: Sequence[NDArray[np.int32]],
        max_length: int,
    ) -> None: ...
    def keep_in_files(self, directory: str | _Bytes) -> None: ...
    def renamed(self, words: Sequence[Sequence[str]], model: Model | None, learn: bool) -> Text: ...
    def words(self, side: int) -> list[str]: ...
    def sentences(self, side: int) -> tuple[NDArray[np.int64], NDArray[np.uint32]]: ...
    def __len__(self) -> int: ...
    @property
    def tokens(self) -> tuple[int, int]: ...
    @property
    def dropped(self) -> tuple[int, int]: ...
    @property
    def other_spaces(self) -> int: ...
    @property
    def bytes(self) -> int: ...

def split_line(
    line: str, columns: tuple[int, int] | None, tabs: bool | None
) -> tuple[str, str, bool | None]: ...

class TextReader:
    def __init__(
        self,
        *,
        text: Text,
        files: int,
        columns: tuple[int, int] | None,
        max_length: int,
        limit: int,
        reversed: bool,
        threads: int,
        bytes: int,
        directory: str | bytes,
    ) -> None: ...
    def feed(self, file: int, data: bytes) -> bool: ...
    def end(self, file: int) -> None: ...
    def finish(self) -> None: ...

def fit(
    text: Text,
    settings: Settings,
    directions: int,
    threads: int,
    memory: str,
    bytes: int,
    directory: str | bytes,
    init: Model | None,
    on_memory: Callable[[str, int, int], object],
    progress: Callable[[list[Iteration]], object],
    output: Output | None,
) -> Model: ...

class Plan:
    @property
    def mode(self) -> str: ...
    @property
    def needed(self) -> int: ...
    @property
    def fast(self) -> int: ...
    @property
    def kept(self) -> int: ...
    @property
    def longest(self) -> int: ...

def plan_hmm(text: Text, threads: int, memory: str, bytes: int, directory: str | bytes) -> Plan: ...
def fit_hmm(
    text: Text,
    settings: HmmSettings,
    threads: int,
    plan: Plan,
    init: Model | None,
    progress: Callable[[list[Iteration]], object],
    spelling: float,
    spellings: Sequence[Sequence[str]],
    dictionary: Sequence[tuple[str, str, float]],
) -> Model: ...
def likeness(source: str, target: str) -> float: ...
def align_hmm(
    models: Sequence[Model],
    texts: Sequence[Text],
    decoding: Decoding,
    threads: int,
    bytes: int,
    take: Callable[[_Links, list[NDArray[np.float64]]], object],
) -> None: ...
def align(model: Model, text: Text, threads: int, output: Output) -> None: ...
def load_model(
    arrays: dict[str, NDArray[Any]],
    settings: Settings,
    directions: int,
    tension: Sequence[float],
    length_ratio: Sequence[float],
    null_totals: Sequence[float],
    history: Sequence[Sequence[Iteration]],
) -> Model: ...
def load_hmm(
    arrays: dict[str, NDArray[Any]],
    settings: HmmSettings,
    tension: Sequence[float],
    length_ratio: Sequence[float],
    null_totals: Sequence[float],
    history: Sequence[Sequence[Iteration]],
) -> Model: ...
def load_parameters(text: bytes, settings: Settings, length_ratio: float) -> Model: ...
def symmetrize(
    forward_offsets: NDArray[np.int64],
    forward_pairs: NDArray[np.int32],
    backward_offsets: NDArray[np.int64],
    backward_pairs: NDArray[np.int32],
    method: str,
    threads: int,
) -> _Links: ...
def format_pharaoh(
    offsets: NDArray[np.int64],
    pairs: NDArray[np.int32],
    probability: NDArray[np.float32] | None,
    by_target: bool,
    threads: int,
) -> bytes: ...
def parse_pharaoh(
    text: bytes, first_line: int, probabilities: bool | None, fields: bool, threads: int
) -> _Links: ...
