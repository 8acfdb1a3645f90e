"""Frames changed at random: as far as the settings allow and no further."""

import numpy as np
import pytest

from training.images.augmentation import Augmentation

STILL = {"shift_px": 0, "brightness": 0.0, "contrast": 0.0}


def frames(count: int = 40) -> np.ndarray:
    """Noise away from black and white, uint8 [n, 12, 16, 3]."""
    return np.random.default_rng(0).integers(80, 170, (count, 12, 16, 3)).astype(np.uint8)


def changed(settings: dict[str, object], given: np.ndarray, seed: int = 0) -> np.ndarray:
    return Augmentation(**(STILL | settings)).apply(given, np.random.default_rng(seed))


def test_without_any_change_frames_stay_as_they_are():
    np.testing.assert_array_equal(changed({}, frames()), frames())


def test_the_same_generator_changes_frames_alike_and_another_does_not():
    settings = {"shift_px": 2, "brightness": 0.1, "noise": 0.01}
    np.testing.assert_array_equal(changed(settings, frames()), changed(settings, frames()))
    assert (changed(settings, frames(), seed=1) != changed(settings, frames())).any()


@pytest.mark.parametrize(("setting", "axis"), [("flip_vertical", 0), ("flip_horizontal", 1)])
def test_some_frames_are_turned_over_and_the_others_are_not(setting, axis):
    given = frames()
    turned = [
        (new == np.flip(old, axis)).all() for new, old in zip(changed({setting: True}, given), given, strict=True)
    ]
    kept = [(new == old).all() for new, old in zip(changed({setting: True}, given), given, strict=True)]
    assert all(one != other for one, other in zip(turned, kept, strict=True))
    assert 10 < sum(turned) < 30


def test_shifts_stay_within_the_setting_and_repeat_the_rim():
    given = frames()
    padded = np.pad(given, ((0, 0), (2, 2), (2, 2), (0, 0)), "edge")
    found = set()
    for number, new in enumerate(changed({"shift_px": 2}, given)):
        places = [
            (down, right)
            for down in range(5)
            for right in range(5)
            if (padded[number, down : down + 12, right : right + 16] == new).all()
        ]
        assert len(places) == 1
        found.update(places)
    assert len(found) > 10


def test_brightness_offsets_all_pixels_alike():
    offsets = changed({"brightness": 0.1}, frames()).astype(int) - frames()
    for offset in offsets:
        assert np.ptp(offset) <= 1
    assert 10 < np.abs(offsets).max() <= 26


def test_tint_offsets_each_colour_by_itself():
    offset = (changed({"tint": 0.1}, frames()).astype(int) - frames()).mean(axis=(1, 2))
    assert np.ptp(offset, axis=1).max() > 10


def test_contrast_changes_the_distance_from_the_mean():
    spread = changed({"contrast": 0.2}, frames()).std(axis=(1, 2, 3)) / frames().std(axis=(1, 2, 3))
    assert 0.79 < spread.min() < 0.85
    assert 1.15 < spread.max() < 1.21


def test_noise_is_of_the_asked_size():
    assert (changed({"noise": 0.04}, frames()).astype(int) - frames()).std() == pytest.approx(0.04 * 255, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"shift_px": -1}, "shift_px must be 0 or more"), ({"brightness": 1.0}, "brightness must be a share")],
)
def test_settings_that_leave_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**settings)
