"""The claims: what is supported, what is not, and what cannot be told."""

from pathlib import Path
from typing import Any

import pytest
from report_files import cells, many

from weam_ext.common.errors import InputError
from weam_ext.report.claims import Judge, roles_of
from weam_ext.report.statistics import (
    BETTER,
    CHECKPOINTS,
    NOT_SUPPORTED,
    ONE_SEED,
    SUPPORTED,
    UNDECIDED,
    UNTESTABLE,
)
from weam_ext.report.table import Results, gains
from weam_ext.transfer.results import read_all

LIMITED = SUPPORTED + CHECKPOINTS
"""What seeds of fine-tuning alone can show."""


def claims(output: Path, **roles: str) -> dict[int, list[Any]]:
    results = Results(read_all(output))
    found: dict[int, list[Any]] = {}
    for claim in Judge(results, roles_of(results.models, roles)).claims():
        found.setdefault(claim.number, []).append(claim)
    return found


def test_claims_that_can_be_tested(tmp_path: Path) -> None:
    cells(tmp_path, "mbert", many(0.5, 0))
    cells(tmp_path, "tlm", many(0.7, 1))
    cells(tmp_path, "weam", many(0.9, 2))
    cells(tmp_path, "weam", many(0.9, 3), setting="translate-train")
    cells(tmp_path, "mlqa-model", ["1" * 30], task="mlqa", languages=("en",))
    found = claims(tmp_path)
    assert set(found) == set(range(1, 13))
    assert found[1][0].verdict == LIMITED  # 20 points, more than the two of a large margin
    assert found[2][0].verdict == UNTESTABLE and "translate-train" in found[2][0].reason
    assert found[3][0].verdict == LIMITED and found[3][1].verdict == UNTESTABLE
    assert found[4][0].reason == "because no model is word-aligned (--role)"
    assert found[5][0].verdict == LIMITED
    assert "points" in found[5][0].figure and found[5][0].interval.startswith("[+")
    assert found[6][0].verdict == UNDECIDED
    assert found[7][0].figure.startswith("3005 against 155 characters")
    assert found[7][0].verdict == NOT_SUPPORTED
    assert found[9][0].figure == "1 of 1 equal"
    assert found[10][0].verdict == found[11][0].verdict == found[12][0].verdict == SUPPORTED


SAME = {"step": 12, "steps": 16, "batch_size": None, "batch_tokens": 4096}


@pytest.mark.parametrize(
    ("weam", "figure", "named"),
    [
        ({}, "5 of 5 equal", "lr, step, steps, batch_size, batch_tokens of tlm, weam"),
        ({"step": 16}, "4 of 5 equal", "step of tlm, weam"),
        ({"batch_size": 32, "batch_tokens": None}, "3 of 5 equal", "batch_size, batch_tokens of "),
        ({"lr": None}, "4 of 5 equal", "lr of tlm, weam"),
        ({"text": "another"}, "5 of 6 equal", "text of tlm, weam"),
    ],
)
def test_claim_9_compares_what_was_done(
    tmp_path: Path, weam: dict[str, Any], figure: str, named: str
) -> None:
    cells(tmp_path, "tlm", ["1101"], training=SAME)
    cells(tmp_path, "weam", ["1101"], training=SAME | weam)
    (claim,) = claims(tmp_path)[9]
    assert (claim.figure, claim.verdict) == (figure, NOT_SUPPORTED if weam else SUPPORTED)
    assert claim.reason.startswith(named)


def test_claim_9_compares_every_pre_training_seed(tmp_path: Path) -> None:
    cells(tmp_path, "tlm", ["1101"], training=SAME)
    cells(tmp_path, "weam", ["1101"], training=SAME)
    cells(tmp_path, "weam", ["1100"], training=SAME | {"step": 13}, sha="b", directory="/runs/b")
    assert claims(tmp_path)[9][0].reason.startswith("step of tlm, weam")


def test_no_verdict_on_fine_tuning_with_one_seed(tmp_path: Path) -> None:
    for seeds, settled in ((1, False), (3, True)):
        output = tmp_path / str(seeds)
        cells(output, "tlm", many(0.5, 1)[:1])
        cells(output, "weam", many(0.9, 2)[:seeds])
        claim = claims(output)[5][0]
        assert claim.verdict == (LIMITED if settled else UNTESTABLE)
        assert settled or claim.reason.startswith("because neither model has a second seed")
        results = Results(read_all(output))
        (condition,) = results.find(selection="english")
        mean, *_ = gains(results, condition, "weam", "tlm")
        said = BETTER + CHECKPOINTS if settled else f"{UNTESTABLE}: {ONE_SEED}"
        assert mean.verdict(0.001) == said


