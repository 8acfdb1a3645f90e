"""Rows of `results.json`, one for each graph of a detector on a folder, and of `files.json`, one for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation import metrics
from training.evaluation.intervals import bootstrap_interval
from training.experiments.bench.images.outcome import ImageOutcome, JudgedGraph, Said

Row = dict[str, Any]
Flags = NDArray[np.bool_]

FEWEST_IMAGES = 5
"""Test images of a kind, normal or defective, below which an interval tells nothing."""

SEED = 1
ROUNDS = 500
"""Of the bootstrap: each end is uncertain by some 3 % of the interval's width."""

FIGURES = (
    *("image_auroc", "image_auroc_low", "image_auroc_high", "pixel_auroc", "aupro", "auc_pr"),
    *("f1", "f1_low", "f1_high", "precision", "recall", "false_alarms", "normal", "defective"),
    *("device_f1", "device_false_alarms", "ms_per_frame", "bytes", "parity", "rank_correlation", "map_correlation"),
    *("device_frames", "grade", "fitted", "validation", "seconds"),
)
"""Keys of every row; None where it is not defined or there is no result."""


def rows(data: str, detector: str, outcome: ImageOutcome) -> list[Row]:
    """The rows of `results.json`: the graph that ships by default first, then the others, then those refused."""
    found = [_row(data, detector, outcome, graph) for graph in outcome.graphs]
    refused = [_failed(data, detector, name, why) for name, why in outcome.refused.items()]
    return [*found, *refused] or [_failed(data, detector, "", outcome.reason)]


def by_file(data: str, detector: str, outcome: ImageOutcome) -> Iterator[Row]:
    """The rows of `files.json`."""
    for graph in outcome.graphs:
        shipped = graph.shipped
        on_device: Sequence[bool | None] = shipped.alarmed if shipped else [None] * len(outcome.images)
        said = zip(outcome.images, graph.said.scores, graph.said.relative, graph.said.alarmed, on_device, strict=True)
        for image, score, relative, alarmed, device_alarmed in said:
            yield {
                "data": data,
                "detector": detector,
                "format": shipped.format if shipped else "",
                "file": image.file,
                "kind": image.kind,
                "defective": image.defective,
                "score": score,
                "relative": relative,
                "alarmed": alarmed,
                "device_alarmed": device_alarmed,
            }


def _failed(data: str, detector: str, graph_format: str, reason: str) -> Row:
    named = {"data": data, "detector": detector, "format": graph_format}
    return named | dict.fromkeys(FIGURES) | {"failed": 1, "reason": reason}


def _row(data: str, detector: str, outcome: ImageOutcome, graph: JudgedGraph) -> Row:
    truth, shipped = outcome.truth, graph.shipped
    row = _failed(data, detector, shipped.format if shipped else "", "") | {"failed": 0}
    row |= {"normal": int((~truth).sum()), "defective": int(truth.sum())}
    row |= {name: getattr(outcome, name) for name in ("fitted", "validation", "device_frames")}
    row |= _of_scores(truth, graph.said)
    if shipped is None:
        return row
    on_device = metrics.confusion(truth, np.array(shipped.alarmed))
    names = ("bytes", "parity", "rank_correlation", "map_correlation", "ms_per_frame", "grade")
    row |= {name: getattr(shipped, name) for name in names}
    return row | {
        "device_f1": on_device.f1,
        "device_false_alarms": on_device.false_positives,
        "seconds": outcome.seconds,
    }


def _of_scores(truth: Flags, said: Said) -> Row:
    scores, alarmed = np.array(said.scores), np.array(said.alarmed)
    counted = metrics.confusion(truth, alarmed)
    ranked = _interval(truth, lambda drawn: metrics.auc_roc(truth[drawn], scores[drawn]))
    f1 = _interval(truth, lambda drawn: metrics.confusion(truth[drawn], alarmed[drawn]).f1)
    return {
        "image_auroc": metrics.auc_roc(truth, scores),
        "image_auroc_low": ranked[0],
        "image_auroc_high": ranked[1],
        "pixel_auroc": said.pixel_auroc,
        "aupro": said.aupro,
        "auc_pr": metrics.auc_pr(truth, scores),
        "f1": counted.f1,
        "f1_low": f1[0],
        "f1_high": f1[1],
        "precision": counted.precision,
        "recall": counted.recall,
        "false_alarms": counted.false_positives,
    }


def _interval(
    truth: Flags, figure: Callable[[NDArray[np.intp]], float | None]
) -> tuple[float, float] | tuple[None, None]:
    """95 % interval of a figure of images, given by their places, over images drawn with repetition."""
    if min(truth.sum(), (~truth).sum()) < FEWEST_IMAGES:
        return None, None
    return bootstrap_interval(range(len(truth)), lambda drawn: figure(np.array(drawn)), seed=SEED, rounds=ROUNDS)
