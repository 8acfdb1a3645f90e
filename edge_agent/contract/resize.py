"""Pictures of any size to the size that a detector takes: one function for training, converters and device.

A detector must see on the device what it was trained on, to the pixel. So this one part of the contract needs OpenCV,
beside numpy: it is imported when the first picture has to be resized, and a device without a camera never has it.
"""

from __future__ import annotations

import numpy as np

from edge_agent.contract.frames import Pixels
from edge_agent.contract.opencv import opencv
from edge_agent.errors import ScoringError


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Bring a picture to [height, width, 3]; its aspect ratio is not kept.

    Shrinking averages areas, so that thin defects are not passed over and noise does not alias; growing, on either
    side, is bilinear. A picture that has the size is returned as it is, not copied.

    Args:
        pixels: uint8 [H, W, 3].
        height: pixels, above 0.
        width: pixels, above 0.

    Raises:
        ScoringError: OpenCV is not installed.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    try:
        cv2 = opencv()
    except ImportError as error:
        raise ScoringError(f"the frames have another size than the detector takes: {error}") from error
    shrinks = pixels.shape[0] >= height and pixels.shape[1] >= width
    scaled = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(scaled, np.uint8)
