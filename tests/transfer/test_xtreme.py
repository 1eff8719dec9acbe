"""A folder as XTREME's scripts leave it holds the examples of the sets that they start from."""

import csv
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from transfer_files import nli, squad, write

from weam_ext.common.errors import InputError
from weam_ext.transfer.frozen.retrieval import published_pairs
from weam_ext.transfer.tasks import TASKS, Loaded, read_task

LANGUAGES = ("en", "de")
SPLITS = ("train", "dev", "test")
NAMES = {"en": "english", "de": "german"}
WORDS = {"en": "She said 'no'", "de": 'Sie sagte "nein"'}

# ---------------------------------------------------------------------------- as first published


def sentences(language: str, split: str) -> list[list[tuple[str, str, str]]]:
    """Of each the lines: number, form and tag; one is hidden, one fused, one has a blank in it."""
    return [
        [("1-2", f"im{language}", "_"), ("1", "in", "ADP"), ("2", "dem", "DET"), ("3", split, "X")],
        [("1", "_", "NOUN"), ("2", "_", "VERB")],
        [("1", "New York", "PROPN"), ("2", "a\u200cb", "NOUN"), ("3", "_", "PUNCT")],
    ]


def questions(language: str) -> str:
    text = f"{WORDS[language]}. Ada was born in London."
    return squad(
        [(f"{NAMES[language]}-{k}-1", f"{k} {text}", "Where?", "London") for k in range(9)]
    )


def originals(data: Path) -> Path:
    pairs: dict[str, Any] = {}
    for code in LANGUAGES:
        pairs[code] = [(WORDS[code] + f" {k}", f"{code}\u3000{k}", str(k % 2)) for k in range(12)]
        pairs[code][3] = ("NS", "", "0")
        for split in SPLITS:
            paws = "".join(f"{k}\t{a}\t{b}\t{c}\n" for k, (a, b, c) in enumerate(pairs[code]))
            name = split if split == "train" else f"{split}_2k"
            if split != "train" or code == "en":
                head = "id\tsentence1\tsentence2\tlabel\n"
                rows = paws.replace("3\tNS\t\t0\n", "") if split == "train" else paws
                write(data / f"x-final/{code}/{name}.tsv", head + rows)
            blocks = [
                "".join(f"{number}\t{form}\t_\t{tag}" + "\t_" * 6 + "\n" for number, form, tag in s)
                for s in sentences(code, split)
            ]
            write(data / f"ud/UD_x/{code}_gsd-ud-{split}.conllu", "\n".join(blocks) + "\n")
            names = f"{code}:Ada\tB-PER\n{code}::\tO\n\n{code}:{split}\tB-LOC\n\n"
            write(data / f"wikiann/{code}/{split}", names)
        for split in ("dev", "test"):
            name = f"{split}-context-{code}-question-{code}.json"
            write(data / f"mlqa/MLQA_V1/{split}/{name}", questions(code))
        write(data / f"xquad/xquad.{code}.json", questions(code))
    for split in ("dev", "test"):
        rows = "".join(
            f"{code}\t{label}\tx\tx\tx\tx\t{a}\t{b}\n"
            for code in LANGUAGES
            for a, b, label in (line.split("\t") for line in nli(12, WORDS[code]).splitlines())
        )
        head = "language\tgold_label\tp1\tp2\tb1\tb2\tsentence1\tsentence2\n"
        write(data / f"XNLI-1.0/xnli.{split}.tsv", head + rows)
    rows = nli(12, "en").replace("contradiction", "contradictory")
    write(data / "xnli-mt/multinli/multinli.train.en.tsv", "premise\thypo\tlabel\n" + rows)
    both = json.loads(questions("en"))
    both["data"] += json.loads(questions("en").replace("english", "finnish"))["data"]
    write(data / "tydiqa/tydiqa-goldp-v1.1-train.json", json.dumps(both))
    write(data / "tydiqa/tydiqa-goldp-v1.1-dev/tydiqa-goldp-dev-english.json", questions("en"))
    write(data / "squad/train-v1.1.json", questions("en"))
    copa = [{"premise": "p", "choice1": "a", "choice2": "b", "question": "cause"}] * 12
    for name in (
        "xcopa/et/val.et",
        "xcopa/et/test.et",
        "superglue/COPA/train",
        "superglue/COPA/val",
    ):
        rows = "".join(
            json.dumps(x | {"label": k % 2, "idx": k}) + "\n" for k, x in enumerate(copa)
        )
        write(data / f"{name}.jsonl", rows)
    return data


# ------------------------------------------------------------------- what the scripts make of it


def as_csv(rows: Iterable[Iterable[str]]) -> str:
    sink = io.StringIO()
    csv.writer(sink, delimiter="\t").writerows(rows)
    return sink.getvalue()


def bare(text: str) -> str:
    return re.sub(r'"answers": \[.*?\]', '"answers": [{"answer_start": 0, "text": ""}]', text)


