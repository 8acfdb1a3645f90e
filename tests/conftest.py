"""What tests of several kinds share: one small bundle, and the public recordings where they are."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.golden import build_bundle

DATA = Path(os.environ.get("ANOMALITE_DATA", Path(__file__).parents[2] / "shared" / "data"))
"""Public recordings that are not part of the project; the tests that need them are skipped where they are not."""


@pytest.fixture(scope="session")
def pump_bundle(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A T-squared graph of the simulated pump; test processes that run at the same time share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "pump-bundle"
    folder.mkdir(exist_ok=True)
    bundle = folder / "gaussian.bundle"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return bundle if bundle.exists() else build_bundle("gaussian", folder)


@pytest.fixture(scope="session")
def skab() -> Path:
    """Folder of the Skoltech Anomaly Benchmark."""
    if not (DATA / "skab").is_dir():
        pytest.skip(f"needs the SKAB recordings in {DATA / 'skab'} (set ANOMALITE_DATA)")
    return DATA / "skab"
