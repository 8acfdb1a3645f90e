"""The device of a demonstration: commands that are shown before they run, and an agent between broker and subscriber.

What the agent keeps, evidence included, stays in `agent-state` beside its settings, to be looked at later.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.experiments.broker import Broker

STOP_S = 20.0
"""Longest wait for the agent to come online, to decide what is left, and to end, seconds."""


def command(module: str, *arguments: str | Path) -> None:
    """Print a command as the user would type it, and run it; a failure ends the demonstration with its exit code.

    Args:
        module: that is run; `edge_agent` is typed as `edge-agent`.
        arguments: of the command.
    """
    words = [str(argument) for argument in arguments]
    typed = ["edge-agent"] if module == "edge_agent" else ["python", "-m", module]
    print(f"$ {shlex.join([*typed, *words])}", flush=True)
    ended = subprocess.run([sys.executable, "-m", module, *words], check=False, stdin=subprocess.DEVNULL)
    if ended.returncode < 0:
        raise SystemExit(f"ended by {signal.Signals(-ended.returncode).name}: was there too little memory?")
    if ended.returncode:
        raise SystemExit(ended.returncode)
    print(flush=True)


def write_settings(path: Path, broker: Broker, streams: str) -> Path:
    """Write the settings of an agent that knows nothing yet; return their file.

    Args:
        path: of the file; what the agent keeps goes beside it.
        broker: to report to.
        streams: the tables of the streams, TOML.
    """
    state = path.with_name("agent-state")
    shutil.rmtree(state, ignore_errors=True)
    path.write_text(
        f"""\
device = "demo"
state_dir = {json.dumps(str(state.absolute()))}

[mqtt]
host = "127.0.0.1"
port = {broker.port}
protocol = "{broker.protocol}"

{streams}""",
        encoding="utf-8",
    )
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningAgent:
    """`edge-agent run` as a process of its own."""

    process: subprocess.Popen[bytes]
    settings: Path
    environment: dict[str, str]

    def wait_end(self, seconds: float) -> None:
        """Wait until the agent has ended by itself, as it does when its source has; a failure ends the demonstration.

        Args:
            seconds: that the source takes.
        """
        try:
            code = self.process.wait(seconds + STOP_S)
        except subprocess.TimeoutExpired:
            raise SystemExit(
                f"the agent still runs {STOP_S:.0f} s after its source should have ended; see agent.log"
            ) from None
        if code:
            raise SystemExit(f"the agent ended with code {code}; see agent.log")

    def status(self) -> dict[str, Any]:
        """What `edge-agent status` says; empty while it does not answer."""
        words = [sys.executable, "-m", "edge_agent", "status", "--json", "--config", str(self.settings)]
        answer = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL, env=self.environment)
        try:
            return dict(json.loads(answer.stdout))
        except ValueError:
            return {}


@contextmanager
def running_agent(settings: Path) -> Iterator[RunningAgent]:
    """Run the agent, with its log in `agent.log` beside the settings; at the end stop it, unless it has ended."""
    print(f"$ edge-agent run --config {settings}", flush=True)
    with (
        settings.with_name("agent.log").open("wb") as log,
        tempfile.TemporaryDirectory(prefix="anomalite-") as sockets,  # the path of a socket must be short
    ):
        environment = os.environ | {"RUNTIME_DIRECTORY": sockets}
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", "--config", str(settings)],
            stdin=subprocess.DEVNULL,
            stderr=log,
            env=environment,
        )
        try:
            yield RunningAgent(process=process, settings=settings, environment=environment)
        finally:
            process.terminate()
            process.wait(STOP_S)
