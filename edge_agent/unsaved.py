"""Alerts of one stream on their way to the outbox, and their pictures on the way to the link behind them.

An alert that the outbox does not take is kept here, in order, and offered again at every turn. Only one that it refuses
for what it says (`ValueError`) is not. A full outbox refuses none: it drops what matters least and reports that itself.
Pictures are handed on once it has taken all alerts; until then the newest of each kind waits, too.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edge_agent.contract.wire import EventPayload, ImageKind

_log = logging.getLogger(__name__)

MOST_UNSAVED = 1000
"""Alerts kept in memory while the outbox takes none, some 1 kB each; the oldest go first, counted and logged."""

OpenEvents = list[dict[str, Any]]
"""Events of a stream that are open, as JSON objects."""


class Alerts(Protocol):
    """The outbox, as a stream needs it."""

    def put(
        self, event: EventPayload, *, open_events: Sequence[dict[str, Any]] | None = None, decided_ns: int | None = None
    ) -> object:
        """Commit an alert and the stream's open events in one transaction."""

    def open_events(self, stream: str) -> OpenEvents:
        """Return the events that were open when the agent last ran."""


class Gallery(Protocol):
    """The link, as pictures need it."""

    def publish_image(self, stream: str, kind: ImageKind, jpeg: bytes, event_id: str) -> None:
        """Publish a picture of an alert, at most MAX_IMAGE_BYTES; the newest wins and goes out after the alerts."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: EventPayload
    open_events: OpenEvents | None
    decided_ns: int | None


class Unsaved:
    """What waits for the outbox.

    Args:
        stream: its name.
        alerts: the outbox.
        gallery: takes the pictures of alerts that are committed.
    """

    def __init__(self, stream: str, alerts: Alerts, gallery: Gallery) -> None:
        self.lost = 0
        """Alerts that will never be committed."""
        self._stream, self._alerts, self._gallery = stream, alerts, gallery
        self._waiting: deque[_Waiting] = deque()
        self._pictures: dict[ImageKind, tuple[str, bytes]] = {}
        self._refused = False

    def add(
        self,
        event: EventPayload,
        *,
        open_events: OpenEvents | None = None,
        decided_ns: int | None = None,
        images: Mapping[ImageKind, bytes] | None = None,
    ) -> None:
        """Take an alert, and offer it."""
        self._waiting.append(_Waiting(event, open_events, decided_ns))
        self._pictures |= {kind: (event.id, jpeg) for kind, jpeg in (images or {}).items()}
        self.save()

    def open_events(self) -> OpenEvents:
        """Return the events that were open when the last alert was made, saved or not."""
        waiting = [each.open_events for each in self._waiting if each.open_events is not None]
        return waiting[-1] if waiting else self._alerts.open_events(self._stream)

    def save(self) -> None:
        """Offer what the outbox has not taken yet, oldest first."""
        while self._waiting:
            each = self._waiting[0]
            try:
                self._alerts.put(each.event, open_events=each.open_events, decided_ns=each.decided_ns)
            except ValueError as error:
                self._lose(each.event, f"it can never be committed: {error}")
            except Exception as error:  # noqa: BLE001 - whatever a disk throws, the alert is not lost with it
                self._keep(error)
                return
            self._waiting.popleft()
        if self._refused:
            _log.info("stream %s: the outbox takes alerts again", self._stream)
        self._refused = False
        pictures, self._pictures = self._pictures, {}
        for kind, (event_id, jpeg) in pictures.items():
            self._gallery.publish_image(self._stream, kind, jpeg, event_id)

    def _keep(self, error: Exception) -> None:
        level = logging.DEBUG if self._refused else logging.ERROR
        self._refused = True
        _log.log(level, "stream %s: the outbox takes no alert, %d wait: %r", self._stream, len(self._waiting), error)
        while len(self._waiting) > MOST_UNSAVED:
            self._lose(self._waiting.popleft().event, "the outbox takes none")

    def _lose(self, event: EventPayload, why: str) -> None:
        self.lost += 1
        self._pictures = {kind: picture for kind, picture in self._pictures.items() if picture[0] != event.id}
        _log.error("stream %s: alert %s is lost: %s", self._stream, event.id, why)
