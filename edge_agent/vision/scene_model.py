"""A scene learned on site: its background, how far normal frames lie from it, and from where on that is an anomaly.

One file, `scene.npz`, so that a restart goes on watching. What was learned is `provisional` unless there were enough
normal frames to count alarms on (contract/calibration.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract import strict_json
from edge_agent.contract.arrays import read_npz, write_npz
from edge_agent.contract.calibration import Calibration, calibrate
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.records import NS, Floats, Times
from edge_agent.contract.zones import Cells
from edge_agent.errors import ManifestError
from edge_agent.files import read_kept
from edge_agent.vision.background import LEAST_FRAMES, MOST_STRANGE, Background, Look, unseen_looks
from edge_agent.vision.blocks import COLUMNS, FEATURES, ROWS
from edge_agent.vision.scene_thresholds import SceneScores

CLEAR_SHARE: Final = 0.95
"""Quantile of the distances of unseen normal frames that is the limit of `clear`: one frame in twenty is scored without
need, and what is as far off as that is looked at."""

LEAST_CLEAR: Final = 1.0
"""Smallest limit of `clear`: nine blocks that lie one spread off are what noise gives on average."""

LEAST_THRESHOLD: Final = 4.0
"""Smallest threshold of an anomaly: nine blocks that lie two spreads off. A scene that never moved while it was learned
would otherwise alarm on the first flicker."""

MOST_THRESHOLD: Final = MOST_STRANGE / 2
"""Largest threshold of an anomaly. Strangeness is cut at `MOST_STRANGE`: a threshold beyond, as who walks by while the
scene is learned gives, would be passed by nothing, and all that comes after would be normal."""

PROVISIONAL_K: Final = 5.0
"""Factor of the provisional threshold, as of a Gaussian of readings that watches alone."""

MOST_UNSTEADY: Final = 0.1
"""Share of the learned frames that may show another scene than the rest; those are left out, and with more of them the
scene has not come to rest."""

MAX_SCENE_BYTES: Final = 1 << 20
"""Largest scene file read; one has some 25 kB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneModel:
    """What was learned of a scene."""

    background: Background
    lower: float
    """d2 up to which a frame is clear."""
    frame_s: float
    """Seconds between the frames learned from."""
    calibration: Calibration
    """Threshold of d2 for the prefilter that watches alone."""
    network: SceneScores | None = None
    """Thresholds of a network in the light of this scene; None: those of its bundle."""

    def check(self) -> None:
        """Refuse shapes and limits that do not fit, such as a broken file may have.

        Raises:
            ValueError: they do not fit together, or are out of range.
        """
        self.background.check()
        if self.background.mean.shape != (len(FEATURES), ROWS, COLUMNS):
            raise ValueError(
                f"expected a scene of {len(FEATURES)} features in {ROWS} x {COLUMNS} blocks, got "
                f"{self.background.mean.shape}"
            )
        _reachable(self.calibration)
        if not (0 <= self.lower < math.inf and 0 < self.frame_s < math.inf):
            raise ValueError(f"expected lower >= 0 and frame_s > 0, finite, got {self.lower} and {self.frame_s}")

    def look(self, features: Floats) -> Look:
        """Compare a frame, float32 [features, rows, columns], with the scene."""
        return self.background.look(features)

    def same_view(self, other: SceneModel) -> bool:
        """Whether another scene is this one in other light."""
        return self.background.same_view(other.background)

    def clear(self, look: Look) -> bool:
        """Whether nothing stands out in a frame; light as a whole does not count."""
        return look.d2 <= self.lower

    def calibrated(self, alarms_per_day: float, k: float) -> Calibration:
        """Return the threshold of d2 for another rate of false alarms or factor than it was learned with."""
        return _reachable(self.calibration.at(alarms_per_day=alarms_per_day, k=k))

    def to_bytes(self) -> bytes:
        """Return the content of a `scene.npz`; the same scene gives the same bytes."""
        arrays: dict[str, NDArray[np.generic]] = {
            "features": np.array(FEATURES, np.str_),
            "mean": self.background.mean,
            "variance": self.background.variance,
            "watched": self.background.watched,
            "lower": np.array(self.lower),
            "frame_s": np.array(self.frame_s),
            "calibration": np.array(json.dumps(self.calibration.to_dict()), np.str_),
        }
        if self.network is not None:
            arrays["network"] = np.array(json.dumps(self.network.to_dict()), np.str_)
        return write_npz(arrays)

    @classmethod
    def load(cls, path: Path) -> SceneModel:
        """Read the file.

        Raises:
            FileNotFoundError: there is none.
            ManifestError: it is not what `to_bytes` wrote.
        """
        return cls.from_npz(read_kept(path, MAX_SCENE_BYTES))

    @classmethod
    def from_npz(cls, content: bytes) -> SceneModel:
        """Read what `to_bytes` wrote.

        Raises:
            ManifestError: it is no such file, or its arrays do not fit together.
        """
        arrays: dict[str, Any] = dict(read_npz(content, "scene.npz"))
        try:
            if tuple(map(str, arrays["features"])) != FEATURES:
                raise ValueError(f"expected the features {FEATURES}, got {arrays['features']}")
            scene = cls(
                background=Background(
                    mean=arrays["mean"].astype(np.float64),
                    variance=arrays["variance"].astype(np.float64),
                    watched=arrays["watched"],
                ),
                lower=float(arrays["lower"]),
                frame_s=float(arrays["frame_s"]),
                calibration=Calibration.from_dict(_parsed(arrays, "calibration")),
                network=SceneScores.from_dict(_parsed(arrays, "network")) if "network" in arrays else None,
            )
            scene.check()
        except (ValueError, KeyError, TypeError, OverflowError, ManifestError) as error:
            raise ManifestError(
                f"scene.npz cannot be used: {error}; remove it, and the scene is learned anew"
            ) from error
        return scene


