"""Ensembles: who may be a member, what each sees, and one scale for all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.contract.records import Floats
from tests.recordings import recipe, write_csv
from training.artifacts import Run
from training.data import DataError
from training.recipe import RecipeError, TrainingSettings, parse_recipe

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

MEANS = {"type": "trailing_means", "rows": [2]}


def windows(count: int, *, seed: int = 0) -> Floats:
    """Normal windows float32 [n, 4, 2]."""
    return np.random.default_rng(seed).standard_normal((count, 4, 2)).astype(np.float32)


def fitted(normal: Floats, *members: dict[str, Any], **settings: Any) -> Any:
    from training.detectors.base import NormalData
    from training.detectors.ensemble import EnsembleDetector, EnsembleSettings
    from training.graph import Front

    front = Front(centre=np.zeros(2), spread=np.ones(2), body_range=20.0)
    asked = EnsembleSettings(members=members, **settings)
    ensemble = EnsembleDetector(asked, TrainingSettings(), front, 4, (MEANS,))
    ensemble.fit(NormalData(windows=normal), progress=False)
    return ensemble


def run_of(folder: Path, settings: str) -> Run:
    from training.fit import fit, locate

    text = recipe("ensemble", settings, epochs=1)
    parsed = parse_recipe(text)
    return fit(parsed, locate(parsed, text, folder), folder / "run", progress=False)


def test_members_are_in_one_unit_on_windows_that_none_was_fitted_on() -> None:
    from training.detectors.members import window_scores

    normal = windows(400)
    ensemble = fitted(normal, {"type": "gaussian"}, {"type": "pca"})
    for member, scale in zip(ensemble.members, ensemble.scales, strict=True):
        scores = (window_scores(member.score_graph(), normal[300:]) - scale.median) / scale.unit
        assert np.median(scores) == pytest.approx(0, abs=1e-6)
        assert np.quantile(scores, 0.99) == pytest.approx(1, abs=1e-6)


def test_mean_and_max_combine_what_the_members_say() -> None:
    from training.detectors.ensemble import Combine
    from training.detectors.members import window_scores

    normal, fresh = windows(200), windows(20, seed=1)
    by = {how: fitted(normal, {"type": "gaussian"}, {"type": "pca"}, combine=how) for how in Combine}
    alone = [
        (window_scores(member.score_graph(), fresh) - scale.median) / scale.unit
        for member, scale in zip(by[Combine.MEAN].members, by[Combine.MEAN].scales, strict=True)
    ]
    for how, combined in ((Combine.MEAN, np.mean), (Combine.MAX, np.max)):
        np.testing.assert_allclose(
            window_scores(by[how].score_graph(), fresh), combined(alone, axis=0), rtol=1e-4, atol=1e-5
        )


def test_held_out_windows_reach_no_member() -> None:
    normal = windows(400)
    changed = normal.copy()
    changed[300:] *= 3
    before, after = (fitted(x, {"type": "gaussian"}, {"type": "pca"}) for x in (normal, changed))
    for one, other in zip(before.members, after.members, strict=True):
        np.testing.assert_array_equal(one.form.root, other.form.root)
    assert after.scales[0].unit > 5 * before.scales[0].unit


def test_bagged_members_of_one_kind_see_different_data_and_the_same_again() -> None:
    members = ({"type": "gaussian", "share": 0.5}, {"type": "gaussian", "share": 0.5}, {"type": "gaussian"})
    first, again = fitted(windows(400), *members), fitted(windows(400), *members)
    means = [member.form.mean.tolist() for member in first.members]
    assert len({tuple(mean) for mean in means}) == 3
    assert means == [member.form.mean.tolist() for member in again.members]


def test_a_member_may_have_steps_of_its_own() -> None:
    ensemble = fitted(windows(200), {"type": "gaussian"}, {"type": "gaussian", "steps": [{"type": "flatten"}]})
    assert [member.steps.count for member in ensemble.members] == [2, 8]


def test_a_member_whose_scores_do_not_vary_does_not_outweigh_the_others() -> None:
    import tensorflow as tf

    from training.detectors.ensemble import Scale
    from training.graph import ScoreGraph

    flat = ScoreGraph(function=lambda window: {"score": window[:, 0, 0] * 0.0 + 5.0}, inputs={"window": (1, 4, 2)})
    scale = Scale.fit(flat, windows(20))
    assert scale.unit == pytest.approx(5e-3)
    assert np.isfinite(scale.graph(tf.constant([1e20])).numpy()).all()


def test_a_network_among_the_members_is_a_body_beside_others_in_float(tmp_path: Path) -> None:
    write_csv(tmp_path / "machine.csv")
    network = "{type = 'conv_autoencoder', filters = 2, code = 2, kernel = 3}"
    with_network = run_of(tmp_path, f"members = [{{type = 'gaussian'}}, {network}]")
    assert with_network.info.has_body
    assert "members[1] loss" in with_network.metrics["fit"]["curves"]
    assert not run_of(tmp_path, "members = [{type = 'gaussian'}, {type = 'pca'}]").info.has_body


def test_holding_out_nearly_all_windows_is_refused() -> None:
    with pytest.raises(DataError, match=r"9 of 100 windows are left .* smaller detector.held_out"):
        fitted(windows(100), {"type": "gaussian"}, {"type": "pca"}, held_out=0.88)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("members = [{type = 'gaussian'}]", "at least 2 members, got 1"),
        (
            "members = [{type = 'gaussian'}, {type = 'pcaa'}]",
            r"members\[1\].type 'pcaa' is not known, did you mean 'pca'",
        ),
        ("members = [{type = 'gaussian'}, {type = 'pca', varianc = 0.5}]", "did you mean 'variance'"),
        ("members = [{type = 'gaussian'}, {type = 'pca', share = 0}]", r"members\[1\].share must be above 0"),
        ("members = [{type = 'gaussian'}, {type = 'pca', steps = 1}]", r"members\[1\].steps must be tables"),
        (
            "members = [{type = 'gaussian'}, {type = 'pca', steps = [{type = 'trailing_mean'}]}]",
            r"small: detector.members\[1\]: steps\[0\].type 'trailing_mean' is not known",
        ),
        ("members = [{type = 'gaussian'}, {type = 'lstm_forecaster'}]", "one row at a time"),
        ("members = [{type = 'gaussian'}, {type = 'svm'}]", "from labelled faults, members from normal windows alone"),
        ("combine = 'median'", "max"),
        ("held_out = 1.0", "held_out must be a share"),
    ],
)
def test_members_that_do_not_go_together_are_refused(tmp_path: Path, settings: str, words: str) -> None:
    write_csv(tmp_path / "machine.csv")
    with pytest.raises(RecipeError, match=words):
        run_of(tmp_path, settings)
