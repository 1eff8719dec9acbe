"""Data sets as they lie in a directory: archives, compressed files, and broken ones."""

import gzip
from pathlib import Path

from transfer_files import archive, fault, nli, read_parts, squad, write

from weam_ext.transfer.families.answering import XQUAD_FORMATS
from weam_ext.transfer.families.classification import XNLI_FORMATS
from weam_ext.transfer.families.tagging import UDPOS_FORMATS


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
