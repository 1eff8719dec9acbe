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
    with pytest.raises(InputError, match="gxnli: not by name"):
        hub.read_hub(TASKS["gxnli"], None, "en")


def test_parts_of_speech_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def load_dataset(name: str, configuration: str) -> dict[str, list[dict[str, Any]]]:
            assert name == "google/xtreme" and configuration in ("udpos.English", "udpos.German")
            return {"train": [{"tokens": ["a", "b"], "pos_tags": [5, 7]}]}

    monkeypatch.setattr(hub.importlib, "import_module", lambda name: Library)
    ((part, (sentence,)),) = hub.read_hub(TASKS["udpos"], ["de"], "en").items()
    assert part == Part("train", "en")
    assert (sentence.words, sentence.tags) == (("a", "b"), ("DET", "NOUN"))


def test_one_set_of_all_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def load_dataset(name: str, configuration: str) -> dict[str, list[dict[str, Any]]]:
            assert (name, configuration) == ("google-research-datasets/tydiqa", "secondary_task")
            answers = {"text": ["b"], "answer_start": [2]}
            return {
                "validation": [
                    {"id": f"{language}-1", "context": f"a b {k}", "question": "?"}
                    | {"answers": answers}
                    for language in ("finnish", "english", "telugu")
                    for k in range(2)
                ]
            }

    monkeypatch.setattr(hub.importlib, "import_module", lambda name: Library)
    found = hub.read_hub(TASKS["tydiqa"], ["fi"], "en")
    assert set(found) == {Part("dev", "en"), Part("dev", "fi")}
    for examples in found.values():
        assert len({x.key for x in examples}) == 2 and [x.context[-1] for x in examples] == [
            "0",
            "1",
        ]


@pytest.mark.parametrize(
    ("task", "whole", "bare"),
    [
        ("xnli", {"premise": "a", "hypothesis": "b", "label": 2}, {"label": -1}),
        ("mlqa", {"id": "1", "context": "a", "question": "?",
                  "answers": {"text": ["a"], "answer_start": [0]}},
         {"answers": {"text": [], "answer_start": []}}),
    ],
)  # fmt: skip
def test_rows_without_labels_are_told_of_and_passed_over(
    task: str,
    whole: dict[str, Any],
    bare: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Library:
        @staticmethod
        def load_dataset(name: str, configuration: str) -> dict[str, list[dict[str, Any]]]:
            return {"validation": [whole, whole | bare], "test": [whole | bare]}

    monkeypatch.setattr(hub.importlib, "import_module", lambda name: Library)
    found = hub.read_hub(TASKS[task], ["de"], "de")
    assert {part: len(examples) for part, examples in found.items()} == {Part("dev", "de"): 1}
    told = capsys.readouterr().err
    assert "validation: 1 of 2 rows have no label" in told and "test: 1 of 1 rows" in told


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
