"""Data sets by their names on the Hugging Face hub."""

from typing import Any

import pytest

from weam_ext.common.errors import InputError
from weam_ext.transfer import hub
from weam_ext.transfer.families.formats import Part
from weam_ext.transfer.tasks import TASKS


def test_sets_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def load_dataset(name: str, configuration: str) -> dict[str, list[dict[str, Any]]]:
            assert name == "facebook/xnli"
            row = {"premise": f"a {configuration}", "hypothesis": "b", "label": 1}
            return {"train": [row], "validation": [row, row], "test": [row]}

    monkeypatch.setattr(hub.importlib, "import_module", lambda name: Library)
    found = hub.read_hub(TASKS["xnli"], ["de"], "en")
    assert {p: len(x) for p, x in found.items()} == {
        Part("train", "en"): 1, Part("dev", "en"): 2, Part("test", "en"): 1,
        Part("dev", "de"): 2, Part("test", "de"): 1,
    }  # fmt: skip
    assert found[Part("dev", "de")][0].label == "neutral"
    with pytest.raises(InputError, match="udpos: not by name"):
        hub.read_hub(TASKS["udpos"], None, "en")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(hub.importlib, "import_module", absent)
    with pytest.raises(InputError, match=r"pip install 'weam-ext\[hub\]'"):
        hub.read_hub(TASKS["xnli"], None, "en")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"premise": "a", "hypothesis": "b", "label": 7}, "row 0: IndexError"),
        ({"premise": "a", "label": 1}, r"row 0: KeyError\('hypothesis'\)"),
        ({"premise": "a", "hypothesis": "b", "label": None}, "row 0: TypeError"),
    ],
)
def test_rows_that_are_not_as_expected(
    row: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Library:
        @staticmethod
        def load_dataset(name: str, configuration: str) -> dict[str, list[dict[str, Any]]]:
            return {"test": [row], "other": []}

    monkeypatch.setattr(hub.importlib, "import_module", lambda name: Library)
    with pytest.raises(InputError, match=f"facebook/xnli, de, test, {message}"):
        hub.read_hub(TASKS["xnli"], ["de"], "de")


def test_every_set_is_one_of_the_tasks() -> None:
    assert set(hub.HUB) <= set(TASKS)
    assert all(len({*each.languages}) == len(each.languages) for each in hub.HUB.values())
