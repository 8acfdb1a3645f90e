"""A bundle for a camera over the run's frames, decided as the device does: what would have been alarmed.

Validation and test frames are stills, evenly taken from many, so each is decided alone: it is in alarm where a region
of its map, or its score, is above the threshold, zones and masks as on the device. N of M and hold-off, which ask for
neighbours, are left out, as are camera health and the scene's prefilter, which a device learns on site. Frames of a
streaming detector follow each other: there N of M and hold-off count, and a frame is in alarm while an event is open.
Where the graph tells kinds of defect apart, a frame in alarm is named by its strongest region.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.frame_manifest import FrameGraphSpec, FrameManifest
from edge_agent.contract.frames import FrameScore, Pixels
from edge_agent.contract.records import NS, Stage
from edge_agent.scoring.frame_interpreter import FrameScorer
from edge_agent.vision.map_watch import MapWatch, Sighting, Thresholds
from edge_agent.vision.regions import LocalisationSettings
from training.image_artifacts import Optimism


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameBacktest:
    """What the device would have made of some frames."""

    frames: int
    """That count: without those that warm up."""
    normal: int
    false_alarms: int
    """Normal frames in alarm."""
    defective: int = 0
    found: int = 0
    """Defective frames in alarm."""
    known: int | None = None
    """Of these, frames of a kind that the graph knows; None where it tells none apart."""
    named: int | None = None
    """Of these, frames that are named rightly."""

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None without defective frames."""
        if not self.defective:
            return None
        return 2 * self.found / (self.found + self.false_alarms + self.defective)

    def figures(self) -> dict[str, float | int | None]:
        """As the manifest keeps them: six decimals."""
        counts = {name: count for name, count in asdict(self).items() if count is not None}
        return {**counts, "f1": None if self.f1 is None else round(self.f1, 6)}


def backtest(
    bundle: FrameBundle,
    graph_format: str,
    frames: Pixels,
    *,
    labels: NDArray[np.bool_] | None = None,
    kinds: NDArray[np.int64] | None = None,
    optimism: Optimism | None = None,
) -> FrameBacktest:
    """Run one graph of a bundle over frames.

    Args:
        bundle: as the device reads it.
        graph_format: which of its graphs, one that this machine can run.
        frames: uint8 [n, H, W, 3], of a streaming detector in order of time.
        labels: bool [n], defective ones; None: all normal.
        kinds: int [n], which of the manifest's classes each is of; -1: of none; None: not told.
        optimism: of frames that the fit saw, which are decided as if it had not.

    Raises:
        ScoringError: the graph does not run here.
    """
    manifest, graph = bundle.manifest, bundle.manifest.graph(graph_format)
    scorer = FrameScorer(bundle.graph(graph_format), graph, runtime="litert")
    warm_up = manifest.input.warm_up
    counted = [scorer.score(pixels) for pixels in frames][warm_up:]
    if optimism is not None:
        counted = [_unseen(each, optimism.of([at])) for at, each in enumerate(counted)]
    seen = sightings(manifest, graph, counted)
    alarmed = alarms(manifest, seen)
    defective = np.zeros(len(alarmed), bool) if labels is None else labels[warm_up:]
    known = named = None
    if scorer.classes and kinds is not None:
        known, named = names(seen, alarmed, kinds[warm_up:], manifest.input.classes)
    return FrameBacktest(
        frames=len(alarmed),
        normal=int((~defective).sum()),
        false_alarms=int((alarmed & ~defective).sum()),
        defective=int(defective.sum()),
        found=int((alarmed & defective).sum()),
        known=known,
        named=named,
    )


def _unseen(score: FrameScore, optimism: Optimism) -> FrameScore:
    """What a graph gives for a frame that the fit saw, as if it had not."""
    values, maps = optimism.unseen(np.array([score.value]), None if score.map is None else score.map[np.newaxis])
    return replace(score, value=float(values[0]), map=None if maps is None else maps[0])


def alarms(manifest: FrameManifest, seen: Sequence[Sighting]) -> NDArray[np.bool_]:
    """Which frames are in alarm, bool [n], of what the device finds in them."""
    return np.array([each.anomaly if manifest.input.streaming else bool(each.regions) for each in seen], bool)


def names(
    seen: Sequence[Sighting], alarmed: NDArray[np.bool_], kinds: NDArray[np.int64], classes: Sequence[str]
) -> tuple[int, int]:
    """How many frames in alarm are of a kind that the graph knows, and how many of these are named rightly.

    A frame in which nothing stands out while an event goes on is not named.

    Args:
        seen: what the device finds in n frames.
        alarmed: bool [n].
        kinds: int [n], which of the classes each is of; -1: of none.
        classes: that the graph tells apart.
    """
    known = np.flatnonzero(alarmed & (kinds >= 0)).tolist()
    named = [at for at in known if seen[at].regions and seen[at].regions[0].kind == classes[int(kinds[at])]]
    return len(known), len(named)


def sightings(manifest: FrameManifest, graph: FrameGraphSpec, scored: Iterable[FrameScore]) -> list[Sighting]:
    """What the device finds in frames by what a graph gave for them, those of its warm-up left out.

    Raises:
        ScoringError: a map is not finite where it is watched.
    """
    spec, numbers = manifest.input, itertools.count(1)
    watch = MapWatch(
        Thresholds(score=graph.calibration, map=graph.map_calibration or graph.calibration),
        manifest.decision.rule,
        spec.interval_s,
        lambda: f"event-{next(numbers)}",
        settings=LocalisationSettings(zones=spec.zones, masks=spec.masks),
        stage=Stage.NETWORK,
        classes=spec.classes,
    )
    return [
        watch.see(round(number * spec.interval_s * NS), each.value, each.map, each.kinds)
        for number, each in enumerate(scored)
    ]
