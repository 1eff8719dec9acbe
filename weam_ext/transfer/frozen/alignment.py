"""Word alignment read off an encoder: AER on gold links, every layer, raw and centred vectors.

argmax: two tokens that are each other's nearest by cosine are linked (SimAlign's, Jalili Sabet et
al. 2020, arXiv 2004.08728); softmax: where the softmax of the scalar products exceeds a threshold
in both directions (awesome-align's, Dou and Neubig 2021, arXiv 2101.08231). Words are linked where
any of their tokens are. Each sentence is encoded alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weam_ext.common.errors import InputError
from weam_ext.common.files import content_digest
from weam_ext.text.pharaoh import Link, format_links, read_gold
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.metrics import aer_score
from weam_ext.transfer.results import Evaluation

METHODS = ("argmax", "softmax")
THRESHOLD = 1e-3
"""awesome-align's, for both directions."""
HEAT_MAPS = 2
"""Sentence pairs of a language whose similarities are kept."""
_LONGEST_MAP = 16


@dataclass(frozen=True)
class GoldPair:
    """A sentence pair in words with its sure and possible links; sure ones are possible too."""

    key: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    sure: frozenset[Link]
    possible: frozenset[Link]

    def content(self) -> list[object]:
        """What identifies it; each field is named, so that no other one changes a cell."""
        return [self.key, self.source, self.target, sorted(self.sure), sorted(self.possible)]


def read_gold_sets(data: Path, sets: tuple[str, ...] = ()) -> dict[str, list[GoldPair]]:
    """The gold sets under folders `wa-*`, by "SET:SOURCE-TARGET".

    A set is `NAME.en`, `NAME.fr` and `NAME.en-fr.gold` ("i-j" sure, "i?j" possible, from 0), or
    XL-WA's `LANGUAGE/test.tsv`, and else its `dev.tsv` (tokens, tokens, links). Raises `InputError`
    for links that lie outside of their sentences.
    """
    found: dict[str, list[GoldPair]] = {}
    for folder in sorted(path for path in data.glob("wa-*") if path.is_dir()):
        if sets and folder.name.removeprefix("wa-") not in sets:
            continue
        for gold in sorted(folder.rglob("*.gold")):
            match = re.fullmatch(r"(.+)\.([a-z]+)-([a-z]+)\.gold", gold.name)
            if match and match[1] != "trial":
                name = f"{folder.name.removeprefix('wa-')}:{match[2]}-{match[3]}"
                texts = [gold.with_name(f"{match[1]}.{match[k]}") for k in (2, 3)]
                found[name] = _read_files(texts[0], texts[1], gold)
        for folder_of in sorted(path for path in folder.iterdir() if path.is_dir()):
            for file in ("test.tsv", "dev.tsv"):
                name = f"{folder.name.removeprefix('wa-')}:en-{folder_of.name}"
                if (folder_of / file).is_file() and name not in found:
                    found[name] = _read_table(folder_of / file)
    if absent := sorted(set(sets) - {name.partition(":")[0] for name in found}):
        raise InputError(f"{data}: no gold word alignments of {', '.join(absent)} (wa-*) there")
    if not found:
        raise InputError(f"{data}: no gold word alignments (folders wa-*) there")
    return found


def _read_files(source: Path, target: Path, gold: Path) -> list[GoldPair]:
    from weam_ext.text.lines import read_lines

    sides = [list(read_lines(str(path))) for path in (source, target)]
    links = read_gold(str(gold))
    if not len(sides[0]) == len(sides[1]) == len(links):
        raise InputError(
            f"{source} has {len(sides[0])} lines, {target} {len(sides[1])}, {gold} {len(links)}"
        )
    rows = zip(*sides, links, strict=True)
    return [
        _pair(k, a.split(), b.split(), sure, possible, f"{gold}, line {k + 1}")
        for k, (a, b, (sure, possible)) in enumerate(rows)
    ]


def _read_table(path: Path) -> list[GoldPair]:
    from weam_ext.text.lines import read_lines
    from weam_ext.text.pharaoh import parse_links

    found = []
    for k, line in enumerate(read_lines(str(path))):
        where = f"{path}, line {k + 1}"
        fields = line.split("\t")
        if len(fields) != 3:
            raise InputError(f"{where}: {len(fields)} tab-separated fields instead of 3")
        links = set(parse_links(fields[2], where))
        found.append(_pair(k, fields[0].split(), fields[1].split(), links, links, where))
    return found


def _pair(
    number: int, a: list[str], b: list[str], sure: set[Link], possible: set[Link], where: str
) -> GoldPair:
    for i, j in sure | possible:
        if i >= len(a) or j >= len(b):
            raise InputError(f"{where}: link {i}-{j} of {len(a)} and {len(b)} words")
    return GoldPair(str(number), tuple(a), tuple(b), frozenset(sure), frozenset(possible | sure))


# --------------------------------------------------------------------------------------- links


