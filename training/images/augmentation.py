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

LEAST_SIDE, LARGEST_SIDE = 0.05, 0.4
"""Sides of a pasted patch, share of the frame's: from a scratch to a part that is missing."""

LARGEST_OFFSET = 0.3
"""Of each colour of a pasted patch, share of the full range: on a plain ground it would not be seen else."""


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


def pasted(frames: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Paste a patch of another frame, from another place and in another light, into a share of uint8 [n, H, W, 3].

    Source: C.-L. Li, K. Sohn, J. Yoon and T. Pfister, "CutPaste: self-supervised learning for anomaly detection and
    localization", CVPR 2021 (there the patch is of the same frame).
    """
    result, (count, height, width) = frames.copy(), frames.shape[:3]
    for number in np.flatnonzero(rng.random(count) < share):
        sides = rng.uniform(LEAST_SIDE, LARGEST_SIDE, 2) * (height, width)
        rows, columns = np.maximum(1, sides.astype(int))
        (top, left), (from_top, from_left) = rng.integers(0, (height - rows + 1, width - columns + 1), (2, 2))
        patch = frames[rng.integers(count), from_top : from_top + rows, from_left : from_left + columns]
        relit = patch.astype(np.float32) + FULL_RANGE * rng.uniform(-LARGEST_OFFSET, LARGEST_OFFSET, 3)
        result[number, top : top + rows, left : left + columns] = np.clip(np.rint(relit), 0, 255)
    return result
