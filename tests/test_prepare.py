"""weam_ext.prepare: from files to shards, nothing lost, and nothing left of a failure."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import tokenizer

from weam_ext import prepare as module
from weam_ext.align import Aligner
from weam_ext.corpus import BitextSource, Link
from weam_ext.errors import InputError
from weam_ext.files import file_digest
from weam_ext.invented import sentence_pairs, vocabulary
from weam_ext.prepare import COLUMNS, Counts, PrepareSettings, main, prepare
from weam_ext.tokenizer import fingerprint
from weam_ext.words import segmenter, word_ids

WORD_PIECE = tokenizer("WordPiece")
Texts = list[tuple[str, str]]


class Row(NamedTuple):
    """A sentence pair as a shard holds it, less its columns' types."""

    source_ids: list[int]
    source_words: list[int]
    target_ids: list[int]
    target_words: list[int]
    links: list[Link]


def corpus(language: str = "toku", count: int = 300) -> Texts:
    """Sentences with copies, capitals, long pairs, empty sides, and sides of no words."""
    texts = [(pair.source, pair.target) for pair in sentence_pairs(language, count)]
    texts[::7] = [(source.title(), target) for source, target in texts[::7]]
    texts[5::9] = [texts[5]] * len(texts[5::9])
    texts[11::50] = [(" ".join([a] * 16), b) for a, b in texts[11::50]]
    texts[13::60] = [("", b) for _, b in texts[13::60]]
    texts[14::70] = [(a, "\u00a0") for a, _ in texts[14::70]]
    return texts


def write(path: Path, texts: Texts) -> BitextSource:
    path.write_text("".join(f"{source} ||| {target}\n" for source, target in texts))
    return BitextSource(path.stem, (str(path),))


def run(directory: Path, texts: Texts | None = None, **settings: Any) -> dict[str, Any]:
    """Prepare texts (by default the corpus) under `directory` / "out"."""
    made = settings.pop("tokenizer", WORD_PIECE)
    bitext = write(directory / "corpus.txt", corpus() if texts is None else texts)
    return prepare([bitext], made, directory / "out", PrepareSettings(**settings))


def rows(directory: Path, split: str, bitext: int = 0) -> list[Row]:
    """What the shards hold, read by Arrow alone, in the order of prepared.json."""
    description = json.loads((directory / "out" / "prepared.json").read_bytes())
    found = []
    for shard in description["bitexts"][bitext]["shards"][split]:
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
    """The pairs that have words, with all their tokens and links, in order."""
    find = segmenter(settings.words)
    columns: list[list[list[int]]] = []
    numbers: list[list[list[int]]] = []
    joined: tuple[list[str], list[str]] = ([], [])
    for pair in texts:
        spans = [find(text) for text in pair]
        if not all(spans):
            continue
        column: list[list[int]] = []
        renumbered: list[list[int]] = []
        for side, (text, row) in enumerate(zip(pair, spans, strict=True)):
            words = " ".join(text[start:end] for start, end in row)
            joined[side].append(words.lower() if settings.lowercase else words)
            own = made(text, add_special_tokens=False, return_offsets_mapping=True)
            found = word_ids([text], [row], [own["offset_mapping"]])
            column += [own["input_ids"], found.tokens.tolist()]
            renumbered.append(found.words[0].tolist())
        columns.append(column)
        numbers.append(renumbered)
    links = Aligner(model="fast-align", heuristic=settings.heuristic).fit_align(*joined)
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
    counts = Counts(**description["bitexts"][0]["counts"])
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
    assert description["format"] == 1
    assert description["tokenizer"] == {"sha256": fingerprint(WORD_PIECE), "size": 1376}
    assert PrepareSettings(**description["settings"]) == PrepareSettings()
    (bitext,) = description["bitexts"]
    path = str(prepared / "corpus.txt")
    assert (bitext["name"], bitext["paths"]) == ("corpus", [path])
    assert (bitext["columns"], bitext["limit"]) == ([1, 2], None)
    assert bitext["aligner"]["heuristic"] == "grow-diag-final-and"
    assert bitext["aligner"]["dropped"] == {"empty": 0, "too_long": 0}
    shards = [shard for split in bitext["shards"].values() for shard in split]
    assert {p.name for p in out.iterdir()} == {"prepared.json", *(s["file"] for s in shards)}
    assert all(shard["sha256"] == file_digest(out / shard["file"]) for shard in shards)


