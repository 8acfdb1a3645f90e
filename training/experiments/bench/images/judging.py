"""The graphs of a bundle for a camera over the test images of its run, as the device has them.

    score, map    of the device's scorer on one thread, of frames as the device's `resize` makes them
    alarm         the score is above the threshold of the bundle, which normal images alone have set
    device alarm  what the device decides by score and map (`converters.frames.backtest`)

Training reads and resizes images by the contract's `resize`, which the device uses too; the scorer is the device's own.
What is left to differ is how a file is decoded, so each test image is also read by the device's source and the
frames are compared to the pixel: where they are the same, so are the scores.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from converters.frames.backtest import alarms, sightings
from converters.frames.build import FrameBuild
from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.frame_manifest import FrameGraphSpec
from edge_agent.contract.frames import FrameScore, Pixels
from edge_agent.contract.manifest import GraphFormat
from edge_agent.contract.records import NS, Doubles
from edge_agent.contract.resize import resize
from edge_agent.errors import FrameError
from edge_agent.scoring.frame_interpreter import FrameScorer
from edge_agent.sources.opencv import decode
from training.data import DataError
from training.evaluation.frames import Judge, strength
from training.experiments.bench.images.outcome import ImageOutcome, JudgedGraph, Said, ShippedGraph
from training.image_artifacts import FrameRun
from training.images.folders import read_image

RUNTIME = "litert"
"""The runtime that scores here, and whose parity is told."""

MS_PER_NS = 1e3 / NS

FASTEST = 0.25
"""Share of the calls whose median is told. A frame takes longer than a workstation leaves a process alone, so that the
slower calls measure what else runs there."""


class TimedGraph:
    """A graph on the device's scorer, as `training.evaluation` judges it, with the time of every call kept."""

    def __init__(self, model: bytes, spec: FrameGraphSpec) -> None:
        """Load it."""
        self._scorer = FrameScorer(model, spec, runtime=RUNTIME, threads=1)
        self.took_ns: list[int] = []

    def reset(self) -> None:
        """Forget the frames before."""
        self._scorer.reset()

    def __call__(self, pixels: Pixels) -> FrameScore:
        """Score, map and kinds of one frame uint8 [H, W, 3]; errors as the scorer's."""
        score = self._scorer.score(pixels)
        self.took_ns.append(score.took_ns)
        return score

    def ms(self) -> float:
        """Median milliseconds of the fastest calls."""
        fastest = np.sort(self.took_ns)[: max(1, round(FASTEST * len(self.took_ns)))]
        return float(np.median(fastest)) * MS_PER_NS


def judge(made: FrameBuild, started_s: float) -> ImageOutcome:
    """Run every graph of a bundle over the test images.

    Args:
        made: the run and its bundle.
        started_s: when the fit began, of `time.monotonic`.

    Raises:
        DataError: there are not both normal and defective images among those that count.
    """
    bundle, judged = FrameBundle.read(made.data), Judge(made.run)
    if judged.truth.all() or not judged.truth.any():
        raise DataError(
            f"of the test images {int(judged.truth.sum())} are defective and {int((~judged.truth).sum())} normal, "
            "after those that cannot be read, were learned from or warm up: some of both are needed"
        )
    specs = sorted(bundle.manifest.graphs, key=lambda graph: graph.format is not GraphFormat.INT8)
    parts = made.run.parts
    return ImageOutcome(
        images=judged.images,
        fitted=len(parts.training) + len(parts.stopping) + len(parts.defective),
        validation=len(parts.validation),
        graphs=tuple(_graph(bundle, spec, judged) for spec in specs),
        refused=made.refused | made.not_made,
        device_frames=device_frames(made.run, [image.file for image in judged.images]),
        seconds=time.monotonic() - started_s,
    )


def _graph(bundle: FrameBundle, spec: FrameGraphSpec, judge_images: Judge) -> JudgedGraph:
    graph, calibration, parity = TimedGraph(bundle.graph(spec.format), spec), spec.calibration, spec.parity[RUNTIME]
    judged = judge_images(graph, spec.format.value, calibration.threshold)
    test, figures = judged.test, judged.figures
    assert test is not None  # noqa: S101 - there are test images of both kinds
    assert figures is not None  # noqa: S101 - the same
    maps = [None] * len(test.scores) if test.maps is None else test.maps
    scored = [FrameScore(value=value, map=cells) for value, cells in zip(test.scores.tolist(), maps, strict=True)]
    return JudgedGraph(
        said=Said(
            scores=_plain(test.scores),
            relative=_plain(strength(test.scores, calibration)),
            alarmed=tuple(judged.alarmed.tolist()),
            pixel_auroc=figures.ranking.pixel_auroc,
            aupro=figures.ranking.aupro,
        ),
        shipped=ShippedGraph(
            format=spec.format.value,
            bytes=spec.size,
            parity=parity["largest_error"],
            rank_correlation=parity["rank_pooled"],
            map_correlation=parity.get("map_correlation"),
            ms_per_frame=graph.ms(),
            grade=calibration.grade.value,
            alarmed=tuple(alarms(bundle.manifest, sightings(bundle.manifest, spec, scored)).tolist()),
        ),
    )


def _plain(values: Doubles) -> tuple[float, ...]:
    return tuple(values.tolist())


def device_frames(run: FrameRun, files: Sequence[str]) -> float:
    """Share of the images that the device's source and `resize` make the same frame of, to the pixel, as was scored."""
    height, width = run.input.height, run.input.width
    same = [_same_frame(Path(run.parts.folder) / file, height, width) for file in files]
    return sum(same) / len(same)


def _same_frame(path: Path, height: int, width: int) -> bool:
    try:
        on_device = resize(decode(path.read_bytes()), height, width)
    except FrameError:
        return False
    return bool(np.array_equal(on_device, read_image(path, height=height, width=width)))
