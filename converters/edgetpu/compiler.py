"""`edgetpu_compiler` where it is installed: run, its report read, and its file called by the names it keeps.

It exists for x86-64 Linux alone and is not ours to install. Without it no `edgetpu` graph is shipped, since what an
Edge TPU runs is its output; what the documented rules say of the graph (`mapping.py`) is told instead.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.flatbuffer import operator_names
from converters.refusal import Refused
from edge_agent.contract.frame_manifest import FrameFace

COMPILER = "edgetpu_compiler"

INTEGER_MODEL = "model_integer.tflite"
"""File that it is given, in a run's `build` folder: for a compiler on another machine, too."""

TIMEOUT_S = 600.0
"""Longest that the compiler may take; it stops by itself after 180 s, a backbone takes some seconds."""

CUSTOM = "CUSTOM:edgetpu-custom-op"
"""The operator that stands for all that runs on the Edge TPU."""

MAPPED = "Mapped to Edge TPU"
"""Status of such an operator in the compiler's report."""

_ROW = re.compile(r"^([A-Z][A-Z0-9_]*)\s+(\d+)\s+(\S.*?)\s*$", re.MULTILINE)
"""A row of the report: operator, count, status."""

_MEMORY = re.compile(r"^(On-chip|Off-chip) memory used for \w+ .*?: *(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the compiler says that it did."""

    version: str
    rows: tuple[tuple[str, int, str], ...]
    """Operator, count, status."""
    memory: dict[str, str]
    """`On-chip` and `Off-chip`: what of the weights is kept there, such as `3.21MiB`."""

    @property
    def mapped(self) -> int:
        """Operators on the Edge TPU."""
        return sum(count for _, count, status in self.rows if status == MAPPED)

    @property
    def operators(self) -> int:
        """All of them."""
        return sum(count for _, count, _ in self.rows)

    def sentence(self) -> str:
        """What a person is told."""
        left = [f"{count} {name} ({status})" for name, count, status in self.rows if status != MAPPED]
        rest = f"; on the CPU: {', '.join(left)}" if left else ""
        memory = "".join(f", {where.lower()} {size}" for where, size in self.memory.items())
        return (
            f"{self.version} mapped {self.mapped} of {self.operators} operators to the Edge TPU (weights{memory}){rest}"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compiled:
    """A file for the Edge TPU."""

    model: bytes
    face: FrameFace
    report: Report


def find_compiler() -> Path | None:
    """The compiler on the path; None where it is not installed."""
    found = shutil.which(COMPILER)
    return Path(found) if found else None


def compile_model(compiler: Path, source: Path, face: FrameFace) -> Compiled:
    """Compile a graph with integer input.

    Args:
        compiler: from `find_compiler`.
        source: file with a graph from `with_integer_input`; those of the compiler are put beside it.
        face: how to call the graph.

    Raises:
        Refused: the compiler fails, maps nothing, or its file cannot be called as the graph was.
    """
    try:
        run = subprocess.run(
            [compiler, "-s", "-o", source.parent, source],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{compiler} did not end within {TIMEOUT_S:g} s") from error
    said = run.stdout + run.stderr
    output = source.with_name(f"{source.stem}_edgetpu.tflite")
    if run.returncode or not output.is_file():
        last = (said.strip().splitlines() or ["no output"])[-1]
        raise Refused(f"{compiler} ended with code {run.returncode} and no usable file: {last}")
    report, compiled = parse_report(said), output.read_bytes()
    if not report.mapped:
        raise Refused(f"nothing of the graph would run on the Edge TPU: {report.sentence()}")
    return Compiled(model=compiled, face=_face(compiled, source.read_bytes(), face), report=report)


def parse_report(said: str) -> Report:
    """Read what the compiler prints with `--show_operations`."""
    version = re.search(r"Edge TPU Compiler version \S+", said)
    return Report(
        version=version.group() if version else "the Edge TPU compiler",
        rows=tuple((name, int(count), status) for name, count, status in _ROW.findall(said)),
        memory=dict(_MEMORY.findall(said)),
    )


def _face(compiled: bytes, model: bytes, face: FrameFace) -> FrameFace:
    """How to call the compiled graph: its tensors have other indices and the names they had.

    Raises:
        Refused: a tensor of the face is not there under its name, or there is no operator of the Edge TPU.
    """
    from ai_edge_litert import schema_py_generated as schema

    before, after = (schema.ModelT.InitFromPackedBuf(each, 0) for each in (model, compiled))
    if CUSTOM not in operator_names(after):
        raise Refused(f"the compiler's file holds no {CUSTOM.removeprefix('CUSTOM:')}: it would run on the CPU alone")

    def moved(index: int) -> int:
        name = before.subgraphs[0].tensors[index].name
        graph = after.subgraphs[0]
        for other in (*graph.inputs, *graph.outputs):
            if graph.tensors[other].name == name:
                return int(other)
        raise Refused(f"the compiler's file has no input or output {name.decode()!r}, which the graph has")

    states: tuple[Any, ...] = tuple(
        replace(state, input=moved(state.input), output=moved(state.output)) for state in face.states
    )
    return replace(
        face,
        frame=moved(face.frame),
        score=moved(face.score),
        map=None if face.map is None else moved(face.map),
        kinds=None if face.kinds is None else moved(face.kinds),
        states=states,
    )
