"""The edgetpu format of a detector on frames: integers in, judged on the CPU, compiled where the compiler is.

What is judged is the graph before it is compiled, with the arithmetic of the CPU: this machine has no Edge TPU. Without
the compiler no such graph is shipped, and what the documented rules say of it is told and kept in the provenance.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from converters.conversion import EDGETPU
from converters.edgetpu.compiler import COMPILER, INTEGER_MODEL, compile_model, find_compiler
from converters.edgetpu.integer_input import with_integer_input
from converters.edgetpu.mapping import Mapping, mapping
from converters.frames.judging import FrameGraph, FrameJudge
from converters.refusal import Refused
from edge_agent.errors import ScoringError


@dataclass(slots=True, kw_only=True, eq=False)
class EdgeTpu:
    """What came of the edgetpu format."""

    graph: FrameGraph | None = None
    """None: not shipped."""
    refused: str = ""
    """Why it is refused."""
    not_made: str = ""
    """Why it was not made, though nothing speaks against it."""
    placed: Mapping | None = None
    """Where its operators would run, by the documented rules; None where there is no graph."""
    parity: dict[str, dict[str, float]] = field(default_factory=dict)
    """By runtime, of its integers on the CPU."""

    def figures(self) -> dict[str, Any]:
        """As the provenance of a bundle keeps them."""
        compiled = None if self.graph is None or self.graph.compiled is None else self.graph.compiled.sentence()
        return {
            "check": None if self.placed is None else self.placed.figures(),
            "parity_on_cpu": self.parity,
            "compiled": compiled or "not compiled",
        }


def edgetpu(judge: FrameJudge) -> EdgeTpu:
    """Make and judge the edgetpu format of a converted run."""
    made, models = EdgeTpu(), judge.conversion.models
    if "int8" not in models:
        made.refused = f"there is no int8 graph to make it of: {judge.conversion.refused.get('int8', 'none was made')}"
        return made
    try:
        model = with_integer_input(models["int8"])
        (judge.run.path / "build" / INTEGER_MODEL).write_bytes(model)
        made.placed = mapping(model)
        graph = judge.judged(EDGETPU, model)
        made.parity = {runtime: parity.figures() for runtime, parity in graph.parity.items()}
        compiler = find_compiler()
        if compiler is None:
            made.not_made = (
                f"{COMPILER} is not installed on this machine. By its documented rules {made.placed.sentence()}"
            )
            return made
        compiled = compile_model(compiler, judge.run.path / "build" / INTEGER_MODEL, graph.face)
        made.graph = replace(graph, model=compiled.model, face=compiled.face, compiled=compiled.report)
    except (Refused, ScoringError) as error:
        made.refused = str(error)
    return made
