"""Small run folders of images, made without TensorFlow: noisy pictures of one scene, some with a bright square."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.frame_manifest import FrameSpec
from edge_agent.contract.frames import Pixels
from edge_agent.contract.manifest import DecisionSpec
from edge_agent.contract.prefilter import Mode
from training.artifacts import write_info, write_json
from training.image_artifacts import FrameRun, FrameRunInfo, write_frames

SIZE, GRID = 32, 8
"""Pixels a side of a frame, cells a side of a map."""

WARM_UP = 4
"""Frames, of the streaming run."""


def template() -> Pixels:
    """The scene, uint8 [SIZE, SIZE, 3]."""
    coarse = np.random.default_rng(7).integers(50, 200, (SIZE // 8, SIZE // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def pictures(count: int, seed: int, defective: np.ndarray | None = None) -> Pixels:
    """Frames [count, SIZE, SIZE, 3] with more or less noise; the defective ones have a square of 8 pixels."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, SIZE, SIZE, 3)) * rng.uniform(3, 20, (count, 1, 1, 1))
    frames = np.clip(template() + noise, 0, 255).astype(np.uint8)
    if defective is not None:
        for number in np.flatnonzero(defective):
            top, left = rng.integers(0, SIZE - 8, 2)
            frames[number, top : top + 8, left : left + 8] = (255, 240, 20)
    return frames


def frame_run(
    path: Path, graph: Path, *, streaming: bool = False, validation: int = 40, classes: tuple[str, ...] = ()
) -> FrameRun:
    """A complete run around a SavedModel, which tells defects of these classes apart: they take turns."""
    path.mkdir()
    (path / "graph").symlink_to(graph)
    labels = np.arange(40) % 20 >= 10
    write_frames(
        path,
        calibration=pictures(40, 1),
        validation=pictures(validation, 2),
        test=pictures(40, 3, labels),
        test_labels=labels,
        test_kinds=np.where(labels & bool(classes), np.arange(40) % max(len(classes), 1), -1),
    )
    (path / "recipe.toml").write_text('[images]\n[detector]\ntype = "small"\n')
    write_json(path / "metrics.json", {})
    write_json(path / "provenance.json", {"data": [{"sha256": "00"}]})
    write_info(
        path,
        FrameRunInfo(
            name="scene",
            created="2026-01-02T03:04:05Z",
            detector="small",
            has_map=True,
            tells_kinds=bool(classes),
            input=FrameSpec(
                width=SIZE,
                height=SIZE,
                interval_s=1.0,
                streaming=streaming,
                warm_up=WARM_UP if streaming else 0,
                classes=classes,
            ),
            decision=DecisionSpec(rule=DecisionRule(n=1, m=1, hold_off_s=0.0), alarms_per_day=1.0),
            k=3.0,
            prefilter_mode=Mode.GATE,
            max_skip_s=10.0,
        ),
    )
    return FrameRun.read(path)
