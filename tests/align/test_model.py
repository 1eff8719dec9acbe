"""What every model of an aligner has: settings that are checked, and links with probabilities."""

import numpy as np
import pytest

from weam_ext.align.fast_align import FastAlign
from weam_ext.align.hmm import Hmm
from weam_ext.align.links import Links
from weam_ext.align.model import with_posteriors
from weam_ext.align.settings import AUTO
from weam_ext.common.errors import InputError


def test_what_is_not_given_is_the_default() -> None:
    assert Hmm.checked_settings("hmm", {"p0": None}) == dict(Hmm.DEFAULTS)
    found = Hmm.checked_settings("hmm", {"stems": ["prefix:2", "words"], "p0": np.float32(0.25)})
    assert found == dict(Hmm.DEFAULTS) | {"stems": "prefix:2,words", "p0": 0.25}
    assert type(found["p0"]) is float
    assert Hmm.checked_settings("hmm", {"iterations": AUTO})["iterations"] == AUTO
    with pytest.raises(InputError, match="iterations must be a whole number"):
        FastAlign.checked_settings("fast-align", {"iterations": AUTO})


def test_links_of_nothing_have_probabilities_too() -> None:
    empty = Links(np.zeros(2, np.int64), np.zeros((0, 2), np.int32))
    assert with_posteriors(empty, True).probability is not None
    assert with_posteriors(empty, False).probability is None
