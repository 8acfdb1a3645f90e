"""Figures of a run: threshold from the validation part, everything else from the labelled test part.

    validation readings -> float graph -> calibrate -> threshold and its grade
    labelled test part  -> float graph -> metrics, the device's decisions

Everything is causal: a window's score uses no later reading, and the threshold comes from the validation part alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.records import Doubles, Floats
from edge_agent.contract.words import counted
from training.artifacts import Run
from training.data import DataError
from training.evaluation import metrics
from training.evaluation.alarms import Alarm, decide
from training.evaluation.scoring import Scored, score_readings
from training.splits import FEWEST_WINDOWS, Rows

LARGEST_BUFFER = 100
"""Longest buffer of VUS-PR in rows, as in its source; at most a tenth of the scored rows."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How a threshold is chosen from labels, beside the one from normal data."""

    false_alarm_weight: float = 1.0
    miss_weight: float = 1.0
    max_far_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TestPart:
    """The labelled test part and what the detector made of it."""

    readings: Floats
    """float32 [n, C]."""
    labels: Flags
    """bool [n]."""
    scored: Scored
    figures: metrics.Metrics
    chosen: metrics.ThresholdChoice | None
    """The threshold by the labels; None where they are all of one kind."""
    alarms: list[Alarm]
    on: Flags
    """bool [n], an alarm was on."""

    @property
    def truth(self) -> Flags:
        """Labels of the scored windows, bool [k]."""
        return self.labels[self.scored.row]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """All figures of a run."""

    calibration: Calibration
    validation: Scored
    test: TestPart | None
    """None without labels."""

    @property
    def unknown(self) -> list[str]:
        """Why readings have no score, each reason once."""
        return list(dict.fromkeys(self.validation.unknown + (self.test.scored.unknown if self.test else ())))

    def to_dict(self) -> dict[str, Any]:
        """What `metrics.json` keeps."""
        test = self.test
        return {
            "calibration": self.calibration.to_dict(),
            "test": None if test is None else test.figures.to_dict(),
            "by_labels": None if test is None or test.chosen is None else asdict(test.chosen),
        }


def evaluate_run(
    run: Run, *, threshold: float | None = None, choice: Choice | None = None, progress: bool = False
) -> Evaluation:
    """Score the validation and test part of a run.

    Args:
        run: the run folder.
        threshold: in the unit of the scores, instead of the one from the validation part.
        choice: how the threshold by the labels is chosen; it is told, not used.
        progress: draw bars.

    Raises:
        RunError: the run folder is incomplete.
        DataError: too few windows, or a threshold that is not above the median.
    """
    values, t_ns = run.validation
    validation = score_readings(run, [Rows(values=values, t_ns=t_ns, labels=None)], progress=progress)
    calibration = _calibrate(run, validation, threshold)
    return Evaluation(
        calibration=calibration,
        validation=validation,
        test=_test(run, calibration, choice or Choice(), progress=progress),
    )


def join_s(run: Run) -> float:
    """Alarming windows no further apart than this are one event: a window and the hold-off, in seconds."""
    return run.input.window_s + run.info.decision.rule.hold_off_s


def _calibrate(run: Run, scored: Scored, threshold: float | None) -> Calibration:
    if len(scored.scores) < FEWEST_WINDOWS:
        reasons = "; ".join(dict.fromkeys(scored.unknown)) or "the part is too short"
        raise DataError(
            f"validation gave {counted(len(scored.scores), 'score')}, at least {FEWEST_WINDOWS} are needed: {reasons}"
        )
    decision = run.info.decision
    calibration = calibrate(
        scored.scores,
        scored.t_ns,
        alarms_per_day=decision.alarms_per_day,
        n=decision.rule.n,
        m=decision.rule.m,
        join_s=join_s(run),
        k=run.info.k,
    )
    return with_threshold(calibration, threshold)


def with_threshold(calibration: Calibration, threshold: float | None) -> Calibration:
    """The calibration with a threshold chosen otherwise, or as it is.

    Raises:
        DataError: the threshold is not above the median of the normal scores.
    """
    if threshold is None:
        return calibration
    if not threshold > calibration.median:
        raise DataError(
            f"the threshold must be above the median of the validation scores, {calibration.median:.4g}, "
            f"got {threshold:g}"
        )
    return calibration.with_threshold(threshold)


def _test(run: Run, calibration: Calibration, choice: Choice, *, progress: bool) -> TestPart | None:
    if run.faulty is None:
        return None
    readings, t_ns, labels = run.faulty
    scored = score_readings(run, [Rows(values=readings, t_ns=t_ns, labels=labels)], progress=progress)
    if not len(scored.scores):
        return None
    truth, rule = labels[scored.row], run.info.decision.rule
    figures = metrics.evaluate(
        truth,
        scored.scores,
        scored.t_ns,
        threshold=calibration.threshold,
        join_s=join_s(run),
        max_buffer=min(LARGEST_BUFFER, max(len(truth) // 10, 1)),
        n=rule.n,
        m=rule.m,
    )
    alarms, on = decide(run, calibration, scored, labels)
    return TestPart(
        readings=readings,
        labels=labels,
        scored=scored,
        figures=figures,
        chosen=chosen_by_labels(truth, scored.scores, choice),
        alarms=alarms,
        on=on,
    )


def chosen_by_labels(truth: Flags, scores: Doubles, choice: Choice) -> metrics.ThresholdChoice | None:
    """The threshold of the least error by the labels, bool [k]; None where they are all of one kind.

    Raises:
        DataError: the choice is not possible.
    """
    if truth.all() or not truth.any():
        return None
    try:
        return metrics.choose_threshold(truth, scores, **asdict(choice))
    except ValueError as error:
        raise DataError(f"the threshold by the labels cannot be chosen: {error}") from error
