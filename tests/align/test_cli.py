"""`python -m weam_ext.align` as a user runs it: what it writes, and what it says when it cannot."""

import bz2
import gzip
import lzma
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zstandard
from aligners import Command, Refuse, Run, Write

from weam_ext.align.aligner import Aligner
from weam_ext.align.hmm import PER_WORD
from weam_ext.align.links import HEURISTICS
from weam_ext.align.scoring import score
from weam_ext.common.errors import InputError
from weam_ext.common.files import owned
from weam_ext.text.toy_corpus import sentence_pairs

PAIRS = sentence_pairs("toku", 60)
SOURCE, TARGET = [pair.source for pair in PAIRS], [pair.target for pair in PAIRS]
TEXT = "".join(f"{pair.source} ||| {pair.target}\n" for pair in PAIRS)
FLAGS = ["-d", "-o", "-v"]
ASKED = "although columns were asked for"
OTHERS = "unlike the lines before it"


def expected(heuristic: str, *, limit: int = len(PAIRS), **settings: Any) -> str:
    links = Aligner(model="fast-align", heuristic=heuristic, **settings).fit_align(
        SOURCE[:limit], TARGET[:limit]
    )
    return links.to_pharaoh(by_target=heuristic == "forward")


# ------------------------------------------------------------------------------- output


def test_forward_with_the_letters_of_fast_align(align: Run, write: Write) -> None:
    output, errors = align("-i", write("text", TEXT), *FLAGS)
    assert output == expected("forward")
    lines = errors.splitlines()
    assert re.fullmatch(r"memory: fast mode, about \S+ [MG]B; \S+ GB free", lines[0])
    assert [line for line in lines if line.startswith("ITERATION")] == [
        *(f"ITERATION {number}" for number in range(1, 5)),
        "ITERATION 5 (FINAL)",
    ]
    assert re.fullmatch(r"expected target length = source length \* \d\.\d+", lines[-4])
    assert re.fullmatch(r"final tension: \d\.\d+", lines[-3])
    assert lines[-2] == "dropped pairs: 0 with an empty side, 0 over-long"
    assert re.fullmatch(r"peak memory: \S+ [MG]B", lines[-1])


def test_reverse(align: Run, write: Write) -> None:
    output, _ = align("-i", write("text", TEXT), *FLAGS, "-r", "--threads", "2")
    assert output == expected("backward")


@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_symmetrize(align: Run, write: Write, heuristic: str) -> None:
    output, errors = align("-i", write("text", TEXT), *FLAGS, "--symmetrize", heuristic)
    assert output == expected(heuristic)
    assert re.findall(r"^ (\w+)$", errors, re.MULTILINE) == ["forward", "backward"] * 5
    for name in ("forward", "backward"):
        assert re.search(rf"^{name}: expected target length = source length \* \d", errors, re.M)
        assert re.search(rf"^{name}: final tension: \d", errors, re.M)


def test_scores(align: Run, write: Write) -> None:
    """Behind the links: of one direction, or of both, forward first."""
    text = write("text", TEXT)
    for flags, heuristic in (
        ([], "forward"),
        (["-r"], "backward"),
        (["--symmetrize", "union"], "union"),
    ):
        aligner = Aligner(model="fast-align", heuristic=heuristic)
        alignment = aligner.fit_align(SOURCE, TARGET)
        links = alignment.to_pharaoh(by_target=heuristic == "forward")
        scores = zip(*alignment.scores.values(), strict=True)
        rows = [
            f"{line} ||| {' '.join(f'{value:.6g}' for value in row)}\n"
            for line, row in zip(links.splitlines(), scores, strict=True)
        ]
        assert align("-i", text, *FLAGS, "-s", *flags)[0] == "".join(rows)
        assert align("-i", text, *FLAGS, "--scores", *flags)[0] == "".join(rows)


