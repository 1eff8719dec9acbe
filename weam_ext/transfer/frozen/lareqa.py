"""LAReQA: a question's answers in all languages are to come before all else in one pool.

The pool has the sentences of XQuAD-R in every language, a question is right with that sentence of
each language which holds its answer, and the score is the mean average precision (Roy et al. 2020,
arXiv 2004.05484). Questions and sentences are encoded alone, as for retrieval, and nothing is
trained. Centred vectors have the mean of their language's questions, or sentences, removed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from weam_ext.common.errors import InputError
from weam_ext.common.files import content_digest
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.files import Source, read_json, sources
from weam_ext.transfer.frozen.retrieval import directions, exact_device, search
from weam_ext.transfer.languages import language_code
from weam_ext.transfer.results import Evaluation, Score


@dataclass
class Texts:
    """The questions of a language by their ids, the sentences, and the one that answers each."""

    questions: dict[str, str] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)


Pool = dict[str, Texts]


def pool_digest(pool: Pool) -> str:
    """SHA-256 of all that is in a pool."""
    return content_digest({language: asdict(texts) for language, texts in pool.items()})


def read_pool(data: Path) -> Pool:
    """XQuAD-R's languages, `xquad-r/de.json`; `InputError` where their questions are not one's."""
    pool: Pool = {}
    for source in [*sources(data, "lareqa"), *sources(data, "xquad-r")]:
        if match := re.search(r"(?:^|/)xquad-r/(?P<lang>[a-z]{2})\.json$", source.name):
            texts = pool[language_code(match["lang"])] = _read(source)
            first = next(iter(pool))
            if set(texts.questions) != set(pool[first].questions):
                raise InputError(f"{source}: its questions are not those of {first}")
    if not pool:
        raise InputError(
            f"{data}: no files of lareqa there; it needs XQuAD-R's (lareqa/xquad-r/de.json), which "
            "mark the sentences that XQuAD's do not"
        )
    return pool


def _read(source: Source) -> Texts:
    found = Texts()
    try:
        for article in read_json(source)["data"]:
            for paragraph in article["paragraphs"]:
                spans = [(int(a), int(b)) for a, b in paragraph["sentence_breaks"]]
                before = len(found.sentences)
                found.sentences += [str(text) for text in paragraph["sentences"]]
                if len(found.sentences) != before + len(spans):
                    raise InputError(f"{source}: {len(spans)} breaks of a paragraph's sentences")
                for item in paragraph["qas"]:
                    start = item["answers"][0]["answer_start"]
                    own = [k for k, (a, b) in enumerate(spans) if a <= start < b]
                    if not own:
                        raise InputError(f"{source}: no sentence answers question {item['id']}")
                    found.questions[item["id"]] = item["question"]
                    found.answers[item["id"]] = before + own[0]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{source}: not a file as XQuAD-R's ({type(error).__name__}: {error})"
        ) from error
    return found


def evaluate(
    encoder: Encoder, pool: Pool, asked: Sequence[str], most: int | None, batch_size: int
) -> Iterator[Evaluation]:
    """The first `most` questions of each language that is asked, of every layer, raw and centred.

    A prediction is "LANGUAGE N", the first sentence found, counted from 0 in its language.
    """
    device, digest = exact_device(encoder), pool_digest(pool)
    sides = {code: encoder.encode(texts.sentences, batch_size) for code, texts in pool.items()}
    labels = [(code, k) for code, texts in pool.items() for k in range(len(texts.sentences))]
    place = {label: k for k, label in enumerate(labels)}
    for language in asked:
        keys = list(pool[language].questions)[:most]
        texts = [pool[language].questions[key] for key in keys]
        right = torch.tensor([[place[c, pool[c].answers[key]] for c in pool] for key in keys])
        questions, cut = encoder.encode(texts, batch_size)
        for layer in range(encoder.layers + 1):
            for centred in (False, True):
                blocks = [directions(v[layer].to(device), centred) for v, _ in sides.values()]
                queries = directions(questions[layer].to(device), centred)
                found = search(queries, torch.cat(blocks), right)
                hits = torch.arange(1, len(pool) + 1) / found.ranks.sort(1).values.double()
                first = [labels[k] for k in found.nearest.tolist()]
                own = sum(code == language for code, _ in first) / len(first)
                yield Evaluation(
                    language=language,
                    metrics={"mAP": [Score(value) for value in hits.mean(1).tolist()]},
                    keys=keys,
                    layer=layer,
                    vectors="centred" if centred else "raw",
                    method="cosine",
                    lengths=[len(text) for text in texts],
                    predictions=[f"{code} {number}" for code, number in first],
                    notes={
                        "own_language": [100 * own],
                        "truncated": [cut, sum(count for _, count in sides.values())],
                        "sha256": digest,
                    },
                )
