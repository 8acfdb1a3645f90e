from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.contract.wire import ImageKind, to_json
from examples.subscriber import Seen, keep_picture, main, take
from tests.alert_payloads import DEVICE, alert
from tests.integration.broker import Broker
from tests.integration.conftest import Device

SCRIPT = Path(__file__).parents[2] / "examples" / "subscriber.py"


def payload(seq: int, session: str = "a" * 32) -> bytes:
    return json.dumps(
        {**json.loads(to_json(alert("e", text="pressure high"))), "seq": seq, "session": session}
    ).encode()


def test_a_duplicate_is_dropped_and_a_new_session_is_not() -> None:
    seen = Seen()
    came = [payload(1), payload(2), payload(1), payload(1, "b" * 32), payload(2)]

    assert [take(each, seen, as_json=False) is not None for each in came] == [True, True, False, True, False]


def test_the_oldest_is_forgotten_so_that_memory_is_bounded() -> None:
    seen = Seen(size=2)
    for seq in (1, 2, 3):
        take(payload(seq), seen, as_json=False)

    assert take(payload(1), seen, as_json=False) is not None
    assert take(payload(3), seen, as_json=False) is None


@pytest.mark.parametrize("junk", [b"", b"[]", b"null", b'{"device": 1}', b"\xff"])
def test_what_is_no_alert_is_passed_over(junk: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert take(junk, Seen(), as_json=False) is None
    assert "not an alert" in capsys.readouterr().err


def test_an_alert_is_told_in_words() -> None:
    line = take(payload(1), Seen(), as_json=False)

    assert line is not None
    assert f"{DEVICE}/pump" in line
    assert "anomaly open" in line
    assert "pressure high" in line


def test_the_script_prints_what_a_broker_delivers(device: Callable[..., Device], broker: Broker) -> None:
    script = subprocess.Popen(
        [sys.executable, SCRIPT, "--host", "127.0.0.1", "--port", str(broker.port), "--json", "--count", "3"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        one = device(broker)
        one.link.start()
        while script.poll() is None:
            one.outbox.put(alert("e"))
            try:
                script.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        assert script.stdout
        lines = [json.loads(line) for line in script.stdout]
    finally:
        script.kill()
        script.wait()
        if script.stdout:
            script.stdout.close()

    assert len({line["seq"] for line in lines}) == 3
    assert script.returncode == 0


def picture(event: str | None, kind: str = "image") -> MQTTMessage:
    message = MQTTMessage(topic=f"anomalite/{DEVICE}/station/{kind}".encode())
    message.payload, message.properties = kind.encode(), Properties(PacketTypes.PUBLISH)
    if event is not None:
        message.properties.UserProperty = ("event_id", event)
    return message


def test_pictures_are_kept_by_the_event_that_they_are_of(tmp_path: Path) -> None:
    kept = [keep_picture(picture("e1", kind), tmp_path) for kind in ("image", "heatmap")]
    assert kept == [tmp_path / "e1.jpg", tmp_path / "e1.heatmap.jpg"]
    assert [path.read_bytes() for path in kept if path] == [b"image", b"heatmap"]


@pytest.mark.parametrize("event", [None, "", "../e1", "a" * 65])
def test_a_picture_without_an_event_that_can_be_a_file_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], event: str | None
) -> None:
    assert keep_picture(picture(event), tmp_path / "alerts") is None
    assert "passed over" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_no_picture_does_not_end_the_alerts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keep_picture(picture("e1"), tmp_path / "nowhere") is None
    assert "a picture of e1 cannot be kept" in capsys.readouterr().err


def test_the_script_keeps_the_pictures_that_a_broker_delivers(
    device: Callable[..., Device], broker: Broker, tmp_path: Path
) -> None:
    one = device(broker, protocol="5")
    one.link.start()
    one.link.publish_image("station", ImageKind.IMAGE, b"frame", "e1")
    words = ["--host", "127.0.0.1", "--port", str(broker.port), "--pictures", str(tmp_path / "alerts")]
    script = subprocess.Popen([sys.executable, "-u", SCRIPT, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert script.stdout
        assert script.stdout.readline() == f"  {tmp_path / 'alerts' / 'e1.jpg'}\n"
        assert (tmp_path / "alerts" / "e1.jpg").read_bytes() == b"frame"
    finally:
        script.kill()
        script.wait()
        if script.stdout:
            script.stdout.close()


def test_a_broker_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--host", "127.0.0.1", "--port", str(Broker(tmp_path / "b").port)]) == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_help_tells_how_to_use_it() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)

    assert "broker on this machine" in done.stdout
    assert "--password-file" in done.stdout
