"""The Gaussian prefilter of frames: is this frame as usual, worth the network, or another scene altogether? Pure.

    frame -> blocks (`blocks.py`) -> look (`background.py`) -> FrameCheck: state, d2, must it be scored

    calibrating ──learned──> watching ──light or view changed as a whole──> scene_changed
                                ^ └──── as it was before, or learned anew ────────┘

- Two learning speeds. What looks as usual is followed within `follow_s`: the sun moves. What does not is taken in
  within `forget_s`: a parked car is news for that long, and spreads are remembered for that long.
- `scene_changed` comes with the first frame that shows it, so that no such frame is ever an anomaly. From then on the
  scene is learned anew, as at first; if the old one comes back before that is done, watching goes on with it.
- After a stretch in which the camera was not well or gave no frames, the old scene must be as clearly back: light that
  went out and comes on again at another level is another scene.
- A scene that does not hold still while it is learned is not taken: the older half of its frames is dropped.
- In mode `gate`, clear frames need not be scored, but one in `max_skip_s` is, and the first after any unknown stretch.
- Frames run on reading time; a step back in it does no harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np

from edge_agent.contract.calibration import Calibration
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.frames import Frame
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import NS, Fault, Floats
from edge_agent.contract.zones import Polygon, check_masks, watched_cells
from edge_agent.vision.background import LEAST_FRAMES, Look
from edge_agent.vision.blocks import COLUMNS, ROWS, BlockReducer
from edge_agent.vision.scene_model import PROVISIONAL_K, SceneModel, learn_scene
from edge_agent.vision.scene_thresholds import SceneScores

MOST_FRAMES: Final = 2000
"""Most frames learned from: 12 MB of blocks in memory."""

MOST_SECONDS: Final = 7 * 86_400.0
"""A week: no sensible time of this module is longer."""

RETURN: Final = 0.5
"""Part of the limits within which the old scene must be to be taken as back: a scene at the very limit must not go to
and fro, since every time it comes back the learning of the new one is dropped."""

FOLLOW_STEP_S: Final = 0.5
"""Least seconds between two frames that a scene is followed by, at most `STANDS_FOR_S`: it changes in minutes, and
following costs time."""

STANDS_FOR_S: Final = 1.0
"""Seconds that a frame stands for at most, or two steps of a slower camera: it tells nothing of a longer time before
it, such as an outage."""

MAX_SKIP_S: Final = 10.0
"""Seconds without a scored frame, where neither settings nor bundle say: what creeps below the prefilter's notice is
found as late."""

HOLD_OFF_S: Final = 10.0
"""Seconds of quiet that close an event of the prefilter that watches alone: a person who stands still behind a post."""


class SceneState(StrEnum):
    """What the prefilter knows of the scene."""

    CALIBRATING = "calibrating"
    WATCHING = "watching"
    SCENE_CHANGED = "scene_changed"


_FAULTS = {SceneState.CALIBRATING: Fault.CALIBRATING, SceneState.SCENE_CHANGED: Fault.SCENE}


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePrefilterSettings:
    """How a scene is learned and followed."""

    mode: Mode | None = None
    """`gate`: the network is spared clear frames; `watch`: every frame is scored; `off`: no prefilter is made. None: as
    the bundle says, else `watch`."""
    learn_frames: int = 200
    """Frames that a scene is learned from, 8..2000."""
    learn_s: float = 60.0
    """Seconds over which they are spread, 0 to a week: a tree must have moved as far as it does."""
    follow_s: float = 60.0
    """Seconds in which two thirds of a slow change of light or of a usual block are followed, above 0."""
    forget_s: float = 3600.0
    """Seconds in which two thirds of what came to stay are taken into the scene, `follow_s` or more."""
    max_light: float = 1.5
    """Factor by which light may change, up or down, without being another scene; above 1, at most 16."""
    scene_share: float = 0.7
    """Share of the watched blocks that may be strange without being another scene: the largest object. 0.1..1."""
    max_skip_s: float | None = None
    """Seconds of reading time after which a frame is scored whatever the prefilter says, above 0 and up to a day. None:
    as the bundle says, else 10."""
    alarms_per_day: float = 1.0
    """False alarms a day to aim at where the prefilter watches alone."""
    k: float = PROVISIONAL_K
    """Factor of its `provisional` threshold; less is more sensitive."""
    masks: tuple[Polygon, ...] = ()
    """Parts left out, each a list of corners [x, y] in 0..1 from the upper left."""
    rule: DecisionRule = field(default_factory=lambda: DecisionRule(hold_off_s=HOLD_OFF_S))
    """When an event opens and closes where the prefilter watches alone."""

    def __post_init__(self) -> None:
        """Refuse values out of range, and masks that leave nothing to watch."""
        if not LEAST_FRAMES <= self.learn_frames <= MOST_FRAMES:
            raise ValueError(f"learn_frames must be {LEAST_FRAMES}..{MOST_FRAMES}, got {self.learn_frames}")
        if not 0 <= self.learn_s <= MOST_SECONDS:
            raise ValueError(f"learn_s must be 0..{MOST_SECONDS:.0f} seconds, got {self.learn_s}")
        if not 0 < self.follow_s <= self.forget_s <= MOST_SECONDS:
            raise ValueError(
                f"expected 0 < follow_s <= forget_s <= {MOST_SECONDS:.0f} seconds, got {self.follow_s}, {self.forget_s}"
            )
        for name, least, most in (
            ("max_light", 1.0, 16.0),
            ("max_skip_s", 0.0, 86_400.0),
            ("alarms_per_day", 0.0, 1e6),
            ("k", 0.0, 1e6),
        ):
            value = getattr(self, name)
            if value is not None and not least < value <= most:
                raise ValueError(f"{name} must be above {least:g} and at most {most:g}, got {value}")
        if not 0.1 <= self.scene_share <= 1:  # noqa: PLR2004 - as documented
            raise ValueError(f"scene_share must be 0.1..1, got {self.scene_share}")
        check_masks(self.masks)
        watched_cells(self.masks, ROWS, COLUMNS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """One frame beside the scene, before anything is learned from it."""

    features: Floats
    """float32 [features, rows, columns], as `BlockReducer.features` gives them."""
    look: Look | None
    """How it differs from the usual scene; None before there is one."""
    quiet: bool
    """Whether a scene is watched and nothing stands out in it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameCheck:
    """What the prefilter says of one frame."""

    t_ns: int
    state: SceneState
    must_score: bool = False
    """Whether the network is to see it; never while calibrating, nor in another scene."""
    look: Look | None = None
    """How it differs from the usual scene; None before there is one."""
    learned: bool = False
    """Whether a scene was learned with this frame: the next is the first that is watched in it."""
    learned_since_ns: int = 0
    """Reading time of the first frame that it was learned from."""
    same_view: bool = False
    """Whether the scene that was learned is the one before in other light."""
    detail: str = ""
    """In words, for the technician: how the scene changed, what is being learned and how far it is."""

    @property
    def fault(self) -> Fault | None:
        """Why the frame is neither normal nor anomalous; None while watching."""
        return _FAULTS.get(self.state)


