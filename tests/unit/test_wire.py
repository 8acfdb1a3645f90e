from __future__ import annotations

import contextlib
import json
import math

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract.records import Fault, Stage
from edge_agent.contract.schema import json_schema
from edge_agent.contract.wire import (
    MAX_DEPTH,
    MAX_PAYLOAD_BYTES,
    Anomaly,
    Dropped,
    EventPayload,
    ImageKind,
    ModelRef,
    PayloadError,
    Region,
    ScorePayload,
    StatePayload,
    Topics,
    WindowRef,
    check_device,
    check_stream,
    parse,
    to_json,
    utc_text,
)
from tests.alert_payloads import alert


def test_topics_are_those_of_the_device_and_its_streams() -> None:
    topics = Topics("anomalite", "pump-house-1")

    assert topics.state == "anomalite/pump-house-1/state"
    assert topics.info == "anomalite/pump-house-1/info"
    assert topics.health == "anomalite/pump-house-1/health"
    assert topics.stream_state("pump") == "anomalite/pump-house-1/pump/state"
    assert topics.score("pump") == "anomalite/pump-house-1/pump/score"
    assert topics.event("pump") == "anomalite/pump-house-1/pump/event"
    assert topics.image("pump") == "anomalite/pump-house-1/pump/image"
    assert topics.image("pump", ImageKind.HEATMAP) == "anomalite/pump-house-1/pump/heatmap"


@pytest.mark.parametrize("name", ["", "a" * 65, "pump/1", "pump+", "#", "pümp", "a b", "pump\n", "$SYS"])
def test_a_name_that_would_reach_into_other_topics_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 letters"):
        check_device(name)
    with pytest.raises(ValueError, match="1 to 64 letters"):
        check_stream(name)


@pytest.mark.parametrize("name", ["state", "info", "health", "model", "cmd", "ota"])
def test_no_stream_takes_a_topic_of_the_device(name: str) -> None:
    with pytest.raises(ValueError, match="is no stream name"):
        Topics("anomalite", "d").event(name)


@pytest.mark.parametrize("root", ["", "a//b", "+", "a/#"])
def test_a_root_that_is_no_topic_is_refused(root: str) -> None:
    with pytest.raises(ValueError, match="root topic"):
        Topics(root, "d")


def test_a_root_may_have_several_levels() -> None:
    assert Topics("site/anomalite", "d").state == "site/anomalite/d/state"


def test_an_alert_with_everything_fits_its_schema() -> None:
    event = alert(
        stage=Stage.NETWORK,
        level=0.7,
        score=12.5,
        threshold=10.0,
        fault=Fault.SENSOR,
        model=ModelRef(name="pump", version="1", sha256="0" * 64),
        window=WindowRef(start=utc_text(0), end=utc_text(10**9), samples=64),
        top=(("pressure", 0.8), ("flow", 0.2)),
        region=Region(x=0.0, y=0.0, w=1.0, h=1.0, class_="dent", class_score=0.75),
        dropped=Dropped(session="f" * 32, ranges=((1, 3),), count=3),
    )

    jsonschema.validate(json.loads(to_json(event)), json_schema(EventPayload), jsonschema.Draft7Validator)


def test_every_key_is_always_there() -> None:
    schema = json_schema(StatePayload)

    assert set(schema["required"]) == {"anomaly", "level", "score", "since", "fault", "detail"}
    assert json.loads(to_json(StatePayload(anomaly=None)))["anomaly"] is None
    assert json.loads(to_json(StatePayload(anomaly=Anomaly.ON)))["anomaly"] == "ON"


@pytest.mark.parametrize("bad", [{"level": 0.5, "anomaly": "maybe"}, {"anomaly": "ON"}, []])
def test_the_schema_refuses_what_is_no_state(bad: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, json_schema(StatePayload), jsonschema.Draft7Validator)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_becomes_null(value: float) -> None:
    assert json.loads(to_json(alert(score=value)))["score"] is None


def test_a_share_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite shares"):
        alert(top=(("pressure", math.nan),))


def test_no_alert_is_lost_to_its_own_words() -> None:
    event = alert(text="x" * 100_000, detail="y" * 100_000, top=tuple((str(i), 0.0) for i in range(1000)))

    assert len(event.text) == 1000
    assert event.text.endswith("…")
    assert len(to_json(event)) < MAX_PAYLOAD_BYTES / 8


def test_a_level_beyond_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"level must be at most 1, got 1\.5"):
        ScorePayload(time=utc_text(0), level=1.5, stage=Stage.NETWORK)


def test_an_event_id_is_a_name() -> None:
    with pytest.raises(ValueError, match="id must match"):
        alert("../../etc/passwd")


def test_garbage_from_a_port_never_breaks_the_json() -> None:
    json.loads(to_json(alert(detail="\udcff\x00\n")))


def test_times_are_utc_with_milliseconds() -> None:
    assert utc_text(1_795_301_755_415_999_999) == "2026-11-21T22:55:55.415Z"


def test_a_payload_within_the_limits_is_read() -> None:
    assert parse(b'{"status": "init", "n": [1, 2.5, null]}') == {"status": "init", "n": [1, 2.5, None]}


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_depth_is_limited() -> None:
    parse(nested(MAX_DEPTH))
    with pytest.raises(PayloadError, match="deeper than 16"):
        parse(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"a": NaN}',
        b'{"a": [Infinity]}',
        b'{"a": {"b": -1e999}}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\xff"}',
        b"[" * 60_000,
        b'{"a": "' + b"x" * MAX_PAYLOAD_BYTES + b'"}',
    ],
)
def test_what_is_not_a_bounded_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(PayloadError):
        parse(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        assert isinstance(parse(data), dict)
