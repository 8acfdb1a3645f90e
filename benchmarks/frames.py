"""What the frame path costs before the network: `python -m benchmarks.frames [--json FILE]`.

Frames of 640 x 480 are reduced to blocks, compared with the learned scene, which then follows them: the limit is 2 ms.
Next to it stands the plainest use of all pixels, one copy as floating-point numbers, measured in turns. Maps are those
of the detectors: 28 x 28 and 56 x 56 cells, with few regions, as usual, and with as many as are kept.
"""

from __future__ import annotations

import itertools

import numpy as np

from benchmarks.figures import Figure, main, medians
from edge_agent.contract.calibration import calibrate
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.frames import Frame, Pixels
from edge_agent.contract.records import NS, Floats
from edge_agent.vision.blocks import BlockReducer
from edge_agent.vision.frame_prefilter import FramePrefilter, FramePrefilterSettings
from edge_agent.vision.objects import Objects
from edge_agent.vision.regions import LocalisationSettings, Localiser

HEIGHT, WIDTH = 480, 640
KEPT = 32
"""Different frames that are fed in turn."""
THRESHOLD = 10.0


def pictures() -> list[Pixels]:
    """Return pictures of a noisy still scene."""
    rng = np.random.default_rng(0)
    scene = rng.integers(40, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return [scene + rng.integers(0, 5, scene.shape, dtype=np.uint8) for _ in range(KEPT)]


def prefilter_figures() -> list[Figure]:
    """Measure a frame while watching, and its parts."""
    seen = pictures()
    settings = FramePrefilterSettings(learn_frames=KEPT, learn_s=0.0)
    prefilter, reducer = FramePrefilter(settings), BlockReducer(HEIGHT, WIDTH)
    turn = (Frame(pixels=seen[i % KEPT], t_ns=i * NS // 25, number=i, source="benchmark") for i in itertools.count())
    for frame in itertools.islice(turn, KEPT):
        prefilter.feed(frame)
    model = prefilter.model
    if model is None:
        raise RuntimeError("the scene of the benchmark was not learned")
    features = reducer.features(seen[0])
    taken = medians(
        {
            "frame": lambda: prefilter.feed(next(turn)),
            "reduction": lambda: reducer.features(seen[0]),
            "look": lambda: model.look(features),
            "copy": lambda: seen[0].astype(np.float32),
        }
    )
    size = f"{WIDTH} x {HEIGHT}"
    return [
        Figure(f"frame prefilter, {size}, a frame, luma included", taken["frame"] / 1e3, "ms", 2.0),
        Figure(f"frame prefilter, {size}, reduction to blocks", taken["reduction"] / 1e3, "ms"),
        Figure(f"frame prefilter, {size}, comparison with the scene", taken["look"] / 1e3, "ms"),
        Figure(f"frame prefilter, {size}, in copies of a frame as float32", taken["frame"] / taken["copy"], "x"),
    ]


def hot_map(side: int, spots: int) -> Floats:
    """Return a map float32 [side, side] with so many separate spots above the threshold."""
    values = np.zeros((side, side), np.float32)
    places = [(y, x) for y in range(0, side, 3) for x in range(0, side, 3)]
    for y, x in places[:spots]:
        values[y : y + 2, x : x + 2] = 2 * THRESHOLD
    return values


def localisation_figures(side: int, spots: int) -> list[Figure]:
    """Measure a map with some regions: finding them, and following them from frame to frame."""
    t_ns = np.arange(100, dtype=np.int64) * NS
    rule = DecisionRule(hold_off_s=10.0)
    calibration = calibrate(np.linspace(-1, 1, 100), t_ns, alarms_per_day=1, n=rule.n, m=rule.m, join_s=1, k=1)
    localiser = Localiser(LocalisationSettings(), calibration.with_threshold(THRESHOLD), side, side)
    objects = Objects(rule, calibration, 0.1, lambda: "event")
    values = hot_map(side, spots)
    found = localiser.locate(values)
    turn = itertools.count()
    taken = medians(
        {"locate": lambda: localiser.locate(values), "follow": lambda: objects.update(next(turn) * NS // 10, found)}
    )
    name = f"{side} x {side} map, {len(found)} regions"
    return [
        Figure(f"localisation, {name}", taken["locate"] / 1e3, "ms"),
        Figure(f"objects followed, {name}", taken["follow"] / 1e3, "ms"),
    ]


def all_figures() -> list[Figure]:
    """Measure everything of this module."""
    return prefilter_figures() + localisation_figures(28, 3) + localisation_figures(56, 32)


if __name__ == "__main__":
    main(all_figures, __doc__)
