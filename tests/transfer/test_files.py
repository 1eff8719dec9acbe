"""Data sets as they lie in a directory: archives, compressed files, and broken ones."""

import gzip
from pathlib import Path

import pytest
from transfer_files import archive, fault, nli, read_parts, squad, write

from weam_ext.common.errors import InputError
from weam_ext.transfer.families.answering import XQUAD_FORMATS
from weam_ext.transfer.families.classification import XNLI_FORMATS
from weam_ext.transfer.families.tagging import UDPOS_FORMATS
from weam_ext.transfer.files import Source, fields, read_lines, read_text, sources, table_rows


def test_archives_and_compressed_files_are_folders_and_files(tmp_path: Path) -> None:
    archive(tmp_path / "xnli/all.tar.xz", {"inside/dev-fr.tsv": nli(3, "fr")})
    write(tmp_path / "xnli/dev-de.tsv.gz", nli(6, "de"))
    found = read_parts(tmp_path, XNLI_FORMATS)
    assert {part.language: len(x) for part, x in found.items()} == {"fr": 3, "de": 6}


def test_truncated_files(tmp_path: Path) -> None:
    whole = gzip.compress(nli(300, "de").encode())
    path = tmp_path / "xnli/dev-de.tsv.gz"
    path.parent.mkdir()
    path.write_bytes(whole[: len(whole) // 2])
    assert "ends too early" in fault(tmp_path, XNLI_FORMATS)
    tar = archive(tmp_path / "xquad/xquad.tar.xz", {"xquad.de.json": squad([("1", "a", "b", "a")])})
    tar.write_bytes(tar.read_bytes()[:-40])
    assert "ends too early" in fault(tmp_path, XQUAD_FORMATS)


def test_bad_utf8(tmp_path: Path) -> None:
    path = tmp_path / "udpos/dev-de.tsv"
    path.parent.mkdir()
    path.write_bytes(b"a\tNOUN\n\xff\tNOUN\n")
    assert fault(tmp_path, UDPOS_FORMATS) == f"{path}, line 2: invalid UTF-8"


def test_names_are_less_what_compresses_them(tmp_path: Path) -> None:
    archive(tmp_path / "set-b/all.tar.xz", {"in/x.tsv": "1", "y.txt": "2"})
    write(tmp_path / "set-a/x.tsv.gz", "3")
    write(tmp_path / "Set", "4")
    write(tmp_path / "other/x.tsv", "5")
    found = sources(tmp_path, "set")
    assert {source.name: read_text(source) for source in found} == {
        "Set": "4",
        "set-a/x.tsv": "3",
        "set-b/all/in/x.tsv": "1",
        "set-b/all/y.txt": "2",
    }
    assert [source.name for source in sources(tmp_path / "set-a", "set")] == ["set-a/x.tsv"]
    with pytest.raises(InputError, match="none: no such directory"):
        sources(tmp_path / "none", "set")


def test_lines_and_fields(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes("\ufeffa\tb\r\n\r\nc\u2028d".encode())
    source = Source("x.tsv", path, None)
    lines = list(read_lines(source))
    assert [(line.number, line.text) for line in lines] == [(1, "a\tb"), (2, ""), (3, "c\u2028d")]
    assert fields(lines[0], 2) == ["a", "b"]
    with pytest.raises(InputError, match=r"x\.tsv, line 2: only 1 tab-separated fields"):
        list(table_rows(source, ("b", "a")))
    with pytest.raises(InputError, match=r"line 2: 1 tab-separated fields instead of 2"):
        list(table_rows(source, ("b", "a"), exact=True))
    with pytest.raises(InputError, match=r"line 1: no header with the columns a, c"):
        list(table_rows(source, ("a", "c")))
    with pytest.raises(InputError, match=r"x\.tsv, line 3: 1 tab-separated fields instead of 2"):
        fields(lines[2], 2)


def test_what_is_no_archive(tmp_path: Path) -> None:
    write(tmp_path / "set/x.tar.gz", "no archive at all" * 100)
    with pytest.raises(InputError, match=r"x\.tar\.gz: not a whole tar archive"):
        sources(tmp_path, "set")
