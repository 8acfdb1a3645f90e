"""One watched stream put together: its model, its source, its reporter, its threads.

What watches, best first: the graph of the installed bundle -> of the one before -> the bundle's Gaussian -> a Gaussian
learned on site. Everything below the first is said in the stream's state and in `health`. A source whose channels,
order or units are not the bundle's is a sensor fault for as long as that is so: scoring a pressure as a temperature
helps nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.backoff import Backoff
from edge_agent.config import StreamSettings
from edge_agent.contract import strict_json
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.decision import OpenEvent
from edge_agent.contract.manifest import GraphSpec
from edge_agent.contract.records import NS, Block, Channel, Decision, Fault, Unknown
from edge_agent.contract.wire import ModelRef, StreamHealth, StreamInfo, utc_text
from edge_agent.errors import BundleError, ManifestError, ScoringError
from edge_agent.on_site import Learning, SiteModel, gaussian_pipeline
from edge_agent.pipeline import Pipeline, bundle_pipeline
from edge_agent.ports import Clock, Scorer
from edge_agent.reporting import Alerts, Reporter
from edge_agent.scoring.selection import choose
from edge_agent.sources.settings import make_source
from edge_agent.stream import Stream
from edge_agent.update.slots import Slots

_log = logging.getLogger(__name__)

SILENT_READINGS = 3
"""Readings missing in a row before silence is reported."""
LEAST_SILENCE_S = 10.0
"""Shortest silence that is reported, seconds: fast sensors pause when their board restarts."""
UNKNOWN_SILENCE_S = 600.0
"""Silence that is reported while nobody knows how often the sensor speaks, seconds: three readings of a 3-minute
sensor."""
SITE_FILE = "site.json"
"""Name of the on-site calibration in the stream's folder."""
LEARNED_FILE = "learned.json"
"""Name of the Gaussian learned on site where there is no bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The bundle to run, and what was wrong on the way to it."""

    bundle: Bundle | None
    problem: str = ""


def find_bundle(settings: StreamSettings, folder: Path) -> Found:
    """Read the bundle of a stream: the one named in the settings, else the installed one, else the one before it."""
    slots = Slots(folder / "slots")
    places = [Path(settings.bundle)] if settings.bundle else [p for p in (slots.current(), slots.previous()) if p]
    problems: list[str] = []
    for path in places:
        try:
            return Found(bundle=Bundle.read(path), problem="; ".join(problems))
        except (BundleError, OSError) as error:
            problems.append(f"{path.name}: {error}")
    return Found(bundle=None, problem="; ".join(problems))


def channel_problem(mine: Sequence[Channel], wanted: Sequence[Channel]) -> str:
    """Say how the channels of a source differ from a bundle's in name, order or unit; empty where they do not."""
    names, expected = [c.name for c in mine], [c.name for c in wanted]
    if names != expected:
        hint = " in another order" if sorted(names) == sorted(expected) else ""
        return f"the source gives the channels {', '.join(names)}; the bundle wants {', '.join(expected)}{hint}"
    units = [
        f"{a.name} in {a.unit!r} instead of {b.unit!r}" for a, b in zip(mine, wanted, strict=True) if a.unit != b.unit
    ]
    return f"the source gives {', '.join(units)}" if units else ""


def bundle_scorer(bundle: Bundle, settings: StreamSettings) -> tuple[GraphSpec, Scorer, dict[str, Any]]:
    """Choose and load the graph to run here.

    Raises:
        ScoringError: none may run.
    """
    trial, scorer, _ = choose(bundle, settings.scoring)
    return trial.spec, scorer, scorer.describe()


def site_model(folder: Path, spec: GraphSpec) -> SiteModel | None:
    """Return the on-site calibration of a stream, where there is one for this very graph."""
    try:
        site = SiteModel.load(folder / SITE_FILE)
    except FileNotFoundError:
        return None
    except ManifestError as error:
        _log.warning("%s", error)
        return None
    if site.graph_sha256 != spec.sha256:
        _log.warning("%s is for another graph and is not used; calibrate again", folder / SITE_FILE)
        return None
    return site


