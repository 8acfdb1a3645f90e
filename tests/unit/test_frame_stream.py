"""The two loops of a camera, run to their end one after the other: no thread, no sleep, all time virtual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_agent import frame_stream as module
from edge_agent.backoff import Backoff
from edge_agent.contract.frames import Frame
from edge_agent.contract.records import NS, Decision, Fault, Unknown
from edge_agent.errors import EndOfData, SourceUnavailable
from edge_agent.frame_reader import FrameReader
from edge_agent.frame_stream import FrameStream
from edge_agent.mailbox import Mailbox
from edge_agent.vision.frame_pipeline import FrameDecision
from tests.fakes import Watched
from tests.virtual_clock import VirtualClock


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mailbox that is empty is seen at once."""
    monkeypatch.setattr(module, "READ_TIMEOUT_S", 1e-9)


def frame(number: int) -> Frame:
    return Frame(pixels=np.zeros((8, 8, 3), np.uint8), t_ns=number * NS, number=number, source="test")


class Script:
    """A camera that plays a script: frames, errors, then it has ended."""

    own_time, lossless = False, False

    def __init__(self, clock: VirtualClock, *items: Any) -> None:
        self.clock, self.items = clock, iter(items)

    def open(self) -> None: ...

    def read(self, timeout_s: float) -> Frame | None:
        self.clock.sleep(0.1)
        item = next(self.items, EndOfData("done"))
        if isinstance(item, Exception):
            raise item
        return item() if callable(item) else item

    def close(self) -> None: ...

    def status(self) -> dict[str, int | float | str]:
        return {}


class Normal:
    """Finds every frame normal; one of a poisoned number kills it, and one that is odd decides nothing."""

    def __init__(self, poison: int = -1) -> None:
        self.poison = poison

    def feed(self, given: Frame) -> FrameDecision | None:
        if given.number == self.poison:
            raise RuntimeError("poison")
        decision = Decision(t_ns=given.t_ns, anomaly=False)
        return None if given.number % 2 else FrameDecision(decision=decision, pixels=given.pixels)

    def unknown(self, unknown: Unknown) -> FrameDecision:
        return FrameDecision(decision=Decision(t_ns=unknown.t_ns, anomaly=None, fault=unknown.fault))


class Bench:
    """A camera, what waits, and what was decided; the watcher takes a frame whenever one was read."""

    def __init__(self, *script: Any, make: Callable[[], Normal] = Normal) -> None:
        self.clock = VirtualClock()
        self.told: list[Decision] = []
        self.settled: list[bool] = []
        reader = FrameReader(
            "cell",
            Script(self.clock, *script),
            Mailbox(),
            clock=self.clock,
            no_data_s=10.0,
            supervision=Watched(),
            backoff=Backoff(),
            wait=self.clock.sleep,
        )
        self.stream = FrameStream(reader, make, self, wait=self.clock.sleep)

    def decided(self, decided: FrameDecision) -> None:
        self.told.append(decided.decision)

    def settle(self, *, end: bool = False) -> None:
        self.settled.append(end)

    def run(self) -> None:
        self.stream.reader.run()
        self.stream.run()


def test_a_slow_watcher_sees_the_newest_frame_and_the_others_are_counted() -> None:
    bench = Bench(frame(0), frame(2), frame(4))
    bench.run()
    assert [each.t_ns for each in bench.told] == [4 * NS]
    assert (bench.stream.counts.frames, bench.stream.counts.frames_unseen) == (3, 2)
    assert bench.settled[-1] is True
    assert bench.stream.finished.is_set()


def test_a_frame_that_decides_nothing_is_not_told() -> None:
    bench = Bench(frame(1))
    bench.run()
    assert bench.told == []


def test_a_camera_that_goes_away_is_told_to_the_watcher() -> None:
    bench = Bench(frame(0), SourceUnavailable("unplugged"))
    bench.run()
    assert [each.fault for each in bench.told] == [Fault.NO_DATA]
    assert bench.stream.counts.reopened == 1


def test_a_watcher_that_fails_on_a_frame_is_made_again_and_the_frame_is_counted() -> None:
    made: list[Normal] = []

    def make() -> Normal:
        made.append(Normal(poison=0))
        return made[-1]

    bench = Bench(frame(0), make=make)
    bench.run()
    assert [(each.t_ns, each.fault) for each in bench.told] == [(0, Fault.MODEL)]
    assert (bench.stream.counts.watcher_restarts, bench.stream.counts.frames_unseen) == (1, 1)
    assert bench.settled == [False, True]


def test_what_was_held_back_is_published_though_publishing_failed_on_the_last_frame() -> None:
    bench = Bench(frame(0), make=lambda: Normal(poison=0))
    settle, failures = bench.settle, [OSError("disk")]

    def failing(*, end: bool = False) -> None:
        settle(end=end)
        if end and failures:
            raise failures.pop()

    bench.settle = failing
    bench.run()
    assert bench.settled == [False, True]
    assert bench.stream.finished.is_set()


def test_a_model_that_does_not_load_is_told_at_the_time_of_the_latest_frame() -> None:
    errors = [RuntimeError("no model")]

    def make() -> Normal:
        if errors:
            raise errors.pop()
        return Normal()

    bench = Bench(frame(0), make=make)
    bench.run()
    assert (bench.told[0].t_ns, bench.told[0].fault) == (0, Fault.MODEL)


def test_the_rate_is_that_of_the_frames_that_were_watched() -> None:
    bench = Bench()
    assert bench.stream.rate_hz is None
    for number in range(5):
        bench.clock.sleep(0.2)
        bench.stream._decide(Normal(), frame(number))
    assert bench.stream.rate_hz == pytest.approx(5.0)
