"""The two loops of a stream, run to their end one after the other: no thread, no sleep, all time virtual."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_agent import block_reader, read_loop, stream
from edge_agent.backoff import Backoff
from edge_agent.block_reader import QUEUE_BLOCKS, BlockReader
from edge_agent.contract.records import NS, Block, Decision, Fault, Unknown
from edge_agent.errors import SourceUnavailable
from edge_agent.stream import Stream, Watcher
from edge_agent.watch_loop import LONGEST_RESTART_S
from tests.fakes import KeptDecisions, Normal, ScriptedSource, Watched, block
from tests.virtual_clock import EPOCH_NS, VirtualClock

GONE = SourceUnavailable("the port went away")
STOP = "stop"
"""In a script: the stream is asked to stop."""


def time_out(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for module in (read_loop, block_reader, stream):
        monkeypatch.setattr(module, "READ_TIMEOUT_S", seconds)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that is empty or full is seen at once; reads time out on the virtual clock."""
    time_out(monkeypatch, 1e-9)


class Poisoned(Normal):
    """A watcher that fails on a block whose first value is 666."""

    def feed(self, given: Block) -> list[Decision]:
        if given.values[0, 0] == 666:
            raise RuntimeError("poison")
        return super().feed(given)


class Bench:
    """A stream with its source, its watchers and its sink."""

    def __init__(
        self, *script: Any, make: Callable[[], Watcher] = Normal, no_data_s: float = 10.0, **given: Any
    ) -> None:
        self.clock = VirtualClock()
        steps = [(lambda: self.stream.ask_to_stop()) if each is STOP else each for each in script]  # noqa: PLW0108 - made below
        self.source = ScriptedSource(self.clock, *steps, **given)
        self.sink, self.supervision = KeptDecisions(), Watched()
        self.watchers: list[Any] = []
        self.waited: list[float] = []
        self.make = make
        reader = BlockReader(
            "pump",
            self.source,
            clock=self.clock,
            no_data_s=no_data_s,
            supervision=self.supervision,
            backoff=Backoff(first_s=1.0, longest_s=1.0),
            wait=self._wait,
        )
        self.stream = Stream(reader, self._make, self.sink, wait=self._wait)

    def _make(self) -> Watcher:
        self.watchers.append(self.make())
        return self.watchers[-1]

    def _wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.clock.sleep(max(seconds, 0.25))

    def run(self) -> KeptDecisions:
        """Read to the end, then decide to the end."""
        self.stream.reader.run()
        self.stream.run()
        return self.sink

    def fed(self) -> list[Block]:
        return [each for watcher in self.watchers for each in watcher.fed]


def rows(start: int, count: int = 1, value: float = 1.0) -> Block:
    return block(np.full((count, 2), value), start)


def test_every_reading_is_decided_in_order() -> None:
    bench = Bench(rows(0, 3), rows(3), rows(4, 2))
    assert [each.t_ns for each in bench.run().decisions] == [EPOCH_NS + i * NS for i in range(6)]
    assert bench.stream.counts.readings == 6


def test_the_end_of_a_finite_source_ends_the_stream() -> None:
    bench = Bench(rows(0))
    bench.run()
    assert bench.stream.finished.is_set()
    assert bench.source.log == ["open", "close"]


def test_what_was_held_back_is_published_at_the_end() -> None:
    assert Bench(rows(0)).run().settled[-1] is True


def test_what_was_held_back_may_go_out_at_every_turn() -> None:
    assert Bench(rows(0), rows(1)).run().settled == [False, False, False, True]


def test_nobody_is_expected_to_move_after_the_end() -> None:
    bench = Bench(rows(0))
    bench.run()
    assert bench.supervision.waiting == set()
    assert {"+pump-reader", "+pump-watcher"} <= set(bench.supervision.log)


# The source goes away.


def test_a_source_that_goes_away_is_told_and_opened_again() -> None:
    bench = Bench(rows(0), GONE, rows(5))
    assert bench.run().faults() == [None, Fault.NO_DATA, None]
    assert bench.source.log.count("open") == 2
    assert bench.stream.counts.reopened == 1


def test_the_source_is_closed_before_the_wait_and_not_after() -> None:
    bench = Bench(GONE)
    waiting: list[list[str]] = []
    bench.stream.reader._wait = lambda seconds: waiting.append(list(bench.source.log)) or bench.clock.sleep(2.0)
    bench.run()
    assert waiting[0] == ["open", "close"]


def test_the_first_block_after_a_loss_follows_a_gap() -> None:
    bench = Bench(rows(0), GONE, rows(1), rows(2))
    bench.run()
    assert [each.gap for each in bench.fed()] == [False, True, False]


def test_a_source_that_never_opens_is_told_each_time() -> None:
    bench = Bench(rows(0), opens=[GONE, GONE, GONE])
    assert bench.run().faults() == [Fault.NO_DATA, None]
    assert bench.stream.counts.reopened == 3


