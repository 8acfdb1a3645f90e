"""Golden data of a bundle for a camera: some frames, and the score, map and kinds that each graph must give for them.

Half of the frames are normal ones, half the strangest of all as the float model sees them: what an alarm depends on.
Made with the device's own replay, so that both read them alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from converters.frames.cases import FrameCases
from converters.golden import tolerances_of
from converters.running import Outputs
from converters.runtimes import Measured
from edge_agent.contract.manifest import GraphFormat
from edge_agent.contract.records import Floats
from edge_agent.scoring.frame_interpreter import FrameScorer
from edge_agent.scoring.frame_selection import golden_results, kinds_error
from edge_agent.scoring.selection import golden_error

FRAMES = 8
"""Golden frames: 1.2 MB at 224 x 224, replayed in a fraction of a second at every start."""

SEQUENCES = 4
"""Golden sequences of a streaming graph, each of many frames."""

FLOAT_TOLERANCE = 1e-4
"""Largest difference of a float graph between two runtimes or with and without XNNPACK: a score or cell of a deep
network on frames sums some thousand products whose order differs; 8e-6 was seen of PaDiM's maps."""


def golden_index(cases: FrameCases, reference: Floats) -> NDArray[np.intp]:
    """Which of the cases are golden; `reference` are the float model's scores [k] or [k, L]."""
    count = (FRAMES if cases.strange.ndim == 1 else SEQUENCES) // 2
    strange = cases.counted.any(axis=1)
    strength = reference.reshape(len(reference), -1)[:, cases.warm_up :].max(axis=1)
    normal, odd = np.flatnonzero(~strange), np.flatnonzero(strange)
    even = normal[np.linspace(0, len(normal) - 1, min(count, len(normal))).astype(np.intp)]
    return np.sort(np.concatenate([even, odd[np.argsort(-strength[odd], kind="stable")[:count]]]))


def golden_arrays(
    cases: FrameCases, chosen: NDArray[np.intp], graphs: Mapping[str, FrameScorer]
) -> dict[str, NDArray[np.generic]]:
    """Arrays of `golden.npz`: `frames` or `sequences`, and what each graph gives for them, such as `score_int8`."""
    name = "frames" if cases.strange.ndim == 1 else "sequences"
    arrays: dict[str, NDArray[np.generic]] = {name: cases.inputs[chosen]}
    for graph_format, graph in graphs.items():
        given = golden_results(graph, {name: cases.inputs[chosen]})
        arrays |= {f"{output}_{graph_format}": values for output, values in given.items()}
    return arrays


def frame_tolerances(
    graph_format: GraphFormat, measured: Sequence[Measured], chosen: NDArray[np.intp]
) -> dict[str, float]:
    """Per runtime, how far its scores, cells and kinds may be from those of the first; errors as `tolerances_of`."""
    first = measured[0].usual
    errors = [max(_error(given, first, chosen) for given in (each.usual, each.plain)) for each in measured]
    return tolerances_of(graph_format, measured, errors, FLOAT_TOLERANCE)


def _error(given: Outputs, wanted: Outputs, chosen: NDArray[np.intp]) -> float:
    """Of scores, cells and kinds, over all cases and over the golden ones."""
    parts = slice(None), chosen
    errors = [golden_error(given.scores[part], wanted.scores[part]) for part in parts]
    if given.maps is not None and wanted.maps is not None:
        errors += [golden_error(given.maps[part], wanted.maps[part]) for part in parts]
    if given.kinds is not None and wanted.kinds is not None:
        errors.append(kinds_error(given.kinds, wanted.kinds))
    return max(errors)
