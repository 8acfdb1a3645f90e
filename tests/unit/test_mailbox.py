import threading

import numpy as np
import pytest

from edge_agent.contract.frames import Frame
from edge_agent.contract.records import Fault, Unknown
from edge_agent.mailbox import Mailbox

SILENT = Unknown(t_ns=5, fault=Fault.NO_DATA, detail="no frame")
DEADLINE_S = 10.0


def frame(number: int) -> Frame:
    return Frame(pixels=np.zeros((8, 8, 3), np.uint8), t_ns=number, number=number, source="test")


@pytest.fixture
def box():
    return Mailbox()


def test_the_newest_frame_wins_and_the_dropped_are_counted(box):
    for number in range(4):
        box.put(frame(number))
    assert box.take(0).number == 3
    assert box.take(0) is None
    assert box.dropped == 3


def test_a_frame_that_was_taken_is_not_dropped(box):
    for number in range(3):
        box.put(frame(number))
        assert box.take(0).number == number
    assert box.dropped == 0


def test_a_lossless_source_waits_instead(box):
    assert box.put_when_empty(frame(0), 0)
    assert not box.put_when_empty(frame(1), 0)
    assert box.take(0).number == 0
    assert box.put_when_empty(frame(1), 0)
    assert box.dropped == 0


def test_no_frame_replaces_a_fault(box):
    box.tell(SILENT)
    box.put(frame(0))
    assert box.take(0) is SILENT
    assert box.take(0).number == 0


def test_a_frame_older_than_a_fault_cannot_end_it(box):
    box.put(frame(0))
    box.tell(SILENT)
    assert box.take(0) is SILENT
    assert box.take(0) is None
    assert box.dropped == 1


def test_it_is_finished_once_it_is_closed_and_empty(box):
    box.put(frame(0))
    box.close()
    assert not box.finished
    assert box.take(0).number == 0
    assert box.finished
    assert box.take(DEADLINE_S) is None


def test_a_taker_that_waits_is_woken(box):
    taken = []
    thread = threading.Thread(target=lambda: taken.append(box.take(DEADLINE_S)))
    thread.start()
    box.put(frame(7))
    thread.join(DEADLINE_S)
    assert [item.number for item in taken] == [7]


def test_a_reader_that_waits_for_room_is_woken(box):
    box.put(frame(0))
    left = []
    thread = threading.Thread(target=lambda: left.append(box.put_when_empty(frame(1), DEADLINE_S)))
    thread.start()
    box.take(DEADLINE_S)
    thread.join(DEADLINE_S)
    assert left == [True]
    assert box.take(0).number == 1
