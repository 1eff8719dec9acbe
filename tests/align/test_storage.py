"""Aligners on disk: what is saved is what is loaded, and nothing else is."""

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aligners import (
    MODES,
    PLENTY,
    Pairs,
    bitext,
    corpus,
    everything,
    load_model,
    trainable,
    trained,
)
from aligners import switches as any_switches
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from weam_ext import InputError
from weam_ext.align.aligner import Aligner
from weam_ext.align.fast_align import FastAlign
from weam_ext.common.files import read_record, write_record

TEXT = corpus("toku", 40)
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    Aligner(model="fast-align", iterations=3).fit(*TEXT).save(tmp_path / "saved")
    return tmp_path / "saved"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def description_of(folder: Path) -> Any:
    return read_record(folder / "aligner.json")


def tensors_of(folder: Path) -> Path:
    return folder / str(description_of(folder)["tensors"]["file"])


def describe(folder: Path, description: Any) -> None:
    """As who knows how to seal a record."""
    write_record(folder / "aligner.json", description)


def sign(folder: Path) -> None:
    """Has the description tell the digest that the tensors now have."""
    description = description_of(folder)
    data = tensors_of(folder).read_bytes()
    description["tensors"]["sha256"] = hashlib.sha256(data).hexdigest()
    describe(folder, description)


def refused(folder: Path, message: str | None = None) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Aligner.load(folder)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------ round trip


def assert_same(aligner: Aligner, loaded: Aligner, source: Any, target: Any) -> None:
    assert everything(loaded) == everything(aligner)
    assert loaded.model.arrays().keys() == aligner.model.arrays().keys()
    assert [loaded.model.words(side) for side in (0, 1)] == [
        aligner.model.words(side) for side in (0, 1)
    ]
    links, again = aligner.align(source, target), loaded.align(source, target)
    assert everything(loaded, again) == everything(aligner, links)
    for name in ("heuristic", "settings", "max_length", "tension", "length_ratio"):
        assert getattr(loaded, name) == getattr(aligner, name)


@pytest.mark.parametrize("memory", MODES)
@pytest.mark.parametrize("heuristic", ["intersect", "forward", "backward"])
def test_round_trip(heuristic: str, memory: str, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"heuristic": heuristic, "p0": 0.1, "alpha": 0.02, "max_length": 30}
    aligner = trained(*TEXT, memory=memory, **chosen)
    aligner.save(tmp_path / "a" / "b")
    loaded = Aligner.load(str(tmp_path / "a" / "b"), threads=2, max_memory=PLENTY)
    assert_same(aligner, loaded, *TEXT)
    loaded.save(tmp_path / "again")
    aligner.save(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "a" / "b")
    further = corpus("toku", 30, 60)
    results = {
        everything(Aligner(model="fast-align", **chosen).fit(*further, init=init))
        for init in (aligner, loaded)
    }
    assert len(results) == 1


@given(train=trainable, switches=any_switches, heuristic=st.sampled_from(["union", "backward"]))
@settings(max_examples=30)
def test_round_trip_of_any_text(
    train: Pairs, switches: dict[str, bool], heuristic: str, tmp_path_factory: Any
) -> None:
    folder = tmp_path_factory.mktemp("model")
    source, target = bitext(train)
    aligner = trained(source, target, heuristic=heuristic, iterations=2, **switches)
    aligner.save(folder)
    assert_same(aligner, Aligner.load(folder), source, target)


def test_a_model_without_counts(tmp_path: Path) -> None:
    forward = Aligner(model="fast-align", heuristic="forward").fit(*TEXT)
    (tmp_path / "parameters").write_bytes(forward.parameters_text())
    aligner = Aligner(model="fast-align", heuristic="forward").take_parameters(
        tmp_path / "parameters", 1.25
    )
    aligner.save(tmp_path / "model")
    loaded = Aligner.load(tmp_path / "model")
    assert_same(aligner, loaded, *TEXT)
    assert loaded.length_ratio == {"forward": 1.25}


