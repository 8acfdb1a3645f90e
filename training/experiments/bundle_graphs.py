"""The graphs of a bundle for a camera on the device's runtime, to be judged beside the float graph of its run."""

from __future__ import annotations

from pathlib import Path

from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.frame_manifest import FrameGraphSpec
from edge_agent.contract.frames import FrameScore
from edge_agent.contract.manifest import GraphFormat
from edge_agent.errors import EdgeAgentError
from edge_agent.scoring.frame_interpreter import FrameScorer
from training.data import DataError
from training.image_artifacts import FrameRun
from training.images.folders import Pixels


class BundleGraph:
    """One graph of a bundle as `training.evaluation` judges it."""

    def __init__(self, bundle: FrameBundle, spec: FrameGraphSpec) -> None:
        """Load it."""
        self._scorer = FrameScorer(bundle.members[spec.file], spec)

    def reset(self) -> None:
        """Forget the frames before."""
        self._scorer.reset()

    def __call__(self, pixels: Pixels) -> FrameScore:
        """Score, map and kinds of one frame uint8 [H, W, 3]."""
        return self._scorer.score(pixels)


def bundle_graphs(path: Path, run: FrameRun) -> dict[str, BundleGraph]:
    """The graphs of a bundle by their format; that for an Edge TPU is left out, since it takes the accelerator.

    Raises:
        DataError: it is no bundle of a camera, or one for other frames than the run's.
    """
    try:
        bundle = FrameBundle.read(path)
        wanted = bundle.manifest.input
        if (wanted.height, wanted.width, wanted.streaming) != (run.input.height, run.input.width, run.input.streaming):
            raise DataError(
                f"{path} is for frames of {wanted.width} x {wanted.height}, the run {run.path} for "
                f"{run.input.width} x {run.input.height}: build the bundle from this run"
            )
        return {
            spec.format.value: BundleGraph(bundle, spec)
            for spec in bundle.manifest.graphs
            if spec.format is not GraphFormat.EDGETPU
        }
    except EdgeAgentError as error:
        raise DataError(f"{path}: {error}") from error
