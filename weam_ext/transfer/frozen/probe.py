"""Frozen encoders: a linear classifier on the vectors of a layer, trained on the source language.

Tags from the first token of a word, topics from the mean of a text's tokens; every layer, raw and
with each language's mean removed, which takes a mere language offset away (Libovický, Rosa and
Fraser 2020, arXiv 2004.05160). The classifier is scikit-learn's logistic regression on vectors that
are scaled as the training set's are.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weam_ext.common.files import content_digest
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.families.tagging import Tagging
from weam_ext.transfer.results import UNTAGGED, Evaluation
from weam_ext.transfer.tasks import Examples

_ITERATIONS = 100


def evaluate(
    encoder: Encoder, family: Any, examples: Examples, seed: int, batch_size: int
) -> Iterator[Evaluation]:
    """Every layer, raw and centred. Nothing is selected."""
    train, owners = _vectors(encoder, family, examples.train, batch_size)
    labels = np.array(_labels(family, examples.train, owners))
    tests = {
        code: _vectors(encoder, family, found, batch_size) for code, found in examples.test.items()
    }
    digests = {
        code: content_digest({"examples": [x.content() for x in found]})
        for code, found in examples.test.items()
    }
    for layer in range(encoder.layers + 1):
        for centred in (False, True):
            fitted = _fit(_centred(train[layer], centred), labels, seed)
            for language, found in examples.test.items():
                vectors, places = tests[language]
                answers = fitted.predict(_centred(vectors[layer], centred).numpy())
                predictions = _predictions(family, found, places, answers.tolist())
                yield Evaluation(
                    language=language,
                    metrics=family.score(found, predictions, language),
                    keys=[x.key for x in found],
                    layer=layer,
                    vectors="centred" if centred else "raw",
                    method="probe",
                    lengths=[x.length for x in found],
                    gold=[family.gold(x) for x in found],
                    predictions=predictions,
                    notes={"sha256": digests[language]},
                )


def _centred(vectors: Tensor, centred: bool) -> Tensor:
    return vectors - vectors.mean(0) if centred else vectors


def _fit(vectors: Tensor, labels: Any, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegression(C=0.1, max_iter=_ITERATIONS, tol=1e-3, random_state=seed)
    return make_pipeline(StandardScaler(), model).fit(vectors.numpy(), labels)


Place = tuple[int, int]


def _vectors(
    encoder: Encoder, family: Any, examples: Sequence[Any], batch_size: int
) -> tuple[Tensor, list[Place]]:
    """[layers + 1, items, H] and, for each item, its example and its word."""
    if not isinstance(family, Tagging):
        texts = [" ".join(filter(None, (x.first, x.second))) for x in examples]
        return encoder.encode(texts, batch_size)[0], [(k, 0) for k in range(len(texts))]
    found: list[tuple[Place, Tensor]] = []
    for number, vectors, words in encoder.tokens([x.words for x in examples], batch_size):
        first = {word: k for k, word in reversed(list(enumerate(words))) if word >= 0}
        tagged = [word for word in first if examples[number].tags[word] != UNTAGGED]
        found += [((number, word), vectors[:, first[word]].cpu()) for word in tagged]
    found.sort(key=lambda item: item[0])
    if not found:
        return torch.empty(encoder.layers + 1, 0, encoder.width), []
    return torch.stack([v for _, v in found], dim=1), [place for place, _ in found]


def _labels(family: Any, examples: Sequence[Any], places: Sequence[Place]) -> list[str]:
    if isinstance(family, Tagging):
        return [examples[k].tags[word] for k, word in places]
    return [examples[k].label for k, _ in places]


def _predictions(
    family: Any, examples: Sequence[Any], places: Sequence[Place], answers: Sequence[str]
) -> list[str]:
    if not isinstance(family, Tagging):
        return list(answers)
    found = [[family.default] * len(x.words) for x in examples]
    for (k, word), answer in zip(places, answers, strict=True):
        found[k][word] = answer
    return [" ".join(tags) for tags in found]
