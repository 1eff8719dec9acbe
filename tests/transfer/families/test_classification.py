"""Texts with a label and similarities: read as published, put to a model, and broken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import real_data
from small_tokenizers import FAMILIES, tokenizer
from transfer_files import counts, fault, read_parts, write

from weam_ext.common.errors import InputError
from weam_ext.transfer import hub
from weam_ext.transfer.families.classification import (
    NLI,
    PAWSX_FORMATS,
    SIB_FORMATS,
    STS_FORMATS,
    XNLI_FORMATS,
    Classification,
    Similarity,
    Text,
    crossed,
)
from weam_ext.transfer.families.formats import Part
from weam_ext.transfer.results import Score


def test_xnli() -> None:
    found = counts("xnli-dev", XNLI_FORMATS)
    languages = [*hub.HUB["xnli"].languages, "ko"]
    assert {k: n for k, n in found.items() if k.startswith("dev")} == {
        f"dev-{code}": 2490 for code in languages
    }
    real_data("nli-train-en")
    assert found["train-en"] == 8330 + 4500


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


def test_a_wrong_label(tmp_path: Path) -> None:
    path = write(tmp_path / "xnli/dev-de.tsv", "a\tb\tneutral\na\tb\tmaybe\n")
    message = fault(tmp_path, XNLI_FORMATS)
    assert message == (
        f"{path}, line 2: label 'maybe' is not one of entailment, neutral, contradiction"
    )


def test_too_few_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "pawsx/dev-de.tsv", "a\tb\t1\na\t0\n")
    assert fault(tmp_path, PAWSX_FORMATS) == (
        f"{path}, line 2: 2 tab-separated fields instead of 3"
    )


def test_a_similarity_out_of_range(tmp_path: Path) -> None:
    path = write(tmp_path / "stsb/stsb-de-dev.csv", '"a, b",c,5.0\na,b,6\n')
    assert fault(tmp_path, STS_FORMATS) == f"{path}, line 2: '6' is no similarity from 0 to 5"


def test_sentences_that_are_not_parallel() -> None:
    with pytest.raises(InputError, match="not parallel"):
        crossed({"en": [Text("1", "a", "b", "neutral")], "de": []})


def test_xnli_and_multinli_as_first_published(tmp_path: Path) -> None:
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


def test_quotation_marks_are_those_of_the_text(tmp_path: Path) -> None:
    """XTREME's scripts write CSV: so quoted is what has quotation marks in it, and nothing else."""
    text = 'a "b"\t"so ""b"", he said"\t1\n"a"\t"""b"""\t0\n"a" "b"\t"\t0\n'
    write(tmp_path / "pawsx/dev-de.tsv", text)
    found = read_parts(tmp_path, PAWSX_FORMATS)[Part("dev", "de")]
    assert [(x.first, x.second) for x in found] == [
        ('a "b"', 'so "b", he said'), ('"a"', '"b"'), ('"a" "b"', '"'),
    ]  # fmt: skip


def test_what_paws_x_did_not_translate_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "pawsx/dev-de.tsv", "\tb\t1\nNS\tb\t0\na\tb\t0\n")
    examples = read_parts(tmp_path, PAWSX_FORMATS)[Part("dev", "de")]
    assert [x.label for x in examples] == ["1", "0", "0"]
    told = capsys.readouterr().err
    assert told == f"{path}: 2 of 3 examples are not translated, but count\n"
    rows = Classification(("0", "1")).encode(tokenizer("WordPiece"), examples, 16)
    assert len(rows) == 3


def test_paws_x_as_first_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paws = "id\tsentence1\tsentence2\tlabel\n1\ta\tb\t1\n2\tNS\tb\t0\n3\ta\t\t0\n"
    path = write(tmp_path / "x-final/de/test_2k.tsv", paws)
    write(tmp_path / "x-final/de/translated_train.tsv", paws)
    found = read_parts(tmp_path, PAWSX_FORMATS)
    assert [x.key for x in found[Part("test", "de")]] == ["test-1", "test-2", "test-3"]
    told = capsys.readouterr().err
    assert told == f"{path}: 2 of 3 examples are not translated, but count\n"
    assert len(found[Part("translated", "de")]) == 1  # nor is anything learnt of the others


