"""Word links as text: Pharaoh's `i-j`, and gold links with sure and possible ones."""

import re
from collections.abc import Iterable

from weam_ext.common.errors import InputError
from weam_ext.text.lines import read_lines, where

Link = tuple[int, int]
_LINK = re.compile(r"([0-9]{1,9})([-?])([0-9]{1,9})")


# ------------------------------------------------------------------------------------------ links


def format_links(links: Iterable[Link]) -> str:
    """One line of Pharaoh's format: "i-j i-j ...", source word first, both from 0."""
    return " ".join(f"{i}-{j}" for i, j in links)


def parse_links(line: str, where: str) -> list[Link]:
    """The links of a line of "i-j", sorted, each once.

    Raises `InputError`, beginning with `where` ("FILE, line N"), for anything else.
    """
    links = set()
    for token in line.split():
        link = _LINK.fullmatch(token)
        if not link or link[2] != "-":
            raise InputError(f"{where}: {token!r} is not a link 'i-j'")
        links.add((int(link[1]), int(link[3])))
    return sorted(links)


def read_gold(path: str) -> list[tuple[set[Link], set[Link]]]:
    """The (sure, possible) links of every sentence: `i-j` is both, `i?j` is only possible.

    Raises `InputError` as `read_lines` does, and for a token that is neither.
    """
    sentences = []
    for number, line in enumerate(read_lines(path), 1):
        sure: set[Link] = set()
        possible: set[Link] = set()
        for token in line.split():
            link = _LINK.fullmatch(token)
            if not link:
                raise InputError(f"{where(path, number)}: {token!r} is neither 'i-j' nor 'i?j'")
            possible.add((int(link[1]), int(link[3])))
            if link[2] == "-":
                sure.add((int(link[1]), int(link[3])))
        sentences.append((sure, possible))
    return sentences
