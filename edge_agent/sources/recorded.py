"""Recorded frames: a video file, or a folder of images in the order of their names.

Neither knows when it was taken, so reading time counts from 1970 on, as for recordings of readings without times: a
replay repeats itself to the nanosecond. An image that cannot be read is dropped and counted, and its time passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edge_agent.contract.frames import Frame
from edge_agent.contract.image_files import SUFFIXES, images_in, in_time
from edge_agent.contract.records import NS
from edge_agent.errors import FrameError, SourceUnavailable
from edge_agent.sources.formats import in_range
from edge_agent.sources.opencv import VideoCapture, decode, opencv
from edge_agent.sources.pixels import FrameCounters
from edge_agent.sources.playback import FASTEST

MAX_IMAGE_BYTES = 256 << 20
"""Largest image file: 64 megapixels of RGB without compression, and a third more."""

USUAL_RATE_HZ = 25.0
"""Frames a second where a video file does not say: PAL's, and most cameras'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """A video file."""

    kind: ClassVar[str] = "video"

    path: str
    """The file."""
    speed: float = 1.0
    """How many times faster than recorded, up to 1,000,000; 0: as fast as the reader takes."""

    def __post_init__(self) -> None:
        """Refuse an empty path and a negative speed."""
        if not self.path:
            raise ValueError("path must name a video file, got an empty string")
        in_range("speed", self.speed, 0, FASTEST)

    def frames(self, counters: FrameCounters) -> Iterator[Frame]:
        """Open the file and give its frames.

        Raises:
            SourceUnavailable: it is not there, or no video.
        """
        path = Path(self.path).absolute()
        if not path.is_file():
            raise SourceUnavailable(f"{self.path} is not there: name a video file")
        try:
            capture = VideoCapture(str(path), "FFMPEG")
        except SourceUnavailable as error:
            raise SourceUnavailable(f"{self.path} {error}: is it a video?") from error
        return _video_frames(capture, counters)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesSettings:
    """A folder of images."""

    kind: ClassVar[str] = "images"

    path: str
    """The folder; folders in it are not looked into. Images come by name, in which numbers count as numbers."""
    rate_hz: float = 1.0
    """Frames a second, 0.001 to 1000."""
    speed: float = 1.0
    """How many times faster than that, up to 1,000,000; 0: as fast as the reader takes."""

    def __post_init__(self) -> None:
        """Refuse an empty path and a rate out of range."""
        if not self.path:
            raise ValueError("path must name a folder of images, got an empty string")
        in_range("rate_hz", self.rate_hz, 0.001, 1000)
        in_range("speed", self.speed, 0, FASTEST)

    def frames(self, counters: FrameCounters) -> Iterator[Frame]:
        """List the folder and give its images.

        Raises:
            SourceUnavailable: it is not there, or holds no images.
        """
        opencv()
        try:
            paths = in_time(images_in(Path(self.path)))
        except OSError as error:
            raise SourceUnavailable(f"{self.path} cannot be read: {error}") from error
        if not paths:
            raise SourceUnavailable(f"{self.path} holds no images: expected names that end in {', '.join(SUFFIXES)}")
        return _image_frames(paths, self.rate_hz, counters)


def _video_frames(capture: VideoCapture, counters: FrameCounters) -> Iterator[Frame]:
    """Frames at the times that the file gives them, or at its rate where those do not rise."""
    period_ns = round(NS / (capture.rate_hz() or USUAL_RATE_HZ))
    t_ns = -period_ns
    try:
        while capture.grab():
            shown_ns = round(capture.position_s() * NS)
            t_ns = shown_ns if shown_ns > t_ns else t_ns + period_ns
            try:
                pixels = capture.retrieve()
            except FrameError as error:
                counters.drop(str(error))
                continue
            yield counters.frame(pixels, t_ns)
    finally:
        capture.close()


def _image_frames(paths: list[Path], rate_hz: float, counters: FrameCounters) -> Iterator[Frame]:
    for i, path in enumerate(paths):
        try:
            if path.stat().st_size > MAX_IMAGE_BYTES:
                raise FrameError(f"a file of more than {MAX_IMAGE_BYTES >> 20} MiB")
            pixels = decode(path.read_bytes())
        except (FrameError, OSError) as error:
            counters.drop(f"{path.name}: {error}")
            continue
        yield counters.frame(pixels, round(i * NS / rate_hz))
