"""A camera without a network: the frame prefilter's own distances are decided on, as a Gaussian of readings is.

Calibrating and another scene are unknown, never normal; the event `scene_changed` closes after the hold-off once the
scene is known again. With every scene that is learned its threshold is taken over; open events go on with their id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.decision import Decider, DecisionRule, OpenEvent
from edge_agent.contract.frames import Frame
from edge_agent.contract.records import Decision, Stage, Unknown
from edge_agent.vision.frame_prefilter import FramePrefilter

FRAME_S: Final = 0.1
"""Seconds that a frame stands for after a break, when nobody knows how long it was seen: a slow camera's step."""


class FrameWatch:
    """Decides the frames of one camera by its prefilter alone."""

    def __init__(self, prefilter: FramePrefilter, new_id: Callable[[], str]) -> None:
        """Begin without open events.

        Args:
            prefilter: of the camera; its settings say when an event opens and closes.
            new_id: gives a fresh id for each event.
        """
        self._prefilter = prefilter
        rule = prefilter.settings.rule
        calibration = prefilter.model.calibration if prefilter.model else _never_asked(rule)
        self._decider = Decider(rule, calibration, FRAME_S, new_id)

    def feed(self, frame: Frame) -> Decision:
        """Decide a frame.

        Raises:
            ValueError: it is too small for the blocks.
        """
        t_ns = frame.t_ns
        check = self._prefilter.feed(frame)
        if check.fault is not None:
            decision = self._decider.unknown(Unknown(t_ns=t_ns, fault=check.fault, detail=check.detail))
            if check.learned and self._prefilter.model:
                self._decider.recalibrate(self._prefilter.model.calibration)
            return decision
        d2 = check.look.d2 if check.look else None
        return self._decider.window(t_ns, score=d2, d2=d2, stage=Stage.PREFILTER)

    def unknown(self, unknown: Unknown) -> Decision:
        """Decide a stretch without usable frames, found by others: no frames, camera health."""
        self._prefilter.unknown()
        return self._decider.unknown(unknown)

    def restore(self, events: Iterable[OpenEvent]) -> None:
        """Take over events that were open when the agent stopped."""
        self._decider.restore(events)

    def open_events(self) -> list[OpenEvent]:
        """Return what `restore` needs after a restart."""
        return self._decider.open_events()


def _never_asked(rule: DecisionRule) -> Calibration:
    """Return a calibration for a time without scores."""
    return calibrate(np.zeros(1), np.zeros(1, np.int64), alarms_per_day=1, n=rule.n, m=rule.m, join_s=1, k=1)
