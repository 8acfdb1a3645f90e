import dataclasses

import pytest

from edge_agent.contract.records import Channel
from edge_agent.sources.replay import ReplaySettings
from edge_agent.sources.serial import SerialSettings
from edge_agent.sources.settings import KINDS, make_source
from edge_agent.sources.stdin import StdinSettings
from edge_agent.sources.synthetic import SyntheticSettings
from tests.virtual_clock import VirtualClock


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (SerialSettings, {"port": " "}, "port must be a device path"),
        (SerialSettings, {"port": "/dev/x", "baud": 10}, "baud must be between 300 and 4e\\+06, got 10"),
        (SerialSettings, {"port": "/dev/x", "gather_s": 9}, "gather_s"),
        (SerialSettings, {"port": "/dev/x", "format": "xml"}, "format must be one of csv, keyvalue, json, binary"),
        (SerialSettings, {"port": "/dev/x", "delimiter": "::"}, "delimiter"),
        (SerialSettings, {"port": "/dev/x", "delimiter": ",", "decimal": ","}, "must differ"),
        (SerialSettings, {"port": "/dev/x", "decimal": "'"}, "decimal"),
        (SerialSettings, {"port": "/dev/x", "columns": ("a", "a")}, "different names"),
        (SerialSettings, {"port": "/dev/x", "columns": ("a",), "time_column": "t"}, "time_column 't' must be one of"),
        (SerialSettings, {"port": "/dev/x", "time_unit": "h"}, "time_unit"),
        (StdinSettings, {"max_line_bytes": 2}, "max_line_bytes"),
        (ReplaySettings, {"path": ""}, "path"),
        (ReplaySettings, {"path": "x", "speed": -1}, "speed"),
        (ReplaySettings, {"path": "x", "speed": float("nan")}, "speed"),
        (SyntheticSettings, {"rate_hz": 0}, "rate_hz"),
        (SyntheticSettings, {"seed": -1}, "seed"),
        (SyntheticSettings, {"rows": -1}, "rows"),
        (SyntheticSettings, {"fault": "gremlins"}, "fault must be one of"),
        (SyntheticSettings, {"fault": "leak", "fault_duration_s": 0}, "duration_s"),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_known_by_their_kind_and_frozen(kind):
    required = {"serial": {"port": "/dev/x"}, "replay": {"path": "x.csv"}}.get(kind, {})
    settings = KINDS[kind](**required)
    assert settings.kind == kind
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, dataclasses.fields(settings)[0].name, "other")


@pytest.mark.parametrize("settings", [SerialSettings(port="/dev/x"), ReplaySettings(path="x"), StdinSettings()])
def test_a_source_of_unknown_channels_is_refused(settings):
    with pytest.raises(ValueError, match="needs to know its channels"):
        make_source(settings, VirtualClock())


def test_columns_may_name_the_channels():
    settings = StdinSettings(columns=("t", "flow", "level"), time_column="t")
    assert make_source(settings, VirtualClock()).channels == (Channel(name="flow"), Channel(name="level"))


def test_the_pump_has_no_channels_but_its_own():
    with pytest.raises(ValueError, match="level"):
        make_source(SyntheticSettings(), VirtualClock(), (Channel(name="level"),))
