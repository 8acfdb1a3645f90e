import logging
import random
import threading

import numpy as np
import pytest

from edge_agent.backoff import Backoff
from edge_agent.clock import SystemClock
from edge_agent.contract.frames import Frame
from edge_agent.contract.records import NS, Fault, Unknown
from edge_agent.errors import EndOfData, SourceUnavailable
from edge_agent.frame_reader import FrameReader
from edge_agent.mailbox import Mailbox
from edge_agent.sources.frame_settings import make_frame_source
from edge_agent.sources.synthetic_scene import SceneSettings
from edge_agent.vision.camera_health import CameraFault, CameraHealth, CameraHealthSettings
from tests.virtual_clock import VirtualClock


def frame(number: int) -> Frame:
    return Frame(pixels=np.zeros((8, 8, 3), np.uint8), t_ns=number * NS, number=number, source="test")


class Script:
    """A `FrameSource` that plays a script: frames, None for a read in vain, errors to raise; then it has ended."""

    own_time = True

    def __init__(self, clock: VirtualClock, items, *, lossless: bool = False, read_s: float = 0.5) -> None:
        self.clock, self.items, self.lossless, self.read_s = clock, iter(items), lossless, read_s
        self.opened = self.closed = 0
        self.open_errors: list[Exception] = []

    def open(self) -> None:
        self.opened += 1
        if self.open_errors:
            raise self.open_errors.pop(0)

    def read(self, timeout_s: float):
        self.clock.sleep(self.read_s)
        item = next(self.items, EndOfData("done"))
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1

    def status(self):
        return {}


