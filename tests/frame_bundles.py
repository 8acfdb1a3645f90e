"""Complete small bundles for a camera, made without TensorFlow: one whose graph is any bytes, since the contract never
runs them, and one whose graph runs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from edge_agent.contract.arrays import write_npz
from edge_agent.contract.calibration import calibrate
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.frame_manifest import FrameGraphSpec, FrameManifest, FramePrefilterSpec, FrameSpec
from edge_agent.contract.manifest import DecisionSpec, GraphFormat
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import NS
from edge_agent.contract.zones import Zone
from tests.bundles import named, zipped
from tests.tiny_frame_graphs import adding

HEIGHT, WIDTH = 12, 16
BELT = Zone(name="belt", polygon=((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)), factor=2.0)
INPUT = FrameSpec(width=WIDTH, height=HEIGHT, interval_s=0.5, zones=(BELT,))


def golden() -> dict[str, np.ndarray]:
    """Three frames with a score and a map of 3 x 4 cells each."""
    rng = np.random.default_rng(0)
    return {
        "frames": rng.integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8),
        "score_float32": np.array([1, 2, 3], np.float32),
        "map_float32": rng.random((3, 3, 4), np.float32),
    }


def members(golden_data: dict[str, np.ndarray] | None = None) -> dict[str, bytes]:
    """The files of the bundle but the manifest."""
    return {
        "model_float32.tflite": b"\0\0\0\0TFL3" + b"weights" * 40,
        "golden.npz": write_npz(golden() if golden_data is None else golden_data),
        "report.html": b"<p>accepted</p>" * 30,
    }


def manifest(files: dict[str, bytes]) -> FrameManifest:
    """A manifest that names these files."""
    scores = np.random.default_rng(1).gamma(3.0, size=500)
    calibration = calibrate(
        scores, np.arange(500, dtype=np.int64) * NS, alarms_per_day=1.0, n=3, m=5, join_s=10.5, k=3.0
    )
    return FrameManifest(
        name="weld",
        version="1.0.0",
        created="2026-01-02T03:04:05Z",
        input=INPUT,
        graphs=(
            FrameGraphSpec(
                format=GraphFormat.FLOAT32,
                frame=0,
                score=7,
                map=9,
                **dataclasses.asdict(named(files, "model_float32.tflite")),
                parity={"litert": {"rank_pooled": 1.0}},
                calibration=calibration,
                map_calibration=calibration,
                golden_tolerance={"litert": 1e-5, "tflite": 1e-5},
            ),
        ),
        prefilter=FramePrefilterSpec(mode=Mode.WATCH, max_skip_s=10.0),
        decision=DecisionSpec(rule=DecisionRule(hold_off_s=10.0), alarms_per_day=1.0),
        golden=named(files, "golden.npz"),
        report=named(files, "report.html"),
        provenance={"data": {"sha256": "00"}},
    )


def running_bundle() -> bytes:
    """A bundle whose graph runs: it adds up the values of each pixel, and of all."""
    model, face = adding(height=HEIGHT, width=WIDTH)
    frames = golden()["frames"]
    sums = frames.sum(axis=3, dtype=np.float32)
    files = members({"frames": frames, "score_float32": sums.sum(axis=(1, 2)), "map_float32": sums})
    files["model_float32.tflite"] = model
    told = manifest(files)
    graph = dataclasses.replace(told.graphs[0], frame=face.frame, score=face.score, map=face.map)
    values = dataclasses.replace(told, graphs=(graph,)).to_dict()
    return zipped([("manifest.json", json.dumps(values).encode()), *files.items()])


def bundle_bytes(change: dict[str, Any] | None = None, files: dict[str, bytes] | None = None) -> bytes:
    """A bundle of these files; `change` replaces top-level keys of the manifest."""
    contents = members() if files is None else files
    values = manifest(contents).to_dict() | (change or {})
    return zipped([("manifest.json", json.dumps(values).encode()), *contents.items()])
