"""Bitext and other text: every format, and every error with its exact line."""

import io
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weam_ext import InputError
from weam_ext.align.aligner import Aligner
from weam_ext.text.bitext import (
    BitextSource,
    MonolingualSource,
    languages,
    parse_bitext,
    parse_monolingual,
    read_bitext,
    read_monolingual,
)

Write = Callable[..., str]


def read(path: str, **settings: object) -> list[tuple[str, str]]:
    return list(read_bitext(BitextSource("test", (path,), **settings)))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ lines


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def give(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    give(lzma.compress(b"a ||| b\n"))
    assert list(read_bitext(parse_bitext(["-"]))) == [("a", "b")]
    give(b"a ||| b\na\n")
    with pytest.raises(InputError, match=r"^standard input, line 2: no '\|\|\|'"):
        list(read_bitext(parse_bitext(["-"])))


# ----------------------------------------------------------------------------------------- bitext


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a b ||| c d", ("a b", "c d")),
        ("  a   b  |||  c  ", ("a   b", "c")),
        ("a ||| b ||| c", ("a", "b ||| c")),
        ("a|||b ||| c|||", ("a|||b", "c|||")),
        ("|||| ||| |||", ("||||", "|||")),
        ("||| b", ("", "b")),
        ("a |||", ("a", "")),
        ("|||", ("", "")),
        ("||| |||", ("", "|||")),
        (" |||  ", ("", "")),
        ("", ("", "")),
        ("  ", ("", "")),
        ("\u00a0 ||| \u2028\u3000", ("\u00a0", "\u2028\u3000")),
        ("a\tb", ("a", "b")),
        (" a \t b \tc", ("a", "b")),
        ("a ||| b\tc", ("a", "b\tc")),
        ("a|||\tb|||\t", ("a|||", "b|||")),
        ("a\t|||\tb", ("a", "b")),
        ("\t a\tb ||| \t", ("a\tb", "")),
        ("\t", ("", "")),
    ],
)
def test_one_file(write: Write, line: str, expected: tuple[str, str]) -> None:
    assert read(write(line + "\r\n")) == [expected]


@pytest.mark.parametrize("before", ["", "\n", " \n\t\n"])
def test_the_first_line_tells_what_the_file_is(write: Write, before: str) -> None:
    blank = [("", "")] * before.count("\n")
    path = write(f"{before}a ||| b\nc\td ||| e\tf\n")
    assert read(path) == [*blank, ("a", "b"), ("c\td", "e\tf")]
    path = write(f"{before}a\tb\nc ||| d\te\n")
    assert read(path) == [*blank, ("a", "b"), ("c ||| d", "e")]
    # Columns that are asked for are those of a file with tabs, whatever else it holds.
    path = write(f"{before}a ||| b\tc\n")
    assert read(path, columns=(2, 1)) == [*blank, ("c", "a ||| b")]


SEPARATORS = ["a", "a b", "a |||b", "a||| b", "a\u00a0|||\u00a0b", "a || b"]


@pytest.mark.parametrize(
    ("first", "lines", "fault"),
    [
        (
            "a ||| b",
            [*SEPARATORS, "a\tb"],
            "no '|||' between source and target, unlike the lines b",
        ),
        ("a\tb", [*SEPARATORS, "a ||| b"], "no tab between source and target, unlike the lines b"),
        ("\t", SEPARATORS, "no '|||' and no tab between source and target"),
    ],
)
def test_no_separator(write: Write, first: str, lines: list[str], fault: str) -> None:
    for line in lines:
        path = write(f"{first}\n\n{line}\nc ||| d\n")
        with pytest.raises(InputError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}, line 3: {fault}")


def test_columns_of_a_file_without_any(write: Write) -> None:
    path = write("\na ||| b\n")
    with pytest.raises(InputError, match=r"line 2: no tab .*, although columns were asked for$"):
        read(path, columns=(1, 2))


SPACES = [chr(code) for code in range(0x3001) if chr(code).isspace() and chr(code) not in " \t\n"]
SOME = ["a", "b", " ", "\t", "|", "é", "’", "水", "\u0600", *SPACES]


@given(
    lines=st.lists(st.text(st.sampled_from(SOME), max_size=12)
                   | st.sampled_from(["a ||| b", "a\tb", "|||", "a ||| b\tc"]), max_size=6),
    columns=st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3)),
    limit=st.none() | st.integers(1, 4),
)  # fmt: skip
def test_the_aligner_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    columns: tuple[int, int] | None,
    limit: int | None,
) -> None:
    """Its reader is another one: the same pairs, or the same words of what is wrong."""
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="")
    source = BitextSource("text", (str(path),), columns, limit)
    try:
        pairs = [[re.findall("[^ \t]+", side) for side in pair] for pair in read_bitext(source)]
    except InputError as error:
        with pytest.raises(InputError) as same:
            Aligner().read(source)
        assert str(same.value) == str(error)
        return
    text = Aligner().read(source)
    kept = [pair for pair in pairs if all(pair)]
    assert (len(text), text.dropped[0]) == (len(pairs), len(pairs) - len(kept))
    assert text.tokens == tuple(sum(len(pair[side]) for pair in kept) for side in (0, 1))
    for side in (0, 1):
        assert text.words(side) == list(dict.fromkeys(w for pair in kept for w in pair[side]))
    spaces = (
        any(char.isspace() for side in pair for word in side for char in word) for pair in kept
    )
    assert text.other_spaces == sum(spaces)


def test_too_few_columns(write: Write) -> None:
    path = write("1\t2\t3\n1\t2\n")
    with pytest.raises(InputError) as error:
        read(path, columns=(3, 1))
    assert str(error.value) == f"{path}, line 2: no column 3, only 2"


