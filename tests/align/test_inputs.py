"""What an aligner is given, in all its forms, and what becomes of it when something goes wrong."""

import lzma
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from aligners import MODES, corpus, everything

from weam_ext import InputError
from weam_ext.align.aligner import Aligner, MemoryPlan, SpacesInWords
from weam_ext.align.links import DroppedPairs, Links
from weam_ext.text.bitext import BitextSource

each_mode = pytest.mark.parametrize("memory", MODES)

# ------------------------------------------------------------------------------- sentences


def test_strings_and_lists_of_words_are_the_same() -> None:
    source, target = corpus("venn", 100)
    expected = Aligner(model="fast-align").fit_align(source, target)
    e, f = ([f" \t{'  '.join(row)}\t" for row in side] for side in (source, target))
    assert Aligner(model="fast-align").fit_align(e, f) == expected
    assert Aligner(model="fast-align").fit_align(tuple(e), tuple(f)) == expected
    assert Aligner(model="fast-align").fit_align([list(row) for row in source], f) == expected
    made: Any = [
        (word.swapcase().swapcase() for word in row) for row in target
    ]  # nobody keeps them
    assert Aligner(model="fast-align").fit_align(e, made) == expected


def test_numbers_are_words() -> None:
    """The words of their decimal digits, whatever array they come in."""
    rows = [[3, 1, 2], [1, 2], [3, 3], [2]] * 3
    words = [[str(number) for number in row] for row in rows]
    expected = Aligner(model="fast-align").fit_align(words, words)
    kinds: list[Callable[[list[int]], Any]] = [
        *(
            lambda row, kind=kind: np.array(row, kind)
            for kind in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", ">i4")
        ),
        lambda row: np.repeat(np.array(row), 3)[::3],
        lambda row: np.frombuffer(b"\0" + np.array(row).tobytes(), np.int64, offset=1),
        lambda row: np.array(row[::-1])[::-1],
        lambda row: np.array([row, row]).T[:, 0],
        lambda row: list(row),
        lambda row: [row[0], *map(str, row[1:])],
        lambda row: (np.int16(number) for number in row),
    ]
    for kind in kinds:
        aligner = Aligner(model="fast-align")
        assert aligner.fit_align([kind(row) for row in rows], words) == expected
        assert aligner.align(words, [kind(row) for row in rows]) == expected
        assert aligner.align_pair(kind(rows[0]), words[0]) == expected[0]
        assert aligner.model.words(0) == ["3", "1", "2"]
    least, most = np.array([-(2**63), -1]), np.array([2**63, 2**64 - 1], np.uint64)
    aligner = Aligner(model="fast-align").fit([least], [most])
    assert aligner.model.words(0) == [str(-(2**63)), "-1"]
    assert aligner.model.words(1) == [str(2**63), str(2**64 - 1)]
    assert Aligner(model="fast-align").fit(np.array([[1, 2], [2, 3]]), ["a b", "b c"]).model.words(
        0
    ) == list("123")
    for bad in (np.array([1.0]), np.array([[1]]), np.array(1), np.array([True]), np.array(["1"])):
        with pytest.raises(InputError, match=r"pair 0: .*one-dimensional array of integers"):
            Aligner(model="fast-align").fit([bad], ["a"])


