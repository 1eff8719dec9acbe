"""Make the files in this folder again: `python make.py FOLDER_OF_FAST_ALIGNS_BINARIES`."""

import hashlib
import json
import lzma
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from weam_ext.invented import LANGUAGES, sentence_pairs

HERE = Path(__file__).parent
PAIRS = 2000
SYMMETRISED = "toku"
HEURISTICS = ("intersect", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and")
DIRECTIONS: dict[str, list[str]] = {"forward": [], "reverse": ["-r"]}
FIGURES = {
    "log_e_likelihood": r"log_e likelihood: (\S+)",
    "cross_entropy": r"cross entropy: (\S+)",
    "perplexity": r"perplexity: (\S+)",
    "posterior_p0": r"posterior p0: (\S+)",
    "posterior_al_feat": r"posterior al-feat: (\S+)",
}


def call(*command: str | Path) -> tuple[bytes, str]:
    done = subprocess.run(
        command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return done.stdout, done.stderr.decode()


def figures(log: str) -> dict[str, object]:
    """What fast_align prints about its five iterations; the tension is set after 2, 3 and 4."""
    parts = log.split("ITERATION ")[1:]
    tensions = [float(each) for each in re.findall(r"final tension: (\S+)", log)]
    iterations = [
        {name: float(re.findall(pattern, part)[0]) for name, pattern in FIGURES.items()}
        for part in parts
    ]
    return {"iterations": iterations, "tensions": tensions, "final_tension": tensions[-1]}


def keep(name: str, text: bytes) -> None:
    (HERE / f"{name}.xz").write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


def main() -> None:
    build = Path(sys.argv[1])
    logs: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for language in LANGUAGES[1:]:
            corpus = Path(folder, language)
            pairs = sentence_pairs(language, PAIRS)
            text = "".join(f"{pair.source} ||| {pair.target}\n" for pair in pairs).encode()
            corpus.write_bytes(text)
            logs[language] = {"corpus_sha256": hashlib.sha256(text).hexdigest()}
            for direction, flags in DIRECTIONS.items():
                links, log = call(build / "fast_align", "-i", corpus, "-d", "-o", "-v", *flags)
                Path(folder, direction).write_bytes(links)
                keep(f"{language}.{direction}", links)
                logs[language][direction] = figures(log)
            if language == SYMMETRISED:
                both = "-i", Path(folder, "forward"), "-j", Path(folder, "reverse")
                for heuristic in HEURISTICS:
                    links, _ = call(build / "atools", *both, "-c", heuristic)
                    keep(f"{language}.{heuristic}", links)
    (HERE / "log.json").write_text(json.dumps(logs, indent=1) + "\n")


if __name__ == "__main__":
    main()
