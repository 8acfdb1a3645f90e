"""The frame prefilter: a scene is learned and followed, an object in it stands out, another scene is said to be one."""

import dataclasses
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from edge_agent.contract import strict_json
from edge_agent.contract.arrays import read_npz, write_npz
from edge_agent.contract.calibration import calibrate
from edge_agent.contract.decision import OpenEvent
from edge_agent.contract.frames import LUMA_WEIGHTS, Frame
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import NS, Decision, EventKind, Fault, Life, Unknown
from edge_agent.errors import ManifestError
from edge_agent.vision.background import Background, unseen_looks
from edge_agent.vision.blocks import COLUMNS, ROWS, BlockReducer
from edge_agent.vision.camera_health import CameraCheck, CameraHealth
from edge_agent.vision.frame_pipeline import FramePipeline
from edge_agent.vision.frame_prefilter import (
    MAX_SKIP_S,
    FrameCheck,
    FramePrefilter,
    FramePrefilterSettings,
    SceneState,
)
from edge_agent.vision.regions import LocalisationSettings
from edge_agent.vision.scene_model import MOST_THRESHOLD, SceneModel
from edge_agent.vision.settings import VisionSettings

HEIGHT, WIDTH = 72, 96
RATE_HZ = 4
SETTINGS = FramePrefilterSettings(mode=Mode.GATE, learn_frames=40, learn_s=10.0)


class Scene:
    """A room with a bright half and a dark one, a bush that moves, and sensor noise; four frames a second."""

    def __init__(self, seed: int = 0, *, bush: bool = True) -> None:
        self.rng = np.random.default_rng(seed)
        self.room = self.rng.uniform(40, 90, (HEIGHT, WIDTH, 1)) + np.linspace(0, 80, WIDTH)[:, np.newaxis]
        self.bush = bush

    def frame(self, light: float = 1.0, *, thing: tuple[int, int] | None = None, shade: float = 10.0) -> np.ndarray:
        image = self.room.copy()
        if self.bush:
            image[:18, :18] = 40.0 if self.rng.random() < 0.5 else 160.0
        if thing is not None:
            y, x = thing
            image[y : y + 18, x : x + 18] = shade
        image = light * image + self.rng.normal(0, 2, (HEIGHT, WIDTH, 3))
        return np.clip(image, 0, 255).astype(np.uint8)


class Well(CameraHealth):
    """Finds nothing wrong with the camera."""

    def feed(self, pixels: np.ndarray, t_ns: int) -> CameraCheck:
        return CameraCheck(t_ns=t_ns)


class Camera:
    """Feeds one prefilter and decides by it alone."""

    def __init__(self, settings: FramePrefilterSettings = SETTINGS, model: SceneModel | None = None) -> None:
        self.prefilter = FramePrefilter(settings, model)
        numbers = itertools.count(1)
        self.watch = FramePipeline(
            health=Well(),
            prefilter=self.prefilter,
            network=None,
            rule=settings.rule,
            new_id=lambda: f"event-{next(numbers)}",
        )
        self.t_ns = 1_000 * NS
        self.told: list[tuple[str, str]] = []

    def shot(self, pixels: np.ndarray) -> Frame:
        return Frame(pixels=pixels, t_ns=self.t_ns, number=0, source="test")

    def see(self, *frames: np.ndarray, rate_hz: float = RATE_HZ) -> Decision:
        for frame in frames:
            self.t_ns += round(NS / rate_hz)
            decision = self.watch.feed(self.shot(frame)).decision
            self.told += [(each.kind.value, each.life.value) for each in decision.transitions]
        return decision

    def check(self, frame: np.ndarray) -> FrameCheck:
        self.t_ns += NS // RATE_HZ
        return self.prefilter.feed(self.shot(frame))


@pytest.fixture(scope="module")
def learned() -> SceneModel:
    """The scene, learned."""
    scene, camera = Scene(), Camera()
    camera.see(*(scene.frame() for _ in range(SETTINGS.learn_frames)))
    return camera.prefilter.model


