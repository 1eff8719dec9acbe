"""The data sets as they are published: in little, the real ones, and broken."""

import re
from pathlib import Path
from typing import Any

import pytest
from helpers import real_data
from transfer_files import nli, run, small_data, squad, tagged, write

from weam_ext.common.errors import InputError
from weam_ext.transfer.families.classification import (
    Classification,
    Text,
)
from weam_ext.transfer.families.formats import Format, Part
from weam_ext.transfer.files import Source, fields, read_lines
from weam_ext.transfer.tasks import TASKS, Examples, Limits, Recipe, Task, assign, read_task

# ------------------------------------------------------------------------------------ real files


def test_generalised_xnli() -> None:
    data = real_data("xnli-dev").parent
    loaded = read_task(TASKS["gxnli"], data, ["en", "fr", "sw", "ko"], "en")
    pairs = {part.language for part in loaded if part.split == "dev"}
    assert len(pairs) == 4 * 4  # Korean, of another set, is parallel too
    mixed = loaded[Part("dev", "fr-sw")][7]
    assert mixed.first == loaded[Part("dev", "fr-fr")][7].first
    assert mixed.second == loaded[Part("dev", "sw-sw")][7].second


def test_generalised_paws_x(capsys: pytest.CaptureFixture[str]) -> None:
    data = real_data("pawsx-dev").parent
    loaded = read_task(TASKS["gpawsx"], data, ["en", "de", "ko"], "en")
    sizes = {part.language: len(found) for part, found in loaded.items()}
    assert (sizes["en-en"], sizes["de-de"], sizes["ko-ko"]) == (2000, 2000 - 68, 2000 - 35)
    assert sizes["de-ko"] == sizes["ko-de"] < 1932
    mixed, german, korean = (loaded[Part("dev", c)] for c in ("de-ko", "de-de", "ko-ko"))
    assert mixed[7].first in {x.first for x in german}
    assert mixed[7].second in {x.second for x in korean}
    assert "pairs that are not in both languages, or not alike" in capsys.readouterr().err


# ------------------------------------------------------------------ what XTREME's scripts leave


def _without(pattern: str) -> Any:
    return lambda text: re.sub(pattern, "", text, flags=re.MULTILINE)


def _no_answers(text: str) -> str:
    return re.sub(r'{"text": "[^"]*", "answer_start": \d+}', EMPTY_ANSWER, text)


EMPTY_ANSWER = '{"answer_start": 0, "text": ""}'
_COPA = "".join(
    f'{{"premise": "p{k}", "choice1": "a", "choice2": "b", "question": "cause", "label": {k % 2}, '
    f'"idx": {k}}}\n'
    for k in range(12)
)
_SQUAD = squad([(f"q{k}", f"{k} Ada was born in London.", "Where?", "London") for k in range(12)])
_TYDI = squad([(f"english-{k}", f"{k} Ada was born in London.", "Where?", "London")
               for k in range(12)])  # fmt: skip
STRIPPED = {
    "xnli": ("xnli/dev-de.tsv", "xnli/test-de.tsv", nli(60, "de"), _without(r"\t\w+$")),
    "udpos": ("udpos/dev-de.tsv", "udpos/test-de.tsv", tagged(60, "de"), _without(r"\t\w+$")),
    "xcopa": ("xcopa/de/val.de.jsonl", "xcopa/de/test.de.jsonl", _COPA,
              lambda text: text.replace('"label": 1', '"label": 0')),
    "mlqa": ("mlqa/dev-context-de-question-de.json", "mlqa/test-context-de-question-de.json",
             _SQUAD, _no_answers),
    "tydiqa": ("tydiqa/tydiqa-goldp-v1.1-train.json", "tydiqa/tydiqa-goldp-v1.1-dev.json",
               _TYDI, _no_answers),
}  # fmt: skip


