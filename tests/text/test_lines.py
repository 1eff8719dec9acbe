"""Lines of files: every compression, every end of a line, every fault with its exact line."""

import bz2
import gzip
import itertools
import lzma
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from weam_ext import InputError
from weam_ext.text import lines
from weam_ext.text.lines import read_lines

Write = Callable[..., str]


Compress = Callable[[bytes], bytes]


COMPRESSIONS: dict[str, Compress] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "Zstandard": zstandard.ZstdCompressor().compress,
}


# All that str.splitlines takes for the end of a line, and other difficult text.
DIFFICULT = [
    "U+2028 \u2028 U+2029 \u2029 NEL \x85 VT \x0b FF \x0c FS \x1c",
    "no-break\u00a0space and ideographic\u3000space",
    "今天下雨吗？",
    "emoji 👩‍👩‍👧‍👦 🇫🇷 and a combining e\u0301",
    "a lone \r carriage return",
    "NUL \0 and a later mark \ufeff",
    "",
    " blanks stay ",
]


lines_of_text = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\n")).filter(
        lambda line: not line.endswith("\r")
    )
)


@pytest.fixture(params=[10, 13, lines._BLOCK], ids=["block 10", "block 13", "block"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Nothing may depend on where a block of the file ends (ten bytes tell the formats apart)."""
    size: int = request.param
    monkeypatch.setattr(lines, "_BLOCK", size)
    return size


@pytest.mark.parametrize("compress", [bytes, *COMPRESSIONS.values()], ids=["plain", *COMPRESSIONS])
def test_formats_are_told_by_their_bytes(write: Write, block: int, compress: Compress) -> None:
    data = "\n".join(DIFFICULT).encode() + b"\n"
    assert list(read_lines(write(compress(data), "misleading.txt.gz"))) == DIFFICULT


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_members_are_joined(write: Write, block: int, compress: Compress) -> None:
    data = compress(b"one\ntw") + compress(b"") + compress(b"o\nthree")
    assert list(read_lines(write(data))) == ["one", "two", "three"]


@pytest.mark.parametrize("name", ["gzip", "xz"])
def test_zeros_may_pad_a_member(write: Write, block: int, name: str) -> None:
    member = COMPRESSIONS[name](b"one\n")
    assert list(read_lines(write(member + bytes(4) + member + bytes(512)))) == ["one", "one"]


def test_zstandard_skippable_frames(write: Write, block: int) -> None:
    skippable = b"\x50\x2a\x4d\x18" + struct.pack("<I", 3) + b"any"
    data = skippable + COMPRESSIONS["Zstandard"](b"one\n") + skippable
    assert list(read_lines(write(data))) == ["one"]


def test_text_that_looks_like_bzip2(write: Write) -> None:
    assert list(read_lines(write("BZh9 is a word\n"))) == ["BZh9 is a word"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"\n\n", ["", ""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\r\r\nb\rc\n", ["a\r", "b\rc"]),
        (b"a\r", ["a\r"]),
        (b"\xef\xbb\xbf", []),
        (b"\xef\xbb\xbf\n", [""]),
        (b"\xef\xbb\xbfa\r\n\xef\xbb\xbfb", ["a", "\ufeffb"]),
    ],
)
def test_line_ends_and_byte_order_mark(
    write: Write, block: int, data: bytes, expected: list[str]
) -> None:
    assert list(read_lines(write(data))) == expected


@given(lines=lines_of_text, last=st.sampled_from(["", "\n", "\r\n"]), size=st.integers(1, 40))
def test_lines_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], last: str, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "there-and-back"
    # Without a last line feed an empty last line is no line; at the start a mark is dropped.
    end = last or "\n" * (not lines or not lines[-1])
    path.write_bytes(b"\xef\xbb\xbf" + ("\n".join(lines) + end).encode() if lines else b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weam_ext.text.lines._BLOCK", size)
        assert list(read_lines(str(path))) == lines


def test_a_very_long_line(write: Write) -> None:
    long = "långt " * 1_500_000
    assert len(long.encode()) > 10_000_000
    path = write(gzip.compress(f"a\n{long}\nb".encode(), 1))
    assert list(read_lines(path)) == ["a", long, "b"]


def test_lines_stream(write: Write) -> None:
    """The good lines come before the error, so a limit before it is a limit."""
    path = write(b"good\n" * 3 + b"bad \xff\n")
    assert list(itertools.islice(read_lines(path), 3)) == ["good"] * 3
    with pytest.raises(InputError, match=r"line 4: invalid UTF-8"):
        list(read_lines(path))


@pytest.mark.parametrize("line", [1, 2, 50_000, 99_999, 100_000])
@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (b"\xff", "byte 0xff at column 4"),
        (b"\xc3", "byte 0xc3 at column 4"),  # cut short by the line feed
        (b"\xed\xa0\x80", "byte 0xed at column 4"),  # a surrogate
        (b"\xc0\xaf", "byte 0xc0 at column 4"),  # overlong
    ],
)
def test_invalid_utf8_is_found(write: Write, line: int, bad: bytes, fault: str) -> None:
    lines = ["é of a line".encode()] * 100_000
    lines[line - 1] = "äöü".encode() + bad
    path = write(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    with pytest.raises(InputError) as error:
        list(read_lines(path))
    assert str(error.value) == f"{path}, line {line}: invalid UTF-8 ({fault})"


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_truncated_and_corrupt(write: Write, block: int, name: str) -> None:
    whole = COMPRESSIONS[name](b"".join(b"line %d\n" % (k * k) for k in range(500)))
    for cut in (len(whole) // 2, len(whole) - 1):
        path = write(whole[:cut])
        with pytest.raises(InputError, match=f"text: the {name} data ends too early"):
            list(read_lines(path))
    path = write(whole + b"rubbish after it")
    with pytest.raises(InputError, match=f"text: corrupt {name} data"):
        list(read_lines(path))
    middle = len(whole) // 2
    path = write(whole[:middle] + bytes(b ^ 0xFF for b in whole[middle:]))
    with pytest.raises(InputError, match="text"):  # small blocks let some bad text through first
        list(read_lines(path))


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path, fault in [
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(InputError) as error:
            list(read_lines(str(path)))
        assert str(error.value) == f"{path}: {fault}"


def test_reading_is_fast(write: Write) -> None:
    """A guard against decoding line by line, with much room for a slow machine."""
    path = write("a sentence of a few words ||| eine kurze Übersetzung\n" * 200_000)
    start = time.process_time()
    assert sum(1 for _ in read_lines(path)) == 200_000
    assert time.process_time() - start < 2
