import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.health.notify import notify, watchdog_s

Receiver = tuple[socket.socket, dict[str, str]]


@pytest.fixture(params=["path", "abstract"])
def service_manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    path = str(tmp_path / "notify") if request.param == "path" else f"@edge-agent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        receiver.settimeout(5)
        yield receiver, {"NOTIFY_SOCKET": path}


def test_fields_arrive_as_lines_of_one_datagram(service_manager: Receiver) -> None:
    receiver, environ = service_manager
    assert notify(environ, READY=1, STATUS="2 streams")
    assert receiver.recv(4096) == b"READY=1\nSTATUS=2 streams"


def test_a_line_break_in_a_value_cannot_begin_another_field(service_manager: Receiver) -> None:
    receiver, environ = service_manager
    notify(environ, STATUS="port gone\nWATCHDOG=1\r\nREADY=1")
    assert receiver.recv(4096) == b"STATUS=port gone WATCHDOG=1 READY=1"


def test_outside_systemd_nothing_is_sent() -> None:
    assert not notify({}, READY=1)


def test_a_missing_receiver_is_logged_and_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert not notify({"NOTIFY_SOCKET": str(tmp_path / "gone")}, WATCHDOG=1)
    assert "WATCHDOG=1" in caplog.text


def test_the_environment_is_read_when_none_is_given(service_manager: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver, environ = service_manager
    monkeypatch.setenv("NOTIFY_SOCKET", environ["NOTIFY_SOCKET"])
    assert notify(STOPPING=1)
    assert receiver.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_period_is_what_systemd_set_for_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_s(environ) == seconds
