"""Tables, verdicts and a figure from evaluation results: `python -m weam_ext.report DIR`.

It reads `results.jsonl` as `weam_ext.transfer` writes it, prints a Markdown report, and leaves it
as `report.md` in the same directory, with `retrieval.png` beside it where matplotlib is installed.

No figure is chosen on the sentences that it reports: the best layer of a model for a bitext is the
one with the highest accuracy on the model's *other* bitexts. Where there is no other bitext the
report says that the layer was chosen on the same data. (Bitexts of several languages often share
the sentences of one side; test sets of different sentences keep the choice wholly apart.)
"""

import importlib
import io
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import NormalDist, fmean, stdev, variance
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weam_ext.errors import InputError, Parser, run
from weam_ext.files import rename_durably, write_durably
from weam_ext.transfer.results import RESULTS, RetrievalResult, complete, read_results

# Quantiles 0.975 of Student's t for 1 to 30 degrees of freedom: NIST/SEMATECH e-Handbook of
# Statistical Methods, section 1.3.6.7.2.
_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_QUARTERS = ("0", "1/4", "1/2", "3/4", "1")
_VECTORS = {False: "raw", True: "centred"}
_CHOSEN = {False: "the same data", True: "other bitexts"}

INTRODUCTION = """\
# Zero-shot sentence retrieval

Accuracy@1 in percent, the mean of both directions: is the translation of a sentence its nearest
neighbour by cosine? Each sentence is encoded alone and is the mean of its token vectors. *Centred*
vectors have the mean of their language removed, taken over these very sentences. Layer 0 is the
embedding layer. With several pre-training seeds: mean ± standard deviation [95 % t interval].
"""
SAME_DATA = """
**Best layer chosen on the same data** where the table says so: those accuracies are too high by
some unknown amount. Give a second bitext to have the layer chosen there.
"""
COMPARISONS = """
## Comparisons

Differences in percentage points on the same sentences, each model with its own best layer, with
95 % intervals. A claim is *supported* where the interval lies above 0, *not supported* where it
lies below, and else *undecided*. The interval covers what is named as varying and nothing else:
with one seed of a model it cannot tell what another seed would have done. The verdicts are not
corrected for their number.
"""


# -------------------------------------------------------------------------------------- statistics


def t_quantile(freedom: float) -> float:
    """The quantile 0.975 of Student's t; a fraction of a degree of freedom is dropped.

    Above 30 by the expansion of Abramowitz and Stegun, 26.7.5, to three decimals.
    """
    whole = max(1, math.floor(freedom))
    if whole <= len(_T_975):
        return _T_975[whole - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * whole) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * whole**2)


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of two or more independent values."""
    half = t_quantile(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


class Difference(NamedTuple):
    """How much better one model is than another, with a 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """On the claim that the first model is better."""
        if self.low > 0:
            return "supported"
        return "not supported" if self.high < 0 else "undecided"


def difference(
    ours: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]]
) -> Difference:
    """The difference of two models' mean scores, paired over sentences.

    A list holds an array [sentences] for each pre-training seed of a model, the same two or more
    sentences in all. The variance is the sum of components: that of the mean over sentences of the
    paired differences, and, for a model with two or more seeds, that of the mean over its seeds;
    degrees of freedom by Satterthwaite (1946). Both components hold the interaction of seeds and
    sentences, so the interval is rather too wide than too narrow.
    """
    paired = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
    components = [(float(paired.var(ddof=1)) / len(paired), len(paired) - 1)]
    for model in (ours, theirs):
        if len(model) > 1:
            accuracies = [float(scores.mean()) for scores in model]
            components.append((variance(accuracies) / len(model), len(model) - 1))
    total = sum(part for part, _ in components)
    squares = sum(part**2 / freedom for part, freedom in components)
    half = t_quantile(total**2 / squares) * math.sqrt(total) if squares else 0.0
    value = float(paired.mean())
    return Difference(value, value - half, value + half)


# ---------------------------------------------------------------------------------------- results


class TestSet(NamedTuple):
    """What results must share to be compared: the same sentences, encoded alike."""

    bitext: str
    bitext_sha256: str
    max_length: int
    precision: str


Seed = dict[tuple[int, bool], RetrievalResult]  # by layer and whether centred
Seeds = list[Seed]


