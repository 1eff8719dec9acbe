"""A label for every word: parts of speech (UD, MasakhaPOS) and names (WikiANN, MasakhaNER).

XTREME layout: Hu et al. 2020, arXiv 2003.11080. UD: Nivre et al. 2020, arXiv 2004.10643; WikiANN:
Pan et al. 2017 with the splits of Rahimi et al. 2019, arXiv 1902.00193; MasakhaNER: Adelani et al.
2021, arXiv 2103.11811, and 2022, arXiv 2210.12391; MasakhaPOS: Dione et al. 2023, arXiv 2305.13989.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from transformers import AutoModelForTokenClassification, DataCollatorForTokenClassification

from weam_ext.common.errors import InputError, say
from weam_ext.text.tokenizer import framer
from weam_ext.text.words import tokens_and_words
from weam_ext.transfer.families.formats import (
    IGNORED,
    TEST,
    Example,
    Family,
    Format,
    Part,
    UnlabelledError,
)
from weam_ext.transfer.files import Line, Source, read_lines
from weam_ext.transfer.metrics import span_score
from weam_ext.transfer.results import UNTAGGED, Score

UPOS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN",
    "PUNCT", "SCONJ", "SYM", "VERB", "X",
)  # fmt: skip
NAMES = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
_HIDDEN = "_"
_SENTENCE = re.compile(r"# *sent_id *= *(\S+)")
# Of fused words that are equally high in the tree, which one's tag is taken: XTREME's orders.
_TOPMOST = {
    "": "VERB NOUN PROPN PRON ADJ NUM ADV INTJ AUX ADP DET PART CCONJ SCONJ X PUNCT",
    "es": "VERB AUX PRON ADP DET",
    "fr": "VERB AUX PRON NOUN ADJ ADV ADP DET PART SCONJ CONJ",
    "it": "VERB AUX ADV PRON ADP DET INTJ",
}


@dataclass(frozen=True)
class Sentence(Example):
    """Words and a tag for each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def length(self) -> int:
        return sum(map(len, self.words)) + len(self.words) - 1


# ---------------------------------------------------------------------------------------- readers


def _two_columns(
    tags: Sequence[str], prefix: bool = False, gap: str = "\t", outside: Sequence[str] = ()
) -> Any:
    """Lines "word TAB tag", blank lines between sentences; `prefix`: "de:word TAB tag".

    Tags that are `outside` of the task are read as O.
    """
    known = {tag: tag for tag in (*tags, UNTAGGED)} | dict.fromkeys(outside, "O")

    def rows(source: Source) -> Iterator[tuple[str, str] | None]:
        for line in read_lines(source):
            word, there, tag = line.text.rpartition(gap)
            if tag in known and there:
                yield word.partition(":")[2] if prefix else word, known[tag]
            elif not line.text.strip():
                yield None
            elif not there:
                kind = "tab" if gap == "\t" else "blank"
                raise InputError(f"{line.where}: no {kind} between a word and its tag")
            else:
                raise InputError(f"{line.where}: tag {tag!r} is not one of {', '.join(tags)}")

    def read(source: Source, part: Part) -> list[Sentence]:
        lines = [line.text.strip() for line in read_lines(source)]
        if part.split == TEST and any(lines) and not any(gap in line for line in lines):
            bare = ((line, UNTAGGED) if line else None for line in lines)
            raise UnlabelledError(source, _sentences(bare, part))
        return _sentences(rows(source), part)

    return read


def _conllu(source: Source, part: Part) -> list[Sentence]:
    """CoNLL-U as XTREME reads it: written words, without sentences of which one word is not hidden.

    The sentences of UD's parallel treebanks have the names that they have in all languages.
    """
    treebank = source.name.rsplit("/", 1)[-1].removesuffix(".conllu")
    found: list[Sentence] = []
    hidden = 0
    for number, lines in enumerate(_blocks(source)):
        words, tags = zip(*_written(lines, part.language), strict=True)
        if 0 < words.count(_HIDDEN) >= len(words) - 1:
            hidden += 1
            continue
        names = [match[1] for line in lines if (match := _SENTENCE.match(line.text))]
        parallel = names and "_pud-" in treebank
        found.append(Sentence(names[0] if parallel else f"{treebank}-{number}", words, tags))
    if hidden:
        say(f"{source}: {hidden} sentences are left out, as their words are hidden")
    return found


