"""What the system tests share: the device's wheel, and a booted container with the agent installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.container import Container
from tests.system.roots import PROJECT, device_wheels, systemd_root

NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "modprobe": "kmod",
}
"""Commands and the Debian packages that bring them."""

INSTALL = "bash /project/systemd/install.sh --wheels /wheels /dist/*.whl"
"""The installer as a technician runs it, but without a network."""

CONFIG = """\
device = "pump-house"

[mqtt]
host = "127.0.0.1"

[streams.pump.source]
kind = "synthetic"
rate_hz = 20.0
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say once, for all, what is missing on this machine."""
    missing = [package for command, package in NEEDED.items() if shutil.which(command) is None]
    reason = "needs root" if os.geteuid() != 0 else f"needs: apt-get install {' '.join(missing)}" if missing else ""
    for item in items:
        if reason and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the device's wheel."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(PROJECT)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def machine(wheel: Path) -> Iterator[Container]:
    """Boot a Debian that knows nothing of the agent yet."""
    binds = {PROJECT: "/project", device_wheels("litert"): "/wheels", wheel.parent: "/dist"}
    with Container(systemd_root(), binds) as container:
        yield container


@pytest.fixture(scope="session")
def installed(machine: Container) -> Container:
    """Install the agent and give it settings; it runs."""
    machine.write("/etc/edge-agent/config.toml", CONFIG)
    # A short watchdog, so that a test need not wait for half a minute.
    machine.write("/etc/systemd/system/edge-agent.service.d/test.conf", "[Service]\nWatchdogSec=5\nTimeoutAbortSec=5\n")
    machine.run(INSTALL, timeout_s=300)
    return machine
