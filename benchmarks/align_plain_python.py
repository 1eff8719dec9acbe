"""Links of a text by the plain-Python twin: `python align_plain_python.py METHOD TEXT > LINKS`."""

import sys

import weam_ref.diagonal
import weam_ref.symmetrize

from weam_ext.corpus import BitextSource, format_links, read_bitext
from weam_ext.errors import run


def main() -> None:
    method, text = sys.argv[1:]
    pairs = [(s.split(), t.split()) for s, t in read_bitext(BitextSource("text", (text,)))]
    source, target = [s for s, _ in pairs], [t for _, t in pairs]
    forward = weam_ref.diagonal.fit(source, target).align(source, target)
    backward = weam_ref.diagonal.fit(target, source).align(target, source)
    for there, back in zip(forward, backward, strict=True):
        swapped = [(i, j) for j, i in back]
        print(format_links(weam_ref.symmetrize.symmetrize(there, swapped, method)))


if __name__ == "__main__":
    run("benchmarks/align_plain_python.py", main)
