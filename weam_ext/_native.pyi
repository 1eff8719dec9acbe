from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

_Sentences = Sequence[str] | Sequence[Sequence[str]]
_Links = tuple[NDArray[np.int64], NDArray[np.int32]]

class Iteration:
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

class DiagonalAligner:
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
        directions: int,
        max_length: int,
        threads: int,
    ) -> None: ...
    def fit(
        self,
        source: _Sentences,
        target: _Sentences,
        with_links: bool,
        progress: Callable[[int], None] | None,
    ) -> list[_Links]: ...
    def align(self, source: _Sentences, target: _Sentences) -> list[_Links]: ...
    def history(self, direction: int) -> list[Iteration]: ...
    @property
    def dropped(self) -> tuple[int, int]: ...
    @property
    def vocabulary_sizes(self) -> tuple[int, int]: ...
    @property
    def cells(self) -> int: ...

def symmetrize(
    forward_offsets: NDArray[np.int64],
    forward_pairs: NDArray[np.int32],
    backward_offsets: NDArray[np.int64],
    backward_pairs: NDArray[np.int32],
    method: str,
    threads: int,
) -> _Links: ...
def pharaoh(offsets: NDArray[np.int64], pairs: NDArray[np.int32], by_target: bool) -> bytes: ...
