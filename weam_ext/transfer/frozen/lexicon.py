"""Bilingual lexicon induction: the translation of a word should be the nearest to its vector.

A word is encoded alone and is the mean of its tokens, of every layer (Vulić et al. 2020, arXiv
2010.05731). Gold are dictionaries as MUSE's (Conneau et al. 2018), "source target" lines, under
folders `bli*` or `muse*`, `en-de.txt`; and where there is none of a language, the words that the
gold word alignments link one to one.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from weam_ext.common.errors import InputError
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.files import read_lines, sources
from weam_ext.transfer.frozen.alignment import GoldPair, read_gold_sets
from weam_ext.transfer.frozen.retrieval import NEIGHBOURS, directions
from weam_ext.transfer.languages import language_code
from weam_ext.transfer.results import Evaluation, Score

Dictionary = dict[str, set[str]]
_PLAIN = re.compile(r"[^\W\d_]{2,}")
_FEWEST = 20


def read_dictionaries(data: Path) -> dict[str, Dictionary]:
    """Each English word's translations, by the other language; `InputError` if there is none."""
    found: dict[str, Dictionary] = {}
    for folder in ("bli", "muse"):
        for source in sources(data, folder):
            if match := re.search(r"/en-(?P<lang>[a-z]{2,3})(\.[\d-]+)?\.txt$", source.name):
                dictionary = found.setdefault(language_code(match["lang"]), {})
                for line in read_lines(source):
                    words = line.text.split()
                    if len(words) != 2:
                        raise InputError(f"{line.where}: not 'source target'")
                    dictionary.setdefault(words[0], set()).add(words[1])
    gold = read_gold_sets(data) if any(data.glob("wa-*")) else {}
    for name, pairs in gold.items():
        language = name.rpartition("-")[2] if ":en-" in name else name.split(":")[1].split("-")[0]
        if language not in found:
            dictionary = from_links(pairs, swapped=":en-" not in name)
            if len(dictionary) >= _FEWEST:
                found[language] = dictionary
    if not found:
        raise InputError(f"{data}: neither dictionaries (folders bli*, muse*) nor gold alignments")
    return dict(sorted(found.items()))


def from_links(pairs: list[GoldPair], swapped: bool) -> Dictionary:
    """What words are linked one to one, in lower case: a word's translations at least half as
    frequent as its most frequent one. `swapped`: English is the second side."""
    counts: dict[str, Counter[str]] = {}
    for pair in pairs:
        left, right = Counter(i for i, _ in pair.sure), Counter(j for _, j in pair.sure)
        for i, j in pair.sure:
            if left[i] == right[j] == 1:
                words = pair.source[i].lower(), pair.target[j].lower()
                a, b = reversed(words) if swapped else words
                if _PLAIN.fullmatch(a) and _PLAIN.fullmatch(b):
                    counts.setdefault(a, Counter())[b] += 1
    return {
        word: {other for other, n in seen.items() if 2 * n >= max(seen.values())}
        for word, seen in counts.items()
    }


def evaluate(
    encoder: Encoder, dictionaries: dict[str, Dictionary], batch_size: int
) -> Iterator[Evaluation]:
    """Every language, layer and method, raw and centred: accuracy@1 from English."""
    for language, dictionary in dictionaries.items():
        words = sorted(dictionary)
        others = sorted(set().union(*dictionary.values()))
        sides = [encoder.encode(side, batch_size)[0] for side in (words, others)]
        for layer in range(encoder.layers + 1):
            for centred in (False, True):
                queries, candidates = (directions(side[layer], centred) for side in sides)
                cosines = queries @ candidates.T
                near = min(NEIGHBOURS, *cosines.shape)
                usual = cosines.topk(near, 1).values.mean(1)[:, None] / 2
                usual = usual + cosines.topk(near, 0).values.mean(0) / 2
                for method, scores in (("cosine", cosines), ("csls", cosines - usual)):
                    best = [others[k] for k in scores.mul(2.0**24).round().argmax(1).tolist()]
                    hits = [o in dictionary[w] for w, o in zip(words, best, strict=True)]
                    yield Evaluation(
                        language=language,
                        metrics={"accuracy": [Score(float(hit)) for hit in hits]},
                        keys=words,
                        layer=layer,
                        vectors="centred" if centred else "raw",
                        method=method,
                        lengths=[len(word) for word in words],
                        gold=["\n".join(sorted(dictionary[word])) for word in words],
                        predictions=best,
                    )
