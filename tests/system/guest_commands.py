"""Run commands that come as lines of JSON over a virtio port, one after the other; installed in the virtual machine."""

import json
import os
import subprocess
import time

port = os.open("/dev/virtio-ports/commands", os.O_RDWR)


def answer(message: dict[str, object]) -> None:
    """Write a line."""
    line = json.dumps(message).encode() + b"\n"
    while line:
        line = line[os.write(port, line) :]


def run(command: str, timeout_s: float) -> tuple[int, bytes]:
    """Return exit code and output; 124 as timeout(1) does."""
    try:
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return 124, late.stdout or b""
    return done.returncode, done.stdout


answer({"ready": True})
waiting = b""
while True:
    received = os.read(port, 65536)
    if not received:  # nobody listens yet
        time.sleep(0.05)
    *lines, waiting = (waiting + received).split(b"\n")
    for line in lines:
        asked = json.loads(line)
        code, output = run(asked["command"], asked["timeout_s"])
        answer({"id": asked["id"], "code": code, "output": output.decode(errors="replace")})
