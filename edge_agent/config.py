"""The settings file: TOML in, frozen settings out, every problem at once.

Each part owns its settings (a frozen dataclass that checks its own values); this module only reads the file, refuses
what no part knows, with the nearest known name, and puts the pieces together. Nothing here touches hardware:
`edge-agent check` does.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edge_agent.alerts.settings import EvidenceSettings, MqttSettings, OutboxSettings
from edge_agent.contract.records import Channel
from edge_agent.contract.wire import check_device, check_stream
from edge_agent.errors import ConfigError, EdgeAgentError, Problem
from edge_agent.on_site import LearningSettings
from edge_agent.pipeline import DecisionSettings, PrefilterSettings
from edge_agent.scoring.settings import ScoringSettings
from edge_agent.sources.frame_settings import FRAME_KINDS, FrameSourceSettings
from edge_agent.sources.settings import KINDS, SourceSettings
from edge_agent.vision.settings import VisionSettings

DEFAULT_PATH = Path("/etc/edge-agent/config.toml")
"""Where the service keeps its settings; `--config` or EDGE_AGENT_CONFIG name another file."""

MAX_STREAMS = 16
"""Streams of one agent: each has two threads and a graph of its own, and a small board has four cores."""


AnySourceSettings = SourceSettings | FrameSourceSettings
"""Of a sensor or of a camera; `kind` tells which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """One sensor or camera, and the model that watches it."""

    source: AnySourceSettings
    channels: tuple[Channel, ...] = ()
    """Names, order and units of what the source gives; empty: those of the bundle."""
    bundle: str = ""
    """Path of a bundle to run; empty: the one installed with `edge-agent install`."""
    no_data_s: float | None = None
    """Silence of the source, in seconds, after which it is reported; None: three readings or frames, but at least
    10 s."""
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    prefilter: PrefilterSettings = field(default_factory=PrefilterSettings)
    decision: DecisionSettings = field(default_factory=DecisionSettings)
    learning: LearningSettings = field(default_factory=LearningSettings)
    camera: VisionSettings = field(default_factory=VisionSettings)

    def __post_init__(self) -> None:
        """Refuse a silence that is always or never, and settings that are for the other kind of stream."""
        if self.no_data_s is not None and not 0 < self.no_data_s <= 7 * 86400:
            raise ValueError(f"no_data_s must be above 0 and at most a week (604800), got {self.no_data_s}")
        hints, kind = (_NOT_A_CAMERA, "sensor") if not self.is_camera else (_NOT_A_SENSOR, "camera")
        defaults = {item.name: item.default_factory for item in dataclasses.fields(self)}
        for name, hint in hints.items():
            value, empty = getattr(self, name), defaults[name]
            if value != (() if empty is dataclasses.MISSING else empty()):
                raise ValueError(f"{name} is not a setting of a {kind} (the source is a {self.source.kind}): {hint}")

    @property
    def is_camera(self) -> bool:
        """Whether the source gives frames rather than readings."""
        return isinstance(self.source, FrameSourceSettings)

    @property
    def readings_source(self) -> SourceSettings:
        """The source of a sensor.

        Raises:
            EdgeAgentError: it is a camera.
        """
        if isinstance(self.source, FrameSourceSettings):
            raise EdgeAgentError(f"the source is a {self.source.kind}, which gives frames: name the stream of a sensor")
        return self.source

    @property
    def frames_source(self) -> FrameSourceSettings:
        """The source of a camera.

        Raises:
            EdgeAgentError: it is a sensor.
        """
        if not isinstance(self.source, FrameSourceSettings):
            raise EdgeAgentError(
                f"the source is a {self.source.kind}, which gives readings: name the stream of a camera"
            )
        return self.source


_NOT_A_SENSOR = {
    "channels": "a camera has none",
    "prefilter": "its prefilter is set in [streams.NAME.camera.prefilter]",
    "learning": "how its scene is learned is set in [streams.NAME.camera.prefilter]",
}
_NOT_A_CAMERA = {"camera": "it is for a source of kind " + ", ".join(FRAME_KINDS)}
"""Settings of the other kind of stream, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything in the settings file."""

    device: str
    """Name of this device in every topic; never changes with a display name."""
    streams: dict[str, StreamSettings]
    state_dir: str = ""
    """Outbox, evidence, bundles; empty: systemd's STATE_DIRECTORY, else ~/.local/state/edge-agent."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)

    def __post_init__(self) -> None:
        """Refuse names that no topic can carry."""
        check_device(self.device)
        for name in self.streams:
            check_stream(name)
        if not 1 <= len(self.streams) <= MAX_STREAMS:
            raise ValueError(
                f"1 to {MAX_STREAMS} streams are supported, got {len(self.streams)}: add a [streams.NAME] table"
            )
        if self.log_level not in {"debug", "info", "warning", "error"}:
            raise ValueError(f"log_level must be debug, info, warning or error, got {self.log_level!r}")

    @property
    def state_path(self) -> Path:
        """Folder below which everything is written."""
        if self.state_dir:
            return Path(self.state_dir)
        given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        return Path(given) if given else Path.home() / ".local" / "state" / "edge-agent"

    @property
    def status_path(self) -> Path:
        """Socket on which the running agent answers `edge-agent status`."""
        given = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        return (Path(given) if given else self.state_path) / "status.sock"

    def stream_path(self, stream: str) -> Path:
        """Folder of one stream: its bundles and its on-site calibration."""
        return self.state_path / "streams" / stream


def config_path(given: str | None) -> Path:
    """Return the settings file to read: the one given, EDGE_AGENT_CONFIG, or the service's."""
    return Path(given or os.environ.get("EDGE_AGENT_CONFIG") or DEFAULT_PATH)