def test_a_large_margin_is_more_than_any(tmp_path: Path) -> None:
    base = many(0.60, 0)
    cells(tmp_path, "a", base)
    better = [bits[:12].replace("0", "1") + bits[12:] for bits in base]  # about one point
    cells(tmp_path, "b", better)
    (claim,) = claims(tmp_path, base="a", tlm="b")[1]
    assert claim.estimate is not None and 0 < claim.estimate.value < 0.02
    assert not claim.verdict.startswith(SUPPORTED)


def test_who_is_who_is_told_by_names_but_for_what_is_given() -> None:
    models = ["mBERT", "TLM", "weam", "wordaligned", "mine"]
    found = roles_of(models, {"weam": "mine"})
    assert found == {"base": "mBERT", "tlm": "TLM", "weam": "mine", "word-aligned": "wordaligned"}
    assert roles_of([], {}) == {}


@pytest.mark.parametrize(
    "given, said", [({"wem": "weam"}, "no such role"), ({"weam": "nosuch"}, "no results of that")]
)
def test_a_role_or_a_model_that_there_is_not(given: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        roles_of(["weam"], given)


def test_claim_7_counts_a_text_once(tmp_path: Path) -> None:
    """However many models and seeds took it: else the interval would be too narrow."""
    intervals = []
    for models in (1, 3):
        output = tmp_path / str(models)
        for k in range(models):
            cells(output, f"m{k}", ["1" * 10] * models)
            cells(output, f"m{k}", ["1" * 8] * models, task="mlqa")
        intervals.append(claims(output)[7][0].interval)
    assert intervals[0] == intervals[1]


def test_several_encoders_make_a_verdict_about_the_objective(tmp_path: Path) -> None:
    cells(tmp_path, "mbert", many(0.5, 0))
    for k, hits in enumerate(many(0.9, 1)):
        cells(tmp_path, "weam", [hits], sha=str(k), directory=f"/{k}")
    assert claims(tmp_path)[3][0].verdict == SUPPORTED
    results = Results(read_all(tmp_path))
    mean, *_ = gains(results, results.find(selection="english")[0], "weam", "mbert")
    assert mean.verdict(0.001) == BETTER


def test_a_claim_over_tasks_is_not_supported_where_one_contradicts_it(tmp_path: Path) -> None:
    """Five languages of one task gain; the one of the other loses: each task weighs a half."""
    many_languages = ("de", "fr", "es", "ru", "tr")
    for model, share in (("mbert", 0.4), ("weam", 0.9)):
        cells(tmp_path, model, many(share, len(model)), task="udpos", languages=many_languages)
    for model, share in (("mbert", 0.6), ("weam", 0.45)):
        cells(tmp_path, model, many(share, len(model)), task="pawsx", languages=("de",))
    claim = claims(tmp_path)[3][0]
    assert claim.estimate.value == pytest.approx(0.5 * 0.5 - 0.5 * 0.15, abs=0.03)
    assert claim.estimate.low > 0  # the mean alone would have been called supported
    assert claim.verdict == UNDECIDED and "contradicted by pawsx" in claim.reason
    assert "udpos +" in claim.reason and "pawsx -" in claim.reason


def test_what_no_model_learnt_is_no_part_of_a_claim(tmp_path: Path) -> None:
    """A quarter of four labels is chance."""
    for model, share in (("mbert", 0.5), ("weam", 0.9)):
        cells(tmp_path, model, many(share, len(model)), task="udpos")
        cells(tmp_path, model, many(0.24, len(model)), task="sib200")
    claim = claims(tmp_path)[3][0]
    assert claim.estimate.value == pytest.approx(0.4, abs=0.03) and [*claim.tasks] == ["udpos"]
    assert "sib200 is left out, which neither model learnt" in claim.reason


def test_claims_leave_english_out(tmp_path: Path) -> None:
    for model, share in (("mbert", 0.5), ("weam", 0.9)):
        cells(tmp_path, model, many(share, len(model)), languages=("en",))
    assert claims(tmp_path)[3][0].verdict == UNTESTABLE


def test_a_claim_says_what_seeds_it_leaves_out(tmp_path: Path) -> None:
    cells(tmp_path, "mbert", many(0.5, 0), languages=("de", "fr"))
    cells(tmp_path, "weam", many(0.9, 2)[:2], languages=("de", "fr"))
    cells(tmp_path, "weam", many(0.9, 2), noises=["x"])  # German alone
    claim = claims(tmp_path)[3][0]
    assert claim.verdict == LIMITED
    assert "; 1 seed that not all test sets have is left out" in claim.reason
