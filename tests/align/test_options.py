"""The options of the aligner: what they mean, what they refuse, and what contradicts."""

import pytest
from aligners import Refuse, Write

from weam_ext.align.cli import main
from weam_ext.align.options import AlignOptions
from weam_ext.common.errors import InputError
from weam_ext.text.bitext import BitextSource

TEXT = "a b ||| c d\nb ||| c\n"
ASKED = "although columns were asked for"


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ("--columns 2", "--columns 2: expected two numbers such as 1,2"),
        ("--columns a,b", "--columns a,b: expected two numbers such as 1,2"),
        ("--columns 1,2", f"text, line 1: no tab between source and target, {ASKED}"),
        ("--columns 0,1", "bitext 'input': columns count from 1, not (0, 1)"),
        ("-T 0", "tension must be at least 1e-6 and at most 14"),
        ("-q 1", "p0 must be at least 0 and below 1"),
        ("-T", "argument -T/--diagonal_tension: expected one argument (see --help)"),
        ("-q x", "argument -q/--p0: invalid float value: 'x' (see --help)"),
        ("-c", "unrecognized arguments: -c (see --help)"),
        ("more", "unrecognized arguments: more (see --help)"),
        ("--source a", "--source and --target go together"),
        (
            "--source a --target b",
            "give -i FILE, or --source FILE and --target FILE (see --help)",
        ),
    ],
)
def test_bad_flags(refuse: Refuse, write: Write, flags: str, fault: str) -> None:
    assert refuse("-i", write("text", TEXT), *flags.split()) == fault


@pytest.mark.parametrize("flag", ["--threads", "--limit", "--top", "--max-length", "--iterations"])
@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("0", "{} must be at least 1, not 0"),
        ("-1", "{} must be at least 1, not -1"),
        ("2147483648", "{} must be a number below 2^31, not 2147483648"),
        ("x", "argument {}: invalid int value: 'x' (see --help)"),
        ("1.5", "argument {}: invalid int value: '1.5' (see --help)"),
    ],
)
def test_bad_counts(refuse: Refuse, write: Write, flag: str, value: str, fault: str) -> None:
    said = refuse("-i", write("text", TEXT), flag, value).replace("-I/", "")
    assert said == fault.format(flag)


@pytest.mark.parametrize("flag", ["--alpha", "--mean_srclen_multiplier"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_bad_numbers(refuse: Refuse, write: Write, flag: str, value: str) -> None:
    assert refuse("-i", write("text", TEXT), flag, value).startswith(f"{flag} must be ")


@pytest.mark.parametrize("size", ["", "0", "2X", "1e9", "GB", "9" * 400])
def test_bad_sizes(refuse: Refuse, write: Write, size: str) -> None:
    fault = f"expected a size such as 500M or 2G, not '{size}' (see --help)"
    assert refuse("-i", write("text", TEXT), "--max-memory", size).endswith(fault)


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ("--symmetrize union -r", "--symmetrize trains both directions: leave out -r"),
        ("--symmetrize=union -dovr", "--symmetrize trains both directions: leave out -r"),
        (
            "--reverse --symmetrize union",
            "--symmetrize trains both directions: leave out --reverse",
        ),
        ("--symmetrize union -p x", "--symmetrize trains both directions: leave out -p"),
        ("--model x -d", "--model x aligns with a saved model: leave out -d"),
        ("--model x -I7", "--model x aligns with a saved model: leave out -I"),
        ("--model x --p0=0.5", "--model x aligns with a saved model: leave out --p0"),
        ("--model x --save y", "--model x aligns with a saved model: leave out --save"),
        ("--model x --init y", "--model x aligns with a saved model: leave out --init"),
        (
            "-f x --posteriors",
            "-f aligns with a parameter file, pair by pair: leave out --posteriors",
        ),
        (
            "--force_align=x -p y",
            "--force_align aligns with a parameter file, pair by pair: leave out -p",
        ),
        ("-f x --model y", "--model y aligns with a saved model: leave out -f"),
        ("-f x --lexicon y", "-f aligns with a parameter file, pair by pair: leave out --lexicon"),
        ("-f x --gold y", "-f aligns with a parameter file, pair by pair: leave out --gold"),
        ("--init x -T 3", "--init starts from the tension of the saved model: leave out -T"),
    ],
)
def test_contradictions(refuse: Refuse, write: Write, flags: str, fault: str) -> None:
    assert refuse("-i", write("text", TEXT), *flags.split()) == fault


