"""The Gaussian prefilter: is this window clearly normal, worth the network, or grossly wrong?

    window -> features (`features.py`) -> squared Mahalanobis distance d2 (`gaussian.py`)
    d2 <= lower: clear        lower < d2 <= upper: suspicious        upper < d2: gross

It also tells the technician in words which channel is how far from usual, for detectors that do not say so themselves.
The converter fits `lower` to the network it stands before (`with_limits`); the limits that `fit` gives on its own
hold for a Gaussian that watches alone or that waits for its network.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.arrays import read_npz, write_npz
from edge_agent.contract.features import FEATURES, WINDOW_AXES, window_features
from edge_agent.contract.gaussian import MIN_SAMPLES, Gaussian
from edge_agent.contract.records import Doubles, Floats, WindowBatch
from edge_agent.errors import ManifestError

GROSS_P: Final = 1e-6
"""Predictive probability of a normal window beyond the default upper limit: at one independent window a second, about
one false alarm in eleven days."""

SUSPICIOUS_SHARE: Final = 0.5
"""Quantile of the distances of the learned windows that is the default lower limit. New windows lie farther off than
those learned from, so at least half of the normal ones are scored until the converter has fitted the limit."""

CONSTANT_SPREAD: Final = 0.01
"""Spread given to a channel that was constant throughout, as a share of its value (at 0: in its unit): nobody knows
how far it may move, and a hundredth is already more than it ever did."""

FEATURE_SCALE_FLOOR: Final = 1e-3
"""Smallest standard deviation of a feature that is believed, in training spreads of its channel: a feature
steadier than that owes it to how few windows there were."""

TRUSTED_WINDOWS_PER_FEATURE: Final = 2.0
"""Independent windows per feature from which on a covariance is more than shrinkage; a rule of thumb of discriminant
analysis asks for some multiple of the number of features, two at the least."""

MAX_WEIGHT: Final = 1e9
"""Largest whitening weight that is read: beyond `FEATURE_SCALE_FLOOR` and the least eigenvalue together (3e7), and d2
stays finite at it."""


class Mode(StrEnum):
    """What the pipeline does with the distance."""

    GATE = "gate"
    """Clear windows are not scored."""
    WATCH = "watch"
    """All windows are scored; gross ones still alarm at once."""
    OFF = "off"
    """Not computed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prefilter:
    """A Gaussian over the features of a window, with two limits."""

    names: tuple[str, ...]
    """The channels, for words."""
    centre: Doubles
    """float64 [C] mean of each channel in its unit."""
    spread: Doubles
    """float64 [C] > 0 standard deviation of each channel in its unit."""
    gaussian: Gaussian
    """Over the 5 * C features."""
    lower: float
    """d2 up to which a window is clear."""
    upper: float
    """d2 above which a window is gross."""
    mode: Mode = Mode.WATCH

    def __post_init__(self) -> None:
        """Refuse limits and shapes that do not fit."""
        c = len(self.names)
        d = len(FEATURES) * c
        shapes = (self.centre.shape, self.spread.shape, self.gaussian.mean.shape, self.gaussian.scale.shape)
        if not c or shapes != ((c,), (c,), (d,), (d,)) or self.gaussian.whiten.shape != (d, d):
            raise ValueError(
                f"expected arrays for {c} channels and {d} features, got {shapes}, {self.gaussian.whiten.shape}"
            )
        if not 0.0 <= self.lower <= self.upper < np.inf:
            raise ValueError(f"limits must satisfy 0 <= lower <= upper < infinity, got {self.lower} and {self.upper}")

    @classmethod
    def fit(
        cls, windows: Floats, *, effective_windows: float | None = None, names: tuple[str, ...] | None = None
    ) -> Prefilter:
        """Learn from normal windows.

        Works from a few dozen windows; what they cannot have taught shows in a high `upper` and in `trust`.

        Args:
            windows: float32 [k, T, C] in raw units, finite.
            effective_windows: how many independent windows they are worth, at most k; None: as many as they have rows
                of their own, divided by T (`independent_windows`), which counts a row that several windows share once.
            names: of the channels; None: "channel 1" and so on.

        Raises:
            ValueError: fewer than two independent windows, or readings that are not finite.
        """
        if windows.ndim != WINDOW_AXES or not windows.size:
            raise ValueError(f"expected windows [k, T, C], none of them 0, got {list(windows.shape)}")
        n = independent_windows(windows) if effective_windows is None else min(effective_windows, len(windows))
        if not n >= MIN_SAMPLES:
            raise ValueError(
                f"a prefilter needs at least {MIN_SAMPLES} independent windows, got {len(windows)} worth {n:.3g}: "
                "collect more normal data"
            )
        if not np.isfinite(windows).all():
            raise ValueError("windows to learn from must be finite: leave out those with missing readings")
        centre, spread = _location(windows)
        features = window_features(windows, centre, spread)
        gaussian = Gaussian.fit(features, samples=n, scale_floor=FEATURE_SCALE_FLOOR)
        seen = gaussian.distances(features)
        lower = float(np.quantile(seen, SUSPICIOUS_SHARE))
        upper = max(gaussian.predictive().limit(GROSS_P), float(np.max(seen)))
        if names is None:
            names = tuple(f"channel {i + 1}" for i in range(windows.shape[2]))
        return cls(names=names, centre=centre, spread=spread, gaussian=gaussian, lower=lower, upper=upper)

    def distances(self, batch: WindowBatch | Floats) -> Doubles:
        """Return d2 of each window, float64 [k], finite.

        Raises:
            ValueError: a reading is NaN; such windows must not get this far.
        """
        windows = batch.values if isinstance(batch, WindowBatch) else batch
        d2 = self.gaussian.distances(window_features(windows, self.centre, self.spread))
        if not np.isfinite(d2).all():
            raise ValueError("expected windows without NaN: broken input is a sensor fault and never measured")
        return d2

    def shares(self, window: Floats) -> Doubles:
        """Return the share of d2 that each channel has, float64 [C] >= 0 that sums to 1, for one window [T, C]."""
        parts = self._whitened(window) ** 2
        shares = parts.reshape(len(FEATURES), -1).sum(axis=0)
        total = shares.sum()
        return shares / total if total > 0.0 else np.full(len(shares), 1.0 / len(shares))

    def describe(self, window: Floats, channel: int | None = None) -> str:
        """Return in words how one channel of a window [T, C] differs from usual; None: the one that differs most.

        An example is "Pressure 7.2 spreads above its usual mean".
        """
        if channel is None:
            channel = int(np.argmax(self.shares(window)))
        feature = int(np.argmax(np.abs(self._whitened(window).reshape(len(FEATURES), -1)[:, channel])))
        features = window_features(window[np.newaxis], self.centre, self.spread).reshape(len(FEATURES), -1)
        usual = self.gaussian.mean.reshape(len(FEATURES), -1)[feature, channel]
        return f"{self.names[channel]} {_words(FEATURES[feature], float(features[feature, channel]), float(usual))}"

    @property
    def trust(self) -> str:
        """In words what it was learned from and what follows: for `status`, `info` and the log."""
        n = self.gaussian.samples
        words = f"learned from {n:.3g} independent windows"
        if n < TRUSTED_WINDOWS_PER_FEATURE * len(self.gaussian.mean):
            words += (
                f", few for {len(self.gaussian.mean)} features: only faults that stand out clearly are told from chance"
            )
        return words

    def with_limits(self, lower: float, upper: float) -> Prefilter:
        """Return the same prefilter with other limits on d2."""
        return replace(self, lower=float(lower), upper=float(upper))

    def with_mode(self, mode: Mode) -> Prefilter:
        """Return the same prefilter in another mode."""
        return replace(self, mode=mode)

    def to_bytes(self) -> bytes:
        """Return the content of a `prefilter.npz`; the same prefilter gives the same bytes."""
        arrays: dict[str, NDArray[np.generic]] = {
            "names": np.array(self.names, dtype=np.str_),
            "features": np.array(FEATURES, dtype=np.str_),
            "centre": self.centre,
            "spread": self.spread,
            "limits": np.array([self.lower, self.upper]),
            "mode": np.array(self.mode.value, dtype=np.str_),
        }
        for field in fields(Gaussian):
            arrays[f"gaussian_{field.name}"] = np.asarray(getattr(self.gaussian, field.name), np.float64)
        return write_npz(arrays)

    def to_npz(self, path: Path | str) -> None:
        """Write a `prefilter.npz`."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def from_npz(cls, data: bytes) -> Prefilter:
        """Read the content of a `prefilter.npz`, which may come from anyone.

        Raises:
            ManifestError: it is no such file, too large, or its arrays do not fit together.
        """
        arrays = read_npz(data, "prefilter.npz")
        try:
            return cls._from_arrays(arrays)
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(f"prefilter.npz cannot be used: {error}; build the bundle again") from error

    @classmethod
    def _from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Prefilter:
        """Return the prefilter that the arrays describe."""
        if tuple(map(str, arrays["features"])) != FEATURES:
            raise ValueError(f"expected the features {FEATURES}, got {arrays['features']}")
        gaussian = Gaussian(
            mean=_finite(arrays, "gaussian_mean"),
            scale=_finite(arrays, "gaussian_scale"),
            whiten=_finite(arrays, "gaussian_whiten"),
            samples=float(_finite(arrays, "gaussian_samples")),
            determined=float(_finite(arrays, "gaussian_determined")),
        )
        gaussian.predictive()
        if (np.abs(gaussian.whiten) > MAX_WEIGHT).any() or (np.abs(gaussian.mean) > MAX_WEIGHT).any():
            raise ValueError(f"expected whitening weights and means of at most {MAX_WEIGHT:g}")
        lower, upper = map(float, _finite(arrays, "limits"))
        spread = _finite(arrays, "spread")
        if not (spread > 0).all():
            raise ValueError("expected spreads above 0")
        return cls(
            names=tuple(map(str, arrays["names"])),
            centre=_finite(arrays, "centre"),
            spread=spread,
            gaussian=gaussian,
            lower=lower,
            upper=upper,
            mode=Mode(str(arrays["mode"])),
        )

    def _whitened(self, window: Floats) -> Doubles:
        """Return the whitened features [5 * C] of one window [T, C]."""
        features = window_features(window[np.newaxis], self.centre, self.spread)
        return self.gaussian.whitened(features).reshape(-1)


def independent_windows(windows: Floats) -> float:
    """Return how many independent windows these [k, T, C] are worth: the rows that they have of their own, over T.

    A window is taken to begin as many rows after the one before as their shared readings say; the same window again
    adds nothing. A stretch of constant readings looks like more overlap than there is, so the answer is rather too
    small than too large.
    """
    rows: int = windows.shape[1]
    begins_as_row = (windows[:-1] == windows[1:, :1]).all(axis=2)
    own_rows = rows
    for window, following, candidates in zip(windows[:-1], windows[1:], begins_as_row, strict=True):
        shifts = np.flatnonzero(candidates).tolist()
        own_rows += next((i for i in shifts if np.array_equal(window[i:], following[: rows - i])), rows)
    return own_rows / rows


def _location(windows: Floats) -> tuple[Doubles, Doubles]:
    """Return centre and spread [C] over all readings of the windows."""
    centre = windows.mean(axis=(0, 1), dtype=np.float64)
    squares = sum((np.square(window - centre).sum(axis=0) for window in windows), np.zeros_like(centre))
    spread = np.sqrt(squares / (len(windows) * windows.shape[1]))
    resolution = np.finfo(np.float32).eps * np.abs(centre)
    constant = windows.min(axis=(0, 1)) == windows.max(axis=(0, 1))
    usual = np.where(centre == 0.0, 1.0, np.abs(centre))
    return centre, np.where(constant, CONSTANT_SPREAD * usual, np.maximum(spread, resolution))


def _words(feature: str, value: float, usual: float) -> str:
    """Return how a feature differs from usual; both in training spreads of the channel."""
    side = "above" if value > usual else "below"
    match feature:
        case "mean":
            return f"{abs(value - usual):.3g} spreads {side} its usual mean"
        case "last":
            return f"{abs(value - usual):.3g} spreads {side} its usual mean in the last reading"
        case "slope":
            return f"{'rises' if value > 0 else 'falls'} by {abs(value):.3g} spreads within the window"
        case _:
            verb = "varies" if feature == "spread" else "changes from reading to reading"
            return f"{verb} by {value:.3g} spreads, usually by {usual:.3g}"


def _finite(arrays: dict[str, NDArray[np.generic]], name: str) -> Doubles:
    """Return one array of finite doubles."""
    array = arrays[name]
    if array.dtype != np.float64 or not np.isfinite(array).all():
        raise ValueError(f"expected {name} to be finite float64, got {array.dtype}")
    return array.astype(np.float64, copy=False)