def test_posteriors(align: Run, write: Write) -> None:
    text = write("text", TEXT)
    for flags, heuristic in (
        ([], "forward"),
        (["-r"], "backward"),
        (["--symmetrize", "grow-diag"], "grow-diag"),
    ):
        links = Aligner(model="fast-align", heuristic=heuristic).fit_align(
            SOURCE, TARGET, posteriors=True
        )
        output, _ = align("-i", text, *FLAGS, "--posteriors", *flags)
        assert output == links.to_pharaoh(by_target=heuristic == "forward", probabilities=True)
        assert all(re.fullmatch(r"\d+-\d+:[01]\.\d{4}", link) for link in output.split())
    assert re.fullmatch(
        r"(\d+-\d+:[01]\.\d{4} ?)+ \|\|\| -\d+\.\d+",
        align("-i", text, *FLAGS, "--posteriors", "-s")[0].splitlines()[0],
    )


def lexicon(path: str) -> list[list[str]]:
    rows = [line.split(" ") for line in Path(path).read_text().splitlines()]
    assert all(len(row) == 3 and 0 < float(row[2]) <= 1.001 for row in rows)
    return rows


def test_lexicon(align: Run, write: Write) -> None:
    """As Moses writes and Marian reads it: the generated word, the given one, its probability."""
    text = write("text", TEXT)
    align("-i", text, *FLAGS, "--lexicon", "lex")
    align("-i", text, *FLAGS, "-r", "--lexicon", "reverse")
    align("-i", text, *FLAGS, "--symmetrize", "union", "--lexicon", "both")
    for one, other in (("lex", "both.s2t"), ("reverse", "both.t2s")):
        alone, both = ({tuple(row[:2]): float(row[2]) for row in lexicon(p)} for p in (one, other))
        assert alone == pytest.approx(both, rel=1e-3)
    words = {word for line in SOURCE for word in line.split()}
    others = {word for line in TARGET for word in line.split()}
    for path, given, generated in (("lex", words, others), ("reverse", others, words)):
        rows = lexicon(path)
        assert {row[1] for row in rows} <= given
        assert {row[0] for row in rows} <= generated
        totals = dict.fromkeys(given, 0.0)
        for row in rows:
            totals[row[1]] += float(row[2])
        assert max(totals.values()) < 1.001
    expected = Aligner(model="fast-align", heuristic="forward").fit(SOURCE, TARGET).lexicon(100)
    assert [(row[1], row[0]) for row in lexicon("lex")] == [
        (word, other) for word, entries in expected.items() for other, _ in entries
    ]


def test_top(align: Run, write: Write) -> None:
    text = write("text", TEXT)
    align("-i", text, *FLAGS, "--lexicon", "all")
    align("-i", text, *FLAGS, "--lexicon", "few", "--top", "2")
    best: dict[str, list[list[str]]] = {}
    for row in lexicon("all"):
        best.setdefault(row[1], []).append(row)
    assert max(map(len, best.values())) > 2
    assert lexicon("few") == [row for rows in best.values() for row in rows[:2]]
    assert all(
        float(one[2]) >= float(other[2]) for rows in best.values() for one, other in pairwise(rows)
    )


def test_gold(align: Run, write: Write) -> None:
    """Scores the last lines; every second true link is only a possible one here."""
    tail = PAIRS[-20:]
    rows = [
        " ".join(f"{i}{'-?'[n % 2]}{j}" for n, (i, j) in enumerate(pair.links)) for pair in tail
    ]
    gold = [(set(pair.links[::2]), set(pair.links)) for pair in tail]
    name = write("gold", "".join(f"{row}\n" for row in rows))
    flags = [*FLAGS, "--symmetrize", "intersect", "--gold", name]
    output, errors = align("-i", write("text", TEXT), *flags)
    assert output == expected("intersect")
    links = list(Aligner(model="fast-align", heuristic="intersect").fit_align(SOURCE, TARGET))[-20:]
    assert errors.splitlines()[-1] == f"20 gold pairs: {score(links, gold)}"
    assert re.search(r"precision 0\.\d{4}  recall 0\.\d{4}  AER 0\.\d{4}$", errors)


# ------------------------------------------------------------------------------- kept models


