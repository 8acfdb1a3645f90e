"""What detectors of clips see and detectors of frames cannot: a scene whose faults are of order and pace alone.

    python -m training.experiments.clips

Each detector is fitted on a belt that runs as it should (`training.experiments.belt`), and judged on clips of another
one: after a normal start, time goes on, backwards, not at all, twice or half as fast, or in swapped pairs. Every frame
alone is normal. Printed is a line for each detector: the AUROC of its scores frame by frame against those of normal
clips, for each kind of fault; .5 is chance. Scores are those of the float graph; frames of the start do not count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from edge_agent.contract.records import Doubles
from training.evaluation.metrics import auc_roc
from training.experiments.belt import Belt, Order
from training.images.detector import FrameSet, ImageData, ImageDetector
from training.images.detectors import image_detector
from training.images.folders import Pixels
from training.recipe import RecipeError, TrainingSettings

START_FRAMES = 16
"""Normal frames at the start of a clip: more than any detector takes to warm up."""

FAULT_FRAMES = 20
"""Frames behind them, which count."""

LATEST = 600
"""Moment that clips start before, drawn anew for each of a kind."""

DETECTORS = ("clip_convolution", "clip_lstm", "padim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How large the experiment is."""

    size: int = 64
    """Pixels a side."""
    frames: int = 300
    """Normal frames to train on."""
    stopping: int = 60
    """Further ones that early stopping watches."""
    clips: int = 8
    """Of each kind."""
    seed: int = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit and judge the detectors."""
    options = _parser().parse_args(arguments)
    amounts = Amounts(size=options.size, frames=options.frames, clips=options.clips, seed=options.seed)
    faults = [order for order in Order if order is not Order.NORMAL]
    print(_line(["detector", *faults, "fit_s"]), _line(["---"] * (len(faults) + 2)), sep="\n")
    try:
        for name in options.detector or DETECTORS:
            start_s = time.monotonic()
            training = TrainingSettings(seed=amounts.seed, epochs=options.epochs)
            cls = image_detector(name)
            detector = fitted(cls, cls.Settings(), training, amounts)
            took_s = time.monotonic() - start_s
            found = judge(detector, amounts)
            print(_line([name, *(_cell(found[order]) for order in faults), f"{took_s:.0f}"]), flush=True)
    except (RecipeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def fitted(
    cls: type[ImageDetector[Any]], settings: Any, training: TrainingSettings, amounts: Amounts
) -> ImageDetector[Any]:
    """A detector fitted on one belt and stopped on another."""
    detector = cls(settings, training, amounts.size, amounts.size)
    with tempfile.TemporaryDirectory(prefix="clips-") as folder:
        normal, stopping = (
            _written(amounts.seed + other, amounts.size, count, Path(folder) / str(other))
            for other, count in enumerate((amounts.frames, amounts.stopping))
        )
        detector.fit(ImageData(normal=normal, stopping=stopping), progress=sys.stderr.isatty())
    return detector


def judge(detector: ImageDetector[Any], amounts: Amounts) -> dict[Order, float | None]:
    """AUROC of each kind of fault against the normal clips, frame by frame."""
    scorer = Scorer(detector)
    scores = {order: scorer.all(clips(order, amounts)) for order in Order}
    normal = scores.pop(Order.NORMAL)
    return {
        order: auc_roc(np.arange(len(normal) + len(faulty)) >= len(normal), np.concatenate([normal, faulty]))
        for order, faulty in scores.items()
    }


def clips(order: Order, amounts: Amounts) -> list[Pixels]:
    """Clips uint8 [START_FRAMES + FAULT_FRAMES, H, W, 3] of a belt that no detector saw; all kinds start alike."""
    belt = Belt(amounts.seed + 2, amounts.size)
    kind = list(Order).index(order)
    starts = np.random.default_rng(amounts.seed).integers(LATEST, size=amounts.clips).tolist()
    moments = np.concatenate([np.arange(1 - START_FRAMES, 1), order.moments(FAULT_FRAMES)])
    return [
        np.array([belt.pixels(start + START_FRAMES + moment, (kind, clip, at)) for at, moment in enumerate(moments)])
        for clip, start in enumerate(starts)
    ]


class Scorer:
    """Scores clips with a detector's graph."""

    def __init__(self, detector: ImageDetector[Any]) -> None:
        """Trace the graph."""
        graph = detector.score_graph()
        self._states = {name: shape for name, shape in graph.inputs.items() if name != "frame"}
        self._concrete = graph.concrete()

    def scores(self, clip: Pixels) -> Doubles:
        """Scores float64 [n] of the frames of one clip, from a reset."""
        states, found = {name: tf.zeros(shape) for name, shape in self._states.items()}, []
        for frame in clip:
            outputs = self._concrete(frame=tf.constant(frame[np.newaxis]), **states)
            states = {name: outputs[name] for name in states}
            found.append(float(outputs["score"][0]))
        return np.array(found)

    def all(self, some: list[Pixels]) -> Doubles:
        """Scores of the frames that count of all clips."""
        return np.concatenate([self.scores(clip)[START_FRAMES:] for clip in some])


def _written(seed: int, size: int, count: int, folder: Path) -> FrameSet:
    """The first frames of a belt as files without loss, as a camera's recording would be."""
    folder.mkdir()
    belt, paths = Belt(seed, size), []
    for number in range(count):
        paths.append(folder / f"{number:06}.png")
        cv2.imwrite(str(paths[-1]), cv2.cvtColor(belt.pixels(number, (number,)), cv2.COLOR_RGB2BGR))
    return FrameSet(tuple(paths), size, size)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.experiments.clips", description=(__doc__ or "").split("\n")[0]
    )
    usual = Amounts()
    parser.add_argument("--detector", action="append", help=f"may be repeated (default: {', '.join(DETECTORS)})")
    parser.add_argument(
        "--size", type=int, default=usual.size, help="pixels a side of the frame (default: %(default)s)"
    )
    parser.add_argument("--frames", type=int, default=usual.frames, help="to train on (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=usual.clips, help="of each kind (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=40, help="of training at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=usual.seed, help="(default: %(default)s)")
    return parser


def _cell(area: float | None) -> str:
    return "-" if area is None else f"{area:.3f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