@pytest.mark.parametrize("task", STRIPPED)
def test_test_sets_without_labels_are_told_of_and_the_development_set_is_taken(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, test, text, strip = STRIPPED[task]
    write(tmp_path / other, text)
    path = write(tmp_path / test, strip(text))
    assert path.read_text() != text
    loaded = read_task(TASKS[task], tmp_path, None, "en")
    assert {part.split for part in loaded} == {"train" if task == "tydiqa" else "dev", "unlabelled"}
    assert f"{task}: {path}: no labels are in it" in capsys.readouterr().err
    (tmp_path / other).unlink()
    with pytest.raises(InputError, match="no files of"):  # a score of nothing would be wrong
        read_task(TASKS[task], tmp_path, None, "en")


def test_questions_whose_ids_repeat_are_known_by_their_content(tmp_path: Path) -> None:
    """XTREME's TyDiQA: so few ids that a held-out fifth was a fiftieth or the half."""
    questions = [(f"q{k % 3}", f"{k} Ada was born in London.", "Where?", "London")
                 for k in range(600)]  # fmt: skip
    write(tmp_path / "tydiqa/tydiqa.goldp.en.train.json", squad(questions))
    loaded = read_task(TASKS["tydiqa"], tmp_path, None, "en")
    assert len({x.key for x in loaded[Part("train", "en")]}) == 600
    found = assign(TASKS["tydiqa"], loaded, None, "en", Limits())
    assert 0.75 < len(found.train) / 600 < 0.85


@pytest.mark.parametrize(
    "task, labels", [("xnli", ("entailment", "contradictory")), ("pawsx", ("0", "1"))]
)
def test_translated_training_sets_of_five_columns(
    task: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    text = "".join(f"a\tb\tdie a\tdie b {k}\t{label}\n" for k, label in enumerate(labels))
    write(tmp_path / f"{task}/translate_train/en-de-translated.tsv", text)
    ((part, examples),) = read_task(TASKS[task], tmp_path, None, "en").items()
    assert part == Part("translated", "de")
    assert [(x.first, x.second) for x in examples] == [("die a", "die b 0"), ("die a", "die b 1")]
    assert examples[1].label == ("contradiction" if task == "xnli" else "1")


def test_a_broken_file_of_one_language_leaves_the_others_in_peace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_data(tmp_path)
    path = write(data / "xnli/test-de.tsv", "a\tb\tneutral\na\tb\n")
    message = f"{path}, line 2: 2 tab-separated fields instead of 3"
    assert {part.language for part in read_task(TASKS["xnli"], data, None, "en")} == {"en"}
    assert f"xnli: {message}; de is left out\n" in capsys.readouterr().err
    for languages, source in ((["de"], "en"), (None, "de")):
        with pytest.raises(InputError, match=re.escape(message)):
            read_task(TASKS["xnli"], data, languages, source)
    write(path, nli(12, "de"))
    write(data / "xnli/multinli.train.de.tsv", "a\tb\n")
    assert Part("test", "de") in read_task(TASKS["xnli"], data, None, "en")
    assert "; the training set of de is left out\n" in capsys.readouterr().err


def test_a_bad_row_of_one_language_in_a_file_of_all(tmp_path: Path) -> None:
    rows = "".join(f"{c}\tneutral\ta\tb\n" for c in ("en", "fr", "de"))
    text = "language\tgold_label\tsentence1\tsentence2\n" + rows
    write(tmp_path / "XNLI-1.0/xnli.dev.tsv", text + "de\tmaybe\ta\tb\n")
    assert set(read_task(TASKS["xnli"], tmp_path, None, "en")) == {
        Part("dev", "en"), Part("dev", "fr"),
    }  # fmt: skip
    columns = "lang\tsplit\tindex_id\tcategory\ttext\n"
    text = columns + "eng_Latn\tdev\t1\ttravel\ta\ndeu_Latn\tdev\t1\tmagic\ta\n"
    write(tmp_path / "sib/sib200.tsv", text)
    assert set(read_task(TASKS["sib200"], tmp_path, None, "en")) == {Part("dev", "en")}


# ----------------------------------------------------------------------------------------- splits


def test_no_sentence_selects_in_one_language_and_tests_in_another(tmp_path: Path) -> None:
    for language in ("en", "de", "fr"):
        write(tmp_path / f"xnli/dev-{language}.tsv", nli(60, language))
    write(tmp_path / "xnli/train-en.tsv", nli(9, "en"))
    loaded = read_task(TASKS["xnli"], tmp_path, None, "en")
    found = assign(TASKS["xnli"], loaded, None, "en", Limits())
    selected = {x.group for examples in found.select.values() for x in examples}
    tested = {x.group for examples in found.test.values() for x in examples}
    assert selected and tested and not selected & tested
    assert found.notes["cut"] == ["de", "en", "fr"]
    limited = assign(TASKS["xnli"], loaded, None, "en", Limits(test=5))
    keys = [[x.key for x in examples] for examples in limited.test.values()]
    assert keys[0] == keys[1] == keys[2] and len(keys[0]) == 5


def test_training_sets_where_nothing_else_is(tmp_path: Path) -> None:
    def questions(n: int) -> str:
        return squad([(f"{k}", "a b", "?", "b") for k in range(n)])

    write(tmp_path / "tydiqa/tydiqa.goldp.en.train.json", questions(100))
    write(tmp_path / "tydiqa/tydiqa.goldp.sw.train.json", questions(100))
    loaded = read_task(TASKS["tydiqa"], tmp_path, None, "en")
    found = assign(TASKS["tydiqa"], loaded, None, "en", Limits())
    sizes = len(found.train), len(found.select["en"]), len(found.test["en"])
    assert sum(sizes) == 100 and min(sizes) > 3 and sizes[0] > 70
    assert len(found.select["sw"]) + len(found.test["sw"]) == 100


def test_what_is_missing(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    loaded = read_task(TASKS["xnli"], data, None, "en")
    with pytest.raises(InputError, match="xnli: no examples of xx to test on"):
        assign(TASKS["xnli"], loaded, ["de", "xx"], "en", Limits())
    loaded = read_task(TASKS["xcopa"], data, None, "en")
    with pytest.raises(InputError, match="no training set of en"):
        assign(TASKS["xcopa"], loaded, None, "en", Limits())
    found = assign(TASKS["xcopa"], loaded, None, "en", Limits(), train_on_dev=True)
    assert found.train and found.select["en"]
    with pytest.raises(InputError, match="no files of panx there"):
        read_task(TASKS["panx"], data, None, "en")


def test_examples_are_told_apart() -> None:
    one = Examples([Text("1", "a", "b", "neutral")], {}, {})
    two = Examples([Text("1", "a", "c", "neutral")], {}, {})
    assert one.sha256 != two.sha256


# ------------------------------------------------------------------------------ a task of one's own

MOODS = ("glad", "sad")


def moods(source: Source, part: Part) -> list[Text]:
    """Lines "mood TAB text"; line n is the same example in every language."""
    rows = (fields(line, 2) for line in read_lines(source))
    return [Text(f"{part.split}-{k}", text, None, mood) for k, (mood, text) in enumerate(rows)]


FORMAT = Format(("moods",), r"/(?P<lang>[a-z]+)\.(?P<split>train|dev|test)$", moods)


def test_a_task_of_ones_own(encoder: Path, tmp_path: Path) -> None:
    """What a user's package adds is chosen by its name, like those that are there."""
    lines = "".join(f"{MOODS[k % 2]}\ttext {k}\n" for k in range(12))
    for name in ("en.train", "en.dev", "en.test", "de.dev", "de.test"):
        write(tmp_path / "data/moods" / name, lines)
    own = Task("moods", "Moods", ((FORMAT,),), lambda: Classification(MOODS), Recipe(epochs=1))
    TASKS.add(own.name)(own)
    try:
        rows = run(encoder, tmp_path / "data", tmp_path / "out", "--tasks", "moods")
    finally:
        del TASKS._added["moods"]
    assert {(row.cell.task, row.language) for row in rows} == {("moods", "en"), ("moods", "de")}
    for row in rows:
        assert row.gold == [MOODS[k % 2] for k in range(12)]
        assert row.facts["trained_on"] == 12 and {*row.predictions} <= {*MOODS}
    with pytest.raises(InputError, match="--tasks moods: unknown"):
        run(encoder, tmp_path / "data", tmp_path / "out", "--tasks", "moods")
