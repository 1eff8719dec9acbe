"""Members of a description are what they must be, or it is said which is not."""

import pytest

from weam_ext import Aligner
from weam_ext.align.records import Reading, described, measured


def test_members_are_of_their_kind() -> None:
    reading = Reading({"n": 1, "x": 2.5, "b": True, "list": [1, 2.5], "in": {"n": 3}, "inf": 1e999})
    assert (reading.take("n", int), reading.number("x"), reading.within("in").number("n")) == (
        1, 2.5, 3.0,
    )  # fmt: skip
    assert reading.numbers("list", 2) == [1.0, 2.5] and reading.take("b", bool) is True
    for wrong in (
        lambda: reading.take("b", int),
        lambda: reading.take("absent", str),
        lambda: reading.number("inf"),
        lambda: reading.numbers("list", 3),
        lambda: reading.within("n"),
        lambda: Reading([]),
    ):
        with pytest.raises(ValueError, match=r"missing|finite|entries|object"):
            wrong()


def test_measures_are_read_as_they_are_written() -> None:
    model = Aligner(model="fast-align").fit(["a b"], ["x y"]).model
    tension, ratio, nulls, history = measured(Reading(described(model)), 2)
    assert (tension, ratio, nulls) == (
        [*model.tension], [*model.length_ratio], [*model.null_totals],
    )  # fmt: skip
    assert [len(row) for row in history] == [5, 5]
