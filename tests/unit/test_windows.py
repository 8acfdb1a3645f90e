"""The windower against a plain row-by-row account of its rules, for any stream cut in any way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.contract.records import NS, Block, Channel, Fault, Unknown, WindowBatch
from edge_agent.contract.windows import Windower, WindowRule, mismatch

CHANNELS = (Channel(name="Pressure", unit="bar", low=-5.0, high=5.0), Channel(name="Flow"))
Outputs = Iterable[WindowBatch | Unknown]
Stream = tuple[WindowRule, np.ndarray, np.ndarray, np.ndarray]
YEAR_NS = 365 * 86_400 * NS


def rule(**changes: Any) -> WindowRule:
    usual = {
        "channels": CHANNELS,
        "rate_hz": 1.0,
        "window": 3,
        "stride": 1,
        "hold": 1,
        "max_gap_s": 2.5,
        "stuck_samples": (4, None),
    }
    return WindowRule(**{**usual, **changes})


def block(
    values: np.ndarray, t_s: Sequence[float] | None = None, *, gap: bool = False, t_ns: np.ndarray | None = None
) -> Block:
    values = np.asarray(values, np.float32)
    if t_ns is None:
        t_ns = np.arange(len(values)) * NS if t_s is None else np.asarray(t_s, np.float64) * NS
    return Block(values=values, t_ns=np.asarray(t_ns).astype(np.int64), gap=gap)


def noise(rows: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, channels)).astype(np.float32)


def flat(outputs: Iterable[WindowBatch | Unknown]) -> list[tuple]:
    """One entry a window or Unknown, whatever the batches."""
    entries = []
    for output in outputs:
        if isinstance(output, Unknown):
            entries.append(("unknown", output.t_ns, output.fault, output.detail))
            continue
        for i, (values, t, start) in enumerate(zip(output.values, output.t_ns, output.start_ns, strict=True)):
            entries.append(("window", int(t), int(start), values.tobytes(), i < output.warming))
    return entries


def windows_of(outputs: Outputs) -> list[tuple[int, int]]:
    """Start and end of the windows in seconds."""
    return [(entry[2] // NS, entry[1] // NS) for entry in flat(outputs) if entry[0] == "window"]


def unknowns_of(outputs: Outputs) -> list[tuple[float, Fault, str]]:
    return [(entry[1] / NS, entry[2], entry[3]) for entry in flat(outputs) if entry[0] == "unknown"]


def faults_by_row(rule: WindowRule, values: np.ndarray) -> list[list[tuple[int, str]]]:
    """Which channels are faulty in each row, and how."""
    rows: list[list[tuple[int, str]]] = [[] for _ in values]
    for c, (channel, limit) in enumerate(zip(rule.channels, rule.stuck_samples, strict=True)):
        run, missing, last = 0, 0, None
        for row, value in zip(rows, values[:, c].tolist(), strict=True):
            present = math.isfinite(value)
            missing = 0 if present else missing + 1
            if present:
                run, last = (run + 1 if value == last else 1), value
            ways = {
                "low": present and channel.low is not None and value < channel.low,
                "high": present and channel.high is not None and value > channel.high,
                "lost": missing > rule.hold,
                "stuck": limit is not None and run > limit,
            }
            row.extend([(c, way) for way in ways if ways[way]][:1])
    return rows


def account(rule: WindowRule, values: np.ndarray, t_ns: np.ndarray, lost: np.ndarray) -> list[tuple]:
    """What the windower must give, told row by row without regard to cost (the words of details left out)."""
    out: list[tuple] = []
    rows: list[tuple[int, list[float]]] = []
    held = [math.nan] * len(rule.channels)
    said: object = None
    was_fault = False
    for i, faults in enumerate(faults_by_row(rule, values)):
        t = int(t_ns[i])
        is_break = i == 0 or lost[i] or not 0 < t - int(t_ns[i - 1]) <= rule.max_gap_s * NS
        begins = is_break or was_fault
        was_fault = bool(faults)
        if begins or faults:
            rows, held = [], [math.nan] * len(held)
            state = faults or "waiting"
            if said != state:
                out.append(("unknown", t, Fault.SENSOR if faults else Fault.NOT_READY))
                said = state
        held = [value if math.isfinite(value) else old for value, old in zip(values[i].tolist(), held, strict=True)]
        if faults or any(map(math.isnan, held)):
            continue
        rows.append((t, held))
        index, rest = divmod(len(rows) - rule.window, rule.stride)
        if index >= 0 and rest == 0:
            window = np.array([row for _, row in rows[-rule.window :]], np.float32)
            out.append(("window", t, rows[-rule.window][0], window.tobytes(), index < rule.warm_up))
            said = None
    return out


READING = st.sampled_from(
    [0.0, 0.0, 0.0, 1.0, 1.0, 2.0, -1.5, 4.99, 5.01, -6.0, 1e20, math.nan, math.nan, math.inf, -math.inf]
)
STEP = st.sampled_from(
    [NS] * 12 + [1, 2 * NS, 5 * NS // 2, 5 * NS // 2 + 1, 0, -NS, 10 * NS, 40 * YEAR_NS, -40 * YEAR_NS]
)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    n = draw(st.integers(1, 60))
    values = np.array(draw(st.lists(st.tuples(READING, READING), min_size=n, max_size=n)), np.float32)
    if draw(st.booleans()):
        values = np.where(draw(st.integers(0, 9)) < 8, noise(n), values).astype(np.float32)
    t_ns = np.cumsum(np.array(draw(st.lists(STEP, min_size=n, max_size=n)), np.int64))
    lost = np.zeros(n, bool)
    lost[draw(st.lists(st.integers(0, n - 1), max_size=3))] = True
    streaming = draw(st.booleans())
    sizes = (
        {"window": 1, "warm_up": draw(st.integers(0, 3))}
        if streaming
        else {"window": draw(st.integers(1, 5)), "stride": draw(st.integers(1, 7))}
    )
    stuck = st.sampled_from([None, 1, 2, 3, 6])
    limits = (draw(stuck), draw(stuck))
    return rule(hold=draw(st.integers(0, 2)), stuck_samples=limits, **sizes), values, t_ns, lost


def cut(values: np.ndarray, t_ns: np.ndarray, lost: np.ndarray, cuts: Iterable[int]) -> list[Block]:
    """Blocks that begin at the cuts and wherever readings were lost."""
    edges = sorted({0, len(values), *cuts, *np.flatnonzero(lost).tolist()})
    return [block(values[a:b], t_ns=t_ns[a:b], gap=bool(lost[a])) for a, b in itertools.pairwise(edges)]


def run(rule: WindowRule, blocks: Iterable[Block]) -> list[tuple]:
    windower = Windower(rule)
    return flat([output for b in blocks for output in windower.feed(b)])


@given(streams())
@settings(max_examples=400, deadline=None)
def test_the_windower_does_what_the_rules_say_row_by_row(stream: Stream) -> None:
    rule, values, t_ns, lost = stream
    got = [entry[:3] if entry[0] == "unknown" else entry for entry in run(rule, cut(values, t_ns, lost, []))]
    assert got == account(rule, values, t_ns, lost)


@given(streams(), st.lists(st.integers(0, 60), max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_cut_of_a_stream_gives_the_same_windows_and_words(stream: Stream, cuts: Iterable[int]) -> None:
    rule, values, t_ns, lost = stream
    whole = run(rule, cut(values, t_ns, lost, []))
    assert run(rule, cut(values, t_ns, lost, [c for c in cuts if c < len(values)])) == whole
    assert run(rule, cut(values, t_ns, lost, range(len(values)))) == whole


def test_ten_thousand_rows_in_one_block_give_what_single_rows_give() -> None:
    rng = np.random.default_rng(1)
    values = noise(10_000, seed=1)
    values[rng.random(values.shape) < 0.02] = np.nan
    values[4000:4100, 0] = 1.25
    values[6000, 0] = 99.0
    steps = rng.choice([NS, NS, NS, NS, 2 * NS, 7 * NS], size=10_000, p=[0.3, 0.3, 0.2, 0.1, 0.095, 0.005])
    t_ns, lost = np.cumsum(steps), np.zeros(10_000, bool)
    of = rule(window=32, stride=5, hold=3, stuck_samples=(64, 64))
    whole = run(of, cut(values, t_ns, lost, []))
    assert sum(entry[0] == "window" for entry in whole) > 1000
    assert run(of, cut(values, t_ns, lost, range(10_000))) == whole
    assert run(of, cut(values, t_ns, lost, range(0, 10_000, 37))) == whole


def test_the_stride_counts_from_the_last_break() -> None:
    outputs = Windower(rule(window=3, stride=2)).feed(block(noise(12), [0, 1, 2, 3, 4, 5, 20, 21, 22, 23, 24, 25]))
    assert windows_of(outputs) == [(0, 2), (2, 4), (20, 22), (22, 24)]


def test_a_gap_is_told_with_its_length_and_no_window_spans_it() -> None:
    outputs = Windower(rule()).feed(block(noise(6), [0, 1, 2, 78, 79, 80]))
    assert windows_of(outputs) == [(0, 2), (78, 80)]
    assert unknowns_of(outputs)[1] == (78.0, Fault.NOT_READY, "a gap of 76 s in the readings")


@pytest.mark.parametrize("t_s", [[0, 1, 2, 2, 3, 4], [0, 1, 2, 1, 2, 3], [0, 1, 2, -1e9, -1e9 + 1, -1e9 + 2]])
def test_time_that_does_not_rise_breaks_the_window(t_s: Sequence[float]) -> None:
    outputs = Windower(rule()).feed(block(noise(6), t_s))
    assert [start for start, _ in windows_of(outputs)] == [t_s[0], t_s[3]]
    assert unknowns_of(outputs)[1][2] == "the time of the readings does not rise"


def test_times_at_the_ends_of_their_range_are_breaks() -> None:
    ends = np.array([2**63 - 1, -(2**63), -(2**63) + 1, 2**63 - 1, 2**63 - 1], np.int64)
    for cuts in ([], range(5)):
        assert [
            entry[0] for entry in run(rule(window=2, max_gap_s=100.0), cut(noise(5), ends, np.zeros(5, bool), cuts))
        ] == [
            "unknown",
            "window",
            "unknown",
        ]


def test_lost_readings_break_the_window_even_when_told_by_an_empty_block() -> None:
    windower = Windower(rule())
    windower.feed(block(noise(3)))
    assert windower.feed(block(np.zeros((0, 2)), gap=True)) == []
    outputs = windower.feed(block(noise(3), [3, 4, 5]))
    assert unknowns_of(outputs) == [(3.0, Fault.NOT_READY, "readings were lost")]
    assert windows_of(outputs) == [(3, 5)]


def test_a_missing_value_is_held_across_blocks() -> None:
    windower = Windower(rule(hold=2))
    windower.feed(block([[1, 1], [2, 2]]))
    (batch,) = windower.feed(block([[math.nan, 3], [math.inf, 4]], [2, 3]))
    assert batch.values[-1].tolist() == [[2, 2], [2, 3], [2, 4]]


def test_a_lost_channel_is_a_sensor_fault_that_names_it_and_ends_when_it_is_back() -> None:
    values = noise(12)
    values[4:8, 1] = math.nan
    outputs = Windower(rule(hold=1)).feed(block(values))
    assert unknowns_of(outputs)[1:] == [
        (5.0, Fault.SENSOR, "Flow is lost: no value for more than 1 samples"),
        (8.0, Fault.NOT_READY, "the sensor fault is over"),
    ]
    assert windows_of(outputs) == [(0, 2), (1, 3), (2, 4), (8, 10), (9, 11)]


def test_a_channel_is_stuck_from_the_sample_on_that_exceeds_its_limit() -> None:
    values = noise(12)
    values[3:9, 0] = 1.25
    outputs = Windower(rule(stuck_samples=(4, None))).feed(block(values))
    assert unknowns_of(outputs)[1:] == [
        (7.0, Fault.SENSOR, "Pressure is stuck: one value for more than 4 samples"),
        (9.0, Fault.NOT_READY, "the sensor fault is over"),
    ]


def test_missing_values_neither_count_as_stuck_nor_hide_it() -> None:
    values = noise(12)
    values[2:, 0] = 1.25
    values[4:9:2, 0] = math.nan
    outputs = Windower(rule(stuck_samples=(4, None))).feed(block(values))
    assert unknowns_of(outputs)[1][0] == 9.0


def test_out_of_range_is_told_with_value_unit_and_range() -> None:
    values = noise(4)
    values[2, 0] = 7.5
    outputs = Windower(rule()).feed(block(values))
    assert unknowns_of(outputs)[1] == (2.0, Fault.SENSOR, "Pressure is out of range: 7.5 bar is above 5")


def test_a_reading_at_the_end_of_the_range_is_in_it() -> None:
    limits = (Channel(name="a", low=0.1, high=0.3),)
    values = np.array([[0.1], [0.2], [0.3]], np.float32)
    outputs = Windower(rule(channels=limits, stuck_samples=(None,))).feed(block(values))
    assert windows_of(outputs) == [(0, 2)]


def test_a_fault_that_lasts_is_said_once() -> None:
    windower = Windower(rule())
    values = noise(50)
    values[:, 0] = 99.0
    outputs = [output for i in range(50) for output in windower.feed(block(values[i : i + 1], [i]))]
    assert len(outputs) == 1


def test_many_faulty_channels_are_told_briefly() -> None:
    channels = tuple(Channel(name=f"s{i}", high=1.0) for i in range(20))
    outputs = Windower(rule(channels=channels, stuck_samples=(None,) * 20)).feed(block(np.full((1, 20), 9.0)))
    assert unknowns_of(outputs)[0][2].endswith("s3 is out of range: 9 is above 1; 16 more channels")


def test_a_wrong_rate_is_a_sensor_fault_that_names_both_rates_and_ends_with_it() -> None:
    t_s = np.concatenate((np.arange(200) * 0.5, 100 + np.arange(300)))
    outputs = Windower(rule()).feed(block(noise(500), t_s))
    (_, wrong, right) = unknowns_of(outputs)
    assert wrong == (32.0, Fault.SENSOR, "readings come at 2 Hz, the bundle expects 1 Hz")
    assert right[1] is Fault.NOT_READY
    assert 100 < right[0] <= 100 + 2 * 64
    assert not [end for _, end in windows_of(outputs) if 32 <= end < right[0]]


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_the_rate_is_judged_alike_however_the_stream_is_cut(size: int) -> None:
    t_ns = (np.concatenate((np.arange(200) * 0.5, 100 + np.arange(300))) * NS).astype(np.int64)
    lost = np.zeros(500, bool)
    assert run(rule(), cut(noise(500), t_ns, lost, range(0, 500, size))) == run(rule(), cut(noise(500), t_ns, lost, []))


def test_warm_up_windows_after_each_break_are_marked() -> None:
    outputs = Windower(rule(window=1, warm_up=2)).feed(block(noise(7), [0, 1, 2, 3, 30, 31, 32]))
    assert [entry[4] for entry in flat(outputs) if entry[0] == "window"] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]


def test_each_break_is_told_even_during_warm_up_so_that_state_is_reset() -> None:
    outputs = Windower(rule(window=1, warm_up=5)).feed(block(noise(4), [0, 1, 30, 31]))
    assert [kind for kind, *_ in flat(outputs)] == ["unknown", "window", "window", "unknown", "window", "window"]


def test_windows_given_out_do_not_change_later_and_cannot_be_written() -> None:
    windower = Windower(rule())
    batch = windower.feed(block(noise(10)))[1]
    before = batch.values.copy()
    for i in range(5000):
        windower.feed(block(noise(1, seed=i), [10 + i]))
    assert np.array_equal(batch.values, before)
    with pytest.raises(ValueError, match="read-only"):
        batch.values[0, 0, 0] = 1.0


def test_the_caller_may_reuse_the_memory_of_a_block() -> None:
    windower = Windower(rule())
    values = noise(3)
    feed = values.copy()
    windower.feed(block(feed))
    feed[:] = -1.0
    (batch,) = windower.feed(block(noise(1, seed=5), [3]))
    assert np.array_equal(batch.values[0, :2], values[1:])


def test_reset_forgets_everything() -> None:
    windower = Windower(rule())
    first = flat(windower.feed(block(noise(5))))
    windower.reset()
    assert flat(windower.feed(block(noise(5)))) == first


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="expected blocks of 2 channels, got 3"):
        Windower(rule()).feed(block(noise(3, 3)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"channels": ()}, "at least one channel"),
        ({"channels": (Channel(name="a"), Channel(name="a"))}, "a name of its own"),
        ({"rate_hz": 0.0}, "rate_hz above 0"),
        ({"rate_hz": math.nan}, "rate_hz above 0"),
        ({"window": 0}, "window from 1"),
        ({"window": 10**9}, "window from 1"),
        ({"stride": 0}, "stride"),
        ({"hold": -1}, "hold"),
        ({"max_gap_s": 0.5}, "max_gap_s"),
        ({"max_gap_s": math.inf}, "max_gap_s"),
        ({"stuck_samples": (3,)}, "stuck_samples"),
        ({"stuck_samples": (0, None)}, "stuck_samples"),
        ({"warm_up": 3}, "warm_up"),
    ],
)
def test_a_rule_that_no_stream_can_satisfy_is_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        rule(**change)


def test_channels_that_differ_in_order_or_unit_are_told() -> None:
    assert mismatch(CHANNELS, CHANNELS) == ""
    assert (
        mismatch(CHANNELS, CHANNELS[::-1])
        == "the bundle expects the channels Pressure [bar], Flow; the source has Flow, Pressure [bar]"
    )
