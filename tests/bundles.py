"""A complete small bundle for tests, made without TensorFlow: its graph is any bytes, since the contract never runs
them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import Any

import numpy as np

from edge_agent.contract.arrays import write_npz
from edge_agent.contract.calibration import calibrate
from edge_agent.contract.decision import DecisionRule
from edge_agent.contract.manifest import (
    DecisionSpec,
    GraphFormat,
    GraphSpec,
    InputSpec,
    Manifest,
    Member,
    PrefilterSpec,
)
from edge_agent.contract.prefilter import Mode, Prefilter
from edge_agent.contract.records import NS, Channel

CHANNELS = (Channel(name="pressure", unit="bar", low=0.0, high=10.0), Channel(name="flow", unit="l/min"))
INPUT = InputSpec(channels=CHANNELS, rate_hz=1.0, window=4, hold=2, max_gap_s=3.5, stuck_samples=(30, None))


def members() -> dict[str, bytes]:
    """The files of the bundle but the manifest."""
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((64, 4, 2)).astype(np.float32)
    return {
        "model_float32.tflite": b"\0\0\0\0TFL3" + b"weights" * 40,
        "prefilter.npz": Prefilter.fit(windows).with_limits(1.0, 1e4).to_bytes(),
        "golden.npz": write_npz({"windows": windows[:3], "score_float32": np.array([1, 2, 3], np.float32)}),
        "report.html": b"<p>accepted</p>" * 30,
    }


def manifest(files: dict[str, bytes]) -> Manifest:
    """A manifest that names these files."""
    rng = np.random.default_rng(1)
    calibration = calibrate(
        rng.gamma(3.0, size=500), np.arange(500, dtype=np.int64) * NS, alarms_per_day=1.0, n=3, m=5, join_s=14.0, k=3.0
    )
    model, prefilter = named(files, "model_float32.tflite"), named(files, "prefilter.npz")
    return Manifest(
        name="pump",
        version="1.0.0",
        created="2026-01-02T03:04:05Z",
        input=INPUT,
        graphs=(
            GraphSpec(
                format=GraphFormat.FLOAT32,
                file=model.file,
                sha256=model.sha256,
                size=model.size,
                window=0,
                score=7,
                contributions=9,
                parity={"litert": {"rank_pooled": 1.0}},
                calibration=calibration,
                golden_tolerance={"litert": 1e-5, "tflite": 1e-5},
            ),
        ),
        prefilter=PrefilterSpec(
            file=prefilter.file, sha256=prefilter.sha256, size=prefilter.size, mode=Mode.WATCH, max_skip_s=60.0
        ),
        decision=DecisionSpec(rule=DecisionRule(hold_off_s=10.0), alarms_per_day=1.0),
        golden=named(files, "golden.npz"),
        report=named(files, "report.html"),
        provenance={"data": {"sha256": "00"}},
    )


def named(files: dict[str, bytes], file: str) -> Member:
    """What a manifest says of a file."""
    return Member(file=file, sha256=hashlib.sha256(files[file]).hexdigest(), size=len(files[file]))


def zipped(entries: list[tuple[str, bytes]], **attributes: Any) -> bytes:
    """A zip of these entries in this order; attributes are set on each."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.writestr(info, data, compress_type=zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def bundle_bytes(change: dict[str, Any] | None = None, files: dict[str, bytes] | None = None) -> bytes:
    """A bundle; `change` replaces top-level keys of the manifest, `files` replaces members after they were named."""
    contents = members()
    values = manifest(contents).to_dict() | (change or {})
    return zipped([("manifest.json", json.dumps(values).encode()), *(contents | (files or {})).items()])
