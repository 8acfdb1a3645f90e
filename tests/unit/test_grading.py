"""What is asked for where the normal data support no rate of false alarms."""

from __future__ import annotations

import numpy as np
import pytest

from converters.grading import refuse_provisional, refuse_too_short
from converters.refusal import Refused
from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.records import NS


def calibration(seconds: int, alarms_per_day: float) -> Calibration:
    """Of one score a second."""
    scores = np.random.default_rng(0).normal(size=seconds)
    return calibrate(scores, np.arange(seconds) * NS, alarms_per_day=alarms_per_day, n=1, m=1, join_s=10.0, k=1.0)


def test_what_is_missing_is_asked_to_be_recorded() -> None:
    with pytest.raises(Refused, match=r"40 s of .* Record at least 2 h 23 min more for validation, ask for more"):
        refuse_too_short(calibration(40, 1.0))
    with pytest.raises(Refused, match="Record at least 28 min 8 s more"):
        refuse_too_short(calibration(40, 5.0), most_s=2048.0)


def test_what_no_run_can_keep_is_not_asked_for() -> None:
    with pytest.raises(
        Refused, match="A run keeps 34 min 8 s of them at most: record as much and ask for 5 or more with --alarms"
    ):
        refuse_too_short(calibration(40, 1.0), most_s=2048.0)
    refuse_too_short(calibration(2048, 5.0), most_s=2048.0)
    few_peaks = calibration(410, 250.0)
    with pytest.raises(Refused, match="A run keeps 6 min 50 s of them at most: record as much and ask for 633 or more"):
        refuse_provisional(few_peaks, most_s=410.0)
    refuse_provisional(few_peaks.at(alarms_per_day=633.0), most_s=410.0)
