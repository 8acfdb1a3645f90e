"""What travels over MQTT: topic names, payloads, and the limits of what is read.

    <root>/<device>/state                  `online` | `offline`, retained            Topics.state
    <root>/<device>/info                   InfoPayload, retained, at each connect    Topics.info
    <root>/<device>/health                 HealthPayload, retained                   Topics.health
    <root>/<device>/<stream>/state         StatePayload, retained                    Topics.stream_state
    <root>/<device>/<stream>/score         ScorePayload, at most once a second       Topics.score
    <root>/<device>/<stream>/event         EventPayload: the alert                   Topics.event
    <root>/<device>/<stream>/image         JPEG of the frame that alarmed, retained  Topics.image
    <root>/<device>/<stream>/heatmap       JPEG of where it is strange, retained     Topics.image

Names below a device that are not streams (`model`, `cmd`, `ota`) are reserved. Every payload but the words of `state`
and the JPEGs is JSON without NaN or infinity; every key is always there. A JPEG carries the id of its event as the
MQTT 5 user property `event_id`. Consumers drop duplicate events on (`device`, `session`, `seq`).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from edge_agent.contract import strict_json
from edge_agent.contract.calibration import Grade
from edge_agent.contract.records import NS, EventKind, Fault, Life, Stage
from edge_agent.contract.schema import Rule, settle
from edge_agent.errors import EdgeAgentError, ManifestError

SCHEMA_VERSION = 1
"""Version of the payloads, sent in `info`; raised when a key changes its meaning or goes away."""

MAX_PAYLOAD_BYTES = 64 << 10
"""Largest payload read or sent: far above any alert (some 3 kB), below the limits of common brokers (256 kB and up)."""

MAX_IMAGE_BYTES = 128 << 10
"""Largest JPEG that is published: within the 128 KiB of the strictest common broker, AWS IoT Core."""

EVENT_ID = "event_id"
"""MQTT 5 user property of a JPEG: the id of its event."""

MAX_DEPTH = 16
"""Nesting of arrays and objects in a payload that is read; ours need four."""

RESERVED = frozenset({"state", "info", "health", "model", "cmd", "ota"})
"""Names directly below a device that no stream may take."""

ONLINE, OFFLINE = b"online", b"offline"
"""Payloads of the device's `state`; the second one is also its last will."""

_NAME = r"[a-zA-Z0-9_-]{1,64}"
_SESSION = r"([0-9a-f]{32})?"

Name = Annotated[str, Rule(pattern=_NAME)]
Time = Annotated[str, Rule(format="date-time", about="UTC with milliseconds")]
Text = Annotated[str, Rule(max_length=1000)]
Count = Annotated[int, Rule(minimum=0)]
Share = Annotated[float, Rule(minimum=0, maximum=1)]
Level = Annotated[float | None, Rule(minimum=0, maximum=1, about="0.5 exactly at the threshold; null while unknown")]


class PayloadError(EdgeAgentError):
    """A payload from outside is beyond a limit or not JSON: refuse it with this reason."""


class Severity(StrEnum):
    """How much an alert matters; when the outbox is full, what matters least goes first."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 matters least."""
        return list(Severity).index(self)


class ClockState(StrEnum):
    """How far payload times can be believed."""

    SYNCED = "synced"
    HOLDOVER = "holdover"
    UNSYNCED = "unsynced"


class ImageKind(StrEnum):
    """The last part of a JPEG's topic."""

    IMAGE = "image"
    HEATMAP = "heatmap"


def check_device(name: str) -> str:
    """Return a device name that topics can carry.

    Raises:
        ValueError: it cannot be one.
    """
    if not re.fullmatch(_NAME, name):
        raise ValueError(f"a device name has 1 to 64 letters, digits, _ or -, got {name[:80]!r}")
    return name


