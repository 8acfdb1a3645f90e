"""Where the test images of each kind lie against the threshold, as SVG text."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from training.evaluation import plots
from training.experiments.bench.images.outcome import ImageOutcome
from training.experiments.bench.plots import Plot

JITTER = 0.3
"""Most that a point lies above or below its row, so that equal scores are seen; rows are 1 apart."""


@mpl.rc_context(plots.STYLE)
def strip(name: str, outcome: ImageOutcome) -> Plot:
    """The scores of the graph that ships, a row for each kind of image."""
    kinds = sorted({(image.defective, image.kind) for image in outcome.images})
    relative = np.array(outcome.graphs[0].said.relative)
    figure = Figure(figsize=(8, 0.9 + 0.4 * len(kinds)), layout="constrained")
    axes, rng = figure.subplots(), np.random.default_rng(0)
    for place, (defective, kind) in enumerate(kinds):
        shown = relative[[image.kind == kind and image.defective == defective for image in outcome.images]]
        heights = place + rng.uniform(-JITTER, JITTER, len(shown))
        colour = plots.ALARM if defective else plots.LINE
        axes.plot(shown, heights, "o", color=colour, markersize=3, alpha=0.6)
    axes.axvline(1, color="#222222", linewidth=1)
    axes.set(xlabel="score: 0 is usual, 1 the threshold", ylim=(len(kinds) - 0.5, -0.5))
    axes.set_yticks(range(len(kinds)), [kind for _, kind in kinds])
    words = "Test images by kind, scored by the graph that ships where nothing is asked. Right of the line: alarmed."
    return Plot(title=f"Scores: {name}", svg=plots.svg(figure), words=words)