def test_help_tells_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for flag, default in {
        "--model MODEL": "(default: fast-align)",
        "-I N, --iterations N": "By default 5; hmm: 2, and 3 from ten million words a side on.",
        "-q P, --p0 P": "By default 0.08; hmm: 0.06, and 0.1 from a million words a side on.",
        "-a X, --alpha X": "By default 0.01; hmm: 0.13.",
        "--stems TEXT": "By default it depends on the size of the text.",
        "--threshold P": "By default 0.5; encoder: 0.6.",
        "-T X, --diagonal_tension X": "By default 4; implies -d.",
        "-t X, --beam_threshold X": "(default: -4.0)",
        "-m X, --mean_srclen_multiplier X": "(default: 1.0)",
        "--columns S,T": "By default 1,2, where the first line has a tab and no '|||'.",
        "--limit N": "By default all.",
        "--max-length N": "By default there is no limit.",
        "--top K": "(default: 100)",
        "--symmetrize METHOD": "By default there is one direction; those of hmm are combined by "
        "their posteriors.",
        "--threads N": "By default all processors.",
        "--memory {auto,low,fast}": "(default: auto)",
        "--max-memory SIZE": "By default 80 % of what is free.",
        "--temp-dir DIR": "By default the system's.",
    }.items():
        _, found, rest = text.partition(f" {flag} ")
        assert found, flag
        assert default in rest.partition(" -")[0] + rest[:400], flag
    for flag in ("-r", "-p FILE", "-f FILE", "-b N", "--save", "--model", "--init", "--gold"):
        assert f" {flag}" in text
    assert "--lexicon FILE" in text


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ("--model hmm -d", "--model hmm trains both directions of another model: leave out -d"),
        ("--model hmm -p x", "--model hmm trains both directions of another model: leave out -p"),
        ("--stems words", "--model fast-align is no HMM: leave out --stems"),
        ("--keep-case", "--model fast-align is no HMM: leave out --keep-case"),
        ("--pair-scores x", "--model fast-align is no HMM: leave out --pair-scores"),
        ("--model x --stems words", "--model x aligns with a saved model: leave out --stems"),
        ("--model ./hmm", "hmm/aligner.json: No such file or directory"),
        ("--model hmm --stems x", "stems are words, prefix:N or suffix:N, not 'x'"),
        ("--model hmm --threshold 2", "threshold must be at least 0 and below 1"),
        ("--model hmm --pair-scores no/x", "no/x: cannot be written: No such file or directory"),
    ],
)
def test_what_does_not_go_with_a_model(
    refuse: Refuse, write: Write, flags: str, fault: str
) -> None:
    assert refuse("-i", write("text", TEXT), *flags.split()) == fault


def test_what_options_stand_for() -> None:
    options = AlignOptions(input="text", columns="3,1", limit=7)
    assert options.bitext == BitextSource("input", ("text",), (3, 1), 7)
    assert (options.kept, options.heuristic) == (False, "forward")
    assert AlignOptions(input="text", reverse=True).heuristic == "backward"
    assert AlignOptions(input="text", symmetrize="union", reverse=True).heuristic == "union"
    two = AlignOptions(source="a", target="b", model="./hmm")
    assert two.kept and two.bitext.paths == ("a", "b")
    with pytest.raises(InputError, match="--source and --target have no --columns"):
        AlignOptions(source="a", target="b", columns="1,2")
