"""Texts that are prepared, and where they lie."""

from pathlib import Path

from small_tokenizers import tokenizer

from weam_ext.text.bitext import BitextSource
from weam_ext.text.toy_corpus import sentence_pairs

WORD_PIECE = tokenizer("WordPiece")


Texts = list[tuple[str, str]]


def corpus(language: str = "toku", count: int = 300) -> Texts:
    """Sentences with copies, capitals, long pairs, empty sides, and sides of no words."""
    texts = [(pair.source, pair.target) for pair in sentence_pairs(language, count)]
    texts[::7] = [(source.title(), target) for source, target in texts[::7]]
    texts[5::9] = [texts[5]] * len(texts[5::9])
    texts[11::50] = [(" ".join([a] * 16), b) for a, b in texts[11::50]]
    texts[13::60] = [("", b) for _, b in texts[13::60]]
    texts[14::70] = [(a, "\u00a0") for a, _ in texts[14::70]]
    return texts


def write(path: Path, texts: Texts) -> BitextSource:
    path.write_text("".join(f"{source} ||| {target}\n" for source, target in texts))
    return BitextSource(path.stem, (str(path),))