@pytest.mark.parametrize("heuristic", ["union", "backward"])
def test_files_are_read_like_lists(heuristic: str, tmp_path: Path) -> None:
    source, target = corpus("venn", 60)
    e, f = ([" ".join(row) for row in side] for side in (source, target))
    e[4] = ""
    pairs = list(zip(e, f, strict=True))

    def write(name: str, lines: list[str]) -> Path:
        data = "".join(f"{line}\n" for line in lines).encode()
        path = tmp_path / name
        path.write_bytes(lzma.compress(data) if path.suffix == ".xz" else data)
        return path

    two = write("e.xz", e), write("f", f)
    bars = write("bars", [f"{a} ||| {b}" for a, b in pairs])
    tabs = write("tabs", [f"{a}\t{b}" for a, b in pairs])
    columns = write("columns", [f"{b}\t-\t{a}" for a, b in pairs])
    expected = Aligner(model="fast-align", heuristic=heuristic)
    alignment = expected.fit_align(e, f)
    numbers = everything(expected, alignment)
    assert alignment.dropped == DroppedPairs(empty=1)
    forms: list[tuple[Any, ...]] = [
        two,
        (bars,),
        (tabs,),
        (BitextSource("x", (str(columns),), columns=(3, 1)),),
        (BitextSource("x", tuple(map(str, two)), limit=60),),
    ]
    for form in forms:
        for options in MODES.values():
            aligner = Aligner(model="fast-align", heuristic=heuristic, **options)
            assert everything(aligner, aligner.fit_align(*form)) == numbers
            alignment = aligner.align(*form)
            assert everything(aligner, alignment) == numbers
            assert alignment.dropped == DroppedPairs(empty=1)
    part = BitextSource("x", (str(bars),), limit=7)
    fresh = [Aligner(model="fast-align", heuristic=heuristic) for _ in range(2)]
    assert fresh[0].fit_align(part) == fresh[1].fit_align(e[:7], f[:7])
    with pytest.raises(InputError, match=r"60|59"):
        Aligner(model="fast-align").fit(two[0], write("short", f[:-1]))
    with pytest.raises(InputError, match="absent: No such file"):
        Aligner(model="fast-align").fit(tmp_path / "absent")
    with pytest.raises(InputError, match="line 2"):
        Aligner(model="fast-align").fit(write("bad", ["a ||| b", "a b"]))


def test_mixed_forms_are_refused(tmp_path: Path) -> None:
    path, source = tmp_path / "x", BitextSource("x", (str(tmp_path / "x"),))
    path.write_text("a ||| b\n")
    mixed: list[tuple[Any, ...]] = [
        (["a"],),
        (["a"], path),
        (path, ["a"]),
        (source, path),
        (source, ["a"]),
        (["a"], source),
        ("a", "b"),
        (["a"], "b"),
        ("a",),
    ]
    aligner = Aligner(model="fast-align").fit(path)
    for arguments in mixed:
        for call in (aligner.fit, aligner.align, aligner.fit_align):
            with pytest.raises(InputError, match="two lists of sentences, two Paths"):
                call(*arguments)
    bad: list[Any] = [3, {"a"}, {"a": 1}, b"a", bytearray(b"a"), None, object()]
    for each in bad:
        with pytest.raises(InputError, match="two lists of sentences, two Paths"):
            aligner.fit(each, ["a"])
        with pytest.raises(InputError, match="two lists of sentences, two Paths"):
            aligner.align(["a"], each)


def test_any_iterable_of_sentences() -> None:
    source, target = corpus("toku", 20)
    expected = Aligner(model="fast-align").fit_align(source, target)
    for make in (
        iter,
        tuple,
        lambda side: (list(row) for row in side),
        lambda side: map(iter, side),
    ):
        aligner = Aligner(model="fast-align")
        assert aligner.fit_align(make(source), make(target)) == expected
        assert aligner.align(make(source), list(target)) == expected


def test_only_blanks_and_tabs_separate_words() -> None:
    text = "a\u00a0b\u3000c\u2028d\x0be\nf"
    aligner = Aligner(model="fast-align", heuristic="forward")
    assert list(aligner.fit_align([text], [text])) == [[(0, 0)]]
    assert list(aligner.align([f"{text} {text}"], [[text, text]])) == [[(0, 0), (1, 1)]]


@pytest.mark.parametrize("model", ["hmm", "fast-align"])
def test_spaces_within_words_are_warned_of(model: str, tmp_path: Path) -> None:
    """Where sentences are given as strings; words that are given apart are as they are."""
    source, target = ["a\u00a0b c", "d", "e f"], ["x", "y\u2028z", ""]
    (tmp_path / "source").write_text("".join(f"{line}\n" for line in source), "utf-8")
    (tmp_path / "target").write_text("".join(f"{line}\n" for line in target), "utf-8")
    aligner = Aligner(model=model)
    for texts in ((source, target), (tmp_path / "source", tmp_path / "target")):
        for call in (aligner.fit, aligner.align, aligner.fit_align):
            with pytest.warns(SpacesInWords, match=r"within words, .* only: 2$") as told:
                call(*texts)
            assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words = [[line.split(" ") for line in side] for side in (source, target)]
        aligner.fit_align(*words)
        aligner.fit_align(["a b", "’ é"], ["x\u200by", "—"])


