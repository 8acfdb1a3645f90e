"""Frames in, decisions out: camera health -> prefilter -> score and map -> objects -> decision. Pure.

Order of events for one frame:

1. Camera health: while the camera is not well, or may not be, nothing is decided on its frames. With a network, a frame
   in which the prefilter sees nothing is spared that, `LOOK_S` long, unless the network then finds something in it.
2. The prefilter learns the scene on site. Another scene is unknown, never an anomaly; once it is learned, camera health
   learns its reference anew, and a network goes by what it gave for the frames learned from (`scene_thresholds.py`). A
   clear frame ends here in mode `gate`; one in `max_skip_s` is scored all the same.
3. What is left is brought to the size that the graph takes, and scored. A streaming graph sees every frame at its own
   pace (`cadence.py`) and warms up after each break; what comes between two of its steps decides nothing.
4. Score and map become regions, objects and events (`map_watch.py`).

Without a network the prefilter decides by its own distances, of which it has a map, too: it must have learned the scene
first (`calibrating`). With one, the network decides while the prefilter still learns. A network that fails does not end
the watch: the prefilter alone decides, under the fault `model`.

Faults are events of the stream, anomalies those of objects: the state is anomalous while one of those is open.
Deliberately elsewhere: words, pictures and payloads (`frame_account.py`, `reporting.py`), clocks and files
(`watched_camera.py`), frames that come faster than they are decided (`mailbox.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.decision import Decider, DecisionRule, OpenEvent
from edge_agent.contract.frames import Frame, FrameScore, Pixels
from edge_agent.contract.records import Decision, Fault, Floats, Stage, Unknown
from edge_agent.contract.resize import resize
from edge_agent.errors import ScoringError
from edge_agent.ports import FrameScorer
from edge_agent.vision.cadence import Cadence, Step
from edge_agent.vision.camera_health import CameraHealth
from edge_agent.vision.frame_prefilter import FrameCheck, FramePrefilter, SceneState, Seen
from edge_agent.vision.map_watch import MapWatch, Sighting, Thresholds
from edge_agent.vision.regions import LocalisationSettings, Region
from edge_agent.vision.scene_thresholds import SceneThresholds

FRAME_S: Final = 0.1
"""Seconds that a frame stands for after a break, when nobody knows how long it was seen: a slow camera's step."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameDecision:
    """What one frame, or the lack of one, was decided to be."""

    decision: Decision
    pixels: Pixels | None = None
    """uint8 [H, W, 3] the frame as it came; None: a fault that is in no frame."""
    map: Floats | None = None
    """float32 [h, w] what it was decided on, larger is stranger; None: without a map."""
    regions: tuple[Region, ...] = ()
    """What stands out in it, strongest first."""
    where: dict[str, Region] = field(default_factory=dict)
    """By the id of each anomaly that has a transition: where its object is, or was last seen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A graph that scores frames, and what decides on its scores."""

    scorer: FrameScorer
    watch: MapWatch
    sha256: str = ""
    """Of the graph."""
    cadence: Cadence | None = None
    """Of a streaming graph."""


@dataclass(slots=True)
class Counts:
    """What the pipeline has seen since it was made."""

    frames: int = 0
    """Frames of a camera that is well and a scene that is known."""
    scored: int = 0
    model_failures: int = 0

    @property
    def skipped_share(self) -> float:
        """Share of the frames that were not scored, 0..1."""
        return 1 - self.scored / self.frames if self.frames else 0.0