def test_two_files(write: Write) -> None:
    left = write(lzma.compress(b" a\tb \nc ||| d\n\n"), "left")
    right = write("x\r\n\r\n z", "right")
    source = parse_bitext([left, right])
    assert list(read_bitext(source)) == [("a\tb", "x"), ("c ||| d", ""), ("", "z")]


@pytest.mark.parametrize(("left", "right"), [(3, 5), (5, 3), (0, 2), (2, 0)])
def test_two_files_of_different_lengths(write: Write, left: int, right: int) -> None:
    paths = write("a\n" * left, "left"), write("b\n" * right, "right")
    with pytest.raises(InputError) as error:
        list(read_bitext(parse_bitext(paths)))
    assert str(error.value) == f"{paths[0]} has {left} lines but {paths[1]} has {right}"
    if limit := min(left, right):
        assert len(list(read_bitext(parse_bitext(paths, limit=limit)))) == limit


def test_limit(write: Write) -> None:
    path = write("a ||| b\nc ||| d\nbad\n")
    assert read(path, limit=1) == [("a", "b")]
    assert read(path, limit=2) == [("a", "b"), ("c", "d")]
    assert len(read(write("a ||| b"), limit=7)) == 1


@given(
    pairs=st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r|"))] * 2)
    ),
    tabs=st.booleans(),
)
def test_pairs_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], tabs: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "pairs"
    between = "\t" if tabs else " ||| "
    text = "".join(f"{source}{between}{target}\n" for source, target in pairs)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read(str(path)) == [(source.strip(" "), target.strip(" ")) for source, target in pairs]


@pytest.mark.parametrize(
    ("arguments", "name", "paths"),
    [
        (["data/train.en-fr.tsv.xz"], "train.en-fr", ("data/train.en-fr.tsv.xz",)),
        (["train.en.TXT", "train.fr"], "train.en", ("train.en.TXT", "train.fr")),
        (["news=train.en", "train.fr"], "news", ("train.en", "train.fr")),
        (["news=a=b"], "news", ("a=b",)),
        (["./a=b.tsv"], "a=b", ("./a=b.tsv",)),
        (["-"], "stdin", ("-",)),
        (["news=-"], "news", ("-",)),
        ([".xz"], ".xz", (".xz",)),
    ],
)
def test_parse_bitext(arguments: list[str], name: str, paths: tuple[str, ...]) -> None:
    assert parse_bitext(arguments) == BitextSource(name, paths, None, None)


@pytest.mark.parametrize(
    ("argument", "name", "path"),
    [("news.en.gz", "news.en", "news.en.gz"), ("en=x=y.txt", "en", "x=y.txt"),
     ("-", "stdin", "-"), ("./a=b.txt", "a=b", "./a=b.txt")],
)  # fmt: skip
def test_parse_monolingual(argument: str, name: str, path: str) -> None:
    assert parse_monolingual(argument, 7) == MonolingualSource(name, path, 7)


def test_monolingual_text_that_cannot_be_meant() -> None:
    for argument in ("", "=x", "a="):
        with pytest.raises(InputError, match=r"^--monolingual .*: expected \[NAME=\]FILE$"):
            parse_monolingual(argument)
    with pytest.raises(InputError, match="text 'a': a limit of 0 lines leaves nothing"):
        parse_monolingual("a", 0)


def test_read_monolingual(tmp_path: Path) -> None:
    path = tmp_path / "x.xz"
    path.write_bytes(lzma.compress(b" a b\t\r\n\nc ||| d\nlast"))
    for limit, kept in ((None, 4), (9, 4), (2, 2)):
        found = list(read_monolingual(MonolingualSource("x", str(path), limit)))
        assert found == [("a b",), ("",), ("c ||| d",), ("last",)][:kept]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("en-fr", ("en", "fr")),
        ("tatoeba.en-de", ("en", "de")),
        ("un_2.swh-eng", ("swh", "eng")),
        ("hansards", ("hansards:source", "hansards:target")),
        ("Xen-fr", ("en", "fr")),
        ("xen-fr", ("xen", "fr")),
        ("open-fr", ("open-fr:source", "open-fr:target")),
        ("en-fr.1", ("en-fr.1:source", "en-fr.1:target")),
    ],
)
def test_languages_of_bitext(name: str, expected: tuple[str, str]) -> None:
    assert languages(BitextSource(name, ("x",))) == expected


@pytest.mark.parametrize(
    ("name", "language"),
    [("en", "en"), ("news.sw", "sw"), ("wiki-2020.swh", "swh"), ("news", "news"), ("a.e", "a.e")],
)
def test_language_of_other_text(name: str, language: str) -> None:
    assert languages(MonolingualSource(name, "x")) == (language,)


def test_parse_bitext_keeps_columns_and_limit() -> None:
    assert parse_bitext(["a"], (3, 2), 10) == BitextSource("a", ("a",), (3, 2), 10)


@pytest.mark.parametrize(
    ("arguments", "columns", "limit", "fault"),
    [
        ([], (1, 2), None, "one or two files, not 0"),
        (["a", "b", "c"], (1, 2), None, "one or two files, not 3"),
        (["=a"], (1, 2), None, r"expected \[NAME=\]FILE"),
        (["a="], (1, 2), None, r"expected \[NAME=\]FILE"),
        (["-", "-"], (1, 2), None, "standard input cannot be both sides"),
        (["a"], (0, 2), None, r"columns count from 1, not \(0, 2\)"),
        (["a"], (1, 2), 0, "a limit of 0 pairs"),
    ],
)
def test_parse_bitext_refuses(
    arguments: list[str], columns: tuple[int, int], limit: int | None, fault: str
) -> None:
    with pytest.raises(InputError, match=fault):
        parse_bitext(arguments, columns, limit)
