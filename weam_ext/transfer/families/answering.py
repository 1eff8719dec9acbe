"""Questions whose answer is a span of a text: MLQA, its G-XLT, XQuAD and TyDiQA-GoldP.

MLQA: Lewis et al. 2020, arXiv 1910.07475; XQuAD: Artetxe et al. 2020, arXiv 1910.11856; TyDi QA:
Clark et al. 2020, arXiv 2003.05002. All are files as SQuAD 1.1's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from transformers import AutoModelForQuestionAnswering

from weam_ext.common.errors import InputError
from weam_ext.common.files import content_digest
from weam_ext.transfer.families.formats import (
    SPLITS,
    TRAIN,
    TRANSLATED,
    Example,
    Family,
    Format,
    Part,
    UnlabelledError,
    rows_of,
)
from weam_ext.transfer.files import Source, read_json
from weam_ext.transfer.languages import language_code
from weam_ext.transfer.metrics import answer_score, mlqa_tokens, squad_tokens
from weam_ext.transfer.results import Score

STRIDE = 128
"""Tokens that neighbouring windows of a long text share."""
LONGEST_ANSWER = 30
_BEST = 20


@dataclass(frozen=True)
class Question(Example):
    """A question, the text that answers it, and the answers with their first characters.

    The key is the same in every language, which the texts' titles are not.
    """

    context: str
    question: str
    answers: tuple[tuple[str, int], ...]

    @property
    def length(self) -> int:
        return len(self.context) + len(self.question)

    @property
    def aligned(self) -> bool:
        """Whether the first answer stands where it is said to stand."""
        text, start = self.answers[0]
        return bool(text) and self.context[start : start + len(text)] == text


# ---------------------------------------------------------------------------------------- readers


def _squad(source: Source, part: Part) -> list[Question]:
    return _labelled(source, [question for _, question in _questions(source)])


def _labelled(source: Source, found: list[Question]) -> list[Question]:
    """Questions that can be scored, by keys that tell them apart."""
    if not found:
        raise InputError(f"{source}: no questions")
    if not any(text for question in found for text, _ in question.answers):
        raise UnlabelledError(source, told_apart(found))
    return told_apart(found)


def told_apart(found: list[Question]) -> list[Question]:
    """The same: where ids repeat (XTREME's TyDiQA has 89 for 3,696), the content is the key."""
    if len({question.key for question in found}) < len(found):
        return [
            replace(q, key=f"{q.key}-{content_digest({'question': q.content()})[:16]}")
            for q in found
        ]
    return found


def _questions(source: Source) -> Iterator[tuple[str, Question]]:
    """Each question with its published id."""
    content = read_json(source)
    try:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for item in paragraph["qas"]:
                    answers = tuple((a["text"], int(a["answer_start"])) for a in item["answers"])
                    if not answers:
                        raise InputError(f"{source}: question {item['id']} has no answer")
                    name, texts = str(item["id"]), (paragraph["context"], item["question"])
                    yield name, Question(name, *texts, answers)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{source}: not a file as SQuAD's ({type(error).__name__}: {error})"
        ) from error


@lru_cache(maxsize=2)
def _tydi_all(source: Source) -> dict[str, list[Question]]:
    """All languages in one file; a question's id begins with the name of its language."""
    found: dict[str, list[Question]] = {}
    for name, question in _questions(source):
        found.setdefault(language_code(name.partition("-")[0]), []).append(question)
    return found


def _tydi_parts(source: Source) -> list[Part]:
    split = "train" if "train" in source.name.rsplit("/", 1)[-1] else "dev"
    return [Part(SPLITS[split], language) for language in _tydi_all(source)]


_SQUAD = (Format(("squad",), r"/(?P<split>train|dev)-v1\.1\.json$", _squad, language="en"),)
_SQUAD_TRANSLATED = (
    Format(
        ("squad", "mlqa", "xquad"), r"squad\.translate\.train\.en-(?P<lang>[a-z]{2})\.json$",
        _squad, split=TRANSLATED,
    ),
    Format(
        ("mlqa",), r"/(?P<lang>[a-z]{2})_squad-translate-train-train-v1\.1\.json$", _squad,
        split=TRANSLATED,
    ),
)  # fmt: skip
# XTREME leaves the whole training set beside the parts that it makes of it.
_TYDI_ALL = (
    Format(
        ("tydiqa",), r"/tydiqa-goldp-v1\.[01]-(train|dev)\.json$",
        lambda source, part: _labelled(source, _tydi_all(source)[part.language]),
        parts=_tydi_parts,
    ),
)  # fmt: skip
_TYDI = (
    Format(
        ("tydiqa",), r"/tydiqa\.goldp\.(?P<lang>[a-z]{2,3})\.(?P<split>train|dev)\.json$", _squad,
    ),
    Format(("tydiqa",), r"/tydiqa-goldp-(?P<split>dev)-(?P<lang>[a-z]+)\.json$", _squad),
)  # fmt: skip
# To train on TyDi's English where there is no SQuAD.
_ENGLISH_TYDI = (
    Format(("tydiqa",), r"/tydiqa\.goldp\.en\.train\.json$", _squad, TRAIN, language="en"),
)
_MLQA = r"/(?P<split>dev|test)-context-(?P<lang>[a-z]{2})-question-(?P<question>[a-z]{2})\.json$"
_XQUAD = r"/xquad\.(?P<lang>[a-z]{2})\.json$"
_TRAINING = (_SQUAD_TRANSLATED, _SQUAD, _ENGLISH_TYDI)
MLQA_FORMATS = ((Format(("mlqa",), _MLQA, _squad),), *_TRAINING)
XQUAD_FORMATS = ((Format(("xquad",), _XQUAD, _squad, split="test"),), *_TRAINING)
TYDIQA_FORMATS = (_TYDI_ALL, _TYDI, _SQUAD_TRANSLATED, _SQUAD)


