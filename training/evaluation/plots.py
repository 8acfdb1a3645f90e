"""Plots as SVG text: the same figures give the same bytes (salted ids, no date)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from edge_agent.contract.records import Doubles, Floats

STYLE = {
    "svg.hashsalt": "anomalite",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "path.simplify": True,
}
"""Fixed salt: ids in the SVG depend on the content alone. Text stays text."""

FAULT, ALARM, LINE = "#f4b6b6", "#d62728", "#1f5fa8"
"""Colours of labelled faults, alarms and readings."""

GREY = "#8a8a8a"
"""Colour of what the threshold comes from."""

BINS = 40
"""Of a histogram: some hundred images a group leave a few in each."""

STRENGTHS = (-10, -3, -1, 0, 1, 2, 3, 5, 10, 20, 50, 100, 300, 1000, 1e4, 1e5, 1e6)
"""Where a squeezed axis has its marks."""

MOST_POINTS = 4000
"""Points of a curve; above it every bin keeps its lowest and highest value, so that no spike is lost."""

MOST_CHANNELS = 16
"""Channels drawn; with more the report is a wall of lines, so those that alarm most are shown."""

Flags = NDArray[np.bool_]


@mpl.rc_context(STYLE)
def series(values: Floats, names: Sequence[str], labels: Flags | None, alarms: Flags, order: Sequence[int]) -> str:
    """Readings [n, C] one above the other, labelled faults shaded, alarms marked underneath."""
    shown = list(order)[:MOST_CHANNELS]
    figure = Figure(figsize=(10, 0.4 + 1.05 * len(shown)), layout="constrained")
    for axes, channel in zip(figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0], shown, strict=True):
        axes.plot(*thinned(values[:, channel]), color=LINE, linewidth=0.7)
        axes.set_ylabel(names[channel], rotation=0, ha="right", va="center")
        _shade(axes, labels, FAULT, 0, 1)
        _shade(axes, alarms, ALARM, 0, 0.06)
    axes.set_xlabel("reading")
    return svg(figure)


@mpl.rc_context(STYLE)
def score(rows: NDArray[np.int64], scores: Doubles, threshold: float, labels: Flags | None) -> str:
    """Scores against the threshold; `labels` [n] over all readings."""
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    axes = figure.subplots()
    places, values = thinned(scores, rows)
    axes.plot(places, values, color=LINE, linewidth=0.8)
    axes.axhline(threshold, color=ALARM, linewidth=1, label="threshold")
    if np.nanmin(scores) > 0:
        axes.set_yscale("log")
    _shade(axes, labels, FAULT, 0, 1)
    axes.set(xlabel="reading", ylabel="score")
    axes.legend(loc="upper left")
    return svg(figure)


@mpl.rc_context(STYLE)
def ranking(labels: Flags, scores: Doubles, threshold: float) -> str:
    """Precision-recall and ROC curve, with the point of the threshold."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    precision, recall, _ = precision_recall_curve(labels, scores)
    false, true, _ = roc_curve(labels, scores)
    alarmed = scores > threshold
    found = float(alarmed[labels].mean())
    left.plot(*_even(recall, precision), color=LINE)
    left.axhline(labels.mean(), color="grey", linestyle=":", label="random")
    if alarmed.any():
        left.plot([found], [float(labels[alarmed].mean())], "o", color=ALARM, label="threshold")
    right.plot(*_even(false, true), color=LINE)
    right.plot([0, 1], [0, 1], color="grey", linestyle=":", label="random")
    right.plot([float(alarmed[~labels].mean())], [found], "o", color=ALARM, label="threshold")
    left.set(title="precision and recall", xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    right.set(title="ROC", xlabel="false alarm rate", ylabel="recall", xlim=(-0.02, 1), ylim=(0, 1.02))
    left.legend(loc="lower left")
    right.legend(loc="lower right")
    return svg(figure)


@mpl.rc_context(STYLE)
def histogram(groups: Mapping[str, Doubles]) -> str:
    """Shares of each group by strength, where 0 is usual and 1 the threshold; far ones are compressed, not cut."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.subplots()
    squeezed = {name: np.arcsinh(values) for name, values in groups.items()}
    everything = np.concatenate(list(squeezed.values()))
    bins = np.linspace(everything.min(), max(everything.max(), everything.min() + 1e-9), BINS + 1)
    for (name, values), colour in zip(squeezed.items(), (GREY, LINE, ALARM), strict=False):
        weights = np.full(len(values), 100 / len(values))
        label = f"{name} ({len(values)})"
        axes.hist(values, bins.tolist(), weights=weights, color=colour, alpha=0.6, label=label)
    axes.axvline(np.arcsinh(1), color="black", linewidth=1, linestyle="--", label="threshold")
    ticks = [tick for tick in STRENGTHS if everything.min() <= np.arcsinh(tick) <= everything.max()]
    axes.set_xticks(np.arcsinh(ticks), [f"{tick:g}" for tick in ticks])
    axes.set(xlabel="score: 0 is usual, above 1 alarms", ylabel="% of the group")
    axes.legend(loc="upper right")
    return svg(figure)


@mpl.rc_context(STYLE)
def training(curves: Mapping[str, Sequence[float]]) -> str:
    """Loss by epoch."""
    figure = Figure(figsize=(5, 2.8), layout="constrained")
    axes = figure.subplots()
    for name, values in curves.items():
        axes.plot(np.arange(1, len(values) + 1), values, label=name.replace("_", " "))
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.legend()
    return svg(figure)


def thinned(values: NDArray[np.floating], places: NDArray[np.int64] | None = None) -> tuple[NDArray[np.int64], Doubles]:
    """At most MOST_POINTS of a curve: the lowest and highest value of each bin, in their order."""
    x = np.arange(len(values)) if places is None else places
    y = values.astype(np.float64)
    if len(y) <= MOST_POINTS:
        return x, y
    keep: list[int] = []
    for bin_ in np.array_split(np.arange(len(y)), MOST_POINTS // 2):
        present = bin_[~np.isnan(y[bin_])]
        if len(present):
            keep += sorted({int(present[np.argmin(y[present])]), int(present[np.argmax(y[present])])})
    return x[keep], y[keep]


def _even(x: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """At most MOST_POINTS points of a curve without spikes."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int))
    return x[keep], y[keep]


def _shade(axes: mpl.axes.Axes, flags: Flags | None, colour: str, bottom: float, top: float) -> None:
    """Mark stretches of rows, from `bottom` to `top` of the axes' height."""
    if flags is None or not flags.any():
        return
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    for start, stop in edges:
        axes.axvspan(start, stop, bottom, top, color=colour, linewidth=0, zorder=0 if top == 1 else 3)


def svg(figure: Figure) -> str:
    """The figure as an SVG element without XML header."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
