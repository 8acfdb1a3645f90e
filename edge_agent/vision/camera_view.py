"""What a small luma image tells of the camera itself, beside a learned reference. Pure; numpy alone.

    bright     luma that the brightest tenth of the cells reaches: how much light there is
    gain       light now / light when learned
    changed    share of the cells whose luma is not the learned one: how much of the picture is something else?
    structure  detail now / (gain x detail when learned), where most is left: is there anything of the view at all?
    sharpness  the same, median: is it in focus?
    pattern    median correlation of the pixels of a cell with the learned ones: is it still the same thing, if blurred?
    shift      where the view has gone, by phase correlation

Light multiplies a picture, so every measure but `bright` and `changed` is a ratio that does not change with it. Detail
is the root mean square of differences between neighbours: blurring an edge lowers its square, not its height. It is
looked at in structured cells, those whose detail stands well above what changes there from frame to frame: noise and
leaves in the wind tell nothing of the lens. Where they are too few, as in a view that does not hold still, there is no
`structure` and no `shift`. `pattern` tells a lens out of focus, under which things stay what they are, from a part that
is missing and took its detail along. A shift counts only where the structured cells confirm it, each for itself: a part
that lies elsewhere has the highest peak too, but what is around it stays.

Sources: phase correlation: Kuglin and Hines, "The phase correlation image alignment method", Proc. IEEE Conf.
Cybernetics and Society, 1975. Camera tampering by comparison with a background: Ribnick et al., "Real-time detection of
camera tampering", AVSS 2006; Saglam and Temizel, "Real-time adaptive camera tamper detection", AVSS 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.arrays import read_npz, write_npz
from edge_agent.contract.records import Doubles, Floats
from edge_agent.errors import ManifestError
from edge_agent.vision.background import WHITE
from edge_agent.vision.median import median

Phases = NDArray[np.complex64 | np.complex128]
"""Spectrum of phases alone; of single precision from numpy 2 on."""

HEIGHT: Final = 120
WIDTH: Final = 160
"""Size of the luma image: a quarter of 640 x 480, fine enough to see a lens out of focus by some pixels of that."""

CELL: Final = 10
"""Pixels of the luma image along a side of a cell: 12 x 16 cells."""

BRIGHT_SHARE: Final = 0.9
"""Cells below `bright`: a pilot lamp in a dark hall lights fewer than the rest."""

STRUCTURED: Final = 4.0
"""Detail of a structured cell, at least, in units of what changes there from frame to frame."""

LEAST_CHANGE: Final = 0.25
"""What is taken to change in a cell at least, in steps of 255: a simulated or still picture has no noise."""

MOST_STRUCTURED: Final = 64
"""Structured cells looked at, the best ones: a third of all, which something in front must hide half of to mislead."""

LEAST_STRUCTURED: Final = 12
"""Fewer structured cells than these say nothing of the lens."""

LEFT_SHARE: Final = 0.8
"""Structured cells below `structure`: what covers a lens leaves detail in a few at its rim."""

SAME: Final = 0.15
"""Luma of a cell that has not changed is so near to what was learned, as a share of that."""

SAME_STEPS: Final = 3.0
"""And so near in steps of 255, which is rounding and noise in dark cells."""

LEAST_PEAK: Final = 0.35
"""Height of the peak of the phase correlation (1: nothing but a shift) from which a shift is believed. What covers the
lens reaches 0.2, a shifted view 0.8 (`python -m benchmarks.camera` prints both)."""

VOTE: Final = 0.2
"""By so much the learned view, shifted, must be more like a cell than the view where it was for the cell to say that
the camera moved; less says nothing, as along a straight edge."""

MOVED_SHARE: Final = 0.7
"""Of the cells that say something, so many must say that the camera moved: else it is a part that lies elsewhere."""

TREMBLE: Final = 1
"""Pixels of the image at half its size that a view may shift and still count as still: a mast in the wind."""

ROUNDING: Final = 0.01
"""Levels by which the luma of a white picture may lie above white."""

COARSEST: Final = 0.25
"""Spatial frequencies above this, in cycles a pixel, are noise and edges between pixels: damped as by a Gaussian."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """One luma image, measured alone."""

    luma: Floats
    """float32 [HEIGHT, WIDTH], 0..255."""
    cells: Doubles
    """float64 [12, 16] mean luma."""
    detail: Doubles
    """float64 [12, 16] root mean square of the differences of neighbours, along rows and columns."""

    @classmethod
    def of(cls, luma: Floats) -> View:
        """Measure float32 [HEIGHT, WIDTH].

        Raises:
            ValueError: another shape.
        """
        if luma.shape != (HEIGHT, WIDTH):
            raise ValueError(f"expected luma of {HEIGHT} x {WIDTH}, got {list(luma.shape)}")
        squares = np.zeros_like(luma)
        squares[:-1] = (luma[1:] - luma[:-1]) ** 2
        squares[:, :-1] += (luma[:, 1:] - luma[:, :-1]) ** 2
        return cls(luma=luma, cells=_cell_means(luma), detail=np.sqrt(_cell_means(squares)))

    @property
    def bright(self) -> float:
        """Luma that the brightest tenth of the cells reaches, 0..255."""
        return float(np.sort(self.cells, axis=None)[int(BRIGHT_SHARE * self.cells.size)])

    @property
    def spread(self) -> float:
        """Standard deviation of the cells' luma by their mean: 0 where there is nothing to see."""
        mean = float(self.cells.sum()) / self.cells.size
        apart = (self.cells - mean).ravel()
        return math.sqrt(float(apart @ apart) / apart.size) / max(mean, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What is left of the detail of the view."""

    structure: float
    """0 (nothing left) to about 1 and on."""
    sharpness: float
    """0 to about 1 (as sharp as learned) and on."""
    pattern: float
    """-1..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A view beside the reference."""

    gain: float
    """0 and up."""
    changed: float
    """0..1."""
    left: Structure | None
    """None: the view has too little structure to tell."""
    shift: tuple[float, float] | None
    """Down and right, as shares of the width, of nearly all that is seen; None: none that is sure and no tremble."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """How the view looks when the camera is well."""

    luma: Floats
    """float32 [HEIGHT, WIDTH] mean of the learned images."""
    cells: Doubles
    """float64 [12, 16] mean of its cells."""
    detail: Doubles
    """float64 [12, 16] median detail of single images."""
    within: Floats
    """float32 [HEIGHT, WIDTH] `luma` less that of its cell."""
    structured: NDArray[np.int64]
    """Flat indices of the structured cells; empty where they are too few."""
    spectrum: Phases
    """complex [60, 41] of `luma`, for the phase correlation."""

    @classmethod
    def learn(cls, views: Sequence[View]) -> Reference:
        """Learn from at least two views of a camera that is well.

        Raises:
            ValueError: fewer than two.
        """
        if len(views) < 2:  # noqa: PLR2004 - what changes takes two
            raise ValueError(f"expected at least two views, got {len(views)}")
        lumas = np.stack([view.luma for view in views])
        mean: Floats = lumas.mean(axis=0, dtype=np.float64).astype(np.float32)
        detail = np.median([view.detail for view in views], axis=0)
        changes = np.sqrt(np.mean([_cell_means((after - before) ** 2) for before, after in pairwise(lumas)], axis=0))
        surplus = (detail / np.maximum(changes, LEAST_CHANGE)).ravel()
        best = np.argsort(-surplus, kind="stable")[:MOST_STRUCTURED]
        structured = best[surplus[best] >= STRUCTURED]
        if len(structured) < LEAST_STRUCTURED:
            structured = structured[:0]
        return cls.of(mean, detail, structured)

    @classmethod
    def of(cls, luma: Floats, detail: Doubles, structured: NDArray[np.int64]) -> Reference:
        """Put a reference together from what was learned; the rest follows from it.

        Raises:
            ValueError: the parts do not fit together.
        """
        sizes = luma.shape, detail.shape
        cells = HEIGHT // CELL, WIDTH // CELL
        if sizes != ((HEIGHT, WIDTH), cells) or not (np.isfinite(luma).all() and np.isfinite(detail).all()):
            raise ValueError(f"expected finite luma of {HEIGHT} x {WIDTH} and detail of {cells}, got {sizes}")
        if luma.min() < 0 or luma.max() > WHITE + ROUNDING or detail.min() < 0:
            raise ValueError(f"expected luma of 0 to {WHITE:g} and detail of 0 or more, got {luma.min()}..{luma.max()}")
        if structured.ndim != 1 or not np.isin(structured, np.arange(detail.size)).all():
            raise ValueError(f"expected structured cells below {detail.size}, got {structured}")
        means = _cell_means(luma)
        return cls(
            luma=luma,
            cells=means,
            detail=detail,
            within=_within(luma, means),
            structured=structured,
            spectrum=_spectrum(luma),
        )

    def to_bytes(self) -> bytes:
        """Return the content of a `camera.npz`; the same reference gives the same bytes."""
        return write_npz(
            {
                "luma": self.luma,
                "detail": self.detail,
                "structured": self.structured,
            }
        )

    @classmethod
    def from_npz(cls, content: bytes) -> Reference:
        """Read what `to_bytes` wrote.

        Raises:
            ManifestError: it is no such file, or its arrays do not fit together.
        """
        arrays: dict[str, Any] = dict(read_npz(content, "camera.npz"))
        try:
            return cls.of(
                arrays["luma"].astype(np.float32),
                arrays["detail"].astype(np.float64),
                arrays["structured"].astype(np.int64),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(
                f"camera.npz cannot be used: {error}; remove it, and the view is learned anew"
            ) from error

    def compare(self, view: View) -> Comparison:
        """Compare a view that is not dark."""
        gain = median(view.cells / np.maximum(self.cells, 1.0))
        same = np.abs(view.cells - self.cells) <= SAME * self.cells + SAME_STEPS
        left = shift = None
        if len(self.structured):
            now = _within(view.luma, view.cells)
            stayed = self._alike(now, self.within)
            left, shift = self._left(view, gain, stayed), self._shift(view, now, stayed)
        return Comparison(gain=gain, changed=1 - float(same.mean()), left=left, shift=shift)

    def _left(self, view: View, gain: float, stayed: Doubles) -> Structure:
        where = self.structured
        left = view.detail.ravel()[where] / np.maximum(gain * self.detail.ravel()[where], 1e-3)
        return Structure(
            structure=float(np.sort(left)[int(LEFT_SHARE * len(left))]),
            sharpness=median(left),
            pattern=median(stayed),
        )

    def _shift(self, view: View, now: Floats, stayed: Doubles) -> tuple[float, float] | None:
        """Where the view has gone; not looked for where every cell is too much as it was to say that it moved."""
        if stayed.min() > 1 - VOTE:
            return None
        height, down, right = shift_peak(self, view)
        seen = height >= LEAST_PEAK and max(abs(down), abs(right)) > TREMBLE
        moved = seen and self._moved(now, stayed, 2 * down, 2 * right)
        return (2 * down / WIDTH, 2 * right / WIDTH) if moved else None

    def _moved(self, now: Floats, stayed: Doubles, down: int, right: int) -> bool:
        """Whether nearly all that is seen has gone by so many pixels, give or take one."""
        ways = [(down + i, right + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        gone = max((self._alike(now, self._shifted(*way)) for way in ways), key=lambda alike: float(alike.mean()))
        gained = (gone - stayed)[self._still_seen(down, right)]
        votes = gained[np.abs(gained) >= VOTE]
        return len(votes) > 0 and float(np.mean(votes > 0)) >= MOVED_SHARE

    def _still_seen(self, down: int, right: int) -> NDArray[np.bool_]:
        """Which structured cells show what was in the learned picture: bool [n]."""
        rows, columns = np.arange(0, HEIGHT, CELL) - down, np.arange(0, WIDTH, CELL) - right
        inside = ((rows >= 0) & (rows <= HEIGHT - CELL))[:, np.newaxis] & (columns >= 0) & (columns <= WIDTH - CELL)
        seen: NDArray[np.bool_] = inside.ravel()[self.structured]
        return seen

    def _shifted(self, down: int, right: int) -> Floats:
        luma = np.roll(self.luma, (down, right), (0, 1))
        return _within(luma, _cell_means(luma))

    def _alike(self, now: Floats, learned: Floats) -> Doubles:
        """Correlation of the pixels of each structured cell: float64 [n], -1..1."""
        powers = _cell_means(now**2) * _cell_means(learned**2)
        alike: Doubles = (_cell_means(now * learned) / np.sqrt(powers + 1e-6)).ravel()
        structured: Doubles = alike[self.structured]
        return structured


def shift_peak(reference: Reference, view: View) -> tuple[float, int, int]:
    """Height of the peak of the phase correlation (1: the same image), and the shift down and right.

    In pixels of the image at half its size, 60 x 80.
    """
    return _peak(_spectrum(view.luma), reference.spectrum)


def _cell_means(values: Floats) -> Doubles:
    """Mean of each cell of float32 [HEIGHT, WIDTH]: float64 [12, 16]."""
    return np.asarray(_BANDS @ values @ _BANDS_ACROSS, np.float64)


def _averages(cells: int) -> Floats:
    """Matrix float32 [cells, cells * CELL] that takes the mean of each CELL values."""
    return np.kron(np.eye(cells), np.full(CELL, 1 / CELL)).astype(np.float32)


_BANDS, _BANDS_ACROSS = _averages(HEIGHT // CELL), _averages(WIDTH // CELL).T.copy()


def _within(luma: Floats, cells: Doubles) -> Floats:
    """Luma less that of its cell: float32 [HEIGHT, WIDTH]."""
    shape = (HEIGHT // CELL, CELL, WIDTH // CELL, CELL)
    within: Floats = luma.reshape(shape) - cells.astype(np.float32)[:, np.newaxis, :, np.newaxis]
    return within.reshape(HEIGHT, WIDTH)


def _grid() -> tuple[Floats, Floats]:
    """Window and spectral weights of the phase correlation, made once."""
    rows, columns = HEIGHT // 2, WIDTH // 2
    window = np.hanning(rows)[:, np.newaxis] * np.hanning(columns)
    frequency = np.hypot(np.fft.fftfreq(rows)[:, np.newaxis], np.fft.rfftfreq(columns))
    weights = np.exp(-0.5 * (frequency / (COARSEST / 2)) ** 2)
    weights[0, 0] = 0.0
    return window.astype(np.float32), weights.astype(np.float32)


_WINDOW, _WEIGHTS = _grid()
_FULL = float(np.fft.irfft2(_WEIGHTS, s=_WINDOW.shape).max())
"""Height of the peak of an image with itself."""


def _spectrum(luma: Floats) -> Phases:
    """Spectrum of the image at half its size, of phases alone: complex [60, 41]."""
    half = luma[::2] + luma[1::2]
    half = half[:, ::2] + half[:, 1::2]
    spectrum = np.fft.rfft2((half - half.mean()) * _WINDOW)
    phases: Phases = spectrum / np.maximum(np.abs(spectrum), 1e-9)
    return phases


def _peak(one: Phases, other: Phases) -> tuple[float, int, int]:
    """Peak of the phase correlation, as `shift_peak`."""
    surface = np.fft.irfft2(one * np.conj(other) * _WEIGHTS, s=_WINDOW.shape)
    rows, columns = surface.shape
    down, right = divmod(int(surface.argmax()), columns)
    height = float(surface[down, right]) / _FULL
    return height, down - rows * (down > rows // 2), right - columns * (right > columns // 2)
