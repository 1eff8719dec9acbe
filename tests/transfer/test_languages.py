"""Codes of languages, whatever a data set calls them."""

import pytest

from weam_ext.transfer.languages import language_code


@pytest.mark.parametrize(
    "code, expected",
    [
        ("deu", "de"),
        ("eng_Latn", "en"),
        ("swahili", "sw"),
        ("xx", "xx"),
        # A second script or another region is another test set.
        ("zho_Hans", "zh"),
        ("zho_Hant", "zh-Hant"),
        ("zho-TW", "zh-TW"),
        ("zho-CN", "zh"),
        ("arb_Arab", "ar"),
        ("arb_Latn", "ar-Latn"),
        ("srp-Cyrl", "sr"),
        ("srp-Latn", "sr-Latn"),
        ("fra-CA", "fr-CA"),
    ],
)
def test_language_codes(code: str, expected: str) -> None:
    assert language_code(code) == expected
