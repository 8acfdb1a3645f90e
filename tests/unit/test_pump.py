import numpy as np
import pytest

from edge_agent.contract.records import NS
from edge_agent.sources.pump import PUMP_CHANNELS, START_NS, Pump, PumpFault, PumpFaultKind

FLOW, PRESSURE, CURRENT, VIBRATION, TEMPERATURE = range(5)


def shift(kind, **fault):
    """Mean with the fault minus mean without it, in spreads of normal readings, per channel."""
    fault = PumpFault(kind=PumpFaultKind(kind), start_s=600, duration_s=600, **fault)
    normal, faulty = (Pump(3, 1.0, faults).take(1200).values for faults in ((), (fault,)))
    return (faulty[600:] - normal[600:]).mean(axis=0) / normal.std(axis=0)


def test_the_same_seed_gives_the_same_rows():
    np.testing.assert_array_equal(Pump(5).take(500).values, Pump(5).take(500).values)
    assert not np.array_equal(Pump(5).take(500).values, Pump(6).take(500).values)


def test_how_many_are_taken_at_a_time_changes_nothing():
    whole, pieces = Pump(5), Pump(5)
    blocks = [pieces.take(rows) for rows in (1, 300, 0, 7, 692)]
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), whole.take(1000).values)
    np.testing.assert_array_equal(np.concatenate([block.t_ns for block in blocks]), Pump(5).take(1000).t_ns)


def test_rows_come_at_the_rate():
    t_ns = Pump(0, 250.0).take(1001).t_ns
    assert t_ns[0] == START_NS
    assert t_ns[-1] - t_ns[0] == 4 * NS


def test_a_healthy_pump_stays_within_the_ranges_of_its_channels():
    values = Pump(1, 1.0).take(86_400).values
    for column, channel in enumerate(PUMP_CHANNELS):
        assert channel.low < values[:, column].min()
        assert values[:, column].max() < channel.high


def test_channels_move_together():
    values = Pump(1, 1.0).take(20_000).values
    together = np.corrcoef(values.T)
    assert together[FLOW, CURRENT] > 0.5
    assert together[FLOW, PRESSURE] < -0.3 or together[FLOW, PRESSURE] > 0.3


@pytest.mark.parametrize(
    ("kind", "rising", "falling"),
    [
        ("leak", [FLOW], [PRESSURE]),
        ("blockage", [PRESSURE], [FLOW, CURRENT]),
        ("cavitation", [VIBRATION], [PRESSURE]),
        ("bearing_wear", [VIBRATION, CURRENT, TEMPERATURE], []),
    ],
)
def test_a_fault_shows_as_physics_has_it(kind, rising, falling):
    moved = shift(kind)
    assert (moved[rising] > 1).all()
    assert (moved[falling] < -1).all()


def test_a_severer_fault_shows_more():
    moves = [shift("bearing_wear", severity=severity)[VIBRATION] for severity in (0, 0.1, 0.5, 1, 3)]
    assert moves[0] == 0
    assert (np.diff(moves) > 0).all()


def test_a_fault_grows_over_its_onset():
    fault = PumpFault(kind=PumpFaultKind.LEAK, start_s=10, duration_s=20, onset_s=10)
    assert fault.strength(np.array([9.0, 10.0, 15.0, 20.0, 29.0, 30.0])).tolist() == [0, 0, 0.5, 1, 1, 0]


def test_a_stuck_sensor_repeats_itself_across_chunks():
    fault = PumpFault(kind=PumpFaultKind.STUCK, start_s=100, duration_s=400, channel="current")
    values = Pump(1, 1.0, (fault,)).take(600).values
    assert len(set(values[100:500, CURRENT].tolist())) == 1
    assert len(set(values[500:, CURRENT].tolist())) > 50


def test_a_lost_sensor_gives_nothing():
    fault = PumpFault(kind=PumpFaultKind.LOST, start_s=100, duration_s=400, channel="pressure")
    values = Pump(1, 1.0, (fault,)).take(600).values
    assert np.isnan(values).sum(axis=0).tolist() == [0, 400, 0, 0, 0]
    assert np.isnan(values[100:500, PRESSURE]).all()


def test_readings_are_labelled():
    pump = Pump(1, 2.0, (PumpFault(kind=PumpFaultKind.LEAK, start_s=10, duration_s=5),))
    assert np.flatnonzero(pump.faulty(pump.take(100).t_ns)).tolist() == list(range(20, 30))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start_s": -1}, "start_s"),
        ({"duration_s": 0}, "duration_s"),
        ({"severity": 1000}, "severity"),
        ({"channel": "level"}, "channel must be one of flow"),
        ({"kind": "gremlins"}, "kind must be one of leak"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        PumpFault(**{"kind": PumpFaultKind.LEAK, "start_s": 0, "duration_s": 1} | wrong)
