"""The service files, checked by systemd's own tools; none of them needs a systemd that runs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).parents[2] / "systemd"
UNIT = FILES / "edge-agent.service"

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs: apt-get install systemd")

MAX_EXPOSURE = 2.0
"""Of 10; services of this kind as distributed score about 9."""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def verify(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Verify a unit as if its program were installed here."""
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/sh", text, flags=re.MULTILINE))
    return run("systemd-analyze", "verify", "--man=no", copy)


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), flags=re.MULTILINE)


def test_systemd_accepts_every_line_of_the_unit(tmp_path: Path) -> None:
    result = verify(UNIT.read_text(), tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("line", "broken"),
    [
        ("WatchdogSec=30", "WatchdogSecs=30"),
        ("Restart=always", "Restart=allways"),
        ("char-ttyUSB rw", "char-ttyUSB rz"),
    ],
)
def test_a_mistake_in_the_unit_would_be_seen(tmp_path: Path, line: str, broken: str) -> None:
    result = verify(UNIT.read_text().replace(line, broken), tmp_path)
    assert result.stderr  # systemd-analyze itself exits 0 for most mistakes


def test_the_service_is_exposed_no_more_than_it_must_be() -> None:
    result = run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE * 10:.0f}", "--no-pager", UNIT
    )
    print(result.stdout.splitlines()[-1])
    assert result.returncode == 0, result.stdout + result.stderr


def test_it_is_supervised_for_ever() -> None:
    assert values("Type") == ["notify"]
    assert values("WatchdogSec") == ["30"]
    assert values("Restart") == ["always"]
    assert values("StartLimitIntervalSec") == ["0"]
    assert values("RestartPreventExitStatus") == ["78"]


def test_it_waits_for_no_network_and_no_clock() -> None:
    ordered = " ".join(values("After") + values("Wants") + values("Requires"))
    assert not {"network-online.target", "time-sync.target"} & set(ordered.split())


def test_the_fast_kernels_can_see_what_processor_this_is() -> None:
    assert values("ProcSubset") == []


def test_devices_are_closed_but_for_ports_cameras_and_coral() -> None:
    assert values("DevicePolicy") == ["closed"]
    devices = "video4linux media ttyUSB ttyACM ttyAMA ttyS usb_device dma_heap apex"
    assert sorted(values("DeviceAllow")) == sorted(f"char-{name} rw" for name in devices.split())


def test_every_secret_has_a_fallback_that_is_no_secret() -> None:
    loaded = dict(value.split(":", 1) for value in values("LoadCredential"))
    fallbacks = dict(value.split(":", 1) for value in values("SetCredential"))
    assert fallbacks == dict.fromkeys(loaded, "__unset__")
    assert all(Path(path).parent == Path("/etc/edge-agent/credentials") for path in loaded.values())


def test_sysusers_makes_the_user_that_the_unit_names(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    result = run("systemd-sysusers", f"--root={tmp_path}", FILES / "edge-agent.sysusers")
    assert result.returncode == 0, result.stderr
    user = next(line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("edge-agent:"))
    assert user.endswith(":/var/lib/edge-agent:/usr/sbin/nologin")
    members = [
        line.split(":")[0]
        for line in (tmp_path / "etc/group").read_text().splitlines()
        if "edge-agent" in line.split(":")[3]
    ]
    assert sorted(members) == sorted(values("SupplementaryGroups")[0].split())
    assert values("User") == values("Group") == ["edge-agent"]


def test_udev_rules_are_whole_and_know_coral_before_and_after_its_firmware() -> None:
    lines = [
        line for line in (FILES / "60-edge-agent.rules").read_text().splitlines() if line and not line.startswith("#")
    ]
    key = r'[A-Z]+(\{\w+\})?(==|=)"[^"]*"'
    assert all(re.fullmatch(rf"{key}(, {key})*", line) for line in lines)
    usb = {
        (vendor, product)
        for vendor, product in re.findall(r'idVendor\}=="(\w+)", ATTR\{idProduct\}=="(\w+)"', "\n".join(lines))
    }
    assert usb == {("1a6e", "089a"), ("18d1", "9302")}


@pytest.mark.skipif("verify" not in run("udevadm", "--help").stdout, reason="udevadm verify came with systemd 254")
def test_udev_accepts_the_rules() -> None:
    result = run("udevadm", "verify", "--resolve-names=never", FILES / "60-edge-agent.rules")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "usage:"),
        (["--help"], 0, "usage:"),
        (["--runtime", "onnx", "x.whl"], 1, "litert or tflite"),
        (["--purge", "x.whl"], 1, "--purge belongs to --uninstall"),
        (["--frobnicate"], 1, "unknown option"),
        (["/nonexistent.whl"], 1, "expected the agent's wheel"),
    ],
)
def test_the_installer_explains_itself_and_touches_nothing(arguments: list[str], code: int, words: str) -> None:
    result = run(FILES / "install.sh", *arguments)
    assert (result.returncode, words in result.stdout + result.stderr) == (code, True), result.stdout + result.stderr


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux is not here")
def test_the_installer_asks_for_root() -> None:
    nobody = ["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    result = run(*nobody, "bash", FILES / "install.sh", "--uninstall")
    assert result.returncode == 1
    assert "needs root" in result.stderr
