"""A Debian in a virtual machine, with a kernel of its own: for drivers, hot plugging and whatever a container shares.

    root folder (`roots.py`) -> a copy, set up in a chroot at the host's speed -> ext4 image
    Debian's kernel package  -> kernel, and an initrd that adds modules and the command server to the root and boots it

Commands travel over a virtio port, so the machine needs no network and has none. Where the processor offers no
virtualisation the machine is emulated: it boots in some 30 s instead of 5, and everything takes ten times as long.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system.container import wait_for
from tests.system.roots import CACHE, debian_root

BOOT_TIMEOUT_S = 300
"""Seconds from start to the first command, emulated on a busy machine; 40 when it is idle."""

IMAGE_BYTES = 4 << 30
"""Size of the root's file system; the file is sparse."""

MEMORY_MB = 1024
"""Memory of the machine: that of a small Raspberry Pi."""

BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4", "crc32c_generic", "crc32c_intel")
"""Loaded before the root is mounted, with what they need."""

LATER_MODULES = ("vivid",)
"""There to be loaded by a test: a simulated camera."""

SERVER = Path(__file__).parent / "guest_commands.py"

_UNIT = """\
[Unit]
Description=Commands from the tests
[Service]
ExecStart=/usr/bin/python3 /usr/local/bin/guest-commands
Restart=always
"""

_INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do /bin/busybox insmod "/modules/$module"; done < /modules/order
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 100 ]; do /bin/busybox sleep 0.1; tries=$((tries + 1)); done
/bin/busybox mount -t ext4 /dev/vda /new || /bin/busybox poweroff -f
/bin/busybox cp -a /overlay/. /new/
/bin/busybox umount /proc /sys
/bin/busybox mount -o move /dev /new/dev
exec /bin/busybox switch_root /new /sbin/init
"""


class VirtualMachine:
    """A booted virtual machine; use it as a context manager."""

    def __init__(self, payload: Mapping[Path, str], setup: str) -> None:
        """Take what is to be in the machine.

        Args:
            payload: files and folders of the host that `setup` sees below /payload, by their names there.
            setup: commands of bash, run as root in the machine's root folder before it is booted.
        """
        kernel = _kernel()
        self._folder = Path(tempfile.mkdtemp(prefix="machine-"))
        image, initrd = self._folder / "root.ext4", self._folder / "initrd"
        _write_image(payload, setup, image)
        _write_initrd(kernel, initrd)
        (vmlinuz,) = (kernel / "boot").glob("vmlinuz-*")
        accelerated = os.access("/dev/kvm", os.W_OK) and {"vmx", "svm"} & set(Path("/proc/cpuinfo").read_text().split())
        self._command = [
            "qemu-system-x86_64",
            *("-machine", "q35", "-accel", "kvm" if accelerated else "tcg,thread=multi", "-cpu", "max"),
            *("-m", str(MEMORY_MB), "-smp", "2", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-nic", "none", "-kernel", str(vmlinuz), "-initrd", str(initrd)),
            *("-append", "console=ttyS0 root=/dev/vda panic=-1 mitigations=off systemd.mask=systemd-binfmt.service"),
            *("-serial", f"file:{self._folder}/console", "-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=commands,path={self._folder}/commands,server=on,wait=off"),
            *("-device", "virtserialport,chardev=commands,name=commands"),
            *("-drive", f"if=virtio,format=raw,cache=unsafe,file={image}"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._port = socket.socket(socket.AF_UNIX)
        self._waiting = b""
        self._asked = 0

    @property
    def console(self) -> str:
        """What the kernel and systemd printed so far."""
        path = self._folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        with (self._folder / "qemu").open("wb") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(self._connected, "the machine's command port", 30)
            self._answer(BOOT_TIMEOUT_S)
            self.try_run("systemctl is-system-running --wait", timeout_s=BOOT_TIMEOUT_S)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def try_run(self, command: str, timeout_s: float = 120) -> tuple[int, str]:
        """Run a command of bash as root; return exit code and output, errors included."""
        self._asked += 1
        asked = {"id": self._asked, "command": command, "timeout_s": timeout_s}
        self._port.sendall(json.dumps(asked).encode() + b"\n")
        while (answer := self._answer(timeout_s + 30)).get("id") != self._asked:
            pass
        return int(str(answer["code"])), str(answer["output"])

    def run(self, command: str, timeout_s: float = 120) -> str:
        """Run a command that must succeed, and return its output."""
        code, output = self.try_run(command, timeout_s)
        assert code == 0, f"{command}: exit code {code}\n{output}"
        return output

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.run(f"mkdir -p \"$(dirname '{path}')\" && cat > '{path}' <<'END_OF_FILE'\n{text}\nEND_OF_FILE")

    def _connected(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"the machine does not start: {(self._folder / 'qemu').read_text()}")
        try:
            self._port.connect(str(self._folder / "commands"))
        except OSError:
            return False
        return True

    def _answer(self, timeout_s: float) -> dict[str, object]:
        """Return the next line from the command server."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._waiting:
            self._port.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                received = self._port.recv(65536)
            except TimeoutError:
                received = b""
            assert received, f"the machine does not answer within {timeout_s:.0f} s:\n{self.console[-3000:]}"
            self._waiting += received
        line, self._waiting = self._waiting.split(b"\n", 1)
        answer: dict[str, object] = json.loads(line)
        return answer

    def _end(self) -> None:
        self._port.close()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)