def _parsed(arrays: Mapping[str, Any], name: str) -> dict[str, Any]:
    return strict_json.parse(str(arrays[name]).encode(), place=name, max_bytes=MAX_SCENE_BYTES)


def learn_scene(
    features: Floats,
    t_ns: Times,
    watched: Cells,
    *,
    max_light: float,
    scene_share: float,
    rule: DecisionRule,
    alarms_per_day: float,
    k: float = PROVISIONAL_K,
) -> SceneModel:
    """Learn a scene from normal frames.

    Args:
        features: float32 [n, features, rows, columns], in order of time.
        t_ns: int64 [n] reading time of the frames.
        watched: bool [rows, columns] blocks that no mask touches.
        max_light: factor of light beyond which a frame shows another scene.
        scene_share: share of strange blocks beyond which it does.
        rule: when an event opens, which the threshold is made for.
        alarms_per_day: false alarms a day to aim at.
        k: factor of the provisional threshold.

    Raises:
        ValueError: too few frames, or the scene did not hold still.
    """
    if len(features) < LEAST_FRAMES:
        raise ValueError(f"a scene is learned from at least {LEAST_FRAMES} frames, got {len(features)}")
    looks = unseen_looks(features, watched)
    steady = np.array([not look.changed(max_light, scene_share) for look in looks])
    if steady.mean() < 1 - MOST_UNSTEADY:
        raise ValueError(f"the scene did not hold still: {np.sum(~steady)} of {len(steady)} frames show another")
    distances = np.array([look.d2 for look in looks])[steady]
    steps = np.diff(t_ns)
    frame_s = max(float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0, 1.0) / NS
    calibration = calibrate(
        distances,
        t_ns[steady],
        alarms_per_day=alarms_per_day,
        n=rule.n,
        m=rule.m,
        join_s=frame_s + rule.hold_off_s,
        k=k,
    )
    return SceneModel(
        background=Background.fit(features[steady], watched),
        lower=max(float(np.quantile(distances, CLEAR_SHARE)), LEAST_CLEAR),
        frame_s=frame_s,
        calibration=_reachable(calibration),
    )


def _reachable(calibration: Calibration) -> Calibration:
    """Return the calibration with its threshold brought to `LEAST_THRESHOLD`..`MOST_THRESHOLD`.

    Raises:
        ValueError: normal frames themselves lie beyond.
    """
    if calibration.median >= MOST_THRESHOLD:
        raise ValueError(
            f"the scene did not hold still: half of its frames lie {calibration.median:.0f} or more from the others, "
            f"expected less than {MOST_THRESHOLD:.0f}"
        )
    threshold = min(max(calibration.threshold, LEAST_THRESHOLD), MOST_THRESHOLD)
    return calibration if threshold == calibration.threshold else calibration.with_threshold(threshold)
