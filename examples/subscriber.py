#!/usr/bin/env python3
"""Print the alerts of all devices in words, each once.

    python examples/subscriber.py                                  broker on this machine
    python examples/subscriber.py --host broker.local --tls --user viewer --password-file viewer.secret
    python examples/subscriber.py --stream pump --json | jq .

An agent sends an alert again when it cannot know whether it arrived: after a crash, a power cut, a lost connection. The
repeated alert has the same `device`, `session` and `seq`, so that is what this program remembers. Needs paho-mqtt 2.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

REMEMBERED = 100_000
"""Alerts remembered as seen, the newest: what several devices can have waiting after weeks without a broker."""

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
    parser.add_argument("--count", type=int, default=0, help="end after so many alerts (default: never)")
    return parser.parse_args(arguments)


def client_for(given: argparse.Namespace) -> Client:
    """Return a client with credentials, not yet connected."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=given.client_id,
        protocol=MQTTProtocolVersion.MQTTv311,
        clean_session=not given.client_id,
    )
    if given.user:
        client.username_pw_set(
            given.user, given.password_file.read_text().rstrip("\r\n") if given.password_file else None
        )
    if given.tls:
        client.tls_set(ca_certs=given.ca)
    return client


def main(arguments: Sequence[str] | None = None) -> int:
    """Print alerts until interrupted, or until `--count` of them have come."""
    given = options(arguments)
    seen, printed = Seen(), 0
    client = client_for(given)

    def on_connect(client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Properties | None) -> None:
        if reason.is_failure:
            sys.stderr.write(f"the broker refuses the connection: {reason}\n")
        else:
            client.subscribe(f"{given.root}/{given.device}/{given.stream}/event", qos=1)

    def on_message(client: Client, _data: Any, message: MQTTMessage) -> None:
        nonlocal printed
        line = take(bytes(message.payload), seen, as_json=given.json)
        if line is not None:
            print(line, flush=True)
            printed += 1
        if given.count and printed >= given.count:
            client.disconnect()

    client.on_connect = on_connect
    client.on_message = on_message
    try:
        client.connect(given.host, given.port or (8883 if given.tls else 1883))
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
