"""The data sets as they are published: in little, the real ones, and broken."""

from pathlib import Path

import pytest
from helpers import real_data
from transfer_files import nli, run, small_data, squad, write

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
