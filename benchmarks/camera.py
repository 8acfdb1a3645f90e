"""What camera health costs a frame, and what its limits lie between: `python -m benchmarks.camera`.

The limit of the design is 1 ms a frame of 640 x 480 on top of the luma image. The measures behind the limits of
`camera_view.py` and `camera_health.py` are of the simulated station; light, noise and place of the part differ from
frame to frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from benchmarks.figures import Figure, main, medians
from edge_agent.contract.frames import Pixels, small_luma
from edge_agent.contract.records import NS
from edge_agent.sources.inspection import InspectionScene, SceneFault, SceneFaultKind, blurred
from edge_agent.vision.camera_health import CameraHealth
from edge_agent.vision.camera_view import HEIGHT, WIDTH, Reference, View, shift_peak

LEARNED = 20
"""Frames of a reference, as by default."""

LOOKED_AT = 10
"""Frames of each kind that the measures are taken from."""

CARRY = 4
"""Pixels of a frame of 640 x 480 beside each other in one of the luma image."""


def fed(health: CameraHealth, frames: list[Pixels]) -> Callable[[], object]:
    """What is timed: the next frame, five a second."""
    count = iter(range(10**9))

    def feed() -> object:
        number = next(count)
        return health.feed(frames[number % len(frames)], number * NS // 5)

    return feed


def cost_figures() -> list[Figure]:
    """Measure a frame of 640 x 480, once the reference is learned."""
    scene = InspectionScene(seed=1)
    frames = [scene.pixels(number) for number in range(LEARNED)]
    health = CameraHealth()
    for number in range(4 * LEARNED):
        health.feed(frames[number % LEARNED], (number - 4 * LEARNED) * NS)
    assert not health.learning
    taken = medians({"luma": lambda: small_luma(frames[0], HEIGHT, WIDTH), "feed": fed(health, frames)})
    return [
        Figure("camera health, 640 x 480: luma image", taken["luma"] / 1e3, "ms"),
        Figure("camera health, 640 x 480: all else", (taken["feed"] - taken["luma"]) / 1e3, "ms", 1.0),
    ]


def views(frames: Iterable[Pixels]) -> list[View]:
    """Measure some frames."""
    return [View.of(small_luma(pixels, HEIGHT, WIDTH)) for pixels in frames]


def showing(kind: SceneFaultKind, severity: float = 1.0) -> list[View]:
    """Frames with one fault."""
    scene = InspectionScene(1, faults=(SceneFault(kind=kind, start=0, frames=10**6, severity=severity),))
    return views(scene.pixels(LEARNED + number) for number in range(LOOKED_AT))


def measure_figures() -> list[Figure]:
    """Measure what the limits lie between, at its worst."""
    scene = InspectionScene(seed=1)
    reference = Reference.learn(views(scene.pixels(number) for number in range(LEARNED)))
    sharp = views(scene.pixels(LEARNED + number) for number in range(LOOKED_AT))
    covered, moved = showing(SceneFaultKind.COVERED), showing(SceneFaultKind.MOVED)
    soft = views(
        np.clip(blurred(scene.pixels(number).astype(np.float32), 8 * CARRY), 0, 255).astype(np.uint8)
        for number in range(LOOKED_AT)
    )
    left = {
        name: [side for view in of if (side := reference.compare(view).left)]
        for name, of in {"sharp": sharp, "covered": covered, "soft": soft}.items()
    }
    return [
        Figure("shift: highest peak before a cover", max(shift_peak(reference, view)[0] for view in covered), "of 1"),
        Figure("shift: lowest peak of a moved view", min(shift_peak(reference, view)[0] for view in moved), "of 1"),
        Figure("pattern: highest before a cover", max(each.pattern for each in left["covered"]), "of 1"),
        Figure("pattern: lowest, out of focus by 8 pixels of 160", min(each.pattern for each in left["soft"]), "of 1"),
        Figure("sharpness: lowest of frames in focus", min(each.sharpness for each in left["sharp"]), "of 1"),
        Figure("structure: highest before a cover", max(each.structure for each in left["covered"]), "of 1"),
    ]


def all_figures() -> list[Figure]:
    """Measure everything of this module."""
    return cost_figures() + measure_figures()


if __name__ == "__main__":
    main(all_figures, __doc__)
