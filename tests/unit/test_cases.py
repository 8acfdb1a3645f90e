"""What graphs are judged on: faults that grow finely, in several windows, to either side, far out of every bound."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from converters.cases import CASES, GROWTH_BASES, GROWTH_START, SEQUENCES, Cases, cases
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.manifest import DecisionSpec, InputSpec
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import NS, Channel
from training.artifacts import Run, RunInfo

C, BODY_RANGE = 2, 20.0
CENTRE, SPREAD = np.array([5.0, -40.0]), np.array([0.5, 3.0])
INPUT = InputSpec(
    channels=(Channel(name="a"), Channel(name="b")),
    rate_hz=1.0,
    window=8,
    stride=1,
    hold=0,
    max_gap_s=3.5,
    stuck_samples=(None, None),
)
STREAM = replace(INPUT, window=1, streaming=True, warm_up=10)


class Recorded(Run):
    """A run whose validation readings are given instead of read."""

    @property
    def validation(self):
        return (CENTRE + SPREAD * np.random.default_rng(0).standard_normal((120, C))).astype(np.float32), np.arange(
            120
        ) * NS


def cases_of(spec: InputSpec) -> Cases:
    return cases(
        Recorded(
            path=Path("nowhere"),
            info=RunInfo(
                name="x",
                created="2026-01-02T03:04:05Z",
                detector="conv_autoencoder",
                has_body=True,
                body_range=BODY_RANGE,
                centre=tuple(CENTRE),
                spread=tuple(SPREAD),
                input=spec,
                decision=DecisionSpec(rule=DecisionRule(hold_off_s=10.0), alarms_per_day=1.0),
                k=3.0,
                prefilter_mode=Mode.GATE,
                max_skip_s=60.0,
            ),
        )
    )


def growing(found: Cases) -> np.ndarray:
    """Growing cases in spreads, [faults, severities, T or L, C]."""
    z = (found.inputs[found.normal + found.faulty :] - CENTRE) / SPREAD
    return z.reshape(*found.growth, *z.shape[1:])


def test_a_fault_grows_to_either_side_in_every_channel_and_in_several_windows() -> None:
    found = cases_of(INPUT)
    assert found.growth[0] == C * 2 * GROWTH_BASES
    last = growing(found)[:, -1, -1]
    ends = {(int(channel), float(np.sign(row[channel]))) for row in last for channel in [np.abs(row).argmax()]}
    assert ends == {(0, -1.0), (0, 1.0), (1, -1.0), (1, 1.0)}
    assert len({tuple(fault[0, 0]) for fault in growing(found)}) >= GROWTH_BASES


@pytest.mark.parametrize("spec", [INPUT, STREAM], ids=["windows", "stream"])
def test_severities_rise_finely_inside_the_range_of_the_body_and_on_to_the_clamp(spec: InputSpec) -> None:
    found = cases_of(spec)
    before = (found.inputs[0, -1, 0] - CENTRE[0]) / SPREAD[0]
    severities = np.abs(growing(found)[0, :, -1, 0] - before)
    inside = severities[: found.growth_inside]
    assert inside[0] == pytest.approx(GROWTH_START, rel=1e-3)
    assert (inside[1:] / inside[:-1]).max() < 1.25
    assert inside[-1] < BODY_RANGE <= severities[found.growth_inside] * (1 + 1e-6)
    assert severities[-1] == pytest.approx(1e6, rel=1e-4)


def test_a_stream_gives_many_held_out_sequences_even_of_short_recordings() -> None:
    assert cases_of(STREAM).normal == SEQUENCES


def test_the_faults_of_sequences_lie_where_scores_count() -> None:
    found = cases_of(STREAM)
    normal, faulty = found.inputs[: found.normal], found.inputs[found.normal : found.normal + found.faulty]
    assert len(faulty) == CASES
    before = {sequence[: STREAM.warm_up].tobytes() for sequence in normal}
    assert all(sequence[: STREAM.warm_up].tobytes() in before for sequence in faulty)
    assert all((sequence != normal).any(axis=(1, 2)).all() for sequence in faulty)
