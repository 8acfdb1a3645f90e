"""What the settings of a camera say of watching it."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_agent.contract.zones import watched_cells
from edge_agent.vision.blocks import COLUMNS, ROWS
from edge_agent.vision.camera_health import CameraHealthSettings
from edge_agent.vision.frame_prefilter import FramePrefilterSettings
from edge_agent.vision.regions import LocalisationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSettings:
    """How a camera is watched."""

    health: CameraHealthSettings = field(default_factory=CameraHealthSettings)
    prefilter: FramePrefilterSettings = field(default_factory=FramePrefilterSettings)
    localisation: LocalisationSettings = field(default_factory=LocalisationSettings)
    """Its masks are left out by the prefilter, too; a bundle's come on top. Its zones hold where none are set."""

    def __post_init__(self) -> None:
        """Refuse masks that together leave nothing to watch."""
        watched_cells((*self.prefilter.masks, *self.localisation.masks), ROWS, COLUMNS)
