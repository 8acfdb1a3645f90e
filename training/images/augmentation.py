"""Frames as the camera might have seen them: what a network must take for the same thing.

Only what changes nothing of what the frame shows is for the settings to allow: a part that always lies the same way
must not be turned over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_agent.contract.records import Floats
from training.images.folders import Pixels

FULL_RANGE = 255.0
"""Of a pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """`augmentation` of a `[detector]` table: how far a frame of training may be changed at random."""

    flip_horizontal: bool = False
    """Left and right change places in half of the frames."""
    flip_vertical: bool = False
    """Top and bottom likewise."""
    shift_px: int = 2
    """Largest shift along either axis; what moves in repeats the rim."""
    brightness: float = 0.04
    """Largest offset of all pixels, share of the full range."""
    contrast: float = 0.08
    """Largest change of the distance of all pixels from the frame's mean, share."""
    tint: float = 0.0
    """Largest offset of one colour channel, share of the full range."""
    noise: float = 0.0
    """Standard deviation of noise on each pixel, share of the full range."""

    def __post_init__(self) -> None:
        """Refuse what leaves nothing of a frame."""
        if self.shift_px < 0:
            raise ValueError(f"shift_px must be 0 or more, got {self.shift_px}")
        for name in ("brightness", "contrast", "tint", "noise"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be a share from 0 to below 1, got {getattr(self, name)}")

    def apply(self, frames: Pixels, rng: np.random.Generator) -> Pixels:
        """Move and relight frames uint8 [n, H, W, 3], each in its own way."""
        return self.relit(self.moved(frames, rng), rng)

    def moved(self, frames: Pixels, rng: np.random.Generator) -> Pixels:
        """Turn over and shift frames uint8 [n, H, W, 3]."""
        height, width = frames.shape[1:3]
        chances = rng.random((len(frames), 2))
        shifts = rng.integers(-self.shift_px, self.shift_px + 1, (len(frames), 2))
        result = np.empty_like(frames)
        for frame, moved, chance, (down, right) in zip(frames, result, chances, shifts, strict=True):
            rows, columns = np.arange(height), np.arange(width)
            if self.flip_vertical and chance[0] < 0.5:
                rows = rows[::-1]
            if self.flip_horizontal and chance[1] < 0.5:
                columns = columns[::-1]
            taken_rows = rows[np.clip(np.arange(height) - down, 0, height - 1)]
            taken_columns = columns[np.clip(np.arange(width) - right, 0, width - 1)]
            moved[...] = frame[np.ix_(taken_rows, taken_columns)]
        return result

    def relit(self, frames: Pixels, rng: np.random.Generator) -> Pixels:
        """Change light, colour cast and noise of frames uint8 [n, H, W, 3]."""

        def drawn(most: float, channels: int = 1) -> Floats:
            return rng.uniform(-most, most, (len(frames), 1, 1, channels)).astype(np.float32)

        mean = frames.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
        offset = FULL_RANGE * (drawn(self.brightness) + drawn(self.tint, 3))
        values = (frames - mean) * (1 + drawn(self.contrast)) + mean + offset
        if self.noise:
            values += FULL_RANGE * self.noise * rng.standard_normal(frames.shape, np.float32)
        return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
