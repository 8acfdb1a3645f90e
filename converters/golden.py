"""Golden data: a few inputs, the score that each graph must give for them, and how far a runtime may be off.

Before a device runs a graph it replays them. Float graphs must agree within 1e-5 everywhere. int8 graphs round
differently in every runtime and kernel, so their tolerance is what the converter saw between them, with a margin; a
runtime that was not measured has none and is held to the widest of the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converters.cases import Cases
from converters.refusal import Refused
from converters.runtimes import Measured
from edge_agent.contract.manifest import GraphFormat
from edge_agent.contract.records import Floats
from edge_agent.scoring.selection import golden_error

GOLDEN_CASES = 8
"""Normal inputs, and as many faulty ones: enough to show a wrong graph, small enough to replay at every start."""

FLOAT_TOLERANCE = 1e-5
"""Largest difference of a float graph between two runtimes; 6e-7 was seen between x86 runtimes."""

LEAST_INT8_TOLERANCE = 2e-3
"""Least tolerance of an int8 graph: one step of its last layer, where the runtimes measured here agreed by chance."""

INT8_MARGIN = 2.0
"""Factor on the largest int8 difference seen: the golden cases of one machine do not show the largest there is."""


def golden_index(cases: Cases) -> NDArray[np.intp]:
    """Which of the cases are golden: evenly among the normal and the faulty ones."""
    normal = np.linspace(0, cases.normal - 1, min(GOLDEN_CASES, cases.normal))
    faulty = np.linspace(cases.normal, cases.normal + cases.faulty - 1, min(GOLDEN_CASES, cases.faulty))
    return np.unique(np.concatenate([normal, faulty]).astype(np.intp))


def golden_arrays(cases: Cases, scores: dict[str, Floats], *, streaming: bool) -> dict[str, Floats]:
    """Arrays of `golden.npz`: `windows` or `sequence`, and `score_<format>`."""
    chosen = golden_index(cases)
    return {
        "sequence" if streaming else "windows": cases.inputs[chosen],
        **{f"score_{graph_format}": values[chosen] for graph_format, values in scores.items()},
    }


def tolerances(graph_format: GraphFormat, measured: Sequence[Measured], cases: Cases) -> dict[str, float]:
    """Per runtime, how far its golden scores may be from those of the first.

    Raises:
        Refused: the runtimes disagree so much that a golden score would test nothing.
    """
    judged, chosen = cases.normal + cases.faulty, golden_index(cases)
    golden = measured[0].usual.scores
    errors = [
        max(
            golden_error(scores[part], golden[part])
            for scores in (runtime.usual.scores, runtime.plain.scores)
            for part in (slice(judged), chosen)
        )
        for runtime in measured
    ]
    return tolerances_of(graph_format, measured, errors)


def tolerances_of(
    graph_format: GraphFormat, measured: Sequence[Measured], errors: Sequence[float], most: float = FLOAT_TOLERANCE
) -> dict[str, float]:
    """Per runtime, the tolerance that follows from its largest difference from the first.

    Args:
        graph_format: float graphs have a fixed tolerance, int8 ones that of what was seen.
        measured: the runtimes.
        errors: of each, as `golden_error` gives them.
        most: tolerance of a float graph.

    Raises:
        Refused: a float graph is beyond it, or an int8 graph beyond `MAX_TOLERANCE`.
    """
    found: dict[str, float] = {}
    for runtime, error in zip(measured, errors, strict=True):
        if graph_format in {GraphFormat.INT8, GraphFormat.EDGETPU}:
            found[runtime.runtime] = float(f"{max(LEAST_INT8_TOLERANCE, INT8_MARGIN * error):.3g}")
        else:
            found[runtime.runtime] = most
            if error > most:
                raise Refused(
                    f"the {graph_format} graph's results on {runtime.runtime} {runtime.version} differ by "
                    f"{error:.2g} from those of {measured[0].runtime}, at most {most:g}: "
                    "its arithmetic is not stable in float32"
                )
    if max(found.values()) > MAX_TOLERANCE:
        raise Refused(
            f"the {graph_format} graph's results differ by up to {max(found.values()):.0%} between runtimes: "
            "golden data would test nothing"
        )
    return found


MAX_TOLERANCE = 0.5
"""Largest tolerance of golden scores; beyond it a graph with swapped channels might pass."""