class Kept(Mailbox):
    """A mailbox that keeps what was left in it, as a watcher would that is always quicker."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Frame | Unknown] = []

    def put(self, frame):
        self.got.append(frame)

    def put_when_empty(self, frame, timeout_s):
        self.got.append(frame)
        return True

    def tell(self, fault):
        self.got.append(fault)


class Seen:
    """Supervision that counts."""

    def __init__(self) -> None:
        self.turns, self.rests = 0, 0

    def turned(self, name: str) -> None:
        self.turns += 1

    def rested(self, name: str) -> None:
        self.rests += 1


@pytest.fixture
def clock():
    return VirtualClock()


def reader(source, clock, mailbox=None, no_data_s=3.0):
    return FrameReader(
        "camera",
        source,
        mailbox or Kept(),
        clock=clock,
        no_data_s=no_data_s,
        supervision=Seen(),
        backoff=Backoff(1.0, 60.0, rng=random.Random(0)),
        wait=clock.sleep,
    )


def test_frames_go_to_the_mailbox_until_the_end(clock):
    made = reader(Script(clock, [frame(0), None, frame(1)]), clock)
    made.run()
    assert [item.number for item in made.mailbox.got] == [0, 1]
    assert made.counts.frames == 2
    assert made.mailbox.finished
    assert made.source.closed == 1


def test_frames_of_a_camera_replace_each_other(clock):
    made = reader(Script(clock, map(frame, range(5))), clock, Mailbox())
    made.run()
    assert made.mailbox.take(0).number == 4
    assert made.mailbox.dropped == 4


def test_frames_of_a_file_wait_to_be_taken(clock):
    class Slow(Mailbox):
        refused = 0

        def put_when_empty(self, frame, timeout_s):
            taken = super().put_when_empty(frame, 0)
            if not taken:
                self.refused += 1
                assert self.take(0).number == frame.number - 1
            return taken

    made = reader(Script(clock, map(frame, range(5)), lossless=True), clock, Slow())
    made.run()
    assert made.mailbox.take(0).number == 4
    assert (made.mailbox.refused, made.mailbox.dropped) == (4, 0)


def test_silence_is_told_once_at_the_time_it_would_have_had(clock):
    made = reader(Script(clock, [frame(7), *[None] * 20, frame(8)]), clock)
    made.run()
    first, silence, last = made.mailbox.got
    assert (first.number, last.number) == (7, 8)
    assert (silence.fault, silence.t_ns) == (Fault.NO_DATA, 7 * NS + 1)
    assert "no frame for 3 s" in silence.detail


def test_a_camera_that_goes_away_is_told_and_opened_again_with_growing_waits(clock, caplog):
    caplog.set_level(logging.DEBUG, "edge_agent.read_loop")
    source = Script(clock, [frame(0), SourceUnavailable("it is unplugged"), frame(1)])
    made = reader(source, clock)
    made.run()
    kinds = [item.fault if isinstance(item, Unknown) else item.number for item in made.mailbox.got]
    assert kinds == [0, Fault.NO_DATA, 1]
    assert made.mailbox.got[1].detail == "it is unplugged"
    assert (source.opened, source.closed, made.counts.reopened) == (2, 2, 1)


def test_only_the_first_failure_of_a_streak_is_a_warning(clock, caplog):
    caplog.set_level(logging.DEBUG, "edge_agent.read_loop")
    source = Script(clock, [frame(0)])
    source.open_errors = [SourceUnavailable("no camera")] * 6
    began_ns = clock.monotonic_ns()
    made = reader(source, clock)
    made.run()
    levels = [record.levelno for record in caplog.records if "no camera" in record.message]
    assert levels == [logging.WARNING] + [logging.DEBUG] * 5
    assert source.opened == 7
    assert clock.monotonic_ns() - began_ns > 20 * NS


def test_a_failure_nobody_thought_of_is_survived(clock):
    source = Script(clock, [frame(0), ZeroDivisionError("driver"), frame(1)])
    made = reader(source, clock)
    made.run()
    assert made.counts.reader_restarts == 1
    assert made.mailbox.got[-1].number == 1
    assert "ZeroDivisionError" in made.mailbox.got[1].detail


def test_a_source_that_does_not_close_is_opened_again(clock):
    class Stubborn(Script):
        def close(self):
            super().close()
            raise OSError("busy")

    made = reader(Stubborn(clock, [SourceUnavailable("gone"), frame(1)]), clock)
    made.run()
    assert made.mailbox.got[-1].number == 1


def test_it_stops_when_asked_even_while_it_waits_to_try_again(clock):
    source = Script(clock, [])
    source.open_errors = [SourceUnavailable("no camera")] * 1000
    made = reader(source, clock)
    made._wait = lambda seconds: made.ask_to_stop()
    made.run()
    assert source.opened == 1
    assert made.mailbox.finished


def test_supervision_sees_a_turn_at_least_every_read_and_slice_of_waiting(clock):
    source = Script(clock, [None] * 10 + [SourceUnavailable("gone")])
    made = reader(source, clock)
    made.run()
    seen = made.supervision
    assert seen.turns >= 10 + 2
    assert seen.rests == 1


def test_from_a_covered_lens_to_the_fault_through_both_threads():
    clock = SystemClock()
    settings = SceneSettings(
        width=160, height=120, rate_hz=2.0, speed=0.0, frames=30, fault="covered", fault_start=15, fault_frames=99
    )
    mailbox, health = Mailbox(), CameraHealth(CameraHealthSettings(learn_frames=8))
    made = FrameReader(
        "camera",
        make_frame_source(settings, clock),
        mailbox,
        clock=clock,
        no_data_s=3.0,
        supervision=Seen(),
        backoff=Backoff(),
    )
    thread = threading.Thread(target=made.run)
    thread.start()
    checks = []
    while not mailbox.finished:
        item = mailbox.take(10.0)
        checks += [health.feed(item.pixels, item.t_ns)] if isinstance(item, Frame) else []
    thread.join(10.0)
    assert [check.suspected for check in checks] == [None] * 15 + [CameraFault.COVERED] * 15
    assert checks[-1].unknown.detail.startswith("covered: nothing is left of the view")
    assert (made.counts.frames, mailbox.dropped) == (30, 0)
