"""A run's settings: what is refused at once, and what a run knows again by its content."""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from runs import STEPS, contents, ends_in, flags, log, logged, refusal, write_inputs
from safetensors.torch import load_file, save_file
from small_tokenizers import tokenizer
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
)

from weam_ext.align import atools
from weam_ext.align import cli as align_command
from weam_ext.common.errors import InputError
from weam_ext.common.files import LOCK, read_record, write_record
from weam_ext.common.settings import identity
from weam_ext.data.shards import data_digest, read_description
from weam_ext.prepare import cli as prepare_command
from weam_ext.prepare import pipeline
from weam_ext.report import cli as report_command
from weam_ext.text.bitext import parse_bitext
from weam_ext.train import build, settings
from weam_ext.train import loop as train
from weam_ext.train.checkpoint import checkpoints, load_state
from weam_ext.train.settings import parse
from weam_ext.transfer import cli as transfer_command

Flags = list[str]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs that no test changes, a prepared directory and a model with its tokenizer."""
    directory = write_inputs(tmp_path_factory.mktemp("original"))
    prepare_command.main(
        ["--bitext", str(directory / "toku.txt"), "--bitext", str(directory / "venn.txt"),
         "--tokenizer", str(directory / "vocab.txt"), "--heldout", "8", "--aligner", "fast-align",
         "--max-length", "100", "--limit", "55", "--output", str(directory / "done")]
    )  # fmt: skip
    save_model(directory / "bert")
    return directory


def save_model(directory: Path, family: str = "WordPiece", seed: int = 0, **more: Any) -> None:
    made = tokenizer(family)
    torch.manual_seed(seed)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32, "max_position_embeddings": 128}  # fmt: skip
    BertForMaskedLM(BertConfig(vocab_size=len(made), **(small | more))).save_pretrained(directory)
    made.save_pretrained(directory)


@pytest.fixture
def inputs(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(original, tmp_path / "inputs"))


def of_prepared(inputs: Path, run: Path, name: str = "done", **changes: Any) -> Flags:
    settings = {"prepared": inputs / name, "heldout": None, "aligner": None, **changes}
    return flags(inputs, run, **settings)[4:]


def stopped(arguments: Flags, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies in its fifth step, with a checkpoint of the fourth."""
    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer, "train_step", ends_in(5))
        with pytest.raises(KeyboardInterrupt):
            train.main(arguments)


