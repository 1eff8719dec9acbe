"""The HMM of word alignment, both directions in agreement, in plain loops.

Vogel, Ney & Tillmann, "HMM-based word alignment in statistical translation", 1996; NULL states of
Och & Ney, "A systematic comparison of various statistical alignment models", 2003, section 2.2;
agreement of Liang, Taskar & Klein, "Alignment by agreement", 2006.

The states are (i, real) and (i, NULL) for i = 0..I, where 0 stands before the first given word and
is never real. Of a pair e of I words and f of J words,

    P(j is (i, real) | j-1 is at k) = (1 - p0) w(i - k) / sum_{i' = 1..I} w(i' - k)  t(f_j | e_i)
    P(j is (i, NULL) | j-1 is at k) = p0 [i = k]  t(f_j | NULL)

the sentence starts at 0, and from its last state k there is a factor w(I + 1 - k).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from weam_ref import diagonal
from weam_ref.diagonal import DiagonalModel, DiagonalSettings, Iteration, Link, Pair, Table, Totals
from weam_ref.special import log_poisson

BAND = 10
SHARED = 5.0  # counts of the mean fertility that those of each word are smoothed with
LONGEST = 64  # letters of a word that are looked at
LEAST = 1e-30  # no t counts as less
JUMP_PAIRS = 20_000  # jumps are counted in about so many pairs of a larger corpus

Matrix = list[list[float]]
Fertilities = dict[str, list[float]]
Hints = dict[str, dict[str, float]]  # counts seen beforehand


@dataclass(frozen=True)
class HmmSettings:
    """Of the diagonal model's iterations, and of this one's; for a small text."""

    start_iterations: int = 3
    iterations: int = 2
    p0: float = 0.06
    alpha: float = 0.13
    spelling: float = 3.0
    fertility: bool = True


@dataclass
class Jumps:
    """w(distance), but for a factor: all distances beyond the band share `far`."""

    near: dict[int, float] = field(
        default_factory=lambda: {d: 1 / (1 + abs(d - 1)) for d in range(-BAND, BAND + 1)}
    )
    far: float = 1 / (2 + BAND) / 2

    def __call__(self, distance: int) -> float:
        return self.near.get(distance, self.far)


@dataclass
class Chain:
    """One direction of the model on one pair: what the forward-backward algorithm found.

    posteriors: of each generated word (outer list) over [NULL, given words] (inner list).
    jumps: the expected number of jumps by distance; those from the start count, those to the end
        do not.
    """

    posteriors: Matrix
    log_probability: float
    jumps: dict[int, float]


@dataclass
class HmmModel:
    """`forward` is P(target | source), `backward` P(source | target); the others in this order.

    `fertilities` are the expected counts of 0, 1, 2 and more links of each given word; they are
    empty before the first iteration, and where they are not modelled.
    """

    settings: HmmSettings
    forward: DiagonalModel
    backward: DiagonalModel
    jumps: tuple[Jumps, Jumps] = field(default_factory=lambda: (Jumps(), Jumps()))
    fertilities: tuple[Fertilities, Fertilities] = field(default_factory=lambda: ({}, {}))

    def chains(self, source: Sequence[str], target: Sequence[str]) -> tuple[Chain, Chain]:
        return self.chain(0, source, target), self.chain(1, target, source)

    def chain(self, direction: int, given: Sequence[str], generated: Sequence[str]) -> Chain:
        """Its probability is that without fertilities."""
        half, jumps, p0 = self._direction(direction)
        first = run_chain(half, jumps, p0, given, generated)
        if not self.fertilities[direction]:
            return first
        weights = fertility_weights(self.fertilities[direction], first.posteriors, given)
        second = run_chain(half, jumps, p0, given, generated, weights)
        return replace(second, log_probability=first.log_probability)

    def _direction(self, direction: int) -> tuple[DiagonalModel, Jumps, float]:
        return (
            (self.forward, self.backward)[direction],
            self.jumps[direction],
            self.settings.p0,
        )

    def link_posteriors(self, source: Sequence[str], target: Sequence[str]) -> Matrix:
        """The mean of both directions' posteriors, [source words][target words]."""
        forward, backward = (chain.posteriors for chain in self.chains(source, target))
        return [
            [(forward[j][i + 1] + backward[i][j + 1]) / 2 for j in range(len(target))]
            for i in range(len(source))
        ]

    def log_probability(
        self, direction: int, source: Sequence[str], target: Sequence[str]
    ) -> float:
        """log P(J | I) + log P(f | e) of direction 0, or 1; see `DiagonalModel.log_probability`."""
        if not source or not target:
            return math.nan
        sides, model = (source, target), (self.forward, self.backward)[direction]
        given, generated = sides[direction], sides[1 - direction]
        mean = 0.05 + len(given) * model.mean_length_ratio
        found = self.chains(source, target)[direction].log_probability
        return found + log_poisson(len(generated), mean)

    def best_path(self, direction: int, source: Sequence[str], target: Sequence[str]) -> list[Link]:
        """Viterbi's links (source word, target word) of direction 0, or 1."""
        half, jumps, p0 = self._direction(direction)
        given, generated = ((source, target), (target, source))[direction]
        weights = None
        if fertilities := self.fertilities[direction]:
            first = run_chain(half, jumps, p0, given, generated)
            weights = fertility_weights(fertilities, first.posteriors, given)
        path = best_path(half, jumps, p0, given, generated, weights)
        links = [(i, j) for j, i in enumerate(path) if i is not None]
        return sorted(links if direction == 0 else [(j, i) for i, j in links])


