"""What a device gets: the wheel, its environments, and bundles to run in them."""

import sys
from pathlib import Path

import pytest

from tests.device.environment import PROJECT, RUNTIMES, Device, make, run
from tests.golden import DETECTORS, build_bundle


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the device's wheel with this environment's own tools."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, PROJECT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def devices(wheel: Path) -> dict[str, Device | None]:
    """Make both environments; None where this machine has no Python for one."""
    return {runtime: make(runtime, wheel) for runtime in RUNTIMES}


@pytest.fixture(scope="session", params=RUNTIMES)
def device(request: pytest.FixtureRequest, devices: dict[str, Device | None]) -> Device:
    """Return each environment in turn."""
    found = devices[request.param]
    if found is None:
        pytest.skip("tflite-runtime has wheels up to Python 3.11, and there is none here")
    return found


@pytest.fixture(scope="session", params=DETECTORS)
def bundle(
    request: pytest.FixtureRequest, devices: dict[str, Device | None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Train and convert each detector in turn, measured on both runtimes."""
    tflite = devices["tflite"]
    return build_bundle(request.param, tmp_path_factory.mktemp("golden"), tflite.python if tflite else None)
