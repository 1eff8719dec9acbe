"""Compare the aligner with the original programs on a text with gold links, as a Markdown table.

    python benchmarks/fidelity.py TEXT GOLD FAST_ALIGN ATOOLS

TEXT holds 'source ||| target' lines of which the last have gold links in GOLD; FAST_ALIGN and
ATOOLS are the original programs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from weam_ext.align import DIRECTIONS, HEURISTICS, Aligner, Links, score
from weam_ext.corpus import BitextSource, parse_links, read_bitext, read_gold, read_lines


def original_links(text: str, fast_align: str, atools: str, folder: Path) -> dict[str, Links]:
    """Both directions by fast_align on one thread, and their combinations by atools."""

    def run(name: str, *command: str) -> None:
        with (folder / name).open("wb") as out:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(
                command, stdout=out, stderr=subprocess.DEVNULL, env=environment, check=True
            )

    run("forward", fast_align, "-i", text, "-d", "-o", "-v")
    run("backward", fast_align, "-i", text, "-d", "-o", "-v", "-r")
    forward, backward = (str(folder / name) for name in DIRECTIONS)
    for name in HEURISTICS:
        run(name, atools, "-i", forward, "-j", backward, "-c", name)
    names = DIRECTIONS + HEURISTICS
    return {
        name: Links.from_lists(parse_links(line, name) for line in read_lines(str(folder / name)))
        for name in names
    }


def f1(ours: Links, theirs: Links) -> float:
    """Harmonic mean of precision and recall, which is symmetric."""
    both = sum(len(set(a) & set(b)) for a, b in zip(ours, theirs, strict=True))
    return 2 * both / (len(ours.pairs) + len(theirs.pairs))


def main() -> None:
    text, gold_path, fast_align, atools = sys.argv[1:]
    gold = read_gold(gold_path)
    source, target = zip(*read_bitext(BitextSource("text", (text,))), strict=True)
    with tempfile.TemporaryDirectory() as folder:
        originals = original_links(text, fast_align, atools, Path(folder))
    print("| links | F1 with the original's | AER | AER of the original's |\n|---|---|---|---|")
    for name, theirs in originals.items():
        ours = Aligner(heuristic=name).fit_align(source, target)
        scores = [score(list(links)[-len(gold) :], gold).aer for links in (ours, theirs)]
        print(f"| {name} | {f1(ours, theirs):.5f} | {scores[0]:.4f} | {scores[1]:.4f} |")


if __name__ == "__main__":
    main()