def run_yaml(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((run / "run.yaml").read_text())
    return found


def replace_text(path: Path) -> None:
    """The same words in another order of lines."""
    path.write_text("".join(reversed(path.read_text().splitlines(True))))


# --------------------------------------------------------------------------- known by their content


@pytest.mark.parametrize("prepared", [False, True])
def test_a_run_goes_on_when_its_files_have_moved(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: bool
) -> None:
    make: Callable[..., Flags] = of_prepared if prepared else flags
    arguments = make(inputs, tmp_path / "whole")
    train.main(arguments)
    run = tmp_path / "run"
    stopped(make(inputs, run), monkeypatch)
    moved = inputs.rename(tmp_path / "elsewhere")
    train.main(make(moved, run))
    assert log(run) == log(tmp_path / "whole")
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert contents(run)[name] == contents(tmp_path / "whole")[name]


def test_files_that_are_gone_are_not_needed(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has prepared its text, and keeps its tokenizer."""
    arguments = flags(inputs, tmp_path / "run")
    stopped(arguments, monkeypatch)
    shutil.rmtree(inputs)
    train.main(arguments)
    assert len(logged(tmp_path / "run", "train")) == STEPS


def test_a_lost_preparation_is_made_anew_of_the_same_text_alone(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.main(flags(inputs, tmp_path / "whole"))
    run = tmp_path / "run"
    stopped(flags(inputs, run), monkeypatch)
    shutil.rmtree(run / "prepared")
    shutil.copytree(inputs, tmp_path / "other")
    replace_text(tmp_path / "other" / "toku.txt")
    assert "holds a run with bitext" in refusal(flags(tmp_path / "other", run))
    train.main(flags(inputs, run))
    assert log(run) == log(tmp_path / "whole")


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_weights(path: Path) -> None:
    tensors = load_file(path)
    first = sorted(tensors)[0]
    save_file(tensors | {first: tensors[first] + 1}, path, {"format": "pt"})


EDITS: dict[str, tuple[str, Callable[[Path], object], dict[str, Any]]] = {
    "bitext": ("toku.txt", replace_text, {}),
    "monolingual": ("alone.txt", replace_text, {"monolingual": "alone.txt"}),
    "model_config": ("model.json", lambda p: edit_json(p, hidden_dropout_prob=0.2), {}),
    "tokenizer": ("vocab.txt", lambda p: p.write_text(p.read_text() + "more\n"), {}),
    "model": ("bert/model.safetensors", edit_weights, {"model": "bert", "model_config": None}),
}


@pytest.mark.parametrize("setting", EDITS)
@pytest.mark.parametrize("lost", [False, True])
def test_an_edited_file_is_another_one(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, lost: bool
) -> None:
    """Under the same name, whether or not the run still has what it prepared."""
    name, edit, changes = EDITS[setting]
    changes = {k: inputs / v if v else None for k, v in changes.items()}
    run = tmp_path / "run"
    stopped(flags(inputs, run, **changes), monkeypatch)
    before = contents(run)
    edit(inputs / name)
    if lost:
        shutil.rmtree(run / "prepared")
    said = refusal(flags(inputs, run, **changes))
    assert said.startswith(f"{run}: holds a run with {setting} ")
    assert said.endswith(", with other content; give another --output")
    assert contents(run) == before


def test_another_preparation_under_the_same_name(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    stopped(of_prepared(inputs, run), monkeypatch)
    shutil.rmtree(inputs / "done")
    replace_text(inputs / "toku.txt")
    prepare_command.main(
        ["--bitext", str(inputs / "toku.txt"), "--bitext", str(inputs / "venn.txt"),
         "--tokenizer", str(inputs / "vocab.txt"), "--heldout", "8", "--aligner", "fast-align",
         "--max-length", "100", "--limit", "55", "--output", str(inputs / "done")]
    )  # fmt: skip
    assert "holds a run with prepared" in refusal(of_prepared(inputs, run))


def test_another_preparation_in_the_place_of_the_run_s(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    stopped(flags(inputs, run), monkeypatch)
    replace_text(inputs / "toku.txt")
    train.main(flags(inputs, tmp_path / "other", steps=1))
    shutil.rmtree(run / "prepared")
    shutil.copytree(tmp_path / "other" / "prepared", run / "prepared")
    replace_text(inputs / "toku.txt")
    said = refusal(flags(inputs, run))
    assert said.startswith(f"{run / 'prepared'}: not the text that the run in {run} began with")


def test_the_record_of_a_run_says_what_its_files_hold(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train.main(flags(inputs, run, steps=1))
    content = run_yaml(run)["content"]
    assert set(content) == {"bitext", "model_config", "prepared", "tokenizer"}
    assert content["prepared"] == data_digest(read_description(run / "prepared"))
    assert load_state(checkpoints(run)[-1])["content"] == content


def test_the_digest_of_a_preparation_is_not_of_its_places(inputs: Path) -> None:
    done = read_description(inputs / "done")
    moved = json.loads(json.dumps(done))
    for corpus in moved["corpora"]:
        corpus["paths"] = ["/elsewhere"]
        if "aligner" in corpus:
            corpus["aligner"]["encoder"] = "/elsewhere"
    moved["settings"]["aligner_encoder"] = "/elsewhere"
    assert data_digest(moved) == data_digest(done)
    for change in ({"settings": {}}, {"tokenizer": {}}, {"corpora": []}):
        assert data_digest(done | change) != data_digest(done)


def test_a_run_from_before_a_setting_goes_on_with_its_default(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    stopped(flags(inputs, run), monkeypatch)
    state = checkpoints(run)[-1] / "state.json"
    record = read_record(state)
    del record["settings"]["mask_unit"], record["settings"]["columns"]
    write_record(state, record)
    assert "holds a run with mask_unit" in refusal(flags(inputs, run, mask_unit="word"))
    train.main(flags(inputs, run))
    assert len(logged(run, "train")) == STEPS


# ------------------------------------------------------------------------------ what was prepared


@pytest.mark.parametrize(
    ("given", "had"),
    [
        ({"aligner": "hmm"}, "with aligner fast-align, not hmm"),
        ({"lowercase": True}, "with lowercase False, not True"),
        ({"overlong": "truncate"}, "with overlong drop, not truncate"),
        ({"max_length": 128}, "with max_length 100, not 128"),
        ({"words": "blanks"}, "with words bert, not blanks"),
        ({"heuristic": "union"}, "with heuristic grow-diag-final-and, not union"),
        ({"posteriors": True}, "with posteriors False, not True"),
        ({"heldout": 9}, "with heldout 8, not 9"),
        ({"limit": 60}, "with limit 55, not 60"),
        ({"columns": "2,1"}, "without --columns"),
    ],
)
def test_flags_that_contradict_a_preparation(
    original: Path, tmp_path: Path, given: dict[str, Any], had: str
) -> None:
    said = refusal(of_prepared(original, tmp_path / "run", **given))
    assert said.startswith(f"{original / 'done'}: was prepared {had}: leave out --")
    assert not (tmp_path / "run").exists()


def test_the_settings_of_a_run_are_those_of_its_preparation(original: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    same = {"aligner": "fast-align", "heuristic": "grow-diag-final-and", "limit": 55}
    train.main(of_prepared(original, run, steps=1, seed=3, **same))  # the seed is training's
    has = {"aligner": "fast-align", "max_length": 100, "heldout": 8, "limit": 55,
           "columns": None, "heuristic": "grow-diag-final-and", "lowercase": False,
           "seed": 3}  # fmt: skip
    assert run_yaml(run).items() >= has.items()
    card = (checkpoints(run)[-1] / "README.md").read_text()
    for words in ("\naligner: fast-align\n", "\nmax_length: 100\n", "\nlimit: 55\n"):
        assert words in card
    train.main(["--config", str(run / "run.yaml"), "--output", str(tmp_path / "again")])
    assert contents(tmp_path / "again")["model.safetensors"] == contents(run)["model.safetensors"]


def test_the_command_line_s_text_takes_the_place_of_a_configuration_s(
    original: Path, tmp_path: Path
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"prepared: {original / 'done'}\nmodel: x\n")
    options = settings.parse(["--config", str(config), "--bitext", "a"])
    assert (options.prepared, options.bitext) == (None, (("a",),))
    config.write_text("bitext: [a]\nmonolingual: b\nmodel: x\n")
    options = settings.parse(["--config", str(config), "--prepared", str(original / "done")])
    assert (options.bitext, options.monolingual) == (None, None)


# ------------------------------------------------------------------------- told before the work


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is prepared, and no batch is made."""

    def work(*_: object, **__: object) -> None:
        pytest.fail("told after the work")

    monkeypatch.setattr(build, "prepare", work)
    monkeypatch.setattr(train, "Feed", work)
    yield


def without_head(directory: Path) -> None:
    AutoModelForMaskedLM.from_pretrained(directory).base_model.save_pretrained(directory)


def pickled(directory: Path) -> None:
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()


def of_another_family(directory: Path) -> None:
    config = AlbertConfig(vocab_size=1376, embedding_size=8, hidden_size=16, num_hidden_layers=1,
                          num_attention_heads=2, intermediate_size=32)  # fmt: skip
    AlbertForMaskedLM(config).save_pretrained(directory)


def without_tokenizer(directory: Path) -> None:
    for path in directory.glob("*token*"):
        path.unlink()


MODELS: dict[str, tuple[Callable[[Path], object], dict[str, Any], str]] = {
    "no head": (without_head, {}, "not a masked language model: no weights that fit cls."),
    "pickled": (pickled, {}, "no masked language model there (Error no file named model.safe"),
    "a family that is not supported": (of_another_family, {}, "cannot split a AlbertForMaskedLM"),
    "an unknown family": (
        lambda d: edit_json(d / "config.json", model_type="x"), {}, "no masked language model there"
    ),
    "too long": (lambda _: None, {"max_length": 129}, "takes 128 tokens, fewer than the text's"),
    "no tokenizer": (without_tokenizer, {"tokenizer": None}, ": no tokenizer there (no tok"),
    "layer": (lambda _: None, {"exchange_layer": 2}, "--exchange-layer 2: the model has only 1"),
    "frozen": (lambda _: None, {"freeze_layers": 2}, "--freeze-layers 2: the model has only 1"),
    "all frozen": (
        lambda _: None, {"freeze_layers": 1, "objective": "word-aligned"}, "nothing is left to"
    ),
}  # fmt: skip


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", MODELS)
def test_models_that_cannot_be_trained(inputs: Path, tmp_path: Path, name: str) -> None:
    change, changes, said = MODELS[name]
    change(inputs / "bert")
    given = {"model": inputs / "bert", "model_config": None, **changes}
    assert said in refusal(flags(inputs, tmp_path / "run", **given))


@pytest.mark.usefixtures("no_work")
def test_a_preparation_that_is_too_long_for_the_model(inputs: Path, tmp_path: Path) -> None:
    edit_json(inputs / "model.json", max_position_embeddings=99)
    said = refusal(of_prepared(inputs, tmp_path / "run"))
    assert said.endswith("model.json: the model takes 99 tokens, fewer than the text's "
                         "--max-length 100")  # fmt: skip


@pytest.mark.usefixtures("no_work")
def test_a_tokenizer_that_is_not_the_model_s(inputs: Path, tmp_path: Path) -> None:
    tokens = (inputs / "vocab.txt").read_text().splitlines(True)
    given = {"model": inputs / "bert", "model_config": None}
    for changed, said in [
        ([*tokens[:50], *tokens[:49:-1]], "its id of "),
        (tokens[:-1], f"its id of {tokens[-1].strip()!r} is None, not {len(tokens) - 1}"),
    ]:
        (inputs / "vocab.txt").write_text("".join(changed))
        sentence = refusal(flags(inputs, tmp_path / "run", **given))
        assert f"{inputs / 'vocab.txt'}: not the tokenizer of {inputs / 'bert'}: {said}" in sentence
    tokenizer("byte-level BPE").save_pretrained(tmp_path / "bpe")
    sentence = refusal(flags(inputs, tmp_path / "run", **given, tokenizer=tmp_path / "bpe"))
    assert "bpe: not the tokenizer of" in sentence


@pytest.mark.usefixtures("no_work")
def test_special_tokens_that_are_not_the_model_s(inputs: Path, tmp_path: Path) -> None:
    shutil.copytree(inputs / "bert", tmp_path / "other")
    edit_json(tmp_path / "other" / "tokenizer_config.json", mask_token="[UNK]")
    given = {"model": inputs / "bert", "model_config": None, "tokenizer": tmp_path / "other"}
    said = refusal(flags(inputs, tmp_path / "run", **given))
    assert "its mask token is '[UNK]', not '[MASK]'" in said


def test_a_model_that_comes_without_a_tokenizer_takes_one_that_fits(
    inputs: Path, tmp_path: Path
) -> None:
    without_tokenizer(inputs / "bert")
    train.main(flags(inputs, tmp_path / "run", model=inputs / "bert", model_config=None, steps=1))


@pytest.mark.usefixtures("no_work")
def test_the_last_text_is_not_there(inputs: Path, tmp_path: Path) -> None:
    """It is told before the first is read; and no directory is left in the way."""
    (inputs / "venn.txt").unlink()
    said = refusal(flags(inputs, tmp_path / "run"))
    assert said == f"{inputs / 'venn.txt'}: No such file or directory"
    assert not list((tmp_path / "run").glob("[!.]*"))


# --------------------------------------------------------------------------- after a failed start


def test_a_failed_start_is_not_in_the_way(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train.main(flags(inputs, tmp_path / "whole"))
    for wrong in (
        {"model": inputs / "bert", "model_config": None, "tokenizer": None, "max_length": 500},
        {"bitext": "nothing", "monolingual": inputs / "mispelt.txt"},
        {"model_config": inputs / "mispelt.json"},
        {"exchange_layer": 7},
    ):
        refusal(flags(inputs, run, **wrong))
    train.main(flags(inputs, run, resume="never"))
    assert log(run) == log(tmp_path / "whole")
    assert contents(run) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "kept"),
    [({"lr": 0.1}, True), ({"max_length": 100}, False), ({"bitext": "one"}, False)],
)
def test_what_a_failed_start_prepared(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any],
    kept: bool,
) -> None:  # fmt: skip
    """It is used if it is of the same text and settings, and else made anew."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer, "train_step", ends_in(1))
        with pytest.raises(KeyboardInterrupt):
            train.main(flags(inputs, run))
    made = (run / "prepared" / "prepared.json").stat().st_mtime_ns  # numbers of inodes come again
    arguments = flags(inputs, run, **changes)
    if "bitext" in changes:  # one alone
        arguments = flags(inputs, run, bitext=inputs / "toku.txt")
    train.main(arguments)
    assert ((run / "prepared" / "prepared.json").stat().st_mtime_ns == made) == kept
    fresh = [str(tmp_path / "fresh") if each == str(run) else each for each in arguments]
    train.main(fresh)
    assert log(run) == log(tmp_path / "fresh")
    assert contents(run) == contents(tmp_path / "fresh")


# -------------------------------------------------------------------------------- nonsense, and ~

NONSENSE = ("-1", "0", "nan", "inf", "1e999", str(10**40), "abc", "", "1.5", "./no/such", "\0")


def valued(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The flags that take values, by name."""
    return {
        action.option_strings[-1]: action for action in parser._actions
        if action.option_strings and action.nargs != 0
    }  # fmt: skip


