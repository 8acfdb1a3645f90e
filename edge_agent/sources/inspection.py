"""A simulated inspection station under a fixed camera, with faults that can be switched on: seeded, numpy alone.

A plate with four holes and a printed code lies in a fixture of brushed metal between two rails. From frame to frame the
plate lies a little differently, the light wanders and the sensor has noise, as all of that is normal. Faults are of the
part (missing, scratch), of the camera (covered, dark, frozen, moved, defocused) or of the light (dimmed). A frame
depends on the seed and its number alone, so frames may be asked for in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.frames import Pixels
from edge_agent.contract.records import Floats
from edge_agent.sources.formats import in_range, one_of

Mask = NDArray[np.bool_]

SIDES = (64, 4096)
"""Fewest and most pixels a side."""

MAX_SEVERITY = 4.0
"""Most that a fault is told to be: beyond it the view is moved out of what is drawn."""

_MARGIN = 0.25
"""Share of a side that is drawn beyond the view, so that a moved camera sees something there."""
_TREMBLE_SHARE = 0.004
"""How far the plate lies off its place either way, as a share of the width."""
_NOISE = 2.0
"""Standard deviation of the sensor's noise, in steps of 255: a small sensor indoors."""
_NOISE_IMAGES = 4
"""Noise is drawn so often and then shifted about: drawing it anew takes longer than all the rest."""
_LIGHT_WANDER = 0.02
"""Relative spread of the light."""
_MOVED_SHARE, _BLUR_SHARE = 0.05, 0.006
"""Shift and radius of defocus at severity 1, as shares of the width."""
_DARK_LIGHT, _DIMMED_LIGHT = 0.02, 0.55
"""Light that is left, as a share: of a hall at night, and of a station whose second lamp failed."""
_COVER = np.array([70.0, 52.0, 44.0], np.float32)
"""Colour of what covers the lens: a glove, lit from behind."""
_METAL, _PLATE, _HOLE, _PRINT = (
    np.array(colour, np.float32) for colour in ((92, 94, 98), (168, 172, 160), (28, 28, 30), (40, 52, 120))
)


class SceneFaultKind(StrEnum):
    """What can go wrong."""

    MISSING = "missing"
    """The plate is not there."""
    SCRATCH = "scratch"
    """A bright hairline on the plate."""
    COVERED = "covered"
    """Something stands right before the lens."""
    DARK = "dark"
    """The light is off."""
    DIMMED = "dimmed"
    """The light has another level: no fault of the camera."""
    FROZEN = "frozen"
    """The camera repeats its last frame."""
    MOVED = "moved"
    """Somebody pushed the camera."""
    DEFOCUSED = "defocused"
    """The lens has turned."""


