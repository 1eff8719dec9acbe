"""SimAlign on a file of sentence pairs: it is a library, and this is its program.

    python benchmarks/peer_simalign.py TEXT ENCODER

Run by the Python that SimAlign is installed for. By its default settings, but without the third of
its methods, a maximum-weight matching, which alone takes longer than all else. Writes the files
inter and itermax into the working directory.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

from simalign import SentenceAligner

METHODS = {"a": "inter", "i": "itermax"}


def main() -> None:
    text, encoder = sys.argv[1:]
    aligner = SentenceAligner(model=encoder, matching_methods="".join(METHODS))
    with ExitStack() as stack:
        lines = stack.enter_context(Path(text).open(encoding="utf-8"))
        files = {name: stack.enter_context(Path(name).open("w")) for name in METHODS.values()}
        for line in lines:
            source, target = line.rstrip("\n").split(" ||| ")
            found = aligner.get_word_aligns(source.split(), target.split())
            for name, file in files.items():
                file.write(" ".join(f"{i}-{j}" for i, j in found[name]) + "\n")


if __name__ == "__main__":
    main()