TRAIN, PREPARE = valued(settings.parser()), valued(prepare_command.parser())
NUMBERS = (int, float)


@pytest.mark.parametrize("flag", TRAIN)
def test_nonsense_for_training(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    """One sentence, or a value that can be meant, as far as the model; before any text is read."""
    monkeypatch.chdir(tmp_path)

    def meant(*_: object, **__: object) -> None:
        raise StopIteration

    monkeypatch.setattr(build, "prepare", meant)
    monkeypatch.setattr(train, "train", meant)
    monkeypatch.setattr(train, "Feed", meant)
    action = TRAIN[flag]
    begun = time.monotonic()
    for value in NONSENSE:
        values = [value] * (action.nargs if isinstance(action.nargs, int) else 1)
        arguments = [*flags(original, tmp_path / "run"), *([flag, *values] if value[:1] != "-"
                     or action.nargs else [f"{flag}={value}"])]  # fmt: skip
        with pytest.raises((InputError, StopIteration)) as error:
            train.main(arguments)
        if value in ("nan", "inf", "1e999", "", "abc") and action.type in NUMBERS:
            assert error.type is InputError, value
        if value in ("-1", str(10**40)) and action.type in NUMBERS:
            assert error.type is InputError, value
        if value in ("", "\0"):
            assert error.type is InputError, value
        assert "\n" not in str(error.value)
        assert not checkpoints(tmp_path / "run")
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("flag", PREPARE)
def test_nonsense_for_preparing(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.chdir(tmp_path)

    def meant(*_: object, **__: object) -> None:
        raise StopIteration

    monkeypatch.setattr(pipeline._Work, "corpus", meant)
    action = PREPARE[flag]
    for value in NONSENSE:
        arguments = ["--bitext", str(original / "toku.txt"), "--tokenizer",
                     str(original / "vocab.txt"), "--output", str(tmp_path / "out"),
                     f"{flag}={value}"]  # fmt: skip
        with pytest.raises((InputError, StopIteration, RuntimeError)) as error:
            prepare_command.main(arguments)
        if value in ("nan", "inf", "1e999", "", "abc", "-1", str(10**40), "\0") and (
            action.type in NUMBERS or value in ("", "\0") or flag == "--max-memory"
        ):
            assert error.type is InputError, value
        assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()


def test_home_is_meant_by_a_tilde(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    inputs.rename(home)
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    prepare_command.main(["--bitext=a=~/toku.txt", "--tokenizer=~/vocab.txt", "--output=~/made",
                  "--monolingual=~/alone.txt"])  # fmt: skip
    (home / "c.yaml").write_text("output: ~/run\nmodel_config: ~/model.json\nprepared: ~/made\n")
    train.main(["--config=~/c.yaml", "--tokenizer=~/vocab.txt", "--steps=1", "--no-tensorboard"])
    assert checkpoints(home / "run")
    (home / "d.yaml").write_text("bitext: [[b=~/toku.txt], [~/venn.txt]]\nmodel: ~/bert\n")
    train.main(["--config=~/d.yaml", "--output=~/second", "--steps=1", "--no-tensorboard"])
    assert checkpoints(home / "second")
    assert not list((tmp_path / "here").iterdir())
    assert not list(home.glob(f"*{LOCK}*"))


def test_home_is_meant_by_a_tilde_everywhere(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(original / "toku.txt", home)
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    align_command.main(["--input=~/toku.txt", "--save=~/kept", "--lexicon=~/lexicon"])
    (home / "links").write_text(capsys.readouterr().out)
    align_command.main(["--input=~/toku.txt", "--model=~/kept"])
    atools.main(["--command=convert", "--input_1=~/links"])
    assert {path.name for path in home.iterdir()} == {"toku.txt", "kept", "lexicon", "links"}
    assert not list((tmp_path / "here").iterdir())
    options = transfer_command.parse(
        ["--models", "a=~/kept", "--data=~", "--bitext", "x=~/toku.txt", "--output=~/scores"]
    )
    assert (options.data, options.output) == (home, home / "scores")
    assert options.model_directories() == {"a": [home / "kept"]}
    assert options.bitexts()[0].paths == (str(home / "toku.txt"),)
    assert parse_bitext(["a", "~/b"]).paths == ("a", str(home / "b"))
    assert report_command.parse(["~/scores"]).directory == home / "scores"


BAD = {
    "objective": (
        {"objective": "bert"},
        "--objective must be one of mlm, tlm, weam, word-aligned, contrastive, not bert",
    ),
    "model": ({"model": "/no/such", "model_config": None}, "/no/such: no such file or directory"),
    "lr": ({"lr": 0}, "--lr must be above 0"),
    "steps": ({"steps": 0}, "--steps must be at least 1"),
    "length": (
        {"max_length": 500},
        "the model takes 128 tokens, fewer than the text's --max",
    ),
    "device": ({"device": "abacus"}, "--device abacus: "),
    "seed": ({"seed": -1}, "--seed must be from 0 to 2,147,483,647"),
    "links": ({"links": "loose"}, "--links must be one of "),
    "soft links": ({"soft_links": True, "objective": "tlm"}, "--soft-links weighs the word exch"),
    "shares": ({"mask_shares": "0.8"}, "argument --mask-shares: expected 3 arguments"),
    "masking": ({"masking": "exclusive", "objective": "mlm"}, "--masking exclusive needs pairs"),
    "unit": ({"mask_unit": "line"}, "--mask-unit must be one of "),
    "config": ({"config": "/no/such.yaml"}, "/no/such.yaml: No such file or directory"),
    "tokenizer": ({"tokenizer": "/no/such"}, "/no/such: no such file or directory"),
    "layer": ({"exchange_layer": 2}, "--exchange-layer 2: the model has only 1 layers"),
    "no layer": ({"exchange_layer": 0}, "--exchange-layer must be at least 1"),
    "head": ({"exchange_head": "two"}, "--exchange-head must be one of "),
    "encode": ({"encode": "both"}, "--encode must be one of "),
    "frozen": ({"freeze_layers": 2}, "--freeze-layers 2: the model has only 1 layers"),
    "negative": ({"freeze_layers": -1}, "--freeze-layers must be at least 0"),
    "range": ({"freeze_layers": "5-1"}, "neither a number of layers nor a range such as 0-5"),
    "long range": ({"freeze_layers": "0-1"}, "--freeze-layers 0-1: the model has only 1 layers"),
    "fresh": ({"fresh_head": True}, "--fresh-head replaces the head of a --model"),
    "head steps": ({"head_steps": -1}, "--head-steps must be at least 0"),
    "no head": (
        {"objective": "contrastive", "head_steps": 2},
        "--head-steps: the head has no part in --objective contrastive",
    ),
    "all frozen": (
        {"freeze_layers": 1, "objective": "word-aligned"},
        "--freeze-layers 1: nothing is left to train",
    ),
    "decay": ({"layer_lr_decay": 1.5}, "--layer-lr-decay must be above 0 and at most 1"),
    "betas": ({"betas": [0.9, 1]}, "--betas must be at least 0 and below 1"),
    "clip": ({"clip": 0}, "--clip must be above 0"),
    "schedule": (
        {"schedule": "steep"},
        "--schedule must be one of linear, cosine, constant, not steep",
    ),
    "temperature": ({"temperature": 0}, "--temperature must be above 0"),
    "share": ({"monolingual_share": 1}, "--monolingual-share must be between 0 and 1"),
    "tokens": ({"batch_tokens": 0}, "--batch-tokens must be from 1 to 67,108,864"),
    "accumulate": ({"accumulate": 0}, "--accumulate must be at least 1"),
    "workers": ({"workers": -1}, "--workers must be at least 0"),
    "keep": ({"keep": 0}, "--keep must be at least 1"),
    "tflops": ({"peak_tflops": 0}, "--peak-tflops must be above 0"),
    "regularization": ({"regularization": -1}, "--regularization must be at least 0"),
    "monolingual": (
        {"objective": "word-aligned", "monolingual": "/no/such"},
        "--monolingual text cannot be learned with --objective word-aligned",
    ),
    "two models": ({"model": "."}, "--model goes on from a model, --model-config starts one"),
    "prepared": ({"prepared": "."}, "--prepared names the data already"),
    "parallel": ({"parallel": "both"}, "--parallel must be one of ddp, fsdp, not both"),
}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "schedule: steep",
            "c.yaml: --schedule must be one of linear, cosine, constant, not steep",
        ),
        ("betas: 5", "c.yaml: betas cannot be 5"),
        ("batch_size: [1, 2]", "c.yaml: batch_size cannot be [1, 2]"),
        ("compile: 3", "c.yaml: compile cannot be 3"),
        ("lr: fast", "c.yaml: lr cannot be 'fast'"),
        ("bitext: [3]", "3: No such file"),
        ("rate: 1", "unknown setting 'rate'"),
        ("1: 1", "unknown setting '1'"),
        ("- lr", "expected settings, one 'name: value' a line"),
        ("lr: [", "not valid YAML"),
    ],
)
def test_bad_configurations(inputs: Path, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    given = ["--output", str(tmp_path / "run"), "--tokenizer", str(inputs / "vocab.txt"),
             "--model-config", str(inputs / "model.json"),
             "--config", str(tmp_path / "c.yaml")]  # fmt: skip
    with pytest.raises(InputError) as error:
        train.main(given)
    assert sentence in str(error.value)


def test_the_command_line_overrides_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "compile: true\nlr: 5e-5\nmask_exact: true\nbitext: [[a, b], c]\nbetas: [0.9, 0.98]\n"
        "steps: null\nmodel: x\nmonolingual: text\n"
    )
    given = ["--config", str(tmp_path / "c.yaml")]
    options = parse(given)
    assert (options.compile, options.lr, options.betas) == (True, 5e-5, (0.9, 0.98))
    assert (options.bitext, options.monolingual) == ((("a", "b"), ("c",)), ("text",))
    other = parse([*given, "--no-compile", "--lr", "1", "--bitext", "d", "--no-mask-exact"])
    assert (other.compile, other.lr, other.mask_exact) == (False, 1.0, False)
    assert (other.bitext, other.monolingual) == ((("d",),), ("text",))


def test_shares_that_do_not_add_up(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must add up to 1"):
        train.main([*flags(inputs, tmp_path), "--mask-shares", "0.8", "0.1", "0.2"])


@pytest.mark.parametrize("name", BAD)
def test_bad_settings(inputs: Path, tmp_path: Path, name: str) -> None:
    changes, sentence = BAD[name]
    with pytest.raises(InputError) as error:
        train.main(flags(inputs, tmp_path / "run", **changes))
    assert sentence in str(error.value)
    assert not checkpoints(tmp_path / "run")


# ---------------------------------------------------------------------------------------- batches


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has one, as far as settings see."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(settings, "_check_machine", lambda found: None)


OWN = ["--bitext", "text", "--model", "m"]


@pytest.mark.parametrize(
    ("arguments", "pairs", "tokens"),
    [
        (OWN, 32, 32768),
        ([], 32, None),  # the built-in run
        ([*OWN, "--device", "cuda:1"], 32, 32768),
        ([*OWN, "--device", "cpu"], 32, None),
        ([*OWN, "--batch-size", "32"], 32, None),
        ([*OWN, "--batch-tokens", "900"], 32, 900),
    ],
)
def test_batches_are_by_tokens_on_a_gpu(
    gpu: None, arguments: list[str], pairs: int, tokens: int | None
) -> None:
    found = parse(arguments)
    assert (found.batch_size, found.batch_tokens) == (pairs, tokens)
    assert (found.workers, found.log_every) == (4, 10)


def test_a_run_goes_on_with_the_batches_that_it_began_with(gpu: None, tmp_path: Path) -> None:
    """What was left to the device is in the record like what was given."""
    for flags_given in ([], ["--batch-size", "48"], ["--device", "cpu"]):
        began = parse([*OWN, *flags_given])
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(identity(began)))
        again = parse(["--config", str(tmp_path / "run.yaml")])
        assert identity(again) == identity(began)
        fewer = parse(["--config", str(tmp_path / "run.yaml"), "--batch-size", "8"])
        assert (fewer.batch_size, fewer.batch_tokens) == (8, None)
