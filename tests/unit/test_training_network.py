"""What networks are trained on: nothing that early stopping watches, and faults that they must leave out."""

import os

import numpy as np
import pytest

from edge_agent.contract.records import Floats

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

T = 8


def windows(count: int) -> Floats:
    """Overlapping windows [count, T, 2] whose values are their row numbers."""
    rows = np.arange(count + T - 1, dtype=np.float32)
    view = np.lib.stride_tricks.sliding_window_view(rows, T)
    return np.repeat(view[:, :, np.newaxis], 2, axis=2)


def test_what_early_stopping_watches_shares_no_row_with_what_is_trained_on() -> None:
    from training.detectors.network import kept_apart
    from training.recipe import TrainingSettings

    trained, watched = kept_apart(windows(400), TrainingSettings(stopping=0.2), T - 1)
    assert len(watched) == 80
    assert trained.max() < watched.min()
    assert len(trained) == 400 - 80 - (T - 1)


def test_too_few_windows_or_no_patience_leave_nothing_to_watch() -> None:
    from training.detectors.network import kept_apart
    from training.recipe import TrainingSettings

    for count, settings in ((100, TrainingSettings(stopping=0.2)), (400, TrainingSettings(stopping=0.2, patience=0))):
        trained, watched = kept_apart(windows(count), settings, T - 1)
        assert len(trained) == count
        assert len(watched) == 0


def test_faulty_copies_must_be_answered_by_the_normal_windows_they_were() -> None:
    from training.detectors.denoising import EVERY, KINDS, with_faults

    z = np.random.default_rng(0).standard_normal((90, T, 3)).astype(np.float32)
    given, wanted = with_faults(z, 20.0, seed=1)
    copies = len(KINDS) * 90 // EVERY
    assert len(given) == len(wanted) == 90 + copies
    assert np.array_equal(given[copies:], z)
    assert np.array_equal(wanted[copies:], z)
    changed = (given != wanted).any(axis=1)[:copies]
    assert (changed.sum(axis=1) == 1).all(), "each copy has a fault in one channel"
    assert all((z == clean).all(axis=(1, 2)).any() for clean in wanted[:copies])


def test_the_same_seed_gives_the_same_faults() -> None:
    from training.detectors.denoising import with_faults

    z = np.random.default_rng(0).standard_normal((40, T, 3)).astype(np.float32)
    assert np.array_equal(with_faults(z, 20.0, seed=1)[0], with_faults(z, 20.0, seed=1)[0])
    assert not np.array_equal(with_faults(z, 20.0, seed=1)[0], with_faults(z, 20.0, seed=2)[0])
