"""The prefilter's lower limit hides at most one in a hundred alarms, and gates only where that pays."""

from __future__ import annotations

import numpy as np
import pytest

from converters import gating
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import Floats

SPREAD = np.ones(2)


@pytest.fixture(scope="module")
def normal() -> Floats:
    return np.random.default_rng(0).standard_normal((800, 8, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def prefilter(normal: Floats) -> Prefilter:
    return Prefilter.fit(normal[:400])


def network(windows: Floats) -> np.ndarray:
    """Alarms where any channel's mean is far off."""
    return np.abs(windows.mean(axis=1)).max(axis=1) > 1.5


def test_faults_are_taken_where_half_of_the_windows_alarm(normal: Floats) -> None:
    faults = gating.alarming_faults(normal, SPREAD, network)
    assert network(faults).all()
    assert 3 * gating.BASE_WINDOWS / 2 < len(faults) < 7 * gating.BASE_WINDOWS


def test_the_limit_hides_at_most_one_in_a_hundred_of_either_set(normal: Floats, prefilter: Prefilter) -> None:
    injected = gating.alarming_faults(normal, SPREAD, network)
    labelled = normal[:300] + np.float32(0.4)
    lower = gating.fit_lower(prefilter, injected, labelled)
    assert lower > 0
    for windows in (injected, labelled):
        assert np.mean(prefilter.distances(windows) <= lower) <= gating.MAX_HIDDEN


def test_a_higher_limit_would_hide_more(normal: Floats, prefilter: Prefilter) -> None:
    injected = gating.alarming_faults(normal, SPREAD, network)
    lower = gating.fit_lower(prefilter, injected, None)
    assert np.mean(prefilter.distances(injected) <= np.nextafter(lower, np.inf)) > gating.MAX_HIDDEN - 1 / len(injected)


def test_a_network_that_never_alarms_leaves_nothing_to_hide(normal: Floats, prefilter: Prefilter) -> None:
    faults = gating.alarming_faults(normal, SPREAD, lambda windows: np.zeros(len(windows), bool))
    assert len(faults) == 0
    assert gating.fit_lower(prefilter, faults, None) == 0.0


@pytest.mark.parametrize(
    ("options", "mode", "reason"),
    [
        ({}, Mode.GATE, "gating pays"),
        ({"network_us": 0.001}, Mode.WATCH, "costs less than 3 prefilters"),
        ({"streaming": True}, Mode.WATCH, "every row"),
        ({"wanted": Mode.OFF}, Mode.OFF, "as the recipe says"),
        ({"lower": 0.0}, Mode.WATCH, "more time than it saves"),
    ],
)
def test_the_mode_follows_from_what_gating_saves(
    normal: Floats, prefilter: Prefilter, options: dict[str, object], mode: Mode, reason: str
) -> None:
    given: dict[str, object] = {"lower": 1e3, "wanted": Mode.GATE, "streaming": False, "network_us": 1e5} | options
    judged = gating.judge(prefilter=prefilter, injected=normal[:0], labelled=None, later=normal[400:], **given)  # type: ignore[arg-type]
    assert (judged.mode, reason in judged.reason) == (mode, True)


def test_any_shipped_graph_counts(normal: Floats) -> None:
    first, second = np.arange(800) < 3, np.arange(800) > 796
    assert gating.any_alarm([lambda _: first, lambda _: second])(normal).sum() == 6
