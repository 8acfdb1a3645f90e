"""What watches a camera: the graph of its bundle that runs here, its settings beside those of the bundle, the pipeline.

The same for the agent, for `edge-agent replay` and for benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_agent.config import StreamSettings
from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.frame_manifest import FrameGraphSpec
from edge_agent.contract.manifest_base import GraphFormat
from edge_agent.contract.records import Stage
from edge_agent.errors import BundleError, ScoringError
from edge_agent.found_bundle import Found, next_frame_bundle
from edge_agent.pipeline import DecisionSettings
from edge_agent.ports import FrameScorer
from edge_agent.scoring.frame_selection import choose_frame_graph
from edge_agent.vision.cadence import Cadence
from edge_agent.vision.camera_health import CameraHealth
from edge_agent.vision.frame_pipeline import FramePipeline, Network
from edge_agent.vision.frame_prefilter import FramePrefilter
from edge_agent.vision.map_watch import MapWatch, Thresholds
from edge_agent.vision.regions import LocalisationSettings
from edge_agent.vision.settings import VisionSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraGraph:
    """A graph that runs on this device."""

    bundle: FrameBundle
    spec: FrameGraphSpec
    scorer: FrameScorer


def choose_camera_graph(found: Found[FrameBundle], settings: StreamSettings) -> tuple[CameraGraph | None, str]:
    """Load the first bundle that goes with the settings and of which a graph runs here; say why nothing better does."""
    problems = [found.problem] if found.problem else []
    while found.bundle is not None:
        bundle, manifest = found.bundle, found.bundle.manifest
        try:
            vision_of(bundle, settings.camera, settings.decision)
            trial, scorer, _ = choose_frame_graph(bundle, settings.scoring)
        except (ScoringError, BundleError, ValueError) as error:
            problems.append(f"{manifest.name} {manifest.version}: {error}")
            found = next_frame_bundle(found.others, problems)
        else:
            return CameraGraph(bundle=bundle, spec=trial.spec, scorer=scorer), "; ".join(problems)
    return None, "; ".join(problems)


def vision_of(bundle: FrameBundle | None, asked: VisionSettings, decision: DecisionSettings) -> VisionSettings:
    """Return how a camera is watched: what the settings say, and where they do not, the bundle.

    Raises:
        ValueError: the masks of both are too many, or leave nothing to watch.
    """
    places, scene = asked.localisation, asked.prefilter
    if bundle is not None:
        frames, prefilter = bundle.manifest.input, bundle.manifest.prefilter
        places = replace(places, masks=(*frames.masks, *places.masks), zones=places.zones or frames.zones)
        scene = replace(scene, mode=scene.mode or prefilter.mode, max_skip_s=scene.max_skip_s or prefilter.max_skip_s)
    scene = replace(
        scene,
        masks=(*scene.masks, *places.masks),
        rule=decision.rule(scene.rule),
        alarms_per_day=decision.alarms_per_day or scene.alarms_per_day,
        k=decision.k or scene.k,
    )
    return replace(asked, localisation=places, prefilter=scene)


def camera_pipeline(
    graph: CameraGraph | None,
    vision: VisionSettings,
    *,
    health: CameraHealth,
    prefilter: FramePrefilter | None,
    decision: DecisionSettings,
    new_id: Callable[[], str],
    problem: str = "",
) -> FramePipeline:
    """Return the pipeline of a camera as this device runs it.

    Args:
        graph: what scores; None: the prefilter decides.
        vision: as `vision_of` gives it.
        health: of the camera.
        prefilter: made from the same settings.
        decision: what the device changes of the bundle's decision.
        new_id: makes event ids.
        problem: why there is no graph where there should be one.
    """
    network, rule = None, vision.prefilter.rule
    if graph is not None:
        rule = decision.rule(graph.bundle.manifest.decision.rule)
        network = _network(graph, vision.localisation, decision, rule, new_id)
    return FramePipeline(
        health=health,
        prefilter=prefilter,
        network=network,
        rule=rule,
        new_id=new_id,
        localisation=vision.localisation,
        model_problem=problem if graph is None else "",
    )


def _network(
    graph: CameraGraph,
    places: LocalisationSettings,
    decision: DecisionSettings,
    rule: DecisionRule,
    new_id: Callable[[], str],
) -> Network:
    frames, of_map = graph.bundle.manifest.input, graph.spec.map_calibration
    score = _asked(graph.spec, graph.spec.calibration, decision)
    thresholds = Thresholds(score=score, map=_asked(graph.spec, of_map, decision) if of_map else score)
    watch = MapWatch(
        thresholds, rule, frames.interval_s, new_id, settings=places, stage=Stage.NETWORK, classes=frames.classes
    )
    cadence = Cadence(frames.interval_s, frames.warm_up) if graph.scorer.streaming else None
    return Network(scorer=graph.scorer, watch=watch, sha256=graph.spec.sha256, cadence=cadence)


def _asked(spec: FrameGraphSpec, base: Calibration, decision: DecisionSettings) -> Calibration:
    """Return the threshold for what this device asks; no rate stands behind one of a graph that an Edge TPU runs."""
    calibration = decision.calibration(base)
    if spec.format is GraphFormat.EDGETPU:
        return calibration.with_threshold(calibration.threshold)
    return calibration
