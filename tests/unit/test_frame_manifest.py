"""The manifest of a camera: what it says survives the file, and what it must not say is refused where it stands."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from edge_agent.contract.frame_manifest import FrameFace, FrameManifest, FrameSpec
from edge_agent.contract.manifest import GraphFormat, Manifest, StateTensor
from edge_agent.errors import ManifestError, UnsupportedFormat
from tests import bundles
from tests.frame_bundles import manifest, members

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
    assert FrameManifest.from_json(json.dumps(GOOD.to_dict()).encode()) == GOOD


def test_members_come_in_the_order_they_are_packed() -> None:
    assert [member.file for member in GOOD.members()] == ["model_float32.tflite", "golden.npz", "report.html"]


def test_the_manifest_of_a_camera_is_refused_where_sensors_are_meant() -> None:
    with pytest.raises(ManifestError, match=r"the bundle is for the frames of a camera .*the readings of sensors"):
        Manifest.from_dict(GOOD.to_dict())


def test_the_manifest_of_sensors_is_refused_where_a_camera_is_meant() -> None:
    sensors = bundles.manifest(bundles.members())
    with pytest.raises(ManifestError, match=r"the bundle is for the readings of sensors .*the frames of a camera"):
        FrameManifest.from_dict(sensors.to_dict())


def test_a_manifest_that_says_no_kind_is_for_sensors() -> None:
    values = GOOD.to_dict()
    del values["kind"]
    with pytest.raises(ManifestError, match="the bundle is for the readings of sensors"):
        FrameManifest.from_dict(values)


def test_a_newer_format_is_named_before_the_kind() -> None:
    with pytest.raises(UnsupportedFormat, match="update the agent"):
        FrameManifest.from_dict({"format": 2, "kind": "sensor"})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("kind", "clip", "kind must be 'frame'"),
        ("kind", ["frame"] * 99, r"manifest\.kind must be a string"),
        ("prefilter.file", "prefilter.npz", r"manifest\.prefilter: unknown key 'file'"),
        ("graphs.0.window", 3, r"manifest\.graphs\[0\]: unknown key 'window'"),
        ("graphs.0.frame", 1 << 30, "tensor index of frame must be 0 to"),
        ("graphs.0.map", -1, "tensor index of map must be 0 to"),
        ("graphs.0.map", 7, "two outputs have the same tensor index"),
        ("graphs.0.map", None, "a graph with a map needs a map_calibration"),
        ("graphs.0.map_calibration", None, "a graph with a map needs a map_calibration"),
        ("graphs.0.map_calibration.threshold", -1e9, r"manifest\.graphs\[0\]\.map_calibration"),
        ("graphs.0.size", 1 << 40, "must be 1 to"),
        ("graphs.0.golden_tolerance", {"litert": 2}, "golden_tolerance of litert"),
        (
            "graphs.0.states",
            [{"name": "h", "input": 1, "output": 2, "shape": [1, 4]}],
            "a streaming input needs graphs with states",
        ),
        ("input.streaming", True, "a streaming input needs graphs with states"),
        ("input.width", 0, "width must be 8 to 4096 pixels, got 0"),
        ("input.height", 1 << 40, "height must be 8 to 4096 pixels"),
        ("input.width", 224.0, r"manifest\.input\.width must be an integer"),
        ("input.interval_s", 0, "interval_s must be above 0"),
        ("input.warm_up", 3, "warm_up is for streaming graphs"),
        ("input.masks", [[[0, 0], [1, 1]]], r"masks\[0\]: expected 3..64 corners"),
        ("input.zones.0.polygon", [[0, 0], [2, 0], [0, 2]], "zone belt: a corner is"),
        ("input.zones.0.name", "x" * 65, r"manifest\.input\.zones\[0\].*name of 1 to 64 characters"),
        ("input.zones.0.factor", 0, r"manifest\.input\.zones\[0\].*factor must be above 0"),
        ("input.classes", ["crack", "crack"], "classes must differ"),
        ("input.classes", ["x" * 65], "1 to 64 characters"),
        ("input.classes", [str(number) for number in range(257)], "at most 256 classes"),
        ("prefilter.mode", "sometimes", r"must be one of gate, watch, off"),
        ("prefilter.max_skip_s", 1e6, "max_skip_s must be above 0 and at most 86400"),
        ("golden.file", "model_float32.tflite", "each member needs its own file name"),
        ("decision.rule.n", 9, r"manifest\.decision\.rule"),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(path: str, value: object, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        FrameManifest.from_dict(changed(path, value))


def test_a_frame_of_too_many_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame may have 4194304 pixels at most, got 4096 x 4096"):
        FrameSpec(width=4096, height=4096, interval_s=1.0)


def test_two_zones_of_one_name_are_refused() -> None:
    zone = GOOD.input.zones[0]
    with pytest.raises(ValueError, match="zones of different names"):
        FrameSpec(width=64, height=64, interval_s=1.0, zones=(zone, zone))


def test_graphs_of_which_one_has_no_map_are_refused() -> None:
    flat = dataclasses.replace(
        GOOD.graphs[0], format=GraphFormat.INT8, file="model_int8.tflite", map=None, map_calibration=None
    )
    with pytest.raises(ValueError, match="either every graph has a map or none has"):
        dataclasses.replace(GOOD, graphs=(*GOOD.graphs, flat))


def test_graphs_of_which_one_tells_no_kinds_apart_are_refused() -> None:
    spec = dataclasses.replace(GOOD.input, classes=("crack", "scratch"))
    graph, flat = (dataclasses.replace(GOOD.graphs[0], kinds=kinds) for kinds in (3, None))
    flat = dataclasses.replace(flat, format=GraphFormat.INT8, file="model_int8.tflite")
    with pytest.raises(ValueError, match="either every graph has kinds or none has"):
        dataclasses.replace(GOOD, input=spec, graphs=(graph, flat))


@pytest.mark.parametrize("classes", [(), ("crack",)])
def test_kinds_without_classes_to_tell_apart_are_refused(classes: tuple[str, ...]) -> None:
    spec, graph = dataclasses.replace(GOOD.input, classes=classes), dataclasses.replace(GOOD.graphs[0], kinds=3)
    with pytest.raises(ValueError, match="tell kinds apart need two classes or more"):
        dataclasses.replace(GOOD, input=spec, graphs=(graph,))


def test_a_manifest_from_before_kinds_were_told_is_read() -> None:
    values = changed("input.classes", ["crack", "scratch"])
    del values["graphs"][0]["kinds"]
    assert FrameManifest.from_dict(values).graphs[0].kinds is None


def test_the_state_of_a_clip_of_16_frames_is_accepted() -> None:
    state = StateTensor(name="clip", input=1, output=2, shape=(1, 16, 224, 224, 3))
    assert FrameFace(format=GraphFormat.FLOAT32, frame=0, score=3, states=(state,)).inputs() == {
        "frame": 0,
        "state_clip": 1,
    }


def test_states_that_are_too_large_together_are_refused() -> None:
    states = tuple(
        StateTensor(name=name, input=index, output=index, shape=(1, 1 << 21)) for index, name in enumerate("abc", 1)
    )
    with pytest.raises(ValueError, match="the states hold 6291456 values, at most 4194304"):
        FrameFace(format=GraphFormat.FLOAT32, frame=0, score=9, states=states)


def test_two_states_of_one_name_are_refused() -> None:
    states = tuple(StateTensor(name="h", input=index, output=index, shape=(1,)) for index in (1, 2))
    with pytest.raises(ValueError, match="state names must differ"):
        FrameFace(format=GraphFormat.FLOAT32, frame=0, score=9, states=states)
