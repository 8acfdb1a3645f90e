"""Which kinds of source there are, and how one is made from its settings."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge_agent.contract.records import Channel
from edge_agent.ports import Clock, Source
from edge_agent.sources.replay import ReplaySettings, ReplaySource
from edge_agent.sources.serial import SerialSettings, SerialSource
from edge_agent.sources.stdin import StdinSettings, StdinSource
from edge_agent.sources.synthetic import SyntheticSettings, SyntheticSource

SourceSettings = SerialSettings | ReplaySettings | SyntheticSettings | StdinSettings

KINDS: dict[str, type[SourceSettings]] = {
    settings.kind: settings for settings in (SerialSettings, ReplaySettings, SyntheticSettings, StdinSettings)
}
"""Settings by the `kind` that a settings file names."""


def make_source(
    settings: SourceSettings,
    clock: Clock,
    channels: tuple[Channel, ...] = (),
    rate_hz: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Source:
    """Make the source that the settings describe; nothing is opened yet.

    Args:
        settings: one of the kinds.
        clock: looked at for arrival and pace.
        channels: names, order and units of the columns to give. Without any, a line format's `columns` (but the time)
            are taken, and the simulated pump gives all it has.
        rate_hz: what the sensor should do; spaces readings that arrive together. None: unknown.
        sleep: waits some seconds; tests advance their clock instead.

    Raises:
        ValueError: no channels are known.
    """
    if isinstance(settings, SyntheticSettings):
        return SyntheticSource(settings, clock, channels, sleep)
    if not channels:
        channels = tuple(Channel(name=name) for name in settings.columns if name != settings.time_column)
    if not channels:
        raise ValueError(f"a {settings.kind} source needs to know its channels: list them as channels or columns")
    if isinstance(settings, SerialSettings):
        return SerialSource(settings, clock, channels, rate_hz, sleep)
    if isinstance(settings, ReplaySettings):
        return ReplaySource(settings, clock, channels, rate_hz, sleep)
    return StdinSource(settings, clock, channels, rate_hz)
