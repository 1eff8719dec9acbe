"""Symmetrisation of two word alignments of one sentence pair, as fast_align's atools does it.

The heuristics are those of Koehn, Och and Marcu, "Statistical Phrase-Based Translation",
NAACL 2003, on the alignments of Och and Ney, "A Systematic Comparison of Various Statistical
Alignment Models", Computational Linguistics 29(1), 2003.
"""

from collections.abc import Iterable

Link = tuple[int, int]

METHODS = ("intersect", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and")

NEIGHBOURS = [(di, dj) for di in (-1, 0, 1) for dj in (-1, 0, 1) if (di, dj) != (0, 0)]


def symmetrize(forward: Iterable[Link], backward: Iterable[Link], method: str) -> list[Link]:
    """Combine the links (i, j) of P(target | source) and P(source | target) into one sorted list.

    grow-diag starts from the intersection and adds links of the union that touch a link already
    taken, diagonally too, and cover a word not covered yet. The final steps then add links of
    `forward`, next of `backward`, that cover at least one uncovered word (grow-diag-final) or two
    (grow-diag-final-and). Every step scans its candidates in the order of (i, j) and sees at once
    what it has added, so the result depends on that order: exchanging source and target may change
    it, and with the final steps so may exchanging forward and backward.

    Raises ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown symmetrisation method {method!r}: expected {', '.join(METHODS)}")
    first, second = set(forward), set(backward)
    if method == "union":
        return sorted(first | second)
    alignment = Alignment(first & second)
    if method == "intersect":
        return sorted(alignment.links)
    alignment.grow(first | second)
    if method != "grow-diag":
        words_to_cover = 2 if method == "grow-diag-final-and" else 1
        alignment.finish(first, words_to_cover)
        alignment.finish(second, words_to_cover)
    return sorted(alignment.links)


class Alignment:
    """Links taken so far, and the words of each side that they cover."""

    def __init__(self, links: set[Link]) -> None:
        self.links = set(links)
        self.covered_source = {i for i, _ in links}
        self.covered_target = {j for _, j in links}

    def add(self, link: Link) -> None:
        self.links.add(link)
        self.covered_source.add(link[0])
        self.covered_target.add(link[1])

    def newly_covered(self, link: Link) -> int:
        """How many of the link's two words are uncovered: 0, 1 or 2."""
        return (link[0] not in self.covered_source) + (link[1] not in self.covered_target)

    def touches(self, link: Link) -> bool:
        return any((link[0] + di, link[1] + dj) in self.links for di, dj in NEIGHBOURS)

    def grow(self, candidates: set[Link]) -> None:
        """Pass over the candidates until a pass adds nothing."""
        growing = True
        while growing:
            growing = False
            for link in sorted(candidates - self.links):
                if self.newly_covered(link) >= 1 and self.touches(link):
                    self.add(link)
                    growing = True

    def finish(self, candidates: set[Link], words_to_cover: int) -> None:
        """One pass over the candidates, neighbours or not."""
        for link in sorted(candidates - self.links):
            if self.newly_covered(link) >= words_to_cover:
                self.add(link)
