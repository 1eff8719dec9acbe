"""Small files under the names that the commands of README, docs and docstrings give to theirs."""

import gzip
import lzma
import shutil
import sys
from pathlib import Path

from transformers.utils import logging

from weam_ext.model.loading import new_model
from weam_ext.text.tokenizer import wordpiece
from weam_ext.text.toy_corpus import sentence_pairs, vocabulary

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from transfer_files import small_data, squad, tagged, write  # noqa: E402

CHECKOUT = ("README.md", "pyproject.toml", "benchmarks", "docs", "recipes")
"""What commands name of the checkout. Not the package: the installed one is to be tried."""
LANGUAGES = {"en": "eng_Latn", "de": "deu_Latn", "es": "spa_Latn", "fr": "fra_Latn",
             "it": "ita_Latn", "ru": "rus_Cyrl", "sw": "swh_Latn", "tr": "tur_Latn",
             "zh": "zho_Hans"}  # fmt: skip
MLQA = ("en", "de", "es", "zh")
PAIRS, GOLD = 40, 3
SIZES = {
    "model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 512,
}  # fmt: skip


def make_workspace(folder: Path) -> None:
    """Everything, in an empty folder that commands are run in."""
    logging.disable_progress_bar()
    for name in CHECKOUT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        else:
            shutil.copy2(ROOT / name, folder / name)
    data = folder / "DIR"
    make_bitext(folder)
    make_bitext(data)
    make_gold_sets(data)
    make_transfer_data(data)
    make_models(folder)
    (folder / "DATA").symlink_to(data)


def lines_of(pairs: list[tuple[str, str]], between: str) -> str:
    return "".join(f"{source}{between}{target}\n" for source, target in pairs)


def english(pairs: int, seed: int = 0) -> list[tuple[str, str]]:
    """Two pairs of the README's, and invented ones."""
    made = sentence_pairs("toku", pairs - 2, seed=seed)
    few = [("the house", "la maison"), ("the book", "le livre")]
    return few + [(pair.source, pair.target) for pair in made]


def make_bitext(folder: Path) -> None:
    """Text in every form that is named somewhere; the gold pairs come first."""
    folder.mkdir(exist_ok=True)
    train = english(PAIRS)
    gold = train[:GOLD]
    for number, language in enumerate(("en", "fr")):
        text = "".join(f"{pair[number]}\n" for pair in train).encode()
        (folder / f"train.{language}.xz").write_bytes(lzma.compress(text))
        (folder / f"train.{language}.gz").write_bytes(gzip.compress(text))
        write(folder / f"test.{language}", "".join(f"{pair[number]}\n" for pair in gold))
    write(folder / "text.en-fr", lines_of(train, " ||| "))
    write(folder / "more.en-fr", lines_of(english(PAIRS, seed=1), " ||| "))
    for name in ("test.gold", "test.en-fr.gold"):
        write(folder / name, "0-0 1?1\n" * GOLD)
    tabbed = lines_of(english(PAIRS, seed=2), "\t").encode()
    (folder / "tatoeba.en-de.tsv.xz").write_bytes(lzma.compress(tabbed))
    (folder / "pairs.tsv.gz").write_bytes(gzip.compress(tabbed))


def make_gold_sets(data: Path) -> None:
    pairs = english(GOLD)
    sets = [("wa-ensv", "gold", "sv", "en", "sv"), ("wa-zhen", "test", "zh", "zh", "en")]
    sets += [(f"wa-golden-{code}", "gold", code, "en", code) for code in ("es", "fr", "pt")]
    sets += [("wa-enfr-wpt03", "test", "fr", "en", "fr"), ("wa-pud/cs", "pud", "cs", "en", "cs")]
    for folder, name, _, first, second in sets:
        for side, language in enumerate((first, second)):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            write(data / folder / f"{name}.{language}", text)
        write(data / folder / f"{name}.{first}-{second}.gold", "0-0 1?1\n" * GOLD)
    rows = "".join(f"{source}\t{target}\t0-0 1-1\n" for source, target in pairs)
    for split in ("train", "dev", "test"):
        write(data / f"wa-xlwa/bg/{split}.tsv", rows)


def make_transfer_data(data: Path) -> None:
    """Every task's training set in English, and tests in all languages."""
    small_data(data)
    topics = ("entertainment", "geography", "health", "politics", "science/technology")
    rows = "".join(f"{k}\t{topics[k % 5]}\ta text on {topics[k % 5]} {k}\n" for k in range(15))
    text = "Ada was born in London in 1815."
    questions = squad([(f"q{k}", f"{k} {text}", "Where?", "London") for k in range(6)])
    names = "Ada\tB-PER\nof\tO\nLondon\tB-LOC\n\n" * 8
    xnli = (data / "xnli/test-de.tsv").read_text()
    for language, code in LANGUAGES.items():
        for split in ("train", "dev", "test"):
            sib = f"sib200/{code}/{split}.tsv"
            write(data / sib, f"index_id\tcategory\ttext\n{rows}")
            write(data / f"panx/{split}-{language}.tsv", names)
            if split != "train":
                write(data / f"udpos/{split}-{language}.tsv", tagged(8, language))
                write(data / f"xnli/{split}-{language}.tsv", xnli)
            if split != "train" and language in MLQA:
                context = f"mlqa/{split}-context-{language}-question-{language}.json"
                write(data / context, questions)
        if language != "en":
            write(data / f"tatoeba/{language}-en.{language}", "one\ntwo\nthree\n")
            write(data / f"tatoeba/{language}-en.en", "eins\nzwei\ndrei\n")
    folder = data / "bitext-opus-testsets"
    folder.mkdir()
    made = "".join(f"origin\t{a}\t{b}\n" for a, b in english(PAIRS, seed=3))
    for language in ("de", "fr"):
        (folder / f"opus.en-{language}.tsv.xz").write_bytes(lzma.compress(made.encode()))


def make_models(folder: Path) -> None:
    """A vocabulary, and small models with their tokenizer under the names of large ones."""
    write(folder / "vocab.txt", "".join(f"{entry}\n" for entry in vocabulary()))
    tokenizer = wordpiece(vocabulary(), "vocab.txt")
    # DIR is a tokenizer's directory and an encoder's, too.
    names = ("DIR", "bert-base-multilingual-cased", "intfloat/multilingual-e5-small", "mbert",
             "runs/tlm/step-00001000", "runs/a/step-00001000",
             "runs/b/step-00001000")  # fmt: skip
    for seed, name in enumerate(names):
        new_model(SIZES, tokenizer, 128, seed).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
