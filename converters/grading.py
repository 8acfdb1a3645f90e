"""Thresholds that the normal data do not support are refused, with how much more of them would do."""

from __future__ import annotations

from converters.refusal import Refused
from edge_agent.contract.calibration import EXTRAPOLATED_EVENTS, Calibration, Grade
from edge_agent.contract.words import counted, duration

S_PER_HOUR, S_PER_DAY = 3600.0, 86_400.0


def refuse_too_short(calibration: Calibration) -> None:
    """Refuse where no scores whatever would support the asked rate, before any work is done.

    Args:
        calibration: of any scores of the normal data: their time counts alone.

    Raises:
        Refused: with the time that is missing.
    """
    more_s = S_PER_DAY * (EXTRAPOLATED_EVENTS / calibration.alarms_per_day - calibration.normal_days)
    if more_s > 0:
        raise _provisional(calibration, f"at least {duration(more_s)}")


def refuse_provisional(calibration: Calibration) -> None:
    """Refuse a threshold that stands on no rate.

    Raises:
        Refused: with the time that would give one.
    """
    if calibration.grade is Grade.PROVISIONAL:
        raise _provisional(calibration, f"about {duration(S_PER_HOUR * calibration.hours_needed)}")


def _provisional(calibration: Calibration, more: str) -> Refused:
    return Refused(
        f"{duration(S_PER_DAY * calibration.normal_days)} of normal validation data do not support "
        f"{counted(calibration.alarms_per_day, 'false alarm')} a day: the threshold would be provisional. Record "
        f"{more} more for validation, ask for more false alarms with --alarms-per-day, or pack it all the same with "
        "--provisional"
    )
