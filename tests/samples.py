"""Samples of words of one token each, as batches are made of."""

import numpy as np

from weam_ext.data.shards import COLUMNS, Corpus, Sample
from weam_ext.text.pharaoh import Link


class Samples(list[Sample]):
    """Samples of given corpora."""

    def __init__(self, samples: list[Sample], languages: list[tuple[str, ...]]) -> None:
        super().__init__(samples)
        self.corpora = [Corpus("x", "bitext", names) for names in languages]
        self.corpus = list(range(len(samples)))


def sample_of(
    source: list[int], target: list[int], links: list[Link], weights: list[float] | None = None
) -> Sample:
    """A pair of words of one token each; word -1 has a token that is none."""
    columns = (range(5, 5 + len(source)), source, range(9, 9 + len(target)), target,
               [i for i, _ in links], [j for _, j in links])  # fmt: skip
    assert len(columns) == len(COLUMNS)
    made = Sample(*(np.array(column, np.int32) for column in columns))
    return made._replace(probability=None if weights is None else np.array(weights, np.float32))