class FramePipeline:
    """One camera's way from frames to decisions.

    Args:
        health: of the camera.
        prefilter: of the scene; None: the network sees every frame.
        network: None where the prefilter watches alone.
        rule: when the event of a fault closes.
        new_id: makes event ids.
        localisation: zones and masks, as the prefilter's own map is looked at.
        model_problem: why there is no network where there should be one; every decision then carries the fault `model`.

    Raises:
        ValueError: there is neither prefilter nor network.
    """

    def __init__(
        self,
        *,
        health: CameraHealth,
        prefilter: FramePrefilter | None,
        network: Network | None,
        rule: DecisionRule,
        new_id: Callable[[], str],
        localisation: LocalisationSettings | None = None,
        model_problem: str = "",
    ) -> None:
        if prefilter is None and network is None:
            raise ValueError("a camera needs a prefilter, a network or both, got neither")
        self.health, self.prefilter, self.network = health, prefilter, network
        self.counts = Counts()
        self._model_problem = model_problem
        self._alone = _scene_watch(prefilter, localisation, new_id) if prefilter else None
        self._watches = [watch for watch in (network.watch if network else None, self._alone) if watch]
        self._quiet = _never_asked(rule)
        self._faults = Decider(rule, self._quiet, FRAME_S, new_id)
        self._thresholds: SceneThresholds | None = None
        if network is not None and prefilter is not None:
            kept = prefilter.model.network if prefilter.model else None
            self._thresholds = SceneThresholds(network.sha256, network.watch.thresholds, kept)
            network.watch.recalibrate(self._thresholds.now)

    @property
    def calibration(self) -> Calibration | None:
        """What events are decided by where all is well; None while the scene is still being learned."""
        if self.network is not None:
            return self.network.watch.thresholds.map
        return self.prefilter.calibration if self.prefilter else None

    def thresholds(self, stage: Stage) -> Calibration:
        """Return what the scores of events of a stage are held against."""
        return next((watch for watch in self._watches if watch.stage is stage), self._watches[0]).thresholds.map

    def feed(self, frame: Frame) -> FrameDecision | None:
        """Decide a frame; None: it comes between two steps of a streaming graph."""
        seen, problem = None, None
        try:
            seen = self.prefilter.look(frame) if self.prefilter else None
        except ValueError as error:
            problem = Unknown(t_ns=frame.t_ns, fault=Fault.CAMERA, detail=str(error))
        spared = bool(seen and seen.quiet and self.network and self.health.well(frame.t_ns))
        camera = None if spared else self.health.feed(frame.pixels, frame.t_ns).unknown
        if unseen := camera or problem:
            return self._unseen(unseen, frame)
        check = self._check(self.prefilter, seen, frame.t_ns) if self.prefilter and seen else None
        if check and check.state is SceneState.SCENE_CHANGED:
            self._learn_light(frame, check)
            return self._unseen(self._unknown_scene(check), frame, seen=True)
        if check and check.fault and self.network is None:
            return self._unseen(self._unknown_scene(check), frame)
        if self._thresholds is not None:
            self._thresholds.forget()
        self.counts.frames += 1
        if self.network is None:
            return self._by_prefilter(frame, check, self._model_problem)
        if check and check.state is SceneState.WATCHING and not check.must_score and not self.network.cadence:
            return self._clear(frame, check)
        return self._by_network(self.network, frame, check, looked=not spared)

    def unknown(self, unknown: Unknown) -> FrameDecision:
        """Decide a fault found outside the frames: the camera gives none, or the watcher failed."""
        self.health.restart()
        return self._unseen(unknown, None)

    def restore(self, events: Iterable[OpenEvent]) -> None:
        """Take over events that were open when the agent stopped."""
        kept = list(events)
        self._faults.restore(event for event in kept if event.fault is not None)
        self._watches[0].restore(event for event in kept if event.fault is None)

    def open_events(self) -> list[OpenEvent]:
        """Return what `restore` needs after a restart."""
        return [*self._faults.open_events(), *(event for each in self._watches for event in each.open_events())]

    def _check(self, prefilter: FramePrefilter, seen: Seen, t_ns: int) -> FrameCheck:
        """Ask the prefilter; a scene that it learned gives its thresholds, and a new one needs a new reference."""
        check = prefilter.take(seen, t_ns)
        if check.learned and self._alone:
            self._alone.recalibrate(_of_scene(prefilter))
            if check.state is SceneState.SCENE_CHANGED:
                self.health.learn_anew()
        return check

    def _learn_light(self, frame: Frame, check: FrameCheck) -> None:
        """Let the network see a scene that is being learned, on which nothing is decided, and take over one learned."""
        network, thresholds, prefilter = self.network, self._thresholds, self.prefilter
        if network is None or thresholds is None or prefilter is None:
            return
        try:
            if (taken := self._score(network, frame)) and not (taken[1] and taken[1].warming):
                result = taken[0]
                strongest = network.watch.strongest(result.value, result.map)
                if math.isfinite(strongest):
                    thresholds.note(frame.t_ns, result.value, strongest)
        except ScoringError:
            self.counts.model_failures += 1
            self._break()
        if check.learned:
            thresholds.learn(check.learned_since_ns, same_view=check.same_view)
            network.watch.recalibrate(thresholds.now)
            prefilter.keep(thresholds.scene)

    def _unknown_scene(self, check: FrameCheck) -> Unknown:
        """Return why a frame cannot be held against the scene; that there is no network weighs more than learning."""
        fault, detail = check.fault or Fault.CALIBRATING, check.detail
        if self._model_problem and fault is Fault.CALIBRATING:
            fault, detail = Fault.MODEL, f"{self._model_problem}; {detail}"
        return Unknown(t_ns=check.t_ns, fault=fault, detail=detail)

    def _unseen(self, unknown: Unknown, frame: Frame | None, *, seen: bool = False) -> FrameDecision:
        """Decide that nothing is known; `seen`: the network saw the frame all the same."""
        for watch in self._watches:
            watch.unknown(unknown)
        if self.prefilter is not None and unknown.fault in {Fault.CAMERA, Fault.NO_DATA}:
            self.prefilter.away()
        if not seen:
            self._break()
        return FrameDecision(decision=self._faults.unknown(unknown), pixels=frame.pixels if frame else None)

    def _break(self) -> None:
        """The next frame is scored whatever it looks like, and a streaming graph begins anew."""
        if self.prefilter is not None:
            self.prefilter.unknown()
        if self.network is not None and self.network.cadence:
            self.network.cadence.restart()

    def _by_network(
        self, network: Network, frame: Frame, check: FrameCheck | None, *, looked: bool
    ) -> FrameDecision | None:
        try:
            taken = self._score(network, frame)
            if taken is None:
                return None
            result, step = taken
            self.counts.scored += 1
            if step and step.warming:
                return self._warming(frame, step.problem)
            regions = network.watch.find(result.value, result.map, result.kinds, frame.pixels)
        except ScoringError as error:
            self.counts.model_failures += 1
            self._break()
            return self._by_prefilter(frame, check, str(error))
        if regions and not looked and (camera := self.health.feed(frame.pixels, frame.t_ns).unknown):
            return self._unseen(camera, frame)
        found = network.watch.follow(frame.t_ns, regions, result.value)
        decision = self._faults.window(frame.t_ns, score=self._quiet.median, d2=_d2(check))
        return self._decided(decision, frame, network.watch, found, result.map)

    def _score(self, network: Network, frame: Frame) -> tuple[FrameScore, Step | None] | None:
        """Score a frame, and say how a streaming graph took it; None: it comes between two of its steps.

        Raises:
            ScoringError: the graph failed, or gave a score that counts and is not finite.
        """
        scorer, step = network.scorer, None
        if network.cadence:
            step = network.cadence.take(frame.t_ns)
            if step is None:
                return None
            if step.begins:
                scorer.reset()
        result = scorer.score(resize(frame.pixels, *scorer.frame_shape))
        if not (step and step.warming) and not math.isfinite(result.value):
            raise ScoringError(f"the graph gave the score {result.value}; expected a finite number")
        return result, step

    def _by_prefilter(self, frame: Frame, check: FrameCheck | None, problem: str) -> FrameDecision:
        """Decide a frame by the scene alone, and say why there is no network where there should be one."""
        t_ns, look = frame.t_ns, check.look if check and check.fault is None else None
        if look is None or self._alone is None:
            return self._unseen(Unknown(t_ns=t_ns, fault=Fault.MODEL, detail=problem), frame)
        found = self._alone.see(t_ns, look.d2, look.near, pixels=frame.pixels)
        decision = self._faults.window(
            t_ns,
            score=None if problem else self._quiet.median,
            d2=look.d2,
            stage=Stage.PREFILTER,
            model_fault=problem or None,
        )
        return self._decided(decision, frame, self._alone, found, look.near)

    def _clear(self, frame: Frame, check: FrameCheck) -> FrameDecision:
        """Decide a frame that the network is spared."""
        decision = self._faults.window(frame.t_ns, score=None, d2=_d2(check), stage=Stage.PREFILTER)
        watch = self._watches[0]
        return self._decided(decision, frame, watch, watch.rest(frame.t_ns), None)

    def _warming(self, frame: Frame, problem: str) -> FrameDecision:
        fault, detail = (Fault.CAMERA, problem) if problem else (Fault.NOT_READY, "the graph warms up after a break")
        unknown = Unknown(t_ns=frame.t_ns, fault=fault, detail=detail)
        for watch in self._watches:
            watch.unknown(unknown)
        return FrameDecision(decision=self._faults.unknown(unknown), pixels=frame.pixels)

    def _decided(
        self, decision: Decision, frame: Frame, watch: MapWatch, found: Sighting, values: Floats | None
    ) -> FrameDecision:
        """Put together what was decided of faults and of objects; for who did not look, nothing stood out."""
        all_found = [found, *(each.rest(frame.t_ns) for each in self._watches if each is not watch)]
        steps = [step for each in all_found for step in each.transitions]
        return FrameDecision(
            decision=replace(
                decision,
                anomaly=any(each.anomaly for each in all_found),
                score=found.score,
                level=found.level,
                transitions=(*decision.transitions, *steps),
            ),
            pixels=frame.pixels,
            map=values,
            regions=found.regions,
            where={id_: region for each in all_found for id_, region in each.where.items()},
        )


def _scene_watch(
    prefilter: FramePrefilter, localisation: LocalisationSettings | None, new_id: Callable[[], str]
) -> MapWatch:
    """Return what decides on the prefilter's own distances; it leaves out what the prefilter does."""
    settings = replace(localisation or LocalisationSettings(), masks=prefilter.settings.masks)
    return MapWatch(
        _of_scene(prefilter), prefilter.settings.rule, FRAME_S, new_id, settings=settings, stage=Stage.PREFILTER
    )


def _of_scene(prefilter: FramePrefilter) -> Thresholds:
    """Return the thresholds of the scene; before one is learned nothing is held against them."""
    learned = prefilter.calibration or _never_asked(prefilter.settings.rule)
    return Thresholds(score=learned, map=learned)


def _never_asked(rule: DecisionRule) -> Calibration:
    """Return a calibration where there are no scores."""
    return calibrate(np.zeros(1), np.zeros(1, np.int64), alarms_per_day=1, n=rule.n, m=rule.m, join_s=1, k=1)


def _d2(check: FrameCheck | None) -> float | None:
    return check.look.d2 if check and check.look else None
