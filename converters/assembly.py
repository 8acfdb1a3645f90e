"""The manifest and members of a bundle, from what was built: only what is the same each time the run is built."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from converters.backtest import Backtest
from converters.cases import Cases
from converters.gating import Gating
from converters.golden import golden_arrays
from converters.judging import Graph
from converters.pack import member
from edge_agent.contract.arrays import write_npz
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.manifest import GraphSpec, Manifest, PrefilterSpec
from edge_agent.contract.prefilter import Prefilter
from training.artifacts import Run

Backtests = Mapping[str, Mapping[str, Backtest]]
"""By format, then by data: `validation`, and `labelled` where there are labels."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assembly:
    """What a bundle is made of."""

    run: Run
    name: str
    version: str
    graphs: Mapping[str, Graph]
    refused: Mapping[str, str]
    calibrations: Mapping[str, Calibration]
    cases: Cases
    prefilter: Prefilter
    gating: Gating
    alarms_per_day: float

    def manifest(self, backtests: Backtests) -> tuple[Manifest, dict[str, bytes]]:
        """Return the manifest with these backtest figures, and the members it names."""
        members = self._members()
        gate = member("prefilter.npz", members["prefilter.npz"])
        info = self.run.info
        manifest = Manifest(
            name=self.name,
            version=self.version,
            created=info.created,
            input=info.input,
            graphs=tuple(self._graph(graph_format, graph) for graph_format, graph in self.graphs.items()),
            prefilter=PrefilterSpec(
                file=gate.file,
                sha256=gate.sha256,
                size=gate.size,
                mode=self.prefilter.mode,
                max_skip_s=info.max_skip_s,
            ),
            decision=replace(info.decision, alarms_per_day=self.alarms_per_day),
            golden=member("golden.npz", members["golden.npz"]),
            report=member("report.html", members["report.html"]) if "report.html" in members else None,
            provenance=self._provenance(backtests),
        )
        return manifest, members

    def _members(self) -> dict[str, bytes]:
        scores = {graph_format: graph.measured[0].usual.scores for graph_format, graph in self.graphs.items()}
        golden = golden_arrays(self.cases, scores, streaming=self.run.input.streaming)
        members = {_file(graph_format): graph.model for graph_format, graph in self.graphs.items()}
        members |= {"prefilter.npz": self.prefilter.to_bytes(), "golden.npz": write_npz(dict(golden))}
        report = self.run.path / "report.html"
        return members | ({"report.html": report.read_bytes()} if report.is_file() else {})

    def _graph(self, graph_format: str, graph: Graph) -> GraphSpec:
        face = graph.face
        return GraphSpec(
            format=face.format,
            window=face.window,
            score=face.score,
            contributions=face.contributions,
            states=face.states,
            file=_file(graph_format),
            sha256=hashlib.sha256(graph.model).hexdigest(),
            size=len(graph.model),
            parity={runtime: parity.figures() for runtime, parity in graph.parity.items()},
            calibration=self.calibrations[graph_format],
            golden_tolerance=graph.tolerance,
        )

    def _provenance(self, backtests: Backtests) -> dict[str, Any]:
        run, gating = self.run, self.gating
        return {
            **run.provenance,
            "detector": run.info.detector,
            "recipe": run.recipe,
            "metrics": run.metrics,
            "operators": {name: dict(sorted(graph.facts.operators.items())) for name, graph in self.graphs.items()},
            "runtimes": {m.runtime: m.version for graph in self.graphs.values() for m in graph.measured},
            "refused_formats": dict(sorted(self.refused.items())),
            "gating": {
                "mode": gating.mode.value,
                "reason": gating.reason,
                "hidden_injected": gating.hidden_injected,
                "hidden_labelled": gating.hidden_labelled,
                "skipped": gating.skipped,
            },
            "backtest": {
                name: {data: result.figures() for data, result in by_data.items()}
                for name, by_data in backtests.items()
            },
        }


def _file(graph_format: str) -> str:
    return f"model_{graph_format}.tflite"