@pytest.mark.parametrize("flags", [[], ["-r"], ["--symmetrize", "grow-diag-final-and"]])
def test_save_and_model(align: Run, write: Write, flags: list[str]) -> None:
    """A kept model gives the text the links and scores of training, without training."""
    text = write("text", TEXT)
    trained = align("-i", text, *FLAGS, *flags, "-s", "--save", "kept/model")[0]
    output, errors = align("-i", text, "--model", "kept/model", "-s")
    assert output == trained
    assert "ITERATION" not in errors
    assert align("-i", text, "--model", "kept/model", "--memory", "low", "-s")[0] == trained


def test_a_kept_model_gives_its_files_again(align: Run, write: Write) -> None:
    text = write("text", TEXT)
    align("-i", text, *FLAGS, "--save", "kept", "-p", "table", "--lexicon", "lex")
    align("-i", write("new", "a ||| b\n"), "--model", "kept", "-p", "table2", "--lexicon", "lex2")
    assert Path("table2").read_bytes() == Path("table").read_bytes()
    assert Path("lex2").read_bytes() == Path("lex").read_bytes()


def test_a_kept_model_can_be_combined_another_way(align: Run, write: Write) -> None:
    text = write("text", TEXT)
    align("-i", text, *FLAGS, "--symmetrize", "union", "--save", "kept")
    output, _ = align("-i", text, "--model", "kept", "--symmetrize", "intersect")
    assert output == expected("intersect")


def test_a_kept_model_with_another_limit_of_length(align: Run, write: Write) -> None:
    text = write("text", TEXT)
    align("-i", text, *FLAGS, "--save", "kept")
    output, errors = align("-i", text, "--model", "kept", "--max-length", "1")
    assert output == "\n" * len(PAIRS)
    assert f"dropped pairs: 0 with an empty side, {len(PAIRS)} over-long" in errors


@pytest.mark.parametrize("flags", [[], ["-r"], ["--symmetrize", "union"]])
def test_init(align: Run, write: Write, flags: list[str]) -> None:
    """Goes on from the first half of the text."""
    first, second = write("first", "".join(halves(0))), write("second", "".join(halves(1)))
    align("-i", first, *FLAGS, *flags, "--save", "kept")
    output, _ = align("-i", second, *FLAGS, *flags, "--init", "kept")
    heuristic = flags[-1] if len(flags) > 1 else "backward" if flags else "forward"
    half = len(PAIRS) // 2
    init = Aligner(model="fast-align", heuristic=heuristic).fit(SOURCE[:half], TARGET[:half])
    links = Aligner(model="fast-align", heuristic=heuristic).fit_align(
        SOURCE[half:], TARGET[half:], init=init
    )
    assert output == links.to_pharaoh(by_target=heuristic == "forward")


