"""One converted graph judged: its operators, its runtimes, its parity with the float model, its golden tolerance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from converters import flatbuffer
from converters.cases import Cases
from converters.conversion import CANDIDATES, Conversion
from converters.golden import tolerances
from converters.parity import Parity, compare
from converters.refusal import Refused
from converters.runtimes import Measured, face_of, measure_here, measure_tflite, median_us
from edge_agent.contract.manifest import GraphFace
from edge_agent.contract.records import Floats
from edge_agent.errors import ScoringError
from training.artifacts import Run


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """One format, converted and found equal to the float model."""

    model: bytes
    face: GraphFace
    facts: flatbuffer.GraphFacts
    measured: tuple[Measured, ...]
    """The first is ai-edge-litert, whose scores are the golden ones."""
    parity: dict[str, Parity]
    """By runtime."""
    tolerance: dict[str, float]
    """By runtime, of the golden scores."""
    us: float
    """Microseconds of a `score` call here."""


G = TypeVar("G")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge(ABC, Generic[G]):
    """What every graph of a run is judged on; subclasses say how."""

    conversion: Conversion
    tflite_python: Path | None
    """Interpreter of an environment with tflite-runtime; None: that runtime is not measured."""
    count: int
    """Number of cases."""

    @abstractmethod
    def judged(self, graph_format: str, model: bytes) -> G:
        """Measure one graph.

        Raises:
            Refused: it cannot run on a device, or does not detect what the float model detects.
        """

    def converted(self, graph_format: str) -> bool:
        """Whether there is anything to judge: a way to make the format that the converter took."""
        return any(way in self.conversion.models for way in CANDIDATES.get(graph_format, (graph_format,)))

    def first_sound(self, graph_format: str) -> G:
        """Return the first way to make the format that holds.

        Raises:
            Refused: none does; with the reason and figures of each way, and what to ship instead.
        """
        reasons: list[str] = []
        limits: tuple[str, ...] = ()
        for way in CANDIDATES.get(graph_format, (graph_format,)):
            if way in self.conversion.refused:
                reasons.append(self.conversion.refused[way])
            elif way in self.conversion.models:
                try:
                    return self.judged(graph_format, self.conversion.models[way])
                except (Refused, ScoringError) as error:
                    reasons.append(str(error))
                    limits = limits or getattr(error, "limits", ())
        others = [
            other for other in ("float16", "float32") if other != graph_format and other in self.conversion.models
        ]
        instead = f"; ship {' or '.join(others)} instead" if others else ""
        raise Refused("; with its matrix products alone: ".join(dict.fromkeys(reasons)) + instead, limits)

    def each_sound(
        self, formats: Iterable[str], progress: Callable[[str], None]
    ) -> tuple[dict[str, G], dict[str, str]]:
        """Judge the formats; of one that was not even converted that was told already.

        Returns:
            The graphs by format, and why there is none of the others.
        """
        graphs: dict[str, G] = {}
        refused: dict[str, str] = {}
        for graph_format in formats:
            converted = self.converted(graph_format)
            if converted:
                progress(f"comparing {graph_format} with the float model on {self.count} cases")
            try:
                graphs[graph_format] = self.first_sound(graph_format)
            except Refused as error:
                refused[graph_format] = str(error)
                if converted:
                    instead = f"; in the bundle instead: {', '.join(graphs)}" if graphs else ""
                    progress(f"{graph_format}: refused, {error.brief()}{instead}")
        return graphs, refused


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowJudge(Judge[Graph]):
    """Judges graphs on windows."""

    run: Run
    cases: Cases
    reference: Floats
    """Scores of the float model for the cases."""

    def judged(self, graph_format: str, model: bytes) -> Graph:
        """As `Judge.judged`."""
        facts = flatbuffer.check(model, graph_format)
        face = face_of(graph_format, facts, len(self.run.input.channels))
        inputs = self.cases.inputs
        there = measure_tflite(self.tflite_python, model, face, inputs, self.run.path / "build")
        measured = (measure_here(model, face, inputs), *([there] if there else []))
        parity = {m.runtime: compare(m.usual.scores, self.reference, self.cases) for m in measured}
        refuse_different(graph_format, parity)
        return Graph(
            model=model,
            face=face,
            facts=facts,
            measured=measured,
            parity=parity,
            tolerance=tolerances(face.format, measured, self.cases),
            us=median_us(model, face, inputs[0][-self.run.input.window :]),
        )


def refuse_empty(graphs: Mapping[str, object], reasons: Mapping[str, str]) -> None:
    """Refuse a run of which no format is left.

    Raises:
        Refused: with the reason of each.
    """
    if not graphs:
        raise Refused("no format can be shipped:\n" + "\n".join(f"  {name}: {why}" for name, why in reasons.items()))


class Comparison(Protocol):
    """How a graph compares with the float model."""

    def problems(self) -> list[str]:
        """Every limit that does not hold, with the figure."""


def refuse_different(graph_format: str, parity: Mapping[str, Comparison]) -> None:
    """Refuse a graph that a limit does not hold for on any runtime.

    Raises:
        Refused: with every figure.
    """
    problems = [(problem, runtime) for runtime, figures in parity.items() for problem in figures.problems()]
    if problems:
        told = "; ".join(f"{problem} ({runtime})" for problem, runtime in problems)
        first = problems[0][1]
        raise Refused(
            f"the {graph_format} graph does not detect what the float model detects: {told}",
            [problem for problem, runtime in problems if runtime == first],
        )