def test_words_of_the_same_hash() -> None:
    """On little-endian machines."""
    pairs = [("ptef", "A"), ("fvvf", "B"), ("ptef fvvf", "B A"), ("fvvf ptef", "A B")] * 3
    aligner = Aligner(model="fast-align", heuristic="forward", favor_diagonal=False)
    links = aligner.fit_align([e for e, _ in pairs], [f for _, f in pairs])
    assert list(links)[:4] == [[(0, 0)], [(0, 0)], [(0, 1), (1, 0)], [(0, 1), (1, 0)]]
    assert (aligner.model.words(0), aligner.model.words(1)) == (["ptef", "fvvf"], ["A", "B"])


def test_empty_and_over_long_pairs_have_no_links_and_are_counted() -> None:
    source, target = map(list, corpus("toku", 50))
    expected = Aligner(model="fast-align").fit_align(source, target)
    gaps = {
        3: ("", "x y"),
        10: ("x", ""),
        20: (" \t", ""),
        51: ("a " * 21, "b"),
        52: ("a", "b " * 21),
    }
    for at, (e, f) in gaps.items():
        source.insert(at, e.split())
        target.insert(at, f.split())
    aligner = Aligner(model="fast-align", max_length=20)
    for links in (aligner.fit_align(source, target), aligner.align(source, target)):
        assert links.dropped == DroppedPairs(empty=3, too_long=2)
        assert str(links.dropped) == "3 with an empty side, 2 over-long"
        assert [row for k, row in enumerate(links) if k not in gaps] == list(expected)
        assert all(links[k] == [] for k in gaps)
    # Twenty words are not over-long, and without a limit nothing is.
    assert aligner.align(["a " * 20], ["b"]).dropped == DroppedPairs()
    unlimited = Aligner(model="fast-align", max_length=0)
    assert unlimited.fit_align(["a " * 3000], ["b " * 2000]).dropped == DroppedPairs()


@pytest.mark.parametrize("pairs", [[], [("", "")], [("a", ""), ("", "b")], [("a b", "c")]])
def test_nothing_to_learn_from(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="no sentence pair to learn from"):
        Aligner(model="fast-align", max_length=1).fit([e for e, _ in pairs], [f for _, f in pairs])


def test_aligning_nothing() -> None:
    aligner = Aligner(model="fast-align").fit(["a"], ["b"])
    assert list(aligner.align([], [])) == []
    assert list(aligner.align([""], ["b"])) == [[]]


def test_bad_sentences() -> None:
    aligner = Aligner(model="fast-align").fit(["a b"], ["c d"])
    before = everything(aligner, aligner.align(["a b"], ["c d"]))
    for call in (aligner.fit, aligner.align, aligner.fit_align):
        bad: list[tuple[Any, Any, str]] = [
            (["a", "b"], ["c"], "source has 2 sentences, target has 1"),
            (["a", "b \ud800"], ["c", "d"], "surrogates not allowed"),
            (["a", "b"], [["c"], ["\udcff"]], "surrogates not allowed"),
            (["a", None], ["c", "d"], "pair 1: a sentence is a string, a sequence of words"),
            (["a", 3], ["c", "d"], "pair 1: a sentence is a string, a sequence of words"),
            (["a", ["b", 1.5]], ["c", "d"], "pair 1: a word is a string or .*, not float"),
            (["a", ["b", True]], ["c", "d"], "pair 1: a word is a string or .*, not bool"),
            (["a", ["b", b"c"]], ["c", "d"], "pair 1: a word is a string or .*, not bytes"),
            ([b"a"], ["c"], "pair 0: a sentence is .*, not bytes"),
            (["a"], [bytearray(b"c")], "pair 0: a sentence is .*, not bytes"),
            ([1, 2], [3, 4], "pair 0: a sentence is a string, a sequence of words"),
        ]
        for source, target, fault in bad:
            with pytest.raises(InputError, match=fault):
                call(source, target)
    for source, target, fault in bad[3:]:
        with pytest.raises(InputError, match=fault.partition(": ")[2]):
            aligner.align_pair(source[-1], target[-1]), aligner.align_pair("a", source[-1])
    assert everything(aligner, aligner.align(["a b"], ["c d"])) == before


