"""The agent as a service of a real systemd: installed, supervised, restarted, stopped, removed."""

import json
from collections.abc import Iterator

import pytest

from tests.system.conftest import CONFIG, INSTALL
from tests.system.container import Container, wait_for

READY_S = 30.0
"""Seconds for the service to be ready; it needs about one."""


@pytest.fixture
def service(installed: Container) -> Iterator[Container]:
    """The running service; whatever a test did to it is undone."""
    installed.run("systemctl restart edge-agent", timeout_s=90)
    yield installed
    installed.try_run("pkill -CONT -u edge-agent")
    installed.write("/etc/edge-agent/config.toml", CONFIG)


def main_pid(machine: Container) -> int:
    return int(machine.show("MainPID"))


def restarts(machine: Container) -> int:
    return int(machine.show("NRestarts"))


def wait_for_restart(machine: Container, before: int, timeout_s: float) -> float:
    """Wait until the service is ready again with a new process."""
    return wait_for(
        lambda: machine.show("ActiveState") == "active" and main_pid(machine) not in {0, before}, "a restart", timeout_s
    )


def test_the_example_settings_are_installed_but_not_started(machine: Container) -> None:
    output = machine.run(INSTALL, timeout_s=300)
    assert "next: edit /etc/edge-agent/config.toml" in output
    assert machine.try_run("systemctl is-enabled edge-agent")[1].strip() == "disabled"
    machine.run("rm /etc/edge-agent/config.toml")


def test_the_service_is_ready_and_answers(service: Container) -> None:
    assert service.show("ActiveState") == "active"
    assert service.show("StatusText").startswith("pump")
    status = json.loads(service.try_run("edge-agent status --json")[1])
    assert status["device"] == "pump-house"
    print(f"\nready; RSS {status['rss_bytes'] / 1e6:.0f} MB")


def test_it_runs_as_its_own_user_in_its_own_folders(service: Container) -> None:
    assert service.run(f"stat -c %U /proc/{main_pid(service)}") == "edge-agent"
    groups = service.run(f"getent group $(grep ^Groups: /proc/{main_pid(service)}/status | cut -f2)")
    assert {line.split(":")[0] for line in groups.splitlines()} >= {"dialout", "video", "plugdev"}
    assert service.run("stat -c '%U %a' /var/lib/edge-agent /run/edge-agent").splitlines() == ["edge-agent 750"] * 2
    assert service.run("stat -c %a /run/edge-agent/status.sock") == "660"


def test_a_second_installation_changes_no_file_and_the_service_runs_on(service: Container) -> None:
    output = service.run(INSTALL, timeout_s=300)
    assert "wrote" not in output
    assert "the service runs" in output
    assert len(service.run("ls -d /opt/edge-agent-*").splitlines()) == 1


def test_a_hung_agent_is_killed_by_the_watchdog_and_comes_back(service: Container) -> None:
    pid = main_pid(service)
    service.run(f"kill -STOP {pid}")
    took = wait_for_restart(service, pid, timeout_s=60)
    journal = service.run(f"journalctl --unit edge-agent --output cat --since -{took + 10:.0f}s")
    assert "Watchdog timeout" in journal
    assert "most recent call first" in journal  # the journal says where each thread stood
    print(f"\nhung, killed and ready again in {took:.1f} s (watchdog 5 s)")


def test_killed_eight_times_in_a_row_it_still_comes_back(service: Container) -> None:
    for _ in range(8):
        pid = main_pid(service)
        service.run(f"kill -KILL {pid}")
        wait_for_restart(service, pid, READY_S)


def test_settings_that_cannot_be_used_end_it_for_good(service: Container) -> None:
    service.write("/etc/edge-agent/config.toml", CONFIG + "sped = 1\n")
    service.try_run("systemctl restart edge-agent")
    wait_for(lambda: service.show("ActiveState") == "failed", "the service to give up", READY_S)
    assert service.show("ExecMainStatus") == "78"
    assert restarts(service) == 0
    assert "did you mean speed?" in service.run("journalctl --unit edge-agent --output cat | tail -n 20")


def test_the_installer_leaves_a_service_alone_whose_settings_are_wrong(service: Container) -> None:
    pid = main_pid(service)
    service.write("/etc/edge-agent/config.toml", CONFIG + "sped = 1\n")
    code, output = service.try_run(INSTALL, timeout_s=300)
    assert (code, "did you mean speed?" in output) == (1, True)
    assert main_pid(service) == pid


def test_sigterm_stops_it_cleanly_within_seconds(service: Container) -> None:
    service.run("systemctl stop --no-block edge-agent")
    took = wait_for(lambda: service.show("ActiveState") == "inactive", "a clean stop", 15)
    assert service.show("Result") == "success"
    assert service.show("ExecMainStatus") == "0"
    print(f"\nstopped in {took:.1f} s")


def test_a_missing_secret_does_not_keep_it_from_starting(service: Container) -> None:
    service.run("test ! -e /etc/edge-agent/credentials/mqtt-password")
    assert service.show("ActiveState") == "active"


def test_a_broker_that_comes_late_is_found(service: Container) -> None:
    service.run("systemd-run --unit=broker --collect mosquitto -p 1883")
    listen = "mosquitto_sub -h 127.0.0.1 -t anomalite/pump-house/state -C 1 -W 60"
    try:
        wait_for(lambda: service.try_run("mosquitto_pub -h 127.0.0.1 -t up -m 1")[0] == 0, "the broker", READY_S)
        assert service.run(listen, timeout_s=70) == "online"
    finally:
        service.try_run("systemctl stop broker")


def test_uninstall_keeps_settings_and_state_and_purge_removes_them(installed: Container) -> None:
    installed.run("bash /project/systemd/install.sh --uninstall")
    installed.run("test -e /etc/edge-agent/config.toml -a -d /var/lib/edge-agent")
    assert installed.try_run("ls -d /opt/edge-agent* /usr/local/bin/edge-agent")[1].count("No such file") == 2
    assert (
        installed.show("LoadState") == "not-found" or installed.run("ls /etc/systemd/system") == "edge-agent.service.d"
    )
    installed.run("bash /project/systemd/install.sh --uninstall --purge")
    assert installed.try_run("ls -d /etc/edge-agent /var/lib/edge-agent; getent passwd edge-agent")[0] != 0
