"""Parity, cases and golden frames of graphs on frames, on scores and maps written by hand."""

from pathlib import Path

import numpy as np
import pytest

from converters.frames.cases import SEQUENCES, STEPS_AFTER_WARM_UP, FrameCases, cases, moved, patched
from converters.frames.golden import FRAMES, golden_index
from converters.frames.parity import FEW_NORMAL, compare_frames
from converters.parity import MAX_RATIO_CHANGE
from converters.running import Outputs
from tests.frame_runs import SIZE, WARM_UP, frame_run, pictures
from training.image_artifacts import FrameRun, Optimism, write_frames

NORMAL, STRANGE, GRID = 40, 20, 6


def made(normal: int = NORMAL) -> tuple[FrameCases, tuple[np.ndarray, np.ndarray]]:
    """Cases, and what the float model gives: scores that rise, maps with one strong cell in strange frames."""
    rng = np.random.default_rng(0)
    count = normal + STRANGE
    strange = np.arange(count) >= normal
    maps = rng.uniform(0.5, 1.5, (count, GRID, GRID)).astype(np.float32)
    for number in np.flatnonzero(strange):
        row, column = rng.integers(0, GRID, 2)
        maps[number, row, column] = 5 + rng.uniform()
    given = FrameCases(inputs=np.zeros((count, 1, 1, 3), np.uint8), strange=strange, labelled=True, warm_up=0)
    return given, (np.linspace(1, 2, count).astype(np.float32) + 2 * strange, maps)


WATCHED = np.ones((GRID, GRID), bool)


def test_the_float_model_agrees_with_itself() -> None:
    given, want = made()
    parity = compare_frames(
        given, WATCHED, Outputs(scores=want[0], maps=want[1]), Outputs(scores=want[0], maps=want[1])
    )
    assert parity.problems() == []
    assert parity.figures()["peak_found"] == parity.figures()["map_correlation"] == 1


def test_scores_of_another_scale_differ_in_nothing_that_matters() -> None:
    given, (scores, maps) = made()
    assert (
        compare_frames(
            given, WATCHED, Outputs(scores=2 * scores + 1, maps=maps), Outputs(scores=scores, maps=maps)
        ).problems()
        == []
    )


