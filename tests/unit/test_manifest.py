"""The manifest: what it says survives the file, and what it must not say is refused where it stands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge_agent.contract.manifest import GraphFace, GraphFormat, InputSpec, Manifest, StateTensor
from edge_agent.contract.records import Channel
from edge_agent.errors import ManifestError, UnsupportedFormat
from tests.bundles import CHANNELS, manifest, members

GOOD = manifest(members())


def changed(path: str, value: object) -> dict[str, Any]:
    """The good manifest with one value replaced; the path has dots, numbers index arrays."""
    values = json.loads(json.dumps(GOOD.to_dict()))
    *parents, last = path.split(".")
    place = values
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    place[last] = value
    return values


def test_a_manifest_survives_the_file() -> None:
    assert Manifest.from_json(json.dumps(GOOD.to_dict()).encode()) == GOOD


def test_members_come_in_the_order_they_are_packed() -> None:
    assert [member.file for member in GOOD.members()] == [
        "model_float32.tflite",
        "prefilter.npz",
        "golden.npz",
        "report.html",
    ]


def test_the_input_gives_the_windowers_rule() -> None:
    rule = GOOD.input.rule()
    assert (rule.channels, rule.window, rule.hold, rule.stuck_samples) == (CHANNELS, 4, 2, (30, None))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("nmae", "x", "unknown key 'nmae', did you mean 'name'"),
        ("name", "Big Pump", "name must match"),
        ("version", "", "version must match"),
        ("kind", "camera", "kind must be 'sensor'"),
        ("created", "x" * 99, "created must be a time"),
        ("graphs", [], "1 to 8 graphs"),
        ("graphs.0.format", "int4", r"manifest\.graphs\[0\]\.format must be one of int8"),
        ("graphs.0.file", "../model.tflite", "file must be a plain file name"),
        ("graphs.0.sha256", "AB", "64 lower-case hexadecimal digits"),
        ("graphs.0.size", 0, "must be 1 to"),
        ("graphs.0.size", 1 << 40, "must be 1 to"),
        ("graphs.0.score", -1, "tensor index of score must be 0 to"),
        ("graphs.0.window", 1 << 30, "tensor index of window must be 0 to"),
        ("graphs.0.contributions", 7, "two outputs have the same tensor index"),
        ("graphs.0.golden_tolerance", {}, "at least one runtime"),
        ("graphs.0.golden_tolerance", {"litert": 0}, "golden_tolerance of litert"),
        ("graphs.0.calibration.threshold", -1e9, r"manifest\.graphs\[0\]\.calibration"),
        (
            "graphs.0.states",
            [{"name": "h", "input": 1, "output": 2, "shape": [1, 4]}],
            "a streaming input needs graphs with states",
        ),
        ("input.rate_hz", 0, "rate_hz must be above 0"),
        ("input.rate_hz", "1", r"manifest\.input\.rate_hz must be a number"),
        ("input.window", 1 << 30, "window x channels"),
        ("input.warm_up", 3, "warm_up is for streaming graphs"),
        ("input.stuck_samples", [1], "one entry per channel"),
        ("input.channels.1.name", "pressure", "channel names must differ"),
        ("input.channels.0.low", 11.0, "low must be below high"),
        ("prefilter.mode", "sometimes", r"must be one of gate, watch, off"),
        ("prefilter.max_skip_s", 0, "max_skip_s must be above 0"),
        ("prefilter.file", "golden.npz", "each member needs its own file name"),
        ("decision.rule.n", 9, r"manifest\.decision\.rule"),
        ("decision.alarms_per_day", 0, "alarms_per_day must be above 0"),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(path: str, value: object, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        Manifest.from_dict(changed(path, value))


@pytest.mark.parametrize(
    ("version", "advice"), [(2, "update the agent"), (10**30, "update the agent"), (0, "pack it again")]
)
def test_another_format_is_refused_whatever_else_it_holds(version: int, advice: str) -> None:
    with pytest.raises(UnsupportedFormat, match=advice):
        Manifest.from_dict({"format": version, "unheard": "of"})


def test_a_format_that_is_no_number_is_a_wrong_value() -> None:
    with pytest.raises(ManifestError, match=r"manifest\.format must be an integer"):
        Manifest.from_dict(changed("format", "1"))


def test_a_streaming_input_takes_every_row() -> None:
    with pytest.raises(ValueError, match="window and stride must be 1, got 4 and 1"):
        InputSpec(
            channels=(Channel(name="a"),), rate_hz=1.0, window=4, max_gap_s=1.0, stuck_samples=(None,), streaming=True
        )


def test_states_that_share_a_tensor_are_refused() -> None:
    states = tuple(StateTensor(name=name, input=1, output=index, shape=(1, 4)) for index, name in enumerate("hc", 5))
    with pytest.raises(ValueError, match="two inputs have the same tensor index"):
        GraphFace(format=GraphFormat.FLOAT32, window=0, score=3, states=states)


@pytest.mark.parametrize("shape", [(0, 4), (1 << 30,), (1 << 11, 1 << 12), (1,) * 9])
def test_a_state_beyond_any_graph_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="state h"):
        StateTensor(name="h", input=1, output=2, shape=shape)