def check_stream(name: str) -> str:
    """Return a stream name that topics can carry.

    Raises:
        ValueError: it cannot be one, or is reserved.
    """
    if not re.fullmatch(_NAME, name):
        raise ValueError(f"a stream name has 1 to 64 letters, digits, _ or -, got {name[:80]!r}")
    if name in RESERVED:
        raise ValueError(f"{name!r} is no stream name: {', '.join(sorted(RESERVED))} are topics of the device itself")
    return name


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device."""

    root: str
    device: str

    def __post_init__(self) -> None:
        """Refuse names that would reach into another device's topics."""
        check_device(self.device)
        if not all(re.fullmatch(_NAME, part) for part in self.root.split("/")):
            raise ValueError(
                f"the root topic is names joined by /, each of letters, digits, _ or -, got {self.root[:80]!r}"
            )

    @property
    def state(self) -> str:
        """`online` or `offline`."""
        return f"{self.root}/{self.device}/state"

    @property
    def info(self) -> str:
        """InfoPayload."""
        return f"{self.root}/{self.device}/info"

    @property
    def health(self) -> str:
        """HealthPayload."""
        return f"{self.root}/{self.device}/health"

    def stream_state(self, stream: str) -> str:
        """StatePayload."""
        return f"{self.root}/{self.device}/{check_stream(stream)}/state"

    def score(self, stream: str) -> str:
        """ScorePayload."""
        return f"{self.root}/{self.device}/{check_stream(stream)}/score"

    def event(self, stream: str) -> str:
        """EventPayload."""
        return f"{self.root}/{self.device}/{check_stream(stream)}/event"

    def image(self, stream: str, kind: ImageKind = ImageKind.IMAGE) -> str:
        """JPEG of the frame that alarmed, or of where it is strange."""
        return f"{self.root}/{self.device}/{check_stream(stream)}/{kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """The bundle that a stream runs."""

    name: str
    version: str
    sha256: Annotated[str, Rule(pattern="([0-9a-f]{64})?", about="of the bundle file; empty: learned on site")]

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRef:
    """The readings, or the one frame, that an alert rests on; in reading time."""

    start: Time
    end: Time
    samples: Count

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of the frame, as shares of its width and height, and which kind of defect is there."""

    x: Share
    y: Share
    w: Share
    h: Share
    class_: Annotated[
        str | None, Rule(max_length=64, about="the likeliest kind of defect; null: the model tells no kinds apart")
    ] = None
    class_score: Annotated[
        float | None, Rule(minimum=0, maximum=1, about="its probability among the kinds that the model knows")
    ] = None

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Alerts that will never come: reported by `outbox_overflow`."""

    session: Annotated[str, Rule(pattern=_SESSION, about="whose numbers these are; empty: not known any more")]
    ranges: Annotated[tuple[tuple[int, int], ...], Rule(about="first and last `seq` of each run, both dropped")]
    count: Annotated[int, Rule(minimum=0, about="alerts dropped; 0: not known")]

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPayload:
    """An alert: one step in the life of an event."""

    event_type: EventKind
    life: Life
    id: Annotated[str, Rule(pattern=_NAME, about="the same for all steps of one event")]
    session: Annotated[str, Rule(pattern=_SESSION, about="numbers start anew with each; given by the outbox")] = ""
    seq: Annotated[int, Rule(minimum=0, about="1, 2, 3, … within a session; given by the outbox")] = 0
    device: Name
    stream: Name
    time: Time
    clock: ClockState
    boot_id: str
    historical: Annotated[bool, Rule(about="delivered more than 30 s late")] = False
    severity: Severity
    stage: Stage | None = None
    level: Level = None
    score: Annotated[
        float | None, Rule(about="raw score in the detector's own unit; null where the network was not run")
    ] = None
    threshold: float | None = None
    p_value: Annotated[float | None, Rule(minimum=0, maximum=1, about="null while the threshold is provisional")] = None
    grade: Grade | None = None
    text: Annotated[str, Rule(max_length=1000, about="what happened, in words")] = ""
    reason: Annotated[str, Rule(max_length=200, about="why it closed, or why alerts were dropped")] = ""
    fault: Fault | None = None
    detail: Text = ""
    model: ModelRef | None = None
    window: WindowRef | None = None
    top: Annotated[
        tuple[tuple[str, float], ...] | None, Rule(max_items=16, about="channels and their shares, largest first")
    ] = None
    region: Region | None = None
    snapshot: Annotated[
        str | None, Rule(max_length=200, about="evidence kept on the device, relative to its folder")
    ] = None
    dropped: Dropped | None = None

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)
        for channel, share in self.top or ():
            if not math.isfinite(share):
                raise ValueError(f"top must hold finite shares, got {share} for {channel}")


class Anomaly(StrEnum):
    """Whether a stream is anomalous; null where it is not known."""

    ON = "ON"
    OFF = "OFF"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePayload:
    """How a stream is now."""

    anomaly: Annotated[Anomaly | None, Rule(about="null: not known, never to be read as normal")]
    level: Level = None
    score: float | None = None
    since: Annotated[str | None, Rule(format="date-time", about="UTC with milliseconds: begin of this state")] = None
    fault: Fault | None = None
    detail: Text = ""

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePayload:
    """One window's score; not every window is published."""

    time: Time
    score: float | None = None
    level: Level = None
    d2: Annotated[float | None, Rule(about="squared Mahalanobis distance of the prefilter")] = None
    stage: Stage

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """What a stream is."""

    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float | None = None
    model: ModelRef | None = None
    grade: Grade | None = None
    hours_needed: Annotated[
        float | None, Rule(minimum=0, about="more normal data for the next grade of the threshold")
    ] = None

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoPayload:
    """Birth certificate, published at each connect."""

    schema: Annotated[int, Rule(about="version of these payloads")] = SCHEMA_VERSION
    agent: Annotated[str, Rule(about="version of the agent")]
    device: Name
    session: Annotated[str, Rule(pattern=_SESSION)]
    boot_id: str
    streams: dict[str, StreamInfo]
    capabilities: tuple[str, ...] = ()
    config_hash: Annotated[str, Rule(about="changes when the settings do; says nothing of their content")] = ""

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxHealth:
    """Alerts that wait on the device."""

    mode: Annotated[
        str, Rule(about="`disk`, or `ram` while the disk cannot be written: a power cut then loses what waits")
    ]
    depth: Count
    bytes: Count
    oldest_s: float | None = None
    dropped: Count
    problem: Text = ""
    commit_p50_ms: float | None = None
    commit_p99_ms: Annotated[float | None, Rule(about="from decision to commit on disk")] = None

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkHealth:
    """The connection to the broker."""

    connected: bool
    protocol: str
    connects: Count
    reconnects: Count
    last_reason: Text = ""
    problems: Annotated[tuple[str, ...], Rule(about="`publish_denied`, `client_id_conflict`, `not_authorised`, …")] = ()
    delivered: Count = 0
    given_up: Count = 0
    certificate_days: Annotated[float | None, Rule(about="until the first of our certificates expires")] = None

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHealth:
    """How a stream runs."""

    state: str
    detail: Text = ""
    sample_age_s: float | None = None
    rate_hz: float | None = None
    skipped_share: Annotated[float | None, Rule(about="windows that the prefilter spared the network")] = None
    infer_p95_ms: float | None = None
    frames_dropped: Annotated[
        int | None, Rule(minimum=0, about="frames of a camera that nobody watched, since newer ones were there")
    ] = None
    delegate: str | None = None
    model: str | None = None
    version: str | None = None
    alarms_per_day: float | None = None
    alarms_per_day_asked: float | None = None

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPayload:
    """How the agent and its machine are."""

    time: Time
    uptime_s: float
    rss_bytes: Count
    cpu_share: Annotated[float | None, Rule(about="of one core")] = None
    temperature_c: float | None = None
    throttled: str | None = None
    disk_free_bytes: int | None = None
    disk_read_only: bool | None = None
    clock: ClockState
    outbox: OutboxHealth
    link: LinkHealth
    streams: dict[str, StreamHealth]
    evidence_bytes: int | None = None

    def __post_init__(self) -> None:
        """Hold the fields to their rules."""
        settle(self)


def utc_text(t_ns: int) -> str:
    """Return nanoseconds since the epoch as ISO 8601 UTC with milliseconds, as payloads carry it."""
    moment = datetime.fromtimestamp(t_ns // NS, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{t_ns % NS // 1_000_000:03d}Z"


def to_json(payload: object) -> bytes:
    """Return a payload as compact UTF-8 JSON."""
    text = json.dumps(strict_json.plain(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def parse(data: bytes) -> dict[str, Any]:
    """Read a JSON object that came from outside.

    Raises:
        PayloadError: larger than 64 KiB, deeper than 16, not a JSON object, or holding NaN or infinity.
    """
    try:
        value = strict_json.parse(data, place="payload", max_bytes=MAX_PAYLOAD_BYTES)
    except ManifestError as error:
        raise PayloadError(str(error)) from error
    _check(value, 1)
    return value


def _check(value: object, depth: int) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise PayloadError(f"payload numbers must be finite, got {value}")
    if not isinstance(value, dict | list):
        return
    if depth > MAX_DEPTH:
        raise PayloadError(f"payload nests arrays and objects deeper than {MAX_DEPTH}")
    for item in value.values() if isinstance(value, dict) else value:
        _check(item, depth + 1)
