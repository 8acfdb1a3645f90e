"""The manifest and members of a bundle for a camera: only what is the same each time the run is built."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from converters.frames.backtest import FrameBacktest
from converters.frames.golden import golden_arrays
from converters.frames.judging import FrameGraph, FrameJudge
from converters.frames.thresholds import FrameThresholds
from converters.pack import member
from edge_agent.contract.arrays import write_npz
from edge_agent.contract.frame_manifest import FrameGraphSpec, FrameManifest, FramePrefilterSpec
from edge_agent.contract.prefilter import Mode
from training.image_artifacts import FrameRun

FrameBacktests = Mapping[str, Mapping[str, FrameBacktest]]
"""By format, then by data: `validation`, and `test` where there are test frames."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameAssembly:
    """What a bundle is made of."""

    run: FrameRun
    name: str
    version: str
    judge: FrameJudge
    graphs: Mapping[str, FrameGraph]
    refused: Mapping[str, str]
    thresholds: Mapping[str, FrameThresholds]
    edgetpu: Mapping[str, Any]
    """What is known of the graph for an Edge TPU; empty where none was asked for."""
    mode: Mode
    alarms_per_day: float

    def manifest(self, backtests: FrameBacktests) -> tuple[FrameManifest, dict[str, bytes]]:
        """Return the manifest with these backtest figures, and the members it names."""
        members, info = self._members(), self.run.info
        manifest = FrameManifest(
            name=self.name,
            version=self.version,
            created=info.created,
            input=info.input,
            graphs=tuple(self._graph(graph_format, graph) for graph_format, graph in self.graphs.items()),
            prefilter=FramePrefilterSpec(mode=self.mode, max_skip_s=info.max_skip_s),
            decision=replace(info.decision, alarms_per_day=self.alarms_per_day),
            golden=member("golden.npz", members["golden.npz"]),
            report=member("report.html", members["report.html"]) if "report.html" in members else None,
            provenance=self._provenance(backtests),
        )
        return manifest, members

    def _members(self) -> dict[str, bytes]:
        scorers = {graph_format: graph.scorer() for graph_format, graph in self.graphs.items()}
        golden = golden_arrays(self.judge.cases, self.judge.golden, scorers)
        members = {_file(graph_format): graph.model for graph_format, graph in self.graphs.items()}
        members["golden.npz"] = write_npz(golden)
        report = self.run.path / "report.html"
        return members | ({"report.html": report.read_bytes()} if report.is_file() else {})

    def _graph(self, graph_format: str, graph: FrameGraph) -> FrameGraphSpec:
        face, thresholds = graph.face, self.thresholds[graph_format]
        return FrameGraphSpec(
            format=face.format,
            frame=face.frame,
            score=face.score,
            map=face.map,
            kinds=face.kinds,
            states=face.states,
            file=_file(graph_format),
            sha256=hashlib.sha256(graph.model).hexdigest(),
            size=len(graph.model),
            parity={runtime: parity.figures() for runtime, parity in graph.parity.items()},
            calibration=thresholds.score,
            map_calibration=thresholds.map,
            golden_tolerance=graph.tolerance,
        )

    def _provenance(self, backtests: FrameBacktests) -> dict[str, Any]:
        run = self.run
        return {
            **run.provenance,
            "detector": run.info.detector,
            "recipe": run.recipe,
            "metrics": run.metrics,
            "operators": {name: dict(sorted(graph.facts.operators.items())) for name, graph in self.graphs.items()},
            "runtimes": {each.runtime: each.version for graph in self.graphs.values() for each in graph.measured},
            "refused_formats": dict(sorted(self.refused.items())),
            "edgetpu": dict(self.edgetpu),
            "backtest": {
                name: {data: result.figures() for data, result in by_data.items()}
                for name, by_data in backtests.items()
            },
        }


def _file(graph_format: str) -> str:
    return f"model_{graph_format}.tflite"
