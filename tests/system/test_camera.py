"""A camera of the kernel, in a virtual machine: the driver `vivid` gives a real /dev/video0 that can be unplugged."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.container import wait_for
from tests.system.roots import PROJECT, device_wheels
from tests.system.virtual_machine import VirtualMachine

INSTALL = """\
install -D /payload/config.toml /etc/edge-agent/config.toml
bash /payload/project/systemd/install.sh --camera --wheels /payload/wheels /payload/dist/*.whl
"""

SEEN_S = 240.0
"""Seconds for a scene to be learned, or a camera to be opened again, on an emulated machine; real ones take five."""

DRIVER = "/sys/bus/platform/drivers/vivid"

CONFIG = """\
device = "line-1"

[mqtt]
host = "127.0.0.1"

[streams.station.source]
kind = "camera"
device = "/dev/video0"
width = 320
height = 180
pixel_format = "YUYV"

[streams.station.camera.prefilter]
learn_frames = 20
learn_s = 4.0
"""


@pytest.fixture(scope="module")
def station(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMachine]:
    """A machine with a camera and a broker, and the agent installed as a service that watches."""
    config = tmp_path_factory.mktemp("settings") / "config.toml"
    config.write_text(CONFIG)
    payload = {
        config: "config.toml",
        **{PROJECT / name: f"project/{name}" for name in ("systemd", "requirements", "examples")},
        device_wheels("litert-camera"): "wheels",
        wheel.parent: "dist",
    }
    with VirtualMachine(payload, INSTALL) as machine:
        machine.run("modprobe vivid n_devs=1 node_types=0x1 && udevadm settle && test -c /dev/video0")
        machine.run("systemd-run --unit=broker mosquitto -p 1883")
        machine.run("systemctl restart edge-agent", timeout_s=300)
        yield machine


def state(machine: VirtualMachine) -> dict[str, Any]:
    """The retained state of the stream; empty before there is one."""
    code, output = machine.try_run("mosquitto_sub -h 127.0.0.1 -t anomalite/line-1/station/state -C 1 -W 5")
    return json.loads(output) if code == 0 else {}


def wait_until_watching(machine: VirtualMachine) -> None:
    seconds = wait_for(lambda: state(machine).get("anomaly") == "OFF", f"OFF, not {state(machine)}", SEEN_S)
    print(f"\nwatching after {seconds:.0f} s")


def test_its_frames_are_watched_under_all_of_the_service_s_restrictions(station: VirtualMachine) -> None:
    wait_until_watching(station)
    status = json.loads(station.run("edge-agent status --json"))
    assert status["counts"]["station"]["frames"] > 20
    print(f"RSS {status['rss_bytes'] / 1e6:.0f} MB, {status['streams']['station']['rate_hz']} frames/s emulated")


def test_the_check_reads_a_frame_of_it(station: VirtualMachine) -> None:
    station.run("systemctl stop edge-agent")
    report = station.run("edge-agent check")
    station.run("systemctl start edge-agent", timeout_s=180)
    assert "320 x 180" in report


def test_an_unplugged_camera_is_told_and_read_again_once_it_is_back(station: VirtualMachine) -> None:
    wait_until_watching(station)
    reopened = json.loads(station.run("edge-agent status --json"))["counts"]["station"]["reopened"]
    station.run(f"echo vivid.0 > {DRIVER}/unbind && ! test -e /dev/video0")
    wait_for(lambda: state(station).get("fault") == "no_data", "no_data", SEEN_S)
    assert "/dev/video0" in state(station)["detail"]
    station.run(f"echo vivid.0 > {DRIVER}/bind && udevadm settle && test -c /dev/video0")
    wait_until_watching(station)
    assert json.loads(station.run("edge-agent status --json"))["counts"]["station"]["reopened"] > reopened


def test_a_camera_that_stops_giving_frames_is_told_and_heals(station: VirtualMachine) -> None:
    wait_until_watching(station)
    station.run("v4l2-ctl -d /dev/video0 -c disconnect=1")
    wait_for(lambda: state(station).get("fault") == "no_data", "no_data", SEEN_S)
    station.run(f"echo vivid.0 > {DRIVER}/unbind; echo vivid.0 > {DRIVER}/bind; udevadm settle")
    wait_until_watching(station)
