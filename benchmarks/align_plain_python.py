"""Links of a text by the plain-Python twin: `python align_plain_python.py METHOD TEXT > LINKS`."""

import sys

import weam_ref.diagonal
import weam_ref.hmm
import weam_ref.symmetrize
from anyascii import anyascii

from weam_ext.common.errors import run
from weam_ext.text.bitext import BitextSource, read_bitext
from weam_ext.text.pharaoh import Link, format_links

Side = list[list[str]]


def diagonal_links(source: Side, target: Side, method: str) -> list[list[Link]]:
    """fast_align's model, both directions, combined."""
    forward = weam_ref.diagonal.fit(source, target).align(source, target)
    backward = weam_ref.diagonal.fit(target, source).align(target, source)
    return [
        weam_ref.symmetrize.symmetrize(there, [(i, j) for j, i in back], method)
        for there, back in zip(forward, backward, strict=True)
    ]


def hmm_links(source: Side, target: Side) -> list[list[Link]]:
    """The HMM of whole words with their case, and what is more probable than not."""
    model = weam_ref.hmm.fit(source, target, spell=lambda word: anyascii(word).lower())
    return weam_ref.hmm.align([model], [list(zip(source, target, strict=True))], 0.5)


def main() -> None:
    method, text = sys.argv[1:]
    pairs = [(s.split(), t.split()) for s, t in read_bitext(BitextSource("text", (text,)))]
    for links in diagonal_links([s for s, _ in pairs], [t for _, t in pairs], method):
        print(format_links(links))


if __name__ == "__main__":
    run("benchmarks/align_plain_python.py", main)