def _kernel() -> Path:
    """Return Debian's kernel package, unpacked; from the cache where its version is there."""
    listed = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=True)
    (package,) = (line.split()[-1] for line in listed.stdout.splitlines() if "Depends: linux-image-" in line)
    folder = CACHE / package
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True, capture_output=True, timeout=600)
        (archive,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True, capture_output=True, timeout=120)
        archive.unlink()
        (modules,) = (folder / "lib" / "modules").iterdir()
        subprocess.run(["depmod", "-b", folder, modules.name], check=True, timeout=120)
        (folder / "complete").touch()
    return folder


def _write_image(payload: Mapping[Path, str], setup: str, out: Path) -> None:
    """Write a root that was set up as an ext4 image; the cached root folder stays as it is."""
    root = debian_root(
        "bookworm-machine",
        "bookworm",
        "--variant=minbase",
        "--include=systemd-sysv,udev,dbus,kmod,procps,python3,python3-venv,mosquitto,mosquitto-clients,v4l-utils",
        '--customize-hook=echo "/dev/vda / ext4 rw,relatime 0 1" > "$1/etc/fstab"',
        '--customize-hook=chroot "$1" systemctl mask mosquitto.service apt-daily.timer apt-daily-upgrade.timer '
        "e2scrub_reap.service e2scrub_all.timer systemd-networkd-wait-online.service",
    )
    with tempfile.TemporaryDirectory(prefix="root-", dir=CACHE) as name:
        copy = Path(name)
        subprocess.run(["cp", "--archive", f"{root}/.", copy], check=True, timeout=300)
        for path, inside in payload.items():
            target = copy / "payload" / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--recursive", path, target], check=True, timeout=300)
        done = subprocess.run(
            ["chroot", copy, "bash", "-ec", setup], capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.rmtree(copy / "payload")
        with out.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        command = ["mke2fs", "-q", "-t", "ext4", "-d", str(copy), "-E", "root_owner=0:0", str(out)]
        subprocess.run(command, check=True, timeout=300)


def _write_initrd(kernel: Path, out: Path) -> None:
    """Write an initrd that loads what the root's disk needs, adds modules and the command server, and boots the root."""
    (modules,) = (kernel / "lib" / "modules").iterdir()
    with tempfile.TemporaryDirectory(prefix="initrd-") as name:
        top = Path(name)
        for folder in ("bin", "proc", "sys", "dev", "new", "modules", "overlay/usr/local/bin"):
            (top / folder).mkdir(parents=True)
        shutil.copy2("/usr/bin/busybox", top / "bin" / "busybox")
        (top / "init").write_text(_INIT)
        (top / "init").chmod(0o755)
        _add_modules(kernel, modules, top)
        shutil.copy2(SERVER, top / "overlay/usr/local/bin/guest-commands")
        units = top / "overlay/etc/systemd/system"
        (units / "multi-user.target.wants").mkdir(parents=True)
        (units / "guest-commands.service").write_text(_UNIT)
        (units / "multi-user.target.wants/guest-commands.service").symlink_to("../guest-commands.service")
        script = 'cd "$1" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1 > "$2"'
        subprocess.run(["sh", "-c", script, "sh", str(top), str(out)], check=True, timeout=120)


def _add_modules(kernel: Path, modules: Path, top: Path) -> None:
    """Copy modules with what they need: those of the boot in the order to load them, all of them into the overlay."""
    overlay = top / "overlay/usr/lib/modules" / modules.name
    overlay.mkdir(parents=True)
    for listing in modules.glob("modules.*"):
        shutil.copy2(listing, overlay)
    boot = _needed(kernel, modules.name, BOOT_MODULES)
    for path in boot:
        shutil.copy2(path, top / "modules")
    (top / "modules" / "order").write_text("".join(f"{path.name}\n" for path in boot))
    for path in dict.fromkeys([*boot, *_needed(kernel, modules.name, LATER_MODULES)]):
        target = overlay / path.relative_to(modules)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    merged = top / "overlay" / "lib"
    merged.symlink_to("usr/lib")
    subprocess.run(["depmod", "-b", top / "overlay", modules.name], check=True, timeout=60)
    merged.unlink()


def _needed(kernel: Path, version: str, names: tuple[str, ...]) -> list[Path]:
    """Return the files of modules and of those they need, in the order in which they load."""
    needed: dict[Path, None] = {}
    for name in names:
        command = ["modprobe", "-S", version, "-d", str(kernel), "--show-depends", name]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        needed |= {Path(line.split()[1]): None for line in listed.splitlines() if line.startswith("insmod ")}
    return list(needed)
