"""The aligner's command line, in this process and in another."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aligners import Refuse, Run, Write

from weam_ext.align.cli import main
from weam_ext.common.errors import InputError


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, data: str | bytes) -> str:
        (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return name

    return write


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the program in a folder of its own, with the buffers that users have."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONUNBUFFERED", None)

    def command(*arguments: str, **streams: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "weam_ext.align", *arguments],
            cwd=tmp_path,
            env=environment,
            text=True,
            encoding="utf-8",
            stdin=streams.get("stdin", subprocess.DEVNULL),
            stdout=streams.get("stdout", subprocess.PIPE),
            stderr=streams.get("stderr", subprocess.PIPE),
        )

    return command


@pytest.fixture
def align(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Standard output and error of a run that must succeed, in this process."""
    monkeypatch.chdir(tmp_path)

    def align(*arguments: str) -> tuple[str, str]:
        main(arguments)
        captured = capsys.readouterr()
        return captured.out, captured.err

    return align


@pytest.fixture
def refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refuse:
    """The sentence of a run that must fail before it does or writes anything."""
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments: str) -> str:
        there = sorted(tmp_path.rglob("*"))
        with pytest.raises(InputError) as caught:
            main(arguments)
        assert tuple(capsys.readouterr()) == ("", "")
        assert sorted(tmp_path.rglob("*")) == there
        return str(caught.value)

    return refuse
