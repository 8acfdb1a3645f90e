"""Regions of a map: connected, bounded, with box, score, area and zone; a broken map is a failure, not an empty one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from edge_agent.contract.calibration import Calibration, Grade, calibrate
from edge_agent.contract.records import NS
from edge_agent.contract.zones import Zone
from edge_agent.errors import ScoringError
from edge_agent.vision.regions import MOST_REGIONS, LocalisationSettings, Localiser, components, in_zone

UPPER_HALF = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5))
LOWER_HALF = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))


def calibrated() -> Calibration:
    """Median 0, threshold 10."""
    t_ns = np.arange(100, dtype=np.int64) * NS
    return calibrate(np.linspace(-1, 1, 100), t_ns, alarms_per_day=1, n=3, m=5, join_s=1, k=1).with_threshold(10.0)


def blank(height: int = 20, width: int = 40) -> np.ndarray:
    return np.zeros((height, width), np.float32)


def localiser(shape: tuple[int, int] = (20, 40), **settings: object) -> Localiser:
    return Localiser(LocalisationSettings(**settings), calibrated(), *shape)


def kinds_of(values: np.ndarray, **cells: tuple[tuple[int, int], float]) -> np.ndarray:
    """The probabilities of two classes: half and half, but at some cells, where the first has this one."""
    kinds = np.full((*values.shape, 2), 0.5, np.float32)
    for place, first in cells.values():
        kinds[place] = first, 1 - first
    return kinds


def of_classes(*names: str) -> Localiser:
    return Localiser(LocalisationSettings(), calibrated(), 20, 40, classes=names)


@settings(deadline=None, max_examples=200)
@given(height=st.integers(1, 12), width=st.integers(1, 12), seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_components_are_those_of_scipy(height: int, width: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    ours, (theirs, count) = components(mask), label(mask, np.ones((3, 3)))
    assert ours.max() == count
    assert len({*zip(ours.ravel().tolist(), theirs.ravel().tolist(), strict=True)}) == count + (not mask.all())
    assert np.array_equal(ours > 0, mask)


def test_a_winding_line_is_one_component() -> None:
    line = np.zeros((41, 41), bool)
    line[::2] = True
    line[1::4, -1] = line[3::4, 0] = True
    assert components(line).max() == 1


def test_cells_that_touch_at_a_corner_belong_together() -> None:
    assert components(np.eye(4, dtype=bool)[::-1]).max() == 1


def test_a_region_has_box_score_and_area_in_parts_of_the_image() -> None:
    values = blank()
    values[5:10, 8:16] = 11.0
    values[7, 9] = 14.0
    (region,) = localiser().locate(values)
    assert region.box == pytest.approx((0.2, 0.25, 0.4, 0.5))
    assert region.area == pytest.approx(0.05)
    assert (region.score, region.zone, region.features) == (14.0, "", ())


def test_the_score_is_the_mean_of_the_strongest_cells() -> None:
    values = blank()
    values[0, :4] = (12, 20, 16, 30)
    assert localiser(top_share=0.5).locate(values)[0].score == 25.0
    assert localiser(top_share=1.0).locate(values)[0].score == 19.5


def test_what_is_at_the_threshold_does_not_stand_out() -> None:
    assert localiser().locate(blank() + 10) == ()


def test_regions_come_strongest_first_and_small_ones_can_be_left_out() -> None:
    values = blank()
    values[0, 0], values[5:8, 5:8], values[15, 30:32] = 50, 20, 30
    assert [region.score for region in localiser().locate(values)] == [50, 30, 20]
    assert [region.score for region in localiser(least_area=2 / 800).locate(values)] == [30, 20]


def test_regions_are_ordered_by_their_score_not_by_their_strongest_cell() -> None:
    values = blank()
    values[0, :4], values[9, 9] = (50, 11, 11, 11), 30
    assert [region.score for region in localiser(top_share=1.0).locate(values)] == [30, 20.75]


def test_the_strongest_cell_is_one_that_is_watched_and_in_no_box() -> None:
    values = blank()
    values[3, 3], values[10, 20], values[15, 30] = 40, 30, 50
    watched = localiser(masks=(LOWER_HALF,))
    assert watched.strongest(values) == 40
    assert watched.strongest(values, [(0.05, 0.1, 0.12, 0.25)]) == values[:10][values[:10] < 40].max()
    assert watched.strongest(values, [(0.0, 0.0, 1.0, 1.0)]) == -np.inf


def test_features_are_the_mean_of_the_regions_cells() -> None:
    values, features = blank(), np.zeros((20, 40, 2), np.float32)
    values[3, 3:5] = 20
    features[3, 3], features[3, 4] = (1, 5), (3, 5)
    assert localiser().locate(values, lambda: features)[0].features == (2, 5)


def test_a_zone_has_a_threshold_of_its_own() -> None:
    values = blank()
    values[2, 2] = values[17, 17] = 15.0
    strict = Zone(name="door", polygon=UPPER_HALF, factor=2.0)
    (region,) = localiser(zones=(strict,)).locate(values)
    assert (region.box[1], region.zone) == (0.85, "")
    keen = Zone(name="door", polygon=UPPER_HALF, factor=0.5)
    values[2, 2] = 6.0
    assert [region.zone for region in localiser(zones=(keen,)).locate(values)] == ["", "door"]


def test_the_first_of_two_zones_holds_where_they_overlap() -> None:
    values = blank()
    values[2, 2] = 15.0
    zones = (Zone(name="one", polygon=UPPER_HALF), Zone(name="two", polygon=UPPER_HALF, factor=5.0))
    assert [region.zone for region in localiser(zones=zones).locate(values)] == ["one"]
    assert localiser(zones=zones[::-1]).locate(values) == ()


def test_a_mask_cuts_a_region_and_hides_what_is_broken_below() -> None:
    values = blank() + 20
    values[12:] = np.nan
    (region,) = localiser(masks=(LOWER_HALF,)).locate(values)
    assert region.box == (0.0, 0.0, 1.0, 0.5)


def test_a_zone_keeps_the_grade_where_it_changes_nothing() -> None:
    calibration = calibrated()
    assert in_zone(calibration, Zone(name="door", polygon=UPPER_HALF)) is calibration
    moved = in_zone(calibration, Zone(name="door", polygon=UPPER_HALF, factor=3.0))
    assert (moved.threshold, moved.grade) == (pytest.approx(30.0, abs=0.1), Grade.PROVISIONAL)


def test_hundreds_of_regions_are_bounded_to_the_strongest() -> None:
    values = blank(60, 60)
    values[::2, ::2] = 20 + np.arange(900, dtype=np.float32).reshape(30, 30)
    regions = localiser((60, 60)).locate(values)
    assert len(regions) == MOST_REGIONS
    assert regions[0].score == 919.0
    assert regions[-1].score == 919.0 - MOST_REGIONS + 1


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_a_failure_of_the_graph(broken: float) -> None:
    one = blank()
    one[3, 3] = broken
    for values in (one, blank() + np.float32(broken)):
        with pytest.raises(ScoringError, match="not finite"):
            localiser().locate(values)


@pytest.mark.parametrize("shape", [(0, 0), (20,), (20, 41), (1, 20, 40)])
def test_a_map_of_another_size_is_a_failure_of_the_graph(shape: tuple[int, ...]) -> None:
    with pytest.raises(ScoringError, match="expected"):
        localiser().locate(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1 << 12, 1 << 12)])
def test_a_map_without_cells_or_with_far_too_many_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="map of"):
        localiser(shape)


@pytest.mark.parametrize(
    "wrong",
    [{"top_share": 1.1}, {"top_share": float("nan")}, {"least_area": -0.1}, {"masks": ((),)},
     {"zones": (Zone(name="a", polygon=UPPER_HALF), Zone(name="a", polygon=LOWER_HALF))}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LocalisationSettings(**wrong)


def test_a_region_is_of_the_kind_that_is_likeliest_in_the_mean_over_its_cells() -> None:
    values = blank()
    values[5, 8:10] = 20.0
    values[15, 30] = 12.0
    kinds = kinds_of(values, one=((5, 8), 0.1), two=((5, 9), 0.7), other=((15, 30), 1.0), quiet=((0, 0), 1.0))
    long, short = of_classes("dent", "scratch").locate(values, kinds=kinds)
    assert (long.kind, long.kind_score) == ("scratch", pytest.approx(0.6))
    assert (short.kind, short.kind_score) == ("dent", pytest.approx(1.0))


def test_without_classes_or_kinds_a_region_has_no_kind() -> None:
    values = blank()
    values[5, 8] = 20.0
    for found in (localiser().locate(values, kinds=kinds_of(values)), of_classes("dent", "scratch").locate(values)):
        assert (found[0].kind, found[0].kind_score) == ("", 0.0)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -1.0])
def test_a_region_whose_kinds_are_no_probabilities_is_found_all_the_same(broken: float) -> None:
    values = blank()
    values[5, 8] = 20.0
    (region,) = of_classes("dent", "scratch").locate(values, kinds=np.full((20, 40, 2), broken, np.float32))
    assert (region.score, region.kind, region.kind_score) == (20.0, "", 0.0)
