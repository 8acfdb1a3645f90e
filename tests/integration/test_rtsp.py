"""A network camera that speaks RTSP: GStreamer's server on loopback, which goes away and comes back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.contract.frames import Frame
from edge_agent.errors import SourceUnavailable
from edge_agent.ports import FrameSource
from edge_agent.sources.camera import NetworkCameraSettings
from edge_agent.sources.frame_settings import make_frame_source
from tests.integration.broker import wait_until

SERVER = Path(__file__).parents[1] / "rtsp_server.py"
PYTHON = "/usr/bin/python3"
"""Debian's: it has the bindings of GStreamer."""
NEEDED = "gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
ORANGE, BLUE = (255, 128, 0), (0, 0, 255)
TOLERANCE = 24
"""The server's encoder keeps the range of television, 16 to 235."""


def can_serve() -> bool:
    tried = subprocess.run([PYTHON, "-c", f"import gi; {NEEDED}"], capture_output=True, check=False)
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(
    not can_serve(),
    reason="needs: apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good",
)


class RtspCamera:
    """A camera that can be switched off and on; it keeps its port."""

    def __init__(self) -> None:
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/stream1"

    def on(self) -> None:
        self.process = subprocess.Popen([PYTHON, SERVER, str(self.port)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def off(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate(timeout=10)
            self.process = None


@pytest.fixture
def camera() -> Iterator[RtspCamera]:
    made = RtspCamera()
    made.on()
    yield made
    made.off()


@pytest.fixture
def source(camera: RtspCamera) -> Iterator[FrameSource]:
    made = make_frame_source(NetworkCameraSettings(url=camera.url, stall_s=1.0), SystemClock())
    made.open()
    yield made
    made.close()


def first_frame(source: FrameSource) -> Frame:
    found: list[Frame] = []

    def read() -> bool:
        frame = source.read(0.5)
        found.extend([frame] if frame else [])
        return bool(found)

    wait_until(read, "a frame", 10)
    return found[0]


def read_on(source: FrameSource) -> None:
    while True:
        source.read(0.5)


def shows(frame: Frame, colour: tuple[int, int, int]) -> bool:
    """Whether all of the frame has this colour."""
    return bool(np.abs(frame.pixels.astype(int) - colour).max() < TOLERANCE)


def test_its_frames_arrive_in_their_colours(source: FrameSource) -> None:
    frame = first_frame(source)
    assert frame.size == (320, 240)
    assert shows(frame, ORANGE)


def test_a_stream_that_changes_its_size_goes_on_and_is_counted(camera: RtspCamera) -> None:
    settings = NetworkCameraSettings(url=f"rtsp://127.0.0.1:{camera.port}/changing")
    source = make_frame_source(settings, SystemClock())
    source.open()
    before = first_frame(source)
    wait_until(lambda: first_frame(source).size == (640, 480), "a frame of the new size", 10)
    after = first_frame(source)
    source.close()
    assert shows(before, ORANGE)
    assert shows(after, BLUE)
    status = source.status()
    assert (status["frames_dropped"], status["size_changes"]) == (0, 1)


def test_a_camera_that_is_switched_off_is_told_and_read_again_once_it_is_on(
    camera: RtspCamera, source: FrameSource
) -> None:
    before = first_frame(source)
    camera.off()
    with pytest.raises(SourceUnavailable, match="gave no frame in time"):
        read_on(source)
    source.close()
    with pytest.raises(SourceUnavailable, match="is the camera on"):
        source.open()
    camera.on()
    source.open()
    assert first_frame(source).number > before.number