def halves(which: int) -> list[str]:
    rows = TEXT.splitlines(keepends=True)
    return rows[len(rows) // 2 :] if which else rows[: len(rows) // 2]


# ------------------------------------------------------------------------------- resources


def test_memory_modes_give_the_same_links(align: Run, write: Write) -> None:
    """And say what they take; the first two lines of the report differ, no figure does."""
    text = write("text", TEXT)
    flags = ["-i", text, *FLAGS, "-s", "--symmetrize", "union"]
    plain, report = align(*flags, "--memory", "fast")
    places = {
        "low": ["--memory", "low"],
        "fast": ["--memory", "auto"],
        "files": ["--max-memory", "1M", "--temp-dir", "."],
    }
    for mode, choice in places.items():
        output, errors = align(*flags, *choice)
        assert output == plain
        first, *rest = errors.splitlines()
        assert first.startswith(f"memory: {mode} mode, about ")
        assert ("(fast mode would need " in first) == (mode != "fast")
        if mode == "files":  # Python alone holds more than a megabyte
            assert rest.pop(0).startswith("this is more than --max-memory: ")
        assert rest[:-1] == report.splitlines()[1:-1]
        assert rest[-1].startswith("peak memory: ")
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["text"]


def test_temporary_files_go_where_they_are_told(align: Run, refuse: Refuse, write: Write) -> None:
    text = write("text", TEXT)
    fault = refuse("-i", text, "--temp-dir", "none")
    assert fault == "--temp-dir none: no such folder"
    assert refuse("-i", text, "--temp-dir", text) == "--temp-dir text: no such folder"


def test_threads_change_nothing(align: Run, write: Write) -> None:
    text = write("text", TEXT)
    flags = ["-i", text, *FLAGS, "-s", "-p"]
    one = align(*flags, "one", "--threads", "1")[0]
    assert align(*flags, "three", "--threads", "3")[0] == one
    assert Path("one").read_bytes() == Path("three").read_bytes()


# ------------------------------------------------------------------------------- input


def lines(side: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in side)


def test_two_files(align: Run, write: Write) -> None:
    write("source", lzma.compress(lines(SOURCE).encode()))
    write("target", lines(TARGET))
    output, _ = align("--source", "source", "--target", "target", *FLAGS)
    assert output == expected("forward")


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, lzma.compress, bz2.compress, zstandard.ZstdCompressor().compress],
    ids=["gzip", "xz", "bzip2", "Zstandard"],
)
def test_compressed_files(align: Run, write: Write, compress: Callable[[bytes], bytes]) -> None:
    assert align("-i", write("text", compress(TEXT.encode())), *FLAGS)[0] == expected("forward")


def test_columns(align: Run, write: Write) -> None:
    rows = "".join(f"{k}\t{f}\t{e}\n" for k, (e, f) in enumerate(zip(SOURCE, TARGET, strict=True)))
    text = write("text.tsv", rows)
    assert align("-i", text, "--columns", "3,2", *FLAGS)[0] == expected("forward")


def test_standard_input_and_limit(command: Command, write: Write) -> None:
    process = command("-i", "-", "--limit", "25", *FLAGS, stdin=subprocess.PIPE)
    output, _ = process.communicate(TEXT + "not read")
    assert output == expected("forward", limit=25)
    write("target", lines(TARGET))
    process = command("--source", "-", "--target", "target", *FLAGS, stdin=subprocess.PIPE)
    output, _ = process.communicate(lines(SOURCE))
    assert output == expected("forward")


def test_lowercase(align: Run, write: Write) -> None:
    text = write("text.gz", gzip.compress(TEXT.title().replace(" ||| ", " ||| É").encode()))
    lower = write("lower", TEXT.replace(" ||| ", " ||| é"))
    flags = [*FLAGS, "-s"]
    assert align("-i", text, "--lowercase", *flags)[0] == align("-i", lower, *flags)[0]
    align("-i", lower, *FLAGS, "-p", "table")
    forced = ["-f", "table", "-d"]
    assert align("-i", text, "--lowercase", *forced)[0] == align("-i", lower, *forced)[0]


def test_line_k_of_the_output_is_line_k_of_the_input(align: Run, write: Write) -> None:
    """Whatever is on it: nothing, one empty side, or far too many words."""
    rows = TEXT.splitlines()
    gaps = {0: "", 5: "|||", 6: "a |||", 20: "||| b", 30: "a " * 100_000 + "||| b", 63: "b |||\t"}
    for at, row in gaps.items():
        rows.insert(at, row)
    output, errors = align("-i", write("text", lines(rows)), *FLAGS, "--max-length", "99999")
    kept = [row for k, row in enumerate(output.split("\n")) if k not in gaps]
    assert "\n".join(kept) == expected("forward")
    assert "dropped pairs: 5 with an empty side, 1 over-long" in errors


