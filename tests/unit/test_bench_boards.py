"""The published methods of the bench: shapes, causality, determinism, and a fault that each must find."""

from functools import cache

import numpy as np
import pytest

from training.experiments.bench import boards
from training.experiments.bench.boards import BOARDS, LOOK_AHEAD_ROWS, by_covering_windows

TRAINED, COUNT, CHANGED = 130, 420, 260
FAULT = slice(200, 300)


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "EPOCHS", 1)


@cache
def recording() -> np.ndarray:
    """Three related channels, float32 [COUNT, 3], with a fault far off the rest."""
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(COUNT) / 7)[:, np.newaxis] * [1.0, 0.5, -1.0]
    readings = (waves + 0.2 * rng.normal(size=(COUNT, 3))).astype(np.float32)
    readings[FAULT] += 8
    return readings


@cache
def judged(name: str) -> tuple[np.ndarray, np.ndarray]:
    return BOARDS[name](recording()[:TRAINED], recording(), 3)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_judges_every_reading(name: str) -> None:
    alarms, scores = judged(name)
    assert (alarms.shape, alarms.dtype) == ((COUNT,), np.bool_)
    assert (scores.shape, scores.dtype) == ((COUNT,), np.float64)
    assert np.isfinite(scores).all()
    assert np.array_equal(alarms, scores > 1)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_finds_a_gross_fault(name: str) -> None:
    alarms, _ = judged(name)
    assert alarms[FAULT.start + 5 : FAULT.start + 15].all()
    assert not alarms[60 : FAULT.start - 60].any()


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_says_the_same_again_up_to_the_rows_that_it_looks_ahead(name: str) -> None:
    changed = recording().copy()
    changed[CHANGED:] = 0
    _, scores = BOARDS[name](changed[:TRAINED], changed, 3)
    differs = np.flatnonzero(scores != judged(name)[1])
    assert differs[0] >= CHANGED - LOOK_AHEAD_ROWS[name]
    if not LOOK_AHEAD_ROWS[name]:
        assert differs[0] <= CHANGED + 2  # a trailing median of 5 turns at its third row


def test_only_the_autoencoders_look_ahead() -> None:
    assert {name: rows for name, rows in LOOK_AHEAD_ROWS.items() if rows} == {"board_conv_ae": 58, "board_lstm_ae": 8}
    assert LOOK_AHEAD_ROWS.keys() == BOARDS.keys()


def test_a_row_has_the_lowest_score_of_the_windows_that_cover_it() -> None:
    # Windows of 3 rows begin at rows 0..5. Row 2 takes those that begin at 0 and 1, row 3 those at 1 and 2; the last
    # four rows and the first two are not judged.
    windows = np.array([5.0, 4, 3, 6, 7, 1])
    assert by_covering_windows(windows, 3).tolist() == [0, 0, 4, 3, 0, 0, 0, 0]


@pytest.mark.parametrize("how", [boards.CONVOLUTIONAL, boards.RECURRENT])
def test_the_look_ahead_is_that_of_the_last_window_of_a_row(how: boards._Windowed) -> None:
    windows = np.full(4 * how.rows, 5.0)
    windows[2 * how.rows] = 1.0
    first = int(np.flatnonzero(by_covering_windows(windows, how.rows) == 1.0)[0])
    assert 2 * how.rows + how.rows - 1 - first == how.look_ahead


def test_a_constant_channel_is_left_out() -> None:
    readings = np.column_stack([recording(), np.full(COUNT, 7.0, np.float32)])
    for name in ("board_t2", "board_t2_q"):
        assert np.array_equal(BOARDS[name](readings[:TRAINED], readings, 0)[1], judged(name)[1])


def test_an_autoencoder_refuses_recordings_shorter_than_two_windows() -> None:
    with pytest.raises(ValueError, match="at least 120 rows, got 119 to train and 420 to judge"):
        BOARDS["board_conv_ae"](recording()[:119], recording(), 0)
