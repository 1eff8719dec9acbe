"""Fine-tuning of every family: inputs and outputs, selection, settings, noise, robust rivals."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transfer_files import run, small_data, write

from weam_ext.common.errors import InputError
from weam_ext.report.table import Results
from weam_ext.transfer.families.classification import NLI, Classification, Text
from weam_ext.transfer.families.tagging import Sentence, Tagging
from weam_ext.transfer.finetune import FineTuning, Plan, Selection, Setting, balanced, value
from weam_ext.transfer.results import read_failed
from weam_ext.transfer.tasks import TASKS, Limits, Recipe, assign, read_task

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


# ----------------------------------------------------------------------------------------- a GPU's


RECIPE = Recipe(learning_rate=1e-3, epochs=1, max_length=64, batch_size=2, warmup=0)


def tuning_of(encoder: Path, data: Path, work: Path, name: str, **plan: Any) -> Any:
    """A fine-tuning, and its task's examples; "cuda" takes the way of a GPU on any machine."""
    task = TASKS[name]
    examples = assign(task, read_task(task, data, None, "en"), None, "en", Limits(), True)
    chosen = Plan(Setting("zero-shot"), RECIPE, "en", 0, **plan)
    return FineTuning(encoder, task.family(), chosen, work), examples


class HostReads(TorchDispatchMode):
    """Counts the values that the host reads, for each of which it would wait for a GPU."""

    number = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, given: Any = (), named: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        self.number += name in ("_local_scalar_dense", "nonzero", "is_nonzero")
        return function(*given, **(named or {}))


FAMILIES = ["xnli", "udpos", "xquad", "xcopa", "stsb"]


@pytest.mark.parametrize("way", ["plain", "adversarial"])
@pytest.mark.parametrize("task", FAMILIES)
def test_no_step_reads_a_value_to_the_host(
    task: str, way: str, encoder: Path, data: Path, tmp_path: Path
) -> None:
    tuning, examples = tuning_of(encoder, data, tmp_path, task, way=way, device="cuda")
    reads = []
    for times in (1, 3):
        with HostReads() as seen:
            tuning._train(examples.train[:4] * times, {}, 1)
        reads.append(seen.number)
    assert reads[0] == reads[1] <= 3  # two seeds, and the sum of the losses


@pytest.mark.parametrize("task", FAMILIES)
def test_a_prediction_stays_on_its_device(
    task: str, encoder: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's meta device stands for a GPU: it has no values that could be read."""
    tuning, examples = tuning_of(encoder, data, tmp_path, task, device="cuda")
    rows = tuning.family.encode(tuning.tokenizer, examples.train[:3], 64)
    expected = [found.shape for found in tuning._forward(rows)]
    tuning.model.to("meta")
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda _, *given: autocast("cpu", *given))
    found = tuning._forward(rows)
    assert [each.shape for each in found] == expected
    assert {each.device.type for each in found} == {"meta"}


@pytest.mark.parametrize("task", FAMILIES)
def test_the_way_of_a_gpu_predicts_the_same(
    task: str, encoder: Path, data: Path, tmp_path: Path
) -> None:
    outputs = {}
    for device, precision in (("cpu", "fp32"), ("cuda", "fp32"), ("cuda", "bf16-autocast")):
        plan = {"device": device, "precision": precision}
        tuning, examples = tuning_of(encoder, data, tmp_path, task, **plan)
        tuning.plan = replace(tuning.plan, recipe=replace(RECIPE, batch_size=1))
        tuning.model.eval()
        rows = tuning.family.encode(tuning.tokenizer, examples.train, 64)
        if device == "cuda":
            sizes = [len(members) for members in tuning._batches(rows)]
            assert sum(sizes) == len(rows) and max(sizes) > 2
        found = tuning._outputs(rows)
        pairs = found if task == "xquad" else [found]
        width = {"udpos": 4, "xquad": 4}.get(task)  # of what no padding is in
        outputs[device, precision] = np.concatenate([x[:width] for p in pairs for x in p])
    exact, same, half = outputs.values()
    np.testing.assert_allclose(same, exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(half, exact, atol=0.02)
    assert not np.array_equal(half, exact)


def test_on_a_gpu_examples_alike_in_length_are_trained_on_together(
    encoder: Path, data: Path, tmp_path: Path
) -> None:
    tuning, examples = tuning_of(encoder, data, tmp_path, "xnli", device="cuda")
    short, long = (replace(examples.train[0], key=str(n), first="a " * n) for n in (2, 40))
    rows = tuning.family.encode(tuning.tokenizer, [short, long] * 20, 64)
    lengths = [
        set(batch["attention_mask"].sum(1).tolist())
        for batch in tuning._trainer(rows, 1, []).get_train_dataloader()
    ]
    assert len(lengths) == 20 and sum(len(each) > 1 for each in lengths) <= 2


def test_choices_of_different_lengths(encoder: Path, data: Path, tmp_path: Path) -> None:
    tuning, examples = tuning_of(encoder, data, tmp_path, "xcopa")
    some = [replace(x, choices=("a", "a b c d")) for x in examples.train]
    assert len(tuning.predict(some)) == len(some)
