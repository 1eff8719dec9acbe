"""Scores of one example, as the official scripts compute them.

SQuAD: Rajpurkar et al. 2016, arXiv 1606.05250; MLQA: Lewis et al. 2020, arXiv 1910.07475, whose
evaluation knows the articles of its languages, all Unicode punctuation, and Chinese by character.
The twins in plain Python are in `weam_ref.metrics`.
"""

import re
import string
import sys
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from weam_ext.common.errors import InputError
from weam_ext.transfer.results import Score

Link = tuple[int, int]

_ARTICLES = {
    "en": r"\b(?:a|an|the)\b",
    "es": r"\b(?:un|una|unos|unas|el|la|los|las)\b",
    "de": r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "vi": r"\b(?:của|là|cái|chiếc|những)\b",
    # Wherever the letters stand: the official script's other alternative never matches.
    "ar": "ال",
}
MLQA_LANGUAGES = ("ar", "de", "en", "es", "hi", "vi", "zh")
_ASCII = str.maketrans("", "", string.punctuation)


@cache
def _unicode_punctuation() -> dict[int, None]:
    """What `str.translate` deletes: category P, and ASCII's symbols."""
    categories = ((code, unicodedata.category(chr(code))) for code in range(sys.maxunicode))
    found = {code for code, category in categories if category.startswith("P")}
    return dict.fromkeys(found | set(map(ord, string.punctuation)))


def squad_tokens(text: str) -> list[str]:
    """An answer's tokens: lower case, without ASCII punctuation and English articles."""
    return re.sub(_ARTICLES["en"], " ", text.lower().translate(_ASCII)).split()


def mlqa_tokens(text: str, language: str) -> list[str]:
    """An answer's tokens in one of MLQA's languages; `InputError` for another."""
    if language not in MLQA_LANGUAGES:
        raise InputError(f"MLQA's metric knows {', '.join(MLQA_LANGUAGES)}, not {language!r}")
    text = text.lower().translate(_unicode_punctuation())
    if article := _ARTICLES.get(language):
        text = re.sub(article, " ", text)
    if language == "zh":
        text = re.sub("([一-龥])", r" \1 ", text)
    return text.split()


def answer_score(
    prediction: str, answers: Sequence[str], tokens: Callable[[str], list[str]]
) -> tuple[float, float]:
    """F1 and exact match of an answer, each the largest over the gold answers."""
    found = tokens(prediction)
    golds = [tokens(answer) for answer in answers]
    return max(_token_f1(found, gold) for gold in golds), float(found in golds)


def _token_f1(found: Sequence[str], gold: Sequence[str]) -> float:
    common = (Counter(found) & Counter(gold)).total()
    return 2 * common / (len(found) + len(gold)) if common else 0.0


def span_score(gold: list[str], predicted: list[str]) -> Score:
    """F1 of the spans of a sentence, as seqeval finds them (CoNLL's evaluation), as part and whole.

    Tags without B- and I- are spans of their own kind wherever seqeval takes them to be.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tags without B- and I-
        wanted, found = (set(_seqeval().get_entities(tags)) for tags in (gold, predicted))
    return Score(2.0 * len(wanted & found), float(len(wanted) + len(found)))


@cache
def _seqeval() -> Any:
    from seqeval.metrics import sequence_labeling

    return sequence_labeling


def aer_score(links: Iterable[Link], sure: set[Link], possible: set[Link]) -> Score:
    """1 - AER of a sentence pair as part and whole (Och and Ney 2003): summed, then divided."""
    found = set(links)
    hits = len(found & sure) + len(found & (possible | sure))
    return Score(float(hits), float(len(found) + len(sure)))
