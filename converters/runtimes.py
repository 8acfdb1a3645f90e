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
from edge_agent.contract.manifest import GraphFace, GraphFormat, StateTensor
from edge_agent.contract.records import Floats
from edge_agent.contract.strict_json import plain
from edge_agent.scoring.interpreter import TFLiteScorer
from edge_agent.scoring.selection import golden_scores

TFLITE_PYTHON = "ANOMALITE_TFLITE_PYTHON"
"""Environment variable with the interpreter of an environment that has tflite-runtime."""

DEFAULT_TFLITE_PYTHON = ROOT / ".venv-tflite" / "bin" / "python"
"""Where `make device` puts that environment."""

CHILD_TIMEOUT_S = 600.0
"""Longest that scoring in the other environment may take; some thousand cases take seconds."""

TIMED_CALLS = 200
"""Calls whose fastest quarter is timed; on a busy workstation the slow ones measure the neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """What one runtime made of the cases."""

    runtime: str
    """`litert` or `tflite`, as in the device's settings."""
    version: str
    scores: Floats
    """float32 [k], or [k, L] along sequences."""
    plain_scores: Floats
    """The same without XNNPACK."""


def face_of(graph_format: str, facts: GraphFacts, channels: int) -> GraphFace:
    """How to call a graph, from the names of its signature.

    Raises:
        Refused: an input or output of the run folder's contract is missing or has another type or shape.
    """
    window, score = facts.inputs.get("window"), facts.outputs.get("score")
    if window is None or window.type != "FLOAT32" or len(window.shape) != 3 or window.shape[::2] != (1, channels):
        raise Refused(f"the {graph_format} graph needs an input `window` float32 [1, T, {channels}], got {window}")
    if score is None or score.type != "FLOAT32" or score.shape != (1,):
        raise Refused(f"the {graph_format} graph needs an output `score` float32 [1], got {score}")
    states = []
    for name in sorted(set(facts.inputs) - {"window"}):
        into, out = facts.inputs[name], facts.outputs.get(name)
        if not name.startswith("state_") or out is None or (out.shape, out.type) != (into.shape, into.type):
            raise Refused(
                f"the {graph_format} graph's input {name!r} needs an output of the same name, shape and type, got {out}"
            )
        states.append(
            StateTensor(name=name.removeprefix("state_"), input=into.index, output=out.index, shape=into.shape)
        )
    contributions = facts.outputs.get("contributions")
    return GraphFace(
        format=GraphFormat(graph_format),
        window=window.index,
        score=score.index,
        contributions=contributions.index if contributions else None,
        states=tuple(states),
    )


def score_cases(scorer: TFLiteScorer, inputs: Floats) -> Floats:
    """Scores of windows [k, T, C] as float32 [k], or along sequences [k, L, C], each from a fresh state, as [k, L]."""
    return golden_scores(scorer, {"sequence" if scorer.streaming else "windows": inputs})


def measure_here(model: bytes, face: GraphFace, inputs: Floats) -> Measured:
    """Score with ai-edge-litert in this process."""
    scores = [score_cases(scorer(model, face, delegate=delegate), inputs) for delegate in ("auto", "none")]
    return Measured(runtime="litert", version=version("ai-edge-litert"), scores=scores[0], plain_scores=scores[1])


def measure_tflite(python: Path | None, model: bytes, face: GraphFace, inputs: Floats, folder: Path) -> Measured | None:
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
        return Measured(
            runtime="tflite", version=run.stdout.strip(), scores=arrays["scores"], plain_scores=arrays["plain_scores"]
        )


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
    """The device's scorer for a graph that is not in a bundle yet."""
    return TFLiteScorer(model, face, runtime=runtime, delegate=delegate)


def median_us(model: bytes, face: GraphFace, window: Floats) -> float:
    """Microseconds of one `score` call on this machine: the median of the fastest quarter of the calls."""
    timed = scorer(model, face)
    times = []
    for _ in range(TIMED_CALLS):
        start = time.perf_counter_ns()
        timed.score(window)
        times.append(time.perf_counter_ns() - start)
    return float(np.median(np.sort(times)[: TIMED_CALLS // 4])) / 1e3
