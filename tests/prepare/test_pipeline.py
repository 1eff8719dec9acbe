"""weam_ext.prepare: from files to shards, nothing lost, and nothing left of a failure."""

import errno
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from helpers import ROOT
from prepared_texts import WORD_PIECE, Texts, corpus, write
from small_models import tiny
from small_tokenizers import tokenizer

from weam_ext.align.aligner import Aligner
from weam_ext.common import errors, files
from weam_ext.common.errors import InputError
from weam_ext.common.files import file_digest, read_record
from weam_ext.data.shards import COLUMNS, open_prepared
from weam_ext.prepare import chunks, pipeline
from weam_ext.prepare import pool as workers
from weam_ext.prepare.cli import main
from weam_ext.prepare.pipeline import check_sources, prepare
from weam_ext.prepare.settings import Counts, PrepareSettings
from weam_ext.text import cached_tokenizer as pieces
from weam_ext.text.bitext import BitextSource, MonolingualSource
from weam_ext.text.pharaoh import Link
from weam_ext.text.tokenizer import fingerprint, template
from weam_ext.text.toy_corpus import sentence_pairs, vocabulary
from weam_ext.text.words import segmenter, word_ids


class Row(NamedTuple):
    """A sentence pair as a shard holds it, less its columns' types."""

    source_ids: list[int]
    source_words: list[int]
    target_ids: list[int]
    target_words: list[int]
    links: list[Link]


def run(directory: Path, texts: Texts | None = None, **settings: Any) -> dict[str, Any]:
    """Prepare texts (by default the corpus) under `directory` / "out"."""
    made = settings.pop("tokenizer", WORD_PIECE)
    bitext = write(directory / "corpus.txt", corpus() if texts is None else texts)
    return prepare([bitext], made, directory / "out", PrepareSettings(**settings))


def rows(directory: Path, split: str, bitext: int = 0) -> list[Row]:
    """What the shards hold, read by Arrow alone, in the order of prepared.json."""
    description = json.loads((directory / "out" / "prepared.json").read_bytes())
    found = []
    for shard in description["corpora"][bitext]["shards"][split]:
        reader = pa.ipc.open_file(directory / "out" / shard["file"])
        assert reader.num_record_batches == 1
        batch = reader.get_batch(0)
        assert batch.schema.names == list(COLUMNS)
        assert {str(kind) for kind in batch.schema.types} == {"large_list<item: int32>"}
        assert batch.num_rows == shard["pairs"]
        for *columns, sources, targets in zip(*(c.to_pylist() for c in batch), strict=True):
            found.append(Row._make([*columns, list(zip(sources, targets, strict=True))]))
    return found


def expected(texts: Texts, settings: PrepareSettings, made: Any = WORD_PIECE) -> list[Row]:
    """The pairs that have words and tokens, all of them, with all their links, in order."""
    find = segmenter(settings.words)
    columns: list[list[list[int]]] = []
    numbers: list[list[list[int]]] = []
    joined: tuple[list[str], list[str]] = ([], [])
    for pair in texts:
        spans = [find(text) for text in pair]
        tokens = [
            made(text, add_special_tokens=False, split_special_tokens=True,
                 return_offsets_mapping=True)
            for text in pair
        ]  # fmt: skip
        if not all(spans) or not all(own["input_ids"] for own in tokens):
            continue
        column: list[list[int]] = []
        renumbered: list[list[int]] = []
        for side, (text, row, own) in enumerate(zip(pair, spans, tokens, strict=True)):
            words = " ".join(text[start:end] for start, end in row)
            joined[side].append(words.lower() if settings.lowercase else words)
            found = word_ids([text], [row], [own["offset_mapping"]])
            column += [own["input_ids"], found.tokens.tolist()]
            renumbered.append(found.words[0].tolist())
        columns.append(column)
        numbers.append(renumbered)
    links = Aligner(
        model=settings.aligner, heuristic=settings.heuristic, max_length=1000
    ).fit_align(*joined)
    return [
        Row._make([*column, sorted({(a[i], b[j]) for i, j in row if a[i] >= 0 and b[j] >= 0})])
        for column, (a, b), row in zip(columns, numbers, links, strict=True)
    ]


