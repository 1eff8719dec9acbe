"""Fine-tuning of every family: inputs and outputs, selection, settings, noise, robust rivals."""

import re
from pathlib import Path

import numpy as np
import pytest
from transfer_files import run, small_data, write

from weam_ext.common.errors import InputError
from weam_ext.report.table import Results
from weam_ext.transfer.families.classification import NLI, Classification, Text
from weam_ext.transfer.families.tagging import Sentence, Tagging
from weam_ext.transfer.finetune import Selection, balanced, value
from weam_ext.transfer.results import read_failed

# -------------------------------------------------------------------------------- inputs, outputs


def test_selection_keeps_the_first_best_epoch() -> None:
    selection = Selection()
    for epoch, (english, german) in enumerate([(0.5, 0.1), (0.7, 0.1), (0.7, 0.3)]):
        selection.add(epoch, {"en": english, "de": german})
    assert selection.best == {"en": (0.7, 1), "de": (0.3, 2)}
    assert selection.epochs == {1, 2}


def test_shots_are_balanced_over_classes() -> None:
    pool = [Text(str(k), "a", "b", NLI[min(k % 5, 2)]) for k in range(30)]
    labels = [x.label for x in balanced(pool, 2, Classification(NLI))]
    assert sorted(labels) == sorted(NLI * 2)
    assert len(balanced([Sentence("1", ("a",), ("A",))] * 5, 3, Tagging(("A",), "A"))) == 3


# ------------------------------------------------------------------------------------ whole tasks


@pytest.mark.parametrize("task", ["xnli", "gxnli", "udpos", "xquad", "stsb"])
def test_every_family(task: str, encoder: Path, data: Path, tmp_path: Path) -> None:
    rows = run(encoder, data, tmp_path, "--tasks", task)
    languages = {"en-en", "en-de", "de-en", "de-de"} if task == "gxnli" else {"en", "de"}
    assert {row.language for row in rows} == languages
    assert {row.selection for row in rows} == {"english", "oracle"}
    for row in rows:
        assert len(row.predictions) == len(row.gold) == len(row.keys) == len(row.lengths) > 0
        assert row.facts["trained_on"] and row.facts["best_epoch"]
        assert not list(tmp_path.glob("work/*"))


@pytest.mark.parametrize("task", ["xnli", "udpos", "xcopa", "mlqa"])
def test_test_sets_without_labels_are_predicted_whole_and_not_scored(
    task: str, encoder: Path, tmp_path: Path
) -> None:
    data = small_data(tmp_path / "data")
    write(data / "xnli/test-de.tsv", "a\tb\n\tc\n" * 6)
    write(data / "udpos/test-de.tsv", "a\nb\n\nc\n")
    path = data / "xcopa/de/test.de.jsonl"
    path.write_text((path.read_text() * 2).replace('"label": 1', '"label": 0'))
    text = (data / "xquad/xquad.de.json").read_text()
    for code in ("en", "de"):
        write(data / f"mlqa/dev-context-{code}-question-{code}.json", text)
    bare_text = re.sub('"text": ".*?"', '"text": ""', text)
    write(data / "mlqa/test-context-de-question-de.json", bare_text)
    size = {"xnli": 12, "udpos": 2, "xcopa": 16, "mlqa": 12}[task]
    rows = run(encoder, data, tmp_path / "out", "--tasks", task, "--train-on-dev")
    (bare,) = [row for row in rows if row.split == "unlabelled"]
    assert (bare.language, bare.selection, len(bare.predictions)) == ("de", "english", size)
    assert all(len(part) == 0 for part, _ in bare.metrics.values())
    assert {row.language for row in rows if row.split == "test"} >= {"de"}
    assert all(row.split == "test" for row in Results(rows).rows)
    more = "--train-on-dev", "--test-limit", "4"  # no whole set is wanted then
    rows = run(encoder, data, tmp_path / "few", "--tasks", task, *more)
    assert {row.split for row in rows} == {"test"}


def test_something_is_learnt(encoder: Path, data: Path, tmp_path: Path) -> None:
    rows = run(encoder, data, tmp_path, "--tasks", "udpos", "--epochs", "15",
               "--learning-rate", "1e-2", "--languages", "en")  # fmt: skip
    part, whole = rows[0].metrics["accuracy"]
    assert part.sum() / whole.sum() > 0.7  # a quarter by chance
    assert len(rows[0].facts["selection_scores"]) == 15


def test_choices_are_trained_on_a_development_set(
    encoder: Path, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no training set of en"):
        run(encoder, data, tmp_path, "--tasks", "xcopa")
    rows = run(encoder, data, tmp_path, "--tasks", "xcopa", "--train-on-dev")
    assert rows[0].facts["train"] == "a part of the development set of en"
    assert not list(read_failed(tmp_path)) or len({r.cell.identity for r in rows}) == 1


def test_the_same_seed_gives_the_same_bytes(encoder: Path, data: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(encoder, data, tmp_path / name, "--tasks", "xnli")
    one, two = (next((tmp_path / name / "cells").glob("*.arrow")) for name in ("one", "two"))
    assert one.name == two.name and one.read_bytes() == two.read_bytes()


def test_settings(encoder: Path, data: Path, tmp_path: Path) -> None:
    rows = run(encoder, data, tmp_path, "--tasks", "xnli", "--settings", "zero-shot",
               "translate-train", "translate-train-all", "few-shot-2")  # fmt: skip
    by_setting: dict[str, set[str]] = {}
    for row in rows:
        by_setting.setdefault(row.cell.setting, set()).add(row.language)
    assert by_setting == {
        "zero-shot": {"en", "de"},
        "translate-train": {"de"},
        "translate-train-all": {"en", "de"},
        "few-shot-2": {"de"},
    }
    trained = {row.cell.setting: row.facts["trained_on"] for row in rows}
    assert trained["translate-train-all"] == 2 * trained["zero-shot"]
    (shots,) = {row.notes["shots"] for row in rows if row.cell.setting == "few-shot-2"}
    assert shots == 6


def test_translations_that_are_missing(encoder: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no translated training set of de"):
        run(encoder, data, tmp_path, "--tasks", "udpos", "--settings", "translate-train")


def test_a_checkpoint_that_takes_fewer_tokens(encoder: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes fewer tokens than the 512"):
        run(encoder, data, tmp_path, "--tasks", "xnli", "--max-length", "512")


def test_correlations_as_scipy() -> None:
    from scipy import stats

    generator = np.random.default_rng(0)
    gold = generator.integers(0, 6, 50).astype(float)
    found = gold + generator.normal(0, 2, 50)
    texts = [repr(float(x)) for x in gold], [repr(float(x)) for x in found]
    assert value("pearson", [], *texts) == pytest.approx(stats.pearsonr(gold, found)[0])
    assert value("spearman", [], *texts) == pytest.approx(stats.spearmanr(gold, found)[0])
    assert value("spearman", [], ["1", "2"], ["3", "3"]) == 0.0
