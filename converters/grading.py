"""Thresholds that the normal data do not support are refused, with how much more of them would do."""

from __future__ import annotations

import math

from converters.refusal import Refused
from edge_agent.contract.calibration import COUNTED_EVENTS, EXTRAPOLATED_EVENTS, Calibration, Grade
from edge_agent.contract.words import counted, duration

S_PER_HOUR, S_PER_DAY = 3600.0, 86_400.0


def refuse_too_short(calibration: Calibration, most_s: float = math.inf) -> None:
    """Refuse where no scores whatever would support the asked rate, before any work is done.

    Args:
        calibration: of any scores of the normal data: their time counts alone.
        most_s: seconds of validation data that a run can keep.

    Raises:
        Refused: with the time that is missing.
    """
    more_s = S_PER_DAY * (EXTRAPOLATED_EVENTS / calibration.alarms_per_day - calibration.normal_days)
    if more_s > 0:
        raise _provisional(calibration, "at least", more_s, most_s, EXTRAPOLATED_EVENTS)


def refuse_provisional(calibration: Calibration, most_s: float = math.inf) -> None:
    """Refuse a threshold that stands on no rate; `most_s` as above.

    Raises:
        Refused: with the time that would give one.
    """
    if calibration.grade is Grade.PROVISIONAL:
        raise _provisional(calibration, "about", S_PER_HOUR * calibration.hours_needed, most_s, COUNTED_EVENTS)


def _provisional(calibration: Calibration, about: str, more_s: float, most_s: float, events: float) -> Refused:
    """Tell what to do: what is missing may be recorded, or, beyond `most_s`, only so many events in that time asked."""
    normal_s = S_PER_DAY * calibration.normal_days
    if normal_s + more_s <= most_s:
        do = f"Record {about} {duration(more_s)} more for validation, ask for more false alarms with --alarms-per-day"
    else:
        rate = math.ceil(events * S_PER_DAY / most_s)
        most = f"A run keeps {duration(most_s)} of them at most"
        do = f"{most}: record as much and ask for {rate} or more with --alarms-per-day"
    return Refused(
        f"{duration(normal_s)} of normal validation data do not support "
        f"{counted(calibration.alarms_per_day, 'false alarm')} a day: the threshold would be provisional. {do}, or "
        "pack it all the same with --provisional"
    )