@pytest.mark.parametrize("flags", ["-d", "--model hmm", "--model kept", "-f table"])
@pytest.mark.parametrize("files", [["-i", "text"], ["--source", "one", "--target", "two"]])
def test_spaces_within_words_are_told_of(
    align: Run, write: Write, flags: str, files: list[str]
) -> None:
    """Whoever splits at them, as Python does, would see the links point to other words."""
    pairs = [("prix\u00a0: a", "b"), ("a", "b\u2028c"), ("a\u0085b", "b\u00a0c"), ("a", "b")]
    pairs += [("a\u00a0b", ""), ("", "")]
    write("text", lines([f"{source} ||| {target}" for source, target in pairs]))
    write("one", lines([source for source, _ in pairs]))
    write("two", lines([target for _, target in pairs]))
    align("-i", "text", "--save", "kept", "-p", "table")
    output, errors = align(*files, *flags.split())
    assert output.count("\n") == len(pairs)
    told = "pairs with non-breaking spaces or other white space within words, which are split at"
    assert [line for line in errors.splitlines() if line.startswith("pairs with")] == [
        f"{told} spaces and tabs only: 3"
    ]
    write("plain", "a b ||| c\td\r\nh\u200ba ||| l\u2019b\n")
    assert "white space" not in align("-i", "plain", *flags.split())[1]


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"a ||| b\na b\n", f"text, line 2: no '|||' between source and target, {OTHERS}"),
        (b"a\tb\na ||| b\n", f"text, line 2: no tab between source and target, {OTHERS}"),
        (b"a ||| b\n\n\xe9t\xe9 ||| c\n", "text, line 3: invalid UTF-8 (byte 0xe9 at column 1)"),
        (b"a\n", "text, line 1: no '|||' and no tab between source and target"),
        (b"", "text: no sentence pair to learn from: 0 with an empty side, 0 over-long"),
        (
            b"\n|||\na |||\n" + b"a " * 1001 + b"||| b",
            "text: no sentence pair to learn from: 3 with an empty side, 1 over-long",
        ),
        (gzip.compress(b"a ||| b\n")[:-4], "text: the gzip data ends too early (a truncated file)"),
    ],
    ids=["no bars", "no tab", "not UTF-8", "first line", "empty", "nothing to learn", "truncated"],
)
def test_bad_text(refuse: Refuse, write: Write, data: bytes, fault: str) -> None:
    assert refuse("-i", write("text", data), *FLAGS, "--max-length", "1000") == fault


def test_a_last_line_without_its_end(align: Run, write: Write) -> None:
    assert align("-i", write("text", "a\tb\nc\t"), *FLAGS)[0] == "0-0\n\n"


def test_bad_files(refuse: Refuse, write: Write) -> None:
    text, two, three = write("text", TEXT), write("two", "a\nb\n"), write("three", "c\nd\ne\n")
    assert refuse("-i", "none") == "none: No such file or directory"
    assert refuse("--source", two, "--target", three) == "two has 2 lines but three has 3"
    gold = write("gold", "0-0 1?1\n1-2 x\n")
    fault = "gold, line 2: 'x' is neither 'i-j' nor 'i?j'"
    assert refuse("-i", text, "--gold", gold) == fault
    gold = write("gold", "0-0\n" * 61)
    assert refuse("-i", text, "--gold", gold) == "gold has 61 lines, the input only 60"
    assert refuse("-i", text, "--model", "no") == "no/aligner.json: No such file or directory"
    assert refuse("-i", text, "--init", "no") == "no/aligner.json: No such file or directory"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (
            "a\tb\t-1\na\tb\n",
            "table, line 2: expected a source word, a target word and the logarithm of a "
            "probability",
        ),
        ("a\tb\tx\n", "table, line 1: 'x' is no logarithm of a probability"),
        ("\n\na\tb\t0.5\n", "table, line 3: '0.5' is no logarithm of a probability"),
        ("a\tb\tnan\n", "table, line 1: 'nan' is no logarithm of a probability"),
        ("a\tb\t-1\tc\n", None),
        ("", "table: there are no parameters in it"),
    ],
)
def test_bad_parameter_files(refuse: Refuse, write: Write, data: str, fault: str | None) -> None:
    found = refuse("-i", write("text", TEXT), "-f", write("table", data))
    assert found == fault or (fault is None and found.startswith("table, line 1: expected"))
    assert refuse("-i", "text", "-f", "none") == "none: No such file or directory"


