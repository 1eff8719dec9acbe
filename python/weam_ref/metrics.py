"""Metrics of question answering, tagging and linking, in plain loops.

SQuAD: Rajpurkar et al. 2016, section 6.1; MLQA: Lewis et al. 2020, section 4.3; spans: the
CoNLL-2000 shared task (Tjong Kim Sang and Buchholz); links:
Jalili Sabet et al. 2020; Dou and Neubig 2021.
"""

import math
import string
import unicodedata
from collections.abc import Sequence

ARTICLES = {
    "en": {"a", "an", "the"},
    "es": {"un", "una", "unos", "unas", "el", "la", "los", "las"},
    "de": {"ein", "eine", "einen", "einem", "eines", "einer"}
    | {"der", "die", "das", "den", "dem", "des"},
    "vi": {"của", "là", "cái", "chiếc", "những"},
}


def squad_tokens(text: str) -> list[str]:
    """Lower case, no ASCII punctuation, no English articles, split at white space."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return _without(ARTICLES["en"], kept).split()


def mlqa_tokens(text: str, language: str) -> list[str]:
    """The same with all Unicode punctuation, the language's articles; Chinese by character."""
    kept = ""
    for c in text.lower():
        if c not in string.punctuation and not unicodedata.category(c).startswith("P"):
            kept += c
    if language == "ar":
        kept = kept.replace("ال", " ")
    elif language == "zh":
        kept = "".join(f" {c} " if "一" <= c <= "龥" else c for c in kept)
    return _without(ARTICLES.get(language, set()), kept).split()


def _without(words: set[str], text: str) -> str:
    """A blank for each of the words; a word is a longest run of letters, digits and "_"."""
    pieces: list[str] = []
    for c in text:
        if pieces and _in_word(c) == _in_word(pieces[-1][-1]):
            pieces[-1] += c
        else:
            pieces.append(c)
    return "".join(" " if piece in words else piece for piece in pieces)


def _in_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def token_f1(prediction: Sequence[str], gold: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over tokens, each as often as it occurs; else 0."""
    left = list(gold)
    common = 0
    for token in prediction:
        if token in left:
            left.remove(token)
            common += 1
    if not common:
        return 0.0
    precision, recall = common / len(prediction), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def spans(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(kind, first, last) of IOB2 tags as CoNLL's evaluation reads them: an I- of another kind, or
    after O, begins a span."""
    found = set()
    start, kind = 0, ""
    for k, tag in enumerate([*tags, "O"]):
        letter, _, name = tag.partition("-")
        if kind and (letter in "BO" or name != kind):
            found.add((kind, start, k - 1))
            kind = ""
        if letter in "BI" and not kind:
            start, kind = k, name
    return found


Vector = Sequence[float]


def argmax_links(source: Sequence[Vector], target: Sequence[Vector]) -> set[tuple[int, int]]:
    """Vectors that are each other's nearest by cosine, on the grid of `weam_ref.retrieval`."""
    from weam_ref.retrieval import nearest

    forward, backward = nearest(source, target), nearest(target, source)
    return {(i, j) for i, j in enumerate(forward) if backward[j] == i}


def softmax_links(
    source: Sequence[Vector], target: Sequence[Vector], threshold: float
) -> set[tuple[int, int]]:
    """Pairs whose softmax over scalar products exceeds a threshold in both directions."""
    products = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in target] for x in source]
    rows = [_softmax(row) for row in products]
    columns = [_softmax(list(column)) for column in zip(*products, strict=True)]
    return {
        (i, j)
        for i in range(len(source))
        for j in range(len(target))
        if rows[i][j] > threshold and columns[j][i] > threshold
    }


def _softmax(values: Sequence[float]) -> list[float]:
    weights = [math.exp(value - max(values)) for value in values]
    return [weight / sum(weights) for weight in weights]
