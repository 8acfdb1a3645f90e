"""One watched stream put together: its model, its source, its reporter, its threads.

What watches, best first: a graph of the installed bundle -> of the one before -> the bundle's Gaussian -> a Gaussian
learned on site. Everything below the first is said in the stream's state and in `health`:

- A graph of the bundle before is a proven network, so its decisions stand without a fault; that it watches, and why, is
  the `detail` of every state. (The fault `model` would hide the difference to a device without any network.)
- A Gaussian alone decides under the fault `model`.
- An on-site calibration that is for another graph or input is not used; the bundle's own is, and the `detail` says so.
  Where one graph of the bundle is the one it is for, that one runs, even if another is faster today.

A source whose channels, order or units are not the bundle's is a sensor fault for as long as that is so: scoring a
pressure as a temperature helps nobody.

A watcher made again after a failure runs the same graph, goes on learning with what was recorded, and goes on with the
events that are open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_agent.backoff import Backoff
from edge_agent.block_reader import BlockReader
from edge_agent.config import StreamSettings
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.manifest import GraphSpec
from edge_agent.contract.records import Block, Channel, Decision, Fault, Unknown
from edge_agent.contract.wire import ModelRef, StreamHealth, StreamInfo, utc_text
from edge_agent.errors import BundleError, ManifestError, ScoringError
from edge_agent.found_bundle import Found, find_bundle, first_readable
from edge_agent.on_site import Learning, SiteModel, gaussian_pipeline
from edge_agent.pipeline import Pipeline, bundle_pipeline
from edge_agent.ports import Clock, Scorer, Source
from edge_agent.readings_account import ReadingsAccount, ReadingsKeeper
from edge_agent.reporting import Reporter
from edge_agent.scoring.selection import choose
from edge_agent.sources.settings import make_source
from edge_agent.stream import Stream
from edge_agent.supervised_loop import Supervision
from edge_agent.supervised_scorer import SupervisedScorer
from edge_agent.watched import Watched, silence_s

_log = logging.getLogger(__name__)

UNKNOWN_SILENCE_S = 600.0
"""Silence that is reported while nobody knows how often the sensor speaks, seconds: three readings of a 3-minute
sensor."""
SITE_FILE = "site.json"
"""Name of the on-site calibration in the stream's folder."""
LEARNED_FILE = "learned.json"
"""Name of the Gaussian learned on site where there is no bundle."""


