"""Zero-shot sentence retrieval: the translation of a sentence should be its nearest neighbour.

Each sentence is encoded alone; its vector is the mean over its ordinary tokens, of every layer in
turn. The task is Artetxe and Schwenk's (2019, arXiv 1812.10464), with encoders as they are in
XTREME (Hu et al. 2020, arXiv 2003.11080). Nothing is trained, and no layer is chosen here.

Nearest is what has the largest cosine; or CSLS, which takes off how near each vector is to its k
nearest anyway (Conneau et al. 2018, arXiv 1710.04087); or the ratio margin, which divides by it
(Artetxe and Schwenk 2019, arXiv 1811.01136).

Centred vectors have the mean vector of their language removed, which tells how much of a poor
result is a mere language offset (Libovický, Rosa and Fraser 2020, arXiv 2004.05160). That mean is
taken over the sentences of the test itself, which are translations of each other: it is a
diagnosis more than a way to retrieve.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from weam_ext.common.errors import InputError
from weam_ext.text.bitext import BitextSource, read_bitext
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.files import Source, read_lines, sources
from weam_ext.transfer.languages import language_code
from weam_ext.transfer.results import Evaluation, Score

METHODS = ("cosine", "csls", "margin")
_FEW = 10
"""Sentences that may be in order by chance."""
NEIGHBOURS = 4
"""k of the margin's authors; CSLS's took 10 for words."""
# Cosines of equal vectors differ by rounding, in ways that depend on the blocking of the product.
# On this grid, fine for vectors in float32, they are equal and the lowest index wins.
_GRID = 2.0**24
_CELLS = 1 << 22
"""Cosines in memory at once."""


@dataclass(frozen=True)
class RetrievalPairs:
    """The sentence pairs of a bitext on which retrieval is well posed, and what was left out."""

    name: str
    pairs: list[tuple[str, str]]
    empty: int
    """Pairs with a side of nothing but white space."""
    duplicates: int
    """Pairs with a sentence that an earlier pair has on the same side."""

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for source, target in self.pairs:
            digest.update(f"{source}\n{target}\n".encode())
        return digest.hexdigest()


def retrieval_pairs(name: str, bitext: Iterable[tuple[str, str]]) -> RetrievalPairs:
    """Leave out the pairs with an empty side and those that repeat a sentence.

    Of two equal candidates none is the right one, so each sentence is kept at its first pair only,
    whatever it is paired with later. This does not depend on any tokenizer: all models are
    measured on the same pairs.
    """
    kept: list[tuple[str, str]] = []
    empty = duplicates = 0
    seen: tuple[set[str], set[str]] = (set(), set())
    for source, target in bitext:
        if not (source.strip() and target.strip()):
            empty += 1
            continue
        if source in seen[0] or target in seen[1]:
            duplicates += 1
        else:
            kept.append((source, target))
        seen[0].add(source)
        seen[1].add(target)
    return RetrievalPairs(name, kept, empty, duplicates)


def read_pairs(source: BitextSource) -> RetrievalPairs:
    """The pairs of a bitext; `InputError` for unusable files and where fewer than two are left."""
    return enough(retrieval_pairs(source.name, read_bitext(source)), " and ".join(source.paths))


def enough(bitext: RetrievalPairs, where: str) -> RetrievalPairs:
    """The same; `InputError` where fewer than two pairs are left."""
    if len(bitext.pairs) < 2:
        raise InputError(
            f"{where}: {len(bitext.pairs)} sentence pairs are left to "
            f"retrieve among ({bitext.empty} empty, {bitext.duplicates} duplicates)"
        )
    return bitext


# ---------------------------------------------------------------------------- published test sets


def _tatoeba(data: Path, pivot: str) -> dict[str, list[tuple[str, str]]]:
    """LASER's `tatoeba.deu-eng.deu` and `.eng`, or XTREME's `de-en.de` and `.en`."""
    name = re.compile(
        r"(?:^|/|tatoeba\.)(?P<a>[a-z]{2,3})-(?P<b>[a-z]{2,3})\.(?P<side>[a-z]{2,3})$"
    )
    sides: dict[tuple[str, str], dict[str, Source]] = {}
    for source in sources(data, "tatoeba"):
        if match := name.search(source.name):
            sides.setdefault((match["a"], match["b"]), {})[match["side"]] = source
    found = {}
    for (a, b), files in sides.items():
        if language_code(b) == pivot and {a, b} <= set(files):
            found[language_code(a)] = _parallel(files[b], files[a])
            _check_order(files[b], [source for source, _ in found[language_code(a)]])
    return found


def _check_order(source: Source, sentences: Sequence[str]) -> None:
    """Raise `InputError` for sorted sentences: line n is then no translation of the other's."""
    if len(sentences) >= _FEW and sentences == sorted(sentences):
        raise InputError(
            f"{source}: its lines are sorted, as XTREME's scripts leave them, so that they no "
            "longer stand beside their translations; take the files of LASER's repository"
        )


