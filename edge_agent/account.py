"""What an alert says and keeps: the account that a reporter asks for it, and the words that all accounts share.

Of readings: `readings_account.py`; of frames: `frame_account.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.records import Decision, Life, Transition
from edge_agent.contract.wire import ImageKind, Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The readings, or the one frame, that an alert rests on, in reading time."""

    start_ns: int
    end_ns: int
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What an alert says beyond what was decided."""

    text: str
    calibration: Calibration | None = None
    """What the score of the alert is held against."""
    top: tuple[tuple[str, float], ...] | None = None
    """Channels and their shares, largest first."""
    window: Span | None = None
    region: Region | None = None
    snapshot: str | None = None
    """Evidence on disk, relative to its folder."""
    images: Mapping[ImageKind, bytes] = field(default_factory=dict)
    """JPEGs to publish, each of MAX_IMAGE_BYTES at most."""


Item_contra = TypeVar("Item_contra", contravariant=True)


class Account(Protocol[Item_contra]):
    """Knows what a stream watches, and puts it into words and evidence."""

    def remember(self, item: Item_contra) -> None:
        """Take what is decided next: a block of readings, or a frame."""

    def explain(self, transition: Transition, decision: Decision) -> Explained:
        """Return what an alert says; its evidence is on disk then."""


_CLOSED = {
    "normal": "normal again",
    "passed": "has passed: the next picture is another part",
    "restart": "not there any more after a restart",
    "recovered": "recovered",
}


def closing_words(transition: Transition) -> str:
    """Return what is said of an event that is over."""
    return f"{_CLOSED.get(transition.reason, 'over')}: {transition.detail}".removesuffix(": ")


def with_level(said: str, transition: Transition) -> str:
    """Return the words for something strange with how strange it is."""
    if transition.gross and transition.life is Life.OPEN:
        return f"{said} (gross: far outside all that is normal, not waited for)"
    return said if transition.level is None else f"{said} (level {transition.level:.2f}, threshold 0.50)"
