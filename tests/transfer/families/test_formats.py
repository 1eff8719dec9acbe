"""Where the parts of a data set are found, and which of several files gives one."""

from pathlib import Path

from transfer_files import write

from weam_ext.transfer.families.formats import Format, Part, find
from weam_ext.transfer.files import Source


def named(source: Source, part: Part) -> list[str]:
    """Instead of examples the file that they would be read from."""
    return [source.name]


NEW = Format(("set",), r"/(?P<split>dev|test)-(?P<lang>[a-z]+)\.tsv$", named)
OLD = Format(("set", "old"), r"/(?P<lang>[a-z]+)\.txt$", named, split="dev")


def examples(data: Path, *groups: tuple[Format, ...]) -> dict[Part, list[str]]:
    found = find(data, groups)
    return {part: [x for _, read in loaders for x in read()] for part, loaders in found.items()}


def test_the_first_group_that_has_a_part_gives_it(tmp_path: Path) -> None:
    for name in (
        "set-1/dev-deu.tsv",
        "set-1/de.txt",
        "set-1/fr.txt",
        "set-1/readme",
        "x/dev-en.tsv",
    ):
        write(tmp_path / name, "")
    german, french = Part("dev", "de"), Part("dev", "fr")
    first = {german: ["set-1/dev-deu.tsv"], french: ["set-1/fr.txt"]}
    assert examples(tmp_path, (NEW,), (OLD,)) == first
    # Within a group they are read one after another, and what two folders' names match, once.
    both = {german: ["set-1/dev-deu.tsv", "set-1/de.txt"], french: ["set-1/fr.txt"]}
    assert examples(tmp_path, (NEW, OLD, OLD)) == both
    assert examples(tmp_path, ()) == {}


def test_a_language_of_two_and_a_file_of_several_parts(tmp_path: Path) -> None:
    pattern = r"/(?P<lang>[a-z]+)\.(?P<question>[a-z]+)$"
    write(tmp_path / "set/deu.fra", "")
    crossed = Format(("set",), pattern, named, split="test")
    assert set(find(tmp_path, [[crossed]])) == {Part("test", "de-fr")}
    parts = [Part("train", "a"), Part("train", "b")]
    several = Format(("set",), pattern, named, parts=lambda source: parts)
    assert list(find(tmp_path, [[several]])) == parts