class WatchedStream:
    """A stream of the agent: made from its settings, started, asked how it is, stopped.

    Args:
        name: of the stream.
        settings: its own.
        folder: where its bundles and calibrations are.
        clock: the agent's.
        alerts: the outbox, asked for events that were open when the agent last ran.
        reporter: makes the reporter, given channels and whether readings carry their own time.
        new_id: makes event ids.
        turned: feeds the watchdog.
        backoff: for reopening the source.
    """

    def __init__(
        self,
        name: str,
        settings: StreamSettings,
        *,
        folder: Path,
        clock: Clock,
        alerts: Alerts,
        reporter: Callable[[tuple[Channel, ...], bool], Reporter],
        new_id: Callable[[], str],
        turned: Callable[[str], None],
        backoff: Backoff,
    ) -> None:
        self.name, self._settings, self._folder, self._clock = name, settings, folder, clock
        self._alerts, self._new_id = alerts, new_id
        self._found = find_bundle(settings, folder)
        spec = self._found.bundle.manifest.input if self._found.bundle else None
        channels = settings.channels or (spec.channels if spec else ())
        rate_hz = spec.rate_hz if spec else settings.learning.rate_hz
        self.source = make_source(settings.source, clock=clock, channels=channels, rate_hz=rate_hz)
        self.reporter = reporter(self.source.channels, self.source.own_time)
        self._describe: dict[str, Any] = {}
        self._learning: Learning | None = None
        self._mismatch = channel_problem(self.source.channels, spec.channels) if spec else ""
        self.stream = Stream(
            name,
            self.source,
            self._make_watcher,
            self,
            clock=clock,
            no_data_s=self._silence_s(rate_hz),
            turned=turned,
            backoff=backoff,
        )

    # What the stream asks of its watcher and its sink.

    def _make_watcher(self) -> WatchedStream:
        pipeline = self._make_pipeline()
        if pipeline is not None:
            self._begin(pipeline)
        return self

    def feed(self, block: Block) -> list[Decision]:
        """Decide a block with whatever watches now."""
        pipeline = self.reporter.pipeline
        if pipeline is None:
            return self._learn(block)
        if self._mismatch:
            unknown = Unknown(t_ns=int(block.t_ns[-1]), fault=Fault.SENSOR, detail=self._mismatch)
            return [pipeline.unknown(unknown)]
        return pipeline.feed(block)

    def unknown(self, unknown: Unknown) -> Decision:
        """Decide a fault found outside the readings."""
        pipeline = self.reporter.pipeline
        if pipeline is not None:
            return pipeline.unknown(unknown)
        return Decision(t_ns=unknown.t_ns, anomaly=None, fault=unknown.fault, detail=unknown.detail)

    def decided(self, block: Block | None, decisions: list[Decision]) -> None:
        """Report what was decided."""
        self.reporter.decided(block, decisions)

    # The model.

    def _make_pipeline(self) -> Pipeline | None:
        """Return the best that can watch, or None: learn first."""
        bundle, problem = self._found.bundle, self._found.problem
        if bundle is not None:
            return self._bundle_pipeline(bundle)
        if problem:
            _log.error("stream %s: no bundle can be read: %s", self.name, problem)
        try:
            learned = SiteModel.load(self._folder / LEARNED_FILE)
        except FileNotFoundError:
            learned = None
        except ManifestError as error:
            _log.warning("stream %s: %s", self.name, error)
            learned = None
        if learned is not None and not channel_problem(self.source.channels, learned.input.channels):
            return gaussian_pipeline(learned, self._new_id, problem=problem)
        self._learning = Learning(self.source.channels, self._settings.learning, lambda: utc_text(self._clock.now_ns()))
        return None

    def _bundle_pipeline(self, bundle: Bundle) -> Pipeline:
        manifest = bundle.manifest
        problem, scorer, spec = self._found.problem, None, manifest.graphs[0]
        try:
            spec, scorer, self._describe = bundle_scorer(bundle, self._settings)
        except (ScoringError, BundleError) as error:
            problem = str(error)
            _log.error("stream %s: %s; the Gaussian watches alone", self.name, problem)
        self.reporter.model = ModelRef(name=manifest.name, version=manifest.version, sha256=bundle.sha256)
        site = site_model(self._folder, spec)
        return bundle_pipeline(
            bundle,
            spec,
            scorer,
            decision=self._settings.decision,
            prefilter=self._settings.prefilter,
            new_id=self._new_id,
            calibration=site.calibration if site else None,
            gaussian=site.prefilter if site else None,
            model_problem="" if scorer else problem,
        )

    def _begin(self, pipeline: Pipeline) -> None:
        """Watch with this pipeline from now on, going on with the events that were open."""
        pipeline.decider.restore(self._open_events())
        self.stream.no_data_s = self._silence_s(pipeline.windower.rule.rate_hz)
        self.reporter.use(pipeline, self.reporter.model)

    def _open_events(self) -> list[OpenEvent]:
        try:
            return [strict_json.read(OpenEvent, each, "open event") for each in self._alerts.open_events(self.name)]
        except ManifestError as error:
            _log.warning("stream %s: what was open before the restart cannot be read: %s", self.name, error)
            return []

    def _learn(self, block: Block) -> list[Decision]:
        assert self._learning is not None  # noqa: S101 - made with the watcher where there is no pipeline
        decision, model = self._learning.feed(block)
        if model is None:
            return [decision]
        _log.info("stream %s: learned what is normal here; watching with that, provisionally", self.name)
        try:
            model.save(self._folder / LEARNED_FILE)
        except OSError as error:
            _log.warning("stream %s: what was learned cannot be kept (%s); a restart learns again", self.name, error)
        self._learning = None
        pipeline = gaussian_pipeline(model, self._new_id, problem=self._found.problem)
        self._begin(pipeline)
        return [decision, *pipeline.feed(block)]

    def _silence_s(self, rate_hz: float | None) -> float:
        """Return the silence of the source that is reported, seconds."""
        if self._settings.no_data_s is not None:
            return self._settings.no_data_s
        return UNKNOWN_SILENCE_S if rate_hz is None else max(LEAST_SILENCE_S, SILENT_READINGS / rate_hz)

    # How it is.

    def info(self) -> StreamInfo:
        """What the stream is, for the birth message."""
        pipeline = self.reporter.pipeline
        calibration = pipeline.calibration if pipeline else None
        return StreamInfo(
            channels=tuple(channel.name for channel in self.source.channels),
            units=tuple(channel.unit for channel in self.source.channels),
            rate_hz=pipeline.windower.rule.rate_hz if pipeline else None,
            model=self.reporter.model,
            grade=calibration.grade if calibration else None,
            hours_needed=calibration.hours_needed if calibration else None,
        )

    def state(self) -> str:
        """The stream's state in one word."""
        return _state(self.reporter.last)

    def health(self) -> StreamHealth:
        """How the stream runs now."""
        last, pipeline = self.reporter.last, self.reporter.pipeline
        calibration = pipeline.calibration if pipeline else None
        heard_ns = self.stream.heard_ns
        return StreamHealth(
            state=self.state(),
            detail=last.detail[:1000] if last else "",
            sample_age_s=None if heard_ns is None else round((self._clock.monotonic_ns() - heard_ns) / NS, 3),
            rate_hz=pipeline.windower.rule.rate_hz if pipeline else None,
            skipped_share=round(pipeline.counts.skipped_share, 4) if pipeline and pipeline.scorer else None,
            infer_p95_ms=pipeline.scorer.infer_p95_ms() if pipeline and pipeline.scorer else None,
            delegate=str(self._describe.get("kernels", "")) or None,
            model=self.reporter.model.name if self.reporter.model else None,
            version=self.reporter.model.version if self.reporter.model else None,
            alarms_per_day=self.reporter.alarms_per_day(),
            alarms_per_day_asked=calibration.alarms_per_day if calibration else None,
        )


def _state(last: Decision | None) -> str:
    if last is None:
        return "starting"
    if last.fault is not None:
        return str(last.fault)
    return "anomaly" if last.anomaly else "normal"