def test_saving_replaces_the_model_and_nothing_else(saved: Path) -> None:
    (saved / "model.safetensors").write_bytes(b"somebody's")
    old = tensors_of(saved)
    aligner = Aligner(model="fast-align", heuristic="forward").fit(*corpus("orlu", 20))
    aligner.save(saved)
    assert not old.exists()
    names = {"aligner.json", "model.safetensors", tensors_of(saved).name}
    assert contents(saved).keys() == names
    assert_same(aligner, Aligner.load(saved), *corpus("orlu", 30))


def test_saving_over_the_model_in_use(saved: Path) -> None:
    loaded = Aligner.load(saved)
    before = contents(saved)
    loaded.save(saved)
    assert contents(saved) == before
    Aligner(model="fast-align").fit(["a"], ["b"]).save(saved)
    assert everything(loaded) == everything(Aligner(model="fast-align", iterations=3).fit(*TEXT))


def test_a_save_that_fails_leaves_the_old_model(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = everything(Aligner.load(saved))
    aligner = Aligner(model="fast-align").fit(["a"], ["b"])

    def fail(*arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    for name in ("save_file", "file_digest", "write_record", "rename_durably"):
        with monkeypatch.context() as patch:
            patch.setattr(f"weam_ext.align.storage.{name}", fail)
            with pytest.raises(
                InputError, match=rf"{saved}.*: cannot be written \(.*No space left"
            ):
                aligner.save(saved)
        assert everything(Aligner.load(saved)) == expected
    aligner.save(saved)
    assert everything(Aligner.load(saved)) == everything(aligner)
    assert contents(saved).keys() == {"aligner.json", tensors_of(saved).name}


def test_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="call fit first"):
        Aligner(model="fast-align").save(tmp_path)
    with pytest.raises(RuntimeError, match="call fit first"):
        Aligner().save(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file: cannot be written"):
        Aligner(model="fast-align").fit(["a"], ["b"]).save(tmp_path / "file")


# ---------------------------------------------------------------------------------- two at once

SAVE = """
import os, sys
from weam_ext import Aligner, InputError
os.umask(int(sys.argv[2], 8))
aligner = Aligner(model="fast-align").fit(["a b", sys.argv[3]], ["x y", "z"])
done = 0
while done < int(sys.argv[4]):
    try:
        aligner.save(sys.argv[1])
        done += 1
    except InputError as error:
        assert "is writing there; wait until it has ended" in str(error), error
print(done)
"""


def saving(
    folder: Path, word: str = "c", times: int = 1, umask: str = "022"
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SAVE, str(folder), umask, word, str(times)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_whoever_saves_at_once_and_whoever_reads_has_a_whole_model(tmp_path: Path) -> None:
    words = ["c", "d e", "f g h"]
    expected = {
        everything(Aligner(model="fast-align").fit(["a b", word], ["x y", "z"])) for word in words
    }
    folder = tmp_path / "kept"
    assert saving(folder).wait() == 0
    writers = [saving(folder, word, 10) for word in words]
    found = set()
    while any(writer.poll() is None for writer in writers):
        found.add(everything(Aligner.load(folder)))
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert [int(writer.communicate()[0]) for writer in writers] == [10, 10, 10]
    assert found <= expected
    assert everything(Aligner.load(folder)) in expected
    assert contents(folder).keys() == {"aligner.json", tensors_of(folder).name}


def test_leftovers_of_a_killed_save_are_removed(saved: Path) -> None:
    (saved / ".tensors.part").write_bytes(b"half")
    (saved / "..tensors.part.0123abcd.part").mkdir()
    (saved / "..tensors.part.0123abcd.part" / ".tmpAbCdEf").write_bytes(b"half")
    (saved / "0123456789abcdef.safetensors").write_bytes(b"whole, but nothing names it")
    Aligner.load(saved).save(saved)
    assert contents(saved).keys() == {"aligner.json", tensors_of(saved).name}


@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("007", 0o660)])
def test_others_may_read_what_the_umask_lets_them(tmp_path: Path, umask: str, mode: int) -> None:
    assert saving(tmp_path / "kept", umask=umask).wait() == 0
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "kept").iterdir()} == {mode}


# -------------------------------------------------------------------------------------- refusals


