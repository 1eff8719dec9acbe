"""What of a word the HMM aligner learns: all of it, or its first or last characters."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weam_ext.common.errors import InputError


@dataclass(frozen=True)
class Stem:
    """`length` code points from the beginning of a word, or from its end; 0 for all of it."""

    length: int = 0
    from_end: bool = False

    def __str__(self) -> str:
        if not self.length:
            return "words"
        return f"{'suffix' if self.from_end else 'prefix'}:{self.length}"

    def of(self, word: str) -> str:
        if not self.length:
            return word
        return word[-self.length :] if self.from_end else word[: self.length]


def parse_stems(stems: str | Iterable[str]) -> tuple[Stem, ...]:
    """The stems of "words", "prefix:4", "suffix:3", of several such, or of a string with commas.

    Raises `InputError` for anything else.
    """
    names = stems.split(",") if isinstance(stems, str) else stems
    if not isinstance(names, Iterable):
        raise InputError(f"stems are words, prefix:N or suffix:N, not {stems!r}")
    parsed = []
    for name in names:
        found = re.fullmatch(r"(prefix|suffix):([1-9][0-9]{0,5})", str(name))
        if not found and name != "words":
            raise InputError(f"stems are words, prefix:N or suffix:N, not {name!r}")
        parsed.append(Stem(int(found[2]), found[1] == "suffix") if found else Stem())
    if not parsed or len(set(parsed)) < len(parsed):
        raise InputError("stems must be given, each once")
    return tuple(parsed)


def apply_stem(stem: Stem, words: Sequence[str], fold_case: bool) -> list[str]:
    """The stem of each word, its case folded (Unicode, chapter 3.13) first if asked for."""
    if fold_case:
        return [stem.of(word.casefold()) for word in words]
    return [stem.of(word) for word in words]
