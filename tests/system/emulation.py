"""A 64-bit Arm device, emulated: Debian's Python and the device's aarch64 wheels under qemu-user.

No binfmt, no chroot: the emulator is started with the program and finds libraries below a root folder (`-L`); what is
not there (/proc, /tmp) is the host's. Trixie's emulator, version 10: bookworm's 7.2 crashes LiteRT and computes wrong
int8 results with its default processor. What a model computes is exact here; how long it takes means nothing.
"""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from tests.system.roots import CACHE, PROJECT, debian_root, download

EMULATED_TIMEOUT_S = 300

_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_HOST_FOLDERS = ("tmp", "dev", "proc", "sys", "run", "var", "root", "home")
"""Left out of the root folder, or the emulated program would see these empty ones instead of the host's."""


class ArmDevice:
    """Python 3.13 of Debian trixie on an emulated Cortex-A72 (Raspberry Pi 4), with the device's packages."""

    def __init__(self, wheel: Path) -> None:
        """Make, or take from the cache, the emulator, the root folder and the packages; install this agent's wheel."""
        emulator = debian_root("qemu", "trixie", "--variant=extract", "--include=qemu-user")
        for other in (emulator / "usr/bin").glob("qemu-*"):
            if other.name != "qemu-aarch64":
                other.unlink()
        include = "--include=base-files,python3,libstdc++6,libgomp1,ca-certificates"
        root = debian_root(
            "arm64", "trixie", "--variant=extract", "--architectures=arm64", "--skip=check/qemu", include
        )
        for name in _HOST_FOLDERS:
            shutil.rmtree(root / name, ignore_errors=True)
        self._packages = arm_packages()
        self._agent = CACHE / "arm64-agent"
        shutil.rmtree(self._agent, ignore_errors=True)
        unpack(wheel, self._agent)
        self._command = [
            str(emulator / "usr/bin/qemu-aarch64"),
            *("-cpu", "cortex-a72"),
            *("-L", str(root)),
            str(root / "usr/bin/python3.13"),
        ]

    def python(self, *arguments: str | Path) -> str:
        """Run Python on the device and return what it prints."""
        result = subprocess.run(
            [*self._command, *map(str, arguments)],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{self._agent}:{self._packages}",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            cwd="/",
            capture_output=True,
            text=True,
            timeout=EMULATED_TIMEOUT_S,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout


def arm_packages() -> Path:
    """Return a folder with the hashed aarch64 wheels of the LiteRT device environment, unpacked."""
    folder, locked = CACHE / "arm64-packages", PROJECT / "requirements" / "device-litert.txt"
    complete = folder / "complete"
    if not (complete.is_file() and complete.read_bytes() == locked.read_bytes()):
        shutil.rmtree(folder, ignore_errors=True)
        wheels = folder / "wheels"
        target = ["--python-version", "3.13", "--implementation", "cp"]
        download(wheels, locked, *target, *(f"--platform={name}" for name in _PLATFORMS))
        for wheel in wheels.glob("*.whl"):
            unpack(wheel, folder)
        complete.write_bytes(locked.read_bytes())
    return folder


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel as far as importing it needs."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
