"""The cells of a grid: what names each of them, and what makes it fail."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from transfer_files import flags, small_data, write

from weam_ext.common.errors import InputError
from weam_ext.transfer import cli, read_all
from weam_ext.transfer.grid import Job
from weam_ext.transfer.jobs import jobs_of
from weam_ext.transfer.models import identified
from weam_ext.transfer.results import read_failed
from weam_ext.transfer.settings import TransferSettings


def test_one_bad_model_or_task_does_not_stop_the_others(
    inputs: Path, tmp_path: Path, capsys: Any
) -> None:
    data = small_data(tmp_path / "data")
    (data / "udpos/dev-en.tsv").write_text("a\tNOPE\n")
    bad = shutil.copytree(inputs / "a", tmp_path / "bad")
    (bad / "config.json").write_text('{"model_type": "t5"}')
    arguments = flags(inputs, tmp_path / "out", models=(f"good={inputs / 'a'}", f"bad={bad}",
                                                        f"gone={tmp_path / 'gone'}"))  # fmt: skip
    with pytest.raises(InputError, match="7 of 9 cells failed"):
        cli.main([*arguments, "--data", str(data), "--tasks", "tatoeba", "udpos", "alignment",
                       "--seeds", "1"])  # fmt: skip
    reasons = {(f.cell.model, f.cell.task): f.reason for f in read_failed(tmp_path / "out")}
    assert "line 1: tag 'NOPE' is not one of ADJ" in reasons["good", "udpos"]
    assert reasons["gone", "tatoeba"].endswith("gone: no such directory")
    assert str(bad) in reasons["bad", "alignment"]
    assert {row.cell.task for row in read_all(tmp_path / "out")} == {"tatoeba", "alignment"}


def jobs(encoder: Path, data: Path, *tasks: str, **given: Any) -> list[Job]:
    options = {"models": ((f"m={encoder}",),), "output": Path("out"), "seeds": 2} | given
    settings = TransferSettings(data=data, tasks=tasks, **options)
    return list(jobs_of(settings, identified(settings.model_directories())))


def test_a_cell_for_each_setting_way_and_seed(encoder: Path, data: Path) -> None:
    found = jobs(encoder, data, "xnli", "tatoeba", settings=("zero-shot", "translate-train"),
                 fine_tuning=("plain", "random"))  # fmt: skip
    settings = [job.cell.setting for job in found]
    assert settings == ["zero-shot"] * 4 + ["translate-train"] * 4 + ["frozen"]
    assert len({job.cell.identity for job in found}) == 9
    assert {job.cell.options.get("target", "") for job in found} == {"", "de"}
    ways = [job.cell.options["fine_tuning"] for job in found[:4]]
    assert ways == ["plain", "plain", "random", "random"]
    assert "radius" not in found[0].cell.options and found[2].cell.options["radius"] == 0.1


def test_a_cell_depends_on_what_it_reads_alone(encoder: Path, data: Path, tmp_path: Path) -> None:
    """Translations and shots are read by the settings that train on them."""
    copy = shutil.copytree(data, tmp_path / "data")
    write(copy / "xnli/multinli.train.de.tsv", "premise\thypo\tlabel\na\tb\tneutral\n")
    settings = ("zero-shot", "translate-train-all", "few-shot-1")
    before, after = (
        {job.cell.setting: job.cell.identity for job in made}
        for made in (jobs(encoder, at, "xnli", settings=settings) for at in (data, copy))
    )
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"translate-train-all"}


def test_data_that_cannot_be_read_fail_when_their_cell_is_made(encoder: Path, data: Path) -> None:
    for task, languages, message in (
        ("panx", None, "no files of panx there"),
        ("xnli", ("sw",), "xnli: has none of sw"),
        ("tatoeba", ("sw",), "tatoeba: has none of sw"),
    ):
        first = jobs(encoder, data, task, languages=languages)[0]
        with pytest.raises(InputError, match=message):
            first.make(Path("work"))


def test_test_sets_of_a_language(encoder: Path, data: Path, tmp_path: Path) -> None:
    """A language asks for all of its sets; the name of a set is no language."""
    copy = shutil.copytree(data, tmp_path / "data")
    for name in ("test_2016_flickr", "test_2018_flickr"):
        for code in ("en", "de", "fr"):
            write(copy / f"multi30k/{name}.{code}", f"{code} a\n{code} b\n{code} c\n")
    given = {"test_limit": 2, "device": "cpu", "precision": "fp32"}
    (job,) = jobs(encoder, copy, "multi30k", languages=("de",), **given)
    evaluations, _ = job.make(tmp_path)
    found = {each.language: each.keys for each in evaluations}
    assert list(found) == ["test_2016_flickr:de", "test_2018_flickr:de"]
    assert found["test_2018_flickr:de"] == ["test_2018_flickr:0", "test_2018_flickr:1"]


def test_gold_sets_of_other_languages_are_told_of(
    encoder: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    write(copy / "wa-xl/it/test.tsv", "the house\tla casa\t0-0 1-1\n")
    (job,) = jobs(encoder, copy, "alignment", languages=("de",))
    assert "alignment: without xl:en-it, as --languages does not name" in capsys.readouterr().err
    (empty,) = jobs(encoder, copy, "alignment", languages=("fr",))
    with pytest.raises(InputError, match="alignment: has none of fr"):
        empty.make(tmp_path)
    assert empty.cell.identity != job.cell.identity