def test_a_map_that_shows_another_place_is_refused() -> None:
    given, (scores, maps) = made()
    turned = np.roll(maps, GRID // 2, axis=2)
    parity = compare_frames(given, WATCHED, Outputs(scores=scores, maps=turned), Outputs(scores=scores, maps=maps))
    assert parity.maps is not None
    assert parity.maps.peak_found < 0.2
    assert any("strongest cell" in problem for problem in parity.problems())


def test_a_place_that_is_nearly_as_strong_is_as_good() -> None:
    given, (scores, maps) = made()
    for row, one in enumerate(maps[NORMAL:]):
        one[...] = 1
        one[row % 2, 0], one[5, 5] = 5.0, 4.9
    other = maps.copy()
    other[NORMAL:, 5, 5] = 5.1
    parity = compare_frames(given, WATCHED, Outputs(scores=scores, maps=other), Outputs(scores=scores, maps=maps))
    assert parity.maps is not None
    assert parity.maps.peak_found == 1


def test_cells_that_a_mask_leaves_out_do_not_count() -> None:
    given, (scores, maps) = made()
    watched = WATCHED.copy()
    watched[0, 0] = False
    wild = maps.copy()
    wild[:, 0, 0] = 1000
    assert (
        compare_frames(given, watched, Outputs(scores=scores, maps=wild), Outputs(scores=scores, maps=maps)).problems()
        == []
    )
    assert (
        compare_frames(given, WATCHED, Outputs(scores=scores, maps=wild), Outputs(scores=scores, maps=maps)).problems()
        != []
    )


def test_a_largest_cell_that_is_off_is_refused() -> None:
    given, (scores, maps) = made()
    parity = compare_frames(given, WATCHED, Outputs(scores=scores, maps=1.3 * maps), Outputs(scores=scores, maps=maps))
    assert parity.problems() == ["the largest cell is off by 30.0%, at most 15%"]


@pytest.mark.parametrize(("normal", "refused"), [(FEW_NORMAL, True), (FEW_NORMAL - 1, False)])
def test_ranks_of_a_few_normal_frames_are_not_judged(normal: int, *, refused: bool) -> None:
    given, (scores, _) = made(normal)
    shuffled = scores.copy()
    shuffled[:normal:2] = shuffled[:normal:2][::-1]
    problems = compare_frames(given, None, Outputs(scores=shuffled), Outputs(scores=scores)).problems()
    assert any("within normals" in problem for problem in problems) is refused


def test_normal_frames_that_scatter_more_are_refused() -> None:
    given, (scores, _) = made()
    wide = scores.copy()
    wide[:NORMAL] += 0.3 * (scores[:NORMAL] - np.median(scores[:NORMAL]))
    parity = compare_frames(given, None, Outputs(scores=wide), Outputs(scores=scores))
    assert parity.scores.ratio_change == pytest.approx(1 - 1 / 1.3, abs=0.02)
    assert any("ratio changes" in problem for problem in parity.problems())


def test_a_change_of_the_distance_that_chance_explains_is_not_refused() -> None:
    given, (scores, _) = made(16)
    rng = np.random.default_rng(6)
    noisy = scores + rng.normal(0, 0.1, len(scores)).astype(np.float32)
    parity = compare_frames(given, None, Outputs(scores=noisy), Outputs(scores=scores))
    assert parity.scores.ratio_change > MAX_RATIO_CHANGE > parity.ratio_change_shown
    assert not any("ratio changes" in problem for problem in parity.problems())


def with_kinds(*, told: float, share: float = 1.0) -> tuple[Outputs, Outputs]:
    """A graph and the float model, which tells the second kind where it is strange; the graph does in a share."""
    _, (scores, maps) = made()
    want = np.full((*maps.shape, 2), 0.5, np.float32)
    want[NORMAL:][maps[NORMAL:] == maps[NORMAL:].max(axis=(1, 2), keepdims=True)] = 1 - told, told
    got, other = want.copy(), slice(NORMAL, NORMAL + round((1 - share) * STRANGE))
    got[other] = want[other][..., ::-1]
    return Outputs(scores=scores, maps=maps, kinds=got), Outputs(scores=scores, maps=maps, kinds=want)


@pytest.mark.parametrize(("share", "refused"), [(1.0, False), (0.9, False), (0.85, True)])
def test_kinds_that_differ_in_more_than_a_tenth_are_refused(share: float, *, refused: bool) -> None:
    given, _ = made()
    parity = compare_frames(given, WATCHED, *with_kinds(told=0.9, share=share))
    assert parity.kinds_agreed == parity.figures()["kinds_agreed"] == share
    assert any("kind agrees in 85.0%" in problem for problem in parity.problems()) is refused


def test_a_kind_that_is_nearly_as_likely_is_as_good() -> None:
    given, _ = made()
    assert compare_frames(given, WATCHED, *with_kinds(told=0.52, share=0)).kinds_agreed == 1


def test_kinds_without_a_map_are_those_of_the_frame() -> None:
    given, (scores, _) = made()
    kinds = np.full((NORMAL + STRANGE, 1, 1, 2), (0.2, 0.8), np.float32)
    want, turned = (Outputs(scores=scores, kinds=each) for each in (kinds, kinds[..., ::-1]))
    assert compare_frames(given, None, want, want).kinds_agreed == 1
    assert compare_frames(given, None, turned, want).kinds_agreed == 0


def test_a_detector_that_tells_no_kinds_has_no_figure_of_them() -> None:
    given, (scores, maps) = made()
    want = Outputs(scores=scores, maps=maps)
    assert "kinds_agreed" not in compare_frames(given, WATCHED, want, want).figures()


def test_frames_of_a_sequence_that_warm_up_do_not_count() -> None:
    rng = np.random.default_rng(0)
    strange = np.zeros((6, 12), bool)
    strange[3:, 8:] = True
    given = FrameCases(inputs=np.zeros((6, 12, 1, 1, 3), np.uint8), strange=strange, labelled=True, warm_up=4)
    scores = (rng.uniform(1, 2, (6, 12)) + 2 * strange).astype(np.float32)
    other = scores.copy()
    other[:, :4] = 1e6
    parity = compare_frames(given, None, Outputs(scores=other), Outputs(scores=scores))
    assert (parity.problems(), parity.normal) == ([], 6 * 8 - 12)


def seen_by_the_fit(run: FrameRun, tested: int) -> FrameRun:
    """The same run of a fit that saw the validation frames, with so many test frames."""
    write_frames(
        run.path,
        calibration=run.calibration,
        validation=run.validation,
        test=run.test[:tested],
        test_labels=run.test_labels[:tested],
        optimism=Optimism(scores=np.ones(40, np.float32), maps=np.ones((40, GRID, GRID), np.float32)),
    )
    return FrameRun.read(run.path)


def test_frames_that_the_fit_saw_are_left_to_normal_test_frames_that_it_did_not(run: FrameRun) -> None:
    found = cases(seen_by_the_fit(run, 40))
    assert np.array_equal(found.inputs, np.concatenate([run.test[~run.test_labels], run.test[run.test_labels]]))
    assert found.moved == 0


def test_where_normal_test_frames_are_few_those_that_the_fit_saw_are_moved(run: FrameRun) -> None:
    found = cases(seen_by_the_fit(run, 20))
    assert (found.moved, len(found.inputs)) == (40, 40 + 20)
    assert (found.inputs[:40] != run.validation).any(axis=(1, 2, 3)).all()
    assert np.array_equal(found.inputs[40:], run.test[:20])


def test_a_frame_is_moved_by_a_few_pixels_and_its_rim_repeated() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (40, 200, 240, 3)).astype(np.uint8)
    steps = set()
    for frame, found in zip(frames, moved(frames), strict=True):
        padded = np.pad(frame, ((2, 2), (2, 2), (0, 0)), mode="edge")
        places = [(d, r) for d in range(5) for r in range(5) if np.array_equal(padded[d : d + 200, r : r + 240], found)]
        assert len(places) == 1
        steps.add(places[0])
    assert (2, 2) not in steps
    assert len(steps) > 12


