"""Ask the running agent how it is: a unix socket that answers every connection with one JSON object and hangs up.

    edge-agent status  ->  ask(path)  ->  StatusServer -> snapshot()

The server runs in a thread of its own and the snapshot is a plain dict that the agent keeps ready, so asking never
holds the agent up: a client that does not read is dropped after `_SEND_TIMEOUT_S`, others wait in the listen queue
until then. Who may ask is who may write to the socket: the service's own user and group (mode 0660).
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_agent.errors import EdgeAgentError

LOG = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 1 << 20
"""Most a client reads of one answer: a status of a hundred streams is some 100 kB."""

_MODE = 0o660
"""The socket may be used by the service's user and group."""

_SEND_TIMEOUT_S = 2.0
"""Seconds a client may leave an answer unread."""

_CONNECT_TIMEOUT_S = 0.5
"""Seconds to find out whether another agent listens: a live one is connected to by the kernel, at once."""

MAX_PATH_BYTES = 100
"""Longest path of the socket: `sun_path` holds 107 bytes (`man 7 unix`), and its name is longer until it listens."""


class StatusError(EdgeAgentError):
    """The agent could not be asked; the message says what to look at."""


class StatusServer:
    """Answers each connection with `snapshot()`; one thread, from `start` to `stop`."""

    def __init__(self, path: Path, snapshot: Callable[[], Mapping[str, object]]) -> None:
        """Take where to listen and what gives the answer; it is called in the server's thread, so it must not wait."""
        self._path = path
        self._snapshot = snapshot
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Listen; a socket that a dead agent left behind is replaced.

        Raises:
            StatusError: another agent answers there, the folder cannot be written, or the path is too long.
        """
        if len(os.fsencode(self._path)) > MAX_PATH_BYTES:
            raise StatusError(
                f"{self._path}: a socket may have {MAX_PATH_BYTES} bytes of path; choose a shorter folder"
            )
        if _answers(self._path):
            raise StatusError(
                f"another agent already answers at {self._path}: stop it, or give this one its own folder"
            )
        self._listener = _listen(self._path)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._serve, args=(self._listener,), name="status", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and remove the socket; may be called twice."""
        self._stopping.set()
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread out of accept
        if self._thread is not None:
            self._thread.join(2 * _SEND_TIMEOUT_S)
        if self._listener is not None:
            self._listener.close()
            self._path.unlink(missing_ok=True)
        self._listener = self._thread = None

    def _serve(self, listener: socket.socket) -> None:
        """Answer until stopped; whatever goes wrong with one client is over with it."""
        while not self._stopping.is_set():
            try:
                client, _ = listener.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    LOG.warning("no more status at %s: %s", self._path, error)
                return
            with client:
                self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        """Send one object; a failing snapshot is told to the client instead of a status."""
        try:
            answer = json.dumps(self._snapshot(), allow_nan=False)
        except Exception as error:
            LOG.exception("the status could not be made")
            answer = json.dumps({"error": f"the status could not be made: {error!r}"})
        client.settimeout(_SEND_TIMEOUT_S)
        with contextlib.suppress(OSError):
            client.sendall(answer.encode() + b"\n")


def ask(path: Path, timeout_s: float = 5.0) -> dict[str, object]:
    """Return the running agent's status.

    Raises:
        StatusError: it does not run, does not answer in time, may not be asked, or answers something else.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            answer = _read_all(connection)
    except OSError as error:
        raise StatusError(f"the agent cannot be asked at {path}: {_in_words(error, timeout_s)}") from error
    try:
        status = json.loads(answer)
    except ValueError as error:
        raise StatusError(
            f"{path} answered {answer[:80]!r}, expected a JSON object: is this the agent's socket?"
        ) from error
    if not isinstance(status, dict):
        raise StatusError(f"{path} answered {answer[:80]!r}, expected a JSON object: is this the agent's socket?")
    if "error" in status:
        raise StatusError(str(status["error"]))
    return status


def _read_all(connection: socket.socket) -> bytes:
    """Read until the other side hangs up, at most `MAX_ANSWER_BYTES`."""
    answer = bytearray()
    while part := connection.recv(1 << 16):
        answer += part
        if len(answer) > MAX_ANSWER_BYTES:
            raise OSError(errno.EMSGSIZE, f"an answer above {MAX_ANSWER_BYTES} bytes")
    return bytes(answer)


def _in_words(error: OSError, timeout_s: float) -> str:
    """Say what the technician should look at."""
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s; see `journalctl -u edge-agent`"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return "it does not run; see `systemctl status edge-agent`"
    if isinstance(error, PermissionError):
        return "not permitted; ask as root or as a member of the agent's group"
    return str(error)


def _answers(path: Path) -> bool:
    """Tell whether somebody listens at the path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_CONNECT_TIMEOUT_S)
        return connection.connect_ex(str(path)) in {0, errno.EAGAIN}


def _listen(path: Path) -> socket.socket:
    """Return a listening socket that replaces whatever was at the path in one step, with its mode already set."""
    fresh = path.with_name(f".{path.name}.new")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(_MODE)
        listener.listen()
        fresh.replace(path)
    except OSError as error:
        listener.close()
        raise StatusError(f"cannot listen at {path}: {error}") from error
    return listener