def _columns(data: Path, pivot: str, folder: str) -> dict[str, list[tuple[str, str]]]:
    """A header of codes and a column a language."""
    for source in sources(data, folder):
        if not source.name.endswith(".tsv"):
            continue
        lines = read_lines(source)
        header = [language_code(code) for code in next(lines).text.split("\t")]
        rows = []
        for line in lines:
            rows.append(line.text.split("\t"))
            if len(rows[-1]) != len(header):
                raise InputError(f"{line.where}: {len(rows[-1])} columns instead of {len(header)}")
        if repeated := {code for code in header if header.count(code) > 1}:
            raise InputError(f"{source}, line 1: two columns of {', '.join(sorted(repeated))}")
        if pivot not in header:
            raise InputError(f"{source}, line 1: no column {pivot}")
        own = header.index(pivot)
        return {
            language: [(row[own], row[k]) for row in rows]
            for k, language in enumerate(header)
            if k != own
        }
    return {}


def _line_files(
    data: Path, pivot: str, folder: str, pattern: str
) -> dict[str, list[tuple[str, str]]]:
    """A file a language, line n being the same sentence in all."""
    files: dict[str, Source] = {}
    for source in sources(data, folder):
        if match := re.search(pattern, source.name):
            other = files.setdefault(language_code(match["lang"]), source)
            if other != source:
                raise InputError(f"{source} and {other} are both of {language_code(match['lang'])}")
    if pivot not in files:
        return {}
    return {code: _parallel(files[pivot], file) for code, file in files.items() if code != pivot}


def _parallel(a: Source, b: Source) -> list[tuple[str, str]]:
    sides = [[line.text for line in read_lines(side)] for side in (a, b)]
    if len(sides[0]) != len(sides[1]):
        raise InputError(f"{a} has {len(sides[0])} lines but {b} has {len(sides[1])}")
    return list(zip(*sides, strict=True))


def published_pairs(name: str, data: Path, pivot: str = "en") -> dict[str, RetrievalPairs]:
    """The test sets of a retrieval task by language, paired with the pivot language.

    name: tatoeba (LASER's or XTREME's files), ntrex, flores (one table, or a file a language), or
    multi30k (its test sets). Raises `InputError` where there are none.
    """
    match name:
        case "tatoeba":
            found = _tatoeba(data, pivot)
        case "ntrex":
            pattern = r"/newstest2019-(?:ref|src)\.(?P<lang>[a-z]{3}(?:-\w+)?)\.txt$"
            found = _columns(data, pivot, "multi-ntrex")
            found = found or _line_files(data, pivot, "ntrex", pattern)
        case "flores":
            found = _columns(data, pivot, "multi-flores") or _line_files(
                data, pivot, "flores", r"/devtest/(?P<lang>[a-z]{3}_[A-Z][a-z]{3})\.devtest$"
            )
        case _:
            found = {}
            for folder in ("bitext-multi30k", "multi30k"):
                pattern = r"/test_2016_flickr\.(?P<lang>[a-z]{2})$"
                found = found or _line_files(data, pivot, folder, pattern)
    if not found:
        raise InputError(f"{data}: no files of {name} there")
    return {
        code: enough(retrieval_pairs(code, pairs), f"{name}, {code}")
        for code, pairs in sorted(found.items())
    }


# ------------------------------------------------------------------------------ nearest neighbours


@dataclass(frozen=True)
class Nearest:
    """The nearest neighbour of each of n vectors on the other side, int64 [n] on the host."""

    forward: Tensor
    """Of each source among the targets."""
    backward: Tensor


