"""What VUS-PR costs, and how much less than by the definition: `python -m benchmarks.vus [--json FILE]`.

The definition is worked off one buffer and one threshold at a time, with the 250 thresholds that the authors of the
measure sample; ours takes every distinct score. Both are measured in turns in one run.
"""

from __future__ import annotations

import numpy as np

from benchmarks.figures import Figure, main, medians
from edge_agent.contract.records import Doubles
from training.evaluation.metrics import Flags, event_rows, vus_pr

BUFFERS = 100
"""Longest buffer in rows, as in the source of the measure."""
THRESHOLDS = 250
"""Thresholds that the authors of the measure sample."""


def recording(rows: int, faults: int) -> tuple[Flags, Doubles]:
    """Return labels bool [rows] with a third of the rows faulty, and scores float64 [rows] that tell them badly."""
    rng = np.random.default_rng(0)
    labels = np.zeros(rows, np.bool_)
    for part in np.array_split(np.arange(rows), faults):
        labels[part[len(part) // 3 : 2 * len(part) // 3]] = True
    return labels, rng.normal(size=rows) + labels


def by_definition(labels: Flags, scores: Doubles) -> float:
    """One buffer and one threshold at a time."""
    sampled = np.quantile(scores, np.linspace(1, 0, THRESHOLDS))
    return float(np.mean([_area(labels, scores, sampled, buffer) for buffer in range(BUFFERS + 1)]))


def _area(labels: Flags, scores: Doubles, thresholds: Doubles, buffer: int) -> float:
    soft = labels.astype(np.float64)
    for first, stop in event_rows(labels):
        for away in range(1, buffer // 2 + 1):
            for row in (first - away, stop - 1 + away):
                if 0 <= row < len(soft):
                    soft[row] = min(1.0, soft[row] + np.sqrt(1 - away / buffer))
    faults = event_rows(soft > 0)
    recalls, precisions = [0.0], [1.0]
    for threshold in thresholds:
        alarmed = scores >= threshold
        found = sum(bool(alarmed[first:stop].any()) for first, stop in faults)
        hits = float(soft[alarmed].sum())
        recalls.append(min(1.0, 2 * hits / float(labels.sum() + soft.sum())) * found / len(faults))
        precisions.append(hits / np.count_nonzero(alarmed))
    return float(np.trapezoid(precisions, recalls))


def all_figures() -> list[Figure]:
    """Measure a file of SKAB's size, and a long recording."""
    labels, scores = recording(750, 1)
    long_labels, long_scores = recording(100_000, 50)
    taken = medians(
        {
            "short": lambda: vus_pr(labels, scores, BUFFERS),
            "definition": lambda: by_definition(labels, scores),
            "long": lambda: vus_pr(long_labels, long_scores, BUFFERS),
        },
        rounds=5,
    )
    return [
        Figure("VUS-PR, 750 rows, 101 buffers", taken["short"] / 1e3, "ms"),
        Figure("VUS-PR, 750 rows, by the definition against ours", taken["definition"] / taken["short"], "x"),
        Figure("VUS-PR, 100,000 rows, 101 buffers", taken["long"] / 1e6, "s"),
    ]


if __name__ == "__main__":
    main(all_figures, __doc__)
