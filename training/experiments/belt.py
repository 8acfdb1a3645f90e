"""A scene in which only order and pace can be wrong: two lanes of parts and a wheel, each frame alone always normal.

A frame depends on a moment of the scene and on numbers that seed the sensor's noise and the wander of the light. So
faults are moments in another order: `Order` has them.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from edge_agent.contract.records import Doubles, Floats
from training.images.folders import Pixels

STATION_SEED = 99
"""Of the background, which is the same for every belt."""

PARTS = 4000
"""Parts of a lane before it stays empty: some 60,000 frames at 64 pixels."""

LANES = ((0.3, 1.0), (0.7, 1.4))
"""Place of a lane as a share of the height, and its speed in that of the first."""

SPEED_PX = 3.0
"""Pixels that the first lane moves in a frame."""

GAPS = (0.25, 0.6)
"""Least and largest distance from a part to the next, as a share of the width."""

HALF_SIDES = (0.08, 0.14)
"""Least and largest half side of a part, as a share of the width."""

TURN_FRAMES = 16
"""Frames in which the wheel's hand goes round."""

HAND, HAND_PX = 0.1, 1.5
"""Length of the hand as a share of the width, and half its thickness in pixels."""

NOISE = 2.0
"""Standard deviation of the sensor's noise, in steps of 255."""

LIGHT_WANDER = 0.02
"""Relative spread of the light from frame to frame."""

METAL, INK = (np.array(colour, np.float32) for colour in ((92, 94, 98), (20, 20, 20)))
COLOURS = np.array([(168, 172, 160), (40, 52, 120), (180, 60, 50)], np.float32)
"""Of the parts."""


class Order(StrEnum):
    """How moments follow each other."""

    NORMAL = "normal"
    REVERSED = "reversed"
    """Everything runs backwards."""
    STOPPED = "stopped"
    """Everything stands still."""
    SKIPPED = "skipped"
    """Every other moment is missing: twice the pace."""
    SLOWED = "slowed"
    """Half the pace."""
    SWAPPED = "swapped"
    """Two neighbours have changed places, again and again."""

    def moments(self, count: int) -> Doubles:
        """Moments of `count` frames behind moment 0, in frames of the normal pace."""
        number = np.arange(1.0, count + 1)
        return {
            Order.NORMAL: number,
            Order.REVERSED: -number,
            Order.STOPPED: 0 * number,
            Order.SKIPPED: 2 * number,
            Order.SLOWED: number / 2,
            Order.SWAPPED: number + np.where(number % 2, 1.0, -1.0),
        }[self]


class Belt:
    """Draws the scene."""

    def __init__(self, seed: int, size: int) -> None:
        """Lay out the parts; frames are `size` pixels wide and high. The same seed gives the same parts and noise."""
        grain = np.random.default_rng(STATION_SEED).standard_normal((size, size, 1))
        self._station: Floats = METAL + 4 * grain.astype(np.float32)
        rng = np.random.default_rng(seed)
        shape = (len(LANES), PARTS)
        self._places: Doubles = np.cumsum(rng.uniform(*GAPS, shape), axis=1) * size
        self._half_sides = rng.uniform(*HALF_SIDES, shape) * size
        self._colours = COLOURS[rng.integers(len(COLOURS), size=shape)]
        self._seed, self._size = seed, size

    def pixels(self, moment: float, number: tuple[int, ...]) -> Pixels:
        """One frame, uint8 [size, size, 3]; frames of one `number` have the same noise and light."""
        rng = np.random.default_rng((self._seed, *number))
        scene = self._station
        for lane, (row, speed) in enumerate(LANES):
            scene = self._with_parts(scene, lane, row * self._size, SPEED_PX * speed * moment)
        scene = self._with_hand(scene, 2 * np.pi * moment / TURN_FRAMES)
        light = 1 + LIGHT_WANDER * rng.standard_normal()
        return np.clip(scene * light + rng.normal(0, NOISE, scene.shape), 0, 255).astype(np.uint8)

    def _with_parts(self, scene: Floats, lane: int, row: float, moved_px: float) -> Floats:
        centres = self._size + moved_px - self._places[lane]
        y, x = np.mgrid[: self._size, : self._size]
        for part in np.flatnonzero(np.abs(centres - self._size / 2) < self._size):
            outside = np.maximum(np.abs(x - centres[part]), np.abs(y - row)) - self._half_sides[lane, part]
            scene = _painted(scene, outside, self._colours[lane, part])
        return scene

    def _with_hand(self, scene: Floats, angle: float) -> Floats:
        y, x = np.mgrid[: self._size, : self._size] - self._size / 2
        along = np.clip(x * np.cos(angle) + y * np.sin(angle), 0, HAND * self._size)
        away = np.hypot(x - along * np.cos(angle), y - along * np.sin(angle))
        return _painted(scene, away - HAND_PX, INK)


def _painted(scene: Floats, outside_px: Doubles, colour: Floats) -> Floats:
    """Paint where `outside_px` [H, W] is below 0, with an edge one pixel wide, so that half pixels of motion show."""
    share = np.clip(0.5 - outside_px, 0, 1)[..., np.newaxis].astype(np.float32)
    return scene + share * (colour - scene)
