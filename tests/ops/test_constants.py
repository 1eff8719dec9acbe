"""The constants of the operators: lengths of spans, and keys."""

import pytest
import weam_ref.mask

from weam_ext.ops.constants import LONGER, NO_KEY
from weam_ext.ops.philox import threshold


def test_spans_are_spanbert_s() -> None:
    """Joshi et al. 2020: lengths from 1 to 10, geometric with p = 0.2, cut off; 3.8 in the mean."""
    lengths = [0.2 * 0.8 ** (n - 1) / (1 - 0.8**10) for n in range(1, 11)]
    assert pytest.approx([sum(lengths[d:]) for d in range(10)]) == LONGER
    assert LONGER[0] == 1 and sum(LONGER) == pytest.approx(3.8, abs=0.01)
    assert [threshold(longer) for longer in LONGER] == [
        weam_ref.philox.threshold(longer) for longer in weam_ref.mask.LONGER
    ]


def test_no_unit_s_key_is_as_high_as_that_of_what_is_never_masked() -> None:
    """A key is a word of 32 bits above the unit's number of 31."""
    assert (2**32 - 1) << 31 | (2**31 - 2) < NO_KEY < 2**63