@dataclass(frozen=True)
class Choice:
    """A model's best layer for a bitext."""

    layer: int
    elsewhere: bool
    """Chosen on other bitexts."""


class Table:
    """All complete results: of each test set and model, its pre-training seeds."""

    def __init__(self, results: Iterable[RetrievalResult]) -> None:
        found: dict[TestSet, dict[str, dict[str, list[RetrievalResult]]]] = {}
        self.models: list[str] = []
        for result in results:
            if result.model not in self.models:
                self.models.append(result.model)
            test_set = TestSet(*(getattr(result, name) for name in TestSet._fields))
            seeds = found.setdefault(test_set, {}).setdefault(result.model, {})
            earlier = seeds.get(result.directory, [])
            if earlier and earlier[-1].model_sha256 != result.model_sha256:
                earlier = []  # another encoder was put into that directory
            seeds[result.directory] = [*earlier, result]
        self.seeds: dict[TestSet, dict[str, Seeds]] = {}
        for test_set, models in found.items():
            for model, directories in models.items():
                whole = [
                    {(result.layer, result.centred): result for result in results}
                    for results in directories.values()
                    if complete(results)
                ]
                if whole:
                    self.seeds.setdefault(test_set, {})[model] = whole
        for model in self.models:
            depths = {seed[0, False].layers for _, seeds in self.of(model) for seed in seeds}
            if len(depths) > 1:
                raise InputError(f"the encoders called {model!r} differ in their number of layers")

    def of(self, model: str) -> Iterator[tuple[TestSet, Seeds]]:
        """The test sets and seeds of a model."""
        for test_set, models in self.seeds.items():
            if model in models:
                yield test_set, models[model]

    def best_layer(self, test_set: TestSet, model: str, centred: bool) -> Choice:
        """The layer with the highest mean accuracy on the other bitexts; of equals the lowest.

        Other bitexts are those of another name and other sentences.
        """
        others = [
            seeds
            for other, seeds in self.of(model)
            if other.bitext != test_set.bitext and other.bitext_sha256 != test_set.bitext_sha256
        ]
        judges = others or [self.seeds[test_set][model]]
        layers = range(judges[0][0][0, False].layers + 1)
        best = max(
            layers, key=lambda layer: fmean(fmean(_at(seeds, layer, centred)) for seeds in judges)
        )
        return Choice(best, bool(others))

    def label(self, test_set: TestSet) -> str:
        """The bitext's name, with what tells it apart where several test sets share it."""
        if sum(other.bitext == test_set.bitext for other in self.seeds) == 1:
            return test_set.bitext
        return (
            f"{test_set.bitext} ({test_set.bitext_sha256[:8]}, at most {test_set.max_length} "
            f"tokens, {test_set.precision})"
        )


def _at(seeds: Seeds, layer: int, centred: bool) -> list[float]:
    """The accuracy of each seed."""
    return [seed[layer, centred].accuracy for seed in seeds]


