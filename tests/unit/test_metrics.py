import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent.contract.records import NS
from edge_agent.health import metrics
from edge_agent.health.clock import HOLDOVER_S, Chrony, ClockState, clock_state
from edge_agent.health.metrics import Machine

UTC_S = 1_800_000_000.0


def no_chrony(command: Sequence[str]) -> str:
    raise FileNotFoundError(command[0])


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "proc/self/statm", "20000 9000 3000 1 0 5000 0\n")
    return tmp_path


@pytest.fixture
def machine(root: Path) -> Machine:
    return Machine(root, started_ns=5 * NS, root=root, chrony=Chrony(no_chrony))


def test_a_bare_container_measures_what_it_has_and_none_for_the_rest(machine: Machine) -> None:
    seen = machine.measure(65 * NS, int(UTC_S * NS))
    assert seen.uptime_s == 60
    assert seen.rss_bytes == 9000 * os.sysconf("SC_PAGE_SIZE")
    assert (seen.temperature_c, seen.throttled, seen.cpu_share) == (None, None, None)
    assert seen.disk_free_bytes > 0
    assert seen.disk_read_only is False
    assert seen.to_dict()["clock"] == "unsynced"


def test_the_hottest_zone_counts_and_a_silent_one_is_passed_over(root: Path) -> None:
    write(root, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    write(root, "sys/class/thermal/thermal_zone1/temp", "61850\n")
    write(root, "sys/class/thermal/thermal_zone2/temp", "")
    assert metrics.temperature_c(root) == 61.85


@pytest.mark.parametrize(
    ("bits", "words"), [("0x0", ""), ("50005", "under_voltage,throttled"), ("0x80008", "soft_temperature_limit")]
)
def test_the_firmware_says_what_slows_the_processor_now(root: Path, bits: str, words: str) -> None:
    write(root, "sys/devices/platform/soc/soc:firmware/get_throttled", bits)
    assert metrics.throttled(root) == words


@pytest.mark.parametrize(("alarm", "words"), [("0", ""), ("1", "under_voltage")])
def test_the_voltage_sensor_speaks_where_the_firmware_does_not(root: Path, alarm: str, words: str) -> None:
    write(root, "sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1")
    write(root, "sys/class/hwmon/hwmon0/name", "other_sensor")
    write(root, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", alarm)
    write(root, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    assert metrics.throttled(root) == words


def test_the_cpu_share_is_cpu_time_a_second_since_the_last_look(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = iter([2.0, 2.5])
    monkeypatch.setattr(metrics.time, "process_time", lambda: next(used))
    machine.measure(10 * NS, 0)
    assert machine.measure(20 * NS, 0).cpu_share == 0.05


def test_a_folder_that_cannot_be_asked_is_none_not_full(tmp_path: Path) -> None:
    assert metrics.disk(tmp_path / "gone") == (None, None)


def test_a_read_only_file_system_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class ReadOnly:
        f_flag = os.ST_RDONLY | os.ST_NOSUID

    monkeypatch.setattr(metrics.os, "statvfs", lambda _: ReadOnly())
    monkeypatch.setattr(metrics.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 7}))
    assert metrics.disk(Path("/")) == (7, True)


@pytest.mark.parametrize(
    ("age_s", "state"),
    [
        (1, ClockState.SYNCED),
        (HOLDOVER_S - 1, ClockState.SYNCED),
        (HOLDOVER_S + 1, ClockState.HOLDOVER),
        (-HOLDOVER_S - 1, ClockState.HOLDOVER),  # the clock was set back behind timesyncd's back
    ],
)
def test_timesyncd_is_judged_by_its_last_poll(root: Path, age_s: float, state: ClockState) -> None:
    write(root, "run/systemd/timesync/synchronized", "")
    os.utime(root / "run/systemd/timesync/synchronized", (UTC_S - age_s, UTC_S - age_s))
    assert clock_state(root, UTC_S, Chrony(no_chrony)) is state


def tracking(last_s: float, leap: str) -> str:
    return f"A29FC87B,162.159.200.123,4,{last_s:.6f},0.0001,0.0002,0.0003,-12.5,0.001,0.02,0.01,0.001,64.4,{leap}\n"


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (tracking(UTC_S - 60, "Normal"), ClockState.SYNCED),
        (tracking(UTC_S - 86400, "Normal"), ClockState.HOLDOVER),
        (tracking(0, "Not synchronised"), ClockState.UNSYNCED),
        ("506 Cannot talk to daemon\n", ClockState.UNSYNCED),
        ("a,b,c,d,e,f,g,h,i,j,k,l,m,Normal", ClockState.UNSYNCED),
    ],
)
def test_chrony_is_judged_by_its_last_update(root: Path, answer: object, state: ClockState) -> None:
    (root / "run/chrony").mkdir(parents=True)
    assert clock_state(root, UTC_S, Chrony(lambda _: answer)) is state


def test_a_chronyc_that_hangs_leaves_the_clock_unsynced(root: Path) -> None:
    def hangs(command: Sequence[str]) -> str:
        raise subprocess.TimeoutExpired(command, 2)

    (root / "run/chrony").mkdir(parents=True)
    assert clock_state(root, UTC_S, Chrony(hangs)) is ClockState.UNSYNCED


def test_chronyc_is_not_run_on_a_machine_without_chrony(root: Path) -> None:
    chrony = Chrony(lambda _: pytest.fail("chronyc was run"))
    assert clock_state(root, UTC_S, chrony) is ClockState.UNSYNCED


def test_this_machine_can_be_measured(tmp_path: Path) -> None:
    seen = Machine(tmp_path, started_ns=0).measure(NS, int(UTC_S * NS))
    assert 1 << 20 < seen.rss_bytes < 1 << 36
