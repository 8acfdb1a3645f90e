"""One score graph behind one small class: float32 window in, score out.

The fastest public way through the interpreter is taken: tensor indices from the manifest, then set, invoke, get.
Indices are checked once at loading, so that a wrong manifest is refused there and never scores noise.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any

import numpy as np

from edge_agent.contract.manifest import GraphFace
from edge_agent.contract.records import Floats, Score
from edge_agent.errors import ScoringError
from edge_agent.scoring.runtime import find_runtime

Shapes = dict[int, tuple[int, ...]]
"""Shapes by tensor index."""

KEPT_TIMES = 256
"""Calls whose durations are kept for the 95th percentile: enough for 13 of them to lie above it."""


class TFLiteScorer:
    """Score windows with a TFLite graph.

    Args:
        model: bytes of the `.tflite` file, already checked against the manifest's digest.
        spec: which tensor is which.
        runtime: `auto`, `litert` or `tflite`.
        threads: interpreter threads.
        delegate: `auto`, `xnnpack`, `none` or the path of a delegate library.

    Raises:
        ScoringError: no such runtime, or the graph does not load or has not the tensors the manifest names.
    """

    def __init__(
        self, model: bytes, spec: GraphFace, *, runtime: str = "auto", threads: int = 1, delegate: str = "auto"
    ) -> None:
        found = find_runtime(runtime)
        self._interpreter, self._delegate = found.interpreter(model, threads=threads, delegate=delegate)
        self._runtime, self._threads, self._format = found, threads, spec.format
        self._window, self._score, self._contributions = spec.window, spec.score, spec.contributions
        self._states = tuple((state.input, state.output) for state in spec.states)
        self.streaming = bool(spec.states)
        self.window_shape = _check(*self._tensor_shapes(), spec)
        self._zeros = [np.zeros(state.shape, np.float32) for state in spec.states]
        self._carried: list[Any] = self._zeros
        self._times_ns: deque[int] = deque(maxlen=KEPT_TIMES)

    def score(self, window: Floats) -> Score:
        """Score one window, float32 [T, C] (a streaming graph: the newest row, [1, C]).

        Raises:
            ScoringError: the runtime failed, or the score is not finite.
        """
        interpreter = self._interpreter
        start_ns = time.perf_counter_ns()
        try:
            interpreter.set_tensor(self._window, window[np.newaxis])
            for (index, _), value in zip(self._states, self._carried, strict=True):
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            value = float(interpreter.get_tensor(self._score)[0])
            if self._states:
                self._carried = [interpreter.get_tensor(index) for _, index in self._states]
            parts = None if self._contributions is None else interpreter.get_tensor(self._contributions)[0]
        except Exception as error:  # whatever a runtime or a delegate throws, the graph has failed and nothing else has
            self.reset()
            raise ScoringError(f"the {self._format} graph failed on a window: {error}") from error
        took_ns = time.perf_counter_ns() - start_ns
        self._times_ns.append(took_ns)
        if not math.isfinite(value):
            self.reset()
            raise ScoringError(f"the {self._format} graph gave the score {value}; expected a finite number")
        return Score(value=value, contributions=parts, took_ns=took_ns)

    def reset(self) -> None:
        """Forget the carried state: the next row starts a new sequence."""
        self._carried = self._zeros

    def infer_p95_ms(self) -> float | None:
        """95th percentile of the latest calls, milliseconds; None before the first."""
        times = list(self._times_ns)
        return round(float(np.percentile(times, 95)) / 1e6, 4) if times else None

    def describe(self) -> dict[str, str | int]:
        """What runs, for `info`, `health` and `bench`."""
        return {
            "runtime": self._runtime.name,
            "runtime_version": self._runtime.version,
            "format": self._format,
            "delegate": self._delegate,
            "threads": self._threads,
            "kernels": self.kernels(),
        }

    def kernels(self) -> str:
        """Which kernels run, such as `XNNPACK 5 of 7 nodes` or `builtin`.

        The runtime lists a delegate as a node of its own beside the nodes it replaced; the list is the only place that
        tells.
        """
        listing = getattr(self._interpreter, "_get_ops_details", None)
        if listing is None:
            return "unknown"
        names = [str(node["op_name"]) for node in listing()]
        delegated = sum("DELEGATE" in name.upper() for name in names)
        if not delegated:
            return "builtin"
        label = "XNNPACK" if self._delegate == "xnnpack" else self._delegate
        return f"{label} ({delegated} delegated part{'s' if delegated > 1 else ''})"

    def _tensor_shapes(self) -> tuple[Shapes, Shapes]:
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        wrong = [
            f"{each['name']} is {np.dtype(each['dtype']).name}"
            for each in (*inputs, *outputs)
            if each["dtype"] is not np.float32
        ]
        if wrong:
            raise ScoringError(f"the graph's inputs and outputs must be float32: {', '.join(wrong)}")
        return _shapes(inputs), _shapes(outputs)


def _shapes(details: list[dict[str, Any]]) -> Shapes:
    return {int(each["index"]): tuple(int(size) for size in each["shape"]) for each in details}


def _check(inputs: Shapes, outputs: Shapes, spec: GraphFace) -> tuple[int, int]:
    """Return T and C of the window, once every tensor is there and has the shape that `score` relies on.

    Raises:
        ScoringError: one is not.
    """
    taken = {"window": spec.window} | {f"state_{state.name}": state.input for state in spec.states}
    given = {"score": spec.score} | {f"state_{state.name}": state.output for state in spec.states}
    if spec.contributions is not None:
        given["contributions"] = spec.contributions
    for kind, named, there in (("input", taken, inputs), ("output", given, outputs)):
        missing = [f"{name} ({index})" for name, index in named.items() if index not in there]
        if missing:
            raise ScoringError(f"the manifest names tensors that the graph does not have as {kind}: {missing}")
    if unset := sorted(set(inputs) - set(taken.values())):
        raise ScoringError(f"the graph has inputs that the manifest does not name: {unset}")
    return _check_shapes(inputs, outputs, spec)


def _check_shapes(inputs: Shapes, outputs: Shapes, spec: GraphFace) -> tuple[int, int]:
    window = inputs[spec.window]
    if len(window) != 3 or window[0] != 1:  # noqa: PLR2004 - [1, T, C]
        raise ScoringError(f"the window tensor must have shape [1, T, C], got {list(window)}")
    wanted: dict[str, tuple[int, tuple[int, ...]]] = {"score": (spec.score, (1,))}
    if spec.contributions is not None:
        wanted["contributions"] = (spec.contributions, (1, window[2]))
    for name, (index, shape) in wanted.items():
        if outputs[index] != shape:
            raise ScoringError(f"the {name} tensor must have shape {list(shape)}, got {list(outputs[index])}")
    for state in spec.states:
        if not inputs[state.input] == outputs[state.output] == tuple(state.shape):
            raise ScoringError(
                f"state {state.name}: the manifest says {list(state.shape)}, the graph takes "
                f"{list(inputs[state.input])} and gives {list(outputs[state.output])}"
            )
    return window[1], window[2]
