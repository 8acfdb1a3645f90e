#!/usr/bin/env python3
"""Print the alerts of all devices in words, each once, and keep the pictures of those that a camera raised.

    python examples/subscriber.py                                  broker on this machine
    python examples/subscriber.py --host broker.local --tls --user viewer --password-file viewer.secret
    python examples/subscriber.py --stream pump --json | jq .
    python examples/subscriber.py --pictures alerts     the frame as ID.jpg, where it is strange as ID.heatmap.jpg

An agent sends an alert again when it cannot know whether it arrived: after a crash, a power cut, a lost connection. The
repeated alert has the same `device`, `session` and `seq`, so that is what this program remembers. A picture follows its
alert and names it by a property of MQTT 5, which the broker must speak. Needs paho-mqtt 2.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

REMEMBERED = 100_000
"""Alerts remembered as seen, the newest: what several devices can have waiting after weeks without a broker."""

ENDINGS = {"image": ".jpg", "heatmap": ".heatmap.jpg"}
"""Of the files that pictures are kept in, by the last level of their topics."""

NEVER_EXPIRES = 0xFFFFFFFF
"""Of a session of MQTT 5: as long as the broker likes."""

MARKS = {"info": " ", "warning": "!", "critical": "!!"}


class Seen:
    """Remembers alerts by (device, session, seq); the oldest are forgotten."""

    def __init__(self, size: int = REMEMBERED) -> None:
        """Take how many to remember."""
        self._size = size
        self._keys: OrderedDict[tuple[str, str, int], None] = OrderedDict()

    def is_new(self, alert: dict[str, Any]) -> bool:
        """Say whether an alert comes for the first time, and remember it."""
        key = str(alert["device"]), str(alert["session"]), int(alert["seq"])
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)
        return True


def words(alert: dict[str, Any]) -> str:
    """Return an alert as one line for people."""
    late = " (late)" if alert.get("historical") else ""
    parts = [f"{alert['time']}{late}", f"{MARKS.get(alert['severity'], '?'):2}", f"{alert['device']}/{alert['stream']}"]
    parts.append(f"{alert['event_type']} {alert['life']}")
    if alert.get("level") is not None:
        parts.append(f"level {alert['level']:.2f}")
    if alert.get("text") or alert.get("reason"):
        parts.append(f"- {alert.get('text') or alert['reason']}")
    if alert.get("top"):
        parts.append("[" + ", ".join(f"{channel} {share:.0%}" for channel, share in alert["top"]) + "]")
    return "  ".join(parts)


def take(payload: bytes, seen: Seen, *, as_json: bool) -> str | None:
    """Return what to print for a payload; None for a duplicate or something that is no alert."""
    try:
        alert = json.loads(payload)
        if not seen.is_new(alert):
            return None
        return json.dumps(alert, ensure_ascii=False) if as_json else words(alert)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        sys.stderr.write(f"not an alert, passed over: {error!r}\n")
        return None


def keep_picture(message: MQTTMessage, folder: Path) -> Path | None:
    """Write a picture into a file named by the event it is of; None where no name can be one, or the disk refuses."""
    told = dict(getattr(message.properties, "UserProperty", ()))
    event, ending = told.get("event_id", ""), ENDINGS[message.topic.rpartition("/")[2]]
    if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", event):
        sys.stderr.write(f"a picture on {message.topic} says of no event that it is, passed over\n")
        return None
    path = folder / f"{event}{ending}"
    try:
        path.write_bytes(bytes(message.payload))
    except OSError as error:
        sys.stderr.write(f"a picture of {event} cannot be kept: {error}\n")
        return None
    return path


def tell(message: MQTTMessage, seen: Seen, given: argparse.Namespace) -> bool:
    """Print an alert, or where a picture is kept; return whether it was an alert that is new."""
    if message.topic.rpartition("/")[2] in ENDINGS:
        path = keep_picture(message, given.pictures)
        if path and not given.json:
            print(f"  {path}", flush=True)
        return False
    line = take(bytes(message.payload), seen, as_json=given.json)
    if line is not None:
        print(line, flush=True)
    return line is not None


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="localhost", help="broker (default: localhost)")
    parser.add_argument("--port", type=int, default=0, help="default: 1883, with --tls 8883")
    parser.add_argument("--root", default="anomalite", help="root topic (default: anomalite)")
    parser.add_argument("--device", default="+", help="only this device")
    parser.add_argument("--stream", default="+", help="only this stream")
    parser.add_argument("--tls", action="store_true", help="encrypt and check the broker's certificate")
    parser.add_argument("--ca", help="authorities to trust, PEM (default: the system's)")
    parser.add_argument("--user", help="user name")
    parser.add_argument("--password-file", type=Path, help="file with the password")
    parser.add_argument("--client-id", default="", help="with one, the broker keeps alerts while this program is away")
    parser.add_argument("--json", action="store_true", help="print each alert as a line of JSON")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="keep the pictures of alerts here")
    parser.add_argument(
        "--count",
        type=int,
        default=0,
        help="end after so many alerts, whether or not their pictures have come (default: never)",
    )
    return parser.parse_args(arguments)


def client_for(given: argparse.Namespace) -> Client:
    """Return a client with credentials, not yet connected; one of MQTT 5 where pictures are to name their events."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=given.client_id,
        protocol=MQTTProtocolVersion.MQTTv5 if given.pictures else MQTTProtocolVersion.MQTTv311,
        clean_session=None if given.pictures else not given.client_id,
    )
    if given.user:
        client.username_pw_set(
            given.user, given.password_file.read_text().rstrip("\r\n") if given.password_file else None
        )
    if given.tls:
        client.tls_set(ca_certs=given.ca)
    return client


def connect(client: Client, given: argparse.Namespace) -> None:
    """Connect, to a session that the broker keeps where the client has a name.

    Raises:
        OSError: the broker cannot be reached.
    """
    port = given.port or (8883 if given.tls else 1883)
    if not given.pictures:
        client.connect(given.host, port)
        return
    session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    session.SessionExpiryInterval = NEVER_EXPIRES if given.client_id else 0
    client.connect(given.host, port, clean_start=not given.client_id, properties=session)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print alerts until interrupted, or until `--count` of them have come."""
    given = options(arguments)
    seen, printed = Seen(), 0
    client = client_for(given)
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)

    def on_connect(client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Properties | None) -> None:
        if reason.is_failure:
            sys.stderr.write(f"the broker refuses the connection: {reason}\n")
        else:
            kinds = ["event", *(ENDINGS if given.pictures else ())]
            client.subscribe([(f"{given.root}/{given.device}/{given.stream}/{kind}", 1) for kind in kinds])

    def on_message(client: Client, _data: Any, message: MQTTMessage) -> None:
        nonlocal printed
        printed += tell(message, seen, given)
        if given.count and printed >= given.count:
            client.disconnect()

    client.on_connect = on_connect
    client.on_message = on_message
    try:
        connect(client, given)
    except OSError as error:
        sys.stderr.write(f"{given.host} cannot be reached: {error}\n")
        return 1
    try:
        client.loop_forever()
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
