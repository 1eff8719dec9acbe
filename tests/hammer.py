"""Calls everything in the native module with anything: `python hammer.py SEED CALLS`.

Whatever Python calls is done or refused with an exception; a crash ends the process.
"""

import itertools
import random
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from weam_ext import _native

# What a call may end in. Anything else, such as SystemError, is a fault of the module.
REFUSED = (TypeError, ValueError, IndexError, RuntimeError, OSError, MemoryError, OverflowError)
_TEXT = (
    [["a", "b"], ["b", "c", "d"], ["été"], [], ["a"] * 9],
    ["x y", "y", "z x", "w", " ".join("xyz" * 4)],
)


class Callback(Exception):
    """Raised by a callback."""


class Changing(Sequence[str]):
    """Empties another list as soon as it is read."""

    def __init__(self, other: list[str]) -> None:
        self._other = other

    def __len__(self) -> int:
        return 2

    def __getitem__(self, at: Any) -> Any:
        if at > 1:
            raise IndexError
        self._other.clear()
        return f"new {at}"


class Hammer:
    """Calls at random; what they make is used by later ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.wild = False  # whether this call has arguments that cannot be meant
        self.settings = _native.Settings(
            iterations=2, p0=0.08, tension=4.0, alpha=0.01, favor_diagonal=True,
            optimize_tension=True, variational_bayes=True, null_word=True,
        )  # fmt: skip
        self.hmm_settings = _native.HmmSettings(
            start_iterations=1, iterations=1, p0=0.1, alpha=0.1, fertility=True
        )
        self.texts = [self.text()]
        self.plans = [self.plan(self.text())]
        self.models: list[Any] = []
        for directions in (1, 2):
            self.models.append(self.fit(self.text(), directions=directions))
        self.models.append(self.fit_hmm(self.text()))
        table = b"a\tx\t-0.1\nb\ty\t-1\n<eps>\tx\t-2\n"
        self.models.append(_native.load_parameters(table, self.settings, 1.0))
        self.readers = [self.reader(_native.Text(None, True))]
        self.outputs = [_native.Output(None, False, self.callback)]
        self.decodings = [_native.Decoding("posterior", 0.5)]
        self.histories = [model.history(0) for model in self.models]

    # ----------------------------------------------------------------------------- well-formed

    def text(self, model: Any = None, *, learn: bool = True) -> Any:
        text = _native.Text(model, learn)
        text.add(*_TEXT, 0)
        return text

    def fit(self, text: Any, **changes: Any) -> Any:
        arguments: dict[str, Any] = {
            "text": text, "settings": self.settings, "directions": 2, "threads": 2,
            "memory": "auto", "bytes": self.random.choice([0, 10**9]), "directory": "/tmp",
            "init": None, "on_memory": print_nothing, "progress": print_nothing, "output": None,
        }  # fmt: skip
        return _native.fit(**(arguments | changes))

    def plan(self, text: Any, **changes: Any) -> Any:
        arguments: dict[str, Any] = {
            "text": text, "threads": 2, "memory": "auto",
            "bytes": self.random.choice([0, 10**9]), "directory": "/tmp",
        }  # fmt: skip
        return _native.plan_hmm(**(arguments | changes))

    def fit_hmm(self, text: Any, **changes: Any) -> Any:
        arguments: dict[str, Any] = {
            "text": text, "settings": self.hmm_settings, "threads": 2, "plan": self.plan(text),
            "init": None, "progress": print_nothing, "spelling": 0.0, "spellings": [[], []],
            "dictionary": [],
        }  # fmt: skip
        return _native.fit_hmm(**(arguments | changes))

    def reader(self, text: Any, **changes: Any) -> Any:
        arguments: dict[str, Any] = {
            "text": text, "files": 1, "columns": (0, 1), "max_length": 0, "limit": 0,
            "reversed": False, "threads": 1, "bytes": 10**9, "directory": "/tmp",
        }  # fmt: skip
        return _native.TextReader(**(arguments | changes))

    # -------------------------------------------------------------------------------- anything

    def callback(self, *arguments: object) -> None:
        """Returns, raises, or calls something else."""
        turn = self.random.randrange(12)
        if turn == 0:
            raise Callback
        if turn == 1:
            self.call()

    def number(self) -> Any:
        if not self.wild:
            return self.random.randrange(1, 3)
        return self.random.choice([0, 1, 2, 3, 9, -1, 2**31 - 1, 2**32, 2**63, -(2**63), 2**64])

    def real(self) -> Any:
        if not self.wild:
            return 0.5
        return self.random.choice([0.0, 0.5, 1.0, -1.0, 1e300, float("nan"), float("inf"), -0.0])

    def odd(self) -> Any:
        choices: list[Callable[[], Any]] = [
            self.number, self.real, lambda: None, lambda: "a", lambda: b"a \xff", lambda: [],
            lambda: "é\0 b", lambda: True, lambda: np.zeros((2, 2), np.int32), lambda: {},
            lambda: [None, 3], self.model, self.any_text, object, lambda: iter("ab"),
            lambda: "\ud800", lambda: _native.Model.__new__(_native.Model),
            lambda: _native.Text.__new__(_native.Text), self.array,
        ]  # fmt: skip
        return self.random.choice(choices)()

    def mostly(self, make: Callable[[], Any]) -> Any:
        return self.odd() if self.wild and self.random.random() < 0.15 else make()

    def choose(self, *values: Any) -> Any:
        return self.mostly(lambda: self.random.choice(values))

    def model(self) -> Any:
        return self.random.choice(self.models)

    def any_text(self) -> Any:
        return self.random.choice(self.texts)

    def sentence(self) -> Any:
        words = self.random.choices(["a", "b", "c", "x", "y", "été", "", " ", "\n"], k=4)
        kinds: list[Callable[[], Any]] = [
            lambda: words, lambda: " ".join(words), lambda: tuple(words), lambda: [],
            lambda: np.array([1, 2, 3], self.random.choice(["u1", "i8", ">i4", "u8"])),
            lambda: np.arange(9)[::2], lambda: [1, 2, 3], lambda: (word for word in words),
        ]  # fmt: skip
        return self.mostly(self.random.choice(kinds))

    def sentences(self) -> tuple[Any, Any]:
        size = self.random.randrange(4)
        source = [self.sentence() for _ in range(size)]
        target = [self.sentence() for _ in range(size)]
        if size and self.random.random() < 0.1:
            source[0] = ["a" * 20, "b" * 20]
            target[0] = Changing(source[0])
        return self.mostly(lambda: source), self.mostly(lambda: target)

    def array(self) -> Any:
        kind = self.random.choice(["i8", "i4", "u8", "f4", "f8", "u1", ">i8", "U1", "O", "?"])
        shape = self.random.choice([(0,), (1,), (3,), (2, 2), (0, 2), (3, 2), ()])
        array = np.zeros(shape, kind)
        if kind in ("i8", "i4", "u8", "f4", "f8") and array.size:
            special = [0, 1, 2, 3, -1, 2**31 - 1, 2**63 - 1]
            with np.errstate(all="ignore"):
                array[...] = np.array(self.random.choices(special, k=array.size)).astype(
                    kind).reshape(shape)  # fmt: skip
        if self.random.random() < 0.1 and array.ndim:
            array = np.repeat(array, 2, axis=0)[::2]  # not contiguous
        if self.random.random() < 0.1 and kind[0] in "iuf":
            raw = b"\0" + array.tobytes()  # not aligned
            array = np.frombuffer(raw, kind, offset=1).reshape(shape)
        return array

    def links(self) -> tuple[Any, Any]:
        sizes = [self.random.randrange(3) for _ in range(self.random.randrange(4))]
        offsets = np.cumsum([0, *sizes])
        pairs = np.array(
            [[self.random.choice([0, 1, 2, 2**31 - 1]) for _ in "ij"] for _ in range(offsets[-1])]
        )
        if self.random.random() < 0.2:
            offsets[self.random.randrange(len(offsets))] = self.random.choice([-1, 1, 99, 2**62])
        pairs = pairs.astype(np.int32).reshape(-1, 2)
        return self.mostly(lambda: offsets), self.mostly(lambda: pairs)

    def arrays(self) -> Any:
        arrays = dict(self.model().arrays())
        for _ in range(self.random.randrange(3) if self.wild else 0):
            name = self.random.choice(sorted(arrays))
            turn = self.random.randrange(4)
            if turn == 0:
                arrays[name] = self.array()
            elif turn == 1:
                arrays[name] = arrays[name][: self.random.randrange(4)]
            elif turn == 2:
                arrays[name] = self.odd()
            elif arrays[name].size:
                arrays[name] = arrays[name].copy()
                arrays[name].reshape(-1)[-1] = self.random.choice([0, 1, 77])
            if not isinstance(arrays[name], np.ndarray):
                break
        return self.mostly(lambda: arrays)

    # ----------------------------------------------------------------------------------- calls

    def call(self) -> None:
        calls = [name for name in dir(self) if name.startswith("call_")]
        self.wild = self.random.random() < 0.5
        with suppress(*REFUSED, Callback):
            getattr(self, self.random.choice(calls))()

    def resources(self) -> dict[str, Any]:
        return {
            "threads": self.choose(1, 2, 3),
            "memory": self.choose("auto", "low", "fast"),
            "bytes": self.choose(0, 10**6, 10**10),
            "directory": self.random.choice(["/absent", "", "/proc"]) if self.wild else "/tmp",
            "on_memory": self.mostly(lambda: self.callback),
            "progress": self.mostly(lambda: self.callback),
        }

    def call_fit(self) -> None:
        arguments = self.resources() | {
            "directions": self.choose(1, 2),
            "init": self.choose(None, self.model()),
            "output": self.choose(None, *self.outputs),
        }
        init = arguments["init"]
        fresh = self.text(init if isinstance(init, _native.Model) else None)
        text = self.choose(fresh, fresh, self.any_text())
        self.models.append(self.fit(text, **arguments))

    def call_fit_hmm(self) -> None:
        init = self.choose(None, self.models[2], self.model())
        fresh = self.text(init if isinstance(init, _native.Model) else None)
        text = self.choose(fresh, fresh, self.any_text())
        size = [len(fresh.words(side)) for side in (0, 1)]
        words = [["house"] * size[side] for side in (0, 1)]
        resources = self.resources()
        arguments = {
            "plan": self.choose(self.any_plan(), self.plans[0]),
            "threads": resources["threads"],
            "progress": resources["progress"],
            "init": init,
            "spelling": self.choose(0.0, 1.0, self.real()),
            "spellings": self.mostly(lambda: words),
            "dictionary": self.choose([], [("a", "x", 2.0), ("no", "no", self.real())]),
        }
        self.models.append(self.fit_hmm(text, **arguments))

    def any_plan(self) -> Any:
        resources = self.resources()
        del resources["on_memory"], resources["progress"]
        self.plans.append(self.plan(self.any_text(), **resources))
        return self.plans[-1]

    def call_plan(self) -> None:
        plan = self.any_plan()
        assert plan.mode in ("fast", "low", "files")
        assert min(plan.needed, plan.fast, plan.kept, plan.longest) >= 0

    def call_settings(self) -> None:
        self.settings = _native.Settings(
            iterations=self.choose(1, 2), p0=self.choose(0.0, 0.08, self.real()),
            tension=self.choose(4.0, 1e-6, self.real()), alpha=self.choose(0.01, self.real()),
            favor_diagonal=self.choose(True, False), optimize_tension=self.choose(True, False),
            variational_bayes=self.choose(True, False), null_word=self.choose(True, False),
        )  # fmt: skip

    def call_hmm_settings(self) -> None:
        self.hmm_settings = _native.HmmSettings(
            start_iterations=self.choose(0, 1), iterations=self.choose(0, 1),
            p0=self.choose(0.1, self.real()), alpha=self.choose(0.1, self.real()),
            fertility=self.choose(True, False),
        )  # fmt: skip

    def call_decoding(self) -> None:
        names = ("posterior", "forward", "backward", "union", "grow-diag-final-and", "none")
        self.decodings.append(_native.Decoding(self.choose(*names), self.choose(self.real())))

    def call_output(self) -> None:
        output = _native.Output(
            self.choose(None, "union", "grow-diag", "none"), self.choose(True, False),
            self.mostly(lambda: self.callback),
        )  # fmt: skip
        self.outputs.append(output)

    def call_iteration(self) -> None:
        self.histories.append([_native.Iteration(*(self.choose(self.real()) for _ in range(5)))])

    def call_uninitialised(self) -> None:
        names = ("Model", "Text", "TextReader", "Output", "Settings", "Plan", "Decoding")
        kind = getattr(_native, self.random.choice(names))
        empty = kind.__new__(kind)
        for name in dir(kind):
            if not name.startswith("_"):
                value = getattr(empty, name)
                value(*(self.odd() for _ in range(self.random.randrange(4))))

    def call_text(self) -> None:
        model = self.choose(None, self.model())
        self.texts.append(_native.Text(model, self.choose(True, False)))

    def call_add(self) -> None:
        self.any_text().add(*self.sentences(), self.choose(0, 1, self.number()))

    def call_text_members(self) -> None:
        text = self.any_text()
        assert len(text) >= 0
        assert text.bytes >= 0
        assert text.tokens
        assert text.dropped
        text.words(self.choose(0, 1, self.number()))

    def call_renamed(self) -> None:
        text = self.any_text()
        words = [[word[:1] for word in text.words(side)] for side in (0, 1)]
        if self.random.random() < 0.2:
            words[1] = words[1][:1]
        model = self.choose(None, self.model())
        self.texts.append(text.renamed(self.mostly(lambda: words), model, self.choose(True, False)))

    def call_reader(self) -> None:
        text = self.choose(_native.Text(self.choose(None, self.model()), True), self.any_text())
        self.readers.append(
            self.reader(
                text,
                files=self.choose(1, 2, 3),
                columns=self.choose((0, 1), (1, 0), (7, 7)),
                max_length=self.choose(0, 2),
                limit=self.choose(0, 1, 2),
                reversed=self.choose(True, False),
                threads=self.choose(1, 2),
                bytes=self.choose(0, 10**9),
                directory=self.choose("/tmp", "/absent"),
            )
        )
        self.texts.append(text)

    def call_read(self) -> None:
        reader = self.random.choice(self.readers)
        for _ in range(self.random.randrange(5)):
            turn = self.random.randrange(6)
            file = self.choose(0, 0, 1, self.number())
            if turn == 0:
                reader.finish()
            elif turn == 1:
                reader.end(file)
            else:
                data = self.random.choice(
                    [b"a b ||| x y\n", b"a\tx\n", b"a ||", b"\xff\n", b"\n", b"", b"b\r\n", b"\xef"]
                )
                reader.feed(file, self.mostly(lambda data=data: data))

    def call_read_in_threads(self) -> None:
        reader = self.random.choice(self.readers)

        def work() -> None:
            with suppress(*REFUSED):
                for _ in range(20):
                    reader.feed(0, b"a ||| b\n" * 100)

        together(work, work)

    def call_use_in_threads(self) -> None:
        text = self.text()

        def train() -> None:
            with suppress(*REFUSED):
                self.models.append(self.fit(text))

        def add() -> None:
            with suppress(*REFUSED):
                text.add(*_TEXT, 0)

        together(train, add, train)

    def call_model_members(self) -> None:
        model = self.model()
        assert model.directions >= 1
        assert model.cells >= 0
        assert model.tension
        assert model.length_ratio
        assert model.null_totals
        self.histories.append(model.history(self.choose(0, 1, self.number())))
        model.words(self.choose(0, 1, self.number()))

    def call_write_to_arrays(self) -> None:
        arrays = self.model().arrays()
        arrays[self.random.choice(sorted(arrays))][...] = 2**31

    def call_make_arrays_writable(self) -> None:
        arrays = self.model().arrays()
        array = arrays[self.random.choice(["rows", "columns", "t"])]
        array.flags.writeable = True
        array[...] = 2**31

    def call_lexicon(self) -> None:
        model = self.model()
        name = self.random.choice(["lexicon", "lexicon_text"])
        direction, top = self.choose(0, 1, self.number()), self.choose(0, 1, self.number())
        getattr(model, name)(direction, top, self.choose(1, 2, self.number()))

    def call_parameters(self) -> None:
        self.model().parameters(self.choose(-4.0, self.real()), self.choose(1, self.number()))

    def call_align_pair(self) -> None:
        heuristic = self.choose(None, "union", "intersect", "grow-diag-final", "none")
        length = self.choose(0, 1, self.number())
        self.model().align_pair(self.sentence(), self.sentence(), heuristic, length)

    def call_align(self) -> None:
        model = self.model()
        text = self.text(model, learn=False)
        _native.align(
            self.mostly(lambda: model), self.choose(text, self.any_text()),
            self.choose(1, 2, self.number()), self.choose(*self.outputs),
        )  # fmt: skip

    def call_align_hmm(self) -> None:
        several = range(self.random.randrange(3))
        models = [self.choose(self.models[2], self.model()) for _ in several]
        texts = [self.choose(self.text(model, learn=False), self.any_text()) for model in models]
        _native.align_hmm(
            self.mostly(lambda: models), self.mostly(lambda: texts), self.choose(*self.decodings),
            self.choose(1, 2, self.number()), self.choose(0, 10**9, self.number()),
            self.mostly(lambda: self.callback),
        )  # fmt: skip

    def call_align_hmm_with_another_text(self) -> None:
        model = self.models[2]
        texts = [_native.Text(model, False) for _ in range(2)]
        texts[0].add(["a b c"], ["x y"], 0)
        size = self.random.choice([0, 1, 2])
        texts[1].add(["a"] * size, ["x"] * size, 0)
        self.random.shuffle(texts)
        _native.align_hmm([model] * 2, texts, self.decodings[0], 1, 0, self.callback)

    def call_load(self) -> None:
        two = [(4.0, 4.0), (1.0, 1.0), (self.real(), self.real())]
        measured = [self.choose(*two) for _ in range(3)]
        settings = self.mostly(lambda: self.settings)
        directions = self.choose(1, 2)
        history = self.choose(*([self.random.choice(self.histories)] * n for n in (1, 2)))
        model = _native.load_model(self.arrays(), settings, directions, *measured, history)
        self.models.append(model)

    def call_load_hmm(self) -> None:
        measured = [self.choose((4.0, 4.0), (self.real(), self.real())) for _ in range(3)]
        settings = self.mostly(lambda: self.hmm_settings)
        history = self.mostly(lambda: [self.random.choice(self.histories)] * 2)
        arrays = self.choose(dict(self.models[2].arrays()), self.arrays())
        self.models.append(_native.load_hmm(arrays, settings, *measured, history))

    def call_load_parameters(self) -> None:
        data = self.choose(b"", b"a\tb\t-1\n", b"a b\n", b"a b -1\n<eps> b -inf\n", b"a b nan\n")
        settings = self.mostly(lambda: self.settings)
        self.models.append(_native.load_parameters(data, settings, self.choose(1.0, self.real())))

    def call_likeness(self) -> None:
        words = ["", "a", "house" * 40, "é"]
        _native.likeness(self.choose(*words), self.choose(*words))

    def call_symmetrize(self) -> None:
        methods = ("intersect", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and", "x")
        _native.symmetrize(
            *self.links(), *self.links(), self.choose(*methods), self.choose(1, self.number())
        )

    def call_format(self) -> None:
        offsets, pairs = self.links()
        size = len(pairs) if isinstance(pairs, np.ndarray) and pairs.ndim else 1
        with np.errstate(all="ignore"):
            known = np.full(size, self.real(), np.float32)
        probability = self.choose(None, known, self.array())
        _native.format_pharaoh(
            offsets, pairs, probability, self.choose(True, False), self.choose(1, self.number())
        )

    def call_parse(self) -> None:
        lines = (b"0-0 1-2\n", b"0-0:0.5\n", b"a\n", b"", b"2147483647-0", b"1-1 ||| 2\n", b"\xff")
        _native.parse_pharaoh(
            self.choose(*lines), self.choose(1, self.number()), self.choose(None, True, False),
            self.choose(True, False), self.choose(1, self.number()),
        )  # fmt: skip


def print_nothing(*arguments: object) -> None:
    pass


def together(*works: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main(seed: int, calls: int) -> None:
    for number in itertools.count(seed):
        hammer = Hammer(number)
        for _ in range(min(calls, 200)):
            hammer.call()
        calls -= 200
        if calls <= 0:
            return


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
