"""What a model knows of words: its best translations, and fast_align's parameter file.

In the file that fast_align's `-p` writes and its `-f` reads, a line `source TAB target TAB log t`
is a word pair and log t(target | source), natural, with six digits; NULL is the source word
"<eps>". The tension, the lengths and the counts are not in it.
"""

import math
from collections.abc import Iterable, Iterator

from weam_ref.diagonal import DiagonalModel, DiagonalSettings

NULL = "<eps>"


def lexicon(model: DiagonalModel, top: int) -> dict[str, list[tuple[str, float]]]:
    """The `top` most probable target words of each source word, with their t, the best first.

    Ties go to the target word that appeared first; source words are in that order too. NULL is left
    out.
    """
    order = {word: k for k, word in enumerate(model.target_words)}
    return {
        source_word: sorted(row.items(), key=lambda cell: (-cell[1], order[cell[0]]))[:top]
        for source_word, row in model.table.items()
        if source_word is not None
    }


def write_parameters(model: DiagonalModel, threshold: float = -4.0) -> Iterator[str]:
    """The lines, without their ends, of the pairs with log t >= -threshold * log max_f t(f | e).

    So with fast_align's -4 a pair stays where t is at least the fourth power of its row's largest:
    a sure word loses all its other translations, a spread-out one keeps most. A t of 0 is left out,
    as fast_align could not read its logarithm.

    Raises ValueError where a source word is "<eps>", which the file cannot tell from NULL.
    """
    if NULL in model.table:
        raise ValueError(f"the source word {NULL} would be read as NULL")
    for source_word, row in model.table.items():
        logarithms = {word: math.log(t) for word, t in row.items() if t > 0.0}
        lowest = -threshold * max(logarithms.values(), default=0.0)
        for target_word, log_t in logarithms.items():
            if log_t >= lowest:
                yield f"{NULL if source_word is None else source_word}\t{target_word}\t{log_t:.6g}"


def read_parameters(
    lines: Iterable[str], settings: DiagonalSettings, mean_length_ratio: float = 1.0
) -> DiagonalModel:
    """The model of such a file: its tension is that of `settings`, its totals are not known.

    A word pair given twice has the last t, and words appeared in the order of the lines.

    Raises ValueError, with the number of the line, for one that is not of that form.
    """
    model = DiagonalModel(settings, settings.tension, mean_length_ratio=mean_length_ratio)
    target_words: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        source_word, target_word, log_t = parsed(line, number)
        row = model.table.setdefault(None if source_word == NULL else source_word, {})
        row[target_word] = math.exp(log_t)
        target_words[target_word] = None
    model.target_words = list(target_words)
    return model


def parsed(line: str, number: int) -> tuple[str, str, float]:
    """The three fields of line `number`."""
    try:
        source_word, target_word, text = line.rstrip("\n").split("\t")
        log_t = float(text)
    except ValueError:
        log_t = math.nan
    if not log_t <= 0.0:
        raise ValueError(
            f"line {number}: not a source word, a target word and log t set off by tabs"
        )
    return source_word, target_word, log_t
