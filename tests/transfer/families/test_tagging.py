"""Tags of words: read as published, put to a model in pieces, and broken."""

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from helpers import real_data
from small_tokenizers import FAMILIES, tokenizer
from transfer_files import counts, fault, read_parts, tagged, write

from weam_ext.transfer.families.formats import Part
from weam_ext.transfer.families.tagging import (
    IGNORED,
    MASAKHANER_FORMATS,
    MASAKHAPOS_FORMATS,
    PANX_FORMATS,
    UDPOS_FORMATS,
    UPOS,
    Sentence,
    Tagging,
    all_word_tokens,
    framer,
    word_tokens,
)
from weam_ext.transfer.results import Score


def test_udpos() -> None:
    data = read_parts(real_data("udpos").parent, UDPOS_FORMATS)
    found = {f"{p.split}-{p.language}": len(x) for p, x in data.items()}
    assert len(found) == 35
    assert (found["train-en"], found["dev-de"], found["dev-mr"]) == (21253, 19233, 46)
    first = data[Part("dev", "zh")][0]
    assert (first.words[0], first.tags[0]) == ("同樣", "ADV")


def test_panx() -> None:
    found = counts("panx", PANX_FORMATS)
    small = {"hi", "sw", "ta", "te", "ur"}
    assert len(found) == 23
    assert found.pop("train-en") == 20000
    assert all(n == (1000 if k[4:] in small else 10000) for k, n in found.items())


def test_a_wrong_tag(tmp_path: Path) -> None:
    path = write(tmp_path / "udpos/dev-de.tsv", tagged(1, "x") + "a\tNOPE\n")
    expected = f"{path}, line 6: tag 'NOPE' is not one of ADJ"
    assert fault(tmp_path, UDPOS_FORMATS).startswith(expected)


def test_a_tag_without_its_word(tmp_path: Path) -> None:
    path = write(tmp_path / "panx/dev-de.tsv", "O\n")
    assert fault(tmp_path, PANX_FORMATS) == f"{path}, line 1: no tab between a word and its tag"


@pytest.mark.parametrize("family", FAMILIES)
def test_tags_survive_the_way_to_tokens_and_back(family: str) -> None:
    """Perfect outputs give the gold tags, in pieces too, whatever the tokenizer."""
    tagging = Tagging(("A", "B"), "A")
    words = ("ido", "mira", "今天", "dalo", "\u200b", "venn") * 5
    sentence = Sentence("k", words, tuple("AB"[k % 2] for k in range(len(words))))
    for length in (8, 128):
        rows = tagging.encode(tokenizer(family), [sentence, sentence], length)
        assert max(len(row["input_ids"]) for row in rows) <= length
        outputs = [np.eye(2)[[max(label, 0) for label in row["labels"]]] for row in rows]
        decoded = tagging.decode(outputs, rows, [sentence, sentence])
        shown = {word for row in rows if row["example"] == 0 for _, word in row["words"]}
        expected = [tag if k in shown else "A" for k, tag in enumerate(sentence.tags)]
        assert decoded == [" ".join(expected)] * 2
        assert len(shown) >= 25  # all but the invisible word
        counted = sum(label != IGNORED for row in rows for label in row["labels"])
        assert counted == 2 * len(shown)


def test_tags_known_by_hand() -> None:
    family = Tagging(UPOS, "X")
    sentence = Sentence("1", ("a", "b", "c", "d"), ("DET", "NOUN", "NOUN", "VERB"))
    scores = family.score([sentence], ["DET NOUN VERB VERB"], "en")
    assert scores["accuracy"] == [Score(3.0, 4.0)]
    # seqeval joins equal neighbours: DET, NOUN NOUN, VERB against DET, NOUN, VERB VERB.
    assert scores["f1"] == [Score(2.0, 6.0)]


