"""Alerts for tests, complete and valid."""

from __future__ import annotations

from typing import Any

from edge_agent.contract.records import EventKind, Life
from edge_agent.contract.wire import ClockState, EventPayload, Severity

DEVICE = "pump-house-1"


def alert(
    event_id: str = "a", *, stream: str = "pump", severity: Severity = Severity.WARNING, **more: Any
) -> EventPayload:
    """Return an alert as the pipeline makes it: without session and number."""
    return EventPayload(
        event_type=EventKind.ANOMALY,
        life=Life.OPEN,
        id=event_id,
        device=DEVICE,
        stream=stream,
        time="2026-11-21T22:55:55.415Z",
        clock=ClockState.SYNCED,
        boot_id="5d4c",
        severity=severity,
        **more,
    )
