"""A score graph in an interpreter: what scorers of windows and of frames have in common.

    input (a window or a frame) and states -> score, states, and further outputs where the graph has them

The fastest public way through the interpreter is taken: tensor indices from the manifest, then set, invoke, get.
Indices are checked once at loading, so that a wrong manifest is refused there and never scores noise.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.manifest_base import Face
from edge_agent.contract.records import Floats
from edge_agent.errors import ScoringError
from edge_agent.scoring.runtime import find_runtime

Shape = tuple[int, ...]

KEPT_TIMES = 256
"""Calls whose durations are kept for the 95th percentile: enough for 13 of them to lie above it."""


class LoadedGraph:
    """Runs a TFLite graph and carries its states from call to call; subclasses say what it takes and gives.

    Args:
        model: bytes of the `.tflite` file, already checked against the manifest's digest.
        spec: which tensor is which.
        runtime: `auto`, `litert` or `tflite`.
        threads: interpreter threads.
        delegate: `auto`, `xnnpack`, `none` or the path of a delegate library.

    Raises:
        ScoringError: no such runtime, or the graph does not load or has not the tensors the manifest names.
    """

    TAKES: ClassVar[str]
    """What it scores: the name of the input that is no state."""
    TYPE: ClassVar[type[np.generic]]
    """Of that input; all others, and all outputs, are float32."""
    GIVES: ClassVar[tuple[str, ...]]
    """Names of the outputs beside score and states, which a graph need not have."""

    def __init__(
        self, model: bytes, spec: Face, *, runtime: str = "auto", threads: int = 1, delegate: str = "auto"
    ) -> None:
        found = find_runtime(runtime)
        self._interpreter, self._delegate = found.interpreter(model, threads=threads, delegate=delegate)
        self._runtime, self._threads, self._format = found, threads, spec.format
        self._input, self._score = spec.inputs()[self.TAKES], spec.score
        self._further = {name: index for name, index in spec.outputs().items() if name in self.GIVES}
        self._states = tuple((state.input, state.output) for state in spec.states)
        self.streaming = bool(spec.states)
        self._shapes = self._check(spec)
        self.shape_of("score", 1)
        self._zeros = [np.zeros(state.shape, np.float32) for state in spec.states]
        self._carried: list[Any] = self._zeros
        self._times_ns: deque[int] = deque(maxlen=KEPT_TIMES)

    def run(self, values: NDArray[Any]) -> tuple[float, dict[str, Floats], int]:
        """Return the score of one input, further outputs by name, all without the leading 1, and the nanoseconds taken.

        Raises:
            ScoringError: the runtime failed, or the score is not finite; the next call starts a new sequence.
        """
        interpreter = self._interpreter
        start_ns = time.perf_counter_ns()
        try:
            interpreter.set_tensor(self._input, values[np.newaxis])
            for (index, _), value in zip(self._states, self._carried, strict=True):
                interpreter.set_tensor(index, value)
            interpreter.invoke()
            score = float(interpreter.get_tensor(self._score)[0])
            if self._states:
                self._carried = [interpreter.get_tensor(index) for _, index in self._states]
            further = {name: interpreter.get_tensor(index)[0] for name, index in self._further.items()}
        except Exception as error:  # whatever a runtime or a delegate throws, the graph has failed and nothing else has
            self.reset()
            raise ScoringError(f"the {self._format} graph failed on a {self.TAKES}: {error}") from error
        took_ns = time.perf_counter_ns() - start_ns
        self._times_ns.append(took_ns)
        if not math.isfinite(score):
            self.reset()
            raise ScoringError(f"the {self._format} graph gave the score {score}; expected a finite number")
        return score, further, took_ns

    def reset(self) -> None:
        """Forget the carried state: the next call starts a new sequence."""
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

    def shape_of(self, name: str, *wanted: int | str) -> Shape:
        """Return the shape of the input that is no state, or of an output that is none.

        Args:
            name: as in the manifest.
            wanted: its size along each axis; a letter where any will do.

        Raises:
            ScoringError: it has another shape.
        """
        shape = self._shapes[name]
        fits = [isinstance(size, str) or size == got for size, got in zip(wanted, shape, strict=False)]
        if len(shape) != len(wanted) or not all(fits):
            sizes = ", ".join(map(str, wanted))
            raise ScoringError(f"the {name} tensor must have shape [{sizes}], got {list(shape)}")
        return shape

    def _check(self, spec: Face) -> dict[str, Shape]:
        """Return the shapes of input and outputs, once every tensor is there and is what `run` relies on.

        Raises:
            ScoringError: one is not.
        """
        taken, there = spec.inputs(), self._interpreter.get_input_details()
        inputs = _tensors("input", taken, there)
        outputs = _tensors("output", spec.outputs(), self._interpreter.get_output_details())
        if unset := sorted({int(each["index"]) for each in there} - set(taken.values())):
            raise ScoringError(f"the graph has inputs that the manifest does not name: {unset}")
        for name, tensor in (*inputs.items(), *outputs.items()):
            wanted = np.dtype(self.TYPE if name == self.TAKES else np.float32)
            if np.dtype(tensor["dtype"]) != wanted:
                raise ScoringError(f"the {name} tensor must be {wanted}, got {np.dtype(tensor['dtype'])}")
        for state in spec.states:
            name = f"state_{state.name}"
            if not _shape(inputs[name]) == _shape(outputs[name]) == tuple(state.shape):
                raise ScoringError(
                    f"state {state.name}: the manifest says {list(state.shape)}, the graph takes "
                    f"{list(_shape(inputs[name]))} and gives {list(_shape(outputs[name]))}"
                )
        return {name: _shape(tensor) for name, tensor in (inputs | outputs).items()}


def _tensors(kind: str, named: dict[str, int], there: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what the runtime tells of each tensor that the manifest names, by name."""
    by_index = {int(each["index"]): each for each in there}
    missing = [f"{name} ({index})" for name, index in named.items() if index not in by_index]
    if missing:
        raise ScoringError(f"the manifest names tensors that the graph does not have as {kind}: {missing}")
    return {name: by_index[index] for name, index in named.items()}


def _shape(tensor: dict[str, Any]) -> Shape:
    return tuple(int(size) for size in tensor["shape"])
