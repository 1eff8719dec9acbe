"""Texts with a label and similarities: read as published, put to a model, and broken."""

from pathlib import Path

import pytest
from helpers import real_data
from transfer_files import counts, fault, write

from weam_ext.common.errors import InputError
from weam_ext.transfer import hub
from weam_ext.transfer.families.classification import (
    PAWSX_FORMATS,
    SIB_FORMATS,
    STS_FORMATS,
    XNLI_FORMATS,
    crossed,
)


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
        f"{path}, line 2: label 'maybe' is none of entailment, neutral, contradiction"
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
    from weam_ext.transfer.families.classification import Text

    with pytest.raises(InputError, match="not parallel"):
        crossed({"en": [Text("1", "a", "b", "neutral")], "de": []})
