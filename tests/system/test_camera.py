"""A camera of the kernel, in a virtual machine: the driver `vivid` gives a real /dev/video0 that can be unplugged.

It shows colour bars, with a clock in the upper left that it draws itself, and does to them what it is asked: another
picture, a square before it, other light, errors of the driver.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

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
TOPIC = "anomalite/line-1/station"
HEARD = "/root/heard"
"""Where the machine's listener writes states and events as they come, a line of JSON each."""

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
rule = { hold_off_s = 3.0 }

[streams.station.camera.localisation]
masks = [[[0.0, 0.0], [0.6, 0.0], [0.6, 0.2], [0.0, 0.2]]]     # the clock
"""

CLOCK_ALONE = "osd_text_mode=1"
"""Of all that the driver writes into its picture, the clock: without it the picture would be frozen."""
USUAL = f"{CLOCK_ALONE},test_pattern=0,show_square=0,contrast=128,saturation=128"


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
        machine.run("systemctl stop edge-agent", timeout_s=300)
        machine.run("modprobe vivid n_devs=1 node_types=0x1 && udevadm settle && test -c /dev/video0")
        control(machine, CLOCK_ALONE)
        machine.run("systemd-run --unit=broker mosquitto -p 1883")
        ready = "mosquitto_pub -h 127.0.0.1 -t ready -n"
        wait_for(lambda: machine.try_run(ready)[0] == 0, "the broker", SEEN_S)
        machine.run(
            f"systemd-run --unit=listener --property=StandardOutput=append:{HEARD} "
            f"mosquitto_sub -h 127.0.0.1 -q 1 -t {TOPIC}/state -t {TOPIC}/event"
        )
        machine.run("systemctl start edge-agent", timeout_s=300)
        yield machine


@pytest.fixture(autouse=True)
def usual_picture(station: VirtualMachine) -> Iterator[None]:
    """Leave the camera as it was, whatever a test did to it."""
    yield
    station.try_run(f"v4l2-ctl -d /dev/video0 -c {USUAL}")


def control(machine: VirtualMachine, settings: str) -> None:
    """Set controls of the driver, such as `brightness=0,contrast=128`."""
    machine.run(f"v4l2-ctl -d /dev/video0 -c {settings}")


def state(machine: VirtualMachine) -> dict[str, Any]:
    """The retained state of the stream; empty before there is one."""
    code, output = machine.try_run(f"mosquitto_sub -h 127.0.0.1 -t {TOPIC}/state -C 1 -W 5")
    return json.loads(output) if code == 0 else {}


def heard(machine: VirtualMachine, begin: int = 0) -> list[dict[str, Any]]:
    """States and events from a line on, as they came."""
    lines = machine.run(f"tail -n +{begin + 1} {HEARD}").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def opened(machine: VirtualMachine, begin: int) -> list[dict[str, Any]]:
    """Events that opened since, each once."""
    return list({each["id"]: each for each in heard(machine, begin) if each.get("life") == "open"}.values())


def picture(machine: VirtualMachine, kind: str) -> tuple[str, NDArray[np.uint8]]:
    """The retained `image` or `heatmap`: the id of its event, and its pixels as uint8 [H, W, 3] BGR."""
    words = machine.run(f"mosquitto_sub -h 127.0.0.1 -V mqttv5 -t {TOPIC}/{kind} -C 1 -W 60 -F '%P %x'").split()
    decoded = cv2.imdecode(np.frombuffer(bytes.fromhex(words[-1]), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.dtype == np.uint8
    return words[0].removeprefix("event_id:"), decoded.astype(np.uint8)


def wait_until_watching(machine: VirtualMachine) -> int:
    """Wait until all is well and no event is open; return how many lines were heard until then."""
    lines: list[dict[str, Any]] = []

    def quiet() -> bool:
        lines[:] = heard(machine)
        ended = {each["id"] for each in lines if each.get("life") == "close"}
        still_open = {each["id"] for each in lines if each.get("life") == "open"} - ended
        return not still_open and state(machine).get("anomaly") == "OFF"

    seconds = wait_for(quiet, "OFF and no open event", SEEN_S)
    print(f"\nwatching after {seconds:.0f} s")
    return len(lines)


def wait_for_fault(machine: VirtualMachine, fault: str, detail: str = "") -> None:
    """Wait for a state that says so."""

    def told() -> bool:
        now = state(machine)
        return now.get("fault") == fault and str(now["detail"]).startswith(detail)

    seconds = wait_for(told, f"{fault} {detail}", SEEN_S)
    print(f"{fault} {detail} after {seconds:.0f} s")


def test_its_frames_are_watched_under_all_of_the_service_s_restrictions(station: VirtualMachine) -> None:
    wait_until_watching(station)
    status = json.loads(station.run("edge-agent status --json"))
    assert status["counts"]["station"]["frames"] > 20
    print(f"RSS {status['rss_bytes'] / 1e6:.0f} MB, {status['streams']['station']['rate_hz']} frames/s emulated")


def test_the_check_reads_a_frame_of_it_in_colour_and_in_grey(station: VirtualMachine) -> None:
    station.run("systemctl stop edge-agent")
    colour = station.run("edge-agent check")
    station.run("sed s/YUYV/GREY/ /etc/edge-agent/config.toml > /run/grey.toml")
    grey = station.run("edge-agent check --config /run/grey.toml")
    station.run("systemctl start edge-agent", timeout_s=180)
    assert "320 x 180" in colour
    assert "320 x 180" in grey


def test_a_thing_before_it_is_one_alert_with_its_very_frame_and_its_heatmap(station: VirtualMachine) -> None:
    begin = wait_until_watching(station)
    control(station, "show_square=1")
    wait_for(lambda: bool(opened(station, begin)) and state(station)["anomaly"] == "ON", "an alert, and ON", SEEN_S)
    pictures = {kind: picture(station, kind) for kind in ("image", "heatmap")}
    control(station, "show_square=0")
    wait_until_watching(station)
    (alert,) = opened(station, begin)
    assert (alert["event_type"], alert["stage"], alert["grade"]) == ("anomaly", "prefilter", "provisional")
    region = alert["region"]
    assert region["x"] < 0.5 < region["x"] + region["w"]
    assert region["y"] < 0.5 < region["y"] + region["h"]
    assert {id_ for id_, _ in pictures.values()} == {alert["id"]}
    image, heatmap = (pixels for _, pixels in pictures.values())
    assert image.shape == heatmap.shape == (180, 320, 3)
    assert np.abs(image[90, 160].astype(int) - (0, 255, 0)).max() < 24, "the driver's square is green"
    assert heatmap[90, 160].max() > 128, "it is strange"
    assert heatmap[90, 10].max() < 24, "the first bar is not"
    closed = [each for each in heard(station, begin) if each.get("life") == "close"]
    assert [(each["event_type"], each["id"]) for each in closed] == [("anomaly_cleared", alert["id"])]


def test_another_picture_is_another_scene_and_no_anomaly_and_heals(station: VirtualMachine) -> None:
    begin = wait_until_watching(station)
    for pattern in (8, 0):  # all green, colour bars again
        control(station, f"test_pattern={pattern}")
        wait_for_fault(station, "scene")
        wait_until_watching(station)
    assert [each["event_type"] for each in opened(station, begin)] == ["scene_changed"] * 2
    told = {(each["anomaly"], each["fault"]) for each in heard(station, begin) if "anomaly" in each}
    assert told == {("OFF", None), (None, "scene")}


@pytest.mark.parametrize(
    ("fault", "done", "undone"),
    [
        ("frozen", "osd_text_mode=2", CLOCK_ALONE),
        ("covered", "osd_text_mode=2,test_pattern=8", f"{CLOCK_ALONE},test_pattern=0"),
    ],
)
def test_an_ill_camera_raises_its_own_state_and_no_anomaly_and_heals(
    station: VirtualMachine, fault: str, done: str, undone: str
) -> None:
    begin = wait_until_watching(station)
    control(station, done)
    wait_for_fault(station, "camera", fault)
    control(station, undone)
    wait_until_watching(station)
    assert [(each["event_type"], each["fault"]) for each in opened(station, begin)] == [("sensor_fault", "camera")]


def test_light_off_is_dark_and_on_again_at_another_level_a_scene_that_heals(station: VirtualMachine) -> None:
    begin = wait_until_watching(station)
    control(station, "contrast=8,saturation=8")  # of 128: a sixteenth of the light
    wait_for_fault(station, "camera", "dark")
    control(station, "contrast=64,saturation=64")
    wait_for_fault(station, "scene")
    wait_until_watching(station)
    control(station, "contrast=128,saturation=128")
    wait_for_fault(station, "scene")
    wait_until_watching(station)
    kinds = [each["event_type"] for each in opened(station, begin)]
    assert kinds == ["sensor_fault", "scene_changed", "scene_changed"]


def test_a_driver_that_fails_is_told_and_the_camera_opened_anew(station: VirtualMachine) -> None:
    begin = wait_until_watching(station)
    control(station, "inject_fatal_streaming_error=1")
    wait_for_fault(station, "no_data", "/dev/video0 gave no frame")
    wait_until_watching(station)
    assert [each["event_type"] for each in opened(station, begin)] == ["sensor_fault"]


def test_an_unplugged_camera_is_told_and_read_again_once_it_is_back(station: VirtualMachine) -> None:
    wait_until_watching(station)
    reopened = json.loads(station.run("edge-agent status --json"))["counts"]["station"]["reopened"]
    station.run(f"echo vivid.0 > {DRIVER}/unbind && ! test -e /dev/video0")
    wait_for_fault(station, "no_data")
    assert "/dev/video0" in state(station)["detail"]
    plug_in(station)
    wait_until_watching(station)
    assert json.loads(station.run("edge-agent status --json"))["counts"]["station"]["reopened"] > reopened


def test_a_camera_that_stops_giving_frames_is_told_and_heals(station: VirtualMachine) -> None:
    wait_until_watching(station)
    control(station, "disconnect=1")
    wait_for_fault(station, "no_data")
    station.run(f"echo vivid.0 > {DRIVER}/unbind")
    plug_in(station)
    wait_until_watching(station)


def plug_in(machine: VirtualMachine) -> None:
    """Give the driver its device again; its controls are as at first then."""
    machine.run(f"echo vivid.0 > {DRIVER}/bind && udevadm settle && v4l2-ctl -d /dev/video0 -c {CLOCK_ALONE}")
