"""Fine-tuning of every family: inputs and outputs, selection, settings, noise, robust rivals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_tokenizers import FAMILIES, tokenizer
from transfer_files import flags, save_encoder, small_data, squad, write

from weam_ext.common.errors import InputError
from weam_ext.transfer import Row, cli, read_all
from weam_ext.transfer.families.answering import Answering, Question
from weam_ext.transfer.families.classification import NLI, Classification, Text
from weam_ext.transfer.families.tagging import IGNORED, Sentence, Tagging
from weam_ext.transfer.finetune import FineTuning, Plan, Selection, Setting, balanced
from weam_ext.transfer.noise import KINDS, Lexicon, Noise, read_lexicon
from weam_ext.transfer.results import read_failed
from weam_ext.transfer.tasks import Examples, Recipe


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder") / "a")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_data(tmp_path_factory.mktemp("data"))


def run(encoder: Path, data: Path, output: Path, *more: str) -> list[Row]:
    arguments = flags(encoder, output, models=(f"m={encoder}",))
    cli.main([*arguments, "--data", str(data), "--seeds", "1", "--epochs", "1",
                   "--max-length", "64", *more])  # fmt: skip
    return read_all(output)


# -------------------------------------------------------------------------------- inputs, outputs


@pytest.mark.parametrize("family", FAMILIES)
def test_tags_survive_the_way_to_tokens_and_back(family: str) -> None:
    """Perfect outputs give the gold tags, in pieces too, whatever the tokenizer."""
    tagging = Tagging(("A", "B"), "A")
    words = ("ido", "mira", "今天", "dalo", "\u200b", "venn") * 5
    sentence = Sentence("k", words, tuple("AB"[k % 2] for k in range(len(words))))
    for length in (8, 128):
        rows = tagging.encode(tokenizer(family), [sentence, sentence], length)
        assert max(len(row["input_ids"]) for row in rows) <= length
        outputs = [np.eye(2)[[max(label, 0) for label in row["labels"]]] for row in rows]
        decoded = tagging.decode(outputs, rows, [sentence, sentence])
        shown = {word for row in rows if row["example"] == 0 for _, word in row["words"]}
        expected = [tag if k in shown else "A" for k, tag in enumerate(sentence.tags)]
        assert decoded == [" ".join(expected)] * 2
        assert len(shown) >= 25  # all but the invisible word
        counted = sum(label != IGNORED for row in rows for label in row["labels"])
        assert counted == 2 * len(shown)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_survive_the_way_to_tokens_and_back(family: str) -> None:
    answering = Answering("squad")
    context = "ido mira dalo venn " * 12 + "今天 toku orlu " + "ido mira dalo " * 8
    start = context.index("toku")
    question = Question("k", context, "mira dalo", (("toku orlu", start),))
    rows = answering.encode(tokenizer(family), [question], 48)
    assert len(rows) > 2
    there = [row for row in rows if row["start_positions"]]
    assert there
    outputs: tuple[list[Any], list[Any]] = ([], [])
    for row in rows:
        for side, name in zip(outputs, ("start_positions", "end_positions"), strict=True):
            scores = np.zeros(len(row["input_ids"]))
            scores[row[name]] = 5.0  # of the first token where the answer is not there
            side.append(scores)
    assert answering.decode(outputs, rows, [question]) == ["toku orlu"]


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


def test_an_answer_that_is_not_there_is_not_trained_on(
    encoder: Path, data: Path, tmp_path: Path
) -> None:
    content = json.loads(squad([("s", "Ada lived in Paris.", "Where?", "Paris")] * 3))
    content["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 0
    copy = tmp_path / "data"
    write(copy / "squad/train-v1.1.json", json.dumps(content))
    (copy / "xquad").symlink_to(data / "xquad")
    rows = run(encoder, copy, tmp_path / "out", "--tasks", "xquad")
    assert (rows[0].facts["trained_on"], rows[0].facts["dropped_misaligned"]) == (2, 1)


# ------------------------------------------------------------------------------------- robustness


@pytest.mark.parametrize("way", ["random", "adversarial", "augment"])
def test_robust_fine_tuning(way: str, encoder: Path, data: Path, tmp_path: Path) -> None:
    plain = run(encoder, data, tmp_path / "plain", "--tasks", "stsb")
    robust = run(encoder, data, tmp_path / "robust", "--tasks", "stsb", "--fine-tuning", way)
    assert robust[0].cell.options["fine_tuning"] == way
    assert plain[0].predictions != robust[0].predictions


def test_perturbations_are_as_long_as_they_are_to_be(encoder: Path, tmp_path: Path) -> None:
    plan = Plan(Setting("zero-shot"), Recipe(max_length=32), "en", 0, way="adversarial")
    tuning = FineTuning(encoder, Classification(NLI), plan, tmp_path)
    trainer = tuning._trainer([], 1, [])
    direction, embeddings = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    scaled = trainer._scaled(direction, embeddings)
    torch.testing.assert_close(scaled.norm(dim=-1), 0.1 * embeddings.norm(dim=-1))
    assert not trainer._scaled(torch.zeros(1, 1, 16), embeddings[:1, :1]).isnan().any()


def test_noisy_text_is_predicted_too(encoder: Path, data: Path, tmp_path: Path) -> None:
    rows = run(encoder, data, tmp_path, "--tasks", "xnli", "--noise", "typos=0.5,1", "case=1")
    noises = {row.noise for row in rows}
    assert noises == {"", "typos 0.5", "typos 1", "case 1"}
    assert all(row.selection == "english" for row in rows if row.noise)


LEXICON = Lexicon({"house": "haus", "home": "haus"}, {"haus": "house"})


def test_noise_is_the_same_for_every_model() -> None:
    x = Text("7", "The big house, again", None, "travel")
    for kind in KINDS:
        noise = Noise(kind, 0.5, {"de": LEXICON})
        assert noise.example(x, "en") == noise.example(x, "en")
        assert noise.example(x, "en").label == "travel"
    lighter = Noise("case", 0.01).example(x, "en")
    assert lighter.first == x.first


def test_what_noise_does() -> None:
    def noisy(kind: str, text: str, language: str = "en") -> str:
        noise = Noise(kind, 1.0, {"de": LEXICON})
        found: str = noise.example(Text("1", text, None, "travel"), language).first
        return found

    assert noisy("case", "the house!") == "THE HOUSE!"
    assert noisy("accents", "été à Zürich", "fr") == "ete a Zurich"
    assert noisy("code-switch", "the House") == "the haus"
    assert noisy("code-switch", "das Haus", "de") == "das house"
    assert noisy("synonyms", "my home") == "my house"
    assert noisy("typos", "wonderful") != "wonderful"
    assert Noise("code-switch", 1.0, {"de": LEXICON}).applies("de")
    assert not Noise("code-switch", 1.0, {"de": LEXICON}).applies("fr")


def test_tags_keep_their_words() -> None:
    sentence = Sentence("1", ("a", "house", "!"), ("DET", "NOUN", "PUNCT"))
    for kind in KINDS:
        words = Noise(kind, 1.0, {"de": LEXICON}).example(sentence, "en").words
        assert len(words) == 3 and all(words)


def test_lexica_of_the_aligner(tmp_path: Path) -> None:
    path = write(tmp_path / "lex", "haus house 0.9\nheim house 0.1\nhaus home 0.8\n, , 0.9\n")
    found = read_lexicon(path)
    assert (found.forward, found.backward) == (
        {"house": "haus", "home": "haus"},
        {"haus": "house", "heim": "house"},
    )
    write(path, "haus house 0.9\nhaus house\n")
    with pytest.raises(InputError, match="line 2: not 'translation word probability'"):
        read_lexicon(path)


def test_examples_are_told_apart() -> None:
    one = Examples([Text("1", "a", "b", "neutral")], {}, {})
    two = Examples([Text("1", "a", "c", "neutral")], {}, {})
    assert one.sha256 != two.sha256
