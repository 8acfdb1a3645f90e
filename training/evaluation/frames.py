"""Figures of a run on images: threshold from its normal validation images, everything else from its test images.

    validation images -> graph, as if unseen -> calibrate -> threshold and its grade, of score and of map
    test images       -> graph -> ranking, what the threshold finds, kind by kind

The graph is the float one in TensorFlow; others, such as those of a bundle on the device's runtime, can be judged
beside it, each by its own threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.peaks import nth_largest
from edge_agent.contract.records import NS, Doubles, Floats
from edge_agent.contract.zones import watched_cells
from training.data import DataError
from training.evaluation import metrics
from training.evaluation.evaluate import Choice, chosen_by_labels, with_threshold
from training.evaluation.frame_scoring import FloatGraph, FrameGraph, Scored, frames_of, score_frames
from training.evaluation.image_metrics import ImageMetrics, evaluate_images
from training.evaluation.intervals import bootstrap_interval
from training.evaluation.naming import Naming, naming
from training.image_artifacts import FrameRun, JudgedImage, spread
from training.images.folders import read_mask

MOST_JUDGED = 400
"""Test images whose pixels are ranked, evenly over all: 20 million pixels at 224 x 224, which take 1 GB to sort."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What became of the test images of one kind."""

    name: str
    """"good", or the kind of a defect."""
    defective: bool
    images: int
    alarmed: int
    image_auroc: float | None
    """Of a kind of defect against the normal images."""
    median: float
    """Median of the score, in distances of the threshold from the median of the normal validation images: 1 lies on the
    threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How well one graph tells the test images apart."""

    ranking: ImageMetrics
    image_auroc_interval: tuple[float, float] | None
    """What 95 % of the draws of as many images give."""
    auc_pr: float | None
    confusion: metrics.Confusion
    """At the threshold from the validation images."""
    precision: float | None
    recall: float | None
    f1: float | None
    accuracy: float | None
    judged_pixels_of: int
    """Images whose pixels were ranked."""
    kinds: tuple[Kind, ...]
    naming: Naming | None
    """How well kinds of defect are named; None where the graph tells none apart."""
    events: metrics.Detection | None
    """Of a sequence: anomalies found, delays, false alarms."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """What one graph made of a run's images."""

    calibration: Calibration
    map_calibration: Calibration | None
    """Of the largest cell of the map."""
    validation: Scored
    test: Scored | None
    """None without test images."""
    alarmed: Flags
    """bool [n], of the test images."""
    figures: Figures | None
    """None unless there are normal and defective test images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far the scores of a graph are from those of the float graph, over the test images, or else validation's."""

    largest_difference: float
    """In distances of the float graph's threshold from its median of normal images."""
    rank_correlation: float
    """Spearman's; 1: the same order."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameEvaluation:
    """All figures of a run on images."""

    images: tuple[JudgedImage, ...]
    """Test images that have a score."""
    float_graph: Judged
    by_labels: metrics.ThresholdChoice | None
    """The threshold by the labels, which is told and not used."""
    device: dict[str, tuple[Judged, Agreement]]
    """By name: the graphs of a bundle."""

    @property
    def truth(self) -> Flags:
        """Which test images are defective, bool [n]."""
        return np.array([image.defective for image in self.images], bool)

    def to_dict(self) -> dict[str, Any]:
        """What `metrics.json` keeps."""
        return {
            **_plain(self.float_graph),
            "by_labels": None if self.by_labels is None else asdict(self.by_labels),
            "device": {
                name: _plain(judged) | {"agreement": asdict(agreement)}
                for name, (judged, agreement) in self.device.items()
            },
        }


def _plain(judged: Judged) -> dict[str, Any]:
    return {
        "calibration": judged.calibration.to_dict(),
        "map_calibration": None if judged.map_calibration is None else judged.map_calibration.to_dict(),
        "test": None if judged.figures is None else asdict(judged.figures),
    }


def evaluate_frames(
    run: FrameRun,
    *,
    threshold: float | None = None,
    choice: Choice | None = None,
    device: Mapping[str, FrameGraph] | None = None,
    progress: bool = False,
) -> FrameEvaluation:
    """Score the validation and test images of a run.

    Args:
        run: the run folder; its images must still be where they were.
        threshold: in the unit of the scores, instead of the one from the validation images.
        choice: how the threshold by the labels is chosen.
        device: graphs to judge beside the float graph, by name.
        progress: draw bars.

    Raises:
        RunError: the run folder is incomplete.
        DataError: an image is not there any more, or a threshold that is not above the median.
    """
    judge = Judge(run, progress=progress)
    whole = judge(FloatGraph(run), "float", threshold)
    others = {name: judge(graph, name) for name, graph in (device or {}).items()}
    return FrameEvaluation(
        images=judge.images,
        float_graph=whole,
        by_labels=chosen_by_labels(judge.truth, whole.test.scores, choice or Choice()) if whole.test else None,
        device={name: (judged, agreement(judged, whole)) for name, judged in others.items()},
    )


class Judge:
    """Judges graphs on the images of a run."""

    def __init__(self, run: FrameRun, *, progress: bool = False) -> None:
        """Read the masks of the test images; `progress` draws bars.

        Raises:
            DataError: an image is not there any more.
        """
        frames_of(run, (*run.parts.validation, *(image.file for image in run.parts.test)))
        self.run, self.images, self._progress = run, run.parts.test[run.input.warm_up :], progress
        self.truth = np.array([image.defective for image in self.images], bool)
        """Which of `images` are defective."""
        self._masks = _masks(run, self.images)

    def __call__(self, graph: FrameGraph, name: str, threshold: float | None = None) -> Judged:
        """Score all images and judge, by this threshold or the one from the validation images.

        Raises:
            DataError: an image is not there any more, no score counts, or the threshold is not above the median.
        """
        parts = self.run.parts
        validation = self._scored(graph, name, parts.validation)
        if (optimism := self.run.optimism) is not None:
            scores, maps = optimism.unseen(validation.scores, validation.maps)
            validation = replace(validation, scores=scores, maps=maps)
        if not len(validation.scores):
            raise DataError(
                f"the {len(parts.validation)} validation frames are all within the detector's warm-up of "
                f"{self.run.input.warm_up}: give more frames, or a larger images.validation_share"
            )
        calibration = with_threshold(self.run.calibrate(validation.scores), threshold)
        test = self._scored(graph, name, tuple(image.file for image in parts.test)) if self.images else None
        alarmed = self._alarmed(test.scores, calibration) if test else np.zeros(0, bool)
        of_map = None if validation.peaks is None else self.run.calibrate(validation.peaks)
        both_kinds = self.truth.any() and not self.truth.all()
        return Judged(
            calibration=calibration,
            map_calibration=of_map,
            validation=validation,
            test=test,
            alarmed=alarmed,
            figures=self._figures(test, alarmed, calibration, of_map) if test and both_kinds else None,
        )

    def _scored(self, graph: FrameGraph, name: str, files: tuple[str, ...]) -> Scored:
        return score_frames(
            graph, frames_of(self.run, files), warm_up=self.run.input.warm_up, name=name, progress=self._progress
        )

    def _alarmed(self, scores: Doubles, calibration: Calibration) -> Flags:
        """Which frames alarm: of a sequence by N of M, else each by itself."""
        rule = self.run.info.decision.rule
        n, m = (rule.n, rule.m) if self.run.parts.sequence else (1, 1)
        return np.asarray(nth_largest(scores, np.arange(len(scores)) == 0, n, m) > calibration.threshold)

    def _figures(self, test: Scored, alarmed: Flags, calibration: Calibration, of_map: Calibration | None) -> Figures:
        confusion = metrics.confusion(self.truth, alarmed)
        pixels = self._pixels(test)
        return Figures(
            ranking=ImageMetrics(
                image_auroc=metrics.auc_roc(self.truth, test.scores),
                pixel_auroc=pixels.pixel_auroc if pixels else None,
                aupro=pixels.aupro if pixels else None,
            ),
            image_auroc_interval=_interval(self.truth, test.scores),
            auc_pr=metrics.auc_pr(self.truth, test.scores),
            confusion=confusion,
            precision=confusion.precision,
            recall=confusion.recall,
            f1=confusion.f1,
            accuracy=confusion.accuracy,
            judged_pixels_of=min(len(self.images), MOST_JUDGED) if pixels else 0,
            kinds=tuple(_kinds(self.images, test.scores, alarmed, calibration)),
            naming=naming(self.images, test, self.run.input.classes, of_map.threshold if of_map else None),
            events=self._events(alarmed) if self.run.parts.sequence else None,
        )

    def _pixels(self, test: Scored) -> ImageMetrics | None:
        """How well the map ranks pixels; None without masks or maps."""
        if self._masks is None or test.maps is None:
            return None
        judged = list(spread(len(self.images), MOST_JUDGED))
        areas = _enlarged(test.maps[judged], self._masks.shape[1:])
        return evaluate_images(self.truth[judged], test.scores[judged], areas, self._masks)

    def _events(self, alarmed: Flags) -> metrics.Detection:
        interval_s, rule = self.run.input.interval_s, self.run.info.decision.rule
        t_ns = np.round(np.arange(len(alarmed)) * interval_s * NS).astype(np.int64)
        return metrics.detection(self.truth, alarmed, t_ns, join_s=rule.joined_s(interval_s))


def agreement(judged: Judged, reference: Judged) -> Agreement:
    """Compare the scores of two graphs over the same images."""
    both = [(each.test or each.validation).scores for each in (judged, reference)]
    unit = reference.calibration.threshold - reference.calibration.median
    return Agreement(
        largest_difference=float(np.abs(both[0] - both[1]).max() / unit),
        rank_correlation=float(spearmanr(*both).statistic),
    )


def _interval(truth: Flags, scores: Doubles) -> tuple[float, float] | None:
    pairs = list(zip(truth.tolist(), scores.tolist(), strict=True))

    def auroc(drawn: Any) -> float | None:
        labels, values = zip(*drawn, strict=True)
        return metrics.auc_roc(np.array(labels, bool), np.array(values))

    return bootstrap_interval(pairs, auroc, rounds=500)


def _kinds(images: tuple[JudgedImage, ...], scores: Doubles, alarmed: Flags, calibration: Calibration) -> list[Kind]:
    names = np.array([image.kind for image in images])
    normal = np.array([not image.defective for image in images])
    found = []
    for name in sorted(set(names.tolist()), key=lambda name: (not normal[names == name].all(), name)):
        of_kind = names == name
        defective = not normal[of_kind].all()
        either = of_kind | normal
        found.append(
            Kind(
                name=name,
                defective=defective,
                images=int(of_kind.sum()),
                alarmed=int(alarmed[of_kind].sum()),
                image_auroc=metrics.auc_roc(of_kind[either], scores[either]) if defective else None,
                median=float(np.median(strength(scores[of_kind], calibration))),
            )
        )
    return found


def strength(scores: Doubles, calibration: Calibration) -> Doubles:
    """Scores in distances of the threshold from the median of normal images: 0 is usual, above 1 alarms."""
    return (scores - calibration.median) / (calibration.threshold - calibration.median)


def _masks(run: FrameRun, images: tuple[JudgedImage, ...]) -> Flags | None:
    """Where the images whose pixels are judged are defective and watched, bool [n, H, W]; None where it is not told."""
    defective = [image for image in images if image.defective]
    if not run.info.has_map or not defective or not all(image.mask for image in defective):
        return None
    chosen = [images[at] for at in spread(len(images), MOST_JUDGED)]
    masks = np.zeros((len(chosen), run.input.height, run.input.width), bool)
    for mask, image in zip(masks, chosen, strict=True):
        if image.mask:
            mask[...] = read_mask(Path(run.parts.folder) / image.mask, height=mask.shape[0], width=mask.shape[1])
    return masks & watched_cells(run.input.masks, run.input.height, run.input.width)


def _enlarged(maps: Floats, size: tuple[int, ...]) -> Floats:
    """Maps [n, h, w] at the size [H, W] of the frame, bilinear."""
    height, width = size
    return np.array([cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR) for each in maps])