def align(
    models: Sequence[HmmModel],
    texts: Sequence[Sequence[Pair]],
    threshold: float,
) -> list[list[Link]]:
    """Links whose mean posterior under all models is above the threshold.

    `texts[m]` is the text in the words of model m. A pair with an empty side has no links.
    """
    links = []
    for versions in zip(*texts, strict=True):
        source, target = versions[0]
        found = []
        if source and target:
            matrices = [
                model.link_posteriors(*pair) for model, pair in zip(models, versions, strict=True)
            ]
            for i in range(len(source)):
                for j in range(len(target)):
                    mean = sum(matrix[i][j] for matrix in matrices) / len(matrices)
                    if mean > threshold:
                        found.append((i, j))
        links.append(found)
    return links


# --------------------------------------------------------------------------------------- one pair


def transitions(jumps: Jumps, p0: float, words: int) -> Matrix:
    """(1 - p0) w(i - k) / sum_i' w(i' - k) for k = 0..I (outer) and i = 0..I, which is 0 at 0."""
    rows = []
    for k in range(words + 1):
        weights = [jumps(i - k) for i in range(1, words + 1)]
        rows.append([0.0, *((1 - p0) * weight / sum(weights) for weight in weights)])
    return rows


def numbers_of_links(posteriors: Sequence[float]) -> list[float]:
    """The probabilities that 0, 1, 2 and more of some words are linked, each independently."""
    found = [1.0, 0.0, 0.0, 0.0]
    for p in posteriors:
        none, one, two, more = found
        found = [none * (1 - p), one * (1 - p) + none * p, two * (1 - p) + one * p, more + two * p]
    return found


def fertility_ratios(counts: Fertilities) -> dict[str | None, list[float]]:
    """Of each word, and of unknown ones under None: n + 1 links to n, for n = 0, 1, 2.

    To the counts of each word SHARED of the mean distribution of all words are added.
    """
    known = [row for row in counts.values() if sum(row) > 0]
    means = [sum(row[n] / sum(row) for row in known) + 0.01 for n in range(4)]
    shared = [SHARED * mean / (len(known) + 0.04) for mean in means]
    ratios: dict[str | None, list[float]] = {}
    for word, row in [*counts.items(), (None, [0.0] * 4)]:
        values = [a + b for a, b in zip(row, shared, strict=True)]
        ratios[word] = [min(max(b / a, 0.02), 50.0) for a, b in pairwise(values)]
    return ratios