def test_description_is_returned(tmp_path: Path) -> None:
    description = run(tmp_path, corpus(count=40))
    assert description == json.loads((tmp_path / "out" / "prepared.json").read_bytes())


def test_same_bytes_again(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the blocks that texts are tokenised in, and the threads of the aligner."""
    monkeypatch.setattr(module, "_BLOCK", 7)
    monkeypatch.setattr(module, "Aligner", lambda **more: Aligner(threads=3, **more))
    source = BitextSource("corpus", (str(prepared / "corpus.txt"),))
    prepare([source], WORD_PIECE, tmp_path / "out", PrepareSettings())
    for path in (prepared / "out").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()


def test_shards(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_PAIRS", 100)
    bitext = run(tmp_path)["bitexts"][0]
    sizes = {shard["file"]: shard["pairs"] for shard in bitext["shards"]["train"]}
    assert sizes == {
        "train-00-00000.arrow": 100,
        "train-00-00001.arrow": 100,
        "train-00-00002.arrow": bitext["counts"]["train"] - 200,
    }
    for split in ("train", "heldout"):
        assert rows(tmp_path, split) == rows(prepared, split)


# -------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("max_length", [8, 9, 20, 21])
def test_truncation(tmp_path: Path, max_length: int) -> None:
    counts = run(tmp_path, max_length=max_length, overlong="truncate")["bitexts"][0]["counts"]
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
    run(tmp_path, lowercase=True)
    kept = expected(corpus(), PrepareSettings(lowercase=True))
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
    counts = run(tmp_path, texts, tokenizer=made)["bitexts"][0]["counts"]
    assert (counts["read"], counts["empty"], counts["train"]) == (4, 2, 2)


@pytest.mark.parametrize("family", ["WordPiece", "byte-level BPE"])
def test_special_tokens_in_a_text_are_text(tmp_path: Path, family: str) -> None:
    made = tokenizer(family)
    run(tmp_path, [("a [MASK] b [SEP]", "[CLS] c [PAD]")], tokenizer=made)
    (row,) = rows(tmp_path, "train")
    special = {*made.all_special_ids} - {made.unk_token_id}
    assert special.isdisjoint(row.source_ids + row.target_ids)
    assert max(row.source_words) == 7  # a [ MASK ] b [ SEP ]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"words": "moses"}, "unknown words 'moses'; there are bert, blanks"),
        ({"heuristic": "forward"}, "unknown heuristic 'forward'; there are intersect, union, "),
        ({"overlong": "keep"}, "unknown overlong 'keep'; there are drop, truncate"),
        ({"max_length": 7}, "7 tokens leave no room for a pair"),
        ({"heldout": 0}, "at least one pair must be held out"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError) as error:
        PrepareSettings(**values)
    assert str(error.value).startswith(fault)


# -------------------------------------------------------------------------------------- held out


@given(
    st.lists(st.integers(1, 6), max_size=40).flatmap(
        lambda copies: st.permutations(
            [b"%02d" % k for k, n in enumerate(copies) for _ in range(n)]
        )
    ),
    st.integers(1, 12),
)
def test_copies_are_held_out_together(digests: list[bytes], goal: int) -> None:
    sides = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    pairs = [module._Pair(digest, sides, sides, sides) for digest in digests]
    chosen = module._heldout(pairs, PrepareSettings(heldout=goal))
    assert len(chosen) <= min(goal, len(pairs) // 10)
    assert {digests[k] for k in chosen}.isdisjoint(
        digest for k, digest in enumerate(digests) if k not in chosen
    )
    room = min(goal, len(pairs) // 10) - len(chosen)
    left = [digest for k, digest in enumerate(digests) if k not in chosen]
    assert not any(left.count(digest) <= room for digest in left)


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
    shards = run(tmp_path, [("a", "b")] * 9)["bitexts"][0]["shards"]
    assert shards["heldout"] == []
    assert len(rows(tmp_path, "train")) == 9


# --------------------------------------------------------------------------------- several bitexts


def test_bitexts_keep_to_themselves(tmp_path: Path) -> None:
    """Each is as if it had been prepared alone; the order is that of the command line."""
    languages = ("venn", "orlu")
    bitexts = [write(tmp_path / f"{name}.txt", corpus(name, 90)) for name in languages]
    description = prepare(bitexts, WORD_PIECE, tmp_path / "out", PrepareSettings())
    assert [bitext["name"] for bitext in description["bitexts"]] == ["venn", "orlu"]
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
    assert str(error.value) == "two bitexts are called 'train': write --bitext NAME=FILE"
    prepare([bitexts[0], replace(bitexts[1], name="b")], WORD_PIECE, tmp_path / "out",
            PrepareSettings())  # fmt: skip


# ---------------------------------------------------------------------------------------- failures


def disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the file")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [disk_full, interrupted])
@pytest.mark.parametrize("place", ["write_durably", "_write_shard", "file_digest", "_fit"])
def test_a_failure_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, failure: Callable[..., None]
) -> None:
    monkeypatch.setattr(module, place, failure)
    with pytest.raises((OSError, KeyboardInterrupt)):
        run(tmp_path, corpus(count=40))
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([], "no sentence pair with words on both sides"),
        (["a |||", "||| b", "", "\u00a0 ||| b"], "no sentence pair with words on both sides"),
        (["a ||| b"] * 5000 + ["a b"], "line 5001: no '|||' and no tab"),
        (["a " * 200 + "||| b"], "no sentence pair is left to train on"),
        (["a " * 1200 + "||| b"], "no sentence pair to learn from"),
    ],
    ids=["empty", "no words", "bad line", "over-long", "over-long for the aligner"],
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


# ------------------------------------------------------------------------------------ command line


@pytest.fixture
def vocab(tmp_path: Path) -> str:
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary()))
    return str(tmp_path / "vocab.txt")


def test_command_line(tmp_path: Path, vocab: str, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = corpus("toku", 60)
    (tmp_path / "tabs.tsv").write_text("".join(f"x\t{b}\t{a}\n" for a, b in pairs))
    out = tmp_path / "deep" / "out"
    main(["--bitext", f"toku={tmp_path / 'tabs.tsv'}", "--columns", "3,2", "--limit", "50",
          "--tokenizer", vocab, "--output", str(out), "--overlong", "truncate", "--lowercase",
          "--max-length", "50", "--words", "blanks", "--heuristic", "union", "--heldout", "3",
          "--seed", "5"])  # fmt: skip
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert printed.err.startswith("toku: 50 pairs read, 2 empty, ")
    description = json.loads((out / "prepared.json").read_bytes())
    assert PrepareSettings(**description["settings"]) == PrepareSettings(
        words="blanks", lowercase=True, heuristic="union", max_length=50, overlong="truncate",
        heldout=3, seed=5,
    )  # fmt: skip
    (bitext,) = description["bitexts"]
    assert (bitext["columns"], bitext["limit"], bitext["counts"]["heldout"]) == ([3, 2], 50, 3)


def test_command_line_refuses(tmp_path: Path, vocab: str) -> None:
    good = str(tmp_path / "good.txt")
    write(Path(good), [("a", "b")])
    out = str(tmp_path / "out")
    for arguments, fault in [
        (["--bitext", good], "--bitext and --tokenizer are needed"),
        (["--tokenizer", vocab], "--bitext and --tokenizer are needed"),
        (["--bitext", "/no/such", "--tokenizer", vocab], "/no/such: No such file or directory"),
        (["--bitext", good, "--tokenizer", "/no/such"], "/no/such: no such file or directory"),
        (["--bitext", good, "--bitext", good, "--tokenizer", vocab], "two bitexts are called"),
        (["--bitext", good, "--tokenizer", vocab, "--max-length", "3"], "3 tokens leave no room"),
    ]:
        with pytest.raises(InputError) as error:
            main([*arguments, "--output", out])
        assert str(error.value).startswith(fault)
    assert not Path(out).exists()


def test_exit_status(tmp_path: Path, vocab: str) -> None:
    (tmp_path / "bad.txt").write_bytes(b"a ||| b\na b\n")
    done = subprocess.run(
        [sys.executable, "-m", "weam_ext.prepare", "--bitext", "bad.txt", "--tokenizer", vocab,
         "--output", "out"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "weam_ext.prepare: error: bad.txt, line 2: no '|||' and no tab between source and target\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "vocab.txt"]
