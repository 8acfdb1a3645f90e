"""Which graph of a camera bundle runs: golden scores and maps first, speed second. The graphs are real and small."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_agent.contract.frame_manifest import FrameFace, FrameGraphSpec
from edge_agent.contract.manifest import GraphFormat
from edge_agent.errors import ScoringError
from edge_agent.scoring import frame_selection
from edge_agent.scoring.frame_interpreter import FrameScorer
from edge_agent.scoring.frame_selection import TIMED_FRAMES, choose_frame_graph, golden_results, try_frame_graph
from edge_agent.scoring.settings import ScoringSettings
from tests.frame_bundles import manifest, members
from tests.tiny_frame_graphs import H, W, adding, adding_up, logarithm, telling, without_map

FRAMES = np.random.default_rng(3).integers(1, 256, (3, H, W, 3), np.uint8)
SEQUENCES = np.ones((2, 4, H, W, 3), np.uint8)
CALIBRATION = manifest(members()).graphs[0].calibration


@dataclass
class SmallBundle:
    """What selection asks of a bundle, with any graphs in it."""

    graphs: dict[str, tuple[bytes, FrameFace]]
    golden_data: dict[str, Any]
    tolerances: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def manifest(self) -> Any:
        return SimpleNamespace(graphs=tuple(self._spec(name, face) for name, (_, face) in self.graphs.items()))

    def _spec(self, name: str, face: FrameFace) -> FrameGraphSpec:
        return FrameGraphSpec(
            format=GraphFormat(name),
            frame=face.frame,
            score=face.score,
            map=face.map,
            kinds=face.kinds,
            states=face.states,
            file=f"model_{name}.tflite",
            sha256="0" * 64,
            size=1,
            calibration=CALIBRATION,
            map_calibration=None if face.map is None else CALIBRATION,
            golden_tolerance=self.tolerances.get(name, {"litert": 1e-5}),
        )

    def graph(self, name: str) -> bytes:
        return self.graphs[name][0]

    def golden(self) -> dict[str, Any]:
        return self.golden_data


def scores(scale: float = 1.0) -> np.ndarray:
    return (FRAMES.sum(axis=(1, 2, 3)) * scale).astype(np.float32)


def maps(scale: float = 1.0) -> np.ndarray:
    return (FRAMES.sum(axis=3) * scale).astype(np.float32)


def two_graphs(**golden: Any) -> SmallBundle:
    """int8 and float32 that are the same graph."""
    given = {f"{kind}_{name}": of() for kind, of in (("score", scores), ("map", maps)) for name in ("int8", "float32")}
    return SmallBundle({"int8": adding(), "float32": adding()}, {"frames": FRAMES} | given | golden)


def test_a_graph_that_gives_its_golden_scores_and_maps_may_run() -> None:
    trial, scorer, trials = choose_frame_graph(two_graphs(), ScoringSettings(graph="int8"))
    assert (trial.spec.format, trial.problem, trial.golden_error) == ("int8", "", 0.0)
    assert scorer.score(FRAMES[0]).value == FRAMES[0].sum()
    assert len(trials) == 1


def test_a_graph_whose_map_differs_is_never_run_whatever_its_score(caplog: pytest.LogCaptureFixture) -> None:
    wrong = maps()
    wrong[1, 2, 3] *= 1.01
    trial, _, trials = choose_frame_graph(two_graphs(map_int8=wrong), ScoringSettings())
    assert trial.spec.format == "float32"
    assert "differ" in trials[0].problem
    assert "int8 is left out" in caplog.text


def test_a_graph_whose_score_differs_is_never_run_whatever_its_map() -> None:
    trial, _, _ = choose_frame_graph(two_graphs(score_int8=scores(1.01)), ScoringSettings())
    assert trial.spec.format == "float32"


def test_a_map_that_is_not_a_number_is_a_difference() -> None:
    broken = maps()
    broken[0, 0, 0] = math.nan
    trial, scorer = try_frame_graph(
        two_graphs(map_int8=broken), two_graphs().manifest.graphs[0], ScoringSettings(), timed=False
    )
    assert scorer is None
    assert math.isnan(trial.golden_error)


def test_a_graph_whose_map_overflows_is_refused() -> None:
    black = FRAMES.copy()
    black[0, 0, 0] = 0
    sums = black.sum(axis=(1, 2, 3), dtype=np.float64)
    data = {"frames": black, "score_int8": np.log(sums).astype(np.float32), "map_int8": np.ones((3, H, W), np.float32)}
    with pytest.raises(ScoringError, match="differs from the golden data by inf"):
        choose_frame_graph(SmallBundle({"int8": logarithm()}, data), ScoringSettings())


def test_the_tolerance_is_relative_to_the_cell_and_the_median() -> None:
    bundle = two_graphs(map_int8=maps(1.001))
    bundle.tolerances["int8"] = {"litert": 1e-3}
    assert try_frame_graph(bundle, bundle.manifest.graphs[0], ScoringSettings())[1] is not None
    bundle.tolerances["int8"] = {"litert": 1e-4}
    assert try_frame_graph(bundle, bundle.manifest.graphs[0], ScoringSettings())[1] is None


def test_the_faster_of_two_that_pass_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([50.0, 20.0])
    monkeypatch.setattr(frame_selection, "median_us", lambda *_, **__: next(times))
    trial, _, _ = choose_frame_graph(two_graphs(), ScoringSettings())
    assert (trial.spec.format, trial.us_per_call) == ("float32", 20.0)


def test_a_graph_is_timed_in_few_frames() -> None:
    bundle = two_graphs()
    trial, scorer = try_frame_graph(bundle, bundle.manifest.graphs[0], ScoringSettings())
    assert trial.us_per_call > 0
    assert len(scorer._times_ns) == len(FRAMES) + TIMED_FRAMES


def test_a_single_graph_is_not_timed() -> None:
    assert math.isnan(choose_frame_graph(two_graphs(), ScoringSettings(graph="float32"))[0].us_per_call)


def test_a_graph_without_a_map_needs_golden_scores_alone() -> None:
    bundle = SmallBundle({"int8": without_map()}, {"frames": FRAMES, "score_int8": scores()})
    assert choose_frame_graph(bundle, ScoringSettings())[0].golden_error == 0.0


@pytest.mark.parametrize(
    "golden",
    [
        {"score_int8": scores()[:2]},
        {"map_int8": maps()[:, :-1]},
        {"frames": FRAMES[:, :-1]},
        {"frames": FRAMES[:0], "score_int8": scores()[:0], "map_int8": maps()[:0]},
    ],
    ids=["too few scores", "another map", "another size", "none"],
)
def test_golden_data_that_do_not_fit_are_a_problem_and_not_a_crash(golden: dict[str, Any]) -> None:
    trial, scorer = try_frame_graph(two_graphs(**golden), two_graphs().manifest.graphs[0], ScoringSettings())
    assert scorer is None
    assert trial.problem


def golden_kinds(kinds: np.ndarray | None = None) -> tuple[Any, FrameScorer | None]:
    """Try a graph that tells kinds, which must be these (None: its own) to 1 %."""
    given = golden_results(FrameScorer(*telling()), {"frames": FRAMES})
    wanted = {f"{name}_int8": values for name, values in given.items()} | {"frames": FRAMES}
    told = {} if kinds is None else {"kinds_int8": kinds}
    bundle = SmallBundle({"int8": telling()}, wanted | told, {"int8": {"litert": 0.01}})
    return try_frame_graph(bundle, bundle.manifest.graphs[0], ScoringSettings())


def test_golden_kinds_are_held_to_the_mean_over_a_frame() -> None:
    kinds = golden_results(FrameScorer(*telling()), {"frames": FRAMES})["kinds"]
    assert kinds.shape == (3, H, W, 3)
    assert golden_kinds()[1] is not None
    one_cell = kinds.copy()
    one_cell[1, 0, 0] = one_cell[1, 0, 0, ::-1]
    assert golden_kinds(one_cell)[1] is not None
    trial, scorer = golden_kinds(np.roll(kinds, 1, axis=3))
    assert scorer is None
    assert "differs from the golden data" in trial.problem


def test_golden_kinds_of_other_classes_are_a_problem_and_not_a_crash() -> None:
    trial, scorer = golden_kinds(np.full((3, H, W, 2), 0.5, np.float32))
    assert scorer is None
    assert "the golden kinds have the shape [3, 12, 16, 2], the graph's [3, 12, 16, 3]" in trial.problem


def test_a_streaming_graph_replays_each_sequence_from_the_start_and_gives_its_last_map() -> None:
    scorer = FrameScorer(*adding_up())
    scorer.score(SEQUENCES[0, 0])
    given = golden_results(scorer, {"sequences": SEQUENCES})
    assert list(given) == ["score", "map"]
    np.testing.assert_array_equal(given["score"], np.outer([1, 1], np.arange(1, 5) * 3 * H * W))
    np.testing.assert_array_equal(given["map"], np.full((2, H, W), 12))
    assert scorer.score(SEQUENCES[0, 0]).map[0, 0] == 3.0


def test_a_streaming_graph_is_left_without_state_by_its_trial() -> None:
    given = np.outer([1, 1], np.arange(1, 5) * 3 * H * W).astype(np.float32)
    data = {"sequences": SEQUENCES, "score_int8": given, "map_int8": np.full((2, H, W), 12, np.float32)}
    bundle = SmallBundle({"int8": adding_up()}, data)
    _, scorer = try_frame_graph(bundle, bundle.manifest.graphs[0], ScoringSettings())
    assert scorer.score(SEQUENCES[0, 0]).map[0, 0] == 3.0


def test_a_format_that_the_bundle_has_not_is_an_error_that_says_which_it_has() -> None:
    with pytest.raises(ScoringError, match="int8, float32"):
        choose_frame_graph(two_graphs(), ScoringSettings(graph="float16"))


def test_a_graph_that_does_not_load_leaves_the_other() -> None:
    bundle = two_graphs()
    bundle.graphs["int8"] = (b"no graph", dataclasses.replace(bundle.graphs["int8"][1]))
    assert choose_frame_graph(bundle, ScoringSettings())[0].spec.format == "float32"
