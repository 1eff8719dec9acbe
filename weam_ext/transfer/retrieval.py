"""Zero-shot sentence retrieval: the translation of a sentence should be its nearest neighbour.

Each sentence is encoded alone; its vector is the mean over its ordinary tokens, of every layer in
turn; the nearest neighbour is the one with the largest cosine. The task is Artetxe and Schwenk's
(2019, arXiv 1812.10464), with encoders as they are in XTREME (Hu et al. 2020, arXiv 2003.11080).
Nothing is trained, and no layer is chosen here.

Centred vectors have the mean vector of their language removed, which tells how much of a poor
result is a mere language offset (Libovický, Rosa and Fraser 2020, arXiv 2004.05160). That mean is
taken over the sentences of the test itself, which are translations of each other: it is a
diagnosis more than a way to retrieve.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from weam_ext.corpus import BitextSource, read_bitext
from weam_ext.errors import InputError
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.results import RetrievalResult, RetrievalRun, pack_hits

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
    bitext = retrieval_pairs(source.name, read_bitext(source))
    if len(bitext.pairs) < 2:
        raise InputError(
            f"{' and '.join(source.paths)}: {len(bitext.pairs)} sentence pairs are left to "
            f"retrieve among ({bitext.empty} empty, {bitext.duplicates} duplicates)"
        )
    return bitext


@dataclass(frozen=True)
class Hits:
    """Which sentences found their translation, bool [n] on the host."""

    forward: Tensor
    """From source to target."""
    backward: Tensor


def retrieval_hits(source: Tensor, target: Tensor, *, centred: bool) -> Hits:
    """Whether the nearest neighbour by cosine of each of n vectors is its own pair's.

    source, target: [n, H], row k of both being pair k; computed in float64 on their device, in
    blocks. `centred` removes each side's mean first. Ties go to the lowest index, and a zero vector
    is as far from all others (cosine 0), so that an encoder which says the same of every sentence
    scores 1/n. Equivalent to `weam_ref.retrieval.retrieval_accuracy`.
    """
    queries, candidates = (_directions(side, centred) for side in (source, target))
    count, device = len(queries), queries.device
    own = torch.arange(count, device=device)
    forward = torch.empty(count, dtype=torch.bool, device=device)
    best = torch.full((count,), -torch.inf, dtype=torch.float64, device=device)
    nearest = torch.empty(count, dtype=torch.long, device=device)
    rows = max(1, _CELLS // count)
    for start in range(0, count, rows):
        block = slice(start, start + rows)
        cosines = (queries[block] @ candidates.T).mul_(_GRID).round_()
        forward[block] = cosines.argmax(1) == own[block]
        values, where = cosines.max(0)
        closer = values > best  # not where equal: the lower index came before
        best = torch.where(closer, values, best)
        nearest = torch.where(closer, where + start, nearest)
    return Hits(forward.cpu(), (nearest == own).cpu())


def _directions(vectors: Tensor, centred: bool) -> Tensor:
    vectors = vectors.double()
    if centred:
        vectors = vectors - vectors.mean(0)
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / lengths.clamp(min=torch.finfo(torch.float64).tiny)


def evaluate(
    encoder: Encoder, run: RetrievalRun, bitext: RetrievalPairs, batch_size: int
) -> list[RetrievalResult]:
    """The records of an encoder on a bitext: every layer, raw and centred."""
    sources, truncated_source = encoder.encode([pair[0] for pair in bitext.pairs], batch_size)
    targets, truncated_target = encoder.encode([pair[1] for pair in bitext.pairs], batch_size)
    # float64 is for processors and CUDA only.
    device = encoder.device if encoder.device.type == "cuda" else torch.device("cpu")
    results = []
    for layer in range(encoder.layers + 1):
        sides = sources[layer].to(device), targets[layer].to(device)
        for centred in (False, True):
            hits = retrieval_hits(*sides, centred=centred)
            results.append(
                RetrievalResult(
                    **run._asdict(),
                    directory=str(encoder.directory.resolve()),
                    pairs=len(bitext.pairs),
                    empty=bitext.empty,
                    duplicates=bitext.duplicates,
                    truncated_source=truncated_source,
                    truncated_target=truncated_target,
                    layers=encoder.layers,
                    layer=layer,
                    centred=centred,
                    forward=hits.forward.double().mean().item(),
                    backward=hits.backward.double().mean().item(),
                    hits_forward=pack_hits(hits.forward.numpy()),
                    hits_backward=pack_hits(hits.backward.numpy()),
                )
            )
    return results
