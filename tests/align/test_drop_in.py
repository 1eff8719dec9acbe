"""`python -m weam_ext.align` in the place of fast_align: the same flags, output, files and words.

What fast_align itself wrote is recorded in tests/fast_align; see the README there.
"""

import json
import lzma
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from helpers import FAST_ALIGN

from weam_ext.align.cli import main
from weam_ext.text.pharaoh import Link, parse_links
from weam_ext.text.toy_corpus import sentence_pairs

FEW = [f"{pair.source} ||| {pair.target}\n" for pair in sentence_pairs("toku", 40)]
UNSEEN = "one two ||| three\none ||| two three four\n"


def recorded(name: str) -> str:
    return lzma.decompress((FAST_ALIGN / f"{name}.xz").read_bytes()).decode()


RUNS: dict[str, list[dict[str, str]]] = json.loads(recorded("few.runs"))
PRINTED: dict[str, float] = json.loads((FAST_ALIGN / "few.json").read_text())

Align = Callable[..., tuple[str, str]]


def by_flags(run: dict[str, str]) -> str:
    return run["flags"] or "none"


@pytest.fixture
def align(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Align:
    """What a command line writes to standard output and error, beside the files it is given."""
    monkeypatch.chdir(tmp_path)
    Path("train").write_text("".join(FEW[:20]))
    Path("new").write_text("".join(FEW[20:]))
    for run in RUNS["trained"]:
        if run["flags"] in ("-d -o -v", "-d -o -v -r"):
            Path("backward" if "-r" in run["flags"] else "forward").write_text(run["table"])

    def align(flags: str) -> tuple[str, str]:
        main(flags.split())
        return tuple(capsys.readouterr())

    return align


def table(text: str) -> dict[tuple[str, str], float]:
    """Log t by source and target word."""
    rows = [line.split("\t") for line in text.splitlines()]
    assert all(len(row) == 3 for row in rows)
    found = {(source, target): float(number) for source, target, number in rows}
    assert len(found) == len(rows)
    return found


def columns(text: str) -> tuple[list[str], list[float]]:
    """The lines less their last column, and that column's numbers."""
    rows = [line.rpartition(" ||| ") for line in text.splitlines()]
    return [row[0] for row in rows], [float(row[2]) for row in rows]


def is_tie(found: list[Link], expected: list[Link], length: int, others: int) -> bool:
    """Whether each other link leads as far from the diagonal, on its other side.

    A word that is there twice, or two that are unknown, then have the same probability, and it is
    fast_align's rounding that decides.
    """

    def distances(links: set[Link]) -> list[Fraction]:
        return sorted(abs(Fraction(i + 1, length) - Fraction(j + 1, others)) for i, j in links)

    one, other = set(found), set(expected)
    return distances(one - other) == distances(other - one)


# --------------------------------------------------------------------------------- training


@pytest.mark.parametrize("language", ["toku", "venn", "orlu"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_links_are_those_of_fast_align(align: Align, language: str, direction: str) -> None:
    """But for exact ties, in a few of two thousand lines."""
    pairs = sentence_pairs(language, 2000)
    Path("text").write_text("".join(f"{pair.source} ||| {pair.target}\n" for pair in pairs))
    output, _ = align(f"-i text -dov{'r' if direction == 'reverse' else ''}")
    expected = recorded(f"{language}.{direction}").splitlines()
    ties = 0
    for pair, line, other in zip(pairs, output.splitlines(), expected, strict=True):
        if line != other:
            links = parse_links(line, "found"), parse_links(other, "recorded")
            assert is_tie(*links, len(pair.source.split()), len(pair.target.split())), line
            ties += 1
    assert ties <= 10


def words_of_log(log: str) -> dict[str, list[float]]:
    """What scripts look for: the number at the end of a line, by the words before it."""
    patterns = (
        "expected target length = source length \\*",
        "log_e likelihood:",
        "log_2 likelihood:",
        "cross entropy:",
        "perplexity:",
        "posterior p0:",
        "posterior al-feat:",
    )
    return {
        pattern: [float(number) for number in re.findall(rf"^ *{pattern} (\S+)$", log, re.M)]
        for pattern in patterns
    }


@pytest.mark.parametrize("run", RUNS["trained"], ids=by_flags)
def test_every_flag_of_training(align: Align, run: dict[str, str]) -> None:
    """Links and figures to the digits printed, the table to what single precision keeps."""
    output, log = align(f"-i train -s -p made {run['flags']}")
    links, scores = columns(output)
    expected_links, expected_scores = columns(run["output"])
    assert links == expected_links
    assert scores == pytest.approx(expected_scores, rel=1e-5)
    assert re.findall("^ITERATION .*", log, re.M) == re.findall("^ITERATION .*", run["log"], re.M)
    expected = words_of_log(run["log"])
    for words, numbers in words_of_log(log).items():
        # fast_align measures no posterior in its last iteration and prints zeros
        last = -1 if words.startswith("posterior") else None
        assert numbers[:last] == pytest.approx(expected[words][:last], rel=2e-5, abs=1e-6), words
    tension = re.findall(r"final tension: (\S+)$", run["log"], re.M)[-1:]
    if tension:  # we tell it after one iteration, too
        assert float(re.findall(r"^final tension: (\S+)$", log, re.M)[-1]) == (
            pytest.approx(float(tension[0]), rel=2e-5)
        )
    made, expected_table = table(Path("made").read_text()), table(run["table"])
    assert made.keys() == expected_table.keys()
    if "-I 1" in run["flags"]:  # nothing was learnt: fast_align writes log 0
        return
    assert made == pytest.approx(expected_table, rel=1e-4, abs=1e-4)


def test_every_recorded_flag_matters() -> None:
    """Or it would have no test; -o alone has nothing to do."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for run in RUNS["trained"]:
        kinds.setdefault((run["output"], run["table"]), []).append(run["flags"])
    assert [flags for flags in kinds.values() if len(flags) > 1] == [["", "-o"]]


LONG = {
    "-d": "--favor_diagonal",
    "-o": "--optimize_tension",
    "-v": "--variational_bayes",
    "-r": "--reverse",
    "-I": "--iterations",
    "-q": "--p0",
    "-a": "--alpha",
    "-T": "--diagonal_tension",
    "-N": "--no_null_word",
    "-t": "--beam_threshold",
}


@pytest.mark.parametrize("run", RUNS["trained"], ids=by_flags)
def test_long_flags_are_the_short_ones(align: Align, run: dict[str, str]) -> None:
    long = " ".join(LONG.get(flag, flag) for flag in run["flags"].split())
    short = align(f"-i train -s -p made {run['flags']}")[0]
    made = Path("made").read_bytes()
    flags = f"--input train --scores --conditional_probabilities made {long}"
    assert align(flags)[0] == short
    assert Path("made").read_bytes() == made
    equals = re.sub(r"(--\w+) (-?\d)", r"\1=\2", long)
    assert align(f"--input=train --scores --conditional_probabilities=made {equals}")[0] == short
    assert Path("made").read_bytes() == made


@pytest.mark.parametrize(
    ("clustered", "apart"),
    [
        ("-dov -itrain", "-d -o -v -i train"),
        ("-dovr -i train", "-d -o -v -r -i train"),
        ("-dovI3 -i train", "-d -o -v -I 3 -i train"),
        ("-I5 -vq.3 -dT2 -i train", "-I 5 -v -q .3 -d -T 2 -i train"),
        ("-rNsi train", "-r -N -s -i train"),
        ("-dvi train -pmade -t-2", "-d -v -i train -p made -t -2"),
    ],
)
def test_clustered_flags(align: Align, clustered: str, apart: str) -> None:
    assert align(clustered)[0] == align(apart)[0]


def test_the_buffer_size_changes_nothing(align: Align) -> None:
    assert align("-i train -dov -b 5")[0] == align("-i train -dov")[0]
    assert align("-i train -dov --thread_buffer_size 5")[0] == align("-i train -dov")[0]


def test_the_length_ratio_is_measured_where_there_is_training(align: Align) -> None:
    """As in fast_align, -m is for -f alone."""
    assert align("-i train -dov -s -m 9")[0] == align("-i train -dov -s")[0]


@pytest.mark.parametrize("flag", ["--favor", "--rev", "--iter=3", "--cond=x", "--mem=low"])
def test_no_abbreviations(align: Align, flag: str) -> None:
    with pytest.raises(ValueError, match="unrecognized arguments"):
        align(f"-i train {flag}")


# --------------------------------------------------------------------------------- forced alignment


def check_forced(output: str, expected: str) -> None:
    """The same to the blank, but for exact ties, of which there are few."""
    ties = 0
    for line, other in zip(output.splitlines(), expected.splitlines(), strict=True):
        if line != other:
            (head, links, value), (wanted, wanted_links, wanted_value) = (
                re.fullmatch(r"(.* \|\|\|) (.*?) ?\|\|\| (\S+)", row).groups()  # type: ignore[union-attr]
                for row in (line, other)
            )
            source, target, _ = head.split("|||")
            assert head == wanted
            assert float(value) == pytest.approx(float(wanted_value), rel=1e-5)
            pair = parse_links(links, "found"), parse_links(wanted_links, "recorded")
            assert is_tie(*pair, len(source.split()), len(target.split())), line
            ties += 1
    assert ties <= 4


def test_forced_alignment_as_force_align_py_calls_it(align: Align) -> None:
    Path("parameters").write_text(recorded("few.parameters"))
    flags = f"-d -T {PRINTED['tension']} -m {PRINTED['mean_length_ratio']} -f parameters"
    output, _ = align(f"-i new {flags}")
    check_forced(output, recorded("few.forced"))


@pytest.mark.parametrize("run", RUNS["forced"], ids=by_flags)
def test_every_flag_of_forced_alignment(align: Align, run: dict[str, str]) -> None:
    with Path("new").open("a") as file:
        file.write(UNSEEN)
    parameters = "backward" if "-r" in run["flags"] else "forward"
    output, log = align(f"-i new -f {parameters} {run['flags']}")
    check_forced(output, run["output"])
    (total,) = re.findall(r"^TOTAL LOG PROB (\S+)$", log, re.M)
    assert float(total) == pytest.approx(float(run["total"]), rel=1e-5)
    long = " ".join(
        {**LONG, "-m": "--mean_srclen_multiplier"}.get(flag, flag) for flag in run["flags"].split()
    )
    assert align(f"--input new --force_align {parameters} {long}")[0] == output


def test_forced_alignment_passes_over_what_only_training_has(align: Align) -> None:
    plain = align("-i new -f forward -d")[0]
    assert align("-i new -f forward -d -o -v -s -I 3 -a 0.5 -t -1 -b 7")[0] == plain


def test_parameters_that_we_write_give_the_links_of_training(align: Align) -> None:
    """Links, and scores but for what the threshold cuts off."""
    for flags in ("", "-r", "-N"):
        output, log = align(f"-i train -dov -s -t-1e9 -p made {flags}")
        tension, ratio = (
            re.findall(rf"{words} (\S+)$", log, re.M)[0]
            for words in ("final tension:", r"source length \*")
        )
        forced, _ = align(f"-i train -f made -d -T {tension} -m {ratio} {flags}")
        links, scores = columns(output)
        rows, forced_scores = columns(forced)
        assert [re.split(r" \|\|\| ?", row, maxsplit=2)[2] for row in rows] == links
        assert forced_scores == pytest.approx(scores, rel=1e-4)


def test_parameters_of_nothing_learnt_can_be_read(align: Align) -> None:
    """fast_align writes log 0 after one iteration."""
    Path("zero").write_text("<eps>\tb\t-inf\na\tb\t-inf\na\tc\t-1\n")
    Path("two").write_text("a ||| b\na ||| c\n")
    output, _ = align("-i two -f zero")
    assert output.splitlines()[1].startswith("a ||| c ||| 0-0 ||| -")


@pytest.fixture
def server(tmp_path: Path, align: Align) -> Iterator[Callable[[str], subprocess.Popen[Any]]]:
    """Starts the program as force_align.py does: pipes, and no flushing but its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONUNBUFFERED", None)
    started = []

    def server(flags: str) -> subprocess.Popen[Any]:
        command = [sys.executable, "-m", "weam_ext.align", *flags.split()]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)
        )
        return started[-1]

    yield server
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


@pytest.mark.parametrize("flags", ["-f forward", "-f backward -r"])
def test_an_answer_comes_before_the_next_line_is_written(
    align: Align, server: Callable[[str], subprocess.Popen[Any]], flags: str
) -> None:
    expected = align(f"-i new -d -T 6 -m 0.9 {flags}")[0].splitlines()
    process = server(f"-i - -d -T 6 -m 0.9 {flags}")
    assert process.stdin
    assert process.stdout
    for line, answer in zip(FEW[20:], expected, strict=True):
        process.stdin.write(line.encode())
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 30)[0], "no answer"
        assert process.stdout.readline().decode() == f"{answer}\n"
    process.stdin.close()
    assert process.wait() == 0


def test_many_lines_at_once_are_not_answered_one_by_one(
    align: Align, server: Callable[[str], subprocess.Popen[Any]]
) -> None:
    """The same rows in the same order, whether they come from a file or through a pipe."""
    Path("new").write_text("".join(FEW) * 100)
    expected = align("-i new -f forward -d")[0]
    output, _ = server("-i - -f forward -d").communicate(Path("new").read_bytes())
    assert output.decode() == expected
