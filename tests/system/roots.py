"""Debian root folders for the system tests, made by mmdebstrap and kept in `build/e2e` for the next run."""

import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / "build" / "e2e"

BUILD_TIMEOUT_S = 900
"""Seconds for one root folder: some 100 packages over a slow line."""

_LEAN = [
    "--aptopt=Acquire::Languages none",
    *(f"--dpkgopt=path-exclude=/usr/share/{kind}/*" for kind in ("doc", "man", "locale")),
]


def debian_root(name: str, suite: str, *options: str) -> Path:
    """Return a root folder made with these options, from the cache where the same options made it."""
    root, made_with = CACHE / name, CACHE / f"{name}.options"
    wanted = "\n".join([suite, *options])
    if made_with.is_file() and made_with.read_text() == wanted:
        return root
    shutil.rmtree(root, ignore_errors=True)
    made_with.unlink(missing_ok=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    command = ["mmdebstrap", "--quiet", "--mode=root", *_LEAN, *options, suite, str(root)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    made_with.write_text(wanted)
    return root


def systemd_root() -> Path:
    """Return a Debian with systemd, Python and a broker, to boot as a container."""
    packages = "systemd-sysv,udev,dbus,procps,python3,python3-venv,mosquitto,mosquitto-clients"
    return debian_root(
        "bookworm",
        "bookworm",
        "--variant=minbase",
        f"--include={packages}",
        # Mounting what an fstab names would reach the host's own root file system (see container.py).
        '--customize-hook=rm -f "$1/etc/fstab"',
        '--customize-hook=chroot "$1" systemctl mask mosquitto.service apt-daily.timer apt-daily-upgrade.timer',
    )


def device_wheels(runtime: str) -> Path:
    """Return a folder with the hashed wheels of a device environment, for an installation without a network."""
    folder, locked = CACHE / f"wheels-{runtime}", PROJECT / "requirements" / f"device-{runtime}.txt"
    complete = folder / "complete"
    if not (complete.is_file() and complete.read_bytes() == locked.read_bytes()):
        shutil.rmtree(folder, ignore_errors=True)
        download(folder, locked)
        complete.write_bytes(locked.read_bytes())
    return folder


def download(folder: Path, locked: Path, *options: str) -> None:
    """Download the wheels that a hashed requirements file names."""
    command = ["python", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    command += ["--require-hashes", "-r", str(locked), "--dest", str(folder), *options]
    command[0] = str(PROJECT / ".venv" / "bin" / "python")
    result = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
