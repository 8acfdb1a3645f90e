"""What a scene usually looks like: a Gaussian for luma and texture of each block.

    x = g m + e      m: usual image    g: light of this frame, median over blocks of x / m    e: Gaussian of the block

A block that always moves (a tree in the wind) has a wide Gaussian of its own and is forgiven much; its neighbour on a
wall is not. Strangeness of a block is the mean over its features of e^2 / spread^2, that of a frame (d2) the largest
mean over 3 x 3 blocks: things worth telling cover several blocks, noise does not.

Light that changes a little is taken out by g, and since no surface follows it exactly, blocks are forgiven
`UNEVEN_LIGHT` of it. A frame in which light has changed too much or too many blocks are strange shows another scene,
not an object: that is for the caller to ask (`Look.changed`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from edge_agent.contract.records import Doubles, Floats
from edge_agent.contract.zones import Cells
from edge_agent.vision.median import median

LEAST_SPREAD: Final = 2.0
"""Smallest spread of a block that is believed, in levels of 0..255: compression and flicker of lamps move the mean of
some hundred pixels by one or two."""

LEAST_LUMA: Final = 8.0
"""Levels of luma below which a block says nothing about light: the quotient of two such is noise."""

LIT_SHARE: Final = 0.25
"""Share of the watched blocks that must be above `LEAST_LUMA` to tell the light by; in a darker scene it is taken as
unchanged, so that lamps switched on make every block strange."""

UNEVEN_LIGHT: Final = 0.25
"""Part of a change of light, times the block's usual value, that is added to its spread: shadows and glossy surfaces
follow a lamp or a cloud more or less than the median block does."""

SAME_VIEW: Final = 0.2
"""Share of the lit blocks that may be anything in two scenes of one view: a lamp that is switched on throws other
shadows, and a thing may stand there."""

SAME_PATTERN: Final = 0.6
"""Deviation of luma and texture of a scene from those of another in its light, in that of its blocks from each other,
up to which they are of one view; of two that have nothing to do with each other it is above 1."""

STRANGE: Final = 9.0
"""Strangeness (3 spreads) from which a block counts as covered by something that was not there."""

MOST_STRANGE: Final = 100.0
"""Strangeness is cut here (10 spreads): a single block, such as a reflection, must not outweigh its neighbours."""

WHITE: Final = 255.0
"""Level at which a camera saturates: more light does not make a white block brighter."""

FOLDS: Final = 4
"""Stretches of the learned frames that are each measured by a Gaussian of the others."""

LEAST_FRAMES: Final = 2 * FOLDS
"""Fewest frames learned from: two in each stretch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """How one frame differs from the usual scene."""

    d2: float
    """Strangeness of the frame, 0..MOST_STRANGE."""
    light: float
    """Light of the frame in that of the usual scene, above 0."""
    share: float
    """Share of the watched blocks that are strange, 0..1."""
    strangeness: Floats
    """float32 [rows, columns] of each block, 0 where masked."""
    near: Floats
    """float32 [rows, columns] mean strangeness of the watched blocks around each: where in the frame; d2 is the largest
    of a watched block."""

    def changed(self, max_light: float, scene_share: float) -> bool:
        """Whether this is another scene rather than an object: light beyond a factor, or most blocks strange."""
        return self.share > scene_share or not 1 / max_light <= self.light <= max_light


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """The usual scene; no slots, since what every look needs of it alone is kept in a `cached_property`."""

    mean: Doubles
    """float64 [features, rows, columns], levels of 0..255."""
    variance: Doubles
    """float64 [features, rows, columns], without the floor."""
    watched: Cells
    """bool [rows, columns] blocks that no mask touched; only these count."""

    def check(self) -> None:
        """Refuse arrays that do not fit, such as a broken file may have.

        Raises:
            ValueError: of different shapes, or out of range.
        """
        if self.mean.ndim != 3 or self.mean.shape != self.variance.shape:  # noqa: PLR2004 - features, rows, columns
            raise ValueError(f"expected two arrays of one shape, got {self.mean.shape} and {self.variance.shape}")
        for array in (self.mean, self.variance):
            if not (np.isfinite(array).all() and (array >= 0).all() and (array <= WHITE**2).all()):
                raise ValueError(f"expected means and variances in 0..{WHITE**2:g}, finite")
        watched = self.watched
        if watched.shape != self.mean.shape[1:] or watched.dtype != np.bool_ or not watched.any():
            raise ValueError("expected truth values that say which blocks are watched, some of them true")

    @classmethod
    def fit(cls, features: Floats, watched: Cells) -> Background:
        """Learn from frames float32 [n, features, rows, columns]; each is brought to the light of the median frame.

        Raises:
            ValueError: fewer than two frames.
        """
        if len(features) < 2:  # noqa: PLR2004 - one has no spread
            raise ValueError(f"a scene is learned from at least 2 frames, got {len(features)}")
        middle = np.median(features, axis=0)
        lit = _lit(middle[0], watched)
        lights = np.array([_light(frame[0], middle[0], lit) for frame in features])
        evened = features / lights[:, np.newaxis, np.newaxis, np.newaxis]
        return cls(
            mean=np.minimum(evened.mean(axis=0, dtype=np.float64), WHITE),
            variance=evened.var(axis=0, ddof=1, dtype=np.float64),
            watched=watched,
        )

    @cached_property
    def _lit(self) -> Cells | None:
        return _lit(self.mean[0], self.watched)

    @cached_property
    def _count(self) -> int:
        return int(np.count_nonzero(self.watched))

    @cached_property
    def _neighbours(self) -> Doubles:
        """Watched blocks around each and itself, at least 1."""
        return np.maximum(_around(self.watched.astype(np.float64)), 1.0)

    def look(self, features: Floats) -> Look:
        """Compare a frame, float32 [features, rows, columns], with the usual scene."""
        light = _light(features[0], self.mean[0], self._lit)
        residual = features - np.minimum(light * self.mean, WHITE)
        uneven = UNEVEN_LIGHT * (light - 1) * self.mean
        spread2 = light**2 * self.variance + LEAST_SPREAD**2 + uneven**2
        strangeness = np.minimum((residual**2 / spread2).sum(axis=0) / len(features), MOST_STRANGE)
        strangeness[~self.watched] = 0.0
        near = _around(strangeness) / self._neighbours
        return Look(
            d2=float(near.max(where=self.watched, initial=0.0)),
            light=light,
            share=np.count_nonzero(strangeness > STRANGE) / self._count,
            strangeness=strangeness.astype(np.float32),
            near=near.astype(np.float32),
        )

    def same_view(self, other: Background) -> bool:
        """Whether another scene is this one in other light; False where it is too dark to tell."""
        if self._lit is None:
            return False
        light = _light(other.mean[0], self.mean[0], self._lit)
        seen = other.mean[:, self._lit]
        apart = seen - np.minimum(light * self.mean[:, self._lit], WHITE)
        return all(_same_pattern(*each) for each in zip(seen, apart, strict=True))

    def follow(self, features: Floats, look: Look, *, quickly: float, slowly: float) -> Background:
        """Return the scene with a frame learned into it.

        Light is followed quickly everywhere, and so is the mean of a block that looks as usual. The mean of a strange
        block is followed slowly: what comes to stay is taken into the scene in time, and what passes is not. Spreads
        are learned slowly and from blocks that look as usual: a tree is still forgiven its wind after a calm night,
        and something that came to stay does not hide what comes after it.

        Args:
            features: float32 [features, rows, columns] of the frame.
            look: what `look` gave for it.
            quickly: share of the difference that usual blocks take over, 0..1.
            slowly: the same of strange blocks, and of spreads.
        """
        usual = look.strangeness <= STRANGE
        light = 1 + quickly * (look.light - 1)
        residual = features / look.light - self.mean
        mean = light * (self.mean + np.where(usual, quickly, slowly) * residual)
        grown = self.variance + slowly * (residual**2 - self.variance)
        return Background(
            mean=np.minimum(mean, WHITE),
            variance=np.where(usual, np.minimum(grown, WHITE**2), self.variance),
            watched=self.watched,
        )


