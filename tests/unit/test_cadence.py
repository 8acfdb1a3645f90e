"""Which frames of a camera a streaming graph takes."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.contract.records import NS
from edge_agent.vision.cadence import MOST_CUT_SHORT, Cadence, Step

GO, WARMING = Step(begins=False, warming=False), Step(begins=False, warming=True)


def taken(cadence: Cadence, *times_s: float) -> list[Step | None]:
    return [cadence.take(round(1e9 * time_s)) for time_s in times_s]


def test_the_first_frames_begin_and_warm_up() -> None:
    assert taken(Cadence(1.0, 2), 0, 1, 2) == [Step(begins=True, warming=True), WARMING, GO]


def test_without_a_warm_up_the_first_frame_counts() -> None:
    assert taken(Cadence(1.0, 0), 0) == [Step(begins=True, warming=False)]


@pytest.mark.parametrize("rate_hz", [2, 5, 7, 25, 30])
def test_a_faster_camera_is_thinned_out_to_the_pace(rate_hz: int) -> None:
    cadence = Cadence(0.5, 0)
    times = [number / rate_hz for number in range(100 * rate_hz)]
    assert sum(step is not None for step in taken(cadence, *times)) == pytest.approx(200, abs=2)


def test_frames_that_tremble_in_time_are_all_taken() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(200) * 0.1 + rng.uniform(-0.01, 0.01, 200)
    steps = taken(Cadence(0.1, 0), *times)
    assert None not in steps
    assert sum(step.begins for step in steps if step) == 1


@pytest.mark.parametrize("time_s", [3.6, 1.9, -100.0])
def test_a_missing_frame_or_a_step_back_begins_anew(time_s: float) -> None:
    assert taken(Cadence(1.0, 1), 0, 1, 2, time_s)[-1] == Step(begins=True, warming=True)


def test_a_pace_at_which_no_score_ever_counts_is_told_until_one_does() -> None:
    cadence = Cadence(1.0, 2)
    slow = taken(cadence, *range(0, 2 * MOST_CUT_SHORT + 2, 2))
    assert [bool(step and step.problem) for step in slow] == [False] * MOST_CUT_SHORT + [True]
    assert "1 s" in slow[-1].problem
    begin_s = 2 * MOST_CUT_SHORT
    even = taken(cadence, begin_s + 1, begin_s + 2)
    assert [(step.warming, bool(step.problem)) for step in even] == [(True, True), (False, False)]


def test_a_frame_lost_now_and_then_is_no_problem_of_the_pace() -> None:
    times = [second for second in range(200) if second % 10]
    assert not any(step and step.problem for step in taken(Cadence(1.0, 3), *times))


def test_after_a_restart_the_next_frame_begins() -> None:
    cadence = Cadence(1.0, 0)
    cadence.take(0)
    cadence.restart()
    assert cadence.take(NS) == Step(begins=True, warming=False)
