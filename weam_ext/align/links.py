"""Finished word links: `Links`, symmetrisation and scoring."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weam_ext import _native
from weam_ext.common.errors import InputError
from weam_ext.common.memory import thread_count
from weam_ext.text.pharaoh import Link

if TYPE_CHECKING:
    import pyarrow
    from scipy.sparse import csr_array

HEURISTICS = ("intersect", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and")


class Links:
    """The word links of a list of sentence pairs, as compressed rows.

    Attributes:
        offsets: int64 [pairs + 1]; pair k has the links `offsets[k]` up to `offsets[k + 1]`.
        pairs: int32 [links, 2]; (source word, target word), both from 0, sorted within each pair.
        probability: float32 [links], of each link, or None where none are known.

    Raises `InputError` for offsets that do not ascend from 0 to the number of links, for what are
    no indices of words, and for another number of probabilities than of links.
    """

    def __init__(
        self, offsets: ArrayLike, pairs: ArrayLike, probability: ArrayLike | None = None
    ) -> None:
        self.offsets: NDArray[np.int64] = _array(offsets, np.int64, "offsets")
        self.pairs: NDArray[np.int32] = _array(pairs, np.int32, "pairs")
        if self.pairs.shape[-1:] != (2,) and self.pairs.size:
            raise InputError("the pairs of links are (source word, target word)")
        self.pairs = self.pairs.reshape(-1, 2)
        ends = self.offsets[[0, -1]].tolist() if self.offsets.ndim == 1 and self.offsets.size else 0
        if ends != [0, len(self.pairs)] or (np.diff(self.offsets) < 0).any():
            raise InputError(
                f"offsets of links ascend from 0 to their number, which is {len(self.pairs)}"
            )
        self.probability: NDArray[np.float32] | None = None
        if probability is not None:
            self.probability = _array(probability, np.float32, "probabilities")
            if self.probability.shape != (len(self.pairs),):
                shape = list(self.probability.shape)
                raise InputError(f"probabilities of shape {shape} for {len(self.pairs)} links")

    @property
    def source(self) -> NDArray[np.int32]:
        return self.pairs[:, 0]

    @property
    def target(self) -> NDArray[np.int32]:
        return self.pairs[:, 1]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, pair: int) -> list[Link]:
        return [(i, j) for i, j in self.pairs[self._span(pair)].tolist()]

    def __iter__(self) -> Iterator[list[Link]]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Links):
            return False
        arrays: list[tuple[NDArray[Any], NDArray[Any]]]
        arrays = [(self.offsets, other.offsets), (self.pairs, other.pairs)]
        if self.probability is not None and other.probability is not None:
            arrays.append((self.probability, other.probability))
        elif self.probability is not other.probability:
            return False
        return all(np.array_equal(mine, others) for mine, others in arrays)

    __hash__ = None  # type: ignore[assignment]

    def _span(self, pair: int) -> slice:
        if not -len(self) <= pair < len(self):
            raise IndexError(f"pair {pair} of {len(self)}")
        pair %= len(self)
        return slice(self.offsets[pair], self.offsets[pair + 1])

    def __repr__(self) -> str:
        known = ", with probabilities" if self.probability is not None else ""
        return f"{type(self).__name__}({len(self):,} pairs, {len(self.pairs):,} links{known})"

    def part(self, start: int, stop: int) -> "Links":
        """Pairs `start` up to `stop`, sharing this object's memory."""
        first, last = self.offsets[start], self.offsets[stop]
        return Links(
            self.offsets[start : stop + 1] - first,
            self.pairs[first:last],
            None if self.probability is None else self.probability[first:last],
        )

    def inverted(self) -> "Links":
        """Source and target exchanged."""
        return Links._sorted(self.offsets, self.pairs[:, ::-1], self.probability)

    @classmethod
    def _sorted(
        cls,
        offsets: NDArray[np.int64],
        pairs: NDArray[np.int32],
        probability: NDArray[np.float32] | None,
    ) -> Self:
        rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        order = np.lexsort((pairs[:, 1], pairs[:, 0], rows))
        # Column by column: `pairs` may show its columns backwards, which `pairs[order]` would keep.
        in_order = np.stack([pairs[order, 0], pairs[order, 1]], axis=1)
        return cls(offsets, in_order, None if probability is None else probability[order])

    # ------------------------------------------------------------------------------ other forms

    @classmethod
    def concatenate(cls, parts: Sequence["Links"]) -> Self:
        """The pairs of all parts, one behind the other; all have probabilities, or none has."""
        starts = np.cumsum([0, *(len(part.pairs) for part in parts)])
        offsets = [part.offsets[1:] + start for part, start in zip(parts, starts, strict=False)]
        known = [part.probability for part in parts if part.probability is not None]
        return cls(
            np.concatenate([np.zeros(1, np.int64), *offsets]),
            np.concatenate([np.zeros((0, 2), np.int32), *(part.pairs for part in parts)]),
            np.concatenate(known) if known else None,
        )

    @classmethod
    def from_lists(cls, links: Iterable[Sequence[Link]]) -> Self:
        """Of lists of (source word, target word); raises `InputError` for anything else."""
        rows = [sorted(row) for row in rows_of(links)]
        return cls(np.cumsum([0, *map(len, rows)]), [link for row in rows for link in row])

    def to_lists(self) -> list[list[Link]]:
        links = [(i, j) for i, j in self.pairs.tolist()]
        return [links[start:stop] for start, stop in pairwise(self.offsets.tolist())]

    @classmethod
    def from_pharaoh(cls, text: str | bytes, *, threads: int | None = None) -> Self:
        """The links of lines "0-0 1-2", or "0-0:0.9312 1-2:0.5" with probabilities from 0 to 1.

        Lines end at a line feed, before which a carriage return may stand; blanks and tabs
        separate links. Of a link that a line has twice, the first counts. Text without any link
        has no probabilities.

        Raises:
            InputError: "line N: ..." for the first thing that is not a link, and for a text in
                which some links have a probability and some have none.
        """
        if not isinstance(text, (str, bytes)):
            raise InputError(f"Pharaoh's format is text or bytes, not {type(text).__name__}")
        data = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
        try:
            return cls(*_native.parse_pharaoh(data, 1, None, False, thread_count(threads)))
        except _native.LineError as error:
            _, line, fault = error.args
            raise InputError(f"line {line}: {fault}") from None

    def to_pharaoh(
        self, *, by_target: bool = False, probabilities: bool = False, threads: int | None = None
    ) -> str:
        """One line "0-0 1-2" for each pair, sorted by source word, or by target word first.

        With `probabilities`, "0-0:0.9312 1-2:0.5000"; raises `ValueError` if the links have none.
        """
        if probabilities and self.probability is None:
            raise ValueError("these links have no probabilities to write")
        text = _native.format_pharaoh(
            self.offsets,
            self.pairs,
            self.probability if probabilities else None,
            by_target,
            thread_count(threads),
        )
        return text.decode("ascii")

    @classmethod
    def from_arrow(cls, table: "pyarrow.Table") -> Self:
        """The links of a table as `to_arrow` makes it; lists may be large and in any order.

        Raises `ValueError` for a missing column, for nulls, and for lists of different lengths.
        """
        import pyarrow as pa

        def column(name: str, kind: Any) -> tuple[NDArray[np.int64], NDArray[Any]]:
            if name not in table.column_names:
                raise ValueError(f"the table has no column {name!r}")
            lists = table[name].cast(pa.large_list(kind)).combine_chunks()
            values = lists.flatten()
            if lists.null_count or values.null_count:
                raise ValueError(f"column {name!r} has nulls")
            lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
            return np.concatenate([[0], np.cumsum(lengths)]), values.to_numpy()

        columns = [column("source", pa.int32()), column("target", pa.int32())]
        if "probability" in table.column_names:
            columns.append(column("probability", pa.float32()))
        offsets = [offsets for offsets, _ in columns]
        if not all(np.array_equal(offsets[0], other) for other in offsets):
            raise ValueError("the lists of a row differ in length")
        source, target, *probability = (values for _, values in columns)
        pairs = np.stack([source, target], axis=1)
        return cls._sorted(offsets[0], pairs, probability[0] if probability else None)

    def to_arrow(self) -> "pyarrow.Table":
        """A row for each pair: lists of int32 `source` and `target`, of float32 `probability`.

        The probabilities are this object's memory. Raises `ValueError` for 2^31 links or more.
        """
        import pyarrow as pa

        offsets = pa.array(self.offsets, pa.int32())
        columns = {
            name: pa.array(np.ascontiguousarray(values))
            for name, values in (
                ("source", self.source),
                ("target", self.target),
                ("probability", self.probability),
            )
            if values is not None
        }
        return pa.table(
            {name: pa.ListArray.from_arrays(offsets, values) for name, values in columns.items()}
        )

    def to_scipy(self, pair: int, shape: tuple[int, int]) -> "csr_array":
        """One pair as a sparse matrix [source words, target words]: probabilities, or True.

        Needs SciPy (the extra `scipy`). Raises `ValueError` for a link outside of `shape`.
        """
        from scipy.sparse import csr_array

        span = self._span(pair)
        source, target = self.source[span], self.target[span]
        values = (
            np.ones(len(source), np.bool_) if self.probability is None else self.probability[span]
        )
        return csr_array((values, (source, target)), shape)


