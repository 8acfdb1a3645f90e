import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract.records import Block, Channel
from edge_agent.errors import FrameError
from edge_agent.sources.formats import FormatSettings
from edge_agent.sources.lines import encode_lines, find_time_name, header_problem, make_decoder

CHANNELS = (Channel(name="flow", unit="l/min"), Channel(name="pressure", unit="bar"))


def decode(lines, channels=CHANNELS, **settings):
    values, t_ns = make_decoder(FormatSettings(**settings), channels).decode(lines)
    return values.tolist(), None if t_ns is None else t_ns.tolist()


@pytest.mark.parametrize("line", ["1.5,2", "1.5;2", "1.5\t2", "1.5|2", "1.5  2", " 1.5 , 2 ", '"1.5","2"'])
def test_csv_finds_its_delimiter(line):
    assert decode([line]) == ([[1.5, 2.0]], None)


def test_csv_with_a_decimal_comma():
    assert decode(["1,5;2,25"], decimal=",") == ([[1.5, 2.25]], None)


def test_csv_takes_the_time_first_and_ignores_named_columns_that_are_no_channel():
    settings = {"columns": ("time", "label", "flow", "pressure"), "time_column": "time"}
    assert decode(["1970-01-01 00:00:01,a_b,1,2"], **settings) == ([[1, 2]], [10**9])


@pytest.mark.parametrize("missing", ["", " ", "nan", "NA", "null", "None"])
def test_an_empty_field_is_a_missing_value(missing):
    values, _ = decode([f"1,{missing}"])
    assert values[0][0] == 1
    assert np.isnan(values[0][1])


@pytest.mark.parametrize("line", ["1,1e39", "1,inf", "1,1e400"])
def test_what_float32_cannot_hold_is_infinite(line):
    assert decode([line])[0] == [[1, np.inf]]


@pytest.mark.parametrize(
    "line", ["1", "1,2,3", "1,x", "1,1_000", "1,٣", "1,0x1", "1,2 bar", "flow,2", '"1,2', "1,--2", "1;2,3;4"]
)
def test_csv_refuses_what_is_no_reading(line):
    with pytest.raises(FrameError):
        decode([line], delimiter=",")


def test_too_few_and_too_many_fields_do_not_make_up_for_each_other():
    with pytest.raises(FrameError, match="expected 2 fields"):
        decode(["1", "1,2,3"], delimiter=",")


def learnt(header, lines, channels=CHANNELS, **settings):
    decoder = make_decoder(FormatSettings(**settings), channels)
    assert decoder.learn(header)
    return decoder.decode(lines)[0].tolist(), decoder.complaint


def test_a_header_puts_the_channels_in_order():
    assert learnt("pressure,other,flow", ["1,9,2"]) == ([[2, 1]], "")


def test_a_header_may_carry_units():
    assert learnt("\ufeffflow [l/min];pressure (bar)", ["1;2"]) == ([[1, 2]], "")


def test_a_channel_in_another_unit_is_lost_and_named():
    values, complaint = learnt("flow [l/min],pressure [kPa]", ["1,240"])
    assert np.isnan(values[0][1])
    assert "'pressure' in kPa, expected bar" in complaint


def test_a_channel_that_the_header_lacks_is_lost_and_named():
    values, complaint = learnt("flow,level", ["1,2"])
    assert values[0][0] == 1
    assert np.isnan(values[0][1])
    assert "no 'pressure'" in complaint


def test_a_header_of_other_names_is_not_taken_for_the_channels_in_order():
    values, complaint = learnt("voltage,level", ["1,2"])
    assert np.isnan(values).all()
    assert "no 'flow' and no 'pressure'" in complaint


@pytest.mark.parametrize("line", ["ready", "1,2", "flow,2", "a,b,c", "", "nan,nan"])
def test_what_is_no_header_teaches_nothing(line):
    assert not make_decoder(FormatSettings(), CHANNELS).learn(line)


