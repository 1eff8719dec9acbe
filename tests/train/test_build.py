"""The parts of a run, and what they refuse to be built from."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from runs import SMALL, flags, logged, refusal, write_inputs

from weam_ext.common.errors import InputError
from weam_ext.common.ranks import Ranks
from weam_ext.text.tokenizer import fingerprint, wordpiece
from weam_ext.text.toy_corpus import vocabulary
from weam_ext.train import loop as train
from weam_ext.train.build import (
    check_share,
    keep_initial,
    run_languages,
    run_model,
    run_sources,
    run_tokenizer,
)
from weam_ext.train.run_directory import open_run
from weam_ext.train.settings import GPU_BATCH_TOKENS, TrainSettings, parse


def test_too_few_pairs(tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path, pairs=4)
    said = refusal(flags(inputs, tmp_path / "run"))
    assert "too few pairs or sentences to hold a tenth out: 8 read, 0 empty, 0 over-long" in said


def test_batches_of_too_few_tokens(inputs: Path, tmp_path: Path) -> None:
    said = refusal(flags(inputs, tmp_path / "run", batch_tokens=5))
    number = int(said.removeprefix("--batch-tokens must be at least ").partition(":")[0])
    assert said.endswith(f"the longest sample has {number}")
    assert "must be at least" in refusal(flags(inputs, tmp_path / "run", batch_tokens=number - 1))
    train.main(flags(inputs, tmp_path / "run", batch_tokens=number, steps=1))


def test_a_batch_larger_than_all_the_text_holds_its_pairs_many_times(tmp_path: Path) -> None:
    """Nothing is cut: the batch is as full as any other, and each time a pair has its own masks."""
    inputs = write_inputs(tmp_path, pairs=16)
    run = tmp_path / "run"
    train.main(flags(inputs, run, batch_tokens=GPU_BATCH_TOKENS, steps=None))
    assert logged(run, "train")[-1]["loss"] > 0
    settings = parse(flags(inputs, tmp_path / "again", batch_tokens=GPU_BATCH_TOKENS))
    trainer = train.Trainer(settings, *open_run(settings), Ranks())
    _, [request] = trainer.train_step()
    assert 0.8 * GPU_BATCH_TOKENS < request.padded <= GPU_BATCH_TOKENS
    samples, ordinals = (set(each) for each in zip(*request.members, strict=True))
    assert len(samples) <= trainer.pairs < 32
    assert len(ordinals) == len(request.members) > 100


def test_the_built_in_text(tmp_path: Path) -> None:
    built_in = TrainSettings()
    names = [source.name for source in run_sources(built_in, tmp_path)]
    assert len(names) == len({*names}) > 1
    languages = run_languages(built_in, tmp_path)
    assert languages == sorted(f"{name}:{side}" for name in names for side in ("source", "target"))


def test_the_languages_of_a_prepared_directory_are_those_of_its_texts(
    inputs: Path, whole: Path, tmp_path: Path
) -> None:
    given = TrainSettings(prepared=whole / "prepared", model="x")
    assert run_languages(given, tmp_path) == ["toku:source", "toku:target", "venn:source",
                                              "venn:target"]  # fmt: skip


def test_a_run_keeps_the_tokenizer_that_it_began_with(inputs: Path, tmp_path: Path) -> None:
    given = TrainSettings(tokenizer=str(inputs / "vocab.txt"))
    first = run_tokenizer(given, tmp_path, Ranks())
    again = run_tokenizer(TrainSettings(tokenizer="/no/such"), tmp_path, Ranks())
    expected = wordpiece(vocabulary(), "built-in")
    assert fingerprint(first) == fingerprint(again) == fingerprint(expected)


def test_weights_follow_the_seed(inputs: Path) -> None:
    tokenizer = wordpiece(vocabulary(), "built-in")

    def weights(**given: Any) -> Any:
        named = {"model_config": str(inputs / "model.json"), "tokenizer": "x"}
        model = run_model(TrainSettings(**named, **given), tokenizer, None)
        assert model.config.hidden_size == SMALL["hidden_size"]
        return next(model.parameters())

    assert (weights(seed=1) == weights(seed=1)).all()
    assert (weights(seed=1) != weights(seed=2)).any()


def test_the_first_model_is_kept_until_the_run_goes_on(tmp_path: Path) -> None:
    class Model:
        def __init__(self, number: int) -> None:
            self.number = number

        def save_pretrained(self, part: Path) -> None:
            (part / "x").write_text(str(self.number))

    for number, resumed in ((1, None), (2, None), (3, tmp_path)):
        keep_initial(Model(number), tmp_path, resumed, Ranks())
    assert (tmp_path / "initial" / "x").read_text() == "2"


def test_a_batch_for_every_process() -> None:
    check_share(TrainSettings(batch_size=2), 2)
    check_share(TrainSettings(batch_size=1, batch_tokens=9), 2)
    with pytest.raises(InputError, match="--batch-size must be at least 3 for 3 processes"):
        check_share(TrainSettings(batch_size=2), 3)


def test_prepared_with_other_settings_than_the_record_says(
    inputs: Path, whole: Path, tmp_path: Path
) -> None:
    arguments = flags(inputs, tmp_path / "run", steps=1, max_length=100)
    train.main(arguments)
    shutil.rmtree(tmp_path / "run" / "prepared")
    shutil.copytree(whole / "prepared", tmp_path / "run" / "prepared")
    assert refusal(arguments).endswith("prepared: has other settings than the run; remove it")
