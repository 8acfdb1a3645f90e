"""Stand-ins behind the agent's real ports, well-behaved and hostile ones. Time is a `VirtualClock`; nothing sleeps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.alerts.evidence import FrameNote
from edge_agent.contract.records import NS, Block, Channel, Decision, Fault, Floats, Score, Unknown
from edge_agent.contract.wire import EventPayload, ImageKind, ScorePayload, StatePayload
from edge_agent.errors import EndOfData, ScoringError
from tests.virtual_clock import EPOCH_NS, VirtualClock


def block(values: Any, start: int = 0, *, rate_hz: float = 1.0, gap: bool = False) -> Block:
    """Readings from list of rows; `start` counts rows since the epoch."""
    rows = np.asarray(values, np.float32)
    t_ns = EPOCH_NS + (np.arange(start, start + len(rows)) * (NS / rate_hz)).astype(np.int64)
    return Block(values=rows, t_ns=t_ns, gap=gap)


class Answers:
    """A `Scorer` that answers from a script: numbers, errors to raise, or a function of the window; then 0 for ever."""

    def __init__(self, *script: float | Exception | Callable[[Floats], float], streaming: bool = False) -> None:
        self.streaming = streaming
        self.took_ns = 0
        self.seen: list[Floats] = []
        self.resets = 0
        self._script = iter(script)

    def score(self, window: Floats) -> Score:
        self.seen.append(window)
        answer = next(self._script, 0.0)
        if isinstance(answer, Exception):
            raise answer
        value = answer(window) if callable(answer) else answer
        return Score(value=value, contributions=np.array([value, 1.0], np.float32), took_ns=self.took_ns)

    def reset(self) -> None:
        self.resets += 1

    def describe(self) -> dict[str, str | int]:
        return {"runtime": "fake", "format": "float32", "delegate": "none", "threads": 1, "kernels": "fake"}

    def infer_p95_ms(self) -> float | None:
        return 1.5


def broken(times: int, message: str = "the device went away") -> list[Exception]:
    """A script of failures."""
    return [ScoringError(message) for _ in range(times)]


class ScriptedSource:
    """A `Source` whose `read` gives, raises or calls what the script says; then `EndOfData`.

    A float in the script is silence of so many seconds, which pass on the clock in reads that time out.
    """

    def __init__(
        self,
        clock: VirtualClock,
        *script: Block | Exception | float | Callable[[], None],
        opens: Iterable[Exception | None] = (),
        lossless: bool = False,
        channels: tuple[Channel, ...] = (Channel(name="a"), Channel(name="b")),
        own_time: bool = True,
    ) -> None:
        self.channels, self.own_time, self.lossless = channels, own_time, lossless
        self.log: list[str] = []
        self._clock = clock
        self._script = list(script)
        self._opens = iter(opens)

    def open(self) -> None:
        self.log.append("open")
        if (error := next(self._opens, None)) is not None:
            raise error

    def read(self, timeout_s: float) -> Block | None:
        if not self._script:
            raise EndOfData("no more")
        step = self._script[0]
        if isinstance(step, float):
            self._clock.sleep(timeout_s)
            left = step - timeout_s
            self._script[0:1] = [left] if left > 0 else []
            return None
        self._script.pop(0)
        if isinstance(step, Exception):
            raise step
        if callable(step):
            step()
            return None
        return step

    def close(self) -> None:
        self.log.append("close")

    def status(self) -> dict[str, int | float | str]:
        return {"frames_dropped": 0}


class Normal:
    """A watcher that finds every reading normal, and keeps what it was given."""

    def __init__(self) -> None:
        self.fed: list[Block] = []
        self.told: list[Unknown] = []

    def feed(self, given: Block) -> list[Decision]:
        self.fed.append(given)
        return [Decision(t_ns=int(t), anomaly=False, score=0.0) for t in given.t_ns]

    def unknown(self, unknown: Unknown) -> Decision:
        self.told.append(unknown)
        return Decision(t_ns=unknown.t_ns, anomaly=None, fault=unknown.fault, detail=unknown.detail)


class KeptDecisions:
    """A `Sink` that keeps what it is told."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.settled: list[bool] = []

    def decided(self, given: Block | None, decisions: list[Decision]) -> None:
        self.decisions.extend(decisions)

    def settle(self, *, end: bool = False) -> None:
        self.settled.append(end)

    def faults(self) -> list[Fault | None]:
        """The faults in order, each once in a row."""
        return [fault for fault, _ in itertools.groupby(each.fault for each in self.decisions)]


class Watched:
    """A `Supervision` that notes who is expected to move, and all that was said."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.log: list[str] = []

    def turned(self, name: str) -> None:
        self.waiting.add(name)
        self.log.append(f"+{name}")

    def rested(self, name: str) -> None:
        self.waiting.discard(name)
        self.log.append(f"-{name}")


class KeptAlerts:
    """An outbox that keeps what it is given; `failing` is raised as long as it is set."""

    def __init__(self) -> None:
        self.events: list[EventPayload] = []
        self.open: dict[str, list[dict[str, Any]]] = {}
        self.opens: list[list[str] | None] = []
        self.failing: Exception | None = None

    def put(
        self, event: EventPayload, *, open_events: Sequence[dict[str, Any]] | None = None, decided_ns: int | None = None
    ) -> object:
        if self.failing is not None:
            raise self.failing
        self.events.append(event)
        self.opens.append(None if open_events is None else [each["id"] for each in open_events])
        if open_events is not None:
            self.open[event.stream] = list(open_events)
        return event

    def open_events(self, stream: str) -> list[dict[str, Any]]:
        return self.open.get(stream, [])

    def kinds(self) -> list[str]:
        """Types of the alerts, in order."""
        return [str(event.event_type) for event in self.events]


class KeptPayloads:
    """A link that keeps what it is to publish."""

    def __init__(self) -> None:
        self.states: list[StatePayload] = []
        self.scores: list[ScorePayload] = []
        self.images: list[tuple[str, str, bytes]] = []
        """Kind, event id and JPEG, in order."""

    def publish_state(self, stream: str, payload: StatePayload) -> None:
        self.states.append(payload)

    def publish_score(self, stream: str, payload: ScorePayload) -> None:
        self.scores.append(payload)

    def publish_image(self, stream: str, kind: ImageKind, jpeg: bytes, event_id: str) -> None:
        self.images.append((str(kind), event_id, jpeg))


class KeptEvidence:
    """An evidence folder in memory; `failing` is raised as long as it is set."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Block, Floats | None]] = {}
        self.meta: dict[str, dict[str, object]] = {}
        self.frames: dict[str, tuple[FrameNote, bytes, bytes | None, Floats | None]] = {}
        """By event id: note, frame, heatmap and map."""
        self.failing: Exception | None = None

    def keep(
        self,
        event_id: str,
        *,
        channels: Sequence[Channel],
        context: Block,
        window: Floats | None,
        meta: dict[str, object],
    ) -> Path | None:
        if self.failing is not None:
            raise self.failing
        self.kept[event_id], self.meta[event_id] = (context, window), meta
        return Path(f"{event_id}.npz")

    def keep_frame(self, note: FrameNote, *, image: bytes, heatmap: bytes | None, values: Floats | None) -> Path | None:
        if self.failing is not None:
            raise self.failing
        self.frames[note.id] = (note, image, heatmap, values)
        return Path(f"{note.id}.jpg")


def not_a_number(window: Floats) -> float:
    """What a hostile graph answers."""
    return math.nan