def nearest_neighbours(
    source: Tensor, target: Tensor, *, centred: bool, method: str = "cosine"
) -> Nearest:
    """The nearest neighbour of each of n vectors among the n of the other side.

    source, target: [n, H]; computed in float64 on their device, in blocks. `centred` removes each
    side's mean first. Ties go to the lowest index, and a zero vector is as far from all others
    (cosine 0), so that an encoder which says the same of every sentence scores 1/n. Equivalent to
    `weam_ref.retrieval.nearest`.
    """
    queries, candidates = (directions(side, centred) for side in (source, target))
    count, device = len(queries), queries.device
    usual = None
    if method != "cosine":
        near = min(NEIGHBOURS, count)
        usual = _mean_of_best(queries, candidates, near), _mean_of_best(candidates, queries, near)
    forward = torch.empty(count, dtype=torch.long, device=device)
    best = torch.full((count,), -torch.inf, dtype=torch.float64, device=device)
    nearest = torch.empty(count, dtype=torch.long, device=device)
    for block in _blocks(count):
        scores = queries[block] @ candidates.T
        if usual:
            scores = _relative(scores, usual[0][block, None], usual[1], method)
        scores = scores.mul_(_GRID).round_()
        forward[block] = scores.argmax(1)
        values, where = scores.max(0)
        closer = values > best  # not where equal: the lower index came before
        best = torch.where(closer, values, best)
        nearest = torch.where(closer, where + block.start, nearest)
    return Nearest(forward.cpu(), nearest.cpu())


def _blocks(count: int) -> Iterator[slice]:
    rows = max(1, _CELLS // count)
    return (slice(start, start + rows) for start in range(0, count, rows))


def _mean_of_best(queries: Tensor, candidates: Tensor, near: int) -> Tensor:
    """[n]: the mean cosine of each query with its nearest candidates."""
    means = [(queries[b] @ candidates.T).topk(near).values.mean(1) for b in _blocks(len(queries))]
    return torch.cat(means)


def _relative(cosines: Tensor, of_query: Tensor, of_candidate: Tensor, method: str) -> Tensor:
    usual = (of_query + of_candidate) / 2
    if method == "csls":
        return cosines - usual
    return cosines / torch.where(usual.abs() < 1e-12, 1e-12, usual)


def directions(vectors: Tensor, centred: bool) -> Tensor:
    """Vectors [n, H] of length 1 in float64, or zero; `centred`: less their mean first."""
    vectors = vectors.double()
    if centred:
        vectors = vectors - vectors.mean(0)
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / lengths.clamp(min=torch.finfo(torch.float64).tiny)


def evaluate(
    encoder: Encoder,
    bitexts: dict[str, RetrievalPairs],
    batch_size: int,
    methods: Sequence[str] = METHODS,
) -> Iterator[Evaluation]:
    """Every bitext, layer and method, raw and centred; both directions count alike.

    A pair's part of the accuracy is 0, 0.5 or 1; its prediction is "TARGET SOURCE", the nearest of
    either side counted from 0.
    """
    # float64 is for processors and CUDA only.
    device = encoder.device if encoder.device.type == "cuda" else torch.device("cpu")
    for language, bitext in bitexts.items():
        sides = [encoder.encode([pair[k] for pair in bitext.pairs], batch_size) for k in (0, 1)]
        cut = [truncated for _, truncated in sides]
        own = torch.arange(len(bitext.pairs))
        for layer in range(encoder.layers + 1):
            pair = [vectors[layer].to(device) for vectors, _ in sides]
            for centred in (False, True):
                for method in methods:
                    found = nearest_neighbours(*pair, centred=centred, method=method)
                    hits = ((found.forward == own).double() + (found.backward == own).double()) / 2
                    both = zip(found.forward.tolist(), found.backward.tolist(), strict=True)
                    yield Evaluation(
                        language=language,
                        metrics={"accuracy": [Score(hit) for hit in hits.tolist()]},
                        keys=list(map(str, range(len(bitext.pairs)))),
                        layer=layer,
                        vectors="centred" if centred else "raw",
                        method=method,
                        lengths=[len(a) + len(b) for a, b in bitext.pairs],
                        predictions=[f"{a} {b}" for a, b in both],
                        notes={
                            "empty": bitext.empty,
                            "duplicates": bitext.duplicates,
                            "truncated": cut,
                            "sha256": bitext.sha256,
                        },
                    )
