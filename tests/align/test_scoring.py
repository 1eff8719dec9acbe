"""Links scored against gold links."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weam_ref.score import alignment_error_rate

from weam_ext.align.scoring import AlignmentScore, score
from weam_ext.text.pharaoh import Link

grids = st.integers(1, 9).flatmap(
    lambda size: st.lists(st.tuples(*[st.integers(0, size)] * 2), max_size=30, unique=True)
)


@given(st.lists(st.tuples(grids, grids, grids), max_size=4))
def test_scores_like_the_twin(rows: list[tuple[list[Link], list[Link], list[Link]]]) -> None:
    answers, sure, possible = ([row[k] for row in rows] for k in range(3))
    expected = alignment_error_rate(answers, sure, possible)
    found = score(answers, [(set(s), {*s, *p}) for s, p in zip(sure, possible, strict=True)])
    assert found.precision == pytest.approx(expected.precision)
    assert found.recall == pytest.approx(expected.recall)
    assert found.aer == pytest.approx(expected.aer)


def test_scores_need_as_many_answers_as_gold() -> None:
    with pytest.raises(ValueError, match="links of 1 pairs, gold links of 0"):
        score([[]], [])


def test_scores_by_hand() -> None:
    """Two links found, one of them sure and one possible, of two sure ones."""
    gold = ({(0, 0), (1, 1)}, {(0, 0), (1, 1), (1, 2)})
    found = score([[(0, 0), (1, 2)], []], [gold, (set(), set())])
    assert found == AlignmentScore(precision=1.0, recall=0.5, aer=1 - 3 / 4)
    assert str(found) == "precision 1.0000  recall 0.5000  AER 0.2500"


def test_a_ratio_over_nothing_is_perfect() -> None:
    assert score([], []) == AlignmentScore(1.0, 1.0, 0.0)
    assert score([[]], [({(0, 0)}, {(0, 0)})]) == AlignmentScore(1.0, 0.0, 1.0)
    assert score([[(0, 0)]], [(set(), set())]) == AlignmentScore(0.0, 1.0, 1.0)