def token_links(source: Tensor, target: Tensor, method: str) -> Tensor:
    """bool [m, n]: which tokens, of vectors [m, H] and [n, H], are linked.

    Of equal cosines the lowest index is nearest. Equivalent to `weam_ref.encoder_links`.
    """
    if method == "argmax":
        a, b = (
            side / torch.linalg.vector_norm(side, dim=1, keepdim=True).clamp(min=1e-30)
            for side in (source.double(), target.double())
        )
        cosines = (a @ b.T).mul(2.0**24).round()
        rows = torch.zeros_like(cosines, dtype=torch.bool)
        columns = rows.clone()
        rows[torch.arange(len(a)), cosines.argmax(1)] = True
        columns[cosines.argmax(0), torch.arange(len(b))] = True
        return rows & columns
    products = source.double() @ target.double().T
    return (products.softmax(1) > THRESHOLD) & (products.softmax(0) > THRESHOLD)


def word_links(linked: Tensor, source: list[int], target: list[int]) -> set[Link]:
    """The words of linked tokens; a token of no word has -1."""
    places = linked.nonzero().tolist()
    links = {(source[i], target[j]) for i, j in places}
    return {(i, j) for i, j in links if i >= 0 and j >= 0}


def evaluate(
    encoder: Encoder, sets: dict[str, list[GoldPair]], batch_size: int
) -> Iterator[Evaluation]:
    """Every gold set, layer and method, raw and centred.

    The metric is 1 - AER, so that more is better. Of the first pairs that are short enough the
    cosines of words are kept in the notes, for the report's heat-maps.
    """
    for name, pairs in sets.items():
        digest = content_digest({"pairs": [[pair.source, pair.target] for pair in pairs]})
        sides = [
            _vectors(encoder, [pair.source for pair in pairs], batch_size),
            _vectors(encoder, [pair.target for pair in pairs], batch_size),
        ]
        for layer in range(encoder.layers + 1):
            for centred in (False, True):
                shift = [_mean(side, layer) if centred else 0.0 for side in sides]
                for method in METHODS:
                    found = []
                    for k in range(len(pairs)):
                        (a, first), (b, second) = (side[k] for side in sides)
                        linked = token_links(a[layer] - shift[0], b[layer] - shift[1], method)
                        found.append(sorted(word_links(linked, first, second)))
                    yield Evaluation(
                        language=name,
                        metrics={
                            "1-aer": [
                                aer_score(links, set(pair.sure), set(pair.possible))
                                for pair, links in zip(pairs, found, strict=True)
                            ]
                        },
                        keys=[pair.key for pair in pairs],
                        layer=layer,
                        vectors="centred" if centred else "raw",
                        method=method,
                        lengths=[
                            len(" ".join(pair.source)) + len(" ".join(pair.target))
                            for pair in pairs
                        ],
                        gold=[_gold_text(pair) for pair in pairs],
                        predictions=[format_links(links) for links in found],
                        notes={"sha256": digest}
                        | (_heat_maps(pairs, sides, layer, shift) if method == "argmax" else {}),
                    )


Side = list[tuple[Tensor, list[int]]]


def _vectors(encoder: Encoder, sentences: list[tuple[str, ...]], batch_size: int) -> Side:
    found: list[Any] = [None] * len(sentences)
    for number, vectors, words in encoder.tokens(sentences, batch_size):
        found[number] = vectors.cpu(), words
    return found


def _mean(side: Side, layer: int) -> Tensor:
    return torch.cat([vectors[layer] for vectors, _ in side]).mean(0)


def _gold_text(pair: GoldPair) -> str:
    sure = [f"{i}-{j}" for i, j in sorted(pair.sure)]
    return " ".join([*sure, *(f"{i}?{j}" for i, j in sorted(pair.possible - pair.sure))])


def _heat_maps(
    pairs: list[GoldPair], sides: list[Side], layer: int, shift: list[Any]
) -> dict[str, Any]:
    """The cosines of word vectors, the means over tokens, of a few short pairs."""
    maps: list[dict[str, Any]] = []
    for k, pair in enumerate(pairs):
        if len(maps) == HEAT_MAPS:
            break
        if not min(len(pair.source), len(pair.target)) >= 4 or (
            max(len(pair.source), len(pair.target)) > _LONGEST_MAP
        ):
            continue
        rows = []
        for side, off, words in zip(sides, shift, (pair.source, pair.target), strict=True):
            vectors, owners = side[k]
            rows.append(_word_means(vectors[layer] - off, owners, len(words)))
        cosines = torch.nn.functional.cosine_similarity(rows[0][:, None], rows[1][None], dim=2)
        values = [[round(value, 3) for value in row] for row in cosines.tolist()]
        shown = {"source": pair.source, "target": pair.target, "gold": _gold_text(pair)}
        maps.append(shown | {"cosines": values})
    return {"maps": maps}


def _word_means(vectors: Tensor, owners: list[int], words: int) -> Tensor:
    """[words, H]: the mean vector of each word's tokens, zero where no token shows it."""
    total = torch.zeros(words + 1, vectors.shape[1])
    index = torch.tensor(owners, dtype=torch.long)
    total.index_add_(0, index % (words + 1), vectors.float())  # -1 goes to the spare row
    counts = torch.zeros(words + 1).index_add_(0, index % (words + 1), torch.ones(len(index)))
    return (total / counts.clamp(min=1)[:, None])[:words]