def fertility_weights(counts: Fertilities, posteriors: Matrix, given: Sequence[str]) -> Matrix:
    """What each t is multiplied by, [generated words][given words].

    The expected ratio of its word's number of links with this one to that without it (Brown et al.
    1993, model 3), where the other words are linked by their posteriors, each independently.
    """
    ratios = fertility_ratios(counts)
    weights = [[0.0] * len(given) for _ in posteriors]
    for i, e in enumerate(given):
        column = [row[i + 1] for row in posteriors]
        for j in range(len(column)):
            none, one, *more = numbers_of_links(column[:j] + column[j + 1 :])
            expected = zip((none, one, sum(more)), ratios.get(e, ratios[None]), strict=True)
            weights[j][i] = sum(p * ratio for p, ratio in expected)
    return weights


def emissions(
    model: DiagonalModel,
    given: Sequence[str],
    generated: Sequence[str],
    weights: Matrix | None = None,
) -> tuple[Matrix, list[float]]:
    """t of each generated word, weighed: over states 0..I, and under NULL."""
    real = [[0.0, *(max(model.translation(e, f), LEAST) for e in given)] for f in generated]
    if weights:
        for row, factors in zip(real, weights, strict=True):
            row[1:] = [max(t * w, LEAST) for t, w in zip(row[1:], factors, strict=True)]
    return real, [max(model.translation(None, f), LEAST) for f in generated]


def run_chain(
    model: DiagonalModel,
    jumps: Jumps,
    p0: float,
    given: Sequence[str],
    generated: Sequence[str],
    weights: Matrix | None = None,
) -> Chain:
    """The forward-backward algorithm; `weights` are those of `emissions`."""
    states = range(len(given) + 1)
    step = transitions(jumps, p0, len(given))
    real_t, null_t = emissions(model, given, generated, weights)
    end = [jumps(len(given) + 1 - k) for k in states]

    before = [1.0] + [0.0] * len(given)
    forward: list[list[float]] = []  # of (i, real) and (i, NULL) together, before each word
    real: Matrix = []
    for j in range(len(generated)):
        forward.append(before)
        enter = [real_t[j][i] * sum(before[k] * step[k][i] for k in states) for i in states]
        real.append(enter)
        before = [enter[i] + p0 * null_t[j] * before[i] for i in states]
    total = sum(before[k] * end[k] for k in states)

    after = end
    posteriors: Matrix = []
    counts: dict[int, float] = {}
    for j in reversed(range(len(generated))):
        row = [real[j][i] * after[i] / total for i in states]
        null = sum(forward[j][k] * p0 * null_t[j] * after[k] for k in states) / total
        posteriors.insert(0, [null, *row[1:]])
        for k in states:
            for i in states[1:]:
                share = forward[j][k] * step[k][i] * real_t[j][i] * after[i] / total
                counts[i - k] = counts.get(i - k, 0.0) + share
        after = [
            sum(step[k][i] * real_t[j][i] * after[i] for i in states) + p0 * null_t[j] * after[k]
            for k in states
        ]
    return Chain(posteriors, math.log(total), counts)


def best_path(
    model: DiagonalModel,
    jumps: Jumps,
    p0: float,
    given: Sequence[str],
    generated: Sequence[str],
    weights: Matrix | None = None,
) -> list[int | None]:
    """Viterbi: of each generated word its given word, or None for NULL.

    Of equally probable ones, NULL goes before a word and the lowest position before others.
    """
    states = range(len(given) + 1)
    step = transitions(jumps, p0, len(given))
    real_t, null_t = emissions(model, given, generated, weights)
    best = [1.0] + [0.0] * len(given)
    back: list[list[int | None]] = []  # where the word's real state was entered from
    for j in range(len(generated)):
        row: list[float] = []
        came: list[int | None] = []
        for i in states:
            source = max(states, key=lambda k: best[k] * step[k][i])  # the lowest of equal ones
            enter = real_t[j][i] * best[source] * step[source][i]
            stay = p0 * null_t[j] * best[i]
            row.append(max(enter, stay))
            came.append(source if enter > stay else None)
        best = row
        back.append(came)
    state = max(states, key=lambda k: best[k] * jumps(len(given) + 1 - k))
    path: list[int | None] = []
    for came in reversed(back):
        source_state = came[state]
        path.insert(0, None if source_state is None else state - 1)
        state = state if source_state is None else source_state
    return path