UD = """# text = im Haus
1-2\tim{rest}
1\tin\tin\tADP{more}
2\tdem\tder\tDET{more}
2.1\tleer\tleer\tVERB{more}
3\tHaus\tHaus\tNOUN{more}

""".format(rest="\t_" * 8, more="\t_" * 6)


def test_universal_dependencies_as_first_published(tmp_path: Path) -> None:
    """As XTREME's words: what is fused is one with the topmost tag; empty nodes are none."""
    path = write(tmp_path / "ud-2.5/UD_German-GSD/de_gsd-ud-dev.conllu", UD)
    (sentence,) = read_parts(tmp_path, UDPOS_FORMATS)[Part("dev", "de")]
    assert (sentence.words, sentence.tags) == (("im", "Haus"), ("ADP", "NOUN"))
    heads = UD.replace("DET\t_\t_\t_", "DET\t_\t_\t3").replace("ADP\t_\t_\t_", "ADP\t_\t_\t2")
    write(path, heads)
    (sentence,) = read_parts(tmp_path, UDPOS_FORMATS)[Part("dev", "de")]
    assert sentence.tags == ("DET", "NOUN")
    write(path, UD.replace("NOUN", "N"))
    assert fault(tmp_path, UDPOS_FORMATS) == f"{path}, line 6: 'N' is no universal tag"
    write(path, UD.replace("\t_\n", "\n"))
    assert fault(tmp_path, UDPOS_FORMATS) == f"{path}, line 2: 9 fields instead of CoNLL-U's 10"


def ud(*sentences: str, name: str = "s") -> str:
    """CoNLL-U of sentences of "word/TAG word/TAG", called s0, s1 and so on."""
    found = []
    for number, words in enumerate(sentences):
        found.append(f"# sent_id = {name}{number}\n# text = x\n")
        for k, (word, tag) in enumerate((pair.split("/") for pair in words.split(" ")), 1):
            found.append(f"{k}\t{word.replace('~', ' ')}\t_\t{tag}" + "\t_" * 6 + "\n")
        found.append("\n")
    return "".join(found)


def test_sentences_with_hidden_words_are_left_out_and_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ud("_/NOUN _/VERB", "_/DET b/NOUN", "_/DET b/NOUN c/VERB", "a~b/NOUN c\u200cd/VERB")
    path = write(tmp_path / "ud/UD_French-FTB/fr_ftb-ud-dev.conllu", text)
    found = read_parts(tmp_path, UDPOS_FORMATS)[Part("dev", "fr")]
    assert [x.words for x in found] == [("_", "b", "c"), ("ab", "cd")]
    told = capsys.readouterr().err
    assert told == f"{path}: 2 sentences are left out, as their words are hidden\n"


def test_words_without_a_tag_are_shown_and_not_scored(tmp_path: Path) -> None:
    write(tmp_path / "ud/UD_German-GSD/de_gsd-ud-dev.conllu", ud("a/DET b/_ c/NOUN"))
    (sentence,) = read_parts(tmp_path, UDPOS_FORMATS)[Part("dev", "de")]
    family = Tagging(UPOS, "X")
    (row,) = family.encode(tokenizer("WordPiece"), [sentence], 16)
    assert [word for _, word in row["words"]] == [0, 1, 2]
    assert sum(label != IGNORED for label in row["labels"]) == 2
    scores = family.score([sentence], ["DET VERB VERB"], "de")
    assert scores == {"accuracy": [Score(1.0, 2.0)], "f1": [Score(2.0, 4.0)]}


def test_parallel_sentences_have_one_key_and_others_have_their_own(tmp_path: Path) -> None:
    for code, treebanks in {"de": ("gsd", "pud"), "fr": ("pud",), "it": ("isdt",)}.items():
        for treebank in treebanks:
            path = tmp_path / f"ud/UD_x-{treebank}/{code}_{treebank}-ud-test.conllu"
            write(path, ud("a/DET b/NOUN", "a/DET c/NOUN", name="n0100"))
    data = read_parts(tmp_path, UDPOS_FORMATS)
    keys = {part.language: [x.key for x in found] for part, found in data.items()}
    assert keys["fr"] == ["n01000", "n01001"] == keys["de"][2:]
    assert len({*keys["de"], *keys["fr"], *keys["it"]}) == 2 + 2 + 2


