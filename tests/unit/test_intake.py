from edge_agent.contract.records import NS, Channel
from edge_agent.sources.formats import FormatSettings
from edge_agent.sources.intake import Intake
from edge_agent.sources.times import TimeUnit
from tests.virtual_clock import EPOCH_NS, VirtualClock

CHANNELS = (Channel(name="x"),)


def test_the_readings_of_a_chunk_are_stamped_together_across_a_dropped_line():
    clock = VirtualClock()
    intake = Intake(FormatSettings(), clock, CHANNELS, 10.0)
    clock.sleep(1.0)
    intake.put(b"1\n2\nrubbish!\n3\n")
    first, second = intake.take(), intake.take()
    assert [round((t - EPOCH_NS) / NS, 3) for t in (*first.t_ns, *second.t_ns)] == [0.8, 0.9, 1.0]
    assert (first.gap, second.gap) == (False, True)
    assert intake.take() is None


def test_a_sensor_whose_own_time_starts_anew_leaves_a_gap():
    settings = FormatSettings(time_column="millis", time_unit=TimeUnit.MS)
    clock = VirtualClock()
    intake = Intake(settings, clock, CHANNELS, None)
    intake.put(b"60000,1\n61000,2\n")
    clock.sleep(10.0)
    intake.put(b"5,3\n")
    first, second = intake.take(), intake.take()
    assert (first.gap, second.gap) == (False, True)
    assert (first.t_ns - EPOCH_NS).tolist() == [-NS, 0]
    assert (second.t_ns - EPOCH_NS).tolist() == [10 * NS]


def test_a_loss_that_left_no_trace_marks_the_next_block_alone():
    intake = Intake(FormatSettings(), VirtualClock(), CHANNELS, None)
    intake.mark_gap()
    intake.put(b"1\n")
    intake.put(b"2\n")
    assert [intake.take().gap, intake.take().gap] == [True, False]
