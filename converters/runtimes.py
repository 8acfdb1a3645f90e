"""Score cases with the device's own scorer, on every runtime that can be had here.

`ai-edge-litert` runs in this process. `tflite-runtime` needs Python 3.11 and numpy 1, so it runs in another
environment, by its own interpreter (`runtime_child.py`). Where that is absent its figures are absent too, and said to
be: an int8 graph then carries no golden tolerance for it, and a device with that runtime holds the graph to the widest
of those it carries, or falls back to a float graph.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from converters.conversion import ROOT
from converters.flatbuffer import GraphFacts
from converters.refusal import Refused
from converters.running import Inputs, Outputs, load, run_cases
from edge_agent.contract.frame_manifest import FrameFace, FrameSpec
from edge_agent.contract.manifest import GraphFace, GraphFormat, StateTensor
from edge_agent.contract.strict_json import plain
from edge_agent.scoring.interpreter import TFLiteScorer

TFLITE_PYTHON = "ANOMALITE_TFLITE_PYTHON"
"""Environment variable with the interpreter of an environment that has tflite-runtime."""

DEFAULT_TFLITE_PYTHON = ROOT / ".venv-tflite" / "bin" / "python"
"""Where `make device` puts that environment."""

CHILD_TIMEOUT_S = 600.0
"""Longest that scoring in the other environment may take; some thousand cases take seconds."""

TIMED_CALLS = 200
"""Calls whose fastest quarter is timed; on a busy workstation the slow ones measure the neighbours."""


LEAST_TIMED_CALLS = 20
"""Calls of even the slowest graph: five fastest ones to take a median of."""

TIMING_NS = 1_000_000_000
"""Nanoseconds after which no more calls are timed than that: a large graph on frames takes 50 ms a call."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """What one runtime made of the cases."""

    runtime: str
    """`litert` or `tflite`, as in the device's settings."""
    version: str
    usual: Outputs
    """As the device runs it."""
    plain: Outputs
    """The same without XNNPACK."""


def face_of(graph_format: str, facts: GraphFacts, channels: int) -> GraphFace:
    """How to call a graph on windows, from the names of its signature.

    Raises:
        Refused: an input or output of the run folder's contract is missing or has another type or shape.
    """
    window = facts.inputs.get("window")
    if window is None or window.type != "FLOAT32" or len(window.shape) != 3 or window.shape[::2] != (1, channels):
        raise Refused(f"the {graph_format} graph needs an input `window` float32 [1, T, {channels}], got {window}")
    contributions = facts.outputs.get("contributions")
    return GraphFace(
        format=GraphFormat(graph_format),
        window=window.index,
        score=_score(graph_format, facts),
        contributions=contributions.index if contributions else None,
        states=_states(graph_format, facts, "window"),
    )


def frame_face_of(
    graph_format: str, facts: GraphFacts, spec: FrameSpec, *, has_map: bool, tells_kinds: bool
) -> FrameFace:
    """How to call a graph on frames; errors as `face_of`."""
    frame, shape = facts.inputs.get("frame"), (1, spec.height, spec.width, 3)
    if frame is None or (frame.type, frame.shape) != ("UINT8", shape):
        raise Refused(f"the {graph_format} graph needs an input `frame` uint8 {list(shape)}, got {frame}")
    where = facts.outputs.get("map")
    if (where is not None) != has_map or (where is not None and (where.type, len(where.shape)) != ("FLOAT32", 3)):
        wanted = "an output `map` float32 [1, h, w]" if has_map else "no output `map`"
        raise Refused(f"the run says that the {graph_format} graph has {wanted}, got {where}")
    kinds = facts.outputs.get("kinds")
    cells = where.shape[1:] if where else (1, 1)
    told = ("FLOAT32", (1, *cells, len(spec.classes)))
    if (kinds is not None) != tells_kinds or (kinds is not None and (kinds.type, kinds.shape) != told):
        wanted = f"an output `kinds` float32 {list(told[1])}" if tells_kinds else "no output `kinds`"
        raise Refused(f"the run says that the {graph_format} graph has {wanted}, got {kinds}")
    return FrameFace(
        format=GraphFormat(graph_format),
        frame=frame.index,
        score=_score(graph_format, facts),
        map=where.index if where else None,
        kinds=kinds.index if kinds else None,
        states=_states(graph_format, facts, "frame"),
    )


