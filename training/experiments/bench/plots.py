"""Plots of the comparison as SVG text; the same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from training.evaluation import plots
from training.experiments.bench.cases import Trial
from training.experiments.bench.tables import Entry, Found, Row

GROUPS = ("", "board_", "control_")
"""Prefixes of names: detectors, published methods, controls."""

COLOURS = (plots.LINE, "#c46a00", "#888888")
"""Of these groups; told apart in grey as well."""

SHOWN_CHANNELS = 8
"""Channels drawn of the example: those that move most in its faults."""

MOST_NUMBERED = 24
"""Files above which the cells of the heatmap have no room for numbers."""

NAME_LENGTH = 26
"""Characters of a file's name under the heatmap."""

LABEL_ROOM = 2.5
"""Factor on the scale of costs that a name right of its point needs."""

DARK = 0.6
"""F1 below which a cell is dark, so that its number is white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A figure of the report."""

    title: str
    svg: str
    words: str


def group(name: str) -> int:
    """Which of `GROUPS` a row belongs to."""
    return next((number for number, prefix in enumerate(GROUPS) if prefix and name.startswith(prefix)), 0)


@mpl.rc_context(plots.STYLE)
def quality(rows: Sequence[Row], figure: str = "f1", title: str = "F1", drawn: str = "files") -> Plot | None:
    """A figure of every row, with its interval; `drawn` is what the interval is over."""
    shown = [row for row in rows if row[figure] is not None][::-1]
    if not shown:
        return None
    page = Figure(figsize=(8, 0.7 + 0.24 * len(shown)), layout="constrained")
    axes = page.subplots()
    for place, row in enumerate(shown):
        colour = COLOURS[group(row["detector"])]
        if row[f"{figure}_low"] is not None:
            axes.plot(
                [row[f"{figure}_low"], row[f"{figure}_high"]], [place, place], color=colour, linewidth=2, alpha=0.5
            )
        axes.plot(row[figure], place, "o", color=colour, markersize=5)
        axes.annotate(
            f"{row[figure]:.3f}", (1.02, place), xycoords=("axes fraction", "data"), va="center", color=colour
        )
    axes.set(xlabel=title, xlim=(-0.01, 1.01), ylim=(-0.6, len(shown) - 0.4))
    axes.set_yticks(range(len(shown)), [row["detector"] for row in shown])
    words = f"Bars: 95 % by bootstrap over the {drawn}, where there are five or more."
    return Plot(title=title, svg=plots.svg(page), words=words)


class Axis(NamedTuple):
    """A figure of rows to draw by."""

    key: str
    label: str


@mpl.rc_context(plots.STYLE)
def cost(
    rows: Sequence[Row],
    x: Axis = Axis("us_per_window", "microseconds a window, one thread"),  # noqa: B008 - immutable
    y: Axis = Axis("vus_pr", "VUS-PR"),  # noqa: B008 - immutable
) -> Plot | None:
    """Quality against cost."""
    shown = [row for row in rows if row[x.key] is not None and row[y.key] is not None]
    if not shown:
        return None
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for row in shown:
        axes.plot(row[x.key], row[y.key], "o", color=plots.LINE, markersize=5)
    for row, height in zip(shown, _spread_out([row[y.key] for row in shown]), strict=True):
        axes.annotate(row["detector"], (row[x.key], row[y.key]), (row[x.key] * 1.06, height), va="center", fontsize=8)
    axes.set(xscale="log", xlabel=x.label, ylabel=y.label)
    costs = [row[x.key] for row in shown]
    axes.set_xlim(min(costs) / LABEL_ROOM**0.3, max(costs) * LABEL_ROOM)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(ScalarFormatter())
    words = "Best is top left. Cost on the machine that ran the bench: ratios hold elsewhere, times do not."
    return Plot(title="Quality against cost", svg=plots.svg(figure), words=words)


def _spread_out(heights: Sequence[float]) -> list[float]:
    """Heights of labels, each a little above the one below where they would lie on each other."""
    room = (max(heights) - min(heights) or 1.0) / 22
    placed: dict[int, float] = {}
    last = -np.inf
    for number in np.argsort(heights).tolist():
        last = placed[number] = max(heights[number], last + room)
    return [placed[number] for number in range(len(heights))]


@mpl.rc_context(plots.STYLE | {"axes.grid": False})
def heatmap(rows: Sequence[Row], files: Sequence[Row]) -> Plot | None:
    """F1 of every row on every file that has faults."""
    faulty = list(dict.fromkeys(row["file"] for row in files if row["recall"] is not None))
    names = [row["detector"] for row in rows if row["f1"] is not None]
    if len(faulty) < 2 or not names:
        return None
    f1 = {(row["detector"], row["file"]): row["f1"] for row in files}
    values = np.array([[_value(f1.get((name, file))) for file in faulty] for name in names])
    figure = Figure(figsize=(2.5 + 0.45 * max(len(faulty), 8), 1 + 0.26 * len(names)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    if len(faulty) <= MOST_NUMBERED:
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                colour = "white" if value < DARK else "black"
                axes.text(
                    column, row, f"{value:.2f}".removeprefix("0"), ha="center", va="center", fontsize=7, color=colour
                )
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(len(faulty)), [_short(name) for name in faulty], rotation=60, ha="right")
    figure.colorbar(image, ax=axes, label="F1", shrink=0.8)
    return Plot(title="F1 by file", svg=plots.svg(figure), words="Files with faults. Empty: no result.")


def _value(figure: float | None) -> float:
    return np.nan if figure is None else figure


def _short(name: str) -> str:
    """The last part of a file's name, if need be its end."""
    last = name.rsplit("/", 1)[-1]
    return last if len(last) <= NAME_LENGTH else "…" + last[1 - NAME_LENGTH :]


def example(entries: Sequence[Entry], rows: Sequence[Row]) -> Plot | None:
    """A typical file of the best detector: the one with faults whose F1 is the median."""
    best = next((row["detector"] for row in rows if group(row["detector"]) == 0 and row["f1"] is not None), None)
    entry = next((entry for entry in entries if entry.detector == best), None)
    found = [each for each in entry.found if each.trial.labels.any()] if entry else []
    if not found:
        return None
    shown = sorted(found, key=lambda each: each.counts.rows.f1 or 0)[len(found) // 2]
    trial = shown.trial
    series = plots.series(
        trial.rows.values[trial.tested],
        list(shown.case.channels),
        trial.labels,
        shown.judged.alarms,
        _moving(shown),
    )
    words = (
        f"{trial.name}, tested rows. Light red: labelled fault. Red below: rows alarmed by {best}. "
        "The file is the median one of this detector by F1."
    )
    return Plot(title=f"Example: {best}", svg=series, words=words)


def _moving(found: Found) -> list[int]:
    """The channels that differ most from the training rows in the faults, in their order."""
    train = found.case.train.values.astype(np.float64)
    faulty = _faulty(found.trial).astype(np.float64)
    spread = np.nanstd(train, axis=0)
    moved = np.abs(np.nanmedian(faulty, axis=0) - np.nanmedian(train, axis=0)) / np.where(spread > 0, spread, 1)
    return sorted(np.argsort(-np.nan_to_num(moved))[:SHOWN_CHANNELS].tolist())


def _faulty(trial: Trial) -> np.ndarray:
    return trial.rows.values[trial.tested][trial.labels]