def test_what_is_no_model_is_refused(saved: Path, tmp_path: Path) -> None:
    refused(tmp_path / "absent", "absent/aligner.json: No such file")
    refused(tmp_path, "aligner.json: No such file")
    (tmp_path / "file").write_bytes(b"")
    refused(tmp_path / "file", "Not a directory")
    for data in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b"1" * 5000, b"{}"):
        (saved / "aligner.json").write_bytes(data)
        refused(saved, "aligner.json: (not valid JSON|the record has no sha256)")
    (saved / "aligner.json").unlink()
    (saved / "aligner.json").mkdir()
    refused(saved, "aligner.json: Is a directory")


def test_a_description_that_was_changed_is_refused(saved: Path) -> None:
    path = saved / "aligner.json"
    data = path.read_bytes()
    assert b'"p0": 0.08' in data
    path.write_bytes(data.replace(b'"p0": 0.08', b'"p0": 0.86'))
    refused(saved, r"aligner.json: the file was changed since it was written")


@pytest.mark.parametrize("version", [1, 4])
def test_older_versions_are_told_from_damage(saved: Path, version: int) -> None:
    old = description_of(saved) | {"version": version}
    (saved / "aligner.json").write_text(json.dumps(old))
    refused(saved, f"of version {version} of its format, not 5: train and save the aligner again")
    describe(saved, old)
    refused(saved, "not version 5 of the format")


@pytest.mark.parametrize("model", ["hmm", "fast-align"])
def test_one_byte_changes_are_refused_or_harmless(model: str, tmp_path: Path) -> None:
    aligner = Aligner(model=model, iterations=1)
    expected = aligner.fit_align(TEXT[0][:9], TEXT[1][:9])
    aligner.save(tmp_path)
    chance = np.random.default_rng(5)
    for path in list(tmp_path.iterdir()):
        data = path.read_bytes()
        accepted = 0
        for _ in range(150):
            damaged = bytearray(data)
            damaged[int(chance.integers(len(data)))] ^= int(chance.integers(1, 256))
            path.write_bytes(damaged)
            try:
                assert Aligner.load(tmp_path).align(TEXT[0][:9], TEXT[1][:9]) == expected
                accepted += 1
            except InputError as error:
                assert str(tmp_path) in str(error)
                assert "\n" not in str(error)
        assert accepted < 75
        path.write_bytes(data)


def test_absent_or_odd_tensors_are_refused(saved: Path) -> None:
    description = description_of(saved)
    name = tensors_of(saved).name
    for other in ("", ".", "..", f"../saved/{name}", str(saved / name), "no", "a\0", "é" * 300):
        describe(saved, description | {"tensors": description["tensors"] | {"file": other}})
        refused(saved)
    describe(saved, description)
    tensors_of(saved).unlink()
    refused(saved, f"{name}: No such file")
    tensors_of(saved).mkdir()
    refused(saved, f"{name}: Is a directory")


def test_options_that_are_wrong_are_no_fault_of_the_file(saved: Path) -> None:
    with pytest.raises(InputError, match=r"^threads must be at least 1"):
        Aligner.load(saved, threads=0)
    with pytest.raises(TypeError):
        Aligner.load(saved, thread=2)