def test_a_bad_line_of_forced_alignment_comes_after_the_good_ones(
    align: Run, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"^text, line 3: no '\|\|\|' between"):
        align("-i", write("text", "a ||| b\n|||\nc\n"), "-f", write("table", "a\tb\t-1\n"))
    assert capsys.readouterr().out.splitlines() == [
        "a ||| b ||| 0-0 ||| -2.69436",
        "||| ||| ||| nan",
    ]


def test_models_that_do_not_fit(align: Run, refuse: Refuse, write: Write) -> None:
    text = write("text", TEXT)
    align("-i", text, *FLAGS, "--save", "one")
    align("-i", text, *FLAGS, "--symmetrize", "union", "--save", "both")
    fault = "one has one direction only: leave out --symmetrize"
    assert refuse("-i", text, "--model", "one", "--symmetrize", "union") == fault
    fault = "both has both directions, a parameter file only one"
    assert refuse("-i", text, "--model", "both", "-p", "table") == fault
    fault = "the model to go on from is forward, not backward"
    assert refuse("-i", text, "--init", "one", "-r") == fault
    fault = "the model to go on from is forward and backward, not forward"
    assert refuse("-i", text, "--init", "both") == fault


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ("-p text/x", "text/x: cannot be written: Not a directory"),
        ("-p no/x", "no/x: cannot be written: No such file or directory"),
        ("-p .", ".: cannot be written: it is a folder"),
        ("--lexicon no/x", "no/x: cannot be written: No such file or directory"),
        (
            "--symmetrize union --lexicon no/x",
            "no/x.s2t: cannot be written: No such file or directory",
        ),
        ("--save text", "text: cannot be written: Not a directory"),
        ("--save text/a/b", "text/a/b: cannot be written: Not a directory"),
        ("--save /proc/none", "/proc/none: cannot be written: No such file or directory"),
    ],
)
def test_places_are_tried_before_training(
    refuse: Refuse, write: Write, flags: str, fault: str
) -> None:
    assert refuse("-i", write("text", TEXT), *FLAGS, *flags.split()) == fault


def test_what_is_written_replaces_files_and_nothing_else(align: Run, write: Write) -> None:
    """A link to a file stays one; a device is written to, not replaced."""
    text = write("text", TEXT)
    align("-i", text, *FLAGS, "-p", "table", "--lexicon", "lex")
    write("old", "old")
    Path("link").symlink_to("old")
    Path("null").symlink_to(os.devnull)
    align("-i", text, *FLAGS, "-p", "link", "--lexicon", "null")
    assert Path("link").is_symlink()
    assert Path("old").read_bytes() == Path("table").read_bytes()
    assert Path(os.devnull).is_char_device()
    names = {path.name for path in Path.cwd().iterdir()}
    assert names == {"text", "table", "lex", "old", "link", "null"}


