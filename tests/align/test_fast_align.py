"""fast_align's model behind an aligner: its directions, and what it is restored from."""

import pytest

from weam_ext import Aligner
from weam_ext.align.fast_align import FastAlign
from weam_ext.align.records import Reading
from weam_ext.align.settings import DIRECTIONS


def test_directions() -> None:
    model = FastAlign(FastAlign.DEFAULTS)
    assert [model.directions(name) for name in ("backward", "union")] == [("backward",), DIRECTIONS]
    assert [name for name in FastAlign.HEURISTICS if model.is_reversed(name)] == ["backward"]
    assert not model.trained and model.native is None


@pytest.mark.parametrize("heuristic", ["forward", "union"])
def test_what_is_kept_of_it_restores_it(heuristic: str) -> None:
    aligner = Aligner(model="fast-align", heuristic=heuristic).fit(["a b", "a"], ["x y", "x"])
    model = aligner.state().model
    kept = Reading(model.description())
    again = FastAlign.restored(model.settings, heuristic, kept, model.arrays())
    assert again.description() == model.description()
    with pytest.raises(ValueError, match="entries"):
        FastAlign.restored(
            model.settings, "union" if heuristic == "forward" else "forward", kept, model.arrays()
        )
