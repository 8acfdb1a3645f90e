"""One watched stream put together: its model, its source, its reporter, its threads.

What watches, best first: a graph of the installed bundle -> of the one before -> the bundle's Gaussian -> a Gaussian
learned on site. Which graph that is, `graph_choice.py` says. Everything below the first is said in the stream's state
and in `health`:

- A graph of the bundle before is a proven network, so its decisions stand without a fault; that it watches, and why, is
  the `detail` of every state. (The fault `model` would hide the difference to a device without any network.)
- A Gaussian alone decides under the fault `model`.
- An on-site calibration that is for another graph or input is not used; the bundle's own is, and the `detail` says so.

A source whose channels, order or units are not the bundle's is a sensor fault for as long as that is so: scoring a
pressure as a temperature helps nobody.

A watcher made again after a failure runs the same graph, goes on learning with what was recorded, and goes on with the
events that are open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_agent.backoff import Backoff
from edge_agent.block_reader import BlockReader
from edge_agent.config import StreamSettings
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.records import Block, Decision, Fault, Unknown
from edge_agent.contract.wire import ModelRef, StreamHealth, StreamInfo, utc_text
from edge_agent.errors import BundleError
from edge_agent.files import load_kept
from edge_agent.found_bundle import find_bundle
from edge_agent.graph_choice import Choice, GraphChoice, channel_problem
from edge_agent.on_site import Learning, gaussian_pipeline
from edge_agent.pipeline import Pipeline, bundle_pipeline
from edge_agent.ports import Clock, Source
from edge_agent.readings_account import ReadingsAccount, ReadingsKeeper
from edge_agent.reporting import Reporter
from edge_agent.site_model import LEARNED_FILE, SiteModel, site_of
from edge_agent.sources.settings import make_source
from edge_agent.stream import Stream
from edge_agent.supervised_loop import Supervision
from edge_agent.supervised_scorer import SupervisedScorer
from edge_agent.watched import Watched, silence_s

_log = logging.getLogger(__name__)

UNKNOWN_SILENCE_S = 600.0
"""Silence that is reported while nobody knows how often the sensor speaks, seconds: three readings of a 3-minute
sensor."""


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
        self._graphs = GraphChoice(name, settings.scoring, folder, self.source.channels)
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
            choice = self._graphs.choose(self._found.bundle, self._found.others, self._found.problem)
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
        learned = load_kept(self._folder / LEARNED_FILE, SiteModel.load)
        if learned and (wrong := channel_problem(self.source.channels, learned.input.channels)):
            _log.warning("stream %s: what was learned is for other channels; learning anew: %s", self.name, wrong)
            return None
        return learned

    def _bundle_pipeline(self, choice: Choice) -> tuple[Pipeline, str]:
        """Return the pipeline of a bundle and what to note about it.

        Raises:
            BundleError: its prefilter cannot be read.
        """
        manifest = choice.bundle.manifest
        site, note = site_of(self._folder, choice.bundle)
        if site is not None and choice.scorer is not None and site.graph_sha256 != choice.spec.sha256:
            site, note = None, "the on-site calibration is for another graph and is not used: calibrate again"
        notes = [note] if note else []
        if choice.scorer is not None and choice.problem:
            notes.insert(0, f"{manifest.name} {manifest.version} watches, since {choice.problem}")
        for each in notes:
            _log.warning("stream %s: %s", self.name, each)
        self._describe = choice.scorer.describe() if choice.scorer else {}
        pipeline = bundle_pipeline(
            choice.bundle,
            choice.spec,
            SupervisedScorer(choice.scorer, self.stream, self._supervision) if choice.scorer else None,
            decision=self._settings.decision,
            prefilter=self._settings.prefilter,
            new_id=self._new_id,
            calibration=site.calibration if site else None,
            gaussian=site.prefilter if site else None,
            model_problem="" if choice.scorer else choice.problem,
        )
        self.reporter.model = ModelRef(name=manifest.name, version=manifest.version, sha256=choice.bundle.sha256)
        return pipeline, "; ".join(notes)

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