def test_a_table_that_cannot_be_finished_leaves_the_old_one(
    align: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    write("table", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="table: cannot be written: No space left"):
        align("-i", write("text", TEXT), *FLAGS, "-p", "table")
    assert Path("table").read_text() == "old"
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["table", "text"]


# ------------------------------------------------------------------------------- the process


def test_an_error_is_one_sentence_and_status_2(command: Command, write: Write) -> None:
    process = command("-i", write("text", "a b\n"), *FLAGS)
    fault = "text, line 1: no '|||' and no tab between source and target"
    assert process.communicate() == ("", f"weam_ext.align: error: {fault}\n")
    assert process.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(command: Command, write: Write) -> None:
    """Nothing that is written after the links is, either."""
    with Path("/dev/full").open("w") as full:
        process = command("-i", write("text", TEXT), *FLAGS, "-p", "table", stdout=full)
        errors = process.communicate()[1].splitlines()
    assert errors[-1] == "weam_ext.align: error: standard output: No space left on device"
    assert sum(line.startswith("weam_ext") for line in errors) == 1
    assert process.returncode == 2


@pytest.fixture
def modes(align: Run, write: Write) -> dict[str, list[str]]:
    """A command line of each way to write links, on more text than a pipe holds."""
    align("-i", write("text", TEXT), *FLAGS, "--save", "kept", "-p", "table")
    write("long", TEXT * 200)
    return {
        "train": ["-i", "long", *FLAGS, "-I", "1"],
        "posteriors": ["-i", "long", *FLAGS, "-I", "1", "--posteriors"],
        "model": ["-i", "long", "--model", "kept"],
        "force": ["-i", "long", "-f", "table", "-d"],
    }


@pytest.mark.parametrize("mode", ["train", "posteriors", "model", "force"])
def test_a_reader_that_leaves(command: Command, modes: dict[str, list[str]], mode: str) -> None:
    """As after `| head -1`: it ends without a word of its own."""
    process = command(*modes[mode])
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert "rror" not in process.stderr.read()
    process.stderr.close()
    assert process.wait() == -signal.SIGPIPE


@pytest.mark.parametrize("mode", ["train", "posteriors", "model", "force"])
def test_control_c_while_writing(command: Command, modes: dict[str, list[str]], mode: str) -> None:
    """The reader takes a line and no more, so that the program waits for it."""
    process = command(*modes[mode])
    assert process.stdout is not None
    process.stdout.readline()
    check_interrupt(process)


def check_interrupt(process: subprocess.Popen[str]) -> None:
    """Ends quickly, as SIGINT ends a program, without a word."""
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, errors = process.communicate()
    assert time.monotonic() - start < 5
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in errors
    assert "rror" not in errors


def test_control_c_while_reading(command: Command) -> None:
    process = command("-i", "-", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("a ||| b\n" * 100_000)  # it is reading by the time that this much is taken
    check_interrupt(process)


def test_control_c_while_waiting_for_a_line(command: Command, modes: dict[str, list[str]]) -> None:
    process = command("-i", "-", *modes["force"][2:], stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("a ||| b\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith("a ||| b |||")
    check_interrupt(process)


def test_control_c_while_training(command: Command, write: Write, tmp_path: Path) -> None:
    """Leaves no file, whole or not."""
    write("text", TEXT * 100)
    flags = [*FLAGS, "-I", "1000000", "--save", "kept", "--lexicon", "lex"]
    process = command("-i", "text", *flags, "--symmetrize", "union")
    assert process.stderr is not None
    assert any("ITERATION 2" in line for line in iter(process.stderr.readline, ""))
    check_interrupt(process)
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bars_are_for_terminals(command: Command, write: Write, terminal: bool) -> None:
    """The words are the same on both."""
    write("text", TEXT)
    if not terminal:
        errors = command("-i", "text", *FLAGS).communicate()[1]
        assert "reading" not in errors
        assert "aligning" not in errors
        return
    control, screen = pty.openpty()
    termios.tcsetwinsize(screen, (24, 80))
    process = command("-i", "text", *FLAGS, stderr=screen)
    os.close(screen)
    shown = b""
    with open(control, "rb", buffering=0) as terminal_file:  # noqa: PTH123
        while block := read_terminal(terminal_file.fileno()):
            shown += block
    assert process.communicate()[0] == expected("forward")
    assert b"aligning: 100%" in shown
    assert b"reading: " in shown
    assert b"ITERATION 5 (FINAL)" in shown


def read_terminal(handle: int) -> bytes:
    try:
        return os.read(handle, 1 << 16)
    except OSError:  # how Linux tells that the other end is closed
        return b""


# ----------------------------------------------------------------------------------- the HMM


def test_the_hmm_of_the_command_line_is_that_of_the_aligner(align: Run, write: Write) -> None:
    text = write("text", TEXT)
    aligner = Aligner()
    links = aligner.fit_align(SOURCE, TARGET, posteriors=True)
    output, errors = align(
        "-i", text, "--model", "hmm", "--save", "kept", "--pair-scores", "scores"
    )
    assert output == links.to_pharaoh()
    assert "ITERATION 10 (FINAL)" in errors
    scores = [float(line) for line in Path("scores").read_text().splitlines()]
    assert scores == pytest.approx(links.scores[PER_WORD].tolist(), rel=1e-5, nan_ok=True)
    for flags in ([], ["--memory", "low"]):
        assert align("-i", text, "--model", "kept", *flags)[0] == output
    posteriors, _ = align("-i", text, "--model", "kept", "--posteriors", "--threshold", "0.7")
    aligner.threshold = 0.7
    links = aligner.align(SOURCE, TARGET, posteriors=True)
    assert posteriors == links.to_pharaoh(probabilities=True)
    output, _ = align("-i", text, "--model", "hmm", "--symmetrize", "union", "-s")
    aligner = Aligner(heuristic="union")
    lines = aligner.fit_align(SOURCE, TARGET).to_pharaoh().splitlines()
    assert [line.split(" ||| ")[0] for line in output.splitlines()] == lines
    assert output.count(" ||| ") == len(SOURCE)
    flags = ["--stems", "suffix:3,words", "--keep-case", "-a", "0.1", "-q", "0.2", "-I", "2"]
    output, errors = align("-i", text, "--model", "hmm", *flags)
    aligner = Aligner(stems="suffix:3,words", fold_case=False, alpha=0.1, p0=0.2, iterations=2)
    assert output == aligner.fit_align(SOURCE, TARGET).to_pharaoh()
    assert "ITERATION 10 (FINAL)" in errors


def test_a_kept_model_is_told_of_what_it_cannot_do(
    align: Run, refuse: Refuse, write: Write
) -> None:
    text = write("text", TEXT)
    align("-i", text, "--model", "hmm", "--save", "kept", "--limit", "9")
    for threshold in ("7", "-1", "nan"):
        fault = refuse("-i", text, "--model", "kept", "--threshold", threshold)
        assert fault.partition(" must be ")[0].endswith("threshold")
    fault = refuse("-i", text, "--model", "hmm", "--init", "kept", "--keep-case")
    assert fault == "the model to go on from has another setting of fold_case"
    fault = refuse("-i", text, "--model", "hmm", "--init", "kept", "--stems", "suffix:3")
    assert fault == "the model to go on from has the stems prefix:3,prefix:5, not suffix:3"


def test_one_saves_to_a_directory(refuse: Refuse, write: Write, tmp_path: Path) -> None:
    """The others are told before they train."""
    text = write("text", TEXT)
    with owned(tmp_path / "kept"):
        fault = refuse("-i", text, *FLAGS, "--save", "kept")
    assert re.fullmatch(rf"kept: process {os.getpid()} on \S+ is writing there; wait .*", fault)


def test_those_who_save_at_once_leave_a_whole_model(
    command: Command, write: Write, tmp_path: Path
) -> None:
    text = write("text", TEXT * 20)
    flags = ([], ["-r"], ["--symmetrize", "union"])
    programs = [command("-i", text, *FLAGS, *each, "--save", "kept") for each in flags]
    errors = [program.communicate()[1].splitlines()[-1] for program in programs]
    codes = [program.returncode for program in programs]
    assert 0 in codes
    for code, error in zip(codes, errors, strict=True):
        assert code == 0 or (code == 2 and "kept: process" in error and "is writing there" in error)
    assert Aligner.load(tmp_path / "kept").align(SOURCE, TARGET)


def test_a_full_disk_is_told_with_the_file(write: Write, tmp_path: Path) -> None:
    """As a limit on the size of files, which refuses what a full disk would."""
    text = write("text", TEXT)
    program = f"{sys.executable} -m weam_ext.align -i {text} -d -o -v --save kept"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 10; trap '' XFSZ; {program}"], cwd=tmp_path, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "weam_ext.align: error: kept/" in last
    assert "cannot be written (" in last
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_a_description_that_finds_no_room(
    align: Run, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("weam_ext.align.storage.write_record", full)
    with pytest.raises(InputError, match=r"^kept: cannot be written \(No space left on device\)$"):
        align("-i", write("text", TEXT), *FLAGS, "--save", "kept")
