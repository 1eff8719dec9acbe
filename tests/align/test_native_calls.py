"""Nothing that Python can call in the native module ends the process: it is done, or refused."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

PREPARE = """
import numpy as np
from weam_ext import _native as n
from weam_ext import Aligner
nothing = lambda *arguments: None
settings = n.Settings(
    iterations=2, p0=0.1, tension=4.0, alpha=0.1, favor_diagonal=True, optimize_tension=True,
    variational_bayes=True, null_word=True)
hmm_settings = n.HmmSettings(start_iterations=1, iterations=1, p0=0.1, alpha=0.1, fertility=True)
posterior = n.Decoding("posterior", 0.5)

def text(model=None, learn=True, times=1):
    made = n.Text(model, learn)
    made.add(["a b", "b c"] * times, ["x", "y z"] * times, 0)
    return made

def fit(made, directions=2, threads=1, init=None, output=None):
    return n.fit(made, settings, directions, threads, "auto", 10**9, "/tmp", init, nothing, nothing,
                 output)

def fit_hmm(made, init=None, spelling=0.0, dictionary=()):
    plan = n.plan_hmm(made, 1, "auto", 10**9, "/tmp")
    return n.fit_hmm(made, hmm_settings, 1, plan, init, nothing, spelling, [[], []],
                     list(dictionary))

def reader(made, files=1, reverse=False):
    return n.TextReader(text=made, files=files, columns=(0, 1), max_length=0, limit=0,
                        reversed=reverse, threads=1, bytes=10**9, directory="/tmp")

def raising(*arguments):
    raise KeyError("mine")

model, one, hmm = fit(text()), fit(text(), 1), fit_hmm(text())
known = text(hmm, False)
"""
# What refused it, or what came of it, is all the same: an exception, and the process goes on.
CALLS = {
    "words of side 9": "model.words(9)",
    "words of side -1": "model.words(-1)",
    "history of direction 7": "model.history(7)",
    "history of another direction": "one.history(1)",
    "lexicon of direction -1": "model.lexicon(-1, 5, 1)",
    "lexicon text of direction -1": "model.lexicon_text(-1, 5, 1)",
    "words of a text": "text().words(2)",
    "an untrained HMM": "Aligner().fit_align(['the house'], ['la maison'], init=Aligner())",
    "no models": "n.align_hmm([], [], posterior, 1, 0, nothing)",
    "models of None": "n.align_hmm([None], [known], posterior, 1, 0, nothing)",
    "texts of None": "n.align_hmm([hmm], [None], posterior, 1, 0, nothing)",
    "fewer texts than models": "n.align_hmm([hmm, hmm], [known], posterior, 1, 0, nothing)",
    "texts that differ": "n.align_hmm([hmm] * 2, [known, text(hmm, False, 9)], posterior, 1, 0, nothing)",  # noqa: E501
    "no HMM": "n.align_hmm([one], [text(one, False)], posterior, 1, 0, nothing)",
    "no decoding": "n.align_hmm([hmm], [known], None, 1, 0, nothing)",
    "no threads": "fit(text(), threads=0)",
    "fewer threads than none": "n.align_hmm([hmm], [known], posterior, -1, 0, nothing)",
    "no directions": "fit(text(), 0)",
    "three directions": "fit(text(), 3)",
    "posteriors while training": "fit(text(), output=n.Output(None, True, nothing))",
    "a model to go on from of the other kind": "fit_hmm(text(one), init=one)",
    "not a number of links": "fit_hmm(text(), spelling=float('nan'))",
    "not a number in a dictionary": "fit_hmm(text(), dictionary=[('a', 'x', float('nan'))])",
    "not a setting": "n.Settings(iterations=-1, p0=2.0, tension=float('nan'), alpha=-1.0, "
    "favor_diagonal=True, optimize_tension=True, variational_bayes=True, null_word=True)",
    "no plan": "n.fit_hmm(text(), hmm_settings, 1, None, None, nothing, 0.0, [[], []], [])",
    "a plan for no text": "n.plan_hmm(None, 1, 'auto', 10**9, '/tmp')",
    "a plan for a text of unknown words": "n.plan_hmm(text(hmm, False), 1, 'auto', 10**9, '/tmp')",
    "a plan without its __init__": "n.Plan.__new__(n.Plan).mode",
    "a reader of no text": "reader(None)",
    "a reader of no files": "reader(n.Text(None, True), 0)",
    "a third file": "reader(n.Text(None, True)).feed(2, b'a ||| b')",
    "the end of file -1": "reader(n.Text(None, True)).end(-1)",
    "a text with words, reversed": "reader(text(), reverse=True)",
    "a text that is being read": "made = n.Text(None, True); held = reader(made, reverse=True); "
    "held.feed(0, b'a b c d ||| x\\n' * 9); fit(made)",
    "read to its end twice": "held = reader(n.Text(None, True), reverse=True); "
    "held.feed(0, b'a b ||| x\\n'); held.finish(); held.finish()",
    "a text changed while training": "made = text(); n.fit(made, settings, 2, 1, 'auto', 10**9, "
    "'/tmp', None, lambda *plan: made.add(['a'] * 9999, ['b'] * 9999, 0), nothing, None)",
    "a sentence changed while it is read": "import hammer; words = ['a' * 99, 'b' * 99]; "
    "n.Text(None, True).add([words], [hammer.Changing(words)], 0); raise KeyError",
    "a callback that raises": "n.align_hmm([hmm], [known], posterior, 1, 0, raising)",
    "writing to a model": "model.arrays()['columns'][:] = 2**31",
    "writing to a model all the same": "model.arrays()['columns'].flags.writeable = True",
    "a model without its __init__": "n.Model.__new__(n.Model).words(0)",
    "a text without its __init__": "n.Text.__new__(n.Text).add(['a'], ['b'], 0)",
    "a reader without its __init__": "n.TextReader.__new__(n.TextReader).finish()",
    "an output without its __init__": "n.align(one, text(one, False), 1, n.Output.__new__(n.Output))",  # noqa: E501
    "parameters of both directions": "model.parameters(-4.0, 1)",
    "arrays that are not aligned": "arrays = dict(one.arrays()); raw = b'\\0' + "
    "arrays['rows'].tobytes(); arrays['rows'] = np.frombuffer(raw, np.uint64, offset=1); "
    "n.load_model(arrays, settings, 1, (4., 4.), (1., 1.), (0., 0.), [one.history(0)])",
    "links beyond the last": "n.format_pharaoh(np.array([0, 9]), np.zeros((1, 2), np.int32), None, "
    "False, 1)",
    "links before the first": "n.symmetrize(np.array([-1, 1]), np.zeros((1, 2), np.int32), "
    "np.array([0, 1]), np.zeros((1, 2), np.int32), 'union', 1)",
    "threads to write with": "n.format_pharaoh(np.array([0]), np.zeros((0, 2), np.int32), None, "
    "False, -1)",
}


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_refused(call: str) -> None:
    done = python("-c", f"{PREPARE}\n{call}")
    assert done.returncode == 1, f"{call} was not refused: {done.returncode}\n{done.stderr}"


@pytest.mark.parametrize("seed", [1, 1000])
def test_anything(seed: int) -> None:
    done = python(str(ROOT / "tests" / "hammer.py"), str(seed), "1000")
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_anything_at_length() -> None:
    done = python(str(ROOT / "tests" / "hammer.py"), "2000", "20000")
    assert done.returncode == 0, done.stderr
