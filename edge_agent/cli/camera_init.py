"""`init --camera`: the settings file, written for the camera that is there."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

from edge_agent.alerts.settings import MqttSettings
from edge_agent.cli.parser import Misused
from edge_agent.cli.reading import frames_for
from edge_agent.clock import SystemClock
from edge_agent.contract.frames import Frame
from edge_agent.errors import SourceUnavailable
from edge_agent.ports import FrameSource
from edge_agent.sources.camera import SCHEMES, CameraSettings, NetworkCameraSettings
from edge_agent.sources.frame_settings import FrameSourceSettings, make_frame_source
from edge_agent.sources.picamera import PicameraSettings
from edge_agent.sources.recorded import ImagesSettings, VideoSettings
from edge_agent.vision.camera_health import CameraFault


def camera_settings(named: str) -> FrameSourceSettings:
    """Return the settings of what is named: a device, an address, `picamera`, a folder of images or a video.

    Raises:
        Misused: it cannot be a camera.
    """
    try:
        if named.partition("://")[0] in SCHEMES:
            return NetworkCameraSettings(url=named)
        if module := re.fullmatch(r"picamera(?::(\d))?", named):
            return PicameraSettings(camera=int(module[1] or 0))
        if Path(named).is_dir():
            return ImagesSettings(path=str(Path(named).absolute()))
        if Path(named).is_file():
            return VideoSettings(path=str(Path(named).absolute()))
        return CameraSettings(device=named)
    except ValueError as error:
        raise Misused(f"--camera takes a device path, an address, picamera, a folder or a video: {error}") from error


def first_frame(settings: FrameSourceSettings, seconds: float) -> Frame:
    """Open the camera and return its first frame.

    Raises:
        SourceUnavailable: it does not open, or gives none in time.
    """
    source: FrameSource = make_frame_source(settings, SystemClock())
    for frame in frames_for(source, seconds, "waiting for a frame"):
        return frame
    said = source.status().get("last_error")
    raise SourceUnavailable(f"no frame in {seconds:g} s" + (f"; {said}" if said else ""))


def camera_text(*, device: str, stream: str, source: FrameSourceSettings, mqtt: MqttSettings) -> str:
    """Return the settings file for a camera that was looked through."""
    said = [
        f"{item.name} = {json.dumps(value, ensure_ascii=False)}"
        for item in fields(source)
        if (value := getattr(source, item.name)) != item.default
    ]
    if isinstance(source, NetworkCameraSettings):
        said += ['# username = ""', '# password_file = ""  # mode 0600, or a systemd credential']
    lines = [
        f"device = {json.dumps(device)}  # in every MQTT topic; never change it later",
        "",
        "[mqtt]",
        f"host = {json.dumps(mqtt.host)}",
        *([f"port = {mqtt.port}"] if mqtt.port else []),
        "",
        f"[streams.{stream}.source]",
        f'kind = "{source.kind}"',
        *said,
        "",
        f"[streams.{stream}.camera.health]",
        f"checks = {json.dumps(list(CameraFault))}  # without the last two: pictures that have no view in common",
        "",
        f"[streams.{stream}.camera.prefilter]  # the scene is learned on site; every setting: examples/camera.toml",
        "learn_frames = 200  # normal frames to learn from",
        "learn_s = 60.0  # spread over so many seconds",
        "",
        f"[streams.{stream}.camera.localisation]",
        "masks = []  # parts that never count, corners in 0..1: [[[0.0, 0.0], [0.3, 0.0], [0.3, 0.1], [0.0, 0.1]]]",
    ]
    return "\n".join(lines) + "\n"
