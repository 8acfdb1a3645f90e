"""The AsyncAPI 3 description of what the agent publishes, generated from the payload types.

python -m edge_agent.contract.asyncapi FILE           writes it (docs/asyncapi.json)
python -m edge_agent.contract.asyncapi --check FILE   exits 1 when the file is not current
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.contract.schema import object_schema
from edge_agent.contract.wire import (
    EVENT_ID,
    MAX_IMAGE_BYTES,
    OFFLINE,
    ONLINE,
    SCHEMA_VERSION,
    EventPayload,
    HealthPayload,
    InfoPayload,
    ScorePayload,
    StatePayload,
)

_NAME_RULE = "1 to 64 letters, digits, _ or -"
_JPEG = "image/jpeg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One kind of message that the agent sends."""

    name: str
    address: str
    """Topic below the root, with parameters in braces."""
    payload: type | None
    """Dataclass of the JSON; None: what `content_type` says."""
    qos: int
    retain: bool
    about: str
    content_type: str = "application/json"
    """`text/plain`: the words `online` and `offline`; `image/jpeg`: a picture of an alert."""


MESSAGES = (
    Published(
        name="deviceState",
        address="{device}/state",
        payload=None,
        qos=1,
        retain=True,
        about="Whether the agent is connected; the last will says `offline`.",
        content_type="text/plain",
    ),
    Published(
        name="info",
        address="{device}/info",
        payload=InfoPayload,
        qos=1,
        retain=True,
        about="Birth certificate, at each connect.",
    ),
    Published(
        name="health",
        address="{device}/health",
        payload=HealthPayload,
        qos=1,
        retain=True,
        about="How the agent and its machine are, every 60 s and on change.",
    ),
    Published(
        name="streamState",
        address="{device}/{stream}/state",
        payload=StatePayload,
        qos=1,
        retain=True,
        about="How a stream is now.",
    ),
    Published(
        name="score",
        address="{device}/{stream}/score",
        payload=ScorePayload,
        qos=0,
        retain=False,
        about="At most one a second for each stream, expiring after 60 s.",
    ),
    Published(
        name="event",
        address="{device}/{stream}/event",
        payload=EventPayload,
        qos=1,
        retain=False,
        about="The alert: open, update, close. May come more than once: drop duplicates on (device, session, seq). "
        "On MQTT 5 the CloudEvents attributes are user properties.",
    ),
    Published(
        name="image",
        address="{device}/{stream}/image",
        payload=None,
        qos=1,
        retain=True,
        about="The very frame of the latest alert of a camera, nothing drawn into it. It follows the alert.",
        content_type=_JPEG,
    ),
    Published(
        name="heatmap",
        address="{device}/{stream}/heatmap",
        payload=None,
        qos=1,
        retain=True,
        about="Where the frame of the latest anomaly is strange: dark where all is as usual, the middle of the colours "
        "at the threshold. A fault of the camera has an image alone, so the ids tell which belong together.",
        content_type=_JPEG,
    ),
)


def description(root: str = "anomalite") -> dict[str, Any]:
    """Return the AsyncAPI document for a root topic."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Anomalite edge agent",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": "What an agent publishes over MQTT. Root topic, host and credentials are settings.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {message.name: _channel(message, root) for message in MESSAGES},
        "operations": {f"send{message.name[0].upper()}{message.name[1:]}": _operation(message) for message in MESSAGES},
        "components": {
            "messages": {message.name: _message(message) for message in MESSAGES},
            "schemas": {message.name: _payload(message) for message in MESSAGES},
        },
    }


def text() -> str:
    """Return the document as it is kept in the file."""
    return json.dumps(description(), ensure_ascii=False, indent=2) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or say whether it is current."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is not current")
    given = parser.parse_args(arguments)
    if not given.check:
        given.file.write_text(text(), encoding="utf-8")
        return 0
    if given.file.is_file() and given.file.read_text(encoding="utf-8") == text():
        return 0
    sys.stderr.write(f"{given.file} is not current: run python -m edge_agent.contract.asyncapi {given.file}\n")
    return 1


def _channel(message: Published, root: str) -> dict[str, Any]:
    names = [part[1:-1] for part in message.address.split("/") if part.startswith("{")]
    return {
        "address": f"{root}/{message.address}",
        "description": message.about,
        "messages": {message.name: {"$ref": f"#/components/messages/{message.name}"}},
        "parameters": {name: {"description": f"Name of the {name}: {_NAME_RULE}."} for name in names},
    }


def _operation(message: Published) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{message.name}"},
        "messages": [{"$ref": f"#/channels/{message.name}/messages/{message.name}"}],
        "bindings": {"mqtt": {"qos": message.qos, "retain": message.retain}},
    }


def _message(message: Published) -> dict[str, Any]:
    described = {
        "name": message.name,
        "summary": message.about,
        "contentType": message.content_type,
        "payload": {"$ref": f"#/components/schemas/{message.name}"},
    }
    if message.content_type == _JPEG:
        event_id = {"type": "string", "description": "Id of the alert, an MQTT 5 user property; not there on 3.1.1."}
        described["headers"] = {"type": "object", "properties": {EVENT_ID: event_id}}
    return described


def _payload(message: Published) -> dict[str, Any]:
    if message.content_type == _JPEG:
        return {"type": "string", "format": "binary", "maxLength": MAX_IMAGE_BYTES}
    if message.payload is None:
        return {"type": "string", "enum": [ONLINE.decode(), OFFLINE.decode()]}
    return object_schema(message.payload)


if __name__ == "__main__":
    sys.exit(main())
