"""A frame as a small image of blocks: mean luma and texture of each.

Luma is the mean of all pixels of a block, not of a few samples of it (`small_luma`, which is enough to tell that a
camera is covered): a thing of a few pixels counts wherever in the block it is, and noise averages out. Texture is the
mean absolute difference of neighbouring pixels of a row: it tells a grey coat from a grey wall. It is taken from the
green channel, which has most of the luma, and from a few rows of a block only. Neither sees beyond its block: what
moves in a masked one does not show in its neighbours.

Rows are summed as integers first, so that little is left to weigh and to average over columns
(`python -m benchmarks.frames` measures it).
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np

from edge_agent.contract.frames import LUMA_WEIGHTS, Pixels
from edge_agent.contract.records import Floats

ROWS: Final = 24
"""Blocks from top to bottom: 20 pixels of a frame of 640 x 480, a person's head at 5 m before a wide lens."""

COLUMNS: Final = 32
"""Blocks from left to right."""

FEATURES: Final = ("luma", "texture")
"""What is known of a block, both in levels of 0..255."""

TEXTURE_ROWS: Final = 5
"""Rows of a block that texture is taken from, at least where it has as many: neighbouring rows say the same."""

MOST_SUMMED_ROWS: Final = 257
"""Rows whose sum of bytes fits 16 bits: 65535 / 255."""


_WEIGHTS: Final = np.array(LUMA_WEIGHTS, np.float32)


class BlockReducer:
    """Reduces frames of one size."""

    def __init__(self, height: int, width: int) -> None:
        """Prepare for frames of height x width pixels.

        Raises:
            ValueError: fewer pixels than blocks along a side.
        """
        if height < ROWS or width < 2 * COLUMNS:
            raise ValueError(
                f"expected frames of at least {2 * COLUMNS} x {ROWS} pixels, got {width} x {height}: "
                "set the camera to a larger size"
            )
        self.shape = (height, width, len(LUMA_WEIGHTS))
        self._bands = _edges(height, ROWS)
        self._sum_type = np.uint16 if max(np.diff(self._bands)) <= MOST_SUMMED_ROWS else np.uint32
        columns = _edges(width, COLUMNS)
        self._across = _averages(columns, width)
        self._heights = np.diff(self._bands).astype(np.float32)[:, np.newaxis]
        step = max(1, (int(min(np.diff(self._bands))) - 1) // (TEXTURE_ROWS - 1))
        textured = [list(range(begin, end, step)) for begin, end in itertools.pairwise(self._bands)]
        counts = np.array([len(rows) for rows in textured])
        self._textured = np.concatenate(textured)
        self._first_textured = np.cumsum(counts) - counts
        self._of_textured = (1 / counts).astype(np.float32)[:, np.newaxis]
        self._texture = self._across[:-1].copy()
        self._texture[[end - 1 for end in columns[1:-1]]] = 0.0
        self._texture /= self._texture.sum(axis=0)

    def features(self, pixels: Pixels) -> Floats:
        """Return luma and texture of each block, float32 [2, ROWS, COLUMNS].

        Raises:
            ValueError: the pixels are not uint8 of the size that this was made for.
        """
        if pixels.shape != self.shape or pixels.dtype != np.uint8:
            raise ValueError(f"expected an RGB frame uint8 {list(self.shape)}, got {pixels.dtype} {list(pixels.shape)}")
        flat = pixels.reshape(self.shape[0], -1)
        sums = np.empty((ROWS, flat.shape[1]), self._sum_type)
        for row, (begin, end) in enumerate(itertools.pairwise(self._bands)):
            np.add.reduce(flat[begin:end], axis=0, dtype=self._sum_type, out=sums[row])
        green = pixels[self._textured, :, 1]
        left, right = green[:, :-1], green[:, 1:]
        steps = np.maximum(left, right) - np.minimum(left, right)
        features = np.empty((len(FEATURES), ROWS, COLUMNS), np.float32)
        np.matmul(sums.reshape(ROWS, *self.shape[1:]) @ _WEIGHTS, self._across, out=features[0])
        features[0] /= self._heights
        np.add.reduceat(steps @ self._texture, self._first_textured, axis=0, out=features[1])
        features[1] *= self._of_textured
        return features


def _edges(length: int, parts: int) -> list[int]:
    """Return where blocks begin and end, parts + 1 places from 0 to length."""
    return [round(length * i / parts) for i in range(parts + 1)]


def _averages(edges: list[int], length: int) -> Floats:
    """Return the matrix float32 [length, parts] that averages between edges."""
    averages = np.zeros((length, len(edges) - 1), np.float32)
    for part, (begin, end) in enumerate(itertools.pairwise(edges)):
        averages[begin:end, part] = 1 / (end - begin)
    return averages
