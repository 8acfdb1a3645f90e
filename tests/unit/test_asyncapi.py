from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edge_agent.contract.asyncapi import MESSAGES, description, main
from edge_agent.contract.wire import ImageKind, Topics

FILE = Path(__file__).parents[2] / "docs" / "asyncapi.json"


def test_the_file_in_docs_is_current() -> None:
    assert main(["--check", str(FILE)]) == 0


def test_a_file_that_is_not_current_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "asyncapi.json"
    old.write_text(FILE.read_text().replace('"asyncapi"', '"async"'))

    assert main(["--check", str(old)]) == 1
    assert "is not current" in capsys.readouterr().err
    assert main([str(old)]) == 0
    assert old.read_text() == FILE.read_text()


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [value["$ref"]] if "$ref" in value else [ref for item in value.values() for ref in references(item)]
    return [ref for item in value for ref in references(item)] if isinstance(value, list) else []


def test_every_reference_leads_somewhere() -> None:
    document = description()
    found = references(document)

    for reference in found:
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
    assert len(found) == 4 * len(MESSAGES)


def test_every_payload_schema_is_a_schema() -> None:
    for schema in description()["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)


def test_the_addresses_are_the_topics_that_the_agent_uses() -> None:
    addresses = {name: channel["address"] for name, channel in description("r")["channels"].items()}
    topics = Topics("r", "D")
    filled = {name: address.format(device="D", stream="S") for name, address in addresses.items()}

    assert filled == {
        "deviceState": topics.state,
        "info": topics.info,
        "health": topics.health,
        "streamState": topics.stream_state("S"),
        "score": topics.score("S"),
        "event": topics.event("S"),
        "image": topics.image("S"),
        "heatmap": topics.image("S", ImageKind.HEATMAP),
    }


def test_the_file_is_plain_json() -> None:
    assert json.loads(FILE.read_text())["asyncapi"] == "3.0.0"
