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

Of several captions of a picture any one in the other language is right, as in retrieval by images
and texts (Fei, Yu and Li 2021, arXiv 2103.08849): a rank is that of the best right one.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median

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
_score = lru_cache(maxsize=None)(Score)  # few differ, and there are millions


Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class RetrievalPairs:
    """The sentence pairs of a bitext on which retrieval is well posed, and what was left out."""

    name: str
    pairs: Pairs
    keys: list[str]
    """Of each pair; next to each other are those of one key, which say the same."""
    empty: int
    """Pairs with a side of nothing but white space."""
    duplicates: int
    """Pairs with a sentence that an earlier pair has on the same side."""

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for key, (source, target) in zip(self.keys, self.pairs, strict=True):
            digest.update(f"{key}\n{source}\n{target}\n".encode())
        return digest.hexdigest()

    def groups(self) -> dict[str, list[int]]:
        """The numbers of the pairs of each key."""
        found: dict[str, list[int]] = {}
        for number, key in enumerate(self.keys):
            found.setdefault(key, []).append(number)
        return found

    def first(self, most: int | None) -> "RetrievalPairs":
        """The pairs of the first `most` keys."""
        count = sum(map(len, list(self.groups().values())[:most]))
        return replace(self, pairs=self.pairs[:count], keys=self.keys[:count])


def retrieval_pairs(name: str, *bitexts: Iterable[tuple[str, str]]) -> RetrievalPairs:
    """Leave out the pairs with an empty side and those that repeat a sentence.

    Of two equal candidates none is the right one, so each sentence is kept at its first pair only,
    whatever it is paired with later. This does not depend on any tokenizer: all models are
    measured on the same pairs. Line n of several bitexts, which are equally long, says the same:
    its pairs have one key. Keys are numbers of lines, the same in all languages of a set.
    """
    kept: Pairs = []
    keys: list[str] = []
    empty = duplicates = 0
    seen: tuple[set[str], set[str]] = (set(), set())
    of_set = "".join(name.rpartition(":")[:2])
    for number, line in enumerate(zip(*bitexts, strict=True)):
        for source, target in line:
            if not (source.strip() and target.strip()):
                empty += 1
                continue
            if source in seen[0] or target in seen[1]:
                duplicates += 1
            else:
                kept.append((source, target))
                keys.append(f"{of_set}{number}")
            seen[0].add(source)
            seen[1].add(target)
    return RetrievalPairs(name, kept, keys, empty, duplicates)


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


def _tatoeba(data: Path, pivot: str) -> dict[str, Pairs]:
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


def _columns(data: Path, pivot: str, folder: str) -> dict[str, Pairs]:
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


def _line_files(data: Path, pivot: str, folder: str, pattern: str) -> dict[str, Pairs]:
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


def _captions(data: Path, pivot: str, folder: str) -> dict[str, list[Pairs]]:
    """Multi30k's test sets by "SET:LANGUAGE": `SET.de`, or several captions a picture, `SET.1.de`.

    Each has a list of pairs for every number of a caption.
    """
    name = re.compile(r"/(test_\d{4}\w*)(\.\d)?\.[a-z]{2}$")
    matches = [name.search(source.name) for source in sources(data, folder)]
    found: dict[str, list[Pairs]] = {}
    for test, number in sorted({(match[1], match[2] or "") for match in matches if match}):
        pattern = rf"/{test}{re.escape(number)}\.(?P<lang>[a-z]{{2}})$"
        for code, pairs in _line_files(data, pivot, folder, pattern).items():
            own = found.setdefault(f"{test}:{code}", [])
            own.append(pairs)
            if len(pairs) != len(own[0]):
                raise InputError(
                    f"{data}: {test}{number}.{code} has {len(pairs)} lines, others {len(own[0])}"
                )
    return found


def _parallel(a: Source, b: Source) -> Pairs:
    sides = [[line.text for line in read_lines(side)] for side in (a, b)]
    if len(sides[0]) != len(sides[1]):
        raise InputError(f"{a} has {len(sides[0])} lines but {b} has {len(sides[1])}")
    return list(zip(*sides, strict=True))


def published_pairs(name: str, data: Path, pivot: str = "en") -> dict[str, RetrievalPairs]:
    """The test sets of a retrieval task by language, paired with the pivot language.

    name: tatoeba (LASER's or XTREME's files), ntrex, flores (one table, or a file a language), or
    multi30k (its test sets, by "SET:LANGUAGE"). Raises `InputError` where there are none.
    """
    captions: dict[str, list[Pairs]] = {}
    found: dict[str, Pairs] = {}
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
            captions = _captions(data, pivot, "multi30k")
            captions |= _captions(data, pivot, "bitext-multi30k")
    captions |= {code: [pairs] for code, pairs in found.items()}
    if not captions:
        raise InputError(f"{data}: no files of {name} there")
    return {
        code: enough(retrieval_pairs(code, *bitexts), f"{name}, {code}")
        for code, bitexts in sorted(captions.items())
    }


# ------------------------------------------------------------------------------ nearest neighbours


@dataclass(frozen=True)
class Found:
    """What each of n queries finds among the candidates, int64 on the host."""

    nearest: Tensor
    """[n]"""
    ranks: Tensor
    """[n, k]: of its k right candidates, from 1."""


def retrieve(
    source: Tensor,
    target: Tensor,
    right: Tensor,
    *,
    centred: bool,
    methods: Sequence[str] = ("cosine",),
) -> dict[str, tuple[Found, Found]]:
    """What n vectors find among the n of the other side and these among them, by each method.

    source, target: [n, H]; computed in float64 on their device. right: [n, k], the other side's
    right ones, of either side. `centred` removes each side's mean first.
    """
    a, b = (directions(side, centred) for side in (source, target))
    usual = (_mean_of_best(a, b), _mean_of_best(b, a)) if set(methods) - {"cosine"} else ()
    return {
        method: (search(a, b, right, method, usual), search(b, a, right, method, usual[::-1]))
        for method in methods
    }