def load(path: Path) -> Settings:
    """Read the settings file.

    Raises:
        ConfigError: it is not there, not TOML, or holds problems: all of them, each with its place and a hint.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "make one with: edge-agent init --port PORT --out FILE"
        raise ConfigError([Problem(place=str(path), message=f"cannot be read: {error}", hint=hint)]) from error
    return parse(text, str(path))


def parse(text: str, place: str = "settings") -> Settings:
    """Build the settings from TOML text; errors as `load`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(place=place, message=f"is not TOML: {error}")]) from error
    problems: list[Problem] = []
    settings = _build(Settings, table, "", problems)
    if problems:
        raise ConfigError(problems)
    return typing.cast(Settings, settings)


def _build(cls: type, table: dict[str, Any], place: str, problems: list[Problem]) -> object | None:
    """Build one dataclass from one table; None, with the problems noted, where that is not possible."""
    before = len(problems)
    fields = {item.name: item for item in dataclasses.fields(cls)}
    for key in table:
        if key not in fields:
            hint = _nearest(key, fields) or f"known here: {', '.join(fields)}"
            problems.append(Problem(place=_join(place, key), message="is not a known setting", hint=hint))
    hints = typing.get_type_hints(cls)
    values = {}
    for name, item in fields.items():
        if name in table:
            values[name] = _value(hints[name], table[name], _join(place, name), problems)
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            message = "a [streams.NAME] table is missing" if hints[name] is dict else "is missing"
            problems.append(Problem(place=_join(place, name), message=message, hint=_first_line(cls, name)))
    if len(problems) > before:
        return None
    try:
        return typing.cast(object, cls(**values))
    except (ValueError, TypeError) as error:
        problems.append(Problem(place=place or "settings", message=str(error)))
        return None


def _value(kind: Any, value: Any, place: str, problems: list[Problem]) -> Any:  # noqa: PLR0911 - one for each kind of type
    """Convert one value to the type of its field, noting a problem where it has another."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind == AnySourceSettings:
        return _source(value, place, problems)
    if origin in (types.UnionType, typing.Union):
        kind = next(option for option in arguments if option is not type(None))
        return _value(kind, value, place, problems)
    if origin is dict:
        table = _table(value, place, problems)
        return {key: _value(arguments[1], item, _join(place, key), problems) for key, item in table.items()}
    if origin is tuple:
        if not isinstance(value, list):
            return _wrong("a list", value, place, problems)
        return tuple(_value(arguments[0], item, f"{place}[{i}]", problems) for i, item in enumerate(value))
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast(type, kind), _table(value, place, problems), place, problems)
    return _scalar(kind, value, place, problems)


def _scalar(kind: type, value: Any, place: str, problems: list[Problem]) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, str if issubclass(kind, str) else kind):
        return _wrong(_WORDS.get(kind, "text"), value, place, problems)
    if issubclass(kind, str) and kind is not str:
        try:
            return kind(value)
        except ValueError:
            return _none_of([str(option) for option in typing.cast(Any, kind)], value, place, problems)
    return value


def _source(value: Any, place: str, problems: list[Problem]) -> Any:
    """Build the settings of the source that `kind` names."""
    table = dict(_table(value, place, problems))
    kind = table.pop("kind", None)
    kinds: dict[str, type] = {**KINDS, **FRAME_KINDS}
    if not isinstance(kind, str) or kind not in kinds:
        return _none_of(list(kinds), kind, _join(place, "kind"), problems)
    return _build(kinds[kind], table, place, problems)


def _table(value: Any, place: str, problems: list[Problem]) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    _wrong("a table", value, place, problems)
    return {}


def _wrong(expected: str, value: Any, place: str, problems: list[Problem]) -> None:
    problems.append(Problem(place=place, message=f"expected {expected}, got {value!r}"))


def _none_of(options: Sequence[str], value: Any, place: str, problems: list[Problem]) -> None:
    message = f"expected one of {', '.join(options)}, got {value!r}"
    problems.append(Problem(place=place, message=message, hint=_nearest(str(value), options)))


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return the hint for a name that is not known; empty where none is near."""
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else ""


_WORDS = {str: "text in quotes", int: "a whole number", float: "a number", bool: "true or false"}


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _first_line(cls: type, name: str) -> str:
    return {"device": 'a name for this device, such as device = "pump-house-1"'}.get(name, f"needed by {cls.__name__}")
