"""Names of defects are counted over the frames in alarm that are of a known kind."""

import numpy as np

from converters.frames.backtest import names
from edge_agent.vision.map_watch import Sighting
from edge_agent.vision.regions import Region

CLASSES = ("dent", "scratch")


def sighting(*kinds: str) -> Sighting:
    box = (0.0, 0.0, 0.5, 0.5)
    regions = tuple(Region(box=box, score=9.0, area=0.25, kind=kind, kind_score=0.9) for kind in kinds)
    return Sighting(anomaly=True, regions=regions)


def count(seen: list[Sighting], alarmed: list[bool], kinds: list[int]) -> tuple[int, int]:
    return names(seen, np.array(alarmed), np.array(kinds), CLASSES)


def test_the_strongest_region_names_a_frame() -> None:
    seen = [sighting("dent", "scratch"), sighting("scratch", "dent")]
    assert count(seen, [True, True], [0, 0]) == (2, 1)


def test_frames_without_an_alarm_or_a_known_kind_do_not_count() -> None:
    seen = [sighting("dent")] * 3
    assert count(seen, [True, False, True], [0, 0, -1]) == (1, 1)


def test_a_frame_in_which_nothing_stands_out_while_an_event_goes_on_is_not_named() -> None:
    assert count([sighting("dent"), sighting()], [True, True], [0, 0]) == (2, 1)
