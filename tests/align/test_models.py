"""The models by name, and one of a user's own."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from weam_ext import Aligner, _native
from weam_ext.align import cli
from weam_ext.align.links import Links
from weam_ext.align.model import AlignerModel, Resources, Take, Training
from weam_ext.align.models import MODELS, checked_heuristic, checked_model
from weam_ext.common.errors import InputError


class Diagonal(AlignerModel):
    """Links each word to that of the same position, which training counts."""

    DEFAULTS: ClassVar[Mapping[str, Any]] = {"threshold": 0.5}

    def __init__(self, settings: Any, pairs: int = 0) -> None:
        super().__init__(settings)
        self.pairs = pairs

    @property
    def trained(self) -> bool:
        return self.pairs > 0

    def fit(self, text: _native.Text, training: Training[Self]) -> Self:
        made = type(self)(self.settings, len(text))
        if training.take:
            made.align(text, training.heuristic, training.resources, training.take, False)
        return made

    def align(
        self, text: _native.Text, heuristic: str, resources: Resources, take: Take, posteriors: bool
    ) -> None:
        lengths = np.minimum(*(np.diff(text.sentences(side)[0]) for side in (0, 1)))
        links = Links.from_lists([[(n, n) for n in range(length)] for length in lengths.tolist()])
        take(links, {name: np.zeros(len(text)) for name in self.directions(heuristic)})

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"pairs": np.array([self.pairs])}

    @classmethod
    def restored(
        cls, settings: Any, heuristic: str, description: Any, arrays: dict[str, NDArray[Any]]
    ) -> Self:
        return cls(settings, int(arrays["pairs"][0]))


@pytest.fixture
def own() -> Iterator[str]:
    MODELS.add("diagonal")(Diagonal)
    yield "diagonal"
    del MODELS._added["diagonal"]


def test_a_model_of_ones_own(own: str, tmp_path: Path) -> None:
    aligner = Aligner(model=own)
    with pytest.raises(RuntimeError, match="call fit first"):
        aligner.align(["a"], ["b"])
    expected = [[(0, 0), (1, 1)], [(0, 0)]]
    assert aligner.fit_align(["a b c", "d"], ["x y", "z"]).to_lists() == expected
    assert repr(aligner).endswith("trained=True)")
    aligner.save(tmp_path / "kept")
    loaded = Aligner.load(tmp_path / "kept")
    assert (loaded.kind, loaded.tension) == (own, {})
    assert loaded.align_pair(["a", "new"], ["b"]) == [(0, 0)]
    for use in (lambda: aligner.lexicon(1), lambda: aligner.parameters_text()):
        with pytest.raises(InputError, match="diagonal"):
            use()
    with pytest.raises(InputError, match="p0 is no setting of diagonal"):
        Aligner(model=own, p0=0.1)


def test_its_command_line(own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("a b ||| c d\n ||| e\n")
    cli.main(["-i", str(tmp_path / "text"), "--model", own, "--save", str(tmp_path / "kept")])
    cli.main(["-i", str(tmp_path / "text"), "--model", str(tmp_path / "kept")])
    sys.stdout.flush()
    assert capsys.readouterr().out.splitlines() == ["0-0 1-1", ""] * 2


def test_names_of_models() -> None:
    assert [*MODELS][:2] == ["hmm", "fast-align"] and checked_model("hmm") == "hmm"
    for name in ("HMM", "", None, 1, ["hmm"]):
        with pytest.raises(InputError, match="model must be one of hmm, fast-align"):
            checked_model(name)


def test_heuristics_of_a_model() -> None:
    assert (checked_heuristic("hmm", None), checked_heuristic("fast-align", None)) == (
        "posterior", "grow-diag-final-and",
    )  # fmt: skip
    assert {*MODELS["hmm"].HEURISTICS} - {*MODELS["fast-align"].HEURISTICS} == {"posterior"}
    assert all(checked_heuristic("hmm", name) == name for name in MODELS["hmm"].HEURISTICS)