# --------------------------------------------------------------------------------------- training


def fit(
    source: Sequence[Sequence[str]],
    target: Sequence[Sequence[str]],
    settings: HmmSettings = HmmSettings(),
    init: HmmModel | None = None,
    dictionary: Mapping[tuple[str, str], float] | None = None,
    spell: Callable[[str], str] = str.lower,
) -> HmmModel:
    """Train both directions; sentence k of `source` is paired with sentence k of `target`.

    The diagonal model comes first, every iteration with an update. `init` is trained further, as in
    `weam_ref.diagonal.fit`: the counts of its text stay beside those of the new one. `dictionary`
    and the likeness of words, as `spell` writes them, give counts to word pairs that `init` has not
    met.
    """
    pairs = list(zip(source, target, strict=True))
    forward_hints = hints(pairs, settings.spelling, dictionary or {}, spell, init)
    start = DiagonalSettings(iterations=settings.start_iterations + 1)  # the last only measures
    halves = [
        diagonal.fit(given, generated, start, kept, seen)
        for given, generated, kept, seen in (
            (source, target, init.forward if init else None, forward_hints),
            (target, source, init.backward if init else None, transposed(forward_hints)),
        )
    ]
    for half in halves:
        half.history.pop()
        half.settings = DiagonalSettings(settings.start_iterations, alpha=settings.alpha)
    model = HmmModel(settings, halves[0], halves[1], init.jumps if init else (Jumps(), Jumps()))
    old = init.fertilities if init and settings.fertility else ({}, {})
    model.fertilities = old
    kept_counts = tuple(
        diagonal.recovered_counts(half) if half else {}
        for half in (init.forward if init else None, init.backward if init else None)
    )
    for _ in range(settings.iterations):
        counts, jumps, measures, fertilities = expectation(model, pairs)
        for e, row in forward_hints.items():
            for f, count in row.items():
                add(counts[0], e, f, count)
                add(counts[1], f, e, count)
        for half, new, kept, measured in zip(halves, counts, kept_counts, measures, strict=True):
            update(half, diagonal.sum_of_counts(kept, new))
            half.history.append(measured)
        model.jumps = jumps
        if settings.fertility:
            model.fertilities = (added(old[0], fertilities[0]), added(old[1], fertilities[1]))
    return model


def hints(
    pairs: Sequence[Pair],
    spelling: float,
    dictionary: Mapping[tuple[str, str], float],
    spell: Callable[[str], str],
    init: HmmModel | None,
) -> Hints:
    """What word pairs that meet count beforehand: `spelling` times their likeness and the
    dictionary's; nothing, if `init` has met them."""
    found: Hints = {}
    met = init.forward.table if init else {}
    for e, f in {(e, f) for source, target in pairs for e in source for f in target}:
        count = spelling * likeness(spell(e), spell(f)) + dictionary.get((e, f), 0.0)
        if count > 0 and f not in met.get(e, {}):
            found.setdefault(e, {})[f] = count
    return found


def transposed(table: Hints) -> Hints:
    found: Hints = {}
    for e, row in table.items():
        for f, value in row.items():
            found.setdefault(f, {})[e] = value
    return found


def likeness(a: str, b: str) -> float:
    """How alike two words are, from 0 to 1: 1 - distance / length, 0.4 of which is chance.

    Levenshtein's distance (1966) over the length of the longer; words of fewer than four letters
    prove less.
    """
    a, b = a[:LONGEST], b[:LONGEST]
    length = max(len(a), len(b))
    if not length:
        return 0.0
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        above, row = row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other)))
    return max(0.0, (1 - row[-1] / length - 0.4) / 0.6) * min(1.0, length / 4)


