"""Alignment error rate: Och and Ney, "A Systematic Comparison of Various Statistical Alignment
Models", Computational Linguistics 29(1), 2003, section 5."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Link = tuple[int, int]


@dataclass(frozen=True)
class AlignmentScore:
    """The rates, and the corpus totals that they are made of.

    links: |A|, the links scored; sure: |S|; sure_hits: |A and S|; possible_hits: |A and P|.
    """

    precision: float
    recall: float
    aer: float
    links: int
    sure: int
    sure_hits: int
    possible_hits: int


def alignment_error_rate(
    links: Sequence[Iterable[Link]],
    sure: Sequence[Iterable[Link]],
    possible: Sequence[Iterable[Link]],
) -> AlignmentScore:
    """Score alignments A against gold links, sure S and possible P; one collection a sentence pair.

    precision = |A and P| / |A|, recall = |A and S| / |S|,
    AER = 1 - (|A and S| + |A and P|) / (|A| + |S|), every count summed over the corpus first.
    S is a part of P by definition, so a sure link counts as possible whether P repeats it or not; a
    link given twice counts once. Where a denominator is 0 nothing was wrong or nothing missed:
    precision and recall are then 1, and AER is 0.

    Raises ValueError where the three differ in their number of sentence pairs.
    """
    proposed = wanted = sure_hits = possible_hits = 0
    for a, s, p in zip(map(set, links), map(set, sure), map(set, possible), strict=True):
        proposed += len(a)
        wanted += len(s)
        sure_hits += len(a & s)
        possible_hits += len(a & (p | s))
    return AlignmentScore(
        precision=possible_hits / proposed if proposed else 1.0,
        recall=sure_hits / wanted if wanted else 1.0,
        aer=1.0 - (sure_hits + possible_hits) / (proposed + wanted) if proposed + wanted else 0.0,
        links=proposed,
        sure=wanted,
        sure_hits=sure_hits,
        possible_hits=possible_hits,
    )
