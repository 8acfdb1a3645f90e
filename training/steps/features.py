"""Steps from rows to features: what a window is like, in a few numbers a channel.

Several in a row stand side by side: each sees the same rows, and their features are joined.

All of them grow in proportion to a large fault, so that its features leave normal along a straight line and a convex
score rises with it. Logarithms of deviations and powers would bend that line back towards normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from training.steps.base import Shape, Stage, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthsSettings:
    """`[[steps]]` of type `trailing_means` or `trailing_deviations`."""

    rows: tuple[int, ...] = (10,)
    """Lengths in rows, each ending with the newest: short ones see spikes, long ones see small lasting shifts."""

    def __post_init__(self) -> None:
        """Refuse none, twice the same, and less than a row."""
        if not self.rows or len(set(self.rows)) != len(self.rows) or min(self.rows) < 1:
            raise ValueError(f"rows must be different whole numbers of at least 1, got {list(self.rows)}")

    def shape(self, given: Shape) -> Shape:
        """One feature a channel and length."""
        rows, channels = given
        if max(self.rows) > rows:
            raise ValueError(
                f"rows must be different whole numbers from 1 to {rows}, the rows that it gets, got {list(self.rows)}"
            )
        return (len(self.rows) * channels,)


class TrailingMeans(Step[LengthsSettings]):
    """Means over the last rows: averaging lowers the noise of a reading, not a lasting shift, which most faults are."""

    Settings = LengthsSettings
    stage = Stage.FEATURES

    def shape(self, given: Shape) -> Shape:
        """(m C,)."""
        return self.settings.shape(given)

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Means, shortest setting first as given."""
        return tf.concat([tf.reduce_mean(x[:, x.shape[1] - n :], axis=1) for n in self.settings.rows], axis=1)


class TrailingDeviations(Step[LengthsSettings]):
    """Standard deviations over the last rows: see noise, vibration, and a channel gone quiet."""

    Settings = LengthsSettings
    stage = Stage.FEATURES

    def shape(self, given: Shape) -> Shape:
        """(m C,)."""
        return self.settings.shape(given)

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Deviations; the mean is taken off first, so that large levels lose no digits."""
        found = []
        for length in self.settings.rows:
            last = x[:, x.shape[1] - length :]
            offset = last - tf.reduce_mean(last, axis=1, keepdims=True)
            found.append(tf.sqrt(tf.reduce_mean(offset * offset, axis=1)))
        return tf.concat(found, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectrumSettings:
    """`[[steps]]` of type `spectrum`."""

    bands: int = 8
    """Equal bands from just above 0 to half the rate."""

    def __post_init__(self) -> None:
        """Refuse no band."""
        if self.bands < 1:
            raise ValueError(f"bands must be at least 1, got {self.bands}")


class Spectrum(Step[SpectrumSettings]):
    """Amplitude in equal bands of frequency, of the window without its mean: for vibration.

        amplitude = sqrt(mean over the band of |DFT(hann * (x - mean))|^2 / T)

    The transform is one matrix product, since TFLite takes lengths of powers of two alone. Source: P. D. Welch, "The
    use of fast Fourier transform for the estimation of power spectra", IEEE Trans. Audio and Electroacoustics 15
    (1967), with one segment.
    """

    Settings = SpectrumSettings
    stage = Stage.FEATURES

    def shape(self, given: Shape) -> Shape:
        """(bands C,)."""
        rows, channels = given
        if self.settings.bands > rows // 2:
            raise ValueError(f"bands must be at most {rows // 2}, half the rows of a window, got {self.settings.bands}")
        return (self.settings.bands * channels,)

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Amplitudes, all channels of the lowest band first."""
        rows, channels = x.shape[1], x.shape[2]
        frequencies = np.arange(1, rows // 2 + 1)
        angle = 2 * np.pi * np.outer(frequencies, np.arange(rows)) / rows
        taper = np.hanning(rows + 1)[:rows] / np.sqrt(rows)
        transform = np.concatenate([np.cos(angle) * taper, np.sin(angle) * taper])
        band = np.arange(len(frequencies)) * self.settings.bands // len(frequencies)
        gathered = np.tile(np.eye(self.settings.bands)[:, band], 2) / np.bincount(band)[:, np.newaxis]
        offset = x - tf.reduce_mean(x, axis=1, keepdims=True)
        by_channel = tf.reshape(tf.transpose(offset, [0, 2, 1]), [-1, rows])
        lines = tf.matmul(by_channel, tf.constant(transform.T, tf.float32))
        power = tf.matmul(lines * lines, tf.constant(gathered.T, tf.float32))
        bands = tf.transpose(tf.reshape(power, [-1, channels, self.settings.bands]), [0, 2, 1])
        return tf.reshape(tf.sqrt(bands), [-1, self.settings.bands * channels])


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenSettings:
    """`[[steps]]` of type `flatten`: nothing to set."""


class Flatten(Step[FlattenSettings]):
    """Every value of the window as a feature of its own, oldest row first: the exact shape of a short cycle."""

    Settings = FlattenSettings
    stage = Stage.FEATURES

    def shape(self, given: Shape) -> Shape:
        """(T C,)."""
        return (given[0] * given[1],)

    def graph(self, x: tf.Tensor) -> tf.Tensor:
        """Reshape."""
        return tf.reshape(x, [-1, x.shape[1] * x.shape[2]])
