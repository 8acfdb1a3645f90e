import contextlib
import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.health import status
from edge_agent.health.status import MAX_ANSWER_BYTES, StatusError, StatusServer, ask

Snapshot = Callable[[], dict[str, object]]
Serve = Callable[[Snapshot], StatusServer]
Impostor = Callable[[bytes], threading.Thread]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "status.sock"


@pytest.fixture
def serve(path: Path) -> Iterator[Serve]:
    servers: list[StatusServer] = []

    def start(snapshot: Snapshot) -> StatusServer:
        servers.append(StatusServer(path, snapshot))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def impostor(path: Path) -> Iterator[Impostor]:
    """Listens at the path in the agent's place and gives one fixed answer."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def answer_once(answer: bytes) -> threading.Thread:
        def serve_one() -> None:
            client, _ = listener.accept()
            with client, contextlib.suppress(BrokenPipeError):
                client.sendall(answer)

        thread = threading.Thread(target=serve_one, daemon=True)
        thread.start()
        return thread

    yield answer_once
    listener.close()


def test_each_question_gets_the_snapshot_of_its_time(path: Path, serve: Serve) -> None:
    readings = iter(range(10))
    serve(lambda: {"readings": next(readings)})
    assert [ask(path)["readings"] for _ in range(3)] == [0, 1, 2]


def test_only_the_service_and_its_group_may_ask(path: Path, serve: Serve) -> None:
    serve(dict)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_socket_left_by_a_killed_agent_is_replaced(path: Path, serve: Serve) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(path))
    serve(lambda: {"alive": True})
    assert ask(path) == {"alive": True}


def test_a_second_agent_does_not_take_the_socket_of_a_running_one(path: Path, serve: Serve) -> None:
    serve(lambda: {"first": True})
    with pytest.raises(StatusError, match="another agent already answers"):
        StatusServer(path, dict).start()
    assert ask(path) == {"first": True}


def test_stop_removes_the_socket_and_may_be_called_twice(path: Path, serve: Serve) -> None:
    server = serve(dict)
    server.stop()
    server.stop()
    assert not path.exists()


def test_a_stopped_server_starts_again(path: Path, serve: Serve) -> None:
    server = serve(lambda: {"n": 1})
    server.stop()
    server.start()
    assert ask(path) == {"n": 1}


@pytest.mark.parametrize("broken", [{"level": float("nan")}, {"level": object()}])
def test_a_snapshot_that_is_no_json_is_told_to_the_one_who_asks(
    path: Path, serve: Serve, broken: dict[str, object]
) -> None:
    serve(lambda: broken)
    with pytest.raises(StatusError, match="could not be made"):
        ask(path)


def test_a_failing_snapshot_does_not_end_the_server(path: Path, serve: Serve) -> None:
    answers = [1, 0]
    serve(lambda: {"share": 1 / answers.pop()})
    with pytest.raises(StatusError, match="ZeroDivisionError"):
        ask(path)
    assert ask(path) == {"share": 1}


def test_a_client_that_never_reads_is_dropped_and_the_next_is_answered(
    path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_SEND_TIMEOUT_S", 0.05)
    serve(lambda: {"filler": "x" * 900_000})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.connect(str(path))
        assert len(str(ask(path, timeout_s=10)["filler"])) == 900_000


def test_a_client_that_hangs_up_at_once_harms_nobody(path: Path, serve: Serve) -> None:
    serve(lambda: {"alive": True})
    for _ in range(5):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hasty:
            hasty.connect(str(path))
    assert ask(path) == {"alive": True}


def test_without_an_agent_the_error_says_so(path: Path) -> None:
    with pytest.raises(StatusError, match="does not run"):
        ask(path)


def test_a_dead_agents_socket_says_that_it_does_not_run(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(path))
    with pytest.raises(StatusError, match="does not run"):
        ask(path)


def test_an_agent_that_does_not_answer_is_not_waited_for(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(StatusError, match=r"no answer within 0\.05 s"):
            ask(path, timeout_s=0.05)


@pytest.mark.parametrize("answer", [b"", b"hello", b"[1, 2]", b"\xff\xfe"])
def test_an_answer_that_is_not_the_agents_is_named(path: Path, impostor: Impostor, answer: bytes) -> None:
    thread = impostor(answer)
    with pytest.raises(StatusError, match="is this the agent's socket"):
        ask(path)
    thread.join(5)


def test_an_endless_answer_is_cut(path: Path, impostor: Impostor) -> None:
    impostor(json.dumps("x" * 2 * MAX_ANSWER_BYTES).encode())
    with pytest.raises(StatusError, match="above"):
        ask(path)


def test_a_path_too_long_for_a_socket_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match="choose a shorter folder"):
        StatusServer(tmp_path / ("x" * 120), dict).start()


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(StatusError, match="cannot listen at"):
        StatusServer(Path("/nonexistent/status.sock"), dict).start()
