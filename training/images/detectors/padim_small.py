"""Gaussians of pretrained features for small devices: fewer layers, features and directions than `padim`.

What it computes: see `training.images.detectors.padim`.

Source: T. Defard, A. Setkov, A. Loesch and R. Audigier, "PaDiM: a patch distribution modeling framework for anomaly
detection and localization", 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from training.images.detectors.padim import Padim, PadimSettings
from training.images.patches import FeatureSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PadimSmallSettings(PadimSettings):
    """`[detector]` of type `padim_small`: that of `padim` with other defaults."""

    features: FeatureSettings = field(default_factory=lambda: FeatureSettings(layers=(7,)))
    rank: int = 12


class PadimSmall(Padim):
    """See the module."""

    Settings = PadimSmallSettings
