"""Frames to decisions, with a scorer that does what a test says: health, scene, network, objects, faults."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_agent.contract import strict_json
from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.decision import DecisionRule, OpenEvent
from edge_agent.contract.frames import Frame, FrameScore
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import NS, Decision, Fault, Life, Stage, Unknown
from edge_agent.contract.zones import Zone
from edge_agent.errors import ScoringError
from edge_agent.vision.cadence import Cadence
from edge_agent.vision.camera_health import CameraCheck, CameraFault, CameraHealth, CameraHealthSettings
from edge_agent.vision.frame_pipeline import FrameDecision, FramePipeline, Network
from edge_agent.vision.frame_prefilter import FramePrefilter, FramePrefilterSettings
from edge_agent.vision.map_watch import MapWatch, Thresholds
from edge_agent.vision.regions import LocalisationSettings
from edge_agent.vision.scene_model import SceneModel

SIZE, CELLS = (48, 64), (4, 8)
"""Of the frames and maps, height and width."""
SCORE_LIMIT, MAP_LIMIT = 10.0, 100.0
CLASSES = ("dent", "scratch")
RULE = DecisionRule(n=2, m=3, hold_off_s=5.0)
LEARN = FramePrefilterSettings(learn_frames=10, learn_s=0.0, rule=RULE)
ROOM = np.random.default_rng(0).uniform(50, 150, (*SIZE, 1)) * np.ones(3)


def calibrated(threshold: float) -> Calibration:
    """Median 0, 2 of 3."""
    t_ns = np.arange(100, dtype=np.int64) * NS
    return calibrate(np.linspace(-1, 1, 100), t_ns, alarms_per_day=1, n=2, m=3, join_s=1, k=1).with_threshold(threshold)


def spot(row: int = 1, column: int = 2, value: float = 2 * MAP_LIMIT) -> np.ndarray:
    """A map with one strange cell."""
    cells = np.zeros(CELLS, np.float32)
    cells[row, column] = value
    return cells


class Answers:
    """A `FrameScorer` that gives these scores, with maps and kinds where told, then normal ones; errors are raised."""

    def __init__(self, *answers: Any, streaming: bool = False, has_map: bool = True) -> None:
        self.answers = iter(answers)
        self.streaming, self.frame_shape = streaming, SIZE
        self.has_map = has_map
        self.seen: list[np.ndarray] = []
        self.resets = 0

    def score(self, pixels: np.ndarray) -> FrameScore:
        assert pixels.shape[:2] == self.frame_shape
        self.seen.append(pixels)
        answer = next(self.answers, 0.0)
        if isinstance(answer, Exception):
            raise answer
        value, cells, kinds = (*(answer if isinstance(answer, tuple) else (answer,)), None, None)[:3]
        if cells is None:
            cells = np.zeros(CELLS, np.float32)
        return FrameScore(value=value, map=cells if self.has_map else None, kinds=kinds)

    def reset(self) -> None:
        self.resets += 1

    def describe(self) -> dict[str, str | int]:
        return {}

    def infer_p95_ms(self) -> float | None:
        return None


class Camera:
    """A camera before a still room, a frame a second."""

    def __init__(
        self,
        scorer: Answers | None = None,
        *,
        prefilter: FramePrefilterSettings | None = None,
        zones: tuple[Zone, ...] = (),
        masks: Any = (),
        warm_up: int = 0,
        scene: SceneModel | None = None,
        **given: Any,
    ) -> None:
        numbers = itertools.count(1)
        self.new_id: Callable[[], str] = lambda: f"event-{next(numbers)}"
        localisation = LocalisationSettings(zones=zones, masks=masks)
        network = None
        if scorer:
            of_map = calibrated(MAP_LIMIT if scorer.has_map else SCORE_LIMIT)
            network = Network(
                scorer=scorer,
                watch=MapWatch(
                    Thresholds(score=calibrated(SCORE_LIMIT), map=of_map),
                    RULE,
                    1.0,
                    self.new_id,
                    settings=localisation,
                    stage=Stage.NETWORK,
                    classes=CLASSES,
                ),
                cadence=Cadence(1.0, warm_up) if scorer.streaming else None,
            )
        self.pipeline = FramePipeline(
            health=CameraHealth(CameraHealthSettings(learn_frames=5, confirm_s=2.0)),
            prefilter=FramePrefilter(prefilter, scene) if prefilter else None,
            network=network,
            rule=RULE,
            new_id=self.new_id,
            localisation=localisation,
            **given,
        )
        self.rng = np.random.default_rng(1)
        self.t_ns, self.number = 1_000 * NS, 0
        self.told: list[tuple[str, str, str]] = []

    def frame(self, light: float = 1.0, thing: bool = False) -> np.ndarray:
        image = light * ROOM + self.rng.normal(0, 1, ROOM.shape)
        if thing:
            image[16:40, 32:56] = 250.0
        return np.clip(image, 0, 255).astype(np.uint8)

    def see(self, count: int = 1, pixels: np.ndarray | None = None, **given: Any) -> FrameDecision:
        """Feed frames; return the last decision."""
        for _ in range(count):
            decided = self.feed(self.frame(**given) if pixels is None else pixels)
            assert decided is not None
        return decided

    def feed(self, pixels: np.ndarray, step_s: float = 1.0) -> FrameDecision | None:
        self.t_ns += round(step_s * NS)
        self.number += 1
        decided = self.pipeline.feed(Frame(pixels=pixels, t_ns=self.t_ns, number=self.number, source="test"))
        if decided:
            self.note(decided)
        return decided

    def lose(self) -> Decision:
        """No frames come."""
        decided = self.pipeline.unknown(Unknown(t_ns=self.t_ns + 1, fault=Fault.NO_DATA, detail="silent"))
        self.note(decided)
        return decided.decision

    def note(self, decided: FrameDecision) -> None:
        self.told += [(step.id, str(step.kind), str(step.life)) for step in decided.decision.transitions]


# The network.


def test_a_frame_below_the_thresholds_is_off() -> None:
    last = Camera(Answers(9.0)).see().decision
    assert (last.anomaly, last.fault, last.score, last.stage) == (False, None, 9.0, Stage.NETWORK)
    assert last.level == pytest.approx(0.5, abs=0.05)


def test_a_region_of_the_map_n_of_m_times_is_an_anomaly_with_its_place() -> None:
    camera = Camera(Answers((0.0, spot()), (0.0, spot())))
    last = camera.see(2)
    assert camera.told == [("event-1", "anomaly", "open")]
    assert last.decision.anomaly is True
    assert last.where["event-1"].box == (2 / 8, 1 / 4, 3 / 8, 2 / 4)
    assert last.map is not None
    assert last.pixels is not None


def kinds(row: int = 1, column: int = 2, *, shape: tuple[int, int] = CELLS) -> np.ndarray:
    """Probabilities of two classes, of which the second is likelier at one cell."""
    shares = np.full((*shape, 2), (0.9, 0.1), np.float32)
    shares[row, column] = 0.2, 0.8
    return shares


def test_an_anomaly_is_of_the_kind_that_the_graph_tells_where_it_is() -> None:
    camera = Camera(Answers(*[(0.0, spot(), kinds())] * 2))
    found = camera.see(2).where["event-1"]
    assert (found.kind, found.kind_score) == ("scratch", pytest.approx(0.8))


def test_where_only_the_score_is_strange_the_kind_is_that_of_the_strongest_cell() -> None:
    camera = Camera(Answers(*[(11.0, spot(2, 3, MAP_LIMIT / 2), kinds(2, 3))] * 2))
    found = camera.see(2).where["event-1"]
    assert (found.area, found.kind, found.kind_score) == (1.0, "scratch", pytest.approx(0.8))


def test_without_a_map_the_kind_is_that_of_the_frame() -> None:
    camera = Camera(Answers(*[(11.0, None, kinds(0, 0, shape=(1, 1)))] * 2, has_map=False))
    found = camera.see(2).where["event-1"]
    assert (found.area, found.kind, found.kind_score) == (1.0, "scratch", pytest.approx(0.8))


def test_an_event_closes_when_its_object_has_gone() -> None:
    camera = Camera(Answers((0.0, spot()), (0.0, spot())))
    last = camera.see(15).decision
    assert camera.told[-1] == ("event-1", "anomaly_cleared", "close")
    assert last.anomaly is False


def test_two_things_at_once_are_two_events() -> None:
    camera = Camera(Answers(*[(0.0, spot(0, 0) + spot(3, 7))] * 2))
    last = camera.see(2)
    assert [step for _, *step in camera.told] == [["anomaly", "open"]] * 2
    assert {region.box[0] for region in last.where.values()} == {0.0, 7 / 8}


def test_a_score_above_its_threshold_without_a_region_stands_for_the_whole_frame() -> None:
    camera = Camera(Answers(20.0, 20.0))
    last = camera.see(2)
    region = last.where["event-1"]
    assert (region.box, region.area) == ((0.0, 0.0, 1.0, 1.0), 1.0)
    assert region.score == pytest.approx(2 * MAP_LIMIT, rel=0.01)


CORNER = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5))


@pytest.mark.parametrize(
    "where", [{"masks": (CORNER,)}, {"zones": (Zone(name="belt", polygon=CORNER, factor=5.0),)}], ids=["mask", "zone"]
)
def test_a_score_that_a_masked_or_zoned_part_made_is_no_anomaly(where: dict[str, Any]) -> None:
    camera = Camera(Answers(*[(20.0, spot(0, 0))] * 5), **where)
    assert camera.see(5).decision.anomaly is False


def test_a_masked_cell_that_is_no_number_hides_no_strange_score() -> None:
    cells = spot(value=MAP_LIMIT / 2)
    cells[0, 0] = np.nan
    mask = ((0.0, 0.0), (0.1, 0.0), (0.1, 0.1), (0.0, 0.1))
    camera = Camera(Answers(*[(2 * SCORE_LIMIT, cells)] * 5), masks=(mask,))
    assert camera.see(5).decision.anomaly is True


def test_a_zone_has_its_own_threshold_and_its_name_is_told() -> None:
    zone = Zone(name="belt", polygon=CORNER, factor=0.5)
    camera = Camera(Answers(*[(0.0, spot(0, 0, 0.7 * MAP_LIMIT))] * 2), zones=(zone,))
    assert camera.see(2).where["event-1"].zone == "belt"


def test_a_graph_without_a_map_is_decided_by_its_score() -> None:
    camera = Camera(Answers(9.0, 11.0, 11.0, has_map=False))
    decisions = [camera.see().decision for _ in range(3)]
    assert [each.anomaly for each in decisions] == [False, False, True]
    assert camera.see(10).decision.anomaly is False


def test_frames_are_brought_to_the_size_of_the_graph() -> None:
    scorer = Answers()
    scorer.frame_shape = (24, 32)
    Camera(scorer).see()
    assert scorer.seen[0].shape == (24, 32, 3)


# How often the camera itself is looked at.


class Doubted(CameraHealth):
    """Counts what it is fed, and once told to suspects the camera, whatever it shows."""

    fed, doubts = 0, False

    def feed(self, pixels: np.ndarray, t_ns: int) -> CameraCheck:
        self.fed += 1
        check = super().feed(pixels, t_ns)
        return replace(check, suspected=CameraFault.DEFOCUSED) if self.doubts else check


def well_watched(scorer: Answers, **given: Any) -> tuple[Camera, Doubted]:
    """A camera whose view and scene are learned, and its health."""
    camera = Camera(scorer, **given)
    health = camera.pipeline.health = Doubted(CameraHealthSettings(learn_frames=5, confirm_s=2.0))
    camera.see(20)
    health.fed = 0
    return camera, health


def fed(camera: Camera, health: Doubted, seconds: int, **given: Any) -> int:
    """Frames of which the camera is looked at, of ten a second."""
    for _ in range(10 * seconds):
        camera.feed(camera.frame(**given), 0.1)
    return health.fed


def test_a_camera_is_looked_at_twice_a_second_while_nothing_stands_out() -> None:
    assert 10 <= fed(*well_watched(Answers(), prefilter=LEARN), 5) <= 15


def test_it_is_looked_at_in_each_frame_in_which_something_stands_out() -> None:
    assert fed(*well_watched(Answers(), prefilter=LEARN), 5, thing=True) == 50


def test_it_is_looked_at_in_each_frame_without_a_scene_or_without_a_network() -> None:
    assert fed(*well_watched(Answers()), 2) == 20
    alone = Camera(prefilter=LEARN)
    health = alone.pipeline.health = Doubted(CameraHealthSettings(learn_frames=5))
    alone.see(20)
    assert fed(alone, health, 2) == 40


def test_light_that_goes_out_between_two_looks_is_dark_and_no_other_scene() -> None:
    camera, _ = well_watched(Answers(), prefilter=LEARN)
    camera.feed(camera.frame(), 0.1)
    decided = [camera.feed(camera.frame(light=0.05), 0.1) for _ in range(22)]
    assert [each.decision.fault for each in decided if each] == [Fault.NOT_READY] * 20 + [Fault.CAMERA] * 2
    assert [step for _, *step in camera.told] == [["sensor_fault", "open"]]


def test_what_the_network_finds_in_a_quiet_frame_is_held_against_the_camera_first() -> None:
    camera, health = well_watched(Answers(*[0.0] * 21, *[(0.0, spot())] * 4), prefilter=LEARN)
    camera.feed(camera.frame(), 0.1)
    health.doubts = True
    decided = [camera.feed(camera.frame(), 0.1) for _ in range(4)]
    assert [each.decision.fault for each in decided if each] == [Fault.NOT_READY] * 4
    assert camera.told == []


# The network fails.


@pytest.mark.parametrize(
    "failure", [ScoringError("it went away"), (float("nan"), spot()), (0.0, np.full(CELLS, np.nan, np.float32))]
)
def test_a_network_that_fails_leaves_the_scene_deciding_under_the_fault_model(failure: Any) -> None:
    camera = Camera(Answers(*[0.0] * 10, failure), prefilter=LEARN)
    camera.see(10)
    last = camera.see().decision
    assert (last.anomaly, last.fault, last.stage) == (False, Fault.MODEL, Stage.PREFILTER)
    assert camera.told == [("event-1", "model_fault", "open")]
    assert camera.pipeline.counts.model_failures == 1


def test_the_scene_alone_finds_an_object_while_the_network_fails_and_its_event_closes_later() -> None:
    camera = Camera(Answers(*[0.0] * 10, *[ScoringError("broken")] * 4), prefilter=LEARN)
    camera.see(10)
    last = camera.see(4, thing=True)
    assert (last.decision.anomaly, last.decision.fault) == (True, Fault.MODEL)
    (region,) = [last.where[id_] for id_ in last.where] or [None]
    assert region is None or region.box[0] == pytest.approx(0.5, abs=0.1)
    camera.see(15)
    assert [kind for _, kind, life in camera.told if life == "close"] == ["model_fault", "anomaly_cleared"]


def test_masks_that_leave_nothing_of_the_map_are_a_model_fault_that_says_so() -> None:
    most = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.99), (0.0, 0.99))
    decision = Camera(Answers(), masks=(most,)).see().decision
    assert (decision.anomaly, decision.fault) == (None, Fault.MODEL)
    assert "leave something to watch" in decision.detail


def test_a_network_that_fails_before_the_scene_is_known_is_unknown() -> None:
    camera = Camera(Answers(ScoringError("broken")), prefilter=LEARN)
    last = camera.see().decision
    assert (last.anomaly, last.fault, last.detail) == (None, Fault.MODEL, "broken")


def test_a_network_that_fails_without_a_prefilter_is_unknown() -> None:
    last = Camera(Answers(ScoringError("broken"))).see().decision
    assert (last.anomaly, last.fault) == (None, Fault.MODEL)


def test_no_network_where_there_should_be_one_is_a_model_fault_even_while_learning() -> None:
    camera = Camera(prefilter=LEARN, model_problem="no graph loads")
    first = camera.see().decision
    assert (first.anomaly, first.fault) == (None, Fault.MODEL)
    assert first.detail.startswith("no graph loads; learning the scene: 1 of 10")
    last = camera.see(10).decision
    assert (last.anomaly, last.fault, last.detail) == (False, Fault.MODEL, "no graph loads")


# The scene.


def test_without_a_network_the_scene_is_learned_and_then_watched_with_regions() -> None:
    camera = Camera(prefilter=LEARN)
    assert {camera.see().decision.fault for _ in range(10)} == {Fault.CALIBRATING}
    assert camera.see().decision.anomaly is False
    last = camera.see(2, thing=True)
    assert camera.told == [("event-1", "anomaly", "open")]
    left, top, right, bottom = last.where["event-1"].box
    assert (left, top) == pytest.approx((0.5, 1 / 3), abs=0.06)
    assert (right, bottom) == pytest.approx((7 / 8, 5 / 6), abs=0.06)
    assert last.decision.stage is Stage.PREFILTER
    assert camera.pipeline.calibration.grade == "provisional"


def test_a_network_decides_while_the_scene_is_still_learned() -> None:
    camera = Camera(Answers((0.0, spot()), (0.0, spot())), prefilter=LEARN)
    assert camera.see(2).decision.anomaly is True


def test_another_scene_is_unknown_to_the_network_too_and_heals() -> None:
    camera = Camera(Answers(*[0.0] * 11, 2 * SCORE_LIMIT), prefilter=LEARN)
    camera.see(11)
    scored = camera.pipeline.counts.scored
    last = camera.see(light=0.5).decision
    assert (last.anomaly, last.fault, camera.pipeline.counts.scored) == (None, Fault.SCENE, scored)
    assert camera.see(10, light=0.5).decision.anomaly is False
    camera.see(10, light=0.5)
    assert [step for _, *step in camera.told] == [["scene_changed", "open"], ["scene_changed", "close"]]


class KnowsOneLight(Answers):
    """Finds a frame the stranger the more its light is another; bright things on top of that."""

    def score(self, pixels: np.ndarray) -> FrameScore:
        super().score(pixels)
        light = float(np.median(pixels / ROOM))
        cells = np.full(CELLS, 5 * MAP_LIMIT * abs(1 - light), np.float32)
        cells[1, 5] += 3 * MAP_LIMIT * float(pixels.max() > 220)
        return FrameScore(value=5 * SCORE_LIMIT * abs(1 - light), map=cells)


def test_a_network_that_knows_another_light_goes_by_what_it_gives_in_this_one() -> None:
    camera = Camera(KnowsOneLight(), prefilter=LEARN)
    camera.see(11)
    assert camera.see(11, light=0.5).decision.anomaly is False
    score, of_map = camera.pipeline.network.watch.thresholds.score, camera.pipeline.calibration
    assert (score.threshold, of_map.threshold) == pytest.approx((3.5 * SCORE_LIMIT, 3.5 * MAP_LIMIT), rel=0.05)
    assert of_map.grade == "provisional"
    last = camera.see(3, light=0.5, thing=True)
    assert last.decision.anomaly is True
    assert len(last.regions) == 1
    assert camera.see(10, light=0.5).decision.anomaly is False
    camera.see(10)
    assert camera.see().decision.anomaly is False
    assert camera.pipeline.calibration.threshold == MAP_LIMIT


def test_a_network_is_believed_where_the_view_is_another() -> None:
    camera = Camera(Answers(*[0.0] * 11, *[(0.0, spot())] * 100), prefilter=LEARN)
    camera.see(11)
    smoke = np.random.default_rng(5).integers(0, 250, (*SIZE, 3)).astype(np.uint8)
    smoky = [np.roll(smoke, number % 2, axis=2) for number in range(13)]
    assert camera.see(pixels=smoky[0]).decision.fault is Fault.SCENE
    assert [camera.see(pixels=each) for each in smoky][-1].decision.anomaly is True
    assert camera.pipeline.calibration.threshold == MAP_LIMIT


def test_what_a_network_gave_for_a_scene_that_did_not_stay_is_dropped() -> None:
    camera = Camera(KnowsOneLight(), prefilter=LEARN)
    camera.see(11)
    camera.see(5, light=0.4)
    camera.see(2)
    assert camera.pipeline.calibration.threshold == MAP_LIMIT
    camera.t_ns -= 900 * NS
    camera.see(11, light=0.5)
    assert camera.pipeline.calibration.threshold == pytest.approx(3.5 * MAP_LIMIT, rel=0.05)


def test_light_that_went_out_and_comes_on_a_little_lower_is_another_scene() -> None:
    camera = Camera(KnowsOneLight(), prefilter=LEARN)
    camera.see(20)
    camera.see(10, pixels=np.zeros((*SIZE, 3), np.uint8))
    told = [camera.see(light=0.72).decision for _ in range(40)]
    assert not any(each.anomaly for each in told)
    assert Fault.SCENE in {each.fault for each in told}
    assert told[-1].fault is None


def test_a_network_that_fails_in_a_new_scene_costs_its_thresholds_alone() -> None:
    camera = Camera(Answers(*[0.0] * 11, *[ScoringError("broken")] * 10), prefilter=LEARN)
    camera.see(11)
    assert camera.see(11, light=0.5).decision.anomaly is False
    assert camera.pipeline.counts.model_failures == 10
    assert camera.pipeline.calibration.threshold == MAP_LIMIT


def test_an_object_that_stays_while_the_light_changes_stays_an_anomaly() -> None:
    camera = Camera(KnowsOneLight(), prefilter=LEARN)

    def see(count: int, light: float = 1.0) -> Decision:
        for _ in range(count):
            pixels = camera.frame(light)
            pixels[12:24, 40:48] = 250
            last = camera.see(pixels=pixels).decision
        return last

    camera.see(11)
    assert see(5).anomaly is True
    see(11, light=0.5)
    assert camera.pipeline.calibration.threshold == pytest.approx(3.5 * MAP_LIMIT, rel=0.05)
    assert see(5, light=0.5).anomaly is True
    assert ["anomaly", "close"] not in [step for _, *step in camera.told]


def test_an_event_of_a_graph_without_a_map_leaves_the_bundles_threshold() -> None:
    answers = [0.0] * 11 + [2 * SCORE_LIMIT] * 50
    camera = Camera(Answers(*answers, has_map=False), prefilter=LEARN)
    camera.see(11)
    camera.see(4)
    assert camera.see(11, light=0.5).decision.anomaly is True
    assert camera.pipeline.calibration.threshold == SCORE_LIMIT


def test_time_that_steps_back_while_a_scene_is_learned_does_no_harm() -> None:
    camera = Camera(KnowsOneLight(), prefilter=LEARN)
    camera.see(11)
    camera.see(light=0.5)
    camera.t_ns -= 900 * NS
    assert camera.see(11, light=0.5).decision.anomaly is False
    assert camera.pipeline.calibration.threshold == pytest.approx(3.5 * MAP_LIMIT, rel=0.05)


def test_a_streaming_graph_that_fails_in_a_new_scene_begins_anew() -> None:
    scorer = Answers(*[0.0] * 11, ScoringError("broken"), streaming=True)
    camera = Camera(scorer, prefilter=LEARN)
    camera.see(11)
    camera.see(3, light=0.5)
    assert scorer.resets == 2


def test_a_streaming_graph_sees_a_new_scene_without_a_break() -> None:
    scorer = KnowsOneLight(streaming=True)
    camera = Camera(scorer, prefilter=LEARN, warm_up=2)
    camera.see(11)
    camera.see(10, light=0.5)
    assert scorer.resets == 1
    assert camera.see(light=0.5).decision.anomaly is False
    assert camera.pipeline.calibration.threshold > 3 * MAP_LIMIT


def test_a_restart_goes_on_with_the_thresholds_of_the_scene() -> None:
    camera = Camera(KnowsOneLight(), prefilter=LEARN)
    camera.see(11)
    camera.see(11, light=0.5)
    model = SceneModel.from_npz(camera.pipeline.prefilter.model.to_bytes())
    again = Camera(KnowsOneLight(), prefilter=LEARN, scene=model)
    assert again.pipeline.calibration == camera.pipeline.calibration
    assert again.see(5, light=0.5).decision.anomaly is False
    other = replace(model, network=replace(model.network, sha256="another graph"))
    assert Camera(KnowsOneLight(), prefilter=LEARN, scene=other).pipeline.calibration.threshold == MAP_LIMIT


def test_camera_health_learns_its_reference_anew_with_another_scene() -> None:
    camera = Camera(Answers(), prefilter=LEARN)
    camera.see(11)
    before = camera.pipeline.health.reference
    camera.see(10, light=0.5)
    assert before is not None
    assert camera.pipeline.health.learning
    camera.see(6, light=0.5)
    assert camera.pipeline.health.reference is not before


def test_things_of_other_colours_that_pass_each_other_keep_their_events() -> None:
    rng, numbers = np.random.default_rng(0), itertools.count(1)
    room = rng.integers(90, 150, (60, 80, 1)).repeat(8, 0).repeat(8, 1) * np.ones(3)
    settings = FramePrefilterSettings(learn_frames=30, learn_s=0.0)
    pipeline = FramePipeline(
        health=CameraHealth(CameraHealthSettings()),
        prefilter=FramePrefilter(settings),
        network=None,
        rule=settings.rule,
        new_id=lambda: f"event-{next(numbers)}",
    )

    def see(number: int, pixels: np.ndarray) -> FrameDecision | None:
        noisy = np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)
        return pipeline.feed(Frame(pixels=noisy, t_ns=number * NS // 4, number=number, source="test"))

    opened = {}
    for number in range(40):
        see(number, room)
    for i in range(11):
        pixels, right, left = room.copy(), 20 + 48 * i, 560 - 48 * i
        pixels[160:220, right : right + 60] = (250, 20, 20)
        pixels[260:320, left : left + 60] = (20, 20, 120)
        opened |= {each: region.box[1] < 0.45 for each, region in see(40 + i, pixels).where.items()}
    now = {each.id: each.box[1] < 0.45 for each in pipeline.open_events()}
    assert len(now) == 2
    assert now == opened


def test_clear_frames_are_spared_the_network_but_one_in_max_skip_s() -> None:
    scorer = Answers()
    settings = FramePrefilterSettings(learn_frames=10, learn_s=0.0, rule=RULE, mode=Mode.GATE, max_skip_s=20.0)
    camera = Camera(scorer, prefilter=settings)
    camera.see(10)
    scored = len(scorer.seen)
    decisions = [camera.see().decision for _ in range(100)]
    assert 5 <= len(scorer.seen) - scored < 40
    clear = next(each for each in decisions if each.score is None)
    assert (clear.anomaly, clear.stage, clear.d2 is not None) == (False, Stage.PREFILTER, True)
    assert 0.5 < camera.pipeline.counts.skipped_share < 0.95


def test_frames_too_small_for_the_blocks_are_a_fault_that_says_what_to_do() -> None:
    camera = Camera(prefilter=LEARN)
    last = camera.see(pixels=camera.frame()[:20]).decision
    assert last.fault is Fault.CAMERA
    assert "larger size" in last.detail


# The camera.


@pytest.mark.parametrize("network", [True, False])
def test_a_dark_camera_is_a_camera_fault_and_no_anomaly(network: bool) -> None:
    camera = Camera(Answers() if network else None, prefilter=LEARN)
    camera.see(12)
    decisions = [camera.see(light=0.05).decision for _ in range(5)]
    assert [each.fault for each in decisions] == [Fault.NOT_READY] * 2 + [Fault.CAMERA] * 3
    assert {each.anomaly for each in decisions} == {None}
    assert "dark" in decisions[-1].detail
    camera.see(15)
    assert [step for _, *step in camera.told] == [["sensor_fault", "open"], ["sensor_ok", "close"]]


def test_no_frames_are_unknown_and_an_event_that_ends_with_the_next_ones() -> None:
    camera = Camera(Answers())
    camera.see()
    lost = camera.lose()
    assert (lost.anomaly, lost.fault) == (None, Fault.NO_DATA)
    assert camera.see(10).decision.anomaly is False
    assert [step for _, *step in camera.told] == [["sensor_fault", "open"], ["sensor_ok", "close"]]


def test_an_open_anomaly_stays_open_while_nothing_is_seen() -> None:
    camera = Camera(Answers(*[(0.0, spot())] * 3))
    camera.see(2)
    camera.lose()
    assert camera.see().decision.anomaly is True
    assert [life for _, kind, life in camera.told if kind.startswith("anomaly")] == ["open"]


# Streaming graphs.


def test_a_streaming_graph_warms_up_before_it_is_believed() -> None:
    camera = Camera(Answers(*[(0.0, spot())] * 9, streaming=True), warm_up=3)
    decisions = [camera.see().decision for _ in range(5)]
    assert [each.fault for each in decisions] == [Fault.NOT_READY] * 3 + [None] * 2
    assert [each.anomaly for each in decisions] == [None, None, None, False, True]


def test_a_streaming_graph_sees_a_fast_camera_at_its_own_pace() -> None:
    scorer = Answers(streaming=True)
    camera = Camera(scorer)
    decided = [camera.feed(camera.frame(), 0.2) for _ in range(50)]
    assert len(scorer.seen) == pytest.approx(10, abs=1)
    assert sum(each is not None for each in decided) == len(scorer.seen)
    assert scorer.resets == 1


def test_a_camera_too_slow_for_a_streaming_graph_is_a_fault_that_says_what_to_do() -> None:
    camera = Camera(Answers(*[(0.0, spot())] * 99, streaming=True), warm_up=2)
    for _ in range(10):
        decided = camera.feed(camera.frame(), 2.0)
    assert (decided.decision.anomaly, decided.decision.fault) == (None, Fault.CAMERA)
    assert "more a second" in decided.decision.detail
    assert camera.see(10).decision.fault is None
    assert [(kind, life) for _, kind, life in camera.told if kind.startswith("sensor")] == [
        ("sensor_fault", "open"),
        ("sensor_ok", "close"),
    ]


def test_a_streaming_graph_begins_anew_after_a_gap_and_after_a_failure() -> None:
    scorer = Answers(0.0, 0.0, 0.0, ScoringError("broken"), streaming=True)
    camera = Camera(scorer, warm_up=1)
    camera.see(2)
    camera.feed(camera.frame(), 5.0)
    assert scorer.resets == 2
    camera.see()
    assert camera.see().decision.fault is Fault.NOT_READY
    assert scorer.resets == 3


def test_a_streaming_graph_that_failed_begins_anew_where_the_scene_decides_meanwhile() -> None:
    scorer = Answers(*[0.0] * 12, ScoringError("broken"), streaming=True)
    camera = Camera(scorer, prefilter=LEARN)
    assert camera.see(13).decision.stage is Stage.PREFILTER
    assert scorer.resets == 1
    camera.see()
    assert scorer.resets == 2


def test_a_streaming_graph_is_never_gated() -> None:
    scorer = Answers(streaming=True)
    settings = FramePrefilterSettings(learn_frames=10, learn_s=0.0, rule=RULE, mode=Mode.GATE)
    Camera(scorer, prefilter=settings).see(40)
    assert len(scorer.seen) == 40


# Restarts.


def test_an_open_event_goes_on_with_its_id_after_a_restart() -> None:
    camera = Camera(Answers(*[(0.0, spot())] * 9))
    camera.see(2)
    stored = json.dumps([strict_json.plain(event) for event in camera.pipeline.open_events()])
    again = Camera(Answers(*[(0.0, spot())] * 3))
    again.pipeline.restore(strict_json.read(OpenEvent, each, "event") for each in json.loads(stored))
    assert again.see().decision.anomaly is True
    again.see(15)
    assert again.told == [("event-1", "anomaly_cleared", str(Life.CLOSE))]


def test_an_open_fault_is_closed_after_a_restart_once_the_camera_is_well() -> None:
    camera = Camera(Answers())
    camera.see()
    camera.lose()
    again = Camera(Answers())
    again.pipeline.restore(camera.pipeline.open_events())
    again.see(10)
    assert again.told == [("event-1", "sensor_ok", "close")]


def test_neither_prefilter_nor_network_is_refused() -> None:
    with pytest.raises(ValueError, match="got neither"):
        Camera()
