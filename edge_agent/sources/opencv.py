"""Images and videos by OpenCV, its errors as those of sources."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.frames import Pixels
from edge_agent.contract.opencv import MOST_PIXELS
from edge_agent.contract.opencv import opencv as import_opencv
from edge_agent.errors import FrameError, SourceUnavailable
from edge_agent.sources.pixels import to_rgb

LONGEST_CALL_S = 8.0
"""Longest that a call may block: below the 10 s after which the watchdog takes a thread to be stuck."""


def opencv() -> ModuleType:
    """Return OpenCV.

    Raises:
        SourceUnavailable: it is not installed.
    """
    try:
        return import_opencv()
    except ImportError as error:
        raise SourceUnavailable(f"cameras, videos and images cannot be read: {error}") from error


def decode(data: bytes) -> Pixels:
    """Decode one image file (JPEG, PNG, BMP, WebP, TIFF): uint8 [H, W, 3] RGB.

    Raises:
        FrameError: it is empty, cut short (OpenCV refuses what is not whole), too large or no picture.
    """
    cv2 = opencv()
    try:
        image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:
        raise FrameError(f"an image that does not decode: {error.err}") from error
    if image is None:
        raise FrameError("a file that is no image" if data else "an empty file")
    return _rgb(image)


class VideoCapture:
    """An open device, stream or file of OpenCV."""

    def __init__(self, name: str, backend: str, settings: dict[str, float] | None = None) -> None:
        """Open it.

        Args:
            name: device path, address or file.
            backend: `V4L2` or `FFMPEG`.
            settings: values by the name of OpenCV's property without CAP_PROP_; applied before the first frame.

        Raises:
            SourceUnavailable: it does not open; the caller knows better why.
        """
        cv2 = opencv()
        parameters = [
            number
            for key, value in (settings or {}).items()
            for number in (getattr(cv2, f"CAP_PROP_{key}"), round(value))
        ]
        self._fps, self._position = cv2.CAP_PROP_FPS, cv2.CAP_PROP_POS_MSEC
        self._width, self._height = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT
        try:
            self._capture = cv2.VideoCapture(name, getattr(cv2, f"CAP_{backend}"), parameters)
        except cv2.error as error:
            raise SourceUnavailable(f"does not open: {error.err}") from error
        if not self._capture.isOpened():
            raise SourceUnavailable("does not open")

    def grab(self) -> bool:
        """Wait for the next frame; False: none came, the device or stream is gone, or the file has ended.

        A frame of a stream that does not decode is False, too, and the one after it may be well.
        """
        return bool(self._capture.grab())

    def retrieve(self) -> Pixels:
        """Decode the frame that was grabbed; one that is too large to be used is not turned into pixels at all.

        OpenCV tells the size of the frame before: of a stream that grows while it runs, the first larger one is.

        Raises:
            FrameError: it cannot be used.
        """
        cv2 = opencv()
        width, height = (round(self._capture.get(side)) for side in (self._width, self._height))
        if width * height > MOST_PIXELS:
            raise FrameError(f"a frame of {width} x {height}, expected {MOST_PIXELS:,} pixels at most")
        try:
            ok, image = self._capture.retrieve()
        except cv2.error as error:
            raise FrameError(f"a frame that does not decode: {error.err}") from error
        if not ok or image is None:
            raise FrameError("a frame that does not decode")
        return _rgb(image)

    def rate_hz(self) -> float:
        """Frames a second as the device or file says; 0: unknown."""
        return float(self._capture.get(self._fps))

    def position_s(self) -> float:
        """Time of the latest frame in the file, seconds."""
        return float(self._capture.get(self._position)) / 1e3

    def close(self) -> None:
        """Release it."""
        self._capture.release()


def _rgb(image: NDArray[Any]) -> Pixels:
    """Return a picture of OpenCV's as RGB: the usual kind by OpenCV, which turns colours round much faster."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:  # noqa: PLR2004 - height, width, three colours
        return to_rgb(image, "bgr")
    cv2 = opencv()
    return to_rgb(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), "rgb")


def fourcc(code: str) -> float:
    """Return the number of a four-character pixel format such as `MJPG`."""
    return float(sum(ord(letter) << 8 * i for i, letter in enumerate(code)))