def search(
    queries: Tensor,
    candidates: Tensor,
    right: Tensor,
    method: str = "cosine",
    usual: tuple[Tensor, ...] = (),
) -> Found:
    """The nearest of m candidates to each of n queries, and where the right ones are, in blocks.

    Both are `directions`; `usual` has either side's mean cosines with its nearest, which cosine
    does without. Of equals the lowest index comes first, and a zero vector is as far from all
    others (cosine 0), so that an encoder which says the same of every sentence scores 1/n.
    Equivalent to `weam_ref.retrieval.ranking`.
    """
    nearest, ranks = [], []
    places = torch.arange(len(candidates), device=queries.device)
    for block in _blocks(len(queries), len(candidates)):
        scores = queries[block] @ candidates.T
        if method != "cosine":
            scores = _relative(scores, usual[0][block, None], usual[1], method)
        scores = scores.mul_(_GRID).round_()
        nearest.append(scores.argmax(1))
        own = right[block].to(scores.device)
        before = []
        for place, score in zip(own.T[..., None], scores.gather(1, own).T[..., None], strict=True):
            ahead = (scores > score) | ((scores == score) & (places < place))
            before.append(ahead.sum(1))
        ranks.append(torch.stack(before, 1) + 1)
    return Found(torch.cat(nearest).cpu(), torch.cat(ranks).cpu())


def _blocks(queries: int, candidates: int) -> Iterator[slice]:
    rows = max(1, _CELLS // candidates)
    return (slice(start, start + rows) for start in range(0, queries, rows))


def _mean_of_best(queries: Tensor, candidates: Tensor) -> Tensor:
    """[n]: the mean cosine of each query with its nearest candidates."""
    near = min(NEIGHBOURS, len(candidates))
    blocks = _blocks(len(queries), len(candidates))
    return torch.cat([(queries[b] @ candidates.T).topk(near).values.mean(1) for b in blocks])


def _relative(cosines: Tensor, of_query: Tensor, of_candidate: Tensor, method: str) -> Tensor:
    usual = of_query / 2 + of_candidate / 2
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


def exact_device(encoder: Encoder) -> torch.device:
    """The encoder's where it knows float64, which is for processors and CUDA only."""
    return encoder.device if encoder.device.type == "cuda" else torch.device("cpu")


def evaluate(
    encoder: Encoder,
    bitexts: dict[str, RetrievalPairs],
    batch_size: int,
    methods: Sequence[str] = METHODS,
) -> Iterator[Evaluation]:
    """Every bitext, layer and method, raw and centred; both directions count alike.

    An example is a pair, or all pairs of one key. Its prediction is "TARGET SOURCE", the nearest of
    either side counted from 0; "T,T SOURCE,SOURCE" of several pairs.
    """
    for language, bitext in bitexts.items():
        sides = [encoder.encode([pair[k] for pair in bitext.pairs], batch_size) for k in (0, 1)]
        groups = bitext.groups()
        most = max(map(len, groups.values()))
        right = torch.tensor([(groups[key] * most)[:most] for key in bitext.keys])
        members = list(groups.values())
        keys, lengths = list(groups), [_characters(bitext, own) for own in members]
        notes = {
            "empty": bitext.empty,
            "duplicates": bitext.duplicates,
            "truncated": [truncated for _, truncated in sides],
            "sha256": bitext.sha256,
        }
        for layer in range(encoder.layers + 1):
            pair = [vectors[layer].to(exact_device(encoder)) for vectors, _ in sides]
            for centred in (False, True):
                every = retrieve(pair[0], pair[1], right, centred=centred, methods=methods)
                for method, found in every.items():
                    ranks = [each.ranks.amin(1) for each in found]
                    yield Evaluation(
                        language=language,
                        metrics=_metrics(ranks, members),
                        keys=keys,
                        layer=layer,
                        vectors="centred" if centred else "raw",
                        method=method,
                        lengths=lengths,
                        predictions=_predictions(found, members),
                        notes=notes | {"median_rank": [median(each.tolist()) for each in ranks]},
                    )


def _characters(bitext: RetrievalPairs, own: list[int]) -> int:
    return sum(len(text) for k in own for text in bitext.pairs[k])


def _metrics(ranks: list[Tensor], members: list[list[int]]) -> dict[str, list[Score]]:
    """Recall of both directions alike, at 1 the accuracy, and of either; a score for each group."""
    forward, backward = ranks
    hits = {
        "accuracy": ((forward <= 1).double() + (backward <= 1)) / 2,
        "recall@5": ((forward <= 5).double() + (backward <= 5)) / 2,
        "recall@10": ((forward <= 10).double() + (backward <= 10)) / 2,
        "recall@1 forward": (forward <= 1).double(),
        "recall@1 backward": (backward <= 1).double(),
    }
    sizes = torch.tensor(list(map(len, members)))
    owners = torch.arange(len(members)).repeat_interleave(sizes)
    return {
        name: list(map(_score, owners.bincount(each).tolist(), sizes.double().tolist()))
        for name, each in hits.items()
    }


def _predictions(found: tuple[Found, Found], members: list[list[int]]) -> list[str]:
    sides = [list(map(str, each.nearest.tolist())) for each in found]
    return [" ".join(",".join(side[k] for k in own) for side in sides) for own in members]