def channel_problem(mine: Sequence[Channel], wanted: Sequence[Channel]) -> str:
    """Say how the channels of a source differ from a bundle's in name, order or unit; empty where they do not.

    A unit that one of them does not tell is no difference.
    """
    names, expected = [c.name for c in mine], [c.name for c in wanted]
    if names != expected:
        hint = " in another order" if sorted(names) == sorted(expected) else ""
        return f"the source gives the channels {', '.join(names)}; the bundle wants {', '.join(expected)}{hint}"
    units = [
        f"{a.name} in {a.unit!r} instead of {b.unit!r}"
        for a, b in zip(mine, wanted, strict=True)
        if a.unit and b.unit and a.unit != b.unit
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A bundle and the graph of it that runs; without a scorer, its Gaussian watches alone."""

    bundle: Bundle
    spec: GraphSpec
    scorer: Scorer | None
    problem: str
    """Why nothing better runs."""


class WatchedStream(Watched):
    """A sensor of the agent.

    Args:
        name: of the stream.
        settings: its own.
        folder: where its bundles and calibrations are.
        clock: the agent's.
        keeper: the evidence folder.
        reporter: makes the reporter, given its account and whether readings carry their own time.
        new_id: makes event ids.
        supervision: feeds the watchdog.
        backoff: for reopening the source.
    """

    source: Source
    stream: Stream

    def __init__(
        self,
        name: str,
        settings: StreamSettings,
        *,
        folder: Path,
        clock: Clock,
        keeper: ReadingsKeeper,
        reporter: Callable[[ReadingsAccount, bool], Reporter[Block]],
        new_id: Callable[[], str],
        supervision: Supervision,
        backoff: Backoff,
    ) -> None:
        self.name, self._settings, self._folder, self._clock = name, settings, folder, clock
        self._new_id, self._supervision = new_id, supervision
        self._found = find_bundle(settings, folder)
        spec = self._found.bundle.manifest.input if self._found.bundle else None
        channels = settings.channels or (spec.channels if spec else ())
        rate_hz = spec.rate_hz if spec else settings.learning.rate_hz
        self.source = make_source(settings.readings_source, clock=clock, channels=channels, rate_hz=rate_hz)
        self._account = ReadingsAccount(name, self.source.channels, keeper)
        self.reporter = reporter(self._account, self.source.own_time)
        self._describe: dict[str, Any] = {}
        self._chosen: tuple[Bundle, str, str] | None = None
        self._learned: SiteModel | None = None
        self._learning: Learning | None = None
        self._mismatch = channel_problem(self.source.channels, spec.channels) if spec else ""
        reader = BlockReader(
            name,
            self.source,
            clock=clock,
            no_data_s=silence_s(settings, rate_hz, UNKNOWN_SILENCE_S),
            supervision=supervision,
            backoff=backoff,
        )
        self.stream = Stream(reader, self._make_watcher, self)

    @property
    def pipeline(self) -> Pipeline | None:
        """What watches now; None while still learning."""
        return self._account.pipeline

    @property
    def calibration(self) -> Calibration | None:
        """What decides now; None while still learning."""
        return self.pipeline.calibration if self.pipeline else None

    # What the stream asks of its watcher and its sink.

    def _make_watcher(self) -> WatchedStream:
        made = self._make_pipeline()
        if made is not None:
            self._begin(*made)
        elif self._learning is None:
            self._begin_learning()
        return self

    def feed(self, block: Block) -> list[Decision]:
        """Decide a block with whatever watches now."""
        pipeline = self.pipeline
        if pipeline is None:
            return self._learn(block)
        if self._mismatch:
            unknown = Unknown(t_ns=int(block.t_ns[-1]), fault=Fault.SENSOR, detail=self._mismatch)
            return [pipeline.unknown(unknown)]
        return pipeline.feed(block)

    def unknown(self, unknown: Unknown) -> Decision:
        """Decide a fault found outside the readings."""
        watching = self.pipeline or self._learning
        assert watching is not None  # noqa: S101 - one of them is made with the watcher
        return watching.unknown(unknown)

    def decided(self, block: Block | None, decisions: list[Decision]) -> None:
        """Report what was decided."""
        self.reporter.decided(block, decisions)

    def settle(self, *, end: bool = False) -> None:
        """Publish what was held back."""
        self.reporter.settle(end=end)

    # The model.

    def _make_pipeline(self) -> tuple[Pipeline, str] | None:
        """Return the best that can watch and what to note about it, or None: learn first."""
        problem = self._found.problem
        if self._found.bundle is not None:
            choice = self._choose(self._found.bundle)
            try:
                return self._bundle_pipeline(choice)
            except BundleError as error:
                problem = "; ".join(part for part in (choice.problem, str(error)) if part)
        if problem:
            _log.error("stream %s: no bundle can be used: %s", self.name, problem)
        self._learned = self._learned or self._load_learned()
        if self._learned is None:
            return None
        return gaussian_pipeline(self._learned, self._new_id, problem=problem), ""

    def _load_learned(self) -> SiteModel | None:
        try:
            learned = SiteModel.load(self._folder / LEARNED_FILE)
        except FileNotFoundError:
            return None
        except ManifestError as error:
            _log.warning("stream %s: %s", self.name, error)
            return None
        if wrong := channel_problem(self.source.channels, learned.input.channels):
            _log.warning("stream %s: what was learned is for other channels; learning anew: %s", self.name, wrong)
            return None
        return learned

    def _choose(self, first: Bundle) -> _Choice:
        """Return the first bundle of which a graph runs here, without a scorer where there is none."""
        if self._chosen is not None:
            bundle, graph, problem = self._chosen
            try:
                return self._load(bundle, graph, problem)
            except (ScoringError, BundleError) as error:
                _log.warning("stream %s: the %s graph does not load again: %s", self.name, graph, error)
        problems = [self._found.problem] if self._found.problem else []
        found: Found[Bundle] = Found(bundle=first, others=self._found.others)
        while found.bundle is not None:
            try:
                return self._load(found.bundle, self._preferred(found.bundle), "; ".join(problems))
            except (ScoringError, BundleError) as error:
                manifest = found.bundle.manifest
                problems.append(f"{manifest.name} {manifest.version}: {error}")
                found = self._next_bundle(found.others, problems)
        problem = "; ".join(problems)
        _log.error("stream %s: %s; the Gaussian watches alone", self.name, problem)
        return _Choice(bundle=first, spec=first.manifest.graphs[0], scorer=None, problem=problem)

    def _next_bundle(self, places: tuple[Path, ...], problems: list[str]) -> Found[Bundle]:
        """Return the next bundle that can be read and is for the channels of the source."""
        found = first_readable(places, problems, Bundle.read)
        while found.bundle is not None:
            wrong = channel_problem(self.source.channels, found.bundle.manifest.input.channels)
            if not wrong:
                break
            problems.append(f"{found.bundle.manifest.name} {found.bundle.manifest.version}: {wrong}")
            found = first_readable(found.others, problems, Bundle.read)
        return found

    def _preferred(self, bundle: Bundle) -> str:
        """Return the graph to run: the one that was calibrated on site, where the settings leave it open."""
        site, _ = self._site(bundle)
        if site is None or self._settings.scoring.graph != "auto":
            return self._settings.scoring.graph
        own = [spec.format for spec in bundle.manifest.graphs if spec.sha256 == site.graph_sha256]
        return str(own[0]) if own else "auto"

    def _load(self, bundle: Bundle, graph: str, problem: str) -> _Choice:
        """Load a graph of a bundle; where the preferred one does not run here, any other.

        Raises:
            ScoringError: none may run.
            BundleError: the bundle's golden data cannot be read.
        """
        settings = replace(self._settings, scoring=replace(self._settings.scoring, graph=graph))
        try:
            spec, scorer, self._describe = bundle_scorer(bundle, settings)
        except ScoringError as error:
            if graph == self._settings.scoring.graph:
                raise
            _log.warning("stream %s: the %s graph does not run here: %s", self.name, graph, error)
            spec, scorer, self._describe = bundle_scorer(bundle, self._settings)
        self._chosen = bundle, str(spec.format), problem
        return _Choice(
            bundle=bundle, spec=spec, scorer=SupervisedScorer(scorer, self.stream, self._supervision), problem=problem
        )

    def _bundle_pipeline(self, choice: _Choice) -> tuple[Pipeline, str]:
        """Return the pipeline of a bundle and what to note about it.

        Raises:
            BundleError: its prefilter cannot be read.
        """
        manifest = choice.bundle.manifest
        site, note = self._site(choice.bundle)
        if site is not None and choice.scorer is not None and site.graph_sha256 != choice.spec.sha256:
            site, note = None, "the on-site calibration is for another graph and is not used: calibrate again"
        notes = [note] if note else []
        if choice.scorer is not None and choice.problem:
            notes.insert(0, f"{manifest.name} {manifest.version} watches, since {choice.problem}")
        for each in notes:
            _log.warning("stream %s: %s", self.name, each)
        pipeline = bundle_pipeline(
            choice.bundle,
            choice.spec,
            choice.scorer,
            decision=self._settings.decision,
            prefilter=self._settings.prefilter,
            new_id=self._new_id,
            calibration=site.calibration if site else None,
            gaussian=site.prefilter if site else None,
            model_problem="" if choice.scorer else choice.problem,
        )
        self.reporter.model = ModelRef(name=manifest.name, version=manifest.version, sha256=choice.bundle.sha256)
        return pipeline, "; ".join(notes)

    def _site(self, bundle: Bundle) -> tuple[SiteModel | None, str]:
        """Return the on-site calibration, where there is one that fits the bundle, and else why not."""
        try:
            site = SiteModel.load(self._folder / SITE_FILE)
        except FileNotFoundError:
            return None, ""
        except ManifestError as error:
            return None, str(error)
        rule = bundle.manifest.decision.rule
        if site.input != bundle.manifest.input or (site.calibration.n, site.calibration.m) != (rule.n, rule.m):
            return None, "the on-site calibration is for another bundle and is not used: calibrate again"
        return site, ""

    def _begin(self, pipeline: Pipeline, note: str = "") -> None:
        """Watch with this pipeline from now on, going on with the events that were open."""
        pipeline.decider.restore(self.reporter.open_before())
        rate_hz = pipeline.windower.rule.rate_hz
        self.stream.reader.no_data_s = silence_s(self._settings, rate_hz, UNKNOWN_SILENCE_S)
        self._account.pipeline = pipeline
        self.reporter.use(self.reporter.model, pipeline.decider.open_events, note)

    def _begin_learning(self) -> None:
        self._learning = Learning(
            self.source.channels, self._settings.learning, lambda: utc_text(self._clock.now_ns()), self._new_id
        )
        self._learning.restore(self.reporter.open_before())
        self._account.pipeline = None
        self.reporter.use(None, self._learning.open_events)

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
        self._learning, self._learned = None, model
        pipeline = gaussian_pipeline(model, self._new_id, problem=self._found.problem)
        self._begin(pipeline)
        return [decision, *pipeline.feed(block)]

    # How it is.

    def info(self) -> StreamInfo:
        """What the stream is, for the birth message."""
        return replace(
            super().info(),
            channels=tuple(channel.name for channel in self.source.channels),
            units=tuple(channel.unit for channel in self.source.channels),
            rate_hz=self.pipeline.windower.rule.rate_hz if self.pipeline else None,
        )

    def health(self) -> StreamHealth:
        """How the stream runs now."""
        told, pipeline = super().health(), self.pipeline
        if pipeline is None:
            return told
        scorer = pipeline.scorer
        return replace(
            told,
            rate_hz=pipeline.windower.rule.rate_hz,
            skipped_share=round(pipeline.counts.skipped_share, 4) if scorer else None,
            infer_p95_ms=scorer.infer_p95_ms() if scorer else None,
        )