def scripted(data: Path, out: Path) -> Path:
    def table(path: Path) -> list[list[str]]:
        return [line.split("\t") for line in path.read_text().splitlines()[1:]]

    for split in ("dev", "test"):
        rows = table(data / f"XNLI-1.0/xnli.{split}.tsv")
        for code in LANGUAGES:
            kept = [[a, b, label] for lang, label, *_, a, b in rows if lang == code]
            kept = [row[:2] for row in kept] if split == "test" else kept
            write(out / f"xnli/{split}-{code}.tsv", as_csv(kept))
            paws = [row[1:] for row in table(data / f"x-final/{code}/{split}_2k.tsv")]
            paws = [row[:2] for row in paws] if split == "test" else paws
            write(out / f"pawsx/{split}-{code}.tsv", as_csv(paws))
            name = f"mlqa/MLQA_V1/{split}/{split}-context-{code}-question-{code}.json"
            text = (data / name).read_text()
            write(out / name, bare(text) if split == "test" else text)
    train = table(data / "xnli-mt/multinli/multinli.train.en.tsv")
    renamed = [[a, b, label.replace("contradictory", "contradiction")] for a, b, label in train]
    write(out / "xnli/train-en.tsv", as_csv(renamed))
    write(out / "pawsx/train-en.tsv", as_csv(r[1:] for r in table(data / "x-final/en/train.tsv")))
    for code in LANGUAGES:
        for split in SPLITS:
            tagged = [[(f"im{code}", "ADP"), (split, "X")],
                      [("NewYork", "PROPN"), ("ab", "NOUN"), ("_", "PUNCT")]]  # fmt: skip
            named = [[("Ada", "B-PER"), (":", "O")], [(split, "B-LOC")]]
            for task, found in (("udpos", tagged), ("panx", named)):
                lines = [[w if split == "test" else f"{w}\t{t}" for w, t in s] for s in found]
                write(out / f"{task}/{split}-{code}.tsv", "\n\n".join(map("\n".join, lines)) + "\n")
        name = f"xquad/xquad.{code}.json"
        write(out / name, bare((data / name).read_text()))
    tydi = json.loads((data / "tydiqa/tydiqa-goldp-v1.1-train.json").read_text())
    write(out / "tydiqa/tydiqa-goldp-v1.1-train/tydiqa-goldp-v1.1-train.json", json.dumps(tydi))
    for name, code in (("english", "en"), ("finnish", "fi")):
        own = [x for x in tydi["data"] if x["paragraphs"][0]["qas"][0]["id"].startswith(name)]
        text = re.sub(rf'"id": "{name}-\d+-(\d+)"', r'"id": "\1"', json.dumps({"data": own}))
        write(out / f"tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.{code}.train.json", text)
    write(out / "tydiqa/tydiqa-goldp-v1.1-dev/tydiqa.goldp.en.dev.json", bare(questions("en")))
    write(out / "squad/train-v1.1.json", questions("en"))
    copa = {"xcopa/et/val.et": "val-et", "xcopa/et/test.et": "test-et"}
    copa |= {"superglue/COPA/train": "train-en", "superglue/COPA/val": "val-en"}
    for old, new in copa.items():
        text = (data / f"{old}.jsonl").read_text()
        text = text.replace('"label": 1', '"label": 0') if "test" in new else text
        write(out / f"xcopa/{new}.jsonl", text)
    return out


def contents(loaded: Loaded) -> dict[str, list[Any]]:
    """All that a score comes of: keys aside, and what tells which texts are cut together."""
    return {
        f"{part.split} {part.language}": [
            {name: value for name, value in vars(x).items() if name not in ("key", "shared")}
            for x in found
        ]
        for part, found in loaded.items()
    }


def given(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if k not in ("label", "tags", "answers")}


LABELLED = {
    "xnli": {"train en", "dev en", "dev de"},
    "pawsx": {"train en", "dev en", "dev de"},
    "udpos": {f"{split} {code}" for split in ("train", "dev") for code in LANGUAGES},
    "panx": {f"{split} {code}" for split in ("train", "dev") for code in LANGUAGES},
    "mlqa": {"train en", "dev en", "dev de"},
    "xquad": {"train en"},
    "tydiqa": {"train en", "train fi"},
    "xcopa": {"train en", "dev en", "dev et"},
}


@pytest.mark.parametrize("task", LABELLED)
def test_xtreme_s_folder_holds_the_same_examples(task: str, tmp_path: Path) -> None:
    first = originals(tmp_path / "originals")
    left = contents(read_task(TASKS[task], scripted(first, tmp_path / "download"), None, "en"))
    published = contents(read_task(TASKS[task], first, None, "en"))
    bare = {name: left.pop(name) for name in list(left) if name.startswith("unlabelled")}
    assert set(left) == LABELLED[task] < set(published)
    assert left == {name: published[name] for name in left}
    assert bare and all([*left.values(), *bare.values()])
    for name, examples in bare.items():  # what is predicted is what others score
        test = published[name.replace("unlabelled", "dev" if task == "tydiqa" else "test")]
        assert list(map(given, examples)) == list(map(given, test))


def test_xtreme_s_tatoeba_is_refused(tmp_path: Path) -> None:
    english = sorted(f"sentence {k}" for k in range(12))
    write(tmp_path / "tatoeba/de-en.en", "\n".join(english) + "\n")
    write(tmp_path / "tatoeba/de-en.de", "".join(f"Satz {k}\n" for k in range(12)))
    with pytest.raises(InputError, match="sorted"):
        published_pairs("tatoeba", tmp_path, "en")
