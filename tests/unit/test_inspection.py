import numpy as np
import pytest

from edge_agent.sources.inspection import InspectionScene, SceneFault, SceneFaultKind, blurred

SIZE = {"width": 96, "height": 72}


def scene(*kinds, start=0, frames=10, severity=1.0, seed=3):
    faults = tuple(SceneFault(kind=kind, start=start, frames=frames, severity=severity) for kind in kinds)
    return InspectionScene(seed, faults=faults, **SIZE)


def difference(one, other):
    return np.abs(one.astype(int) - other).mean()


def test_the_same_seed_draws_the_same_frames_in_any_order():
    one, other = scene(), scene()
    later = one.pixels(5)
    one.pixels(0)
    assert np.array_equal(later, other.pixels(5))
    assert not np.array_equal(later, scene(seed=4).pixels(5))


def test_normal_frames_differ_a_little():
    assert 1 < difference(scene().pixels(0), scene().pixels(1)) < 12


@pytest.mark.parametrize("kind", SceneFaultKind)
def test_a_fault_is_there_while_it_lasts_and_no_longer(kind):
    sound, faulty = scene(), scene(kind, start=2, frames=3)
    changed = [not np.array_equal(sound.pixels(number), faulty.pixels(number)) for number in range(7)]
    frozen = kind == SceneFaultKind.FROZEN
    assert changed == [False, False, not frozen, True, True, False, False]


def test_a_frozen_camera_repeats_its_frame_to_the_bit():
    faulty = scene(SceneFaultKind.FROZEN, start=2)
    assert np.array_equal(faulty.pixels(2), faulty.pixels(9))


def test_a_dark_frame_is_dark_and_a_dimmed_one_is_not():
    assert scene(SceneFaultKind.DARK).pixels(0).mean() < 8
    assert scene().pixels(0).mean() / 2 < scene(SceneFaultKind.DIMMED).pixels(0).mean() < scene().pixels(0).mean() / 1.5


def test_defects_are_marked_where_they_are():
    assert 0.1 < scene(SceneFaultKind.MISSING).defect(0).mean() < 0.4
    assert 0.001 < scene(SceneFaultKind.SCRATCH, severity=2).defect(0).mean() < 0.05
    assert not scene(SceneFaultKind.DEFOCUSED).defect(0).any()
    assert not scene().defect(0).any()


def test_blurring_keeps_the_mean_and_takes_the_edges():
    edge = np.zeros((20, 40, 3), np.float32)
    edge[:, 20:] = 100
    soft = blurred(edge, 3)
    assert soft.mean() == pytest.approx(50, abs=1e-3)
    assert np.abs(np.diff(soft, axis=1)).max() < 20


@pytest.mark.parametrize(
    "settings", [{"start": -1, "frames": 1}, {"start": 0, "frames": 0}, {"start": 0, "frames": 1, "severity": 5}]
)
def test_impossible_faults_are_refused(settings):
    with pytest.raises(ValueError, match=r"expected|severity"):
        SceneFault(kind=SceneFaultKind.DARK, **settings)
