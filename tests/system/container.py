"""A real systemd as PID 1 in a container: native speed, no virtual machine, booted in a second or two.

Needs root and systemd-nspawn. The root folder is never written to: everything goes to an overlay in memory that is gone
with the container (`--volatile=overlay`). The container has a mount and a network namespace of its own: loopback alone,
and no mount can reach the host. Not enforced in here, so not tested here: MemoryMax, DevicePolicy, IPAddressDeny.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

BOOT_TIMEOUT_S = 90
"""Seconds from start to all units settled; a busy machine takes ten times the usual two."""

_BOOT = "mount --make-rprivate / && ip link set lo up && exec systemd-nspawn "


class Container:
    """A booted root folder; use it as a context manager."""

    def __init__(self, root: Path, binds: Mapping[Path, str]) -> None:
        """Take the root folder and which folders of the host are seen, read-only, at which path in the container."""
        if (root / "etc/fstab").exists():
            raise ValueError(f"{root}/etc/fstab: with one, its remount would reach the host's own root file system")
        self._log = tempfile.NamedTemporaryFile(prefix="container-", suffix=".log")  # noqa: SIM115 - closed by __exit__
        options = [
            "--boot",
            f"--directory={root}",
            "--volatile=overlay",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--console=read-only",
            f"--machine=edge-{os.getpid()}",
            *(f"--bind-ro={host}:{inside}" for host, inside in binds.items()),
        ]
        self._command = ["unshare", "--mount", "--net", "sh", "-c", f'{_BOOT} "$@"', "sh", *options]
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        environment = os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, env=environment
        )
        wait_for(self._find_init, "systemd as PID 1", BOOT_TIMEOUT_S)
        wait_for(lambda: self.try_run("test -S /run/systemd/private")[0] == 0, "systemd to listen", BOOT_TIMEOUT_S)
        self.try_run("systemctl is-system-running --wait", timeout_s=BOOT_TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            if self._init:
                self.try_run("systemctl poweroff --force")
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def run(self, command: str, timeout_s: float = 60) -> str:
        """Run a shell command as root in the container and return what it prints; it must succeed."""
        code, output = self.try_run(command, timeout_s)
        assert code == 0, f"$ {command}\nexit {code}\n{output}"
        return output.strip()

    def try_run(self, command: str, timeout_s: float = 60) -> tuple[int, str]:
        """Run a shell command as root in the container and return its exit code and all it prints."""
        enter = ["nsenter", f"--target={self._init}", "--all", "--wdns=/"]
        clean = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
        result = subprocess.run(
            [*enter, *clean, "bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return result.returncode, result.stdout

    def show(self, prop: str, unit: str = "edge-agent.service") -> str:
        """Return one property of a unit."""
        return self.run(f"systemctl show --value --property={prop} {unit}")

    def write(self, path: str, text: str) -> None:
        """Write a file in the container."""
        self.run(f"mkdir -p $(dirname {path}) && cat > {path} <<'END-OF-FILE'\n{text}\nEND-OF-FILE")

    def _find_init(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the container did not start:\n{Path(self._log.name).read_text()}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in children:
            try:
                if Path(f"/proc/{child}/comm").read_text().strip() in {"systemd", "init"}:
                    self._init = int(child)
            except FileNotFoundError:
                continue
        return self._init > 0


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float) -> float:
    """Wait until the condition holds and return the seconds it took; fail by name after `timeout_s`."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(0.05)
    return time.monotonic() - started
