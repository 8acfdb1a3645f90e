"""What a network's scores are held against once the light has changed for good. Pure.

    another scene, learned: the same view in other light  ->  the higher of the bundle's threshold and the scene's own
                            anything else                 ->  the bundle's

A network knows the light that it was trained in. With the lamps at another level normal frames may all be strange to
it, and would alarm for ever. So it scores the frames that the scene is learned from, too, which decide nothing and are
taken as normal, as the prefilter takes them. Where the rule of the bundle's threshold gives a higher one for these
scores, it holds in this light, as far above their median as the bundle's is above its own or farther, since a minute
shows less than there is, and provisional. Who walks by meanwhile does not count, nor does the place of an object whose
event is open: it stays as strange as it was. Where the view itself has changed, the network is believed: smoke that
fills the picture stays an anomaly, however long it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.records import Doubles, Times
from edge_agent.vision.background import LEAST_FRAMES
from edge_agent.vision.map_watch import Thresholds

MOST_SCORES: Final = 2000
"""Scores kept, evenly over the time that a scene is learned in: as many as frames that it is learned from at most."""

USUAL_SHARE: Final = 0.9
"""Share of the frames that show what is usual in a scene; as with the prefilter, a tenth may show something else."""

OUTLYING: Final = 3.0
"""Distances from the median to the quantile of `USUAL_SHARE` from which a frame shows something else, such as who
walked by: the 0.999 quantile of a Gaussian lies at 2.4 of them, that of an exponential tail at 3.9."""

MOST_WIDER: Final = 2.0
"""Times the bundle's distance from median to threshold that a scene's may have: however much went on while it was
learned, what stands out clearly is still found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneScores:
    """Thresholds that a graph was given by the frames of a scene; kept with the scene."""

    sha256: str
    """Of the graph."""
    score: Calibration
    map: Calibration

    def serves(self, sha256: str, bundle: Thresholds) -> bool:
        """Whether they are of this graph, for the rule of its bundle, and give thresholds for what is asked now."""
        rules = {(each.n, each.m) for each in (self.score, self.map, bundle.score, bundle.map)}
        try:
            self.above(bundle)
        except ValueError:
            return False
        return self.sha256 == sha256 and len(rules) == 1

    def above(self, bundle: Thresholds) -> Thresholds:
        """Return the less sensitive of the bundle's thresholds and these.

        Raises:
            ValueError: they are beyond any number for what is asked now.
        """
        return Thresholds(score=_higher(bundle.score, self.score), map=_higher(bundle.map, self.map))

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` writes."""
        return {"sha256": self.sha256, "score": self.score.to_dict(), "map": self.map.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SceneScores:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: numbers that no calibration can have given, or keys unknown.
            KeyError: keys missing.
        """
        score, of_map = (Calibration.from_dict(data[name]) for name in ("score", "map"))
        return cls(sha256=str(data["sha256"]), score=score, map=of_map)


class SceneThresholds:
    """Thresholds of one graph, scene after scene.

    Args:
        sha256: of the graph.
        bundle: its thresholds, for what the device asks.
        kept: those of the scene that is watched; of another graph, for another rule or out of all bounds they are not
            used.
    """

    def __init__(self, sha256: str, bundle: Thresholds, kept: SceneScores | None) -> None:
        self._sha256, self._bundle = sha256, bundle
        self._scores: list[tuple[int, float, float]] = []
        self._every, self._noted = 1, 0
        self.scene = kept if kept and kept.serves(sha256, bundle) else None
        """To be kept with the scene; None: the bundle's hold."""

    @property
    def now(self) -> Thresholds:
        """What holds now."""
        return self._bundle if self.scene is None else self.scene.above(self._bundle)

    def note(self, t_ns: int, score: float, strongest: float) -> None:
        """Take in what a frame of a scene that is being learned gives: its score and the largest cell of its map."""
        self._noted += 1
        if self._noted % self._every == 0:
            self._scores.append((t_ns, score, strongest))
        if len(self._scores) > MOST_SCORES:
            self._scores, self._every = self._scores[1::2], 2 * self._every

    def forget(self) -> None:
        """Drop what was taken in: the scene of before is back."""
        self._scores, self._every, self._noted = [], 1, 0

    def learn(self, since_ns: int, *, same_view: bool) -> None:
        """Take over a scene that was learned from the frames since then; of too few, the bundle's thresholds hold."""
        found = sorted({each[0]: each for each in self._scores if each[0] >= since_ns}.values())
        self.forget()
        self.scene = None
        if same_view and len(found) >= LEAST_FRAMES:
            t_ns, scores, strongest = (np.array(values) for values in zip(*found, strict=True))
            usual = _usual(scores) & _usual(strongest)
            of_score = _calibrated(self._bundle.score, scores[usual], t_ns[usual])
            of_map = _calibrated(self._bundle.map, strongest[usual], t_ns[usual])
            self.scene = SceneScores(sha256=self._sha256, score=of_score, map=of_map)


def _usual(values: Doubles) -> NDArray[np.bool_]:
    """Which values are no outliers, bool [n]."""
    median, high = np.quantile(values, (0.5, USUAL_SHARE))
    usual: NDArray[np.bool_] = values <= median + OUTLYING * (high - median)
    return usual


def _calibrated(like: Calibration, scores: Doubles, t_ns: Times) -> Calibration:
    """Return the threshold that the scores of a scene give by the rule of another."""
    return calibrate(
        scores,
        t_ns,
        alarms_per_day=like.alarms_per_day,
        n=like.n,
        m=like.m,
        join_s=like.normal.join_s,
        k=like.k,
    )


def _higher(bundle: Calibration, scene: Calibration) -> Calibration:
    """Return the less sensitive of the bundle's threshold and that of a scene, for what is asked now."""
    asked = scene.at(alarms_per_day=bundle.alarms_per_day, k=bundle.k)
    if asked.threshold <= bundle.threshold:
        return bundle
    least = bundle.threshold - bundle.median
    return asked.with_threshold(asked.median + min(max(asked.threshold - asked.median, least), MOST_WIDER * least))