def test_a_header_without_the_time_column_makes_lines_unreadable():
    decoder = make_decoder(FormatSettings(time_column="time"), CHANNELS)
    assert decoder.learn("flow,pressure")
    with pytest.raises(FrameError, match="no time column 'time'"):
        decoder.decode(["1,2"])


def test_the_problem_of_a_recording_is_told_from_its_header():
    assert "no 'pressure'" in header_problem("flow;level\r\n", FormatSettings(), CHANNELS)
    assert not header_problem("1;2", FormatSettings(), CHANNELS)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("datetime;flow", "datetime"),
        ("flow,Time [s]", "Time [s]"),
        ('{"ts": 1, "flow": 2}', "ts"),
        ("1,2", ""),
        ("flow", ""),
    ],
)
def test_the_time_column_is_found_by_its_name(line, name):
    assert find_time_name(line, ["flow"]) == name


@pytest.mark.parametrize(
    "line", ["flow=1.5 pressure=2", "pressure:2,flow:1.5", "flow = 1.5; extra=x; pressure = 2", "flow=1.5\tpressure=2"]
)
def test_pairs_are_read_by_name(line):
    assert decode([line], format="keyvalue") == ([[1.5, 2]], None)


def test_a_channel_that_no_pair_names_is_missing():
    values, _ = decode(["flow=1"], format="keyvalue")
    assert np.isnan(values[0][1])


@pytest.mark.parametrize("line", ["flow", "other=1", "flow=x", "flow=1 flow=2", "flow=1 2", "=", "flow=1_0"])
def test_pairs_refuse_what_is_no_reading(line):
    with pytest.raises(FrameError):
        decode([line], format="keyvalue")


def test_json_reads_objects_by_name_and_arrays_in_order():
    assert decode(['{"pressure": 2, "x": [1], "flow": 1.5}', "[3, 4]"], format="json")[0] == [[1.5, 2], [3, 4]]


def test_json_null_and_absent_names_are_missing():
    values, _ = decode(['{"flow": null}'], format="json")
    assert np.isnan(values).all()


@pytest.mark.parametrize(
    "line",
    ["", "1", "{", "[1]", '{"x": 1}', '{"flow": true}', '{"flow": "a"}', '{"flow": {}}', "[" * 5000, '"flow"', "null"],
)
def test_json_refuses_what_is_no_reading(line):
    with pytest.raises(FrameError):
        decode([line], format="json")


def test_a_json_integer_beyond_every_float_is_infinite():
    assert decode([f'{{"flow": -{"9" * 400}, "pressure": 1}}'], format="json")[0] == [[-np.inf, 1]]


@pytest.mark.parametrize("time", ["true", "null", "[]", '"soon"'])
def test_json_refuses_a_time_that_is_none(time):
    with pytest.raises(FrameError):
        decode([f'{{"t": {time}, "flow": 1}}'], format="json", time_column="t")


numbers = st.floats(width=32) | st.just(float("nan"))
formats = st.sampled_from(
    [
        {"format": "csv"},
        {"format": "csv", "delimiter": ";", "decimal": ","},
        {"format": "csv", "delimiter": "|", "time_column": "time", "time_unit": "ns"},
        {"format": "keyvalue", "time_column": "time", "time_unit": "s"},
        {"format": "json"},
        {"format": "json", "time_column": "time", "time_unit": "us"},
    ]
)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5), formats, st.integers(0, 2**62))
def test_what_is_encoded_is_decoded_to_the_last_bit(rows, settings, t_ns):
    settings = FormatSettings(**settings)
    values = np.array(rows, dtype=np.float32)
    if settings.format == "keyvalue":
        values = np.where(np.isnan(values).all(axis=1, keepdims=True), np.float32(0), values)
    block = Block(values=values, t_ns=t_ns + np.arange(len(rows), dtype=np.int64))
    lines = encode_lines(block, settings, CHANNELS).decode().splitlines()
    decoded, times = make_decoder(settings, CHANNELS).decode(lines)
    np.testing.assert_array_equal(decoded, values)
    assert times is None or times.tolist() == block.t_ns.tolist()