def quarter_layers(layers: int) -> list[int]:
    """The layers nearest to each quarter of an encoder's depth, the upper one of two."""
    return [(layers * quarter + 2) // 4 for quarter in range(5)]


# ----------------------------------------------------------------------------------------- report


def markdown_report(table: Table) -> str:
    """The whole text."""
    accuracies = list(_accuracies(table))
    text = [INTRODUCTION, *_what_was_used(table), ""]
    header = ["bitext", "model", "seeds", "vectors", "best layer", "chosen on", "accuracy there"]
    text += _markdown([*header, *(f"at depth {quarter}" for quarter in _QUARTERS)], accuracies)
    if any(_CHOSEN[False] in row for row in accuracies):
        text.append(SAME_DATA)
    if comparisons := list(_comparisons(table)):
        text.append(COMPARISONS)
        header = ["bitext", "vectors", "claim", "layers", "chosen on", "difference"]
        text += _markdown([*header, "interval", "verdict", "varies"], comparisons)
    return "\n".join(text).rstrip("\n") + "\n"


def _what_was_used(table: Table) -> Iterator[str]:
    for test_set, models in table.seeds.items():
        one = next(iter(models.values()))[0][0, False]
        cut = ", ".join(
            f"{model} {seeds[0][0, False].truncated_source} + {seeds[0][0, False].truncated_target}"
            for model, seeds in models.items()
        )
        yield (
            f"- {table.label(test_set)}: {one.pairs:,} pairs, so chance is {100 / one.pairs:.2g}; "
            f"left out {one.empty:,} empty and {one.duplicates:,} duplicates; sentences cut at "
            f"{test_set.max_length} tokens (source + target): {cut}"
        )
    for model in table.models:
        for _, seeds in table.of(model):
            layers = ", ".join(map(str, quarter_layers(seeds[0][0, False].layers)))
            yield f"- {model}: the quarters of its depth are layers {layers}"
            break


def _accuracies(table: Table) -> Iterator[list[str]]:
    for test_set, models in table.seeds.items():
        for model, seeds in models.items():
            for centred, vectors in _VECTORS.items():
                choice = table.best_layer(test_set, model, centred)
                layers = [choice.layer, *quarter_layers(seeds[0][0, False].layers)]
                yield [
                    table.label(test_set),
                    model,
                    str(len(seeds)),
                    vectors,
                    str(choice.layer),
                    _CHOSEN[choice.elsewhere],
                    *(_cell(_at(seeds, layer, centred)) for layer in layers),
                ]


def _cell(values: Sequence[float]) -> str:
    """Accuracies of a model's seeds in percent."""
    text = f"{100 * fmean(values):.1f}"
    if len(values) > 1:
        low, high = t_interval(values)
        text += f" ± {100 * stdev(values):.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return text


def _comparisons(table: Table) -> Iterator[list[str]]:
    for test_set, models in table.seeds.items():
        present = [model for model in table.models if model in models]
        for pair in combinations(present, 2):
            sampled = [f"seeds of {model}" for model in pair if len(models[model]) > 1]
            for centred, vectors in _VECTORS.items():
                choices = [table.best_layer(test_set, model, centred) for model in pair]
                ours, theirs = (
                    [seed[choice.layer, centred].scores for seed in models[model]]
                    for model, choice in zip(pair, choices, strict=True)
                )
                found = difference(ours, theirs)
                yield [
                    table.label(test_set),
                    vectors,
                    f"{pair[0]} beats {pair[1]}",
                    f"{choices[0].layer} and {choices[1].layer}",
                    _CHOSEN[choices[0].elsewhere and choices[1].elsewhere],
                    f"{100 * found.value:+.1f}",
                    f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]",
                    found.verdict,
                    ", ".join(["sentences", *sampled] if sampled else ["sentences only"]),
                ]


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    escaped = ([cell.replace("|", r"\|") for cell in row] for row in rows)
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *escaped)]


def draw(table: Table) -> bytes | None:
    """A PNG of the accuracy by layer, a panel a test set; None without matplotlib."""
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
    except ImportError:
        return None
    count = len(table.seeds)
    figure = figures.Figure(figsize=(3 + 4 * count, 4), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    for panel, (test_set, models) in zip(panels, table.seeds.items(), strict=True):
        for model, seeds in models.items():
            colour = f"C{table.models.index(model)}"
            layers = range(seeds[0][0, False].layers + 1)
            for centred, vectors in _VECTORS.items():
                accuracies = [100 * fmean(_at(seeds, layer, centred)) for layer in layers]
                style = "-o" if centred else "--o"
                panel.plot(layers, accuracies, style, color=colour, label=f"{model}, {vectors}")
        panel.set(title=table.label(test_set), xlabel="layer")
        panel.xaxis.get_major_locator().set_params(integer=True)
    panels[0].set(ylabel="retrieval accuracy@1, %", ylim=(0, None))
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    figure.legend(handles=list(lines.values()), loc="outside right upper")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    return png.getvalue()


# ---------------------------------------------------------------------------------- command line


def _write(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.part")
    write_durably(beside, data)
    rename_durably(beside, path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser("weam_ext.report", (__doc__ or "").split("\n")[0])
    parser.add_argument("directory", type=Path, metavar="DIR", help=f"with {RESULTS}")
    directory: Path = parser.parse_args(arguments).directory
    table = Table(read_results(directory / RESULTS))
    if not table.seeds:
        raise InputError(f"{directory / RESULTS}: no complete results")
    text = markdown_report(table)
    _write(directory / "report.md", text.encode())
    print(text, end="")
    if png := draw(table):
        _write(directory / "retrieval.png", png)
    else:
        print("no figure: matplotlib is not installed (weam-ext[transfer])", file=sys.stderr)


if __name__ == "__main__":
    run("weam_ext.report", main)
