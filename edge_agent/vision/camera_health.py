"""Is the camera itself well? Frozen, covered, dark, defocused and moved, told from small luma images. Pure.

    frame -> luma -> view, beside the learned reference (`camera_view.py`) -> suspicion -> fault -> CameraCheck

- The first `learn_frames` frames in which something is to be seen are the reference, at least `LEARN_STEP_S` apart.
  Until then only `dark`, `frozen` and a picture without anything in it can be told.
- A suspicion that lasts `confirm_s` and `LEAST_FRAMES` frames is a fault; a fault that was not suspected for as long
  is over. To be free of it a measure must be better than what raised it, by `RELIEF`.
- While there is a suspicion nothing should be decided on a frame: a hand before the lens is not yet `covered`, and no
  anomaly either. What is only a passer-by ends within `confirm_s`.
- Light does no harm: every measure but `dark` is relative to it. Light that comes back at another level is as well as
  before; that the scene looks different is for the frame prefilter to say. When that has learned another scene, call
  `learn_anew`.
- Checks that are not asked for are left out. Where neither `moved` nor `defocused` is asked for, frames need not have a
  view in common: none is learned, and only a picture without anything in it is covered.
- No frames at all is told by their reader, on the monotonic clock. Here reading time runs; a step back starts the
  clocks of all suspicions anew.

What it cannot tell: a camera that was out of focus or turned when its reference was learned; a cover that looks as the
view does; defocus of a view without structure, or so far that nothing of its texture is left. A part that fills most of
the view, before a background without any structure, looks covered when it is missing and moved when it lies elsewhere:
learn with the part and with the empty fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from edge_agent.contract.frames import Pixels, small_luma
from edge_agent.contract.records import NS, Fault, Floats, Unknown
from edge_agent.contract.words import duration
from edge_agent.vision.camera_view import HEIGHT, WIDTH, Comparison, Reference, View

LEARN_STEP_S: Final = 0.5
"""Seconds between learned frames, at least: fast cameras show the same moment many times."""

LEAST_FRAMES: Final = 3
"""Frames that a suspicion or its end must last: one may be torn or half decoded."""

RELIEF: Final = 1.25
"""A measure must be so many times better than its limit before a fault ends: at the very limit it would come and go."""

FLAT: Final = 0.02
"""Spread of the cells, as a share of their mean, below which there is nothing to see: a blank wall has more by its
lens's vignetting alone."""

LEAST_STRUCTURE: Final = 0.35
"""Of a view whose structure is less than this, nothing is left: what remains is noise."""

LEAST_PATTERN: Final = 0.15
"""Correlation within cells below which they do not show what was learned. What covers the lens reaches 0.05, a lens out
of focus by 8 pixels of 160 leaves 0.6 of things with edges (`python -m benchmarks.camera` prints both)."""

MOST_CHANGED: Final = 0.6
"""Share of the picture that shows something else from which the lens is covered: a missing part leaves more."""

LOOK_S: Final = 0.5
"""Seconds for which a camera that was well is taken to be so while nothing stands out: what comes on slowly, such as a
lens out of focus, is told after seconds anyway, and looking costs 0.6 ms a frame (`python -m benchmarks.camera`)."""

SAME_PIXELS: Final = 0.995
"""Share of pixels of the small image that a frozen camera repeats to the bit: some draw a running clock into it."""


