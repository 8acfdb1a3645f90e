"""Which kinds of frame source there are, and how one is made from its settings."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge_agent.ports import Clock, FrameSource
from edge_agent.sources.camera import CameraSettings, NetworkCameraSettings, NetworkDevice, V4L2Device
from edge_agent.sources.capture import CaptureSource
from edge_agent.sources.picamera import PicameraDevice, PicameraSettings
from edge_agent.sources.playback import PlaybackSource
from edge_agent.sources.pump import START_NS
from edge_agent.sources.recorded import ImagesSettings, VideoSettings
from edge_agent.sources.synthetic_scene import SceneSettings, Station

FrameSourceSettings = (
    CameraSettings | NetworkCameraSettings | PicameraSettings | VideoSettings | ImagesSettings | SceneSettings
)

FRAME_KINDS: dict[str, type[FrameSourceSettings]] = {
    settings.kind: settings
    for settings in (
        CameraSettings,
        NetworkCameraSettings,
        PicameraSettings,
        VideoSettings,
        ImagesSettings,
        SceneSettings,
    )
}
"""Settings by the `kind` that a settings file names; no kind of readings has the same name."""


def make_frame_source(
    settings: FrameSourceSettings,
    clock: Clock,
    sleep: Callable[[float], None] = time.sleep,
    password: str = "",
) -> FrameSource:
    """Make the source that the settings describe; nothing is opened yet, and OpenCV not imported.

    Args:
        settings: one of the kinds.
        clock: looked at for arrival and pace.
        sleep: waits some seconds; tests advance their clock instead.
        password: what `password_file` of a network camera holds; secrets are read where the parts meet.
    """
    if isinstance(settings, CameraSettings):
        return CaptureSource(settings.device, lambda: V4L2Device(settings, sleep), settings.stall_s, clock)
    if isinstance(settings, NetworkCameraSettings):
        return CaptureSource(settings.shown, lambda: NetworkDevice(settings, password), settings.stall_s, clock)
    if isinstance(settings, PicameraSettings):
        name = f"camera module {settings.camera}"
        return CaptureSource(name, lambda: PicameraDevice(settings), settings.stall_s, clock)
    if isinstance(settings, SceneSettings):
        station = Station(settings, clock.now_ns() if settings.speed else START_NS)
        return PlaybackSource("simulated inspection station", station.frames, settings.speed, clock, sleep)
    return PlaybackSource(settings.path, settings.frames, settings.speed, clock, sleep)
