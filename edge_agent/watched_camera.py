"""One watched camera put together: its model, its source, its scene, its reporter, its threads.

The counterpart of `watching.py`. What watches, best first: a graph of the installed bundle -> of the one before -> the
scene that the prefilter learns on site, under the fault `model` where there should be a graph.

Scene and camera reference are kept in the stream's folder: at once when they are learned, the scene as it is followed
every ten minutes and at the end. A file that cannot be read, or is for other masks, means learning anew.

A watcher made again after a failure runs the same graph, which is not measured again, and goes on with the scene, the
reference and the events that are open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from edge_agent.alerts.credentials import SecretError, read_secret
from edge_agent.backoff import Backoff
from edge_agent.camera_pipeline import CameraGraph, camera_pipeline, choose_camera_graph, vision_of
from edge_agent.config import StreamSettings
from edge_agent.contract.bundle import FrameBundle
from edge_agent.contract.calibration import Calibration
from edge_agent.contract.frames import Frame, FrameScore, Pixels
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import NS, Unknown
from edge_agent.contract.wire import ModelRef, StreamHealth
from edge_agent.files import load_kept, read_kept, replace_file
from edge_agent.found_bundle import Found, find_frame_bundle
from edge_agent.frame_account import FrameAccount, FrameKeeper
from edge_agent.frame_reader import FrameReader
from edge_agent.frame_stream import FrameStream
from edge_agent.mailbox import Mailbox
from edge_agent.ports import Clock, FrameScorer, FrameSource
from edge_agent.reporting import Reporter
from edge_agent.scoring.settings import ScoringSettings
from edge_agent.sources.camera import NetworkCameraSettings
from edge_agent.sources.frame_settings import FrameSourceSettings, make_frame_source
from edge_agent.supervised_loop import Supervision
from edge_agent.supervised_scorer import SupervisedScorer
from edge_agent.vision.camera_health import CameraHealth
from edge_agent.vision.camera_view import Reference
from edge_agent.vision.frame_pipeline import FrameDecision, FramePipeline
from edge_agent.vision.frame_prefilter import FramePrefilter, FramePrefilterSettings
from edge_agent.vision.scene_model import SceneModel
from edge_agent.watched import Watched, silence_s

_log = logging.getLogger(__name__)

SCENE_FILE: Final = "scene.npz"
"""Name of the learned scene in the stream's folder."""
REFERENCE_FILE: Final = "camera.npz"
"""Name of the camera reference in the stream's folder."""
MAX_REFERENCE_BYTES: Final = 1 << 20
"""Largest file of a camera reference that is read: one takes 80 kB at most."""
SAVE_EVERY_S: Final = 600.0
"""Seconds between two saves of a scene that is followed: what is forgotten by a power cut, 25 kB written each time."""


class SupervisedFrameScorer(SupervisedScorer[Pixels, FrameScore]):
    """A scorer of frames whose calls the watchdog sees."""

    def __init__(self, scorer: FrameScorer, stream: FrameStream, supervision: Supervision) -> None:
        super().__init__(scorer, stream, supervision)
        self.frame_shape = scorer.frame_shape