@dataclass(frozen=True)
class DroppedPairs:
    """Sentence pairs that were given empty link lists, by reason."""

    empty: int = 0
    too_long: int = 0

    def __add__(self, other: "DroppedPairs") -> "DroppedPairs":
        return DroppedPairs(self.empty + other.empty, self.too_long + other.too_long)

    def __str__(self) -> str:
        return f"{self.empty:,} with an empty side, {self.too_long:,} over-long"


class Alignment(Links):
    """The links of a text that was aligned, with its scores and how many pairs have none and why.

    Attributes:
        scores: float64 [pairs] for each direction, log-probabilities in nats, and for an HMM "per
            word", the mean of both directions' for each word; NaN for a pair that was dropped.
        dropped: the pairs that have no links because a side is empty or too long.
    """

    def __init__(
        self,
        offsets: ArrayLike,
        pairs: ArrayLike,
        probability: ArrayLike | None,
        scores: dict[str, NDArray[np.float64]],
        dropped: DroppedPairs,
    ) -> None:
        super().__init__(offsets, pairs, probability)
        self.scores = scores
        self.dropped = dropped


def symmetrize(
    forward: Links, backward: Links, method: str, *, threads: int | None = None
) -> Links:
    """Combine two directional alignments (Och & Ney 2003; Koehn et al. 2005), as atools does.

    Args:
        forward, backward: links of the same sentence pairs, both (source word, target word).
        method: one of `HEURISTICS`.

    Raises:
        InputError: for an unknown method, for what are no `Links`, and for different numbers of
            pairs.
    """
    if not isinstance(method, str) or method not in HEURISTICS:
        raise InputError(f"unknown heuristic {method!r}; there are {', '.join(HEURISTICS)}")
    if not isinstance(forward, Links) or not isinstance(backward, Links):
        raise InputError("the two directions are Links (Links.from_lists makes them of lists)")
    if len(forward) != len(backward):
        sizes = f"{len(forward)} and {len(backward)}"
        raise InputError(f"the two directions have different numbers of pairs: {sizes}")
    return Links(
        *_native.symmetrize(
            forward.offsets,
            forward.pairs,
            backward.offsets,
            backward.pairs,
            method,
            thread_count(threads),
        )
    )


def _array(values: ArrayLike, kind: type, what: str) -> NDArray[Any]:
    """What may be an iterable as an array of another kind, but of the same numbers."""
    try:
        array = np.asarray(list(values) if isinstance(values, Iterator) else values)
        whole = array.size == 0 or array.dtype.kind in ("iu" if kind is not np.float32 else "iuf")
        least, most = (0, np.iinfo(kind).max) if kind is not np.float32 else (-np.inf, np.inf)
        if not whole or (array < least).any() or (array > most).any():
            raise ValueError
        return array.astype(kind, copy=False)
    except (TypeError, ValueError, OverflowError):
        expected = "numbers" if kind is np.float32 else "whole numbers from 0 on"
        raise InputError(f"the {what} of links are {expected}") from None


def rows_of(links: Iterable[Iterable[Link]]) -> list[list[Link]]:
    """Lists of links; raises `InputError` for anything else."""
    try:
        return [[(i, j) for i, j in row] for row in links]
    except (TypeError, ValueError):
        raise InputError(
            "links are lists, one for each pair, of (source word, target word)"
        ) from None
