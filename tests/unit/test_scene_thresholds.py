"""Thresholds of a network in the light of a scene: which frames they stand on, and when the bundle's hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_agent.contract.calibration import Calibration, Grade, calibrate
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.records import NS, Stage
from edge_agent.vision.map_watch import MapWatch, Thresholds
from edge_agent.vision.regions import LocalisationSettings
from edge_agent.vision.scene_thresholds import MOST_SCORES, SceneScores, SceneThresholds


def calibrated(middle: float, spread: float, count: int = 200, m: int = 3) -> Calibration:
    """Of scores evenly around the middle, 1 of m."""
    scores = middle + spread * np.linspace(-1, 1, count)
    return calibrate(scores, np.arange(count) * NS, alarms_per_day=1.0, n=1, m=m, join_s=1.0, k=1.0)


BUNDLE = Thresholds(score=calibrated(10.0, 2.0), map=calibrated(100.0, 20.0))


def learned(middle: float, spread: float, *, count: int = 50, since_ns: int = 0, same_view: bool = True) -> Thresholds:
    """After frames of which the maps are ten times the scores."""
    thresholds = SceneThresholds("graph", BUNDLE, None)
    for number, score in enumerate(middle + spread * np.linspace(-1, 1, count)):
        thresholds.note(number * NS, float(score), 10 * float(score))
    thresholds.learn(since_ns, same_view=same_view)
    return thresholds.now


def test_above_the_median_lies_the_larger_of_the_two_distances() -> None:
    narrow, wide = learned(30.0, 0.5), learned(30.0, 8.0)
    assert narrow.score.threshold == pytest.approx(30 + BUNDLE.score.threshold - 10)
    assert narrow.map.threshold == pytest.approx(300 + BUNDLE.map.threshold - 100)
    assert wide.score.threshold == pytest.approx(30 + 2 * (BUNDLE.score.threshold - 10))
    assert {each.grade for each in (narrow.score, narrow.map, wide.score)} == {Grade.PROVISIONAL}


def test_a_threshold_is_never_lower_than_the_bundles() -> None:
    assert learned(5.0, 1.0) == BUNDLE


@pytest.mark.parametrize("given", [{"same_view": False}, {"count": 7}, {"since_ns": 45 * NS}])
def test_another_view_or_too_few_frames_leave_the_bundles(given: dict[str, int]) -> None:
    assert learned(30.0, 1.0, **given) == BUNDLE


@pytest.mark.parametrize(("in_score", "in_map"), [(1, 1), (1, 0), (0, 1)])
def test_who_walks_by_while_a_scene_is_learned_does_not_count(in_score: int, in_map: int) -> None:
    thresholds = SceneThresholds("graph", BUNDLE, None)
    for number in range(100):
        odd = 500.0 * (40 <= number < 46)
        thresholds.note(number * NS, 30.0 + 0.01 * (number % 7) + in_score * odd, 300.0 + in_map * odd)
    thresholds.learn(0, same_view=True)
    assert thresholds.now.score.threshold == pytest.approx(30 + BUNDLE.score.threshold - 10, abs=0.1)
    assert thresholds.now.map.threshold == pytest.approx(300 + BUNDLE.map.threshold - 100, abs=0.1)


def test_of_a_long_time_scores_are_kept_evenly() -> None:
    thresholds = SceneThresholds("graph", BUNDLE, None)
    for number in range(100_000):
        thresholds.note(number * NS, 30.0 + number * 1e-4, 300.0)
    assert len(thresholds._scores) <= MOST_SCORES
    thresholds.learn(0, same_view=True)
    assert thresholds.scene.score.median == pytest.approx(35.0, abs=0.1)


def test_reading_time_that_runs_backwards_does_no_harm() -> None:
    thresholds = SceneThresholds("graph", BUNDLE, None)
    for number in [*range(20), *range(20)][::-1]:
        thresholds.note(number * NS, 30.0 + number, 300.0)
    thresholds.learn(0, same_view=True)
    assert thresholds.now.score.median == 39.5


def test_what_an_open_event_shows_does_not_count_but_of_parts_nothing_goes_on() -> None:
    values = np.zeros((4, 8), np.float32)
    values[1, 2], values[3, 7] = 500.0, 50.0
    for rule, strongest in (
        (DecisionRule(n=1, m=1, hold_off_s=5.0), 50.0),
        (DecisionRule(n=1, m=1, hold_off_s=0.0), 500.0),
    ):
        one = calibrated(100.0, 20.0, m=1)
        settings = LocalisationSettings()
        watch = MapWatch(
            Thresholds(score=one, map=one), rule, 1.0, lambda: "event", settings=settings, stage=Stage.NETWORK
        )
        assert watch.strongest(0.0, values) == 500.0
        watch.see(NS, 0.0, values)
        assert watch.open_events()
        assert watch.strongest(0.0, values) == strongest


def test_what_was_kept_serves_the_same_graph_and_rule_alone() -> None:
    kept = SceneScores(sha256="graph", score=calibrated(30.0, 2.0), map=calibrated(300.0, 20.0))
    assert SceneScores.from_dict(kept.to_dict()) == kept
    assert SceneThresholds("graph", BUNDLE, kept).now.score.median == 30.0
    assert SceneThresholds("another", BUNDLE, kept).now == BUNDLE
    assert SceneThresholds("graph", BUNDLE, replace(kept, map=calibrated(300.0, 20.0, m=5))).now == BUNDLE


def test_what_was_kept_is_dropped_where_it_gives_no_threshold() -> None:
    kept = SceneScores(sha256="graph", score=calibrated(1e303, 1e303), map=calibrated(300.0, 20.0))
    asked = Thresholds(score=BUNDLE.score.at(k=1e6), map=BUNDLE.map)
    assert SceneThresholds("graph", asked, kept).now == asked


def test_the_factor_that_the_device_asks_now_counts() -> None:
    kept = SceneScores(sha256="graph", score=calibrated(30.0, 2.0), map=calibrated(300.0, 20.0))
    asked = Thresholds(score=BUNDLE.score.at(k=3.0), map=BUNDLE.map.at(k=3.0))
    plain, larger = (SceneThresholds("graph", each, kept).now.score.threshold for each in (BUNDLE, asked))
    assert larger - 30 == pytest.approx(3 * (plain - 30), rel=0.01)
