"""The data sets as they are published: in little, the real ones, and broken."""

from pathlib import Path

import pytest
from helpers import real_data
from transfer_files import nli, read_parts, small_data, squad, write

from weam_ext.common.errors import InputError
from weam_ext.transfer.families.answering import TYDIQA_FORMATS
from weam_ext.transfer.families.classification import (
    PAWSX_FORMATS,
    SIB_FORMATS,
    STS_FORMATS,
    XNLI_FORMATS,
    Text,
)
from weam_ext.transfer.families.formats import Part
from weam_ext.transfer.families.tagging import PANX_FORMATS, UDPOS_FORMATS
from weam_ext.transfer.tasks import TASKS, Examples, Limits, assign, read_task

# ------------------------------------------------------------------------------------ real files


def test_generalised_xnli() -> None:
    data = real_data("xnli-dev").parent
    loaded = read_task(TASKS["gxnli"], data, ["en", "fr", "sw", "ko"], "en")
    pairs = {part.language for part in loaded if part.split == "dev"}
    assert len(pairs) == 4 * 4  # Korean, of another set, is parallel too
    mixed = loaded[Part("dev", "fr-sw")][7]
    assert mixed.first == loaded[Part("dev", "fr-fr")][7].first
    assert mixed.second == loaded[Part("dev", "sw-sw")][7].second


# --------------------------------------------------------------------------------- other layouts


def test_originals(tmp_path: Path) -> None:
    """XNLI 1.0, MultiNLI, PAWS-X, UD, WikiANN, SIB-200, STS-B and TyDi QA as first published."""
    header = "language\tgold_label\tsentence1_binary_parse\tsentence1\tsentence2\n"
    rows = "".join(f"{c}\tneutral\tx\ta {c} {k}\tb\n" for k in range(4) for c in ("en", "fr"))
    write(tmp_path / "XNLI-1.0/xnli.dev.tsv", header + rows)
    write(
        tmp_path / "multinli_1.0/multinli_1.0_train.txt",
        "gold_label\tsentence1\tsentence2\n-\ta\tb\nentailment\tc\td\n",
    )
    found = read_parts(tmp_path, XNLI_FORMATS)
    assert [x.group for x in found[Part("dev", "fr")]] == ["dev-0", "dev-0", "dev-0", "dev-1"]
    assert [x.label for x in found[Part("train", "en")]] == ["entailment"]
    paws = "id\tsentence1\tsentence2\tlabel\n1\ta\tb\t1\n2\tNS\tb\t0\n"
    write(tmp_path / "x-final/de/test_2k.tsv", paws)
    write(tmp_path / "x-final/de/translated_train.tsv", paws)
    found = read_parts(tmp_path, PAWSX_FORMATS)
    assert [(x.key, x.label) for x in found[Part("test", "de")]] == [("test-1", "1")]
    assert len(found[Part("translated", "de")]) == 1
    write(
        tmp_path / "ud-2.5/UD_German-GSD/de_gsd-ud-dev.conllu",
        "# text = im Haus\n1-2\tim"
        + "\t_" * 8
        + "\n1\tin\tin\tADP"
        + "\t_" * 6
        + "\n2\tdem\tder\tDET"
        + "\t_" * 6
        + "\n3\tHaus\tHaus\tNOUN"
        + "\t_" * 6
        + "\n\n",
    )
    (sentence,) = read_parts(tmp_path, UDPOS_FORMATS)[Part("dev", "de")]
    assert (sentence.words, sentence.tags) == (("in", "dem", "Haus"), ("ADP", "DET", "NOUN"))
    write(tmp_path / "wikiann/de/test", "de:Ada\tB-PER\nde::\tO\n\n")
    (sentence,) = read_parts(tmp_path, PANX_FORMATS)[Part("test", "de")]
    assert sentence.words == ("Ada", ":")
    write(
        tmp_path / "sib-200/data/annotated/deu_Latn/dev.tsv",
        "index_id\tcategory\ttext\n7\ttravel\tin die Stadt\n",
    )
    assert read_parts(tmp_path, SIB_FORMATS)[Part("dev", "de")][0].key == "7"
    write(tmp_path / "stsbenchmark/sts-dev.csv", "g\tf\t2012\t1\t2.5\ta\tb\n")
    assert read_parts(tmp_path, STS_FORMATS)[Part("dev", "en")][0].label == "2.5"
    questions = [("swahili-1", "a b c", "?", "b"), ("korean-2", "a b c", "?", "c")]
    write(tmp_path / "tydiqa/tydiqa-goldp-v1.1-train.json", squad(questions))
    assert set(read_parts(tmp_path, TYDIQA_FORMATS)) == {Part("train", "sw"), Part("train", "ko")}


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
