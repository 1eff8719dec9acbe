"""Which way an operator takes: Triton's, or a slower one with a loud line."""

import sys

import pytest

from weam_ext.ops.triton import launcher


def plain() -> None:
    pass


def test_the_launcher_where_triton_is() -> None:
    from weam_ext.ops.triton.gather import gather_rows

    assert launcher("gather", "gather_rows", plain).__wrapped__ is gather_rows


def test_without_triton_the_slow_path_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher.cache_clear()
    monkeypatch.setitem(sys.modules, "triton", None)
    for _ in range(2):
        assert launcher("gather", "gather_rows", plain) is plain
    launcher.cache_clear()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("weam_ext: SLOW PATH: gather_rows runs through plain torch operations")