class CameraFault(StrEnum):
    """What can be wrong with a camera."""

    DARK = "dark"
    COVERED = "covered"
    FROZEN = "frozen"
    MOVED = "moved"
    DEFOCUSED = "defocused"


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraHealthSettings:
    """What a fault of the camera is."""

    checks: tuple[CameraFault, ...] = tuple(CameraFault)
    """Faults that are looked for. Without `moved` and `defocused` no view is learned: for pictures that have none in
    common."""
    learn_frames: int = 20
    """Frames the reference is learned from, 2 to 200."""
    confirm_s: float = 2.0
    """Seconds that a fault must be seen before it is told, and gone before it is over; 0 to 3600."""
    frozen_s: float = 10.0
    """Seconds of the very same picture after which the camera is frozen, above 0 to 86,400; 0: never."""
    dark_luma: float = 20.0
    """Luma, 0 to 255, that a tenth of a picture must reach; less is `dark`. 16 is black for many cameras."""
    least_sharpness: float = 0.6
    """Sharpness, as a share of the learned one, below which it is `defocused`; 0: never."""
    most_shift: float = 0.02
    """Shift, as a share of the picture's width, above which the camera was moved; 0.02 to 0.25."""

    def __post_init__(self) -> None:
        """Refuse what would be always or never."""
        for name, low, high in (
            ("learn_frames", 2, 200),
            ("confirm_s", 0, 3600),
            ("frozen_s", 0, 86_400),
            ("dark_luma", 0, 255),
            ("least_sharpness", 0, 1 / RELIEF),
            ("most_shift", 0.02, 0.25),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be between {low:g} and {high:g}, got {getattr(self, name)}")

    @property
    def has_view(self) -> bool:
        """Whether frames are held against a usual view."""
        return CameraFault.MOVED in self.checks or CameraFault.DEFOCUSED in self.checks


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraCheck:
    """What one frame says of the camera."""

    t_ns: int
    fault: CameraFault | None = None
    """What is wrong with it; None: nothing."""
    detail: str = ""
    """In words, for the technician."""
    suspected: CameraFault | None = None
    """What this very frame looks like: decide nothing on it."""
    learning: bool = False
    """The reference is still being learned."""

    @property
    def unknown(self) -> Unknown | None:
        """The fault as the pipeline takes it; `not_ready` while there is a suspicion; None: decide the frame."""
        if self.fault is not None:
            return Unknown(t_ns=self.t_ns, fault=Fault.CAMERA, detail=f"{self.fault}: {self.detail}")
        if self.suspected is not None:
            return Unknown(t_ns=self.t_ns, fault=Fault.NOT_READY, detail=f"the camera may be {self.suspected}")
        return None


class CameraHealth:
    """Watches the camera of one stream."""

    def __init__(self, settings: CameraHealthSettings | None = None, reference: Reference | None = None) -> None:
        """Begin to learn the reference, unless one that was learned before is given."""
        self._settings = settings or CameraHealthSettings()
        self._fault: CameraFault | None = None
        self._detail = ""
        self._candidate: CameraFault | None = None
        self._since_ns = self._frames = 0
        self._reference: Reference | None
        self.learn_anew()
        self.restart()
        self._reference = reference if self._settings.has_view else None

    @property
    def learning(self) -> bool:
        """The reference is still being learned."""
        return self._reference is None and self._settings.has_view

    @property
    def reference(self) -> Reference | None:
        """What was learned, to be kept over a restart; None: not yet, or there is no view to learn."""
        return self._reference

    def learn_anew(self) -> None:
        """Forget the reference: the camera was set up anew, or looks at another scene for good."""
        self._reference = None
        self._learned: list[View] = []
        self._learned_ns: int | None = None

    def restart(self) -> None:
        """Forget what lasted: the camera was opened anew. The reference stays."""
        self._last_ns: int | None = None
        self._still: Floats | None = None
        self._still_ns = self._still_frames = 0

    def well(self, t_ns: int) -> bool:
        """Whether the camera was well less than `LOOK_S` ago: a frame in which nothing stands out need not be fed."""
        sound = self._fault is None and self._candidate is None and not self.learning and self._last_ns is not None
        return sound and 0 <= t_ns - (self._last_ns or 0) < LOOK_S * NS

    def feed(self, pixels: Pixels, t_ns: int) -> CameraCheck:
        """Check the next frame: uint8 [H, W, 3] RGB of any size, and its reading time."""
        if self._last_ns is not None and t_ns < self._last_ns:
            self.restart()
            self._since_ns = t_ns
        self._last_ns = t_ns
        view = View.of(small_luma(pixels, HEIGHT, WIDTH))
        signs = (sign for sign in self._signs(view, t_ns) if sign[0] in self._settings.checks)
        suspected, detail = next(signs, (None, ""))
        self._weigh(suspected, detail, t_ns)
        if suspected is None and self._fault is None and self.learning:
            self._learn(view, t_ns)
        return CameraCheck(
            t_ns=t_ns, fault=self._fault, detail=self._detail, suspected=suspected, learning=self.learning
        )

    def _signs(self, view: View, t_ns: int) -> Iterator[tuple[CameraFault, str]]:
        """What the frame looks like, worst first, and in words."""
        settings, relief = self._settings, self._relief
        still_s = self._still_s(view, t_ns)
        if view.bright < settings.dark_luma * relief(CameraFault.DARK):
            yield CameraFault.DARK, f"luma {view.bright:.0f} of 255, expected {settings.dark_luma:.0f} or more"
        if view.spread < FLAT * relief(CameraFault.COVERED):
            yield CameraFault.COVERED, "nothing is to be seen: the lens is covered or blinded"
        compared = self._reference.compare(view) if self._reference else None
        if compared and self._covered(compared):
            yield (
                CameraFault.COVERED,
                "nothing is left of the view: something is before the lens, or it was turned away",
            )
        if settings.frozen_s and still_s >= settings.frozen_s and self._still_frames >= LEAST_FRAMES:
            yield CameraFault.FROZEN, f"the very same picture for {duration(settings.frozen_s)} and longer"
        if compared:
            yield from self._signs_of_lens(compared)

    def _signs_of_lens(self, compared: Comparison) -> Iterator[tuple[CameraFault, str]]:
        settings, relief = self._settings, self._relief
        if compared.shift is not None:
            down, right = (100 * share for share in compared.shift)
            if max(abs(down), abs(right)) >= 100 * settings.most_shift / relief(CameraFault.MOVED):
                yield CameraFault.MOVED, f"the view is {right:+.0f} % right and {down:+.0f} % down, of its width"
        left, limit = compared.left, settings.least_sharpness * relief(CameraFault.DEFOCUSED)
        if left is not None and left.pattern >= LEAST_PATTERN and left.sharpness < limit:
            yield CameraFault.DEFOCUSED, f"{left.sharpness:.0%} of the learned sharpness: clean and refocus it"

    def _covered(self, compared: Comparison) -> bool:
        relief, left = self._relief(CameraFault.COVERED), compared.left
        return (
            left is not None
            and left.structure < LEAST_STRUCTURE * relief
            and left.pattern < LEAST_PATTERN * relief
            and compared.changed >= MOST_CHANGED / relief
        )

    def _relief(self, fault: CameraFault) -> float:
        """Factor on the limits of a fault: wider while it is there."""
        return RELIEF if fault == self._fault else 1.0

    def _still_s(self, view: View, t_ns: int) -> float:
        """Seconds since the picture last changed."""
        same = self._still is not None and np.count_nonzero(view.luma == self._still) >= SAME_PIXELS * view.luma.size
        if not same:
            self._still, self._still_ns, self._still_frames = view.luma, t_ns, 0
        self._still_frames += 1
        return (t_ns - self._still_ns) / NS

    def _weigh(self, suspected: CameraFault | None, detail: str, t_ns: int) -> None:
        """Take over what has lasted long enough: a fault, another one, or none."""
        if suspected != self._candidate or not self._frames:
            self._candidate, self._since_ns, self._frames = suspected, t_ns, 0
        self._frames += 1
        lasted = t_ns - self._since_ns >= self._settings.confirm_s * NS and self._frames >= LEAST_FRAMES
        if suspected != self._fault and (lasted or suspected == CameraFault.FROZEN):
            self._fault, self._detail = suspected, detail

    def _learn(self, view: View, t_ns: int) -> None:
        if self._learned_ns is not None and 0 <= t_ns - self._learned_ns < LEARN_STEP_S * NS:
            return
        self._learned.append(view)
        self._learned_ns = t_ns
        if len(self._learned) >= self._settings.learn_frames:
            self._reference = Reference.learn(self._learned)
            self._learned = []
