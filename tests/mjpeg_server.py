"""A network camera on loopback: MJPEG over HTTP, as cheap cameras give it, that stalls, hangs up and comes back."""

from __future__ import annotations

import base64
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PERIOD_S = 0.02
"""Time between frames."""


class MjpegServer:
    """Gives each connection the pictures again and again, until told otherwise.

    Args:
        pictures: JPEG files; anything else is a camera that sends rubbish.
        password: asked for, with any user name, where it is not empty.
    """

    def __init__(self, pictures: list[bytes], password: str = "") -> None:
        self.pictures, self.password = pictures, password
        self.connections = 0
        self.sent = 0
        self.stalled = threading.Event()
        """Set: connections stay open and nothing is sent."""
        self.ended = threading.Event()
        """Set: connections are closed after their next picture."""
        self._stopping = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/stream.mjpg"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        self.connections += 1
        if self.password and not self._knows(request.headers.get("Authorization", "")):
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="camera"')
            request.end_headers()
            return
        try:
            request.send_response(200)
            request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            request.end_headers()
            self._stream(request)
        except OSError:
            pass

    def _stream(self, request: BaseHTTPRequestHandler) -> None:
        i = 0
        while not self._stopping.wait(PERIOD_S):
            if self.stalled.is_set():
                continue
            picture = self.pictures[i % len(self.pictures)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            request.wfile.write(head.encode() + picture + b"\r\n")
            i += 1
            self.sent += 1
            if self.ended.is_set():
                return

    def _knows(self, authorization: str) -> bool:
        given = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        return given.partition(":")[2] == self.password

    def close(self) -> None:
        """Hang up and stop."""
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
