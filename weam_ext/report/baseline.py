"""What answers without any knowledge score, against which every score is to be read."""

from collections import Counter

from weam_ext.transfer.results import UNTAGGED, Row

CHANCE, FREQUENT = "chance", "most frequent"


def baselines(row: Row, metric: str) -> dict[str, float]:
    """What answering at random and always giving the most frequent answer score, as shares.

    Only accuracy has them: the labels are those that occur in the gold answers. Where there are
    none, as in retrieval, one of all candidates is right.
    """
    if metric != "accuracy":
        return {}
    if not row.gold:
        return {CHANCE: 1 / len(row.keys)}
    _, wholes = row.metrics[metric]
    # A tag for each word, or a label for each example; a lexicon has several right answers.
    gold = row.gold
    if not (wholes == 1).all():
        gold = [tag for tags in gold for tag in tags.split() if tag != UNTAGGED]
    counts = Counter(answer for answers in gold for answer in answers.split("\n"))
    return {
        CHANCE: counts.total() / len(gold) / len(counts),
        FREQUENT: max(counts.values()) / len(gold),
    }