def members(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all members of an object and of what is in it."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return [path]
    return [path, *(each for key, item in items for each in members(item, (*path, key)))]


ODD: list[Any] = [None, True, [], {}, "x", -1, 0.5, 2**31, 10**400, -1e308, 1e308, float("nan")]
# What the numbers of a model hang on.
USED = {"settings", "tension", "length_ratio", "null_totals"}


def test_every_member_of_the_description_is_checked(saved: Path) -> None:
    Aligner(model="fast-align", iterations=1).fit(TEXT[0][:9], TEXT[1][:9]).save(saved)
    whole = description_of(saved)
    for path in members(whole)[1:]:
        for odd in ["deleted", *ODD]:
            description = json.loads(json.dumps(whole))
            parent = description
            for key in path[:-1]:
                parent = parent[key]
            if odd == "deleted":
                del parent[path[-1]]
            elif type(parent[path[-1]]) is type(odd) and parent[path[-1]] == odd:
                continue
            else:
                parent[path[-1]] = odd
            try:
                describe(saved, description)
            except ValueError:  # JSON has no such number
                continue
            try:
                aligner = Aligner.load(saved)
            except InputError as error:
                assert str(error).startswith(str(saved)), (path, odd)
                assert "\n" not in str(error)
            else:
                assert isinstance(odd, (int, float, list)) or odd == "deleted", (path, odd)
                if path[0] in USED:
                    use(aligner)


def use(aligner: Aligner) -> None:
    """Whatever a model is used for."""
    source, target = ["? " + " ".join(e) for e in TEXT[0][:6]], TEXT[1][:6]
    repeated = (source * 11, list(target) * 11)
    aligner.align(source[:3], target[:3], posteriors=True)
    aligner.align(*repeated)
    aligner.align_pair(source[0], target[0])
    directions = list(aligner.history)
    for direction in directions:
        aligner.lexicon(2, direction)
        with suppress(InputError):  # words with blanks
            aligner.lexicon_text(2, direction)
    if len(directions) == 1:
        with suppress(InputError):
            aligner.parameters_text()
    aligner.model.words(0), aligner.model.words(1)
    chosen = aligner.settings | {"iterations": 3}
    for options in (MODES["fast"], MODES["files"]):
        further = Aligner(model="fast-align", heuristic=aligner.heuristic, **chosen, **options)
        further.fit(source, target, init=aligner)
        further.align(*repeated)


def test_damaged_tensors_are_refused(saved: Path) -> None:
    """Each bit counts: the digest tells."""
    path = tensors_of(saved)
    data = path.read_bytes()
    for damaged in (data[:-1], data[:7], b"", data + b"\0", data[:9] + b"\1" + data[10:]):
        path.write_bytes(damaged)
        refused(saved, "changed or damaged")


def test_tensors_that_were_changed_on_purpose_are_refused_or_work(saved: Path) -> None:
    path = tensors_of(saved)
    data = path.read_bytes()
    chance = np.random.default_rng(3)
    header = struct.unpack("<Q", data[:8])[0] + 8
    changes = [data[:size] for size in (0, 7, 8, header - 1, header, len(data) - 1)]
    changes += [data + b"\0", data.replace(b'"F32"', b'"I32"', 1), data.replace(b"U64", b"I64", 1)]
    changes.append(data.replace(b'"F32"', b'"BF16"', 1).replace(b"  ", b" ", 1))
    for _ in range(80):
        damaged = bytearray(data)
        at = int(chance.integers(header if chance.random() < 0.7 else len(data)))
        damaged[at] ^= 1 << int(chance.integers(8))
        changes.append(bytes(damaged))
    accepted = 0
    for change in changes:
        path.write_bytes(change)
        sign(saved)
        try:
            aligner = Aligner.load(saved)
        except InputError as error:
            assert str(saved) in str(error)
        else:
            accepted += 1
            use(aligner)
    assert accepted < len(changes) / 2


def swap_first(array: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([array[1:2], array[:1], array[2:]])


def with_value(value: object) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(array: NDArray[Any]) -> NDArray[Any]:
        array = array.copy()
        array.reshape(-1)[len(array) // 2] = value
        return array

    return change


def same_word_twice(ends: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([ends[:1], ends[:1], ends[:1], ends[3:]])  # both empty


BAD_ARRAYS: list[tuple[str, Callable[[NDArray[Any]], Any], str]] = [
    ("rows", lambda rows: rows[:-1], "rows has another number of words"),
    ("rows", lambda rows: rows[:0], "rows has another number of words"),
    ("rows", swap_first, "rows does not ascend"),
    ("rows", with_value(2**63), "rows does not ascend"),
    ("rows", lambda rows: rows.astype(np.int64), "rows has another type"),
    ("rows", lambda rows: rows[None], "rows has another number of dimensions"),
    ("columns", swap_first, "columns does not ascend"),
    ("columns", with_value(2**32 - 1), "columns does not ascend within its rows, or names"),
    ("columns", lambda columns: columns[:-1], "rows does not ascend"),
    ("columns", lambda columns: columns.astype(np.uint64), "columns has another type"),
    ("t", with_value(np.nan), "t has a value that is no probability"),
    ("t", with_value(-1.0), "t has a value that is no probability"),
    ("t", with_value(np.inf), "t has a value that is no probability"),
    ("t", with_value(1.1 * 2.0**96), "t has a value that is no probability"),
    ("t", lambda t: t[:-1], "t has another shape"),
    ("t", lambda t: t.reshape(2, -1), "t has another shape"),
    ("t", lambda t: t.reshape(-1), "t has another number of dimensions"),
    ("t", lambda t: t.astype(np.float64), "t has another type"),
    ("null0", with_value(np.nan), "null0 has a value that is no probability"),
    ("null1", lambda null: null[:-1], "null1 has another number of words"),
    ("totals0", with_value(-1.0), "totals0 has a value that is no count"),
    ("totals1", with_value(np.nan), "totals1 has a value that is no count"),
    ("totals1", with_value(2.0**31), "totals1 has a value that is no count"),
    ("totals0", lambda totals: totals[:-1], "totals0 has another number of words"),
    ("words0", with_value(0xFF), "words0 has a word that is not UTF-8"),
    ("words1", lambda words: words[:-1], "word_ends1 does not ascend"),
    ("word_ends1", same_word_twice, "word_ends1 has a word twice"),
    ("word_ends0", lambda ends: ends[:0], "word_ends0 does not ascend"),
    ("word_ends0", swap_first, "word_ends0 does not ascend"),
]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    BAD_ARRAYS,
    ids=[f"{row[0]}-{k}" for k, row in enumerate(BAD_ARRAYS)],
)
def test_arrays_are_checked(
    name: str, change: Callable[[NDArray[Any]], Any], message: str, saved: Path
) -> None:
    path = tensors_of(saved)
    arrays = load_file(path)
    save_file(arrays | {name: np.ascontiguousarray(change(arrays[name]))}, path)
    sign(saved)
    refused(saved, f"aligner.json: not a usable aligner: {message}")
    save_file({key: array for key, array in arrays.items() if key != name}, path)
    sign(saved)
    refused(saved, f"there is no {name}")


# ----------------------------------------------------------------------------------------- fuzz

SMALL = Aligner(model="fast-align", iterations=3).fit(*corpus("orlu", 12))
SPECIAL = [0, 1, 2, 255, 2**31, 2**32 - 1, 2**63, 2**64 - 1, -1.0, np.nan, np.inf, 1e30, 2.0**96]


KINDS = ["value", "value", "near", "cut", "grow", "type", "drop", "swap"]


@st.composite
def changed_arrays(draw: st.DrawFn) -> dict[str, NDArray[Any]]:
    arrays = {name: array.copy() for name, array in SMALL.model.arrays().items()}
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(arrays)))
        array = arrays[name]
        kind = draw(st.sampled_from(KINDS))
        at = draw(st.integers(0, max(0, array.size - 1)))
        with np.errstate(all="ignore"):
            if kind == "value" and array.size:
                array.reshape(-1)[at] = np.array(draw(st.sampled_from(SPECIAL))).astype(array.dtype)
            elif kind == "near" and array.size:
                array.reshape(-1)[at] += array.dtype.type(1)
            elif kind == "cut":
                arrays[name] = array[:at]
            elif kind == "grow":
                arrays[name] = np.concatenate([array, array[:at]])
            elif kind == "type":
                arrays[name] = array.astype(draw(st.sampled_from(["uint8", "int64", "float64"])))
            elif kind == "swap" and len(array) > 1:
                arrays[name] = swap_first(array)
            elif kind == "drop":
                del arrays[name]
        if not arrays:
            break
    return arrays


@given(changed_arrays())
@settings(max_examples=150)
def test_no_arrays_crash_the_aligner(arrays: dict[str, NDArray[Any]]) -> None:
    aligner = Aligner(model="fast-align", iterations=3)
    try:
        aligner._model = FastAlign(aligner.settings, load_model(SMALL, arrays))
    except ValueError:
        return
    use(aligner)