def _blocks(source: Source) -> Iterator[list[Line]]:
    """The lines of each sentence."""
    for filled, lines in groupby(read_lines(source), lambda line: bool(line.text.strip())):
        held = list(lines)
        if filled and not all(line.text.startswith("#") for line in held):
            yield held


def _written(lines: Sequence[Line], language: str) -> list[tuple[str, str]]:
    """Words as they are written, with tags: of those that are fused, that of the topmost one."""
    words: dict[int, tuple[str, str]] = {}
    heads: dict[int, int] = {}
    fused: list[tuple[range, str]] = []
    for line in lines:
        if line.text.startswith("#"):
            continue
        values = line.text.split("\t")
        if len(values) != 10:
            raise InputError(f"{line.where}: {len(values)} fields instead of CoNLL-U's 10")
        number, form, _, tag, _, _, head, *_ = values
        if match := re.fullmatch(r"(\d+)-(\d+)", number):
            fused.append((range(int(match[1]), int(match[2]) + 1), form))
        elif number.isdecimal():
            if tag not in (*UPOS, UNTAGGED):
                raise InputError(f"{line.where}: {tag!r} is no universal tag")
            words[int(number)] = form, tag
            heads[int(number)] = int(head) if head.isdecimal() else 0
    order = _TOPMOST.get(language, _TOPMOST[""]).split()
    for places, form in fused:
        inside = [k for k in places if k in words]
        ranks = [(_depth(heads, k), [*order, words[k][1]].index(words[k][1]), k) for k in inside]
        if inside:
            words[inside[0]] = form, words[min(ranks)[2]][1]
        for k in inside[1:]:
            del words[k]
    return [(form.replace("\u200c", "").replace(" ", ""), tag) for form, tag in words.values()]


def _depth(heads: Mapping[int, int], word: int) -> int:
    above: list[int] = []
    while word in heads and word not in above:
        above.append(word)
        word = heads[word]
    return len(above)


def _sentences(rows: Iterable[tuple[str, str] | None], part: Part) -> list[Sentence]:
    found: list[Sentence] = []
    for filled, words in groupby(rows, lambda row: row is not None):
        if filled:
            key = f"{part.split}-{part.language}-{len(found)}"
            found.append(Sentence(key, *zip(*words, strict=True)))
    return found


_XTREME = r"/(?P<split>train|dev|test)-(?P<lang>[a-z]{2,3})(\.tsv)?$"
_TREEBANKS = r"/(?P<lang>[a-z]{2,3})_\w+-ud-(?P<split>train|dev|test)\.conllu$"
_WIKIANN = r"/(?P<lang>[a-z]{2,3})/(?P<split>train|dev|test)$"
UDPOS_FORMATS = (
    (
        Format(("udpos",), _XTREME, _two_columns(UPOS)),
        Format(("ud", "ud_"), _TREEBANKS, _conllu),
    ),
)
PANX_FORMATS = (
    (
        Format(("panx", "pan-x"), _XTREME, _two_columns(NAMES)),
        Format(("wikiann", "panx"), _WIKIANN, _two_columns(NAMES, prefix=True)),
    ),
)


def _english(formats: Sequence[Sequence[Format]]) -> list[tuple[Format, ...]]:
    """To train on where a set has no English of its own."""
    return [
        tuple(way._replace(pattern=way.pattern.replace("[a-z]{2,3}", "en")) for way in group)
        for group in formats
    ]


_MASAKHANE = r"/data/(?P<lang>[a-z]{3})/(?P<split>train|dev|test)\.txt$"
_masakhane_names = _two_columns(NAMES, gap=" ", outside=("B-DATE", "I-DATE"))
_masakhane_tags = _two_columns(UPOS, gap=" ")
_NER, _POS = ("masakhaner", "masakhane-ner"), ("masakhapos", "masakhane-pos")
MASAKHANER_FORMATS = (
    (Format(_NER, f"MasakhaNER2.0{_MASAKHANE}", _masakhane_names),),
    (
        Format(_NER, f"(?<!MasakhaNER2.0){_MASAKHANE}", _masakhane_names),
        Format(_NER, r"/data/conll_2003_(?P<lang>en)/(?P<split>train|dev|test)\.txt$",
               _masakhane_names),
    ),
    *_english(PANX_FORMATS),
)  # fmt: skip
"""Version 2 before 1; to train on CoNLL-2003's English, and on PAN-X's where it is not there."""
MASAKHAPOS_FORMATS = (
    (
        Format(_POS, _MASAKHANE, _masakhane_tags),
        Format(_POS, r"/transfer_corpus/(?P<lang>en)_ewt/(?P<split>train|dev|test)\.txt$",
               _masakhane_tags),
    ),
    *_english(UDPOS_FORMATS),
)  # fmt: skip