def in_order(kept: list[Row], train: list[Row], heldout: list[Row]) -> bool:
    """Whether the splits are the kept pairs, each in its order. Copies are on one side."""
    sides = iter(train), iter(heldout)
    taken = [next(sides[row in heldout], None) for row in kept]
    return taken == kept and not any(list(side) for side in sides)


# ---------------------------------------------------------------------------------- what is there


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("prepared")
    run(directory)
    return directory


def test_every_pair_is_accounted_for(prepared: Path) -> None:
    description = json.loads((prepared / "out" / "prepared.json").read_bytes())
    counts = Counts(**description["corpora"][0]["counts"])
    train, heldout = rows(prepared, "train"), rows(prepared, "heldout")
    texts = corpus()
    assert counts.read == len(texts) == 300
    assert counts.empty == sum(not a or b == "\u00a0" for a, b in texts) > 5
    whole = expected(texts, PrepareSettings())
    assert counts.overlong == sum(len(row[0] + row[2]) > 125 for row in whole) > 3
    assert counts.read == counts.empty + counts.overlong + counts.train + counts.heldout
    assert (counts.train, counts.heldout) == (len(train), len(heldout))
    assert 0 < counts.heldout <= (counts.train + counts.heldout) // 10
    assert counts.links == sum(len(row.links) for row in train + heldout)
    assert counts.train_tokens == sum(len(row[0]) + len(row[2]) for row in train)


def test_tokens_words_and_links_are_carried_over_in_order(prepared: Path) -> None:
    kept = [row for row in expected(corpus(), PrepareSettings()) if len(row[0] + row[2]) <= 125]
    train, heldout = rows(prepared, "train"), rows(prepared, "heldout")
    assert in_order(kept, train, heldout)
    assert all(row not in train for row in heldout)
    assert sum(len(row.links) for row in kept) > 5 * len(kept)


def test_description(prepared: Path) -> None:
    out = prepared / "out"
    description = json.loads((out / "prepared.json").read_bytes())
    assert description["format"] == 3
    assert description["tokenizer"] == {"sha256": fingerprint(WORD_PIECE), "size": 1376}
    assert PrepareSettings(**description["settings"]) == PrepareSettings()
    (bitext,) = description["corpora"]
    path = str(prepared / "corpus.txt")
    assert (bitext["name"], bitext["paths"]) == ("corpus", [path])
    assert (bitext["columns"], bitext["limit"]) == (None, None)
    assert bitext["aligner"]["model"] == "hmm"
    assert bitext["aligner"]["heuristic"] == "posterior"
    assert bitext["aligner"]["dropped"] == {"empty": 0, "too_long": 0}
    shards = [shard for split in bitext["shards"].values() for shard in split]
    assert {p.name for p in out.iterdir()} == {"prepared.json", *(s["file"] for s in shards)}
    assert all(shard["sha256"] == file_digest(out / shard["file"]) for shard in shards)


def test_description_is_returned(tmp_path: Path) -> None:
    description = run(tmp_path, corpus(count=40))
    assert description == read_record(tmp_path / "out" / "prepared.json")


