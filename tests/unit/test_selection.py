"""Which graph of a bundle runs: golden data first, speed second. The graphs are real and small, the bundle is not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.manifest import GraphFace, GraphFormat, GraphSpec
from edge_agent.errors import ManifestError, ScoringError
from edge_agent.scoring import selection
from edge_agent.scoring.interpreter import TFLiteScorer
from edge_agent.scoring.selection import choose, golden_error, golden_scores, try_graph
from edge_agent.scoring.settings import ScoringSettings
from tests.bundles import manifest, members
from tests.tiny_graphs import C, T, adding_up, logarithm, summing

WINDOWS = np.arange(3 * T * C, dtype=np.float32).reshape(3, T, C) + 1
SEQUENCE = np.ones((2, 5, C), np.float32)


@dataclass
class SmallBundle:
    """What selection asks of a bundle, with any graphs in it."""

    graphs: dict[str, tuple[bytes, GraphFace]]
    golden_data: dict[str, Any]
    tolerances: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def manifest(self) -> Any:
        calibration = manifest(members()).graphs[0].calibration
        return SimpleNamespace(
            graphs=tuple(
                GraphSpec(
                    format=GraphFormat(name),
                    window=face.window,
                    score=face.score,
                    contributions=face.contributions,
                    states=face.states,
                    file=f"model_{name}.tflite",
                    sha256="0" * 64,
                    size=len(model),
                    calibration=calibration,
                    golden_tolerance=self.tolerances.get(name, {"litert": 1e-5}),
                )
                for name, (model, face) in self.graphs.items()
            )
        )

    def graph(self, name: str) -> bytes:
        return self.graphs[name][0]

    def golden(self) -> dict[str, Any]:
        return self.golden_data


def sums(scale: float = 1.0) -> np.ndarray:
    return (WINDOWS.sum(axis=(1, 2)) * scale).astype(np.float32)


def two_graphs(**golden: Any) -> SmallBundle:
    """int8 and float32 that are the same graph."""
    data = {"windows": WINDOWS, "score_int8": sums(), "score_float32": sums()} | golden
    return SmallBundle({"int8": summing(), "float32": summing()}, data)


def test_a_graph_that_gives_its_golden_scores_may_run() -> None:
    trial, scorer, trials = choose(two_graphs(), ScoringSettings(graph="int8"))
    assert (trial.spec.format, trial.problem, trial.golden_error) == ("int8", "", 0.0)
    assert scorer.score(WINDOWS[0]).value == WINDOWS[0].sum()
    assert len(trials) == 1


def test_a_graph_that_does_not_is_never_run_however_fast(caplog: pytest.LogCaptureFixture) -> None:
    trial, _, trials = choose(two_graphs(score_int8=sums(1.01)), ScoringSettings())
    assert trial.spec.format == "float32"
    assert "differs from the golden data" in trials[0].problem
    assert "int8 is left out" in caplog.text


def test_the_faster_of_two_that_pass_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([50.0, 20.0])
    monkeypatch.setattr(selection, "median_us", lambda *_: next(times))
    trial, _, _ = choose(two_graphs(), ScoringSettings())
    assert (trial.spec.format, trial.us_per_call) == ("float32", 20.0)


def test_a_single_graph_is_not_timed() -> None:
    trial, _, _ = choose(two_graphs(), ScoringSettings(graph="float32"))
    assert math.isnan(trial.us_per_call)


def test_no_graph_that_passes_is_an_error_with_every_reason() -> None:
    bundle = two_graphs(score_int8=sums(1.01), score_float32=sums(math.nan))
    with pytest.raises(ScoringError, match=r"int8: .*golden.*float32: .*golden"):
        choose(bundle, ScoringSettings())


def test_a_format_that_the_bundle_has_not_is_an_error_that_says_which_it_has() -> None:
    with pytest.raises(ScoringError, match="int8, float32"):
        choose(two_graphs(), ScoringSettings(graph="float16"))


def test_a_graph_that_does_not_load_leaves_the_other() -> None:
    bundle = two_graphs()
    bundle.graphs["int8"] = (b"no graph", bundle.graphs["int8"][1])
    assert choose(bundle, ScoringSettings())[0].spec.format == "float32"


@pytest.mark.parametrize(
    "golden",
    [
        {"score_int8": sums()[:2]},
        {"score_int8": np.empty(0, np.float32), "windows": np.empty((0, T, C), np.float32)},
        {"windows": WINDOWS[:, :-1]},
    ],
    ids=["too few scores", "none", "another shape"],
)
def test_golden_data_that_do_not_fit_are_a_problem_and_not_a_crash(golden: dict[str, Any]) -> None:
    trial, scorer = try_graph(two_graphs(**golden), two_graphs().manifest.graphs[0], ScoringSettings())
    assert scorer is None
    assert trial.problem


def test_missing_golden_scores_are_named() -> None:
    bundle = two_graphs()
    del bundle.golden_data["score_int8"]
    trial, _ = try_graph(bundle, bundle.manifest.graphs[0], ScoringSettings())
    assert "score_int8" in trial.problem


def test_a_graph_that_fails_only_while_it_is_timed_leaves_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_first(scorer: TFLiteScorer, window: np.ndarray) -> float:
        if not timed:
            timed.append(scorer)
            raise ScoringError("the device went away")
        return 1.0

    timed: list[TFLiteScorer] = []
    monkeypatch.setattr(selection, "median_us", fail_first)
    trial, _, trials = choose(two_graphs(), ScoringSettings())
    assert trial.spec.format == "float32"
    assert "went away" in trials[0].problem


def test_the_tolerance_is_that_of_the_runtime_in_use() -> None:
    bundle = two_graphs(score_int8=sums(1.001))
    bundle.tolerances["int8"] = {"tflite": 0.1, "litert": 1e-6}
    assert try_graph(bundle, bundle.manifest.graphs[0], ScoringSettings())[1] is None


def test_a_runtime_that_was_not_measured_has_the_widest_tolerance() -> None:
    bundle = two_graphs(score_int8=sums(1.001))
    bundle.tolerances["int8"] = {"tflite": 0.1}
    assert try_graph(bundle, bundle.manifest.graphs[0], ScoringSettings())[1] is not None


def test_a_streaming_graph_replays_each_sequence_from_the_start() -> None:
    scorer = TFLiteScorer(*adding_up())
    scores = golden_scores(scorer, {"sequence": SEQUENCE})
    np.testing.assert_array_equal(scores, [[2, 4, 6, 8, 10]] * 2)
    assert scorer.score(SEQUENCE[0, :1]).value == 2.0


def test_a_streaming_graph_is_left_without_state_by_its_trial() -> None:
    bundle = SmallBundle(
        {"int8": adding_up(), "float32": adding_up()},
        {
            "sequence": SEQUENCE,
            **dict.fromkeys(["score_int8", "score_float32"], np.array([[2, 4, 6, 8, 10]] * 2, np.float32)),
        },
    )
    _, scorer, _ = choose(bundle, ScoringSettings())
    assert scorer.score(SEQUENCE[0, :1]).value == 2.0


def test_a_score_that_is_not_finite_on_golden_data_is_a_problem() -> None:
    bundle = SmallBundle({"int8": logarithm()}, {"windows": -WINDOWS, "score_int8": sums()})
    with pytest.raises(ScoringError, match="finite"):
        choose(bundle, ScoringSettings())


def test_the_error_is_relative_to_score_and_median() -> None:
    assert golden_error(np.array([1.0, 2.5, 4.0]), np.array([1.0, 2.0, 4.0])) == pytest.approx(0.5 / 4)


def test_golden_scores_of_zero_do_not_divide_by_zero() -> None:
    assert golden_error(np.array([0.0, 0.5]), np.zeros(2)) == 0.5


def test_golden_data_that_cannot_be_read_are_the_bundles_error() -> None:
    class Unreadable(SmallBundle):
        def golden(self) -> dict[str, Any]:
            raise ManifestError("golden.npz is damaged")

    bundle = Unreadable({"int8": summing()}, {})
    with pytest.raises(ManifestError):
        choose(bundle, ScoringSettings())


def test_a_real_bundle_runs(pump_bundle: Path) -> None:
    trial, _, _ = choose(Bundle.read(pump_bundle), ScoringSettings())
    assert trial.golden_error <= trial.tolerance


@pytest.mark.parametrize("bad", [{"runtime": "torch"}, {"graph": "int4"}, {"threads": 0}, {"threads": 9}])
def test_settings_that_no_runtime_understands_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ScoringSettings(**bad)
