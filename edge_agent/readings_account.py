"""What an alert of a sensor stream says and keeps: which channel, how far, from when to when, and the raw readings.

The readings before an alert are remembered, so that its evidence shows what led to it. Words, window and evidence fail
apart from each other: an alert goes out with what is left.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from edge_agent.account import Explained, Span, closing_words, with_level
from edge_agent.contract.records import NS, Block, Channel, Decision, EventKind, Floats, Life, Transition
from edge_agent.pipeline import Pipeline

_log = logging.getLogger(__name__)

TOP_CHANNELS = 5
"""Channels named in an alert, the largest shares first."""
CONTEXT_WINDOWS = 4
"""Raw readings kept before the alarming window, in window lengths."""
LEAST_CONTEXT = 64
"""Raw readings kept before an alert at least: a streaming graph's window is one reading."""

_Top = tuple[tuple[str, float], ...]


class ReadingsKeeper(Protocol):
    """The evidence folder, as the account of readings needs it."""

    def keep(
        self,
        event_id: str,
        *,
        channels: Sequence[Channel],
        context: Block,
        window: Floats | None,
        meta: dict[str, object],
    ) -> Path | None:
        """Write the raw window and its context; None where the disk does not take it."""


class ReadingsAccount:
    """The account of one stream of readings.

    Args:
        stream: its name.
        channels: of the stream.
        keeper: the evidence folder.
    """

    def __init__(self, stream: str, channels: tuple[Channel, ...], keeper: ReadingsKeeper) -> None:
        self._stream, self._channels, self._keeper = stream, channels, keeper
        self._recent: deque[Block] = deque()
        self._recent_rows = 0
        self.pipeline: Pipeline | None = None
        """Whose decisions are explained; None while still learning."""

    def remember(self, item: Block) -> None:
        """Take the readings that are decided next."""
        self._recent.append(item)
        self._recent_rows += len(item)
        window = self.pipeline.windower.rule.window if self.pipeline else 1
        wanted = max(LEAST_CONTEXT, window * (1 + CONTEXT_WINDOWS))
        while self._recent and self._recent_rows - len(self._recent[0]) >= wanted:
            self._recent_rows -= len(self._recent.popleft())

    def explain(self, transition: Transition, decision: Decision) -> Explained:
        """Return what an alert says; its evidence is on disk then."""
        anomalous = transition.kind in {EventKind.ANOMALY, EventKind.ANOMALY_UPDATE}
        window = decision.window if anomalous else None
        text, top = self._said(transition, window, decision.contributions)
        return Explained(
            text=text,
            calibration=self.pipeline.calibration if self.pipeline else None,
            top=top,
            window=self._span(transition, decision),
            snapshot=self._evidence(transition, window, text),
        )

    def _said(
        self, transition: Transition, window: Floats | None, contributions: Floats | None
    ) -> tuple[str, _Top | None]:
        """Return the words of an alert and the channels with the largest shares; an alert never waits for its words."""
        try:
            top = None if window is None else self._top(window, contributions)
            return self._words(transition, window, top), top
        except (ValueError, ArithmeticError, IndexError) as error:
            _log.warning("stream %s: alert %s cannot be explained: %s", self._stream, transition.id, error)
            return transition.detail, None

    def _top(self, window: Floats, contributions: Floats | None) -> _Top | None:
        shares = contributions
        if shares is None or not np.isfinite(shares).all() or not shares.max() > 0:
            if self.pipeline is None or self.pipeline.prefilter is None:
                return None
            shares = self.pipeline.prefilter.shares(window).astype(np.float32)
        shares = np.clip(shares, 0, None) / np.clip(shares, 0, None).sum()
        order = np.argsort(-shares)[:TOP_CHANNELS]
        return tuple((self._channels[i].name, round(float(shares[i]), 4)) for i in order.tolist())

    def _words(self, transition: Transition, window: Floats | None, top: _Top | None) -> str:
        if transition.life is Life.CLOSE:
            return closing_words(transition)
        if window is None:
            return transition.detail
        prefilter = self.pipeline.prefilter if self.pipeline else None
        names = [channel.name for channel in self._channels]
        strangest = names.index(top[0][0]) if top else None
        said = prefilter.describe(window, strangest) if prefilter else "unlike what is normal"
        return with_level(said, transition)

    def _span(self, transition: Transition, decision: Decision) -> Span | None:
        if self.pipeline is None or transition.fault is not None:
            return None
        rule = self.pipeline.windower.rule
        start_ns = decision.t_ns - int((rule.window - 1) / rule.rate_hz * NS)
        return Span(start_ns=start_ns, end_ns=decision.t_ns, samples=rule.window)

    def _evidence(self, transition: Transition, window: Floats | None, text: str) -> str | None:
        if transition.life is not Life.OPEN or not self._recent:
            return None
        context = Block(
            values=np.concatenate([block.values for block in self._recent]),
            t_ns=np.concatenate([block.t_ns for block in self._recent]),
        )
        meta: dict[str, object] = {
            "stream": self._stream,
            "event_type": str(transition.kind),
            "t_ns": transition.t_ns,
            "score": transition.score,
            "text": text,
            "detail": transition.detail,
        }
        try:
            kept = self._keeper.keep(transition.id, channels=self._channels, context=context, window=window, meta=meta)
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs the evidence and never the alert
            _log.warning("stream %s: no evidence of alert %s: %r", self._stream, transition.id, error)
            return None
        return None if kept is None else str(kept)