def added(a: Fertilities, b: Fertilities) -> Fertilities:
    """Of every word of either; the same order as that of first appearance."""
    none = [0.0] * 4
    return {
        word: [x + y for x, y in zip(a.get(word, none), b.get(word, none), strict=True)]
        for word in [*a, *(word for word in b if word not in a)]
    }


def update(half: DiagonalModel, counts: Table) -> None:
    """The M-step of one direction, by variational Bayes."""
    half.table = diagonal.maximisation(counts, half.settings)
    totals: Totals = {word: sum(row.values()) for word, row in counts.items()}
    half.totals = totals


def expectation(
    model: HmmModel, pairs: Sequence[Pair]
) -> tuple[
    tuple[Table, Table],
    tuple[Jumps, Jumps],
    tuple[Iteration, Iteration],
    tuple[Fertilities, Fertilities],
]:
    """The E-step: expected counts, the jumps that follow from them, what it measured, and the
    expected counts of fertilities.

    A link counts, in both directions, the product of its two posteriors (Liang et al., equation 6);
    NULL what that leaves of each generated word.
    """
    counts: tuple[Table, Table] = ({}, {})
    jumps: tuple[dict[int, float], dict[int, float]] = ({}, {})
    fertilities: tuple[Fertilities, Fertilities] = ({}, {})
    likelihoods, nulls, tokens = [0.0, 0.0], [0.0, 0.0], [0, 0]
    stride = -(-len(pairs) // JUMP_PAIRS)
    for number, (source, target) in enumerate(pairs):
        if not source or not target:
            continue
        chains = model.chains(source, target)
        both = agreement(chains[0].posteriors, chains[1].posteriors)
        sides = (source, target)
        for d in (0, 1):
            for i, word in enumerate(sides[d]):
                numbers = numbers_of_links([row[i + 1] for row in chains[d].posteriors])
                so_far = fertilities[d].get(word, [0.0] * 4)
                fertilities[d][word] = [a + b for a, b in zip(so_far, numbers, strict=True)]
            likelihoods[d] += chains[d].log_probability
            tokens[d] += len(sides[1 - d])
            if number % stride == 0:
                for distance, count in chains[d].jumps.items():
                    jumps[d][distance] = jumps[d].get(distance, 0.0) + count
        for i, e in enumerate(source):
            for j, f in enumerate(target):
                add(counts[0], e, f, both[i][j])
                add(counts[1], f, e, both[i][j])
        for j, f in enumerate(target):
            nulls[0] += add(counts[0], None, f, 1 - sum(row[j] for row in both))
        for i, e in enumerate(source):
            nulls[1] += add(counts[1], None, e, 1 - sum(both[i]))
    found = [
        Iteration(
            likelihoods[d],
            math.exp(-likelihoods[d] / max(tokens[d], 1)),
            nulls[d] / max(tokens[d], 1),
            0.0,
            (model.forward, model.backward)[d].tension,
        )
        for d in (0, 1)
    ]
    all_jumps = (jump_weights(jumps[0]), jump_weights(jumps[1]))
    return counts, all_jumps, (found[0], found[1]), fertilities


def add(counts: Table, given: str | None, generated: str, count: float) -> float:
    row = counts.setdefault(given, {})
    row[generated] = row.get(generated, 0.0) + count
    return count


def agreement(forward: Matrix, backward: Matrix) -> Matrix:
    """The product of the two posteriors of each link, [source words][target words]."""
    return [
        [forward[j][i + 1] * backward[i][j + 1] for j in range(len(forward))]
        for i in range(len(backward))
    ]


def jump_weights(counts: dict[int, float]) -> Jumps:
    """count + 1/2 within the band, of a sum of about 1; a 20th of what lies beyond it for each."""
    total = sum(counts.values()) + (2 * BAND + 2) / 2
    beyond = sum(count for distance, count in counts.items() if abs(distance) > BAND)
    far = (beyond + 0.5) / 20 / total
    near = {d: max((counts.get(d, 0.0) + 0.5) / total, far) for d in range(-BAND, BAND + 1)}
    return Jumps(near, far)