def test_wikiann_as_first_published(tmp_path: Path) -> None:
    write(tmp_path / "wikiann/de/test", "de:Ada\tB-PER\nde::\tO\n\n")
    (sentence,) = read_parts(tmp_path, PANX_FORMATS)[Part("test", "de")]
    assert sentence.words == ("Ada", ":")


def test_masakhaner_as_first_published(tmp_path: Path) -> None:
    """Dates are names of a kind that no training set knows; of the versions the second is taken."""
    repository = tmp_path / "masakhane-ner-main"
    write(repository / "MasakhaNER2.0/data/swa/test.txt", "Ada B-PER\nleo B-DATE\n\nn O\n")
    for name in ("swa", "amh", "conll_2003_en"):
        write(repository / f"data/{name}/test.txt", "Ada B-PER\nsasa I-DATE\n\n")
    write(tmp_path / "panx/train-en.tsv", "Ada\tB-PER\n")
    write(tmp_path / "panx/train-de.tsv", "Ada\tB-PER\n")
    found = read_parts(tmp_path, MASAKHANER_FORMATS)
    assert {f"{part.split}-{part.language}": len(x) for part, x in found.items()} == {
        "test-sw": 2, "test-am": 1, "test-en": 1, "train-en": 1,
    }  # fmt: skip
    assert found[Part("test", "sw")][0].tags == ("B-PER", "O")
    path = write(repository / "data/amh/test.txt", "a O\nAda\tB-PER\n")
    assert fault(tmp_path, MASAKHANER_FORMATS).startswith(f"{path}, line 2: no blank between")


def test_masakhapos_as_first_published(tmp_path: Path) -> None:
    write(tmp_path / "masakhane-pos/data/yor/dev.txt", "a NOUN\nb VERB\n")
    write(tmp_path / "masakhane-pos/transfer_corpus/wo_wtb/dev.txt", "a NOUN\n")
    write(tmp_path / "ud/UD_English-EWT/en_ewt-ud-train.conllu", ud("a/NOUN"))
    write(tmp_path / "ud/UD_German-GSD/de_gsd-ud-train.conllu", ud("a/NOUN"))
    found = read_parts(tmp_path, MASAKHAPOS_FORMATS)
    assert set(found) == {Part("dev", "yo"), Part("train", "en")}
    assert found[Part("dev", "yo")][0].tags == ("NOUN", "VERB")


@pytest.mark.parametrize("family", FAMILIES)
def test_each_token_has_its_word(family: str) -> None:
    own = tokenizer(family)
    words = ["mira", "zzz", "[MASK]", "今天", "dalo"]
    ((ids, owners),) = all_word_tokens(own, [words])
    assert len(ids) == len(owners)
    assert [w for w, _ in groupby(w for w in owners if w >= 0)] == list(range(5))
    assert own.mask_token_id not in ids  # words are words
    ((again, first),) = word_tokens(own, [words])
    assert again == ids
    assert [w for w in first if w >= 0] == list(range(5))


def test_a_blank_is_no_part_of_the_word_before_it() -> None:
    own = tokenizer("byte-level BPE")
    ((ids, owners),) = all_word_tokens(own, [["mira", "今天"]])
    (blank,) = own.convert_tokens_to_ids(["Ġ"])
    assert owners[ids.index(blank)] == -1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frame_is_the_tokenizer_s(family: str) -> None:
    own = tokenizer(family)
    ids = own("mira dalo", add_special_tokens=False)["input_ids"]
    row, places = framer(own)(ids)
    assert row["input_ids"] == own("mira dalo")["input_ids"]
    assert [row["input_ids"][place] for place in places] == ids