def test_a_streak_of_failures_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Bench(rows(0), GONE, opens=[GONE, GONE, None, GONE]).run()
    assert sum("went away" in record.message for record in caplog.records) == 2


def test_a_source_that_opens_and_gives_nothing_goes_on_with_its_streak(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Bench(GONE, GONE, GONE, rows(0)).run()
    assert sum("went away" in record.message for record in caplog.records) == 1


def test_a_source_that_opens_for_ever_is_seen_to_stand_still() -> None:
    bench = Bench(rows(0))
    expected: list[bool] = []
    bench.source.open = lambda: expected.append("pump-reader" in bench.supervision.waiting)
    bench.run()
    assert expected == [True]


def test_a_bug_in_a_source_is_a_source_that_went_away(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(rows(0), ZeroDivisionError("bug"), rows(1))
    assert bench.run().faults() == [None, Fault.NO_DATA, None]
    assert bench.stream.counts.reader_restarts == 1
    assert bench.fed()[1].gap
    assert "Traceback" in caplog.text


def test_a_source_that_does_not_close_is_opened_again() -> None:
    bench = Bench(rows(0), GONE, rows(1))
    bench.source.close = lambda: 1 / 0
    assert bench.run().faults() == [None, Fault.NO_DATA, None]


def test_a_long_wait_is_seen_to_progress() -> None:
    bench = Bench(GONE)
    bench.run()
    turns = bench.supervision.log.index("-pump-reader")
    assert bench.supervision.log[:turns].count("+pump-reader") >= len(bench.waited) > 1


# Silence.


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads that time out after half a second of virtual time."""
    time_out(monkeypatch, 0.5)


@pytest.mark.usefixtures("patient")
def test_silence_is_told_once_at_the_reading_time_of_the_last_reading() -> None:
    bench = Bench(rows(0), 60.0, rows(60), no_data_s=10.0)
    decisions = bench.run().decisions
    assert [each.fault for each in decisions] == [None, Fault.NO_DATA, None]
    assert decisions[1].t_ns == EPOCH_NS + 1
    assert "10 s" in decisions[1].detail


@pytest.mark.usefixtures("patient")
def test_a_sensor_that_speaks_every_three_minutes_is_not_silent() -> None:
    bench = Bench(rows(0), 180.0, rows(180), 180.0, rows(360), no_data_s=540.0)
    assert bench.run().faults() == [None]
    assert bench.supervision.log.count("+pump-reader") > 600


@pytest.mark.usefixtures("patient")
def test_the_age_of_the_last_reading_does_not_begin_anew_with_an_open_port() -> None:
    bench = Bench(rows(0), GONE, 3.0)
    bench.run()
    assert bench.clock.monotonic_ns() - bench.stream.reader.heard_ns >= 3 * NS


# The queue overflows.


def test_a_block_that_finds_no_room_is_counted_and_leaves_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    def drain() -> None:
        while not bench.stream.reader.queue.empty():
            bench.stream.reader.queue.get_nowait()

    blocks = [rows(i, 2) for i in range(QUEUE_BLOCKS + 3)]
    bench = Bench(*blocks, drain, rows(9000), rows(9001))
    bench.run()
    assert (bench.stream.counts.blocks_dropped, bench.stream.counts.readings_dropped) == (3, 6)
    assert [each.gap for each in bench.fed()] == [True, False]
    assert sum("dropped" in record.message for record in caplog.records) == 1


def test_a_lossless_source_waits_and_loses_nothing() -> None:
    bench = Bench(*[rows(i) for i in range(QUEUE_BLOCKS + 50)], lossless=True)
    bench.stream.start()
    assert bench.stream.finished.wait(20)
    assert bench.stream.stop(20)
    assert len(bench.fed()) == QUEUE_BLOCKS + 50
    assert bench.stream.counts.blocks_dropped == 0


# The watcher fails.


def test_a_watcher_that_fails_is_replaced_and_what_waits_is_decided() -> None:
    bench = Bench(rows(0), rows(1, 3, 666), rows(4), rows(5), make=Poisoned)
    bench.run()
    assert [each.t_ns[0] for each in bench.fed()] == [EPOCH_NS + i * NS for i in (0, 4, 5)]
    assert bench.stream.counts.watcher_restarts == 1


def test_the_block_a_watcher_fails_on_is_counted_as_dropped() -> None:
    bench = Bench(rows(0), rows(1, 3, 666), rows(4), make=Poisoned)
    bench.run()
    assert bench.stream.counts.readings_dropped == 3


def test_a_watcher_that_failed_leaves_no_stale_state() -> None:
    bench = Bench(rows(0), rows(1, 1, 666), rows(2), make=Poisoned)
    bench.run()
    assert bench.sink.faults() == [None, Fault.MODEL, None]
    assert "poison" in next(each for each in bench.sink.decisions if each.fault).detail


def test_the_watcher_that_replaces_it_knows_of_the_failure() -> None:
    bench = Bench(rows(0), rows(1, 1, 666), rows(2), make=Poisoned)
    bench.run()
    assert [each.fault for each in bench.watchers[1].told] == [Fault.MODEL]


def test_the_other_blocks_are_no_gap_for_the_reader() -> None:
    bench = Bench(rows(0), rows(1, 1, 666), rows(2), rows(3), make=Poisoned)
    bench.run()
    assert not any(each.gap for each in bench.fed())


@pytest.mark.usefixtures("patient")
def test_a_watcher_that_cannot_be_made_is_tried_again_ever_less_often() -> None:
    def make() -> Watcher:
        if len(attempts) < 10:
            attempts.append(bench.clock.monotonic_ns())
            raise MemoryError
        return Normal()

    attempts: list[int] = []
    bench = Bench(rows(0), make=make)
    bench.stream.reader.run()
    bench.stream.run()
    waits = np.diff(attempts) / NS
    assert waits[0] == pytest.approx(0.5)
    assert waits[-1] == pytest.approx(LONGEST_RESTART_S)
    assert bench.sink.faults() == [Fault.MODEL, None]
    assert len(bench.fed()) == 1


def test_a_model_that_loads_slowly_is_no_standstill() -> None:
    bench = Bench(rows(0), rows(1, 1, 666))
    expected: list[bool] = []
    bench.make = lambda: expected.append("pump-watcher" in bench.supervision.waiting) or Poisoned()
    bench.run()
    assert expected == [False, False]


def test_a_sink_that_fails_is_a_watcher_that_fails() -> None:
    class Failing(KeptDecisions):
        def decided(self, given: Block | None, decisions: list[Decision]) -> None:
            if len(failures) < 2:
                failures.append(1)
                raise OSError("disk")
            super().decided(given, decisions)

    failures: list[int] = []
    bench = Bench(rows(0), rows(1))
    bench.stream._sink = bench.sink = Failing()
    bench.run()
    assert bench.stream.finished.is_set()
    assert bench.sink.decisions[-1].t_ns == EPOCH_NS + NS
    assert bench.stream.counts.readings_dropped == 1


def test_a_sink_that_fails_at_the_end_does_not_keep_the_stream_from_ending() -> None:
    class Failing(KeptDecisions):
        def settle(self, *, end: bool = False) -> None:
            if end:
                raise OSError("disk")

    bench = Bench(rows(0))
    bench.stream._sink = Failing()
    bench.run()
    assert bench.stream.finished.is_set()


# Stopping.


def test_a_stop_decides_what_was_read() -> None:
    bench = Bench(rows(0), rows(1), STOP, rows(2))
    bench.run()
    assert [each.t_ns[0] for each in bench.fed()] == [EPOCH_NS, EPOCH_NS + NS]
    assert bench.stream.finished.is_set()


def test_a_stop_ends_a_stream_whose_watcher_cannot_be_made_and_counts_what_is_lost() -> None:
    def never() -> Watcher:
        raise RuntimeError("no model")

    bench = Bench(rows(0, 4), rows(4), STOP, make=never)
    bench.run()
    assert bench.stream.finished.is_set()
    assert bench.stream.counts.readings_dropped == 5


def test_a_block_that_poisons_does_not_keep_a_stop_from_deciding_the_rest() -> None:
    bench = Bench(rows(0, 1, 666), rows(1, 1, 666), rows(2), STOP, make=Poisoned)
    bench.run()
    assert [each.t_ns[0] for each in bench.fed()] == [EPOCH_NS + 2 * NS]


def test_a_stop_cuts_a_wait_short() -> None:
    bench = Bench(GONE, rows(0))
    bench.stream.reader._wait = lambda seconds: bench.stream.ask_to_stop()
    bench.run()
    assert bench.source.log.count("open") == 1


def test_a_source_that_never_returns_is_reported_by_stop() -> None:
    release = threading.Event()
    bench = Bench(lambda: release.wait(20))
    bench.stream.start()
    assert not bench.stream.stop(0.05)
    release.set()
    assert bench.stream.finished.wait(20)
    assert bench.stream.stop(20)


def test_a_fault_before_the_first_reading_has_the_time_of_now() -> None:
    bench = Bench(opens=[GONE])
    assert bench.run().decisions[0].t_ns >= EPOCH_NS


def test_a_reader_does_not_wait_for_a_watcher_that_has_ended() -> None:
    bench = Bench()
    bench.stream.reader.queue.put(None)
    bench.stream.run()
    for _ in range(QUEUE_BLOCKS):
        bench.stream.reader.queue.put(Unknown(t_ns=0, fault=Fault.NO_DATA))
    bench.stream.reader.run()
    assert bench.stream.reader.queue.full()
