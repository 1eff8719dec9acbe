"""weam_ext.data.shards: rows of any length, and samples read by several processes."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import files_of, one_byte_changes
from small_tokenizers import tokenizer

from weam_ext.common.errors import InputError
from weam_ext.data import shards as module
from weam_ext.data.shards import Corpus, Sample, Shards, open_prepared
from weam_ext.prepare.pipeline import prepare
from weam_ext.prepare.settings import PrepareSettings
from weam_ext.text.bitext import BitextSource, MonolingualSource


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shards")
    pairs, lines = directory / "x.en-fr", directory / "y.fr"
    pairs.write_text("".join(f"a {k} ||| b c {k}\n" for k in range(40)))
    lines.write_text("".join(f"d {k} e f\n" for k in range(20)))
    sources = [BitextSource("x.en-fr", (str(pairs),)), MonolingualSource("y.fr", str(lines))]
    prepare(sources, tokenizer("WordPiece"), directory / "out", PrepareSettings(posteriors=True))
    return directory / "out"


def same(one: Sample, other: Sample) -> bool:
    return all(
        a is b is None or (a is not None and b is not None and np.array_equal(a, b))
        for a, b in zip(one, other, strict=True)
    )


def test_corpora(prepared: Path) -> None:
    for shards in open_prepared(prepared)[1].values():
        assert shards.corpora == [
            Corpus("x.en-fr", "bitext", ("en", "fr")), Corpus("y.fr", "monolingual", ("fr",)),
        ]  # fmt: skip
        assert shards.names == ["x.en-fr", "y.fr"]
        assert sorted(set(shards.corpus.tolist())) == [0, 1]
        for k, corpus in enumerate(shards.corpus):
            sample = shards[k]
            assert shards.sides[k].tolist() == [len(sample.source_ids), len(sample.target_ids)]
            assert shards.sides[k].sum() == sample.tokens
            assert (len(sample.target_ids) > 0) == (corpus == 0)
            assert (sample.probability is None) == (corpus == 1)


def test_pickled_it_is_the_names_of_its_files(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = open_prepared(prepared)[1]["train"]
    data = pickle.dumps(shards)
    assert len(data) < 2000
    monkeypatch.setattr(module, "file_digest", None)  # which took its time once
    again: Shards = pickle.loads(data)
    assert len(again) == len(shards) == 54
    assert again.corpora == shards.corpora
    assert np.array_equal(again.sides, shards.sides)
    assert np.array_equal(again.corpus, shards.corpus)
    assert all(same(shards[k], again[k]) for k in range(len(shards)))


def test_checksums_are_taken_once_or_not_at_all(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    digest = module.file_digest
    monkeypatch.setattr(module, "file_digest", lambda path: read.append(path.name) or digest(path))
    open_prepared(prepared)
    assert sorted(read) == sorted(path.name for path in prepared.glob("*.arrow"))
    open_prepared(prepared, verify=False)
    assert len(read) == 4


def test_places_that_are_none(prepared: Path) -> None:
    shards = open_prepared(prepared)[1]["heldout"]
    for place in (len(shards), -1):
        with pytest.raises(IndexError):
            shards[place]


def test_damage_that_nobody_looked_for(prepared: Path, tmp_path: Path) -> None:
    copy = tmp_path / "out"
    copy.mkdir()
    for path in prepared.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "train-00-00000.arrow").write_bytes(b"not Arrow")
    with pytest.raises(InputError, match=r"train-00-00000.arrow: cannot be read \("):
        open_prepared(copy, verify=False)


def everything(directory: Path) -> list[Any]:
    """What a prepared directory gives those who read it."""
    description, splits = open_prepared(directory)
    samples = [
        [None if column is None else column.tolist() for column in shards[k]]
        for shards in splits.values() for k in range(len(shards))
    ]  # fmt: skip
    return [description, *samples, *(shards.sides.tolist() for shards in splits.values())]


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_one_byte_changes(prepared: Path, tmp_path: Path, count: int) -> None:
    """None is taken for what was prepared; what is taken is the same."""
    copy = Path(shutil.copytree(prepared, tmp_path / "out"))
    whole = everything(copy)
    accepted = 0
    for change in one_byte_changes(files_of(copy), count):
        try:
            assert everything(copy) == whole, change
            accepted += 1
        except InputError as error:
            assert str(copy) in str(error) and "\n" not in str(error), change
    assert everything(copy) == whole
    assert accepted < count / 20  # white space in prepared.json


def test_a_changed_file_is_named_with_what_to_do(prepared: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(prepared, tmp_path / "out"))
    path = copy / "train-00-00000.arrow"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError) as error:
        open_prepared(copy)
    assert str(error.value) == (
        f"{path}: the file is not what was prepared (its checksum differs): remove {copy} and "
        "prepare the text anew"
    )
    description = copy / "prepared.json"
    description.write_text(description.read_text().replace('"limit": null', '"limit": 5'))
    with pytest.raises(InputError, match=r"prepared\.json: the file was changed since it was writ"):
        open_prepared(copy)
    (copy / "prepared.json").write_text('{"format": 2, "corpora": []}')
    with pytest.raises(InputError, match=r"format 2, expected 3: prepare the text anew$"):
        open_prepared(copy)