def _score(graph_format: str, facts: GraphFacts) -> int:
    score = facts.outputs.get("score")
    if score is None or score.type != "FLOAT32" or score.shape != (1,):
        raise Refused(f"the {graph_format} graph needs an output `score` float32 [1], got {score}")
    return score.index


def _states(graph_format: str, facts: GraphFacts, taken: str) -> tuple[StateTensor, ...]:
    """The inputs beside the one that is scored, each with the output that feeds it."""
    states = []
    for name in sorted(set(facts.inputs) - {taken}):
        into, out = facts.inputs[name], facts.outputs.get(name)
        if not name.startswith("state_") or out is None or (out.shape, out.type) != (into.shape, into.type):
            raise Refused(
                f"the {graph_format} graph's input {name!r} needs an output of the same name, shape and type, got {out}"
            )
        states.append(
            StateTensor(name=name.removeprefix("state_"), input=into.index, output=out.index, shape=into.shape)
        )
    return tuple(states)


def measure_here(model: bytes, face: GraphFace | FrameFace, inputs: Inputs) -> Measured:
    """Score with ai-edge-litert in this process."""
    usual, plain = (run_cases(load(model, face, delegate=delegate), inputs) for delegate in ("auto", "none"))
    return Measured(runtime="litert", version=version("ai-edge-litert"), usual=usual, plain=plain)


def measure_tflite(
    python: Path | None, model: bytes, face: GraphFace | FrameFace, inputs: Inputs, folder: Path
) -> Measured | None:
    """Score with tflite-runtime in its own environment; None where there is none.

    Raises:
        Refused: the environment is there, but the graph does not run in it.
    """
    if python is None:
        return None
    (folder / "runtime_model.tflite").write_bytes(model)
    (folder / "runtime_face.json").write_text(json.dumps(plain(face)), encoding="utf-8")
    np.save(folder / "runtime_inputs.npy", inputs)
    run = subprocess.run(
        [python, "-m", "converters.runtime_child", folder.resolve()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CHILD_TIMEOUT_S,
        check=False,
    )
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        raise Refused(f"tflite-runtime in {python} does not run the {face.format} graph: {reason}")
    with np.load(folder / "runtime_scores.npz", allow_pickle=False) as arrays:
        given = {
            way: Outputs(**{key.removeprefix(f"{way}_"): arrays[key] for key in arrays if key.startswith(f"{way}_")})
            for way in ("usual", "plain")
        }
    return Measured(runtime="tflite", version=run.stdout.strip(), **given)


def find_tflite_python(given: Path | None) -> Path | None:
    """The interpreter with tflite-runtime: as given, else by the environment variable, else of `make device`.

    Raises:
        Refused: one was named but is not there.
    """
    named = given or (Path(os.environ[TFLITE_PYTHON]) if TFLITE_PYTHON in os.environ else None)
    if named is not None and not named.exists():
        raise Refused(
            f"the interpreter {named} with tflite-runtime is not there: "
            "`make device` builds .venv-tflite, or leave the option out"
        )
    return named or (DEFAULT_TFLITE_PYTHON if DEFAULT_TFLITE_PYTHON.exists() else None)


def scorer(model: bytes, face: GraphFace, *, delegate: str = "auto", runtime: str = "litert") -> TFLiteScorer:
    """The device's scorer of windows for a graph that is not in a bundle yet."""
    return TFLiteScorer(model, face, runtime=runtime, delegate=delegate)


def median_us(model: bytes, face: GraphFace | FrameFace, one: Inputs) -> float:
    """Microseconds of scoring one window [T, C] or frame here: the median of the fastest quarter of the calls."""
    timed, times = load(model, face), []
    for _ in range(TIMED_CALLS):
        start = time.perf_counter_ns()
        timed.run(one)
        times.append(time.perf_counter_ns() - start)
        if len(times) >= LEAST_TIMED_CALLS and sum(times) > TIMING_NS:
            break
    return float(np.median(np.sort(times)[: len(times) // 4])) / 1e3
