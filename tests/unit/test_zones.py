"""Zones and masks: polygons in relative coordinates, on any grid."""

import math

import numpy as np
import pytest

from edge_agent.contract.zones import MOST_ZONES, Zone, cells_in, check_masks, watched_cells

LEFT_HALF = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
EVERYTHING = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (24, 32), (7, 10), (1, 2)])
def test_a_polygon_means_the_same_on_any_grid(rows: int, columns: int) -> None:
    inside = cells_in(LEFT_HALF, rows, columns)
    assert inside[:, : columns // 2].all()
    assert not inside[:, -(columns // 2) :].any()


def test_a_polygon_that_is_not_convex_leaves_its_bay_out() -> None:
    horseshoe = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.7, 1.0), (0.7, 0.3), (0.3, 0.3), (0.3, 1.0), (0.0, 1.0))
    inside = cells_in(horseshoe, 10, 10)
    assert inside[:3].all()
    assert not inside[3:, 3:7].any()
    assert inside[3:, :3].all()


def test_the_direction_of_the_corners_does_not_matter() -> None:
    assert np.array_equal(cells_in(LEFT_HALF[::-1], 8, 8), cells_in(LEFT_HALF, 8, 8))


def test_a_cell_that_is_touched_belongs_to_the_polygon() -> None:
    inside = cells_in(((0.0, 0.0), (0.53, 0.0), (0.53, 1.0), (0.0, 1.0)), 4, 8)
    assert inside[:, 4].all()
    assert not inside[:, 5].any()


def test_a_polygon_smaller_than_a_cell_has_the_cell_it_lies_in() -> None:
    inside = cells_in(((0.95, 0.02), (0.951, 0.02), (0.951, 0.021)), 5, 5)
    assert np.argwhere(inside).tolist() == [[0, 4]]


def test_masks_are_left_out_and_must_leave_something() -> None:
    assert watched_cells((LEFT_HALF,), 4, 4).tolist() == [[False, False, True, True]] * 4
    bottom = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
    assert watched_cells((LEFT_HALF, bottom), 2, 2).tolist() == [[False, True], [False, False]]
    with pytest.raises(ValueError, match="leave something to watch"):
        watched_cells((LEFT_HALF, EVERYTHING), 4, 4)


@pytest.mark.parametrize(
    "polygon",
    [(), LEFT_HALF[:2], ((0.0, 0.0),) * 3, ((0.0, 0.0), (1.2, 0.0), (1.0, 1.0)), ((-0.1, 0.0), (1.0, 0.0), (1.0, 1.0)),
     ((0.0, math.nan), (1.0, 0.0), (1.0, 1.0)), ((0.0, 0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), ((0.0, 0.0),) * 65],
)  # fmt: skip
def test_what_is_no_polygon_inside_the_image_is_refused(polygon: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ValueError, match="zone door: "):
        Zone(name="door", polygon=polygon)
    with pytest.raises(ValueError, match=r"masks\[1\]: "):
        check_masks((LEFT_HALF, polygon))


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf, 1001.0])
def test_a_factor_out_of_range_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="factor"):
        Zone(name="door", polygon=LEFT_HALF, factor=factor)


def test_a_zone_without_a_name_and_too_many_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        Zone(name="", polygon=LEFT_HALF)
    with pytest.raises(ValueError, match="masks"):
        check_masks((LEFT_HALF,) * (MOST_ZONES + 1))
