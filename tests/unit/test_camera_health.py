"""Camera health on the simulated station, and on a real scene where that is at hand."""

import itertools

import cv2
import numpy as np
import pytest

from edge_agent.contract.arrays import read_npz, write_npz
from edge_agent.contract.calibration import calibrate
from edge_agent.contract.decision import Decider, DecisionRule
from edge_agent.contract.frames import small_luma
from edge_agent.contract.records import NS, EventKind, Fault
from edge_agent.errors import ManifestError
from edge_agent.sources.inspection import InspectionScene, SceneFault, SceneFaultKind
from edge_agent.vision.camera_health import CameraFault, CameraHealth, CameraHealthSettings
from edge_agent.vision.camera_view import HEIGHT, WIDTH, Reference, View, shift_peak
from tests.conftest import DATA

SIZE = (160, 120)
RATE_HZ = 2.0
LEARN = 8
SETTINGS = CameraHealthSettings(learn_frames=LEARN, frozen_s=5.0)
BEGINS, LASTS = 12, 16
"""Frames: after learning, and long enough for every fault to be confirmed."""


def pictures(*faults, seed=1, size=SIZE):
    scene = InspectionScene(seed, *size, faults=tuple(faults))
    return (scene.pixels(number) for number in itertools.count())


def fault(kind, severity=1.0):
    return SceneFault(kind=kind, start=BEGINS, frames=LASTS, severity=severity)


def checks(frames, count, health=None, start_ns=0):
    health = health or CameraHealth(SETTINGS)
    return [health.feed(next(frames), start_ns + round(i * NS / RATE_HZ)) for i in range(count)]


def told(found):
    """Faults in order, each once."""
    return [kind for kind, _ in itertools.groupby(check.fault for check in found)]


CAMERA = [
    (SceneFaultKind.DARK, 1.0),
    (SceneFaultKind.COVERED, 1.0),
    (SceneFaultKind.FROZEN, 1.0),
    (SceneFaultKind.MOVED, 0.7),
    (SceneFaultKind.MOVED, 2.0),
    (SceneFaultKind.MOVED, 4.0),
    (SceneFaultKind.DEFOCUSED, 1.5),
    (SceneFaultKind.DEFOCUSED, 4.0),
]


@pytest.mark.parametrize(("kind", "severity"), CAMERA, ids=str)
def test_each_fault_of_the_camera_is_told_as_itself_and_ends(kind, severity):
    found = checks(pictures(fault(kind, severity)), BEGINS + LASTS + 8)
    assert told(found) == [None, CameraFault(kind), None]
    seen_s = (5.0 if kind == SceneFaultKind.FROZEN else 2.0) + 1 / RATE_HZ
    assert found[BEGINS + round(seen_s * RATE_HZ)].fault == kind
    assert found[BEGINS + LASTS + round(2.5 * RATE_HZ)].fault is None


@pytest.mark.parametrize("kind", [kind for kind, severity in CAMERA if kind != SceneFaultKind.FROZEN])
def test_no_frame_of_a_fault_is_left_to_be_decided(kind):
    found = checks(pictures(fault(kind, 1.5)), BEGINS + LASTS)
    assert all(check.unknown is None for check in found[:BEGINS])
    assert all(check.unknown is not None for check in found[BEGINS:])


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        (SceneFaultKind.MISSING, 1.0),
        (SceneFaultKind.SCRATCH, 4.0),
        (SceneFaultKind.DIMMED, 0.5),
        (SceneFaultKind.DIMMED, 1.5),
        (SceneFaultKind.DIMMED, 2.5),
    ],
)
def test_what_is_wrong_with_part_or_light_is_no_fault_of_the_camera(kind, severity):
    found = checks(pictures(fault(kind, severity)), BEGINS + LASTS)
    assert all(check.unknown is None for check in found)


def test_light_that_comes_back_at_another_level_is_as_well_as_before():
    off = SceneFault(kind=SceneFaultKind.DARK, start=12, frames=8)
    dim = SceneFault(kind=SceneFaultKind.DIMMED, start=20, frames=40)
    found = checks(pictures(off, dim), 40)
    assert told(found) == [None, CameraFault.DARK, None]


@pytest.mark.parametrize("shade", [0.2, 1.5])
def test_a_missing_part_that_holds_all_structure_is_neither_covered_nor_defocused(shade):
    rng = np.random.default_rng(0)
    empty = np.full((240, 320, 3), 90.0) * (1 + shade * np.linspace(0, 1, 320)[:, None])
    part = empty.copy()
    part[60:180, 80:240] = 0.5 * part[60:180, 80:240] + np.kron(rng.integers(0, 90, (30, 40, 1)), np.ones((4, 4, 1)))

    def taken(view):
        return np.clip(view + 2 * rng.standard_normal(view.shape), 0, 255).astype(np.uint8)

    found = checks((taken(part if i < 12 else empty) for i in itertools.count()), 24)
    assert not found[-1].learning
    assert all(check.unknown is None for check in found)