class WatchedCamera(Watched):
    """A camera of the agent.

    Args:
        name: of the stream.
        settings: its own.
        folder: where its bundles, its scene and its reference are.
        clock: the agent's.
        keeper: the evidence folder.
        reporter: makes the reporter, given its account and whether frames carry their own time.
        new_id: makes event ids.
        supervision: feeds the watchdog.
        backoff: for reopening the source.
    """

    source: FrameSource
    stream: FrameStream

    def __init__(
        self,
        name: str,
        settings: StreamSettings,
        *,
        folder: Path,
        clock: Clock,
        keeper: FrameKeeper,
        reporter: Callable[[FrameAccount, bool], Reporter[FrameDecision]],
        new_id: Callable[[], str],
        supervision: Supervision,
        backoff: Backoff,
    ) -> None:
        self.name, self._settings, self._folder, self._clock = name, settings, folder, clock
        self._new_id, self._supervision = new_id, supervision
        self._found = find_frame_bundle(settings, folder)
        self.source = camera_source(settings.frames_source, clock)
        self._account = FrameAccount(name, keeper)
        self.reporter = reporter(self._account, self.source.own_time)
        self.pipeline: FramePipeline | None = None
        """What watches now; None before the model is loaded."""
        self._describe: dict[str, Any] = {}
        self._chosen: tuple[Found[FrameBundle], ScoringSettings] | None = None
        self._health: CameraHealth | None = None
        self._prefilter: FramePrefilter | None = None
        self._saved_ns = clock.monotonic_ns()
        self._saved: dict[str, object] = {}
        reader = FrameReader(
            name,
            self.source,
            Mailbox(),
            clock=clock,
            no_data_s=camera_silence_s(settings),
            supervision=supervision,
            backoff=backoff,
        )
        self.stream = FrameStream(reader, self._make_watcher, self)

    @property
    def calibration(self) -> Calibration | None:
        """What decides now; None while the scene is being learned."""
        return self.pipeline.calibration if self.pipeline else None

    # What the stream asks of its watcher and its sink.

    def feed(self, frame: Frame) -> FrameDecision | None:
        """Decide a frame, and keep what was learned with it."""
        assert self.pipeline is not None  # noqa: S101 - made with the watcher
        decided = self.pipeline.feed(frame)
        self._keep()
        return decided

    def unknown(self, unknown: Unknown) -> FrameDecision:
        """Decide a fault found outside the frames."""
        assert self.pipeline is not None  # noqa: S101 - made with the watcher
        return self.pipeline.unknown(unknown)

    def decided(self, decided: FrameDecision) -> None:
        """Report what was decided."""
        self.reporter.decided(decided, [decided.decision])

    def settle(self, *, end: bool = False) -> None:
        """Publish what was held back; at the end, keep the scene."""
        self.reporter.settle(end=end)
        if end:
            self._keep(end=True)

    # The model, and what was learned on site.

    def _make_watcher(self) -> WatchedCamera:
        graph, problem = self._choose()
        model, note, self._describe = None, "", {}
        if graph is not None:
            manifest = graph.bundle.manifest
            model = ModelRef(name=manifest.name, version=manifest.version, sha256=graph.bundle.sha256)
            self._describe = graph.scorer.describe()
            graph = replace(graph, scorer=SupervisedFrameScorer(graph.scorer, self.stream, self._supervision))
            note = f"{manifest.name} {manifest.version} watches, since {problem}" if problem else ""
        if problem:
            _log.error("stream %s: %s", self.name, note or f"{problem}; the scene alone is watched")
        vision = vision_of(graph.bundle if graph else None, self._settings.camera, self._settings.decision)
        self._health = self._health or CameraHealth(vision.health, self._load_reference())
        self._make_prefilter(vision.prefilter, needed=graph is None)
        self.pipeline = camera_pipeline(
            graph,
            vision,
            health=self._health,
            prefilter=self._prefilter,
            decision=self._settings.decision,
            new_id=self._new_id,
            problem=problem,
        )
        self.pipeline.restore(self.reporter.open_before())
        self._account.use(self.pipeline, vision.localisation.zones)
        self.reporter.use(model, self.pipeline.open_events, note)
        return self

    def _choose(self) -> tuple[CameraGraph | None, str]:
        """Load the graph that ran before a failure; at first, and where it does not load again, the best that runs."""
        if self._chosen is not None:
            found, scoring = self._chosen
            graph, problem = choose_camera_graph(found, replace(self._settings, scoring=scoring))
            if graph is not None:
                return graph, problem
            _log.warning("stream %s: the %s graph does not load again: %s", self.name, scoring.graph, problem)
        graph, problem = choose_camera_graph(self._found, self._settings)
        if graph is not None:
            scoring = replace(self._settings.scoring, graph=str(graph.spec.format))
            self._chosen = Found(bundle=graph.bundle, problem=problem), scoring
        return graph, problem

    def _make_prefilter(self, settings: FramePrefilterSettings, *, needed: bool) -> None:
        """Make the prefilter with the scene of before, unless there is one already; `off` where it is not needed."""
        if settings.mode is Mode.OFF and not needed:
            self._prefilter = None
        elif self._prefilter is None or self._prefilter.settings != settings:
            try:
                self._prefilter = FramePrefilter(settings, self._load_scene())
            except ValueError as error:
                _log.warning("stream %s: %s: learning it anew", self.name, error)
                self._prefilter = FramePrefilter(settings)

    def _load_scene(self) -> SceneModel | None:
        scene = load_kept(self._folder / SCENE_FILE, SceneModel.load)
        if scene is not None:
            self._saved[SCENE_FILE] = scene.calibration
        return scene

    def _load_reference(self) -> Reference | None:
        reference = load_kept(
            self._folder / REFERENCE_FILE, lambda path: Reference.from_npz(read_kept(path, MAX_REFERENCE_BYTES))
        )
        self._saved[REFERENCE_FILE] = reference
        return reference

    def _keep(self, *, end: bool = False) -> None:
        """Write what was learned since, and the scene as it was followed where that is due."""
        scene = self._prefilter.model if self._prefilter else None
        reference = self._health.reference if self._health else None
        now_ns = self._clock.monotonic_ns()
        due = end or now_ns - self._saved_ns >= SAVE_EVERY_S * NS
        if scene and (due or self._saved.get(SCENE_FILE) is not scene.calibration):
            self._saved_ns = now_ns
            self._write(SCENE_FILE, scene.calibration, scene.to_bytes())
        if self._saved.get(REFERENCE_FILE) is not reference:
            self._write(REFERENCE_FILE, reference, reference.to_bytes() if reference else b"")

    def _write(self, name: str, mark: object, content: bytes) -> None:
        """Write a file, or remove it where it is to be empty; what was written is known by its mark."""
        self._saved[name] = mark
        path = self._folder / name
        try:
            if content:
                replace_file(path, content)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("stream %s: %s cannot be kept (%s); a restart learns it again", self.name, name, error)

    def health(self) -> StreamHealth:
        """How the stream runs now."""
        pipeline, rate_hz = self.pipeline, self.stream.rate_hz
        network = pipeline.network if pipeline else None
        return replace(
            super().health(),
            rate_hz=None if rate_hz is None else round(rate_hz, 2),
            frames_dropped=self.stream.counts.frames_unseen,
            skipped_share=round(pipeline.counts.skipped_share, 4) if pipeline and network else None,
            infer_p95_ms=network.scorer.infer_p95_ms() if network else None,
        )


def camera_source(settings: FrameSourceSettings, clock: Clock) -> FrameSource:
    """Make the source of a camera, with its password where it has one."""
    password = ""
    if isinstance(settings, NetworkCameraSettings) and settings.password_file:
        try:
            password = read_secret(settings.password_file)
        except SecretError as error:
            _log.error("%s: %s; it is asked without a password", settings.shown, error)
    return make_frame_source(settings, clock, password=password)


def camera_silence_s(settings: StreamSettings) -> float:
    """Return the silence of a camera that is reported, seconds."""
    rate_hz = getattr(settings.source, "rate_hz", 0.0) * (getattr(settings.source, "speed", 1.0) or 1.0)
    return silence_s(settings, rate_hz or None)
