"""What an aligner may be set to, and what is said of anything else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aligners import SWITCHES

from weam_ext.align.aligner import Aligner
from weam_ext.align.settings import checked
from weam_ext.common.errors import InputError

HMM_TOO = {"iterations", "p0", "alpha", "max_length", "max_memory", "threads", "memory", "temp_dir"}


def test_settings_are_checked() -> None:
    huge, nan = 10**400, float("nan")
    bad: list[tuple[str, Any]] = [
        *(("iterations", value) for value in (2.5, "2", True, 2**31, nan, [2], "auto")),
        *(
            (name, value)
            for name in ("p0", "alpha", "tension")
            for value in ("x", object(), True, [0.1], huge, -huge, nan, "auto", 0.05j)
        ),
        *((name, value) for name in SWITCHES for value in (1, 0.0, "yes", [], "auto")),
        *(("max_length", value) for value in (2.5, "3", None, True)),
        *(("max_memory", value) for value in (2.5, "1G", True, -1, 2**63)),
        *(("threads", value) for value in (1.5, "2", True, -1, 2**31)),
        *(("memory", value) for value in (None, 3, ["low"])),
        *(("temp_dir", value) for value in (3, ["/tmp"])),
        ("iterations", 0),
        ("p0", -0.1),
        ("p0", 1.0),
        ("p0", float("nan")),
        ("tension", 0.0),
        ("tension", 14.1),
        ("alpha", 0.0),
        ("alpha", float("inf")),
        ("tension", 1e-7),
        ("alpha", 1e7),
        ("max_length", -1),
        ("max_length", 2**31),
        ("max_memory", 0),
        ("memory", "files"),
        ("threads", 0),
    ]
    for name, value in bad:
        with pytest.raises(InputError, match=f"^{name} must be"):
            Aligner(model="fast-align", **{name: value})
    with pytest.raises(InputError, match="unknown heuristic 'diag'; there are intersect, union"):
        Aligner(model="fast-align", heuristic="diag")
    odd: list[Any] = [3, ["union"], ("forward", "backward"), "", np.array(["union"])]
    for each in odd:
        with pytest.raises(InputError, match="unknown heuristic"):
            Aligner(heuristic=each)
        with pytest.raises(InputError, match="model must be one of"):
            Aligner(model=each)
    for name, value in bad:
        if name in HMM_TOO and value != "auto":
            with pytest.raises(InputError, match=f"^{name} must be"):
                Aligner(**{name: value})
    hmm: list[tuple[str, Any]] = [
        *(("threshold", value) for value in (7, -0.1, nan, "0.5", True, "auto")),
        *(("spelling", value) for value in (-1, nan, "x", True, huge)),
        *(("fertility", value) for value in (1, "on", 0.0)),
        *(("fold_case", value) for value in (1, "on", "auto")),
    ]
    for name, value in hmm:
        with pytest.raises(InputError, match=f"^{name} must be"):
            Aligner(**{name: value})
    stems: list[Any] = [3, [3], ["words", 3], 2.5, b"words", [["words"]]]
    for each in stems:
        with pytest.raises(InputError, match="stems are words"):
            Aligner(stems=each)


def test_numbers_of_numpy_are_settings() -> None:
    aligner = Aligner(
        iterations=np.int64(2),
        p0=np.float32(0.25),
        fold_case=np.bool_(False),
        max_length=np.uint8(9),
    )  # type: ignore[call-overload]
    assert aligner.settings["iterations"] == 2
    assert aligner.settings["p0"] == 0.25
    assert aligner.settings["fold_case"] is False
    assert aligner.fit(["a b"], ["c d"]).align(["a"], ["c"])


def test_what_cannot_be_meant() -> None:
    for options, fault in (
        ({"model": "ibm1"}, "model must be one of hmm, fast-align"),
        ({"tension": 3.0}, "tension is no setting of hmm"),
        ({"model": "fast-align", "stems": "words"}, "stems is no setting of fast-align"),
        ({"model": "fast-align", "heuristic": "posterior"}, "unknown heuristic"),
        ({"stems": "prefix:0"}, "stems are words, prefix:N or suffix:N, not 'prefix:0'"),
        ({"stems": []}, "each once"),
        ({"stems": "words,words"}, "each once"),
        ({"threshold": 1.0}, "threshold must be at least 0 and below 1"),
        ({"alpha": 0.0}, "alpha must be above 0"),
    ):
        with pytest.raises(InputError, match=fault):
            Aligner(**options)  # type: ignore[arg-type]
    other = Aligner(model="fast-align").fit(["a"], ["b"])
    with pytest.raises(InputError, match="is of fast-align, not hmm"):
        Aligner().fit(["a"], ["b"], init=other)
    with pytest.raises(InputError, match="holds no model of hmm"):
        Aligner(heuristic="forward").fit(["a"], ["b"]).parameters_text()
    with pytest.raises(RuntimeError, match="call fit first"):
        Aligner().align(["a"], ["b"])
    with pytest.raises(ValueError, match="no sentence pair to learn from: 1 with an empty side"):
        Aligner().fit(["a"], [""])


def test_paths_are_given_back_as_strings() -> None:
    assert checked("directory", Path("a")) == "a"
    with pytest.raises(InputError, match="path must be a file"):
        checked("path", "a\0b")