def test_same_bytes_again(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever texts are tokenised together and remembered, and the threads of the aligner."""
    monkeypatch.setattr(pieces, "_TEXTS", 7)
    monkeypatch.setattr(pieces, "_MOST_PIECES", 40)
    monkeypatch.setattr(pieces, "_CHARACTERS", 30)
    source = BitextSource("corpus", (str(prepared / "corpus.txt"),))
    prepare([source], WORD_PIECE, tmp_path / "out", PrepareSettings(), workers=3)
    for path in (prepared / "out").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_shards(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "SHARD_PAIRS", 100)
    bitext = run(tmp_path)["corpora"][0]
    sizes = {shard["file"]: shard["pairs"] for shard in bitext["shards"]["train"]}
    assert list(sizes) == [f"train-00-0000{k}.arrow" for k in range(3)]
    assert sum(sizes.values()) == bitext["counts"]["train"]
    assert all(0 < size < 100 for size in sizes.values())
    for split in ("train", "heldout"):
        assert rows(tmp_path, split) == rows(prepared, split)


# -------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("max_length", [8, 9, 20, 21])
def test_truncation(tmp_path: Path, max_length: int) -> None:
    counts = run(tmp_path, max_length=max_length, overlong="truncate")["corpora"][0]["counts"]
    room = max_length - 3
    whole = expected(corpus(), PrepareSettings())
    assert in_order([truncated(row, room) for row in whole], *splits(tmp_path))
    assert counts["overlong"] == sum(len(row[0] + row[2]) > room for row in whole)
    assert counts["read"] == counts["empty"] + counts["train"] + counts["heldout"]


def truncated(row: Row, room: int) -> Row:
    """Token by token, from the end of the longer side; links need a token left on each."""
    sizes = [len(row.source_ids), len(row.target_ids)]
    while sum(sizes) > room:
        sizes[sizes[1] > sizes[0]] -= 1
    source, target = row.source_words[: sizes[0]], row.target_words[: sizes[1]]
    links = [(i, j) for i, j in row.links if i in source and j in target]
    return Row(row.source_ids[: sizes[0]], source, row.target_ids[: sizes[1]], target, links)


def splits(directory: Path) -> tuple[list[Row], list[Row]]:
    return rows(directory, "train"), rows(directory, "heldout")


def test_lower_case_is_for_the_aligner_only(prepared: Path, tmp_path: Path) -> None:
    exact = {"lowercase": True, "aligner": "fast-align"}  # the HMM learns no case of its own accord
    run(tmp_path, **exact)
    kept = expected(corpus(), PrepareSettings(**exact))
    assert in_order([row for row in kept if len(row[0] + row[2]) <= 125], *splits(tmp_path))
    pairs = list(zip(rows(prepared, "train"), rows(tmp_path, "train"), strict=True))
    assert all(plain[:4] == lower[:4] for plain, lower in pairs)
    assert any(plain.links != lower.links for plain, lower in pairs)


@pytest.mark.parametrize(("words", "heuristic"), [("blanks", "intersect"), ("bert", "union")])
@pytest.mark.parametrize("family", ["Unigram", "byte-level BPE"])
def test_words_heuristics_and_families(
    tmp_path: Path, family: str, words: str, heuristic: str
) -> None:
    """Words that share tokens (characters, punctuation), and a word that no token shows (NBSP)."""
    texts = [(a.replace(" .", "."), f"今天 {b} 下雨") for a, b in corpus(count=60) if a]
    settings = PrepareSettings(words=words, heuristic=heuristic)
    run(tmp_path, texts, tokenizer=tokenizer(family), **vars(settings) | {"max_length": 600})
    assert in_order(expected(texts, settings, tokenizer(family)), *splits(tmp_path))


def test_tokens_without_words_are_an_empty_side(tmp_path: Path) -> None:
    made = tokenizer("byte-level BPE")
    assert made("\u00a0", add_special_tokens=False)["input_ids"]
    texts = [("a b", "c"), ("\u00a0", "c"), ("a", "\u00a0\u3000"), ("b", "d")]
    counts = run(tmp_path, texts, tokenizer=made)["corpora"][0]["counts"]
    assert (counts["read"], counts["empty"], counts["train"]) == (4, 2, 2)


@pytest.mark.parametrize("family", ["WordPiece", "byte-level BPE"])
def test_special_tokens_in_a_text_are_text(tmp_path: Path, family: str) -> None:
    made = tokenizer(family)
    run(tmp_path, [("a [MASK] b [SEP]", "[CLS] c [PAD]")], tokenizer=made)
    (row,) = rows(tmp_path, "train")
    special = {*made.all_special_ids} - {made.unk_token_id}
    assert special.isdisjoint(row.source_ids + row.target_ids)
    assert max(row.source_words) == 7  # a [ MASK ] b [ SEP ]


# -------------------------------------------------------------------------------------- held out


def test_heldout_depends_on_the_seed_and_the_text_alone(tmp_path: Path) -> None:
    texts = [(f"a {a}", f"b {a}") for a in vocabulary()[100:400]]
    chosen = []
    for name, order, seed in [("one", 1, 0), ("other", -1, 0), ("seed", 1, 1)]:
        (tmp_path / name).mkdir()
        run(tmp_path / name, texts[::order], heldout=7, seed=seed)
        chosen.append(sorted(row.source_ids for row in rows(tmp_path / name, "heldout")))
    assert len(chosen[0]) == 7
    assert chosen[0] == chosen[1] != chosen[2]


def test_few_pairs_hold_none_out(tmp_path: Path) -> None:
    shards = run(tmp_path, [("a", "b")] * 9)["corpora"][0]["shards"]
    assert shards["heldout"] == []
    assert len(rows(tmp_path, "train")) == 9


# --------------------------------------------------------------------------------- several bitexts


def test_bitexts_keep_to_themselves(tmp_path: Path) -> None:
    """Each is as if it had been prepared alone; the order is that of the command line."""
    languages = ("venn", "orlu")
    bitexts = [write(tmp_path / f"{name}.txt", corpus(name, 90)) for name in languages]
    description = prepare(bitexts, WORD_PIECE, tmp_path / "out", PrepareSettings())
    assert [bitext["name"] for bitext in description["corpora"]] == ["venn", "orlu"]
    for number, language in enumerate(languages):
        alone = tmp_path / language
        alone.mkdir()
        run(alone, corpus(language, 90))
        for split in ("train", "heldout"):
            assert rows(tmp_path, split, number) == rows(alone, split)


def test_two_bitexts_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    bitexts = [write(d / "train.txt", [("a", "b")]) for d in (tmp_path, tmp_path / "other")]
    with pytest.raises(InputError) as error:
        prepare(bitexts, WORD_PIECE, tmp_path / "out", PrepareSettings())
    assert str(error.value) == "two texts are called 'train': write --bitext NAME=FILE"
    prepare([bitexts[0], replace(bitexts[1], name="b")], WORD_PIECE, tmp_path / "out",
            PrepareSettings())  # fmt: skip


# ----------------------------------------------------------------------------- text of one language


SENTENCES = [pair.source for pair in sentence_pairs("toku", 120)]


def monolingual(directory: Path, lines: list[str], **settings: Any) -> dict[str, Any]:
    path = directory / "news.en.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    source = MonolingualSource("news.en", str(path))
    return prepare([source], WORD_PIECE, directory / "out", PrepareSettings(**settings))


def test_monolingual(tmp_path: Path) -> None:
    lines = [*SENTENCES, "", "\u00a0", " ".join(SENTENCES[:20]), "  a ||| b\tc  ", SENTENCES[0]]
    (corpus,) = monolingual(tmp_path, lines)["corpora"]
    assert (corpus["name"], corpus["kind"], corpus["languages"]) == (
        "news.en",
        "monolingual",
        ["en"],
    )
    assert (corpus["columns"], "aligner" in corpus) == (None, False)
    counts = Counts(**corpus["counts"])
    assert (counts.read, counts.empty, counts.overlong, counts.links) == (125, 2, 1, 0)
    train, kept_out = splits(tmp_path)
    assert (counts.train, counts.heldout) == (len(train), len(kept_out))
    assert counts.train_tokens == sum(len(row.source_ids) for row in train)
    kept = [line.strip() for line in lines if segmenter("bert")(line) and len(line) < 500]
    whole = []
    for line in kept:
        own = WORD_PIECE(line, add_special_tokens=False, return_offsets_mapping=True)
        found = word_ids([line], [segmenter("bert")(line)], [own["offset_mapping"]])
        whole.append(Row(own["input_ids"], found.tokens.tolist(), [], [], []))
    assert in_order(whole, train, kept_out)
    assert whole[0] == whole[-1] and counts.heldout > 5


def test_long_sentences_are_truncated(tmp_path: Path) -> None:
    (corpus,) = monolingual(tmp_path, SENTENCES, max_length=9, overlong="truncate")["corpora"]
    train, kept_out = splits(tmp_path)
    whole = [WORD_PIECE(line, add_special_tokens=False)["input_ids"] for line in SENTENCES]
    assert sorted(row.source_ids for row in train + kept_out) == sorted(ids[:7] for ids in whole)
    assert corpus["counts"]["overlong"] == sum(len(ids) > 7 for ids in whole)
    assert corpus["counts"]["heldout"] > 0


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["", " \t"], "2 read, 2 empty, 0 over-long (more than --max-length 128 tokens)"),
        (["a " * 200, ""], "2 read, 1 empty, 1 over-long (more than --max-length 128 tokens)"),
    ],
)
def test_text_that_is_none(tmp_path: Path, lines: list[str], fault: str) -> None:
    with pytest.raises(InputError) as error:
        monolingual(tmp_path, lines)
    path = tmp_path / "news.en.gz"
    assert str(error.value) == f"{path}: no sentence is left to train on: {fault}"
    assert [path.name for path in tmp_path.iterdir()] == ["news.en.gz"]


# -------------------------------------------------------------------------------------- posteriors


def test_posteriors(prepared: Path, tmp_path: Path) -> None:
    run(tmp_path, posteriors=True)
    plain = open_prepared(prepared / "out")[1]["train"]
    shards = open_prepared(tmp_path / "out")[1]["train"]
    assert len(shards) == len(plain) and plain[0].probability is None
    texts = [pair for pair in corpus() if all(map(segmenter("bert"), pair))]
    joined = [[" ".join(pair[side].split()) for pair in texts] for side in (0, 1)]
    links = Aligner().fit(*joined).align(*joined, posteriors=True)
    assert links.probability is not None
    known = Counter(
        (tuple(row), *links.probability[links.offsets[k] : links.offsets[k + 1]].tolist())
        for k, row in enumerate(links)
    )
    found = Counter()
    for k in range(len(shards)):
        sample = shards[k]
        assert all(map(np.array_equal, sample[:6], plain[k][:6]))
        assert sample.probability is not None and sample.probability.dtype == np.float32
        row = zip(sample.link_source.tolist(), sample.link_target.tolist(), strict=True)
        found[(tuple(row), *sample.probability.tolist())] += 1
    assert found <= known and found.total() == len(shards) > 200


# -------------------------------------------------------------------------------------- ugly input


@pytest.mark.parametrize("family", ["WordPiece", "Unigram", "byte-level BPE"])
def test_ugly_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """Nothing is lost whatever the lines are, nor where the ranges end."""
    monkeypatch.setattr(chunks, "SHARD_PAIRS", 30)
    monkeypatch.setattr(chunks, "SHARD_CHARACTERS", 6000)
    ugly = [
        ("今天下雨 ok", "ก่อน วันนี้ ฝนตก"), ("e\u0301tude\x00x", "\ufeffa\x1cb \u200b"),
        ("a  b   c", "x\u00a0y \u3000 z"), ("👩\u200d👩\u200d👧 ok", "🇫🇷 !"), ("\r a", "b \x85"),
        ("a", "b " * 1500), ("x" * 5000, "y" * 9000), ("[MASK] [SEP]", "<s> ▁ ▁▁ a"), ("", ""),
        ("BZh91AY&SY", "\x1f\x8b"),
    ]  # fmt: skip
    texts = ugly + corpus(count=100) + ugly[::-1] + [ugly[0]] * 3
    made = tokenizer(family)
    settings = PrepareSettings(overlong="truncate", max_length=103)
    description = run(tmp_path, texts, tokenizer=made, overlong="truncate", max_length=103)
    frame = template(made, pair=True)
    room = 103 - sum(map(len, frame[:3]))
    whole = expected(texts, settings, made)
    assert in_order([truncated(row, room) for row in whole], *splits(tmp_path))
    (counts,) = [each["counts"] for each in description["corpora"]]
    assert counts["read"] == len(texts)
    assert counts["train"] + counts["heldout"] == len(whole) == counts["read"] - counts["empty"]
    assert len(description["corpora"][0]["shards"]["train"]) > 4


def test_memory_does_not_grow_with_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's and NumPy's part of it; the aligner has a limit of its own."""
    monkeypatch.setattr(chunks, "SHARD_PAIRS", 400)
    pairs = corpus(count=400)
    peaks = []
    # What is made once comes with the first; Python's own table of names may grow in any of them.
    for number, copies in enumerate((1, 4, 16, 16)):
        directory = tmp_path / str(number)
        directory.mkdir()
        texts = [(f"{a} {k}", b) for k in range(copies) for a, b in pairs]
        bitext = write(directory / "corpus.txt", texts)
        tracemalloc.start()
        prepare([bitext], WORD_PIECE, directory / "out", PrepareSettings())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert min(peaks[2:]) < 1.2 * peaks[1]


# -------------------------------------------------------------------------------- workers and ranks

DRIVER = """
import os, sys
from weam_ext.common.errors import run
from weam_ext.prepare import chunks, cli, pipeline
from weam_ext.prepare import pool as workers
chunks.SHARD_PAIRS = 40
if os.environ.get("RANK") == "1":
    FAULT
if __name__ == "__main__":
    run("weam_ext.prepare", cli.main)
"""


def launched(
    directory: Path, vocab: str, *more: str, ranks: int, fault: str = "pass", **options: Any
) -> subprocess.CompletedProcess[str]:
    """The command line on corpus.txt and text.en under torchrun, with a fault on rank 1."""
    (directory / "driver.py").write_text(DRIVER.replace("FAULT", fault))
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--standalone"]
    return subprocess.run(
        [sys.executable, *torchrun, "driver.py", "--bitext",
         "a.en-fr=corpus.txt", "--monolingual", "text.en", "--tokenizer", vocab, "--output", "out",
         *more],
        cwd=directory, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        **options,
    )  # fmt: skip


@pytest.fixture
def texts_there(tmp_path: Path) -> Path:
    write(tmp_path / "corpus.txt", corpus())
    (tmp_path / "text.en").write_text("".join(f"{line}\n" for line in SENTENCES[:40]))
    return tmp_path


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_same_bytes_with_any_workers_and_ranks(
    texts_there: Path, vocab: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(texts_there)
    monkeypatch.setattr(chunks, "SHARD_PAIRS", 40)
    for count in ("1", "2"):
        main(["--bitext", "a.en-fr=corpus.txt", "--monolingual", "text.en", "--tokenizer", vocab,
              "--workers", count, "--output", count])  # fmt: skip
    done = launched(texts_there, vocab, "--workers", "1", ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out\n"
    assert done.stderr.count("a.en-fr: 300 sentence pairs read") == 1
    assert "it/s" not in done.stderr  # no progress bars where nobody looks
    found = [contents(texts_there / name) for name in ("1", "2", "out")]
    assert len([name for name in found[0] if name.startswith("train-00-")]) == 8
    assert found[0] == found[1] == found[2]
    languages = [each["languages"] for each in json.loads(found[0]["prepared.json"])["corpora"]]
    assert languages == [["en", "fr"], ["en"]]


def test_what_fails_on_one_rank_ends_all(texts_there: Path, vocab: str) -> None:
    fault = (
        "def full(*_, **__): raise OSError(28, 'No space left on device')\n"
        "    chunks.write_shard = full"
    )
    before = {path.name for path in texts_there.iterdir()}
    done = launched(texts_there, vocab, "--workers", "1", ranks=2, fault=fault, timeout=100)
    assert done.returncode != 0 and done.stdout == ""
    said = [line for line in done.stderr.splitlines() if line.startswith("weam_ext.prepare: ")]
    assert said == ["weam_ext.prepare: error: .out.part: No space left on device"]
    assert {path.name for path in texts_there.iterdir()} == before | {"driver.py"}


def test_standard_input_is_for_one_rank(tmp_path: Path) -> None:
    source = BitextSource("x", ("-",))
    with pytest.raises(InputError, match="standard input cannot be shared by several ranks"):
        check_sources([source], world=2)


def in_child(directory: Path, work: Callable[[], object]) -> tuple[int, str]:
    """The exit status of a forked process that does something, and what it wrote to stderr."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        sys.stderr = (directory / "stderr").open("w")
        try:
            errors.run("weam_ext.prepare", lambda: work() and None)
        except SystemExit as exit:
            sys.stderr.flush()
            os._exit(int(exit.code or 0))
        finally:
            sys.stderr.flush()
            os._exit(99)
    _, status = os.waitpid(child, 0)
    said = (directory / "stderr").read_text()
    (directory / "stderr").unlink()
    return os.waitstatus_to_exitcode(status), said


@pytest.mark.parametrize("place", ["pool.tokenise", "pipeline.finish"])
def test_killed_it_leaves_nothing_under_the_name(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(chunks, "SHARD_PAIRS", 100)

    def killed_at_the_second_range() -> None:
        first = iter([True])
        work = workers.tokenise if place == "pool.tokenise" else pipeline.finish

        def later(*arguments: Any) -> Any:
            if not next(first, False):
                os.kill(os.getpid(), signal.SIGKILL)
            return work(*arguments)

        monkeypatch.setattr(f"weam_ext.prepare.{place}", later)
        run(tmp_path)

    status, _ = in_child(tmp_path, killed_at_the_second_range)
    assert status == -signal.SIGKILL
    assert {path.name for path in tmp_path.iterdir()} == {
        "corpus.txt",
        ".out.part",
        ".out.lock.part",
    }
    run(tmp_path)
    for split in ("train", "heldout"):
        assert rows(tmp_path, split) == rows(prepared, split)
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.txt", "out"}


@pytest.mark.parametrize("size", [1 << 12, 1 << 15])
def test_a_full_disk(tmp_path: Path, size: int) -> None:
    """In the first stage, and later."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        prepare([source], WORD_PIECE, tmp_path / "out", PrepareSettings(words="blanks"))

    texts = [(f"{'a ' * 20}{k}", f"{'b ' * 20}{k}") for k in range(24 if size == 1 << 12 else 120)]
    source = write(tmp_path / "corpus.txt", texts)
    status, said = in_child(tmp_path, limited)
    assert status == 2
    assert said.splitlines()[-1].startswith("weam_ext.prepare: error: ")
    assert "File too large" in said and "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


# ------------------------------------------------------------------------------------- two at once

HOLD = """
import sys, time
from pathlib import Path
from weam_ext.prepare import cli, pipeline
def wait(*_):
    print("held", flush=True)
    time.sleep(600)
pipeline._Work._tokenise = wait
cli.main(sys.argv[1:])
"""


def preparing(directory: Path, vocab: str) -> "subprocess.Popen[str]":
    """A process that has begun to prepare corpus.txt into `directory` / "out"."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, "--bitext", str(directory / "corpus.txt"), "--tokenizer",
         vocab, "--output", str(directory / "out")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_one_process_makes_a_directory(tmp_path: Path, vocab: str) -> None:
    write(tmp_path / "corpus.txt", corpus(count=40))
    first = preparing(tmp_path, vocab)
    try:
        part = set((tmp_path / ".out.part").parent.iterdir())
        with pytest.raises(InputError) as error:
            run(tmp_path, corpus(count=40))
        assert str(error.value).startswith(f"{tmp_path / 'out'}: process {first.pid} on ")
        assert str(error.value).endswith(" is writing there; wait until it has ended")
        assert set(tmp_path.iterdir()) == part
    finally:
        first.kill()
        first.wait()
    (tmp_path / ".out.part" / "part-00-00007.columns").write_text("of the one that was killed")
    run(tmp_path, corpus(count=40))
    assert {p.name for p in tmp_path.iterdir()} == {"corpus.txt", "vocab.txt", "out"}
    assert not list((tmp_path / "out").glob("part-*"))


def test_made_while_another_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before the work, and not when all of it is done."""

    @contextmanager
    def late(_: Path, directory: Path) -> Iterator[None]:
        directory.mkdir()
        yield

    monkeypatch.setattr(files, "_sole", late)
    monkeypatch.setattr(pipeline, "_Work", None)
    with pytest.raises(InputError, match="out: already exists"):
        run(tmp_path, corpus(count=40))


# ---------------------------------------------------------------------------------------- failures


def disk_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the file")


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [disk_full, interrupted])
@pytest.mark.parametrize(
    "place",
    ["pipeline.write_record", "chunks.write_shard", "chunks.write_lists", "chunks.Aligner.align",
     "pipeline.Aligner.fit_text", "pipeline.finish", "pipeline.rename_durably"],
)  # fmt: skip
def test_a_failure_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, failure: Callable[..., None]
) -> None:
    monkeypatch.setattr(f"weam_ext.prepare.{place}", failure)
    with pytest.raises((OSError, KeyboardInterrupt)):
        run(tmp_path, corpus(count=40))
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([], "no sentence pair is left to train on: 0 read, 0 empty, 0 over-long"),
        (["a |||", "||| b", "", "\u00a0 ||| b"], ": 4 read, 4 empty, 0 over-long"),
        (["a ||| b"] * 5000 + ["a b"], "line 5001: no '|||' between source and target"),
        (["a " * 200 + "||| b"] * 2 + [""], ": 3 read, 1 empty, 2 over-long (more than --max"),
    ],
    ids=["empty", "no words", "bad line", "over-long"],
)
def test_unusable_text_leaves_nothing(tmp_path: Path, lines: list[str], fault: str) -> None:
    path = tmp_path / "text"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(InputError) as error:
        prepare([BitextSource("x", (str(path),))], WORD_PIECE, tmp_path / "out", PrepareSettings())
    assert str(error.value).startswith(str(path))
    assert fault in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


def test_output_that_exists(tmp_path: Path) -> None:
    for make in (Path.touch, Path.mkdir):
        make(tmp_path / "out")
        with pytest.raises(InputError) as error:
            run(tmp_path)
        assert str(error.value) == f"{tmp_path / 'out'}: already exists"
        (tmp_path / "out").rmdir() if (tmp_path / "out").is_dir() else (tmp_path / "out").unlink()


def test_links_with_an_encoder(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    tiny("BertForMaskedLM", vocab_size=len(WORD_PIECE)).save_pretrained(folder)
    WORD_PIECE.save_pretrained(folder)
    texts = corpus(count=30)
    made = run(tmp_path, texts, aligner="hybrid", aligner_encoder=str(folder))
    assert len(made["corpora"][0]["aligner"]["encoder_sha256"]) == 64
    assert made["corpora"][0]["counts"]["links"] > 0
