"""A device environment: made from the hashed requirements and a wheel, spoken to by running Python in it."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
INSIDE = Path(__file__).with_name("inside.py")

RUNTIMES = {"litert": ".venv-device", "tflite": ".venv-tflite"}
"""The two device environments and their folders in the checkout."""

INSTALL_TIMEOUT_S = 600
"""Seconds to download and unpack some 50 MB of wheels over a slow line."""


def run(*command: str | Path, timeout_s: float = 120, env: dict[str, str] | None = None) -> str:
    """Run a command outside the checkout's own paths, return what it prints; its errors are shown when it fails."""
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd="/",
        env=env,
    )
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}"
    return result.stdout


@dataclass(frozen=True)
class Device:
    """An environment with nothing but what a device has."""

    runtime: str
    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def inside(self, *arguments: str | Path) -> dict[str, Any]:
        """Run `inside.py` there and return what it found; -I: nothing of this checkout is on its path."""
        return json.loads(run(self.python, "-I", INSIDE, *arguments).splitlines()[-1])


def make(runtime: str, wheel: Path) -> Device | None:
    """Make a fresh environment, replacing one of an earlier run; None where there is no Python for it."""
    python = interpreter(runtime)
    if python is None:
        return None
    made = Device(runtime, PROJECT / RUNTIMES[runtime])
    shutil.rmtree(made.folder, ignore_errors=True)
    run(python, "-m", "venv", made.folder)
    pip = [made.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    locked = PROJECT / "requirements" / f"device-{made.runtime}.txt"
    run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", locked, timeout_s=INSTALL_TIMEOUT_S)
    run(*pip, "--no-deps", "--no-index", wheel)
    return made


def interpreter(runtime: str) -> str | None:
    """Return the Python to make the environment with: this one, but for tflite-runtime a 3.11."""
    base = getattr(sys, "_base_executable", sys.executable)
    if runtime != "tflite" or sys.version_info[:2] == (3, 11):
        return base
    return shutil.which("python3.11")
