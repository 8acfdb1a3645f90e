"""The one place that imports OpenCV: set up for a service, and only where a picture needs it.

Its library reads its limits from the environment when it is loaded. What an administrator has set there stays.
"""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType
from typing import Final

MOST_PIXELS: Final = 1 << 26
"""Largest picture, 64 megapixels: the largest camera module for these boards; 192 MiB as RGB."""

_ENVIRONMENT = {
    # Its messages go past the log; what is wrong is told by our own errors.
    "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    # Refuses a picture that unpacks to gigabytes before it does.
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(MOST_PIXELS),
    # Seconds that a read of a V4L2 device waits for a frame.
    "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "2",
}


@cache
def opencv() -> ModuleType:
    """Import OpenCV.

    Raises:
        ImportError: it is not installed; the message says what to do.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import cv2  # noqa: PLC0415 - 0.05 s and 17 MB that only cameras pay
    except ImportError as error:
        hint = "install it beside the agent: pip install 'anomalite[camera]'"
        raise ImportError(f"OpenCV is needed ({error}): {hint}") from error
    # What it does here takes a fraction of a millisecond; waking threads for it would disturb the network's.
    cv2.setNumThreads(1)
    return cv2
