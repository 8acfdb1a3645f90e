"""Cameras of the kernel (V4L2: USB webcams, capture cards) and of the network (RTSP, MJPEG and others over HTTP)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlsplit, urlunsplit

from edge_agent.contract.frames import Pixels
from edge_agent.errors import FrameError, SourceUnavailable
from edge_agent.sources.formats import in_range, one_of
from edge_agent.sources.opencv import LONGEST_CALL_S, VideoCapture, fourcc

BY_ID = Path("/dev/v4l/by-id")
"""Where udev names USB cameras after maker, product and serial number."""

SHORTEST_WAIT_S = 0.05
"""Wait after a read that failed at once, so that a camera that answers with errors does not take a whole core."""

MOST_BROKEN = 3
"""Reads of a stream in a row that may fail at once: a picture that does not decode looks to OpenCV as the stream's end,
and cheap cameras send one now and then."""

SCHEMES = ("rtsp", "rtsps", "http", "https")
"""What an address may begin with: FFmpeg knows many more, some of which read files or join several."""

LARGEST_SIDE = 16_384
"""Most pixels a side that a camera is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """A camera of the kernel."""

    kind: ClassVar[str] = "camera"

    device: str
    """Device path, best below /dev/v4l/by-id: video0 may be another camera tomorrow."""
    width: int = 640
    """Pixels; the camera takes the nearest it can."""
    height: int = 480
    """Pixels; the camera takes the nearest it can."""
    rate_hz: float = 0.0
    """Frames a second, up to 1000; 0: what the camera likes best."""
    pixel_format: str = "MJPG"
    """Four letters; MJPG passes a USB 2 port at any size, YUYV only small pictures. Empty: what the camera likes."""
    stall_s: float = 5.0
    """1 to 3600 s without a frame after which it is opened anew."""

    def __post_init__(self) -> None:
        """Refuse what no camera can be."""
        if not self.device.startswith("/"):
            raise ValueError(f"device must be a path such as /dev/v4l/by-id/usb-..., got {self.device!r}")
        in_range("width", self.width, 1, LARGEST_SIDE)
        in_range("height", self.height, 1, LARGEST_SIDE)
        in_range("rate_hz", self.rate_hz, 0, 1000)
        in_range("stall_s", self.stall_s, 1, 3600)
        if len(self.pixel_format) not in (0, 4) or not self.pixel_format.isascii():
            raise ValueError(f"pixel_format must be four letters such as MJPG, or empty, got {self.pixel_format!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCameraSettings:
    """A camera of the network."""

    kind: ClassVar[str] = "network_camera"

    url: str
    """Address such as rtsp://camera.local/stream1, without user and password."""
    username: str = ""
    """User name, where the camera asks for one."""
    password_file: str = ""
    """File with the password, mode 0600; a bare name is looked up in systemd's credentials folder."""
    stall_s: float = 5.0
    """0.5 to 8 s without a frame after which it is opened anew."""

    def __post_init__(self) -> None:
        """Refuse addresses that FFmpeg would take for something else, and secrets in them."""
        parts = urlsplit(self.url)
        one_of("scheme of url", parts.scheme, SCHEMES)
        if not parts.hostname:
            raise ValueError(f"url must name a host, such as rtsp://camera.local/stream1, got {self.shown!r}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url must not hold user and password: set username and password_file")
        if self.password_file and not self.username:
            raise ValueError("password_file needs a username")
        in_range("stall_s", self.stall_s, 0.5, LONGEST_CALL_S)

    @property
    def shown(self) -> str:
        """The address as it may be logged: without user, password and query, where cameras take keys."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def address(self, password: str) -> str:
        """The address with user and password, for the decoder alone."""
        parts = urlsplit(self.url)
        user = quote(self.username, safe="") + (f":{quote(password, safe='')}" if password else "")
        return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}")) if self.username else self.url


class V4L2Device:
    """An open camera of the kernel."""

    def __init__(self, settings: CameraSettings, sleep: Callable[[float], None] = time.sleep) -> None:
        """Open it.

        Raises:
            SourceUnavailable: it does not open; the message says what to do.
        """
        self._settings = settings
        self._sleep = sleep
        wanted: dict[str, float] = {"FRAME_WIDTH": settings.width, "FRAME_HEIGHT": settings.height, "BUFFERSIZE": 1}
        if settings.rate_hz:
            wanted["FPS"] = settings.rate_hz
        if settings.pixel_format:
            wanted = {"FOURCC": fourcc(settings.pixel_format)} | wanted
        try:
            self._capture = VideoCapture(settings.device, "V4L2", wanted)
        except SourceUnavailable as error:
            raise SourceUnavailable(_why_not(settings.device, error)) from error

    def read(self, timeout_s: float) -> Pixels | None:
        """Wait for a picture: the driver's wait of 2 s cannot be shortened."""
        if self._capture.grab():
            return self._capture.retrieve()
        if not Path(self._settings.device).exists():
            raise SourceUnavailable(f"{self._settings.device} went away: is it unplugged?")
        self._sleep(min(timeout_s, SHORTEST_WAIT_S))
        return None

    def close(self) -> None:
        """Release it."""
        self._capture.close()


class NetworkDevice:
    """An open stream of the network.

    What FFmpeg does with a picture that is not as those before: one of another size is given as it is (RTSP) or brought
    to the size of the first until the stream is opened anew (MJPEG over HTTP); of a JPEG that was cut short the rest is
    grey. What is no picture is dropped.
    """

    def __init__(
        self, settings: NetworkCameraSettings, password: str = "", now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Open it, waiting at most `stall_s`.

        Raises:
            SourceUnavailable: it does not open; the message says what to do.
        """
        self._name = settings.shown
        self._stall_s = settings.stall_s
        self._now_s = now_s
        self._failed = 0
        longest_ms = settings.stall_s * 1e3
        limits = {"OPEN_TIMEOUT_MSEC": longest_ms, "READ_TIMEOUT_MSEC": longest_ms}
        try:
            self._capture = VideoCapture(settings.address(password), "FFMPEG", limits)
        except SourceUnavailable as error:
            hint = "is the camera on, the path right, and are username and password set where it asks for them?"
            raise SourceUnavailable(f"{self._name} {error}: {hint}") from error

    def read(self, timeout_s: float) -> Pixels | None:  # noqa: ARG002 - the decoder waits `stall_s` at most
        """Wait for a picture."""
        began_s = self._now_s()
        if self._capture.grab():
            self._failed = 0
            return self._capture.retrieve()
        self._failed += 1
        if self._failed >= MOST_BROKEN or self._now_s() - began_s > self._stall_s / 2:
            raise SourceUnavailable(f"{self._name} ended or gave no frame in time")
        raise FrameError("a picture that does not decode, or the end of the stream")

    def close(self) -> None:
        """Release it."""
        self._capture.close()


def cameras(by_id: Path = BY_ID, dev: Path = Path("/dev")) -> list[str]:
    """Cameras of this machine: stable names where there are any, else the numbered ones."""
    return (
        [str(path) for path in sorted(by_id.iterdir())]
        if by_id.is_dir()
        else [str(path) for path in sorted(dev.glob("video*"))]
    )


def _why_not(device: str, error: Exception) -> str:
    """Say why a camera does not open, and what to do."""
    if "OpenCV" in str(error):
        return str(error)
    if not Path(device).exists():
        return f"{device} is not there: plug it in, or name one that is ({', '.join(cameras()) or 'none'})"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} is not permitted: add the user to group video (`usermod -aG video USER`) and log in again"
    return f"{device} {error}: it is no camera, or another program has it open (`fuser {device}` names it)"
