"""How a backtest counts: the pipeline is the device's, its decisions are given here."""

from __future__ import annotations

import numpy as np
import pytest

from converters import backtest as module
from converters.backtest import Backtest, backtest
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.records import NS, Block, Decision, EventKind, Life, Transition
from edge_agent.pipeline import Counts
from tests.bundles import bundle_bytes

BUNDLE = Bundle.read(bundle_bytes())


class ScriptedPipeline:
    """Alarms in the rows whose first value is 1, and opens an event at the first of each run of them."""

    def __init__(self) -> None:
        self.counts = Counts(windows=7, scored=5)
        self._open = False

    def feed(self, block: Block) -> list[Decision]:
        return [self._decide(int(t), bool(value)) for t, value in zip(block.t_ns, block.values[:, 0], strict=True)]

    def _decide(self, t_ns: int, alarm: bool) -> Decision:
        opens = alarm and not self._open
        self._open = alarm
        opening = Transition(kind=EventKind.ANOMALY, life=Life.OPEN, id="e", t_ns=t_ns, since_ns=t_ns)
        return Decision(t_ns=t_ns, anomaly=alarm, transitions=(opening,) if opens else ())


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_pipeline", lambda *_: ScriptedPipeline())


def run(alarms: list[int], faults: list[int] | None, t: np.ndarray | None = None) -> Backtest:
    """A recording of 100 rows with alarms and labels in these rows; the window has 4 rows, N-of-M is 3 of 5."""
    values, labels = np.zeros((100, 2), np.float32), np.zeros(100, bool)
    values[alarms] = 1
    labels[faults or []] = True
    t_ns = (np.arange(100) if t is None else t).astype(np.int64) * NS
    return backtest(BUNDLE, "float32", values, t_ns, None if faults is None else labels)


def test_an_alarm_in_a_fault_finds_it_at_the_time_of_its_row() -> None:
    found = run([35, 36], list(range(30, 50)))
    assert (found.faults, found.detected, found.false_alarms, found.median_delay_s) == (1, 1, 0, 5.0)


def test_an_alarm_that_reaches_into_a_fault_finds_it_and_is_not_false() -> None:
    found = run(list(range(20, 40)), list(range(30, 50)))
    assert (found.detected, found.false_alarms, found.median_delay_s) == (1, 0, 0.0)


def test_an_alarm_elsewhere_is_false_and_finds_nothing() -> None:
    found = run([10, 11], list(range(30, 50)))
    assert (found.detected, found.false_alarms, found.median_delay_s) == (0, 1, None)


@pytest.mark.parametrize(("row", "false"), [(58, 0), (59, 1)])
def test_windows_that_still_hold_faulty_rows_are_no_false_alarm(row: int, false: int) -> None:
    assert run([row], list(range(30, 50))).false_alarms == false


def test_without_labels_every_event_is_false() -> None:
    found = run([1, 2, 50], None)
    assert (found.events, found.false_alarms, found.faulty_silent) == (2, 2, None)
    assert found.false_alarms_per_day == pytest.approx(2 * 86_400 / 99)


def test_false_alarms_are_told_by_the_day_of_normal_time() -> None:
    found = run([10, 11], list(range(30, 50)))
    assert found.hours == pytest.approx(99 / 3600)
    assert found.false_alarms_per_day == pytest.approx(86_400 / 79)


def test_rows_in_alarm_are_shares_of_the_normal_and_of_the_faulty_ones() -> None:
    found = run(list(range(40, 60)), list(range(30, 50)))
    assert (found.normal_in_alarm, found.faulty_silent) == (10 / 80, 0.5)


def test_recordings_may_follow_one_another_in_any_order() -> None:
    t = np.concatenate([1000 + np.arange(50), np.arange(50)])
    found = run([70, 71], list(range(68, 75)), t)
    assert (found.detected, found.false_alarms, found.median_delay_s) == (1, 0, 2.0)
    assert found.hours == pytest.approx(98 / 3600)