def unseen_looks(features: Floats, watched: Cells) -> list[Look]:
    """Return how each learned frame looks to a scene that was learned without it and its neighbours in time.

    Frames lie closer to a Gaussian that was fitted to them than any that come later; each of `FOLDS` stretches is
    measured by one of the others.

    Args:
        features: float32 [n, features, rows, columns] in order of time, n at least `LEAST_FRAMES`.
        watched: bool [rows, columns].
    """
    edges = np.linspace(0, len(features), FOLDS + 1).astype(int).tolist()
    looks: list[Look] = []
    for begin, end in itertools.pairwise(edges):
        others = Background.fit(np.concatenate((features[:begin], features[end:])), watched)
        looks.extend(others.look(frame) for frame in features[begin:end])
    return looks


def _lit(usual: Doubles | Floats, watched: Cells) -> Cells | None:
    """Return the watched blocks that are bright enough to tell the light by; None where they are too few."""
    lit: Cells = watched & (usual >= LEAST_LUMA)
    return None if np.count_nonzero(lit) < LIT_SHARE * np.count_nonzero(watched) else lit


def _light(luma: Floats, usual: Doubles | Floats, lit: Cells | None) -> float:
    """Return the median over the lit blocks of luma / usual; 1 where there is no telling."""
    if lit is None:
        return 1.0
    return max(median(luma[lit] / usual[lit]), 1 / WHITE)


def _same_pattern(seen: Doubles, apart: Doubles) -> bool:
    """Whether blocks [n] differ little from others beside how they differ among each other, but for a few of them."""
    off = np.abs(apart - np.median(apart))
    most = off <= np.quantile(off, 1 - SAME_VIEW)
    return bool(apart[most].std() <= max(SAME_PATTERN * seen[most].std(), LEAST_SPREAD))


def _around(values: Doubles) -> Doubles:
    """Return the sum over 3 x 3 cells around each, float64 [rows, columns]; nothing lies beyond the edges."""
    padded = np.zeros((values.shape[0] + 2, values.shape[1] + 2))
    padded[1:-1, 1:-1] = values
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    summed: Doubles = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return summed
