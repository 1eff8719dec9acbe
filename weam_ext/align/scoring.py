"""Links scored against gold links: AER, precision, recall and F1."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weam_ext.align.links import rows_of
from weam_ext.common.errors import InputError
from weam_ext.text.pharaoh import Link


@dataclass(frozen=True)
class AlignmentScore:
    """Precision, recall and alignment error rate against gold links (Och & Ney 2003, section 6)."""

    precision: float
    recall: float
    aer: float

    def __str__(self) -> str:
        return f"precision {self.precision:.4f}  recall {self.recall:.4f}  AER {self.aer:.4f}"


def score(
    links: Iterable[Sequence[Link]], gold: Iterable[tuple[set[Link], set[Link]]]
) -> AlignmentScore:
    """Score links against (sure, possible) gold, where possible includes sure.

    The measures of Och & Ney (2003, section 6), over all pairs together, with A the links, S and P
    the sure and possible gold links:

    precision = |A & P| / |A|, recall = |A & S| / |S|, AER = 1 - (|A & S| + |A & P|) / (|A| + |S|);
    a ratio over nothing counts as perfect. Raises `InputError` for what are no links, and for
    different numbers of pairs.
    """
    found = sure_found = possible_found = sure_total = 0
    rows, sides = rows_of(links), list(gold)
    if len(rows) != len(sides):
        raise InputError(f"links of {len(rows)} pairs, gold links of {len(sides)}")
    for row, side in zip(rows, sides, strict=True):
        answer, both = set(row), [set(each) for each in rows_of(side)]
        if len(both) != 2:
            raise InputError("gold links of a pair are (sure, possible)")
        sure, possible = both
        found += len(answer)
        sure_total += len(sure)
        sure_found += len(answer & sure)
        possible_found += len(answer & possible)
    return AlignmentScore(
        possible_found / found if found else 1.0,
        sure_found / sure_total if sure_total else 1.0,
        1 - (sure_found + possible_found) / (found + sure_total) if found + sure_total else 0.0,
    )
