"""A scorer whose calls the watchdog sees."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from edge_agent.supervised_loop import Supervision
from edge_agent.watch_loop import WatchLoop

Given = TypeVar("Given")
Given_contra = TypeVar("Given_contra", contravariant=True)
Told_co = TypeVar("Told_co", covariant=True)
Told = TypeVar("Told")


class _Scoring(Protocol[Given_contra, Told_co]):
    """What scorers of windows and of frames have in common."""

    streaming: bool

    def score(self, given: Given_contra, /) -> Told_co: ...

    def reset(self) -> None: ...

    def describe(self) -> dict[str, str | int]: ...

    def infer_p95_ms(self) -> float | None: ...


class SupervisedScorer(Generic[Given, Told]):
    """A scorer whose calls the watchdog sees: a network that never returns is found by its name.

    Args:
        scorer: that does the work.
        stream: runs it; its watcher has turned when a call returns, so that a large block is no standstill.
        supervision: told of every call.
    """

    def __init__(self, scorer: _Scoring[Given, Told], stream: WatchLoop[Any, Any], supervision: Supervision) -> None:
        self.streaming = scorer.streaming
        self._scorer, self._supervision = scorer, supervision
        self._name, self._watcher_name = f"{stream.name} scorer", stream.thread_name
        self.reset, self.describe, self.infer_p95_ms = scorer.reset, scorer.describe, scorer.infer_p95_ms

    def score(self, given: Given, /) -> Told:
        """Score a window or a frame, as the scorer does."""
        self._supervision.turned(self._name)
        try:
            return self._scorer.score(given)
        finally:
            self._supervision.rested(self._name)
            self._supervision.turned(self._watcher_name)