def test_sib_200_and_sts_b_as_first_published(tmp_path: Path) -> None:
    write(
        tmp_path / "sib-200/data/annotated/deu_Latn/dev.tsv",
        "index_id\tcategory\ttext\n7\ttravel\tin die Stadt\n",
    )
    assert read_parts(tmp_path, SIB_FORMATS)[Part("dev", "de")][0].key == "7"
    write(tmp_path / "stsbenchmark/sts-dev.csv", "g\tf\t2012\t1\t2.5\ta\tb\n")
    assert read_parts(tmp_path, STS_FORMATS)[Part("dev", "en")][0].label == "2.5"


@pytest.mark.parametrize(
    ("name", "text", "formats", "message"),
    [
        ("xnli/dev-de.tsv", "a\t \tneutral\n", XNLI_FORMATS, "line 1: an empty text"),
        ("multinli/multinli_1.0_train.txt", "", XNLI_FORMATS, "line 1: no header with"),
        ("sib/sib200.tsv", "lang\tsplit\tindex_id\tcategory\ttext\nde\tall\t1\ttravel\ta\n",
         SIB_FORMATS, "line 2: 'all' is no split"),
        ("stsb/stsb-de-dev.csv", "a,b\n", STS_FORMATS, "line 1: 2 comma-separated fields"),
    ],
)  # fmt: skip
def test_files_that_are_something_else(
    name: str, text: str, formats: Any, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / name, text)
    assert f"{path}, {message}" in fault(tmp_path, formats)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_survive_the_way_to_tokens_and_back(family: str) -> None:
    examples = [Text(str(k), "ido mira", "dalo " * 40, label) for k, label in enumerate(NLI)]
    classification = Classification(NLI)
    rows = classification.encode(tokenizer(family), examples, 16)
    assert [len(row["input_ids"]) for row in rows] == [16] * 3
    outputs = np.eye(3)[[row["labels"] for row in rows]]
    decoded = classification.decode(outputs, rows, examples)
    assert decoded == list(NLI) == [classification.gold(x) for x in examples]
    scores = classification.score(examples, ["neutral"] * 3, "en")
    assert scores == {"accuracy": [Score(0.0), Score(1.0), Score(0.0)]}


def test_a_similarity_is_learnt_as_a_share_of_five() -> None:
    similarity, example = Similarity(), Text("1", "a", "b", "2.5")
    (row,) = similarity.encode(tokenizer("WordPiece"), [example], 16)
    assert row["labels"] == 0.5
    assert similarity.decode(np.array([[0.5]], np.float32), [row], [example]) == ["2.5"]
    assert similarity.head == {"num_labels": 1, "problem_type": "regression"}


def test_what_both_languages_have_alike_is_crossed(capsys: pytest.CaptureFixture[str]) -> None:
    def texts(language: str, *rows: str) -> list[Text]:
        return [Text(row[0], row[2:], f"{language} {row[0]}", row[1]) for row in rows]

    english, german = texts("en", "1 a", "2 b", "3 c", "4 d"), texts("de", "1 a", "2xb", "3 NS")
    found = crossed({"en": english, "de": german})
    keys = {pair: [x.key for x in examples] for pair, examples in found.items()}
    assert keys == {"en-en": [*"1234"], "en-de": ["1"], "de-en": ["1"], "de-de": ["1", "2"]}
    assert "left out are 8 of 16 pairs" in capsys.readouterr().err


def test_premises_are_crossed_with_hypotheses() -> None:
    english, german = (Text("1", f"a {c}", f"b {c}", "neutral") for c in ("en", "de"))
    found = crossed({"en": [english], "de": [german]})
    assert set(found) == {"en-en", "en-de", "de-en", "de-de"}
    assert (found["en-de"][0].first, found["en-de"][0].second) == ("a en", "b de")
