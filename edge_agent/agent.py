"""The agent: the only place where parts meet.

Order at start: the outbox (an alert may be made from here on) -> the streams, each loading its own model in its own
thread -> the link to the broker -> READY to systemd. Nothing here needs a broker, a port, a camera or a model to
start: what is missing is said in states and `health`, and heals by itself. Only settings that cannot be used end it
(exit 78).

The main thread then turns once a second: it feeds the watchdog from progress and publishes `health` and `info`. What
fails in a stream or in the link is begun again there. On SIGTERM the sources are closed, what was read is decided,
alerts are committed and sent while the broker takes them. Where that is not done in time, the next start reports it as
an end that was not in good order.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import random
import signal
import threading
import uuid
from pathlib import Path
from types import FrameType

from edge_agent import __version__
from edge_agent.account import Account
from edge_agent.alerts.evidence import Evidence
from edge_agent.alerts.link import Link
from edge_agent.alerts.outbox import Outbox
from edge_agent.backoff import Backoff
from edge_agent.clock import SystemClock
from edge_agent.config import Settings
from edge_agent.contract import strict_json
from edge_agent.contract.records import NS
from edge_agent.contract.wire import HealthPayload, InfoPayload, Topics, utc_text
from edge_agent.health.metrics import Machine, Measurements
from edge_agent.health.notify import notify, watchdog_s
from edge_agent.health.progress import Progress, Watchdog
from edge_agent.health.status import StatusError, StatusServer
from edge_agent.ports import Clock
from edge_agent.reporting import Item, Reporter
from edge_agent.watched import Watched
from edge_agent.watched_camera import WatchedCamera
from edge_agent.watching import WatchedStream

_log = logging.getLogger(__name__)

TURN_S = 1.0
"""Seconds between two turns of the main loop."""
HEALTH_EVERY_S = 60.0
"""Seconds between two health payloads; a change goes out at once."""
REOPEN_S = 30.0
"""Longest wait before a source is opened again, seconds: a port is local, so trying costs nothing."""
READY_S = 10.0
"""Longest wait for the models before READY, seconds; a model that takes longer is said to be `starting`."""
STOP_S = 5.0
"""Seconds a stream may take to stop, and the link to send what is left: systemd kills after 30 (`TimeoutStopSec`)."""
UNCLEAN_MARK = "running"
"""File that is there while the agent runs; found at start, the run before did not end in good order."""


class _Supervision:
    """Progress at the time it happens."""

    def __init__(self, progress: Progress, clock: Clock) -> None:
        self._progress, self._clock = progress, clock
        self.rested = progress.rested

    def turned(self, name: str) -> None:
        """Note that a loop turned or a long call begins."""
        self._progress.turned(name, self._clock.monotonic_ns())


class Agent:
    """Everything one device does.

    Args:
        settings: from the settings file.
        clock: time.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._stopping = threading.Event()
        self._state = settings.state_path
        self._boot_id = boot_id()
        try:
            self._state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _log.warning("%s cannot be made, nothing will be kept: %s", self._state, error)
        self._unclean = (self._state / UNCLEAN_MARK).exists()
        self.progress = Progress()
        self._machine = Machine(self._state, started_ns=self._clock.monotonic_ns())
        self._measured = self._measure()
        self.topics = Topics(root=settings.mqtt.root, device=settings.device)
        self.outbox = Outbox(
            self._state / "outbox.db",
            settings.outbox,
            self._clock,
            device=settings.device,
            boot_id=self._boot_id,
            streams=tuple(settings.streams),
            clock_state=lambda: self._measured.clock,
        )
        self.evidence = Evidence(self._state / "evidence", settings.evidence)
        self.link = Link(settings.mqtt, self.topics, self.outbox, clock=self._clock, birth=self.info)
        self.streams = {name: self._make_stream(name) for name in settings.streams}
        self._health_ns = 0
        self._states: tuple[str, ...] = ()
        self._info: InfoPayload | None = None

    def run(self) -> int:
        """Watch until SIGTERM or SIGINT, or until every finite source has ended; return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        watchdog = Watchdog(self.progress, watchdog_s())
        status = StatusServer(self._settings.status_path, self.snapshot)
        try:
            status.start()
        except StatusError as error:
            _log.warning("%s; `edge-agent status` will not work", error)
        self._begin()
        try:
            while not self._stopping.is_set():
                self._turn(watchdog)
                if all(watched.stream.finished.is_set() for watched in self.streams.values()):
                    _log.info("every source has ended")
                    break
                self._stopping.wait(TURN_S)
        finally:
            notify(STOPPING=1)
            self._end()
            status.stop()
        return 0

    def stop(self) -> None:
        """End `run` in good order; may be called from any thread."""
        self._stopping.set()

    def info(self) -> InfoPayload:
        """Return the birth certificate."""
        return InfoPayload(
            agent=__version__,
            device=self._settings.device,
            session=self.outbox.session,
            boot_id=self._boot_id,
            streams={name: watched.info() for name, watched in self.streams.items()},
            capabilities=("sensor", "camera"),
            config_hash=hashlib.sha256(repr(self._settings).encode()).hexdigest()[:16],
        )

    def health(self) -> HealthPayload:
        """Return how the agent and its machine are."""
        machine = self._measured = self._measure()
        return HealthPayload(
            time=utc_text(self._clock.now_ns()),
            uptime_s=machine.uptime_s,
            rss_bytes=machine.rss_bytes,
            cpu_share=machine.cpu_share,
            temperature_c=machine.temperature_c,
            throttled=machine.throttled,
            disk_free_bytes=machine.disk_free_bytes,
            disk_read_only=machine.disk_read_only,
            clock=machine.clock,
            outbox=self.outbox.stats(),
            link=self.link.stats(),
            streams={name: watched.health() for name, watched in self.streams.items()},
            evidence_bytes=self.evidence.used_bytes,
        )

    def snapshot(self) -> dict[str, object]:
        """Return what `edge-agent status` shows."""
        counts = {
            name: {
                **dataclasses.asdict(watched.stream.counts),
                **watched.source.status(),
                "alerts_lost": watched.reporter.lost_alerts,
            }
            for name, watched in self.streams.items()
        }
        health: dict[str, object] = strict_json.plain(self.health())
        return health | {"device": self._settings.device, "agent": __version__, "pid": os.getpid(), "counts": counts}

    def _begin(self) -> None:
        try:
            (self._state / UNCLEAN_MARK).touch()
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._state, error)
        if self._unclean:
            next(iter(self.streams.values())).reporter.restarted()
        for watched in self.streams.values():
            watched.stream.start()
        self.link.start()
        deadline = self._clock.monotonic_ns() + int(READY_S * NS)
        for watched in self.streams.values():
            watched.stream.ready.wait(max(0.0, (deadline - self._clock.monotonic_ns()) / NS))
        notify(READY=1, STATUS=f"watching {', '.join(self.streams)}")
        _log.info("ready: %s watches %s", self._settings.device, ", ".join(self.streams))

    def _turn(self, watchdog: Watchdog) -> None:
        now = self._clock.monotonic_ns()
        watchdog.tick(now)
        try:
            self._tell(now)
        except Exception:  # noqa: BLE001 - what cannot be told of the watch must not end it
            _log.exception("health cannot be told")

    def _tell(self, now: int) -> None:
        """Publish `health` each minute and on change, and `info` when a stream has become another."""
        states = tuple(watched.state() for watched in self.streams.values())
        if states != self._states or now - self._health_ns >= HEALTH_EVERY_S * NS:
            if states != self._states:
                notify(STATUS="; ".join(f"{name}: {state}" for name, state in zip(self.streams, states, strict=True)))
            self._states, self._health_ns = states, now
            self.link.publish(self.topics.health, self.health())
        info = self.info()
        if info != self._info:
            self._info = info
            self.link.publish(self.topics.info, info)

    def _end(self) -> None:
        for watched in self.streams.values():
            watched.stream.ask_to_stop()
        late = [name for name, watched in self.streams.items() if not watched.stream.stop(STOP_S)]
        self.link.stop(STOP_S)
        self.outbox.close()
        if late:
            _log.error("not stopped within %.0f s: %s; what they had read is not decided", STOP_S, ", ".join(late))
            return
        try:
            (self._state / UNCLEAN_MARK).unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s cannot be written: %s", self._state, error)
        _log.info("stopped")

    def _make_stream(self, name: str) -> Watched:
        settings = self._settings

        def reporter(account: Account[Item], own_time: bool) -> Reporter[Item]:
            return Reporter(
                stream=name,
                device=settings.device,
                boot_id=self._boot_id,
                account=account,
                own_time=own_time,
                alerts=self.outbox,
                publisher=self.link,
                clock=self._clock,
                clock_state=lambda: self._measured.clock,
            )

        own = settings.streams[name]
        made: type[WatchedStream | WatchedCamera] = WatchedCamera if own.is_camera else WatchedStream
        return made(
            name,
            own,
            folder=settings.stream_path(name),
            clock=self._clock,
            keeper=self.evidence,
            reporter=reporter,
            new_id=lambda: uuid.uuid4().hex,
            supervision=_Supervision(self.progress, self._clock),
            backoff=Backoff(longest_s=REOPEN_S, rng=random.Random()),  # noqa: S311 - jitter
        )

    def _measure(self) -> Measurements:
        return self._machine.measure(self._clock.monotonic_ns(), self._clock.now_ns())

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        _log.info("stopping on %s", signal.Signals(number).name)
        self.stop()


def boot_id() -> str:
    """Return the kernel's id of this boot, empty where it tells none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
