"""The camera module of a Raspberry Pi, through picamera2 of the system (Debian package python3-picamera2).

It is not on PyPI for other machines and needs libcamera of the same system, so it is never a requirement. Never run on
a real camera module: the tests use a stand-in with the documented calls.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from typing import Any, ClassVar

from edge_agent.contract.frames import Pixels
from edge_agent.errors import SourceUnavailable
from edge_agent.sources.camera import LARGEST_SIDE
from edge_agent.sources.formats import in_range
from edge_agent.sources.pixels import to_rgb

log = logging.getLogger(__name__)

LAYOUT = "BGR888"
"""picamera2's name (libcamera's, as a little-endian word) for arrays whose bytes are red, green, blue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PicameraSettings:
    """A camera module."""

    kind: ClassVar[str] = "picamera"

    camera: int = 0
    """Which module, 0 to 7, as `rpicam-hello --list-cameras` counts."""
    width: int = 640
    """Pixels."""
    height: int = 480
    """Pixels."""
    rate_hz: float = 0.0
    """Frames a second, up to 1000; 0: what the module likes best."""
    stall_s: float = 5.0
    """1 to 3600 s without a frame after which it is opened anew."""

    def __post_init__(self) -> None:
        """Refuse what no module can be."""
        in_range("camera", self.camera, 0, 7)
        in_range("width", self.width, 1, LARGEST_SIDE)
        in_range("height", self.height, 1, LARGEST_SIDE)
        in_range("rate_hz", self.rate_hz, 0, 1000)
        in_range("stall_s", self.stall_s, 1, 3600)


class PicameraDevice:
    """An open camera module."""

    def __init__(self, settings: PicameraSettings) -> None:
        """Open and start it.

        Raises:
            SourceUnavailable: picamera2 is missing, or there is no such module, or it is in use.
        """
        self._name = f"camera module {settings.camera}"
        self._camera = self._start(settings)
        self._job: Any = None

    def read(self, timeout_s: float) -> Pixels | None:
        """Wait for a picture; a request that is under way is kept for the next read."""
        try:
            if self._job is None:
                self._job = self._camera.capture_array("main", wait=False)
            image = self._camera.wait(self._job, timeout=timeout_s)
        except TimeoutError:
            return None
        except Exception as error:
            raise SourceUnavailable(f"{self._name} went away: {error}") from error
        self._job = None
        return to_rgb(image, "rgb")

    def close(self) -> None:
        """Stop and release it."""
        try:
            self._camera.close()
        except Exception as error:  # noqa: BLE001 - it is opened again, which tells whether that matters
            log.debug("%s does not close: %s", self._name, error)

    def _start(self, settings: PicameraSettings) -> Any:
        try:
            picamera2 = importlib.import_module("picamera2")
        except ImportError as error:
            hint = (
                "apt-get install python3-picamera2, and let the agent's environment see it "
                "(python3 -m venv --system-site-packages)"
            )
            raise SourceUnavailable(f"{self._name} needs picamera2 ({error}): {hint}") from error
        camera = None
        try:
            camera = picamera2.Picamera2(settings.camera)
            controls = {"FrameRate": settings.rate_hz} if settings.rate_hz else {}
            main = {"size": (settings.width, settings.height), "format": LAYOUT}
            camera.configure(camera.create_video_configuration(main=main, controls=controls))
            camera.start()
        except Exception as error:
            if camera is not None:
                camera.close()
            hint = "is it connected and free? `rpicam-hello --list-cameras` names what is there"
            raise SourceUnavailable(f"{self._name} does not open ({error}): {hint}") from error
        return camera