def test_a_part_that_lies_elsewhere_has_not_moved_the_camera():
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(80, 110, (60, 80, 1)), np.ones((4, 4, 3)))
    plate = np.kron(rng.integers(0, 250, (24, 32, 1)), np.ones((4, 4, 3)))

    def taken(right):
        view = ground.copy()
        view[60:156, 60 + right : 188 + right] = plate
        return np.clip(view + 2 * rng.standard_normal(view.shape), 0, 255).astype(np.uint8)

    reference = Reference.learn([View.of(small_luma(taken(0), HEIGHT, WIDTH)) for _ in range(6)])
    elsewhere = View.of(small_luma(taken(40), HEIGHT, WIDTH))
    assert shift_peak(reference, elsewhere)[2] == 10
    assert reference.compare(elsewhere).shift is None


def test_a_passer_by_before_the_lens_is_suspected_and_not_told():
    glove = SceneFault(kind=SceneFaultKind.COVERED, start=12, frames=3)
    found = checks(pictures(glove), 24)
    assert told(found) == [None]
    assert [i for i, check in enumerate(found) if check.suspected] == [12, 13, 14]
    assert found[12].unknown.fault == Fault.NOT_READY


def test_one_fault_gives_way_to_another():
    moved = SceneFault(kind=SceneFaultKind.MOVED, start=12, frames=40)
    dark = SceneFault(kind=SceneFaultKind.DARK, start=20, frames=10)
    assert told(checks(pictures(moved, dark), 40)) == [None, CameraFault.MOVED, CameraFault.DARK, CameraFault.MOVED]


def test_a_measure_just_above_its_limit_does_not_end_the_fault():
    rng = np.random.default_rng(0)
    shades = np.kron(np.array([[1, 0.5, 0.9, 0.4], [0.3, 1, 0.6, 1]]), np.ones((120, 80)))[..., None]

    def taken(level):
        return np.clip(level * shades + rng.standard_normal((240, 320, 3)), 0, 255).astype(np.uint8)

    levels = itertools.chain([80] * 12, [22] * 10, [18] * 10, [22] * 10, [27] * 10)
    assert told(checks(map(taken, levels), 52)) == [None, CameraFault.DARK, None]


def test_dark_and_blind_are_told_before_anything_is_learned():
    for level, kind in ((2, CameraFault.DARK), (255, CameraFault.COVERED), (128, CameraFault.COVERED)):
        found = checks(itertools.repeat(np.full((240, 320, 3), level, np.uint8)), 10)
        assert found[-1].fault == kind
        assert found[-1].learning


def test_nothing_is_learned_from_a_camera_that_is_not_well():
    dark = SceneFault(kind=SceneFaultKind.DARK, start=0, frames=30)
    health = CameraHealth(SETTINGS)
    assert all(check.learning for check in checks(pictures(dark), 30 + LEARN, health))
    assert not checks(pictures(), LEARN + 8, health, start_ns=100 * NS)[-1].learning


def test_a_fast_camera_does_not_learn_from_one_moment():
    health = CameraHealth(SETTINGS)
    frames = pictures()
    found = [health.feed(next(frames), round(i * NS / 30)) for i in range(60)]
    assert found[-1].learning


def test_learned_anew_a_moved_camera_is_well():
    moved = SceneFault(kind=SceneFaultKind.MOVED, start=12, frames=200)
    health, frames = CameraHealth(SETTINGS), pictures(moved)
    assert checks(frames, 20, health)[-1].fault == CameraFault.MOVED
    health.learn_anew()
    found = checks(frames, 20, health, start_ns=20 * NS)
    assert (found[-1].fault, found[-1].learning) == (None, False)


def test_a_frozen_picture_with_a_running_clock_is_frozen():
    health, frames = CameraHealth(SETTINGS), pictures()
    checks(frames, 12, health)
    still = next(frames)
    for i in range(20):
        still = still.copy()
        still[4:8, 10 : 10 + i] = 255
        found = health.feed(still, 6 * NS + round(i * NS / RATE_HZ))
    assert found.fault == CameraFault.FROZEN
    assert "very same picture" in found.detail