class FramePrefilter:
    """Watches the frames of one camera, in order of arrival."""

    def __init__(self, settings: FramePrefilterSettings, model: SceneModel | None = None) -> None:
        """Begin with a scene learned before, or learn one.

        Raises:
            ValueError: the scene was learned with other masks or for another N of M.
        """
        self.settings = settings
        self._watched = watched_cells(settings.masks, ROWS, COLUMNS)
        if model is not None and not np.array_equal(model.background.watched, self._watched):
            raise ValueError("the scene was learned with other masks")
        rule = settings.rule
        if model is not None and (model.calibration.n, model.calibration.m) != (rule.n, rule.m):
            raise ValueError(f"the scene was learned for another rule than {rule.n} of {rule.m} frames")
        self._max_skip_ns = (settings.max_skip_s or MAX_SKIP_S) * NS
        self.model = model
        """What was learned and followed so far, to be saved now and then; None before the first scene is learned."""
        self.state = SceneState.CALIBRATING if model is None else SceneState.WATCHING
        self.skipped = 0
        """Frames that the network was spared."""
        self._reducer: BlockReducer | None = None
        self._away = model is not None
        """Nobody saw what happened since the last frame of the scene."""
        self._kept: list[tuple[int, Floats]] = []
        self._problem = ""
        self._last_ns: int | None = None
        self._scored_ns: int | None = None

    @property
    def calibration(self) -> Calibration | None:
        """Threshold of d2, for the alarms a day that are asked now; None before the first scene is learned."""
        asked = self.settings
        return self.model.calibrated(asked.alarms_per_day, asked.k) if self.model else None

    def feed(self, frame: Frame) -> FrameCheck:
        """Look at a frame and take it; errors as `look`."""
        return self.take(self.look(frame), frame.t_ns)

    def look(self, frame: Frame) -> Seen:
        """Look at a frame without learning anything from it.

        Raises:
            ValueError: it is too small for the blocks.
        """
        if self._reducer is None or self._reducer.shape != frame.pixels.shape:
            width, height = frame.size
            self._reducer = BlockReducer(height, width)
        features = self._reducer.features(frame.pixels)
        look = self.model.look(features) if self.model else None
        return Seen(features=features, look=look, quiet=look is not None and self._quiet(look))

    def take(self, seen: Seen, t_ns: int) -> FrameCheck:
        """Check a frame that was looked at last, and learn from it."""
        look = seen.look
        if self.model is None or look is None:
            return self._learn(seen.features, t_ns, None)
        changed, self._away = self._changed(look), False
        if changed:
            self.state = SceneState.SCENE_CHANGED
            return self._learn(seen.features, t_ns, look)
        self.state = SceneState.WATCHING
        self._kept, self._problem = [], ""
        self._follow(self.model, seen.features, look, t_ns)
        return FrameCheck(t_ns=t_ns, state=self.state, look=look, must_score=self._must_score(look, t_ns))

    def unknown(self) -> None:
        """Take note that frames failed, were missing or not scored: the next is scored whatever it looks like."""
        self._scored_ns = None

    def away(self) -> None:
        """Take note that the camera was not well or gave no frames: who knows what the scene is like now."""
        self._away = self.model is not None
        self.unknown()

    def keep(self, network: SceneScores | None) -> None:
        """Keep the thresholds of a network with the scene."""
        if self.model is not None:
            self.model = replace(self.model, network=network)

    def _quiet(self, look: Look) -> bool:
        """Whether nothing stands out: light alone does not, as when it is switched off, and is another scene."""
        clear = self.model is not None and self.model.clear(look)
        return clear and self.state is SceneState.WATCHING and not self._changed(look)

    def _changed(self, look: Look) -> bool:
        changed = self.state is SceneState.SCENE_CHANGED
        light, share = RETURN if changed or self._away else 1.0, RETURN if changed else 1.0
        return look.changed(1 + light * (self.settings.max_light - 1), share * self.settings.scene_share)

    def _must_score(self, look: Look, t_ns: int) -> bool:
        clear = self.settings.mode is Mode.GATE and self.model is not None and self.model.clear(look)
        recently = self._scored_ns is not None and 0 <= t_ns - self._scored_ns < self._max_skip_ns
        if clear and recently:
            self.skipped += 1
            return False
        self._scored_ns = t_ns
        return True

    def _follow(self, model: SceneModel, features: Floats, look: Look, t_ns: int) -> None:
        elapsed_ns = 0 if self._last_ns is None else t_ns - self._last_ns
        if self._last_ns is not None and 0 <= elapsed_ns < FOLLOW_STEP_S * NS:
            return
        self._last_ns = t_ns
        step_s = min(max(elapsed_ns, 0) / NS, max(STANDS_FOR_S, 2 * model.frame_s))
        quickly, slowly = (-math.expm1(-step_s / time_s) for time_s in (self.settings.follow_s, self.settings.forget_s))
        followed = model.background.follow(features, look, quickly=quickly, slowly=slowly)
        self.model = replace(model, background=followed)

    def _learn(self, features: Floats, t_ns: int, look: Look | None) -> FrameCheck:
        """Keep a frame to learn from, and learn when there are enough."""
        self.unknown()
        state, wanted = self.state, self.settings.learn_frames
        spacing_ns = self.settings.learn_s * NS / wanted
        if not self._kept or not 0 <= t_ns - self._kept[-1][0] < spacing_ns:
            self._kept.append((t_ns, features))
        change = f"{_as_a_whole(look)}; " if look else ""
        detail = f"{change}learning the scene: {len(self._kept)} of {wanted} frames{self._problem}"
        before, since_ns = self.model, min(kept_ns for kept_ns, _ in self._kept)
        learned = len(self._kept) >= wanted and self._finish(t_ns)
        return FrameCheck(
            t_ns=t_ns,
            state=state,
            look=look,
            learned=learned,
            learned_since_ns=since_ns,
            same_view=bool(learned and before and self.model and before.same_view(self.model)),
            detail=detail,
        )

    def _finish(self, t_ns: int) -> bool:
        """Learn the scene from the frames kept; return whether it held still."""
        settings = self.settings
        try:
            self.model = learn_scene(
                np.stack([features for _, features in self._kept]),
                np.array([kept_ns for kept_ns, _ in self._kept], np.int64),
                self._watched,
                max_light=settings.max_light,
                scene_share=settings.scene_share,
                rule=settings.rule,
                alarms_per_day=settings.alarms_per_day,
                k=settings.k,
            )
        except ValueError as error:
            self._problem = f"; the last try failed: {error}"
            self._kept = self._kept[len(self._kept) // 2 :]
            return False
        self.state, self._kept, self._problem, self._last_ns = SceneState.WATCHING, [], "", t_ns
        return True


def _as_a_whole(look: Look) -> str:
    """Return how another scene differs from the usual one, in words."""
    light, share = (round(100 * part) for part in (look.light, look.share))
    return f"light or view changed: light at {light} % of the usual, {share} % of the picture strange"