def test_golden_are_normal_frames_and_the_strangest() -> None:
    given, (scores, _) = made()
    chosen = golden_index(given, scores)
    assert len(chosen) == FRAMES
    assert chosen[FRAMES // 2 :].tolist() == np.argsort(scores)[-FRAMES // 2 :].tolist()
    assert not given.strange[chosen[: FRAMES // 2]].any()


@pytest.fixture
def run(tmp_path: Path) -> FrameRun:
    return frame_run(tmp_path / "run", tmp_path)


def without_defects(run: FrameRun) -> FrameRun:
    write_frames(
        run.path,
        calibration=run.calibration,
        validation=run.validation,
        test=run.test[:0],
        test_labels=run.test_labels[:0],
    )
    return FrameRun.read(run.path)


def test_test_frames_are_the_strange_ones_where_there_are_defects(run: FrameRun) -> None:
    found = cases(run)
    assert found.labelled
    assert np.array_equal(found.inputs[found.strange], run.test[run.test_labels])


def test_patched_frames_stand_for_defects_where_there_are_none(run: FrameRun) -> None:
    found = cases(without_defects(run))
    assert not found.labelled
    assert (int((~found.strange).sum()), int(found.strange.sum())) == (40, 32)


def test_defects_that_no_sequence_shows_are_patched_and_not_called_labelled(tmp_path: Path) -> None:
    run = frame_run(tmp_path / "run", tmp_path, streaming=True)
    labels = np.zeros(len(run.test), bool)
    labels[0] = True  # in the warm-up of the only sequence that it is in
    write_frames(run.path, calibration=run.calibration, validation=run.validation, test=run.test, test_labels=labels)
    found = cases(FrameRun.read(run.path))
    assert found.counted.any()
    assert not found.labelled


def test_a_patch_changes_a_part_of_the_frame_alone() -> None:
    frames = pictures(4, 0)
    changed = (patched(frames) != frames).any(axis=3).mean(axis=(1, 2))
    assert ((changed > 0) & (changed < 0.15)).all()


def test_cases_of_a_streaming_detector_are_neighbours_in_order(tmp_path: Path) -> None:
    run = frame_run(tmp_path / "run", tmp_path, streaming=True)
    found = cases(run)
    assert found.inputs.shape[1:] == (WARM_UP + STEPS_AFTER_WARM_UP, SIZE, SIZE, 3)
    assert len(found.inputs) <= 2 * SEQUENCES
    assert np.array_equal(found.inputs[0], run.validation[: WARM_UP + STEPS_AFTER_WARM_UP])
    strange = found.counted.any(axis=1).tolist()
    assert strange == sorted(strange)
    assert any(strange)
