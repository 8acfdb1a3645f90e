"""One graph behind the scorer of frames, on the real runtime with graphs whose scores are known by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ScoringError
from edge_agent.ports import FrameScorer as FrameScorerPort
from edge_agent.scoring import frame_interpreter
from edge_agent.scoring.frame_interpreter import FrameScorer
from tests.tiny_frame_graphs import H, W, adding, adding_up, logarithm, of_floats, of_grey, telling, without_map
from tests.tiny_graphs import summing

FRAME = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
ONES = np.ones((H, W, 3), np.uint8)


def test_score_and_map_are_what_the_graph_gives() -> None:
    result = FrameScorer(*adding()).score(FRAME)
    assert result.value == FRAME.sum()
    np.testing.assert_array_equal(result.map, FRAME.sum(axis=2, dtype=np.float32))
    assert result.took_ns > 0


def test_it_is_what_the_pipeline_asks_for() -> None:
    port: FrameScorerPort = FrameScorer(*adding())
    assert (port.frame_shape, port.streaming, port.describe()["format"]) == ((H, W), False, "float32")


def test_the_size_of_its_maps_is_known_before_the_first_frame() -> None:
    assert FrameScorer(*adding()).map_shape == (H, W)


def test_a_graph_without_a_map_gives_none() -> None:
    scorer = FrameScorer(*without_map())
    assert (scorer.map_shape, scorer.score(FRAME).map) == (None, None)


def test_the_kinds_of_defect_are_told_for_each_cell() -> None:
    scorer = FrameScorer(*telling())
    kinds = scorer.score(FRAME).kinds
    assert (scorer.classes, kinds.shape) == (3, (H, W, 3))
    np.testing.assert_allclose(kinds.sum(axis=2), 1, rtol=1e-6)
    clear = np.ptp(np.sort(FRAME, axis=2)[..., 1:], axis=2) > 0
    np.testing.assert_array_equal(kinds.argmax(axis=2)[clear], FRAME.argmax(axis=2)[clear])


def test_a_graph_that_tells_no_kinds_apart_gives_none() -> None:
    scorer = FrameScorer(*adding())
    assert (scorer.classes, scorer.score(FRAME).kinds) == (0, None)


@pytest.mark.parametrize("output", ["kinds", "map"], ids=["more cells than the score", "no axis of kinds"])
def test_kinds_of_another_shape_are_refused(output: str) -> None:
    model, face = telling()
    with pytest.raises(ScoringError, match=r"kinds tensor must have shape \[1, 1, 1, C\]"):
        FrameScorer(model, dataclasses.replace(face, map=None, kinds=getattr(face, output)))


def test_a_read_only_view_with_strides_is_scored() -> None:
    view = np.repeat(FRAME, 2, axis=1)[:, ::2]
    view.flags.writeable = False
    assert FrameScorer(*adding()).score(view).value == FRAME.sum()


def test_a_map_outlives_the_next_call() -> None:
    scorer = FrameScorer(*adding())
    first = scorer.score(ONES).map
    scorer.score(FRAME)
    np.testing.assert_array_equal(first, np.full((H, W), 3, np.float32))


@pytest.mark.parametrize(
    "pixels", [ONES[:-1], ONES[..., :2], ONES.astype(np.float32)], ids=["size", "channels", "type"]
)
def test_a_frame_of_another_kind_is_an_error_and_not_a_crash(pixels: np.ndarray) -> None:
    with pytest.raises(ScoringError, match="failed on a frame"):
        FrameScorer(*adding()).score(pixels)


def test_a_score_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ScoringError, match="gave the score -inf"):
        FrameScorer(*logarithm()).score(ONES * 0)


def test_a_map_that_is_not_finite_everywhere_is_left_to_who_looks_at_it() -> None:
    half = ONES.copy()
    half[: H // 2] = 0
    cells = FrameScorer(*logarithm()).score(half).map
    assert np.isneginf(cells[: H // 2]).all()
    assert np.isfinite(cells[H // 2 :]).all()


def test_a_streaming_graph_carries_its_state_until_a_reset() -> None:
    scorer = FrameScorer(*adding_up())
    assert scorer.streaming
    assert [scorer.score(ONES).map[0, 0] for _ in range(3)] == [3.0, 6.0, 9.0]
    scorer.reset()
    assert scorer.score(ONES).map[0, 0] == 3.0


def test_the_state_is_begun_anew_after_a_failure() -> None:
    scorer = FrameScorer(*adding_up())
    scorer.score(ONES)
    with pytest.raises(ScoringError):
        scorer.score(ONES[:-1])
    assert scorer.score(ONES).map[0, 0] == 3.0


@pytest.mark.parametrize(("change", "message"), [({"frame": 99}, "as input.*frame"), ({"map": 99}, "as output.*map")])
def test_a_manifest_that_names_other_tensors_is_refused_at_loading(change: dict[str, Any], message: str) -> None:
    model, spec = adding()
    with pytest.raises(ScoringError, match=message):
        FrameScorer(model, dataclasses.replace(spec, **change))


def test_a_manifest_that_swaps_score_and_map_is_refused_at_loading() -> None:
    model, spec = adding()
    with pytest.raises(ScoringError, match=r"score tensor must have shape \[1\]"):
        FrameScorer(model, dataclasses.replace(spec, score=spec.map, map=spec.score))


def test_a_graph_that_takes_floats_is_refused() -> None:
    with pytest.raises(ScoringError, match="the frame tensor must be uint8, got float32"):
        FrameScorer(*of_floats())


def test_a_graph_of_another_number_of_colours_is_refused() -> None:
    with pytest.raises(ScoringError, match=r"shape \[1, H, W, 3\], got \[1, 12, 16, 1\]"):
        FrameScorer(*of_grey())


def test_a_map_of_too_many_cells_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_interpreter, "MAX_MAP_CELLS", H * W - 1)
    with pytest.raises(ScoringError, match="a map may have 1 to 191 cells, the graph's has 12 x 16"):
        FrameScorer(*adding())


def test_a_state_that_the_manifest_does_not_name_is_refused() -> None:
    model, spec = adding_up()
    with pytest.raises(ScoringError, match="inputs that the manifest does not name"):
        FrameScorer(model, dataclasses.replace(spec, states=()))


def test_a_graph_on_windows_is_refused() -> None:
    model, spec = summing()
    frame = dataclasses.replace(adding()[1], frame=spec.window, score=spec.score, map=None)
    with pytest.raises(ScoringError, match="the frame tensor must be uint8"):
        FrameScorer(model, frame)


@pytest.mark.parametrize("delegate", ["none", "xnnpack"])
def test_both_kinds_of_kernels_give_the_score(delegate: str) -> None:
    assert FrameScorer(*adding(), delegate=delegate).score(FRAME).value == FRAME.sum()