# ------------------------------------------------------------------------------------ fine-tuning


class Tagging(Family):
    """How sentences with tags are put to a model and back.

    A word is known by its first token. Sentences that are too long go in pieces. A word that the
    tokenizer shows by no token gets `default`.
    """

    model_class = AutoModelForTokenClassification
    collator = DataCollatorForTokenClassification

    def __init__(self, tags: Sequence[str], default: str) -> None:
        self.labels = tuple(tags)
        self.default = default
        # XTREME compares POS, too, by seqeval's F1, which takes a tag's first letter for B, I, E, S
        # or O: equal neighbours are one span, but for tags in S; an X that ends a sentence is none.
        self.metrics = ("f1", "accuracy") if "O" in tags else ("accuracy", "f1")
        self.head = {"num_labels": len(tags)}

    def encode(
        self, tokenizer: Any, examples: Sequence[Sentence], max_length: int
    ) -> list[dict[str, Any]]:
        """Rows of the pieces; beside the tokens, `example` and the `words` of its labelled ones."""
        rows = []
        numbers = {tag: k for k, tag in enumerate(self.labels)}
        most, framed = max_length - tokenizer.num_special_tokens_to_add(), framer(tokenizer)
        tokens = word_tokens(tokenizer, [x.words for x in examples])
        for number, (ids, words) in enumerate(tokens):
            tags = examples[number].tags
            for start in range(0, len(ids), most) or (0,):
                piece = slice(start, start + most)
                row, ordinary = framed(ids[piece])
                labels = [IGNORED] * len(row["input_ids"])
                shown = []
                for place, word in zip(ordinary, words[piece], strict=True):
                    if word >= 0:
                        labels[place] = numbers.get(tags[word], IGNORED)
                        shown.append((place, word))
                rows.append(row | {"labels": labels, "example": number, "words": shown})
        return rows

    def decode(
        self, outputs: Any, rows: Sequence[dict[str, Any]], examples: Sequence[Sentence]
    ) -> list[str]:
        """The tags of a sentence, blanks between them."""
        found = [[self.default] * len(x.words) for x in examples]
        for logits, row in zip(outputs, rows, strict=True):
            best = np.asarray(logits).argmax(-1)
            for place, word in row["words"]:
                found[row["example"]][word] = self.labels[best[place]]
        return [" ".join(tags) for tags in found]

    def gold(self, example: Sentence) -> str:
        return " ".join(example.tags)

    def score(
        self, examples: Sequence[Sentence], predictions: Sequence[str], language: str
    ) -> dict[str, list[Score]]:
        scores: dict[str, list[Score]] = {name: [] for name in self.metrics}
        for x, text in zip(examples, predictions, strict=True):
            pairs = zip(x.tags, text.split(" "), strict=True)
            tagged = [pair for pair in pairs if pair[0] != UNTAGGED]
            right = sum(a == b for a, b in tagged)
            scores["accuracy"].append(Score(float(right), float(len(tagged))))
            scores["f1"].append(span_score([a for a, _ in tagged], [b for _, b in tagged]))
        return scores


def word_tokens(
    tokenizer: Any, sentences: Sequence[Sequence[str]]
) -> Iterator[tuple[list[int], list[int]]]:
    """Token ids of each sentence and, for each token, the word that it is the first of, or -1.

    Words are set off by blanks, whatever the script; all tokenizers are so treated alike.
    """
    for ids, words in all_word_tokens(tokenizer, sentences):
        first = [w if w != before else -1 for w, before in zip(words, [-1, *words], strict=False)]
        yield ids, first


def all_word_tokens(
    tokenizer: Any, sentences: Sequence[Sequence[str]]
) -> Iterator[tuple[list[int], list[int]]]:
    """The same with the word of every token, of several words the last."""
    for ids, owners, numbers in tokens_and_words(tokenizer, sentences):
        last = np.full(len(numbers) + 1, -1)
        last[numbers] = np.arange(len(numbers))
        last[-1] = -1  # where those without tokens are
        yield ids, last[owners].tolist()
