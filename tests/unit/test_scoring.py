"""One graph behind the scorer, on the real runtime with graphs whose scores are known by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.manifest import GraphFace, StateTensor
from edge_agent.contract.records import Floats
from edge_agent.errors import ScoringError
from edge_agent.scoring import runtime as runtimes
from edge_agent.scoring.interpreter import TFLiteScorer
from edge_agent.scoring.loaded_graph import KEPT_TIMES
from edge_agent.scoring.runtime import Runtime, find_runtime
from edge_agent.scoring.selection import choose
from edge_agent.scoring.settings import ScoringSettings
from edge_agent.sources.pump import Pump
from tests.tiny_graphs import C, Graph, T, adding_up, face, logarithm, schema, summing


def rows(count: int, value: float = 1.0) -> Floats:
    return np.full((count, C), value, np.float32)


class HostileInterpreter:
    """An interpreter whose chosen call throws; behind the real one otherwise."""

    def __init__(self, inner: Any, call: str, error: Exception) -> None:
        self._inner, self._call, self._error = inner, call, error

    def __getattr__(self, name: str) -> Any:
        if name == self._call:
            raise self._error
        return getattr(self._inner, name)


def test_the_score_is_what_the_graph_gives() -> None:
    window = np.arange(T * C, dtype=np.float32).reshape(T, C)
    result = TFLiteScorer(*summing()).score(window)
    assert result.value == window.sum()
    np.testing.assert_array_equal(result.contributions, window.sum(axis=0))


def test_a_read_only_view_with_strides_is_scored() -> None:
    readings = np.arange(40, dtype=np.float32).reshape(20, C)
    view = readings[:: 20 // T][:T]
    view.flags.writeable = False
    assert TFLiteScorer(*summing()).score(view).value == view.sum()


def test_contributions_outlive_the_next_call() -> None:
    scorer = TFLiteScorer(*summing())
    first = scorer.score(rows(T)).contributions
    scorer.score(rows(T, 9.0))
    np.testing.assert_array_equal(first, [T, T])


def test_a_graph_without_contributions_gives_none() -> None:
    assert TFLiteScorer(*summing(contributions=False)).score(rows(T)).contributions is None


def test_every_call_is_timed() -> None:
    scorer = TFLiteScorer(*summing())
    assert scorer.infer_p95_ms() is None
    assert scorer.score(rows(T)).took_ns > 0
    assert scorer.infer_p95_ms() > 0


def test_the_times_kept_are_bounded() -> None:
    scorer = TFLiteScorer(*summing())
    for _ in range(KEPT_TIMES + 10):
        scorer.score(rows(T))
    assert len(scorer._times_ns) == KEPT_TIMES


@pytest.mark.parametrize("value", [-1.0, 0.0], ids=["nan", "-inf"])
def test_a_score_that_is_not_finite_is_an_error(value: float) -> None:
    with pytest.raises(ScoringError, match="expected a finite number"):
        TFLiteScorer(*logarithm()).score(rows(T, value))


def test_a_window_of_another_shape_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(ScoringError, match="failed on a window"):
        TFLiteScorer(*summing()).score(rows(T + 1))


@pytest.mark.parametrize("call", ["set_tensor", "invoke", "get_tensor"])
@pytest.mark.parametrize("error", [RuntimeError("x"), SystemError("x"), MemoryError(), OSError("device gone")])
def test_whatever_a_runtime_throws_is_a_scoring_error(call: str, error: Exception) -> None:
    scorer = TFLiteScorer(*summing())
    scorer._interpreter = HostileInterpreter(scorer._interpreter, call, error)
    with pytest.raises(ScoringError):
        scorer.score(rows(T))


def test_a_streaming_graph_carries_its_state() -> None:
    scorer = TFLiteScorer(*adding_up())
    assert [scorer.score(rows(1)).value for _ in range(3)] == [2.0, 4.0, 6.0]


def test_a_reset_begins_a_new_sequence() -> None:
    scorer = TFLiteScorer(*adding_up())
    scorer.score(rows(1))
    scorer.reset()
    assert scorer.score(rows(1)).value == 2.0


def test_the_state_is_begun_anew_after_a_score_that_is_not_finite() -> None:
    scorer = TFLiteScorer(*adding_up(broken=True))
    with pytest.raises(ScoringError):
        scorer.score(rows(1, -5.0))
    assert scorer.score(rows(1, 0.5)).value == pytest.approx(0.0)


def test_the_state_is_begun_anew_after_a_failure() -> None:
    scorer = TFLiteScorer(*adding_up())
    scorer.score(rows(1))
    with pytest.raises(ScoringError):
        scorer.score(rows(3))
    assert scorer.score(rows(1)).value == 2.0


def test_only_a_graph_with_states_is_streaming() -> None:
    assert TFLiteScorer(*adding_up()).streaming
    assert not TFLiteScorer(*summing()).streaming


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 99}, "as input.*window"),
        ({"score": 99}, "as output.*score"),
        ({"score": 0}, "as output.*score"),
        ({"window": 1, "score": 1}, "as input.*window"),
        ({"contributions": 98}, "as output.*contributions"),
        ({"score": 3, "contributions": None}, "score tensor must have shape"),
        ({"contributions": 1, "score": 3}, "must have shape"),
    ],
)
def test_a_manifest_that_names_other_tensors_is_refused_at_loading(change: dict[str, Any], message: str) -> None:
    model, spec = summing()
    with pytest.raises(ScoringError, match=message):
        TFLiteScorer(model, dataclasses.replace(spec, **change))


def test_an_input_that_nobody_would_set_is_refused() -> None:
    model, spec = adding_up()
    with pytest.raises(ScoringError, match="inputs that the manifest does not name"):
        TFLiteScorer(model, dataclasses.replace(spec, states=()))


def test_a_state_of_another_shape_is_refused() -> None:
    model, spec = adding_up()
    state = dataclasses.replace(spec.states[0], shape=(2,))
    with pytest.raises(ScoringError, match="state total"):
        TFLiteScorer(model, dataclasses.replace(spec, states=(state,)))


def test_a_window_without_batch_is_refused() -> None:
    graph = Graph()
    window = graph.tensor(T, 1)
    score = graph.sum(window, [0], graph.tensor(1))
    with pytest.raises(ScoringError, match=r"shape \[1, T, C\]"):
        TFLiteScorer(graph.content([window], [score]), face(window=window, score=score))


def test_integers_in_or_out_are_refused() -> None:
    graph = Graph()
    window = graph.tensor(1, T, C, kind=schema.TensorType.INT32)
    score = graph.sum(window, [1, 2], graph.tensor(1, kind=schema.TensorType.INT32))
    with pytest.raises(ScoringError, match="must be float32"):
        TFLiteScorer(graph.content([window], [score]), face(window=window, score=score))


@pytest.mark.parametrize("model", [b"", b"\0" * 64, summing()[0][:200]], ids=["empty", "zeros", "cut off"])
def test_bytes_that_are_no_graph_are_refused(model: bytes) -> None:
    with pytest.raises(ScoringError, match="refuses the graph"):
        TFLiteScorer(model, summing()[1])


@pytest.mark.parametrize("delegate", ["none", "xnnpack"])
def test_both_kinds_of_kernels_give_the_score(delegate: str) -> None:
    scorer = TFLiteScorer(*summing(), delegate=delegate)
    assert scorer.score(rows(T)).value == T * C
    assert scorer.describe()["delegate"] == delegate


def test_plain_kernels_are_named_as_such() -> None:
    assert TFLiteScorer(*summing(), delegate="none").kernels() == "builtin"


def test_a_runtime_that_lists_no_operators_says_unknown() -> None:
    scorer = TFLiteScorer(*summing())
    scorer._interpreter = object()
    assert scorer.kernels() == "unknown"


def test_a_delegate_that_cannot_be_loaded_leaves_the_processor(caplog: pytest.LogCaptureFixture) -> None:
    scorer = TFLiteScorer(*summing(), delegate="/nowhere/libedgetpu.so.1")
    assert scorer.describe()["delegate"] == "xnnpack"
    assert "cannot be loaded" in caplog.text


def test_a_runtime_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_MODULES", {"litert": "no_such_module", "tflite": "no_such_module_either"})
    with pytest.raises(ScoringError, match="ai-edge-litert or tflite-runtime"):
        find_runtime()


def test_the_second_runtime_is_taken_where_the_first_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    litert = runtimes._MODULES["litert"]
    monkeypatch.setattr(runtimes, "_MODULES", {"litert": "no_such_module", "tflite": litert})
    assert find_runtime().name == "tflite"


def test_a_runtime_from_no_package_has_an_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_PACKAGES", {"litert": "no-such-package"})
    assert Runtime(name="litert", module=runtimes).version == "unknown"


def test_two_states_keep_apart() -> None:
    graph = Graph()
    window, first, second = graph.tensor(1, 1, C), graph.tensor(1), graph.tensor(1)
    total = graph.sum(window, [1, 2], graph.tensor(1))
    new_first = graph.add(total, first, graph.tensor(1))
    new_second = graph.add(new_first, second, graph.tensor(1))
    score = graph.add(new_first, new_second, graph.tensor(1))
    states = (
        StateTensor(name="a", input=first, output=new_first, shape=(1,)),
        StateTensor(name="b", input=second, output=new_second, shape=(1,)),
    )
    model = graph.content([window, first, second], [score, new_first, new_second])
    scorer = TFLiteScorer(model, GraphFace(format="float32", window=window, score=score, states=states))
    assert [scorer.score(rows(1)).value for _ in range(3)] == [4.0, 10.0, 18.0]


def test_a_fault_growing_to_a_million_spreads_never_lowers_a_score(pump_bundle: Path) -> None:
    bundle = Bundle.read(pump_bundle)
    _, scorer, _ = choose(bundle, ScoringSettings())
    spec, prefilter = bundle.manifest.input, bundle.prefilter()
    healthy = Pump(seed=5).take(200).values[100 : 100 + spec.window]
    spreads = np.concatenate([[0.0], np.geomspace(2.0, 1e6, 60)])
    for channel in range(len(spec.channels)):
        for sign in (-1.0, 1.0):
            scores = []
            for size in spreads:
                window = healthy.copy()
                window[:, channel] += np.float32(sign * size * prefilter.spread[channel])
                scores.append(scorer.score(window).value)
            # Up to 20 spreads a fault may make an unusual window usual; from there on it is only a fault.
            grown = np.array(scores)[spreads >= 20]
            assert np.all(np.diff(grown) >= 0), (spec.channels[channel].name, sign)
            assert grown[0] > scores[0]