# ------------------------------------------------------------------------------- the object


def test_attributes_are_checked_too() -> None:
    for heuristic, others in (
        ("forward", ("backward", "union")),
        ("backward", ("forward", "intersect")),
        ("union", ("forward", "backward")),
    ):
        aligner = Aligner(model="fast-align", heuristic=heuristic).fit(["a b", "a"], ["x y", "x"])
        expected = aligner.align(["a b"], ["x y"])
        for other in others:
            with pytest.raises(InputError, match=f"cannot be {other}"):
                aligner.heuristic = other
        assert aligner.heuristic == heuristic
        assert aligner.align(["a b"], ["x y"]) == expected
    aligner.heuristic = "grow-diag"  # both directions are there
    assert aligner.align(["a b"], ["x y"]) == expected
    hmm = Aligner().fit(["a b", "a"], ["x y", "x"])
    hmm.heuristic = "backward"  # an HMM always has both
    untrained = Aligner(model="fast-align")
    untrained.heuristic = "backward"
    bad: list[tuple[Aligner, str, Any]] = [
        (hmm, "heuristic", "diag"), (hmm, "heuristic", object()), (hmm, "threshold", 7),
        (hmm, "threshold", float("nan")), (hmm, "max_length", -1), (hmm, "max_length", 2.5),
        (aligner, "threshold", 0.5), (aligner, "heuristic", "posterior"),
    ]  # fmt: skip
    for each, name, value in bad:
        with pytest.raises(InputError):
            setattr(each, name, value)
    with pytest.raises(TypeError):
        hmm.settings["threshold"] = 7  # type: ignore[index]
    with pytest.raises(AttributeError):
        hmm.settings = {}  # type: ignore[misc]


def test_arguments_are_checked(tmp_path: Path) -> None:
    source, target = corpus("toku", 20)
    aligner = Aligner().fit(source, target)
    forward = Aligner(model="fast-align", heuristic="forward").fit(source, target)
    nan = float("nan")
    priors: list[Any] = [
        {("a", "b"): -1.0}, {("a", "b"): nan}, {("a", "b"): float("inf")}, {("a", "b"): "3"},
        {("a", "b"): True}, {"the": 3}, {"ab": 3}, {("a",): 3}, {("a", 3): 3}, {("a", "b"): 1e7},
        {("a", "b", "c"): 3}, [("a", "b")], "ab", {("a", "b"): None}, 3,
    ]  # fmt: skip
    for prior in priors:
        with pytest.raises(InputError, match="prior"):
            Aligner().fit(source, target, prior=prior)
    inits: list[Any] = [Aligner(), 3, "model", aligner.model]
    for init in inits:
        for call in (Aligner().fit, Aligner().fit_align):
            with pytest.raises(InputError, match="the model to go on from"):
                call(source, target, init=init)
    for chosen, fault in (
        ({"stems": "words"}, "has the stems prefix:3,prefix:5, not words"),
        ({"fold_case": False}, "another setting of fold_case"),
    ):
        with pytest.raises(InputError, match=fault):
            Aligner(**chosen).fit(source, target, init=aligner)  # type: ignore[arg-type]
    odd: list[Any] = [3, "x", [print]]
    for each in odd:
        with pytest.raises(InputError, match="progress must be a function"):
            Aligner().fit(source, target, each)
    numbers: list[Any] = [-1, 2.5, "3", None, nan, 2**63]
    for each in numbers:
        with pytest.raises(InputError, match="top must be"):
            aligner.lexicon(each)
        with pytest.raises(InputError, match="top must be"):
            aligner.lexicon_text(each)
    texts: list[Any] = [None, "x", ["a"], aligner]
    for each in texts:
        with pytest.raises(InputError, match="a text is what"):
            aligner.fit_text(each)
        with pytest.raises(InputError, match="a text is what"):
            aligner.align_text(each, print)
    paths: list[Any] = [3, None, b"/tmp", ["/tmp"], "a\0b"]
    for each in paths:
        for call in (aligner.save, Aligner.load):
            with pytest.raises(InputError, match="directory must be a folder"):
                call(each)
        with pytest.raises(InputError, match="path must be a file"):
            forward.take_parameters(each)
    thresholds: list[Any] = ["x", nan, None, True]
    for each in thresholds:
        with pytest.raises(InputError, match="threshold must be finite"):
            forward.parameters_text(each)
    for ratio in (0.0, -1.0, nan, float("inf"), "x"):
        with pytest.raises(InputError, match="length_ratio must be"):
            forward.take_parameters(tmp_path, ratio)  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["", " ", "a b", "a\tb", "a\nb"])
