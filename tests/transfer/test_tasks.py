"""The data sets as they are published: in little, the real ones, and broken."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from helpers import real_data
from transfer_files import archive, nli, small_data, squad, tagged, write

from weam_ext.common.errors import InputError
from weam_ext.transfer import hub
from weam_ext.transfer.families.answering import MLQA_FORMATS, TYDIQA_FORMATS, XQUAD_FORMATS
from weam_ext.transfer.families.choice import XCOPA_FORMATS
from weam_ext.transfer.families.classification import (
    PAWSX_FORMATS,
    SIB_FORMATS,
    STS_FORMATS,
    XNLI_FORMATS,
    crossed,
)
from weam_ext.transfer.families.formats import Part, find
from weam_ext.transfer.families.tagging import PANX_FORMATS, UDPOS_FORMATS
from weam_ext.transfer.frozen import alignment, lexicon, retrieval
from weam_ext.transfer.languages import language_code
from weam_ext.transfer.tasks import TASKS, Limits, assign, read_task


def read(data: Path, formats: Any) -> dict[Part, list[Any]]:
    return {
        part: [x for _, load in loaders for x in load()]
        for part, loaders in find(data, formats).items()
    }


def counts(name: str, formats: Any) -> dict[str, int]:
    found = read(real_data(name).parent, formats)
    return {f"{part.split}-{part.language}": len(examples) for part, examples in found.items()}


# ------------------------------------------------------------------------------------ real files


def test_xnli() -> None:
    found = counts("xnli-dev", XNLI_FORMATS)
    languages = [*hub.HUB["xnli"].languages, "ko"]
    assert {k: n for k, n in found.items() if k.startswith("dev")} == {
        f"dev-{code}": 2490 for code in languages
    }
    real_data("nli-train-en")
    assert found["train-en"] == 8330 + 4500


def test_generalised_xnli() -> None:
    data = real_data("xnli-dev").parent
    loaded = read_task(TASKS["gxnli"], data, ["en", "fr", "sw", "ko"], "en")
    pairs = {part.language for part in loaded if part.split == "dev"}
    assert len(pairs) == 4 * 4  # Korean, of another set, is parallel too
    mixed = loaded[Part("dev", "fr-sw")][7]
    assert mixed.first == loaded[Part("dev", "fr-fr")][7].first
    assert mixed.second == loaded[Part("dev", "sw-sw")][7].second


def test_pawsx() -> None:
    languages = ["de", "en", "es", "fr", "ja", "ko", "zh"]
    assert counts("pawsx-dev", PAWSX_FORMATS) == {f"dev-{code}": 2000 for code in languages}


def test_sib200() -> None:
    found = counts("sib200", SIB_FORMATS)
    assert len(found) == 3 * 46
    for split, n in (("train", 701), ("dev", 99), ("test", 204)):
        assert {v for k, v in found.items() if k.startswith(split)} == {n}


def test_stsb() -> None:
    found = counts("stsb-multi", STS_FORMATS)
    languages = ["de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "zh"]
    expected = {f"dev-{code}": 1500 for code in languages}
    assert found == expected | {f"test-{c}": 1379 for c in languages} | {"train-en": 5749}


def test_xcopa() -> None:
    languages = ["et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"]
    expected = {f"dev-{code}": 100 for code in languages} | {f"test-{c}": 500 for c in languages}
    assert counts("xcopa", XCOPA_FORMATS) == expected


def test_udpos() -> None:
    data = read(real_data("udpos").parent, UDPOS_FORMATS)
    found = {f"{p.split}-{p.language}": len(x) for p, x in data.items()}
    assert len(found) == 35
    assert (found["train-en"], found["dev-de"], found["dev-mr"]) == (21253, 19233, 46)
    first = data[Part("dev", "zh")][0]
    assert (first.words[0], first.tags[0]) == ("同樣", "ADV")


def test_panx() -> None:
    found = counts("panx", PANX_FORMATS)
    small = {"hi", "sw", "ta", "te", "ur"}
    assert len(found) == 23
    assert found.pop("train-en") == 20000
    assert all(n == (1000 if k[4:] in small else 10000) for k, n in found.items())


def test_mlqa() -> None:
    data = read(real_data("mlqa-dev").parent, MLQA_FORMATS)
    found = {p.language: len(x) for p, x in data.items() if p.split == "dev"}
    own = {"ar": 517, "de": 512, "en": 1148, "es": 500, "hi": 507, "vi": 511, "zh": 504}
    assert {k: found[f"{k}-{k}"] for k in own} == own
    assert len(found) == 19
    assert all(
        found[f"en-{code}"] == found[f"{code}-en"] == own[code] for code in set(own) - {"en"}
    )
    assert all(question.aligned for x in data.values() for question in x)
    # The same question in another language has the same key.
    english = {question.key for question in data[Part("dev", "en-en")]}
    assert {question.key for question in data[Part("dev", "de-de")]} <= english


def test_xquad() -> None:
    found = counts("xquad", XQUAD_FORMATS)
    languages = ["ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"]
    assert {k: n for k, n in found.items() if k.startswith("test")} == {
        f"test-{code}": 1190 for code in languages
    }


def test_tydiqa() -> None:
    found = counts("tydiqa-goldp-train", TYDIQA_FORMATS)
    assert found == {"train-en": 3696, "train-ko": 1625, "train-sw": 2755}


def test_retrieval_sets() -> None:
    data = real_data("tatoeba-laser").parent
    tatoeba = retrieval.published_pairs("tatoeba", data)
    assert len(tatoeba) == 112
    french = tatoeba["fr"]
    assert len(french.pairs) + french.empty + french.duplicates == 1000
    real_data("multi-ntrex")
    ntrex = retrieval.published_pairs("ntrex", data)
    assert len(ntrex) == 47
    assert {len(x.pairs) + x.empty + x.duplicates for x in ntrex.values()} == {1997}
    real_data("multi-flores200-devtest")
    flores = retrieval.published_pairs("flores", data)
    assert len(flores) == 49
    assert {len(x.pairs) + x.empty + x.duplicates for x in flores.values()} == {1012}
    real_data("bitext-multi30k")
    assert set(retrieval.published_pairs("multi30k", data)) == {"cs", "de", "fr"}


def test_gold_alignments() -> None:
    data = real_data("wa-zhen").parent
    found = alignment.read_gold_sets(data)
    sizes = {name: len(pairs) for name, pairs in found.items()}
    assert sizes["enfr-wpt03:en-fr"] == 447
    assert sizes["zhen:zh-en"] == 450
    assert sizes["ensv:en-sv"] == 1164
    assert sizes["pud:en-ko"] == 884
    assert (sizes["xlwa:en-it"], sizes["xlwa:en-ru"]) == (243, 90)  # the test set, else the dev set
    assert sum(len(pair.sure) for pair in found["zhen:zh-en"]) == 11238
    assert sum(len(pair.possible - pair.sure) for pair in found["zhen:zh-en"]) == 178


def test_lexicon_from_gold_alignments() -> None:
    found = lexicon.read_dictionaries(real_data("wa-zhen").parent)
    assert {"fr", "zh", "sv", "bg"} <= set(found)
    assert "president" in " ".join(found["fr"]["president"]).replace("é", "e")


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
    found = read(tmp_path, XNLI_FORMATS)
    assert [x.group for x in found[Part("dev", "fr")]] == ["dev-0", "dev-0", "dev-0", "dev-1"]
    assert [x.label for x in found[Part("train", "en")]] == ["entailment"]
    paws = "id\tsentence1\tsentence2\tlabel\n1\ta\tb\t1\n2\tNS\tb\t0\n"
    write(tmp_path / "x-final/de/test_2k.tsv", paws)
    write(tmp_path / "x-final/de/translated_train.tsv", paws)
    found = read(tmp_path, PAWSX_FORMATS)
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
    (sentence,) = read(tmp_path, UDPOS_FORMATS)[Part("dev", "de")]
    assert (sentence.words, sentence.tags) == (("in", "dem", "Haus"), ("ADP", "DET", "NOUN"))
    write(tmp_path / "wikiann/de/test", "de:Ada\tB-PER\nde::\tO\n\n")
    (sentence,) = read(tmp_path, PANX_FORMATS)[Part("test", "de")]
    assert sentence.words == ("Ada", ":")
    write(
        tmp_path / "sib-200/data/annotated/deu_Latn/dev.tsv",
        "index_id\tcategory\ttext\n7\ttravel\tin die Stadt\n",
    )
    assert read(tmp_path, SIB_FORMATS)[Part("dev", "de")][0].key == "7"
    write(tmp_path / "stsbenchmark/sts-dev.csv", "g\tf\t2012\t1\t2.5\ta\tb\n")
    assert read(tmp_path, STS_FORMATS)[Part("dev", "en")][0].label == "2.5"
    questions = [("swahili-1", "a b c", "?", "b"), ("korean-2", "a b c", "?", "c")]
    write(tmp_path / "tydiqa/tydiqa-goldp-v1.1-train.json", squad(questions))
    assert set(read(tmp_path, TYDIQA_FORMATS)) == {Part("train", "sw"), Part("train", "ko")}


def test_archives_and_compressed_files_are_folders_and_files(tmp_path: Path) -> None:
    archive(tmp_path / "xnli/all.tar.xz", {"inside/dev-fr.tsv": nli(3, "fr")})
    write(tmp_path / "xnli/dev-de.tsv.gz", nli(6, "de"))
    found = read(tmp_path, XNLI_FORMATS)
    assert {part.language: len(x) for part, x in found.items()} == {"fr": 3, "de": 6}


@pytest.mark.parametrize(
    "code, expected",
    [("deu", "de"), ("eng_Latn", "en"), ("swahili", "sw"), ("zho_Hant", "zh-Hant"), ("xx", "xx")],
)
def test_language_codes(code: str, expected: str) -> None:
    assert language_code(code) == expected


# ----------------------------------------------------------------------------------- broken files


def fault(data: Path, formats: Any) -> str:
    with pytest.raises(InputError) as error:
        read(data, formats)
    return str(error.value)


def test_a_wrong_label(tmp_path: Path) -> None:
    path = write(tmp_path / "xnli/dev-de.tsv", "a\tb\tneutral\na\tb\tmaybe\n")
    message = fault(tmp_path, XNLI_FORMATS)
    assert message == (
        f"{path}, line 2: label 'maybe' is none of entailment, neutral, contradiction"
    )


def test_too_few_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "pawsx/dev-de.tsv", "a\tb\t1\na\t0\n")
    assert fault(tmp_path, PAWSX_FORMATS) == (
        f"{path}, line 2: 2 tab-separated fields instead of 3"
    )


def test_a_wrong_tag(tmp_path: Path) -> None:
    path = write(tmp_path / "udpos/dev-de.tsv", tagged(1, "x") + "a\tNOPE\n")
    assert fault(tmp_path, UDPOS_FORMATS).startswith(f"{path}, line 6: tag 'NOPE' is none of ADJ")


def test_a_tag_without_its_word(tmp_path: Path) -> None:
    path = write(tmp_path / "panx/dev-de.tsv", "O\n")
    assert fault(tmp_path, PANX_FORMATS) == f"{path}, line 1: no tab between a word and its tag"


def test_truncated_files(tmp_path: Path) -> None:
    whole = gzip.compress(nli(300, "de").encode())
    path = tmp_path / "xnli/dev-de.tsv.gz"
    path.parent.mkdir()
    path.write_bytes(whole[: len(whole) // 2])
    assert "ends too early" in fault(tmp_path, XNLI_FORMATS)
    tar = archive(tmp_path / "xquad/xquad.tar.xz", {"xquad.de.json": squad([("1", "a", "b", "a")])})
    tar.write_bytes(tar.read_bytes()[:-40])
    assert "ends too early" in fault(tmp_path, XQUAD_FORMATS)


def test_broken_json(tmp_path: Path) -> None:
    path = write(tmp_path / "xquad/xquad.de.json", '{"data": [\n{')
    assert fault(tmp_path, XQUAD_FORMATS).startswith(f"{path}, line 2: not valid JSON")
    write(path, json.dumps({"data": [{"paragraphs": [{"qas": []}, {"q": 1}]}]}))
    assert fault(tmp_path, XQUAD_FORMATS).startswith(f"{path}: not a file as SQuAD's")


def test_bad_utf8(tmp_path: Path) -> None:
    path = tmp_path / "udpos/dev-de.tsv"
    path.parent.mkdir()
    path.write_bytes(b"a\tNOUN\n\xff\tNOUN\n")
    assert fault(tmp_path, UDPOS_FORMATS) == f"{path}, line 2: invalid UTF-8"


def test_a_similarity_out_of_range(tmp_path: Path) -> None:
    path = write(tmp_path / "stsb/stsb-de-dev.csv", '"a, b",c,5.0\na,b,6\n')
    assert fault(tmp_path, STS_FORMATS) == f"{path}, line 2: '6' is no similarity from 0 to 5"


def test_a_link_outside_of_its_sentence(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    write(data / "wa-toy/gold.en-de.gold", "0-0\n0-9\n")
    with pytest.raises(InputError, match=r"line 2: link 0-9 of 3 and 3 words"):
        alignment.read_gold_sets(data)


def test_sentences_that_are_not_parallel() -> None:
    from weam_ext.transfer.families.classification import Text

    with pytest.raises(InputError, match="not parallel"):
        crossed({"en": [Text("1", "a", "b", "neutral")], "de": []})


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


# -------------------------------------------------------------------------------------------- hub


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