DEFECTS = (SceneFaultKind.MISSING, SceneFaultKind.SCRATCH)
"""The faults of the part, which a detector must find."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFault:
    """Something that goes wrong for a while."""

    kind: SceneFaultKind
    """`missing`, `scratch`, `covered`, `dark`, `dimmed`, `frozen`, `moved` or `defocused`."""
    start: int
    """Number of the first frame it is in; 0 and up."""
    frames: int
    """How many frames it lasts; 1 and up."""
    severity: float = 1.0
    """0 (nothing) to 4; 1: what a technician would notice. No matter to `missing`, `covered`, `frozen`."""

    def __post_init__(self) -> None:
        """Refuse what cannot go wrong."""
        one_of("kind", self.kind, tuple(SceneFaultKind))
        if self.start < 0 or self.frames < 1:
            raise ValueError(f"expected start >= 0 and frames >= 1, got {self.start} and {self.frames}")
        in_range("severity", self.severity, 0, MAX_SEVERITY)

    def active(self, number: int) -> bool:
        """Whether a frame has it."""
        return self.start <= number < self.start + self.frames


class InspectionScene:
    """Draws the frames of the station."""

    def __init__(self, seed: int = 0, width: int = 640, height: int = 480, faults: tuple[SceneFault, ...] = ()) -> None:
        """Draw what stays the same.

        Args:
            seed: same seed, same frames.
            width: pixels, 64 to 4096.
            height: pixels, 64 to 4096.
            faults: what goes wrong, and when.

        Raises:
            ValueError: a side is out of range.
        """
        in_range("width", width, *SIDES)
        in_range("height", height, *SIDES)
        self.faults = faults
        self._seed, self._width, self._height = seed, width, height
        rng = np.random.default_rng(seed)
        self._left, self._top = round(_MARGIN * width), round(_MARGIN * height)
        self._fixture = _fixture(rng, self._height + 2 * self._top, self._width + 2 * self._left, self._top)
        self._plate = _plate(rng, round(0.45 * height), round(0.5 * width))
        self._scratch = _scratch(rng, *self._plate.shape[:2])
        self._noise = (_NOISE * rng.standard_normal((_NOISE_IMAGES, height, width, 3))).astype(np.float32)

    def pixels(self, number: int) -> Pixels:
        """Frame `number`: uint8 [height, width, 3] RGB."""
        frozen = [fault.start for fault in self.faults if fault.kind == SceneFaultKind.FROZEN and fault.active(number)]
        number = max(min([number, *frozen]), 0)
        active = {fault.kind: fault.severity for fault in self.faults if fault.active(number)}
        rng = np.random.default_rng((self._seed, number))
        view = self._view(rng, active)
        noise = np.roll(self._noise[rng.integers(_NOISE_IMAGES)], tuple(rng.integers(0, 64, 2)), (0, 1))
        view += noise
        return np.clip(view, 0, 255, out=view).astype(np.uint8)

    def defect(self, number: int) -> Mask:
        """Where frame `number` shows a defect of the part: bool [height, width]."""
        active = {fault.kind: fault.severity for fault in self.faults if fault.active(number)}
        seen = {kind: severity for kind, severity in active.items() if kind not in DEFECTS}
        with_defect = self._view(np.random.default_rng((self._seed, number)), active)
        without = self._view(np.random.default_rng((self._seed, number)), seen)
        changed: Mask = np.abs(with_defect - without).max(axis=2) > 2 * _NOISE
        return changed

    def _view(self, rng: np.random.Generator, active: dict[SceneFaultKind, float]) -> Floats:
        """What the lens shows, without noise: float32 [height, width, 3]."""
        light = 1 + _LIGHT_WANDER * float(rng.standard_normal())
        scene = self._fixture.copy()
        tremble = round(_TREMBLE_SHARE * self._width)
        down, right = (int(shift) for shift in rng.integers(-tremble, tremble + 1, 2))
        if SceneFaultKind.MISSING not in active:
            plate = self._plate
            if severity := active.get(SceneFaultKind.SCRATCH):
                plate = plate + (60 * severity * self._scratch)[..., np.newaxis]
            rows, columns = plate.shape[:2]
            top = self._top + (self._height - rows) // 2 + down
            left = self._left + (self._width - columns) // 2 + right
            scene[top : top + rows, left : left + columns] = plate
        shift = round(_MOVED_SHARE * self._width * active.get(SceneFaultKind.MOVED, 0.0))
        top, left = self._top + shift // 2, self._left + shift
        view: Floats = scene[top : top + self._height, left : left + self._width].copy()
        if severity := active.get(SceneFaultKind.DEFOCUSED):
            view = blurred(view, max(1, round(_BLUR_SHARE * self._width * severity)))
        if SceneFaultKind.COVERED in active:
            view = np.broadcast_to(
                _COVER * np.linspace(0.8, 1.2, self._width, dtype=np.float32)[:, np.newaxis], view.shape
            )
        for kind, left_over in ((SceneFaultKind.DARK, _DARK_LIGHT), (SceneFaultKind.DIMMED, _DIMMED_LIGHT)):
            if severity := active.get(kind):
                light *= left_over**severity
        return view * np.float32(light)


def blurred(image: Floats, radius: int) -> Floats:
    """Blur as a lens out of focus does, by two box means of `radius` pixels: float32 [H, W, 3]."""
    size = 2 * radius + 1
    for axis in (0, 1, 0, 1):
        padding = [(radius + 1, radius) if axis == i else (0, 0) for i in range(3)]
        sums = np.cumsum(np.pad(image, padding, mode="edge"), axis=axis, dtype=np.float64)
        first, last = (sums[:-size], sums[size:]) if axis == 0 else (sums[:, :-size], sums[:, size:])
        image = ((last - first) / size).astype(np.float32)
    return image


def _fixture(rng: np.random.Generator, rows: int, columns: int, margin: int) -> Floats:
    """Brushed metal with two rails and a row of bolts on each: float32 [rows, columns, 3]."""
    grain = np.cumsum(rng.standard_normal((rows, columns)), axis=1)
    grain -= grain.mean(axis=1, keepdims=True)
    brushed = 6 * grain / grain.std() + 4 * rng.standard_normal((rows, columns))
    shade = np.linspace(1.15, 0.85, columns) * np.linspace(0.95, 1.05, rows)[:, np.newaxis]
    scene: Floats = (_METAL * shade[..., np.newaxis] + brushed[..., np.newaxis]).astype(np.float32)
    rail = max(3, round(0.06 * rows))
    y, x = np.mgrid[:rows, :columns]
    for top in (margin + rail // 2, rows - margin - rail - rail // 2):
        scene[top : top + rail] *= np.float32(1.5)
        for bolt in rng.permutation(np.linspace(0.06, 0.94, 9))[:6] * columns:
            scene[(y - top - rail // 2) ** 2 + (x - bolt) ** 2 < (0.35 * rail) ** 2] = _HOLE
    return scene


def _plate(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """A plate with four holes and a printed code: float32 [rows, columns, 3]."""
    plate = np.tile(_PLATE, (rows, columns, 1)) + rng.standard_normal((rows, columns, 1)).astype(np.float32) * 3
    y, x = np.mgrid[:rows, :columns]
    for down in (0.15, 0.85):
        for right in (0.1, 0.9):
            plate[(y - down * rows) ** 2 + (x - right * columns) ** 2 < (0.07 * rows) ** 2] = _HOLE
    cells = rng.random((6, 12)) < 0.5  # noqa: PLR2004 - half of the code's cells are printed
    code = np.repeat(np.repeat(cells, max(1, rows // 20), axis=0), max(1, columns // 30), axis=1)
    top, left = (rows - code.shape[0]) // 2, (columns - code.shape[1]) // 2
    plate[top : top + code.shape[0], left : left + code.shape[1]][code] = _PRINT
    plate[[0, 1, -2, -1]] *= np.float32(0.6)
    plate[:, [0, 1, -2, -1]] *= np.float32(0.6)
    return plate.astype(np.float32)


def _scratch(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """A hairline: float32 [rows, columns], 1 on its middle."""
    (y0, x0), (y1, x1) = rng.uniform((0.15, 0.15), (0.4, 0.45)), rng.uniform((0.6, 0.55), (0.85, 0.85))
    along = np.array([(y1 - y0) * rows, (x1 - x0) * columns])
    y, x = np.mgrid[:rows, :columns]
    from_start = np.stack([y - y0 * rows, x - x0 * columns])
    length = float(np.hypot(*along))
    beside = np.abs(along[0] * from_start[1] - along[1] * from_start[0]) / length
    share = (along[0] * from_start[0] + along[1] * from_start[1]) / length**2
    on_it = (share > 0) & (share < 1)
    hairline: Floats = (np.exp(-0.5 * (beside / (0.004 * columns)) ** 2) * on_it).astype(np.float32)
    return hairline