# ------------------------------------------------------------------------------------ fine-tuning


class Answering(Family):
    """How questions are put to a model and answers read off: a window's best span (BERT, 4.2)."""

    model_class = AutoModelForQuestionAnswering
    metrics = ("f1", "em")

    def __init__(self, official: str) -> None:
        self.official = official  # "mlqa" or "squad"

    def encode(
        self, tokenizer: Any, examples: Sequence[Question], max_length: int
    ) -> list[dict[str, Any]]:
        """Rows of the windows; beside the tokens, `example` and the `offsets` of the text's own.

        A window without the answer is to give the first token, as in BERT's own fine-tuning.
        """
        tokens = tokenizer(
            [x.question.lstrip() for x in examples],
            [x.context for x in examples],
            truncation="only_second",
            max_length=max_length,
            stride=min(STRIDE, max_length // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            split_special_tokens=True,
        )
        owners = tokens.pop("overflow_to_sample_mapping")
        offsets = tokens.pop("offset_mapping")
        rows = rows_of(tokens)
        for k, (row, owner) in enumerate(zip(rows, owners, strict=True)):
            sides = tokens.sequence_ids(k)
            own = [(p, *offsets[k][p]) for p, side in enumerate(sides) if side == 1]
            start, end = _place(own, *examples[owner].answers[0])
            row |= {"start_positions": start, "end_positions": end}
            row |= {"example": owner, "offsets": own}
        return rows

    def decode(
        self, outputs: Any, rows: Sequence[dict[str, Any]], examples: Sequence[Question]
    ) -> list[str]:
        best = [(-np.inf, "")] * len(examples)
        for start, end, row in zip(*outputs, rows, strict=True):
            score, (first, last) = best_span(np.asarray(start), np.asarray(end), row["offsets"])
            example = row["example"]
            if score > best[example][0]:
                # Some tokens hold the blank before their word.
                best[example] = score, examples[example].context[first:last].strip()
        return [text for _, text in best]

    def gold(self, example: Question) -> str:
        return "\n".join(text for text, _ in example.answers)

    def score(
        self, examples: Sequence[Question], predictions: Sequence[str], language: str
    ) -> dict[str, list[Score]]:
        """`language` is that of the answers: of "CONTEXT-QUESTION" the first."""
        tokens = squad_tokens
        if self.official == "mlqa":
            tokens = partial(mlqa_tokens, language=language.partition("-")[0])
        found = [
            answer_score(prediction, [text for text, _ in x.answers], tokens)
            for x, prediction in zip(examples, predictions, strict=True)
        ]
        return {"f1": [Score(f1) for f1, _ in found], "em": [Score(em) for _, em in found]}


def _place(own: Sequence[tuple[int, int, int]], text: str, start: int) -> tuple[int, int]:
    """The first and the last token of an answer; 0 and 0 where the window has not all of it."""
    end = start + len(text)
    first = [p for p, begin, stop in own if begin <= start < stop]
    last = [p for p, begin, stop in own if begin < end <= stop]
    return (first[0], last[-1]) if first and last and first[0] <= last[-1] else (0, 0)


def best_span(
    start: Any, end: Any, own: Sequence[tuple[int, int, int]]
) -> tuple[float, tuple[int, int]]:
    """The best span of a window among the best starts and ends: its score, its characters."""
    if not own:
        return -np.inf, (0, 0)
    places = np.array([p for p, _, _ in own])
    starts, ends = start[places], end[places]
    best = (-np.inf, (0, 0))
    for a in np.argsort(-starts, kind="stable")[:_BEST].tolist():
        for b in np.argsort(-ends, kind="stable")[:_BEST].tolist():
            if a <= b < a + LONGEST_ANSWER and starts[a] + ends[b] > best[0]:
                best = float(starts[a] + ends[b]), (own[a][1], own[b][2])
    return best