def test_words_that_no_line_holds_are_no_fault_until_one_is_written(word: str) -> None:
    text = [[word, "c"], ["c"]], [["x", "y"], ["y"]]
    for source, target in (text, text[::-1]):
        aligner = Aligner(model="fast-align", heuristic="forward").fit(source, target)
        assert aligner.align(source, target)[0] == [(0, 0), (1, 1)]
        assert aligner.lexicon(3)
        for write in (lambda: aligner.lexicon_text(3), aligner.parameters_text):  # noqa: B023
            with pytest.raises(InputError, match="cannot stand on a line of a file") as caught:
                write()
            assert "\n" not in str(caught.value)


def test_align_needs_fit() -> None:
    with pytest.raises(RuntimeError, match="call fit first"):
        Aligner(model="fast-align").align(["a"], ["b"])


def test_progress_counts_iterations() -> None:
    seen: list[int] = []
    Aligner(model="fast-align", iterations=3).fit(["a"], ["b"], seen.append)
    assert seen == [1, 2, 3]


@each_mode
def test_an_interrupt_leaves_the_earlier_model(memory: str) -> None:
    source, target = corpus("toku", 200)
    aligner = Aligner(model="fast-align", **MODES[memory]).fit(source, target)
    before = everything(aligner, aligner.align(source, target))

    def interrupt(iteration: int) -> None:
        if iteration == 3:
            raise KeyboardInterrupt

    for call in (aligner.fit, aligner.fit_align):
        with pytest.raises(KeyboardInterrupt):
            call(target[:50], source[:50], interrupt)
        assert everything(aligner, aligner.align(source, target)) == before


@each_mode
def test_a_callback_that_fails_leaves_the_earlier_model(memory: str, tmp_path: Path) -> None:
    class Failure(Exception):
        pass

    def fail(*arguments: object) -> None:
        raise Failure

    source, target = corpus("toku", 60)
    aligner = Aligner(model="fast-align", **MODES[memory], temp_dir=tmp_path).fit(source, target)
    before = everything(aligner, aligner.align(source, target))
    for callback in ("progress", "take", "on_memory"):
        for init in (None, aligner):
            text = aligner.read(target, source, init=init)
            with pytest.raises(Failure):
                aligner.fit_text(text, init=init, **{callback: fail})
    with pytest.raises(Failure):
        aligner.align_text(aligner.read(source, target, known=True), fail)
    assert everything(aligner, aligner.align(source, target)) == before
    assert list(tmp_path.iterdir()) == []


