"""From SavedModel to `.tflite`, each format in a child process that may die.

The child (`tf_child.py`) does several formats one after the other, since importing TensorFlow costs more than
converting; who converts many runs hands the same `Child` to each. When it dies (full int8 of a looped LSTM ends in
SIGSEGV), the format it was at is refused, and a new process does the rest.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from converters.refusal import Refused
from converters.running import Inputs
from edge_agent.contract.records import Floats

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: children are started there so that they find these packages."""

FORMATS = ("float32", "float16", "int8")
"""Formats that TensorFlow makes, in the order they are made."""

EDGETPU = "edgetpu"
"""Made of an int8 graph on frames, by the Edge TPU's own compiler."""

CANDIDATES = {"int8": ("int8", "int8_products")}
"""Ways to make a format, the first that detects what the float model does is shipped. int8: the whole body, or its
products alone."""

WAYS = {"int8": "int8, the whole body", "int8_products": "int8, the body's matrix products alone"}
"""What a person is told of the ways that have a name of their own."""

REFERENCE = "reference"
"""The step that scores the float model itself."""

STEP_TIMEOUT_S = 1800.0
"""Longest that a child may take; an unrolled LSTM of 64 steps takes some 60 s in int8, a hang takes for ever."""


@dataclass(slots=True, kw_only=True)
class Conversion:
    """What came of a run's graph."""

    models: dict[str, bytes] = field(default_factory=dict)
    """Flatbuffers by format, or by the way to make it."""
    refused: dict[str, str] = field(default_factory=dict)
    """Reasons likewise."""
    reference: Floats | None = None
    """float32 [k] or [k, L]: scores of the float model for the cases."""
    reference_map: Floats | None = None
    """float32 [k, h, w] or [k, L, h, w]: its maps; None where it has none."""
    reference_kinds: Floats | None = None
    """float32 [k, h, w, C] or [k, L, h, w, C]: its probabilities of kinds; None where it tells none apart."""

    def reference_scores(self) -> Floats:
        """Scores of the float model.

        Raises:
            Refused: it cannot be scored.
        """
        if self.reference is None:
            raise Refused(f"the float model cannot be scored: {self.refused.get(REFERENCE, 'it was not run')}")
        return self.reference


class Child:
    """The process that converts: started when it is first needed, and again where it died."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: subprocess.Popen[bytes] | None = None
        self.code = 0
        """How the last process ended."""

    def replies(self, job: Path, timeout_s: float) -> Iterator[dict[str, str]]:
        """Hand over a job and give the replies to it; they stop short where the process dies or takes too long."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        process = self._process = self._process or subprocess.Popen(
            [sys.executable, "-m", "converters.tf_child"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        jobs, answers = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        with contextlib.suppress(BrokenPipeError):  # then the answers end as well
            jobs.write(f"{job.resolve()}\n".encode())
            jobs.flush()
        guard = threading.Timer(timeout_s, process.kill)
        guard.start()
        finished = False
        try:
            for line in answers:
                reply = json.loads(line)
                finished = reply["state"] == "finished"
                if finished:
                    break
                yield reply
        finally:
            guard.cancel()
            if not finished:  # dead, or abandoned in the middle of a job whose answers nobody is to take for another's
                process.kill()
                self.close()

    def close(self) -> None:
        """End the process, which does so when there are no more jobs."""
        if self._process is not None:
            self._process.communicate()
            self.code, self._process = self._process.returncode, None


def convert(
    saved_model: Path,
    *,
    formats: Sequence[str],
    samples: Inputs,
    cases: Inputs,
    streaming: bool,
    out: Path,
    progress: Callable[[str], None] = lambda _: None,
    child: Child | None = None,
) -> Conversion:
    """Convert to each format and score the cases with the float model.

    Args:
        saved_model: the run's `graph/`.
        formats: of `FORMATS`.
        samples: float32 [k, T, C] windows or uint8 [k, H, W, 3] frames (streaming: sequences [s, L, C] or
            [s, L, H, W, 3]) that set the ranges of int8.
        cases: the same for the reference scores.
        streaming: the graph takes one row or frame at a time.
        out: folder for the files; made if missing.
        progress: told what is being done.
        child: left running for the next run; None: one of its own.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in ("map", "kinds"):
        (out / f"reference_{name}.npy").unlink(missing_ok=True)
    np.save(out / "samples.npy", samples)
    np.save(out / "cases.npy", cases)
    job = {
        "saved_model": str(saved_model.resolve()),
        "out": str(out.resolve()),
        "input": "frame" if samples.dtype == np.uint8 else "window",
        "streaming": streaming,
        "samples": str((out / "samples.npy").resolve()),
        "cases": str((out / "cases.npy").resolve()),
        "log": str((out / "convert.log").resolve()),
    }
    result, left = (
        Conversion(),
        [REFERENCE, *(way for graph_format in formats for way in CANDIDATES.get(graph_format, (graph_format,)))],
    )
    with contextlib.nullcontext(child) if child else contextlib.closing(Child()) as worker:
        while left:
            left = _work(worker, job, left, result, progress)
    if REFERENCE not in result.refused:
        result.reference = np.load(out / "reference_score.npy")
        result.reference_map, result.reference_kinds = (
            np.load(file) if (file := out / f"reference_{name}.npy").exists() else None for name in ("map", "kinds")
        )
    return result


def _work(
    child: Child, job: dict[str, Any], steps: list[str], result: Conversion, progress: Callable[[str], None]
) -> list[str]:
    """Run the steps in the child; return those still to do when it died."""
    out = Path(job["out"])
    (out / "job.json").write_text(json.dumps({**job, "steps": steps}), encoding="utf-8")
    left, at = list(steps), ""
    for reply in child.replies(out / "job.json", STEP_TIMEOUT_S * len(steps)):
        at = reply["step"]
        _note(reply, out, result, progress)
        if reply["state"] != "started":
            left.remove(at)
            at = ""
    if left:
        step = at or left[0]
        result.refused[step] = _death(child.code, step)
        progress(f"{WAYS.get(step, step)}: refused, {result.refused[step]}; its output is in {out / 'convert.log'}")
        left.remove(step)
        # What killed it (the calibrator, mostly) is the same for every way to make the format.
        left = [other for other in left if not any(step in ways and other in ways for ways in CANDIDATES.values())]
    return left


def _note(reply: dict[str, str], out: Path, result: Conversion, progress: Callable[[str], None]) -> None:
    step = reply["step"]
    if reply["state"] == "started":
        progress("scoring with the float model" if step == REFERENCE else f"converting to {WAYS.get(step, step)}")
    elif reply["state"] == "refused":
        result.refused[step] = reply["reason"]
        progress(f"{WAYS.get(step, step)}: refused, {reply['reason']}")
    elif step != REFERENCE:
        result.models[step] = (out / f"model_{step}.tflite").read_bytes()


def _death(code: int, step: str) -> str:
    how = f"died with {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return f"the converter process {how} while making {WAYS.get(step, step)}"