def test_a_camera_opened_anew_is_not_frozen_by_what_it_showed_before():
    health, frames = CameraHealth(SETTINGS), pictures()
    checks(frames, 12, health)
    still = next(frames)
    assert health.feed(still, 10 * NS).fault is None
    health.restart()
    assert [health.feed(still, (16 + i) * NS).fault for i in range(4)] == [None] * 4


def test_reading_time_that_steps_back_does_no_harm():
    health = CameraHealth(SETTINGS)
    checks(pictures(), 20, health, start_ns=1000 * NS)
    found = checks(pictures(fault(SceneFaultKind.MOVED)), BEGINS + LASTS, health)
    assert told(found) == [None, CameraFault.MOVED]


def test_a_suspicion_survives_a_step_back_of_reading_time():
    health, frames = CameraHealth(SETTINGS), pictures(fault(SceneFaultKind.MOVED))
    checks(frames, BEGINS + 1, health, start_ns=1000 * NS)
    assert checks(frames, 6, health)[-1].fault == CameraFault.MOVED


def test_frames_may_change_their_size():
    health = CameraHealth(SETTINGS)
    checks(pictures(size=(400, 300)), 12, health)
    smaller = (np.ascontiguousarray(cv2.resize(picture, (300, 220))) for picture in pictures(size=(400, 300)))
    found = checks(smaller, 10, health, start_ns=20 * NS)
    assert all(check.unknown is None for check in found)


def test_a_view_that_does_not_hold_still_gives_no_shift():
    rng = np.random.default_rng(1)
    belt = np.kron(rng.integers(30, 220, (60, 400, 1)), np.ones((4, 4, 3))).astype(np.uint8)
    found = checks((np.ascontiguousarray(belt[:, 7 * i : 7 * i + 320]) for i in itertools.count()), 60)
    assert all(check.fault is None for check in found)


def test_a_fault_of_the_camera_is_one_event_that_opens_and_closes():
    ids = itertools.count()
    rule = DecisionRule(hold_off_s=1.0)
    normal = np.random.default_rng(0).standard_normal(400)
    calibration = calibrate(normal, np.arange(400) * NS, alarms_per_day=1.0, n=rule.n, m=rule.m, join_s=2.0, k=3.0)
    decider = Decider(rule, calibration, 1 / RATE_HZ, lambda: str(next(ids)))
    transitions = []
    for check in checks(pictures(fault(SceneFaultKind.COVERED)), BEGINS + LASTS + 16):
        decision = decider.unknown(check.unknown) if check.unknown else decider.window(check.t_ns, score=0.0)
        transitions += [(step.kind, step.fault, step.detail.partition(":")[0]) for step in decision.transitions]
    assert transitions == [
        (EventKind.SENSOR_FAULT, Fault.CAMERA, "covered"),
        (EventKind.SENSOR_OK, Fault.CAMERA, "covered"),
    ]