@pytest.fixture
def scene() -> Scene:
    """The same room later."""
    scene = Scene()
    scene.rng = np.random.default_rng(1)
    return scene


@pytest.fixture
def camera(learned: SceneModel) -> Camera:
    """A camera that has learned the scene and sees it."""
    camera, scene = Camera(model=learned), Scene()
    camera.see(*(scene.frame() for _ in range(2)))
    return camera


def test_blocks_are_mean_luma_and_texture() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    luma, texture = BlockReducer(100, 150).features(frame)
    assert luma[0, 0] == pytest.approx((frame[:4, :5] @ np.array(LUMA_WEIGHTS)).mean(), rel=1e-5)
    assert luma[-1, -1] == pytest.approx((frame[96:, 145:] @ np.array(LUMA_WEIGHTS)).mean(), rel=1e-5)
    steps = np.abs(np.diff(frame[..., 1].astype(int), axis=1))
    assert texture[0, 0] == pytest.approx(steps[:4, :4].mean(), rel=1e-5)


@pytest.mark.parametrize("height", [24, 96, 120, 224, 480, 1080])
def test_texture_comes_from_five_rows_of_a_block_or_all_it_has_and_hardly_more(height: int) -> None:
    rng, reducer = np.random.default_rng(0), BlockReducer(height, 64)
    noisy = rng.integers(0, 255, (height, 64, 3), np.uint8)
    told = []
    for row in range(height):
        one = noisy.copy()
        one[row] = 0
        told.append(bool((reducer.features(one)[1] != reducer.features(noisy)[1]).any()))
    counts = [
        sum(told[begin:end]) for begin, end in itertools.pairwise(round(height * i / ROWS) for i in range(ROWS + 1))
    ]
    assert min(counts) >= min(5, height // ROWS)
    assert max(counts) <= 8


def test_a_frame_of_a_very_high_image_does_not_overflow() -> None:
    white = np.full((ROWS * 300, 2 * COLUMNS, 3), 255, np.uint8)
    assert BlockReducer(*white.shape[:2]).features(white)[0] == pytest.approx(255.0)


@pytest.mark.parametrize("shape", [(20, 96, 3), (72, 60, 3)])
def test_a_frame_with_fewer_pixels_than_blocks_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="larger size"):
        Camera().check(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("pixels", [np.zeros((72, 96), np.uint8), np.zeros((72, 96, 3), np.float32)])
def test_pixels_that_the_reducer_was_not_made_for_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected an RGB frame"):
        BlockReducer(72, 96).features(pixels)


def test_a_scene_is_unknown_until_it_is_learned(scene: Scene) -> None:
    camera = Camera()
    decisions = [camera.see(scene.frame()) for _ in range(SETTINGS.learn_frames)]
    assert {(one.anomaly, one.fault) for one in decisions} == {(None, Fault.CALIBRATING)}
    assert decisions[9].detail == "learning the scene: 10 of 40 frames"
    after = camera.see(scene.frame())
    assert (after.anomaly, after.fault) == (False, None)


def test_the_frame_that_completes_a_scene_says_so(scene: Scene) -> None:
    camera = Camera()
    told = [camera.check(scene.frame()).learned for _ in range(SETTINGS.learn_frames + 1)]
    assert np.flatnonzero(told).tolist() == [SETTINGS.learn_frames - 1]


def test_frames_to_learn_from_are_spread_over_the_time_asked_for(scene: Scene) -> None:
    camera = Camera()
    last = camera.see(*(scene.frame() for _ in range(SETTINGS.learn_frames)), rate_hz=40)
    assert last.detail == "learning the scene: 4 of 40 frames"


def test_normal_frames_give_no_event_and_are_mostly_skipped(scene: Scene, camera: Camera) -> None:
    camera.see(*(scene.frame() for _ in range(200)))
    assert camera.told == []
    assert camera.prefilter.skipped > 150


def test_an_object_opens_one_event_and_closes_it_when_it_has_gone(scene: Scene, camera: Camera) -> None:
    camera.see(*(scene.frame(thing=(40, 30 + i)) for i in range(20)))
    camera.see(*(scene.frame() for _ in range(60)))
    assert camera.told == [("anomaly", "open"), ("anomaly_cleared", "close")]


def test_a_single_odd_frame_opens_no_event_but_is_scored(scene: Scene, camera: Camera) -> None:
    camera.see(scene.frame())
    assert camera.check(scene.frame(thing=(40, 60))).must_score
    camera.see(*(scene.frame() for _ in range(10)))
    assert camera.told == []


def test_a_bush_that_moves_is_forgiven_what_a_wall_is_not(scene: Scene, camera: Camera) -> None:
    on_wall, in_bush = (camera.check(scene.frame(thing=at, shade=60.0)).look.d2 for at in ((50, 60), (0, 0)))
    limit = camera.prefilter.model.calibration.threshold
    assert in_bush < limit < on_wall


def test_a_wide_block_stays_wide_after_it_was_still_for_a_while(scene: Scene, camera: Camera) -> None:
    scene.bush = False
    scene.room[:18, :18] = 40.0
    camera.see(*(scene.frame() for _ in range(5 * 60 * RATE_HZ // 4)), rate_hz=RATE_HZ / 4)
    scene.bush = True
    camera.see(*(scene.frame() for _ in range(40)))
    assert camera.told == []


def test_where_an_object_is_can_be_seen_in_the_blocks(scene: Scene, camera: Camera) -> None:
    look = camera.check(scene.frame(thing=(42, 60))).look
    y, x = np.unravel_index(np.argmax(look.strangeness), look.strangeness.shape)
    assert (14 <= y < 20, 20 <= x < 26) == (True, True)


def test_slow_light_is_followed_as_far_as_it_goes(scene: Scene, camera: Camera) -> None:
    camera.see(*(scene.frame(light) for light in np.geomspace(1, 1.45, 150)), rate_hz=1)
    camera.see(*(scene.frame(light) for light in np.geomspace(1.45, 0.5, 300)), rate_hz=1)
    assert camera.told == []
    assert camera.prefilter.state is SceneState.WATCHING


@pytest.mark.parametrize("light", [0.8, 1.2])
def test_a_cloud_is_neither_an_object_nor_another_scene(scene: Scene, camera: Camera, light: float) -> None:
    camera.see(*(scene.frame(light) for _ in range(20)), *(scene.frame() for _ in range(20)))
    assert camera.told == []


@pytest.mark.parametrize("light", [0.3, 2.5])
def test_light_at_another_level_is_another_scene_from_its_first_frame_on_and_heals(
    scene: Scene, camera: Camera, light: float
) -> None:
    first = camera.see(scene.frame(light))
    assert (first.anomaly, first.fault) == (None, Fault.SCENE)
    told = re.fullmatch(
        r"light or view changed: light at (\d+) % of the usual, \d+ % of the picture strange; "
        r"learning the scene: 1 of 40 frames",
        first.detail,
    )
    assert told
    assert int(told[1]) == pytest.approx(100 * light, rel=0.2)
    camera.see(*(scene.frame(light) for _ in range(SETTINGS.learn_frames - 1)))
    healed = camera.see(scene.frame(light))
    assert (healed.anomaly, healed.fault) == (False, None)
    camera.see(*(scene.frame(light) for _ in range(60)))
    assert camera.told == [("scene_changed", "open"), ("scene_changed", "close")]


def test_a_scene_learned_anew_still_shows_objects(scene: Scene, camera: Camera) -> None:
    camera.see(*(scene.frame(0.4) for _ in range(SETTINGS.learn_frames + 1)))
    camera.see(*(scene.frame(0.4, thing=(40, 60), shade=200.0) for _ in range(5)))
    assert camera.told[-1] == ("anomaly", "open")


def test_a_turned_camera_is_another_scene_and_heals(camera: Camera) -> None:
    elsewhere = Scene(seed=1, bush=False)
    elsewhere.room = elsewhere.room[::-1, ::-1] * 0.9 + 20 * (np.arange(WIDTH) // 12 % 2)[:, np.newaxis]
    assert camera.see(elsewhere.frame()).fault is Fault.SCENE
    camera.see(*(elsewhere.frame() for _ in range(SETTINGS.learn_frames + 60)))
    assert camera.told == [("scene_changed", "open"), ("scene_changed", "close")]


def test_a_flash_goes_by_and_the_old_scene_goes_on(scene: Scene, camera: Camera) -> None:
    assert camera.see(scene.frame(3.0), scene.frame(3.0)).fault is Fault.SCENE
    assert camera.see(scene.frame()).anomaly is False
    assert "1 of 40" in camera.see(scene.frame(3.0)).detail
    assert camera.check(scene.frame()).must_score


def test_a_scene_at_the_limit_does_not_go_to_and_fro(scene: Scene, camera: Camera) -> None:
    states = [camera.check(scene.frame(light)).state for light in (1.4, 1.6, 1.4, 1.1)]
    assert states == ["watching", "scene_changed", "scene_changed", "watching"]


def test_after_a_stretch_that_nobody_saw_the_old_scene_must_be_clearly_back(
    scene: Scene, camera: Camera, learned: SceneModel
) -> None:
    assert camera.check(scene.frame(1.4)).state == "watching"
    camera.prefilter.away()
    assert camera.check(scene.frame(1.4)).state == "scene_changed"
    assert Camera(model=learned).check(scene.frame(0.7)).state == "scene_changed"
    back = Camera(model=learned)
    assert [back.check(scene.frame(light)).state for light in (1.1, 1.4)] == ["watching"] * 2


@pytest.mark.parametrize("light", [0.5, 1.8])
def test_a_scene_in_other_light_is_the_same_view_and_another_room_is_not(
    scene: Scene, camera: Camera, light: float
) -> None:
    checks = [camera.check(scene.frame(light)) for _ in range(SETTINGS.learn_frames)]
    assert [check.same_view for check in checks if check.learned] == [True]
    assert checks[-1].learned_since_ns == checks[0].t_ns
    elsewhere = Scene(seed=1, bush=False)
    checks = [camera.check(elsewhere.frame()) for _ in range(SETTINGS.learn_frames)]
    assert [check.same_view for check in checks if check.learned] == [False]


def test_a_scene_too_dark_to_tell_is_not_the_same_view_as_any() -> None:
    dark, lit = (Background(mean=np.full((2, 4, 4), level), variance=np.ones((2, 4, 4)), watched=np.ones((4, 4), bool))
                 for level in (4.0, 100.0))  # fmt: skip
    assert not dark.same_view(lit)
    assert lit.same_view(lit)


def test_light_that_falls_unevenly_is_still_light(scene: Scene, camera: Camera) -> None:
    uneven = np.linspace(1.16, 1.24, WIDTH)[:, np.newaxis]
    camera.see(*((scene.frame() * uneven).astype(np.uint8) for _ in range(20)))
    assert camera.told == []


def test_the_light_of_a_dark_scene_is_not_told_by_its_only_lamp() -> None:
    def lamp(level: int) -> np.ndarray:
        dark = np.full((HEIGHT, WIDTH, 3), 3, np.uint8)
        dark[:18, :18] = level
        return dark

    camera = Camera()
    camera.see(*[lamp(60)] * SETTINGS.learn_frames)
    assert camera.see(*[lamp(150)] * 5).anomaly is True
    assert camera.see(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).fault is Fault.SCENE


def test_a_flash_while_learning_does_not_blur_what_was_learned(scene: Scene, learned: SceneModel) -> None:
    camera, flash = Camera(), np.full((HEIGHT, WIDTH, 3), 250, np.uint8)
    camera.see(*(flash if i in {7, 23} else scene.frame() for i in range(SETTINGS.learn_frames)))
    usual, told = (np.median(model.background.variance) for model in (learned, camera.prefilter.model))
    assert told == pytest.approx(usual, rel=0.3)


def test_who_walked_by_while_learning_does_not_blind_the_watch(scene: Scene) -> None:
    camera = Camera()
    camera.see(*(scene.frame(thing=(40, 20) if i == 17 else None) for i in range(SETTINGS.learn_frames)))
    assert camera.see(*(scene.frame() for _ in range(10))).anomaly is False
    assert camera.see(*(scene.frame(thing=(20, 60)) for _ in range(5))).anomaly is True


def test_a_sensitivity_that_nothing_could_reach_is_brought_within_reach(learned: SceneModel) -> None:
    assert learned.calibrated(alarms_per_day=1.0, k=1e6).threshold == MOST_THRESHOLD


def test_a_scene_whose_normal_frames_are_as_strange_as_any_is_refused(learned: SceneModel) -> None:
    odd = calibrate(np.full(40, MOST_THRESHOLD), np.arange(40) * NS, alarms_per_day=1, n=3, m=5, join_s=1.0, k=5.0)
    with pytest.raises(ManifestError, match="did not hold still"):
        SceneModel.from_npz(dataclasses.replace(learned, calibration=odd).to_bytes())


def test_frames_are_measured_by_a_scene_that_was_learned_without_them() -> None:
    features = np.random.default_rng(0).normal(100, 10, (16, 2, ROWS, COLUMNS)).astype(np.float32)
    watched = np.ones((ROWS, COLUMNS), bool)
    background = Background.fit(features, watched)
    seen = [background.look(frame).strangeness.mean() for frame in features]
    unseen = [look.strangeness.mean() for look in unseen_looks(features, watched)]
    assert min(unseen) > max(seen)
    assert np.mean(unseen) > 1 > np.mean(seen)


def test_what_stands_there_is_still_news_after_an_outage(scene: Scene, camera: Camera) -> None:
    camera.see(*(scene.frame(thing=(40, 60)) for _ in range(5)))
    camera.t_ns += 86_400 * NS
    camera.see(*(scene.frame(thing=(40, 60)) for _ in range(2)))
    assert camera.check(scene.frame(thing=(40, 60))).look.share > 0.03


def test_a_scene_that_changes_while_it_is_learned_is_learned_from_its_later_half(scene: Scene) -> None:
    camera = Camera()
    camera.see(*(scene.frame(0.3) for _ in range(20)), *(scene.frame() for _ in range(20)))
    assert camera.prefilter.state is SceneState.CALIBRATING
    assert "did not hold still" in camera.see(scene.frame()).detail
    camera.see(*(scene.frame() for _ in range(20)))
    assert camera.prefilter.state is SceneState.WATCHING
    assert camera.prefilter.model.look(BlockReducer(HEIGHT, WIDTH).features(scene.frame())).light == pytest.approx(
        1, abs=0.1
    )


def test_what_comes_to_stay_is_news_for_minutes_and_taken_in_within_hours(scene: Scene, camera: Camera) -> None:
    camera.see(*(scene.frame(thing=(40, 60)) for _ in range(4)))
    assert camera.see(*(scene.frame(thing=(40, 60)) for _ in range(120)), rate_hz=0.5).anomaly is True
    quick = dataclasses.replace(SETTINGS, follow_s=5.0, forget_s=10.0)
    sped_up = Camera(quick, camera.prefilter.model)
    assert sped_up.see(*(scene.frame(thing=(40, 60)) for _ in range(250))).anomaly is False


def test_a_masked_part_is_left_out(scene: Scene) -> None:
    masks = (((0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0)),)
    camera = Camera(dataclasses.replace(SETTINGS, masks=masks))
    camera.see(*(scene.frame() for _ in range(SETTINGS.learn_frames)))
    camera.see(*(scene.frame(thing=at) for at in ((36, 48), (50, 70)) for _ in range(10)))
    assert camera.told == []
    camera.see(*(scene.frame(thing=(50, 10)) for _ in range(10)))
    assert camera.told == [("anomaly", "open")]


def test_masks_that_leave_nothing_are_refused() -> None:
    everything = (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),)
    with pytest.raises(ValueError, match="leave something to watch"):
        dataclasses.replace(SETTINGS, masks=everything)


def test_masks_of_scene_and_map_that_together_leave_nothing_are_refused() -> None:
    left, right = (((x, 0.0), (x + 0.5, 0.0), (x + 0.5, 1.0), (x, 1.0)) for x in (0.0, 0.5))
    with pytest.raises(ValueError, match="leave something to watch"):
        VisionSettings(
            prefilter=FramePrefilterSettings(masks=(left,)), localisation=LocalisationSettings(masks=(right,))
        )


def test_at_least_one_frame_in_max_skip_s_is_scored(scene: Scene, camera: Camera) -> None:
    scored = [camera.check(scene.frame()).must_score for _ in range(200)]
    waits = np.diff(np.flatnonzero(scored))
    assert waits.max() == MAX_SKIP_S * RATE_HZ


def test_the_first_frame_after_an_unknown_stretch_is_scored(scene: Scene, camera: Camera) -> None:
    camera.see(*(scene.frame() for _ in range(20)))
    camera.watch.unknown(Unknown(t_ns=camera.t_ns, fault=Fault.NO_DATA))
    assert camera.check(scene.frame()).must_score


def test_nothing_is_skipped_unless_it_gates(scene: Scene, camera: Camera) -> None:
    watching = Camera(dataclasses.replace(SETTINGS, mode=Mode.WATCH), camera.prefilter.model)
    assert all(watching.check(scene.frame()).must_score for _ in range(40))


def test_a_still_picture_does_not_alarm_on_a_flicker() -> None:
    still = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    camera = Camera()
    camera.see(*[still] * (SETTINGS.learn_frames + 1), *[still + np.uint8(2)] * 10)
    assert camera.told == []


def test_reading_time_that_runs_backwards_does_no_harm(scene: Scene) -> None:
    camera = Camera()
    camera.see(*(scene.frame() for _ in range(20)))
    camera.t_ns -= 500 * NS
    camera.see(*(scene.frame() for _ in range(25)))
    camera.check(scene.frame())
    camera.t_ns -= 500 * NS
    assert camera.check(scene.frame()).must_score
    assert not camera.check(scene.frame()).must_score


def test_another_frame_size_is_taken(scene: Scene, camera: Camera) -> None:
    larger = np.repeat(np.repeat(scene.frame(), 2, axis=0), 2, axis=1)
    assert camera.see(larger).t_ns == camera.t_ns


def test_a_scene_is_followed_twice_a_second_and_as_far_at_any_rate(scene: Scene, learned: SceneModel) -> None:
    light, seconds = 1.1, 30
    followed = {}
    for rate_hz in (1, 4, 25):
        camera = Camera(model=learned)
        models = []
        for _ in range(seconds * rate_hz):
            camera.see(scene.frame(light), rate_hz=rate_hz)
            models.append(camera.prefilter.model)
        taken = sum(before is not after for before, after in itertools.pairwise([learned, *models]))
        assert taken <= 2 * seconds + 1
        followed[rate_hz] = models[-1].background.mean[0].mean() / learned.background.mean[0].mean() - 1
    assert followed[4] == pytest.approx(followed[25], rel=0.1)
    assert followed[4] == pytest.approx(followed[1], rel=0.1)
    assert followed[4] == pytest.approx((light - 1) * (1 - np.exp(-seconds / SETTINGS.follow_s)), rel=0.2)


def test_a_restart_goes_on_watching_with_what_was_learned(scene: Scene, camera: Camera, tmp_path: Path) -> None:
    camera.see(*(scene.frame(thing=(40, 60)) for _ in range(5)))
    path = tmp_path / "scene.npz"
    path.write_bytes(camera.prefilter.model.to_bytes())
    events = json.dumps([strict_json.plain(event) for event in camera.watch.open_events()])
    again = Camera(model=SceneModel.load(path))
    assert SceneModel.load(path).to_bytes() == path.read_bytes()
    again.watch.restore(strict_json.read(OpenEvent, each, "event") for each in json.loads(events))
    decision = again.see(*(scene.frame(thing=(40, 60)) for _ in range(5)))
    assert decision.anomaly is True
    assert again.told == []
    assert again.watch.open_events()[0].kind is EventKind.ANOMALY


def test_the_first_event_after_learning_has_the_life_of_any_event(scene: Scene, camera: Camera) -> None:
    camera.t_ns += NS
    decision = camera.see(*(scene.frame(thing=(40, 60)) for _ in range(3)))
    (opened,) = decision.transitions
    assert (opened.kind, opened.life, opened.fault) == (EventKind.ANOMALY, Life.OPEN, None)
    assert opened.level > 0.5


def test_a_scene_file_that_is_none_is_refused(camera: Camera, tmp_path: Path) -> None:
    path = tmp_path / "scene.npz"
    with pytest.raises(FileNotFoundError):
        SceneModel.load(path)
    content = camera.prefilter.model.to_bytes()
    for broken in (b"", content[:100], content[:-30], b"\0" * (2 << 20)):
        path.write_bytes(broken)
        with pytest.raises(ManifestError):
            SceneModel.load(path)


def test_a_scene_with_impossible_numbers_is_refused(camera: Camera) -> None:
    model = camera.prefilter.model
    for broken in (np.nan, -1.0, np.inf):
        mean = model.background.mean.copy()
        mean[0, 0, 0] = broken
        background = dataclasses.replace(model.background, mean=mean)
        with pytest.raises(ManifestError, match="finite"):
            SceneModel.from_npz(dataclasses.replace(model, background=background).to_bytes())


@pytest.mark.parametrize(
    "watched",
    [np.zeros((ROWS, COLUMNS), bool), np.ones((ROWS, COLUMNS)), np.ones((2, 2), bool)],
    ids=["nothing", "numbers", "another grid"],
)
def test_a_scene_that_does_not_say_what_is_watched_is_refused(camera: Camera, watched: np.ndarray) -> None:
    arrays = read_npz(camera.prefilter.model.to_bytes(), "scene.npz") | {"watched": watched}
    with pytest.raises(ManifestError, match="which blocks are watched"):
        SceneModel.from_npz(write_npz(arrays))


@pytest.mark.parametrize("text", ["[" * 20_000, '{"a":' * 20_000, "{}", '{"threshold": NaN}'])
def test_a_scene_whose_calibration_is_none_is_refused(camera: Camera, text: str) -> None:
    arrays = read_npz(camera.prefilter.model.to_bytes(), "scene.npz") | {"calibration": np.array(text)}
    with pytest.raises(ManifestError, match="learned anew"):
        SceneModel.from_npz(write_npz(arrays))


def test_a_scene_with_a_number_beyond_any_float_is_refused(camera: Camera) -> None:
    arrays = read_npz(camera.prefilter.model.to_bytes(), "scene.npz")
    calibration = json.loads(str(arrays["calibration"])) | {"threshold": 10**400}
    with pytest.raises(ManifestError, match="learned anew"):
        SceneModel.from_npz(write_npz(arrays | {"calibration": np.array(json.dumps(calibration))}))


def test_a_scene_learned_with_other_masks_is_refused(camera: Camera) -> None:
    masks = (((0.5, 0.5), (1.0, 0.5), (1.0, 1.0)),)
    with pytest.raises(ValueError, match="other masks"):
        FramePrefilter(dataclasses.replace(SETTINGS, masks=masks), camera.prefilter.model)


@pytest.mark.parametrize(
    "wrong",
    [{"learn_frames": 7}, {"learn_frames": 2001}, {"learn_s": -1.0}, {"learn_s": float("nan")}, {"follow_s": 0.0},
     {"follow_s": 100.0, "forget_s": 50.0}, {"max_light": 1.0}, {"scene_share": 0.0}, {"max_skip_s": 0.0},
     {"alarms_per_day": 0.0}, {"masks": (((0.0, 0.0), (1.0, 1.0)),)}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FramePrefilterSettings(**wrong)
