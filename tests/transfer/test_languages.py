"""Codes of languages, whatever a data set calls them."""

import pytest

from weam_ext.transfer.languages import language_code


@pytest.mark.parametrize(
    "code, expected",
    [("deu", "de"), ("eng_Latn", "en"), ("swahili", "sw"), ("zho_Hant", "zh-Hant"), ("xx", "xx")],
)
def test_language_codes(code: str, expected: str) -> None:
    assert language_code(code) == expected
