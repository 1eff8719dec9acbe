"""Choices: read as published, put to a model, and broken."""

from transfer_files import counts

from weam_ext.transfer.families.choice import XCOPA_FORMATS


def test_xcopa() -> None:
    languages = ["et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"]
    expected = {f"dev-{code}": 100 for code in languages} | {f"test-{c}": 500 for c in languages}
    assert counts("xcopa", XCOPA_FORMATS) == expected
