"""Figures as SVG text: forest plots of gains, layer curves, heat-maps. With matplotlib."""

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from weam_ext.report.table import Condition, Gain, Results, matched

# Text stays text: the browser has fonts for all scripts, and shapes them.
_STYLE: Any = {
    "svg.fonttype": "none", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False,
    "svg.hashsalt": "weam_ext",
}  # fmt: skip
COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8a5aab", "#c77d0a", "#4a4a4a")


def _svg(figure: Any) -> str:
    text = io.StringIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # not drawn here
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def forest(gains: Sequence[Gain], labels: Sequence[str], title: str, width: float = 7.6) -> str:
    """Gains in points with their intervals, one below another; filled where 0 is outside."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, 0.9 + 0.24 * len(gains)), layout="constrained")
        axes = figure.subplots()
        for row, gain in enumerate(gains):
            found = gain.estimate
            sure = found.low > 0 or found.high < 0
            colour = COLOURS[2] if found.low > 0 else COLOURS[1] if found.high < 0 else COLOURS[5]
            axes.plot([100 * found.low, 100 * found.high], [row, row], color=colour, lw=1.6)
            axes.plot(
                100 * found.value, row, "D" if gain.language == "mean" else "o", color=colour,
                mfc=colour if sure else "white", ms=6 if gain.language == "mean" else 5,
            )  # fmt: skip
        axes.axvline(0, color="#888", lw=0.8, zorder=0)
        axes.set_yticks(range(len(gains)), labels)
        axes.set_ylim(len(gains) - 0.4, -0.6)
        axes.set_xlabel("gain in points, 95 % interval")
        axes.set_title(title, loc="left", fontsize=10)
    return _svg(figure)


def layer_curves(results: Results, conditions: Sequence[Condition], title: str) -> str:
    """The mean over the test sets by layer, a panel a method; dashed: raw, solid: centred."""
    methods = list(dict.fromkeys(condition.method for condition in conditions))
    with rc_context(_STYLE):
        figure = Figure(figsize=(0.9 + 2.6 * len(methods), 2.9), layout="constrained")
        panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
        for panel, method in zip(panels, methods, strict=True):
            for condition in conditions:
                if condition.method == method:
                    _curves(panel, results, condition)
            panel.set_title(method, fontsize=9)
            panel.set_xlabel("layer")
            panel.xaxis.get_major_locator().set_params(integer=True)
        panels[0].set_ylabel("%")
        panels[0].set_ylim(0, None)
        lines = {line.get_label(): line for panel in panels for line in panel.get_lines()}
        figure.legend(handles=list(lines.values()), loc="outside right upper", fontsize=8)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return _svg(figure)


def _curves(panel: Any, results: Results, condition: Condition) -> None:
    for model in results.models_of(condition):
        layers = results.layers(condition, model)
        drawn, means, spread = [], [], []
        for layer in layers:
            found = [results.measured(condition, s, model, layer) for s in results.sets(condition)]
            shared = matched([m for m in found if m])
            if not shared:
                continue
            values = np.stack([m.values for m in shared]).mean(0)
            drawn.append(layer)
            means.append(100 * float(values.mean()))
            spread.append(100 * float(values.std(ddof=1)) if len(values) > 1 else 0.0)
        colour = COLOURS[results.models.index(model) % len(COLOURS)]
        style = "-o" if condition.vectors == "centred" else "--o"
        panel.plot(
            drawn, means, style, color=colour, ms=3, lw=1.3, label=f"{model}, {condition.vectors}"
        )
        if any(spread):
            low, high = (np.array(means) + sign * np.array(spread) for sign in (-1, 1))
            panel.fill_between(drawn, low, high, color=colour, alpha=0.15, lw=0)


def matrix(values: dict[tuple[str, str], float], title: str, across: str, down: str) -> str:
    """Scores in percent by two languages; a pair that was not tested stays empty."""
    rows, columns = (sorted({pair[k] for pair in values}) for k in (0, 1))
    table = np.array([[values.get((a, b), np.nan) for b in columns] for a in rows])
    with rc_context(_STYLE):
        size = 1.7 + 0.36 * len(columns), 1.2 + 0.3 * len(rows)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.imshow(table, cmap="YlGnBu", aspect="auto")
        middle = (np.nanmin(table) + np.nanmax(table)) / 2
        for (i, j), value in np.ndenumerate(table):
            if np.isfinite(value):
                colour = "white" if value > middle else "#1c1c1c"
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel(across)
        axes.set_ylabel(down)
        axes.spines[:].set_visible(False)
        axes.set_title(title, loc="left", fontsize=9)
    return _svg(figure)


def heat_map(found: dict[str, Any], title: str, lowest: float) -> str:
    """Cosines of the words of a sentence pair, on a scale from `lowest` to 1.

    Squares are gold links, paler where they are only possible.
    """
    values = np.array(found["cosines"])
    with rc_context(_STYLE):
        width, height = len(found["target"]), len(found["source"])
        figure = Figure(figsize=(1.6 + 0.33 * width, 1.5 + 0.27 * height), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(values, cmap="YlGnBu", aspect="auto", vmin=lowest, vmax=1)
        axes.set_xticks(range(width), found["target"], rotation=60, ha="right", fontsize=8)
        axes.set_yticks(range(height), found["source"], fontsize=8)
        axes.spines[:].set_visible(False)
        for link in found["gold"].split():
            sure = "-" in link
            i, j = (int(number) for number in link.replace("?", "-").split("-"))
            axes.plot(j, i, "s", ms=9, mfc="none", mec="#d1495b", mew=1.5,
                      ls="none", alpha=1.0 if sure else 0.5)  # fmt: skip
        figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
        axes.set_title(title, loc="left", fontsize=9)
    return _svg(figure)