def test_what_callbacks_keep_outlives_the_aligner() -> None:
    source, target = corpus("toku", 60)
    aligner = Aligner(model="fast-align", **MODES["files"])
    kept: list[tuple[Links, dict[str, Any]]] = []
    aligner.fit_text(aligner.read(source, target), take=lambda *block: kept.append(block))
    expected = aligner.align(source, target)
    arrays = aligner.model.arrays()
    copies = {name: array.copy() for name, array in arrays.items()}
    del aligner
    assert Links.concatenate([links for links, _ in kept]) == expected
    for name, values in expected.scores.items():
        assert np.array_equal(np.concatenate([block[name] for _, block in kept]), values)
    assert all(np.array_equal(array, copies[name]) for name, array in arrays.items())


def test_a_text_can_be_tried_again() -> None:
    """In files after memory was refused, or after an interrupt."""
    source, target = corpus("toku", 60)
    expected = everything(Aligner(model="fast-align").fit(source, target))
    for memory in MODES:
        aligner = Aligner(model="fast-align", **MODES[memory])
        text = aligner.read(source, target)
        with pytest.raises(ZeroDivisionError):
            aligner.fit_text(text, progress=lambda measures: 1 // 0)
        aligner.fit_text(text)
        assert everything(aligner) == expected
        with pytest.raises(ValueError, match="numbered for a model that is finished"):
            aligner.fit_text(text)


def test_an_unusable_temporary_directory(tmp_path: Path) -> None:
    source, target = corpus("toku", 60)
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "absent", tmp_path / "file"):
        aligner = Aligner(model="fast-align", **MODES["files"], temp_dir=folder)
        with pytest.raises(OSError, match=str(folder)) as caught:
            aligner.fit(source, target)
        assert caught.value.errno in (2, 20)
        with pytest.raises(RuntimeError, match="call fit first"):
            aligner.align(source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_full_temporary_directory(tmp_path: Path) -> None:
    """As a limit on the size of files: it refuses what a full disk would."""
    script = """
import resource, signal, sys
from weam_ext import Aligner
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    aligner = Aligner(model="fast-align", max_memory=1, temp_dir=sys.argv[1])
    aligner.fit(["a b c", "b d"] * 3000, ["x y", "w"] * 3000)
except OSError as error:
    print(error.strerror)
"""
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert found.stdout == "a temporary file of 0 MiB: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_the_plan_is_told_before_training(tmp_path: Path) -> None:
    source, target = corpus("toku", 60)
    told: list[object] = []
    aligner = Aligner(model="fast-align", iterations=2, temp_dir=tmp_path)
    text = aligner.read(source, target)
    aligner.fit_text(text, on_memory=told.append, progress=lambda measures: told.append(measures))
    plan = told[0]
    assert isinstance(plan, MemoryPlan)
    assert plan.mode == "fast"
    assert 10**6 < plan.needed == plan.fast < 10**10
    assert len(told) == 3
    assert list(tmp_path.iterdir()) == []


def test_the_earlier_model_serves_until_training_ends() -> None:
    source, target = corpus("orlu", 100)
    aligner = Aligner(model="fast-align").fit(source, target)
    expected = aligner.align(source, target)
    seen: list[Links] = []
    aligner.fit(target, source, lambda _: seen.append(aligner.align(source, target)))
    assert seen == [expected] * 5
    assert aligner.align(source, target) != expected


def test_a_signal_stops_training_at_once() -> None:
    """Its handler's exception comes out of fit, which would go on for minutes."""

    class Alarm(Exception):
        pass

    def ring(number: int, frame: FrameType | None) -> None:
        raise Alarm

    source, target = corpus("venn", 500)
    aligner = Aligner(model="fast-align", iterations=100_000, max_length=0)
    previous = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        start = time.monotonic()
        with pytest.raises(Alarm):
            aligner.fit(source, target)
        assert time.monotonic() - start < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@each_mode
def test_control_c_stops_training_at_once(memory: str) -> None:
    script = f"""
from weam_ext import Aligner
def progress(iteration):
    if iteration == 1:
        print("training", flush=True)
aligner = Aligner(model="fast-align", iterations=100_000, **{MODES[memory]})
try:
    aligner.fit(["a b c", "b d"] * 300, ["x y z", "y w"] * 300, progress)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "training\n"
        start = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert time.monotonic() - start < 5
    assert child.returncode == 0