@pytest.mark.parametrize(
    "settings",
    [{"learn_frames": 1}, {"confirm_s": -1}, {"dark_luma": 300}, {"least_sharpness": 0.9}, {"most_shift": 0.001}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be between"):
        CameraHealthSettings(**settings)


def patches(size, seed=0):
    """A picture of square patches, so many pixels wide."""
    shades = np.random.default_rng(seed).integers(0, 250, (120 // size, 160 // size, 1))
    return np.kron(shades, np.ones((size, size, 3))).astype(np.uint8)


@pytest.mark.parametrize("kind", CameraFault)
def test_a_fault_that_is_left_out_is_not_told(kind):
    left_out = CameraHealthSettings(learn_frames=LEARN, frozen_s=5.0, checks=tuple(set(CameraFault) - {kind}))
    found = checks(pictures(fault(SceneFaultKind(kind))), BEGINS + LASTS, CameraHealth(left_out))
    assert all(kind not in {check.fault, check.suspected} for check in found)


def test_a_camera_that_is_always_dark_can_freeze():
    settings = CameraHealthSettings(frozen_s=5.0, checks=(CameraFault.COVERED, CameraFault.FROZEN))
    dim = patches(5) // 16
    assert told(checks(itertools.repeat(dim), 24)) == [None, CameraFault.DARK]
    assert told(checks(itertools.repeat(dim), 24, CameraHealth(settings))) == [None, CameraFault.FROZEN]


def test_pictures_without_a_view_in_common_are_no_fault_of_a_camera_that_is_not_held_against_one():
    settings = CameraHealthSettings(learn_frames=LEARN, checks=(CameraFault.DARK, CameraFault.COVERED))
    photographs = [patches(5)] * LEARN + [patches(40, seed) for seed in range(1, 41 - LEARN)]
    assert told(checks(iter(photographs), 40)) == [None, CameraFault.COVERED]
    apart = CameraHealth(settings)
    assert all(check.unknown is None and not check.learning for check in checks(iter(photographs), 40, apart))
    assert apart.reference is None
    grey = itertools.repeat(np.full((120, 160, 3), 90, np.uint8))
    assert checks(grey, 8, apart, start_ns=100 * NS)[-1].fault == CameraFault.COVERED


def test_a_reference_of_before_is_not_used_where_there_is_no_view():
    kept = Reference.learn(views())
    settings = CameraHealthSettings(checks=(CameraFault.DARK, CameraFault.COVERED, CameraFault.FROZEN))
    assert CameraHealth(settings, kept).reference is None


def views(count=6, **faults):
    frames = pictures(*(SceneFault(kind=SceneFaultKind(k), start=0, frames=99, severity=v) for k, v in faults.items()))
    return [View.of(small_luma(next(frames), HEIGHT, WIDTH)) for _ in range(count)]


def test_measures_do_not_change_with_the_light():
    compared = Reference.learn(views()).compare(views(dimmed=1.0)[0])
    assert compared.gain == pytest.approx(0.55, abs=0.05)
    assert compared.left.sharpness == pytest.approx(1, abs=0.1)
    assert compared.left.pattern > 0.9
    assert compared.shift is None


def test_light_that_differs_a_little_changes_nothing():
    learned = views()
    compared = Reference.learn(learned).compare(View.of(1.1 * learned[0].luma))
    assert compared.changed < 0.05


def test_a_blurred_view_loses_sharpness_and_keeps_its_pattern():
    compared = Reference.learn(views()).compare(views(defocused=2.0)[0])
    assert compared.left.sharpness < 0.5 < compared.left.pattern
    assert compared.changed < 0.1


def test_a_shift_is_told_in_shares_of_the_width():
    compared = Reference.learn(views()).compare(views(moved=2.0)[0])
    assert compared.shift == pytest.approx((-0.05, -0.1), abs=0.02)


def test_a_blank_wall_says_nothing_of_the_lens():
    rng = np.random.default_rng(0)
    blank = [View.of((100 + rng.standard_normal((HEIGHT, WIDTH))).astype(np.float32)) for _ in range(5)]
    compared = Reference.learn(blank).compare(blank[0])
    assert (compared.left, compared.shift) == (None, None)


def test_a_reference_outlives_a_restart():
    health = CameraHealth(SETTINGS)
    checks(pictures(), 12, health)
    kept = health.reference.to_bytes()
    assert kept == Reference.from_npz(kept).to_bytes()
    again = CameraHealth(SETTINGS, Reference.from_npz(kept))
    moved = SceneFault(kind=SceneFaultKind.MOVED, start=0, frames=99)
    assert not again.learning
    assert checks(pictures(moved), 8, again)[-1].fault == CameraFault.MOVED


@pytest.mark.parametrize(
    "spoil",
    [
        {"luma": np.zeros((24, 32), np.float32)},
        {"luma": np.full((HEIGHT, WIDTH), np.nan, np.float32)},
        {"luma": np.full((HEIGHT, WIDTH), 1e30, np.float32)},
        {"luma": np.full((HEIGHT, WIDTH), -1, np.float32)},
        {"detail": np.zeros(3)},
        {"structured": np.array([5, 4000])},
        {"structured": None},
    ],
    ids=lambda spoil: next(iter(spoil)),
)
def test_a_kept_reference_that_is_damaged_is_refused(spoil):
    arrays = read_npz(Reference.learn(views()).to_bytes(), "camera.npz") | spoil
    content = write_npz({name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ManifestError, match="remove it, and the view is learned anew"):
        Reference.from_npz(content)


def test_what_is_no_reference_at_all_is_refused():
    with pytest.raises(ManifestError):
        Reference.from_npz(b"rubbish")


def test_a_reference_takes_two_views_of_the_right_size():
    with pytest.raises(ValueError, match="at least two views, got 1"):
        Reference.learn(views(1))
    with pytest.raises(ValueError, match="expected luma of 120 x 160"):
        View.of(np.zeros((24, 32), np.float32))


@pytest.mark.data
def test_neither_a_moving_tree_nor_a_person_is_a_fault_of_the_camera():
    paths = sorted((DATA / "wavingtrees").glob("b*"))
    if not paths:
        pytest.skip(f"needs the frames of a waving tree in {DATA / 'wavingtrees'} (set ANOMALITE_DATA)")
    health = CameraHealth()
    found = [health.feed(cv2.imread(str(path))[..., ::-1], i * NS // 10) for i, path in enumerate(paths)]
    assert not found[199].learning
    assert [i for i, check in enumerate(found) if check.unknown] == []
