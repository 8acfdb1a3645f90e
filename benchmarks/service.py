"""What the running agent costs: `python -m benchmarks.service`.

Import, start-up until READY, memory, time from decision to commit, and 10 kHz x 3 channels through a pseudo-terminal.
"""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bundles import FAST_HZ, FAST_STRIDE, FAST_WINDOW, fast_bundle, pump_bundle, vibration
from benchmarks.figures import Figure, main
from edge_agent.alerts.outbox import Outbox
from edge_agent.alerts.settings import OutboxSettings
from edge_agent.clock import SystemClock
from edge_agent.contract.records import EventKind, Life
from edge_agent.contract.wire import ClockState, EventPayload, Severity, utc_text
from edge_agent.sources.binary import encode_frame

STARTS = 5
"""Starts whose median is told: one takes some seconds."""

COMMITS = 400
"""Alerts committed, enough for a 99th percentile."""

FRAME_ROWS = 500
"""Readings of one binary frame: 20 frames a second at 10 kHz."""

FAST_SECONDS = 10
"""Seconds of 10 kHz readings that are fed: the share of a core is steady after a few."""


def import_figure() -> Figure:
    """Measure the import of everything the agent runs, in fresh processes."""
    words = [
        sys.executable,
        "-c",
        "import time; a = time.perf_counter(); import edge_agent.agent; print(time.perf_counter() - a)",
    ]
    taken = [float(subprocess.run(words, capture_output=True, text=True, check=True).stdout) for _ in range(STARTS)]
    return Figure("import edge_agent.agent", float(np.median(taken)), "s")


def serial(port: str, format_of_lines: str) -> str:
    """Return the settings of a serial port."""
    return f'kind = "serial"\nport = "{port}"\n{format_of_lines}'


@contextmanager
def running_agent(bundle: Path, source: str) -> Iterator[tuple[float, dict[str, Any], Path]]:
    """Run the agent with a bundle and a source; gives the seconds until READY, its status then, and its settings."""
    with tempfile.TemporaryDirectory(prefix="anomalite-") as name:
        folder = Path(name)
        config = folder / "config.toml"
        config.write_text(
            f'device = "bench"\nstate_dir = "{folder}"\n[streams.bench]\nbundle = "{bundle.resolve()}"\n'
            f"[streams.bench.source]\n{source}\n",
            encoding="utf-8",
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(folder / "notify"))
            notify.settimeout(30)
            begin = time.perf_counter()
            agent = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "run", "--config", str(config)],
                env=os.environ | {"NOTIFY_SOCKET": str(folder / "notify")},
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                while b"READY=1" not in notify.recv(4096):
                    pass
                yield time.perf_counter() - begin, status(config), config
            finally:
                agent.terminate()
                agent.wait(30)


def status(config: Path) -> dict[str, Any]:
    """Ask the running agent."""
    words = [sys.executable, "-m", "edge_agent", "status", "--json", "--config", str(config)]
    found: dict[str, Any] = json.loads(subprocess.run(words, capture_output=True, text=True, check=False).stdout)
    return found


def start_figures() -> list[Figure]:
    """Measure start-up and memory with the convolutional autoencoder and LiteRT loaded."""
    bundle = pump_bundle("conv_autoencoder")
    master, slave = pty.openpty()
    tty.setraw(slave)
    seconds, memory = [], []
    for _ in range(STARTS):
        with running_agent(bundle, serial(os.ttyname(slave), 'time_column = "time"')) as (ready_s, now, _):
            seconds.append(ready_s)
            memory.append(now["rss_bytes"] / 1e6)
    os.close(master)
    os.close(slave)
    return [
        Figure("from process start to READY", float(np.median(seconds)), "s", 1.5),
        Figure("memory of the agent (RSS), conv_autoencoder, LiteRT", float(np.median(memory)), "MB", 90.0),
    ]


def commit_figures() -> list[Figure]:
    """Measure the time from decision to commit on this disk."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="anomalite-", dir=".") as folder:
        outbox = Outbox(Path(folder) / "outbox.db", OutboxSettings(), clock, device="bench", streams=("bench",))
        for number in range(COMMITS):
            event = EventPayload(
                event_type=EventKind.ANOMALY,
                life=Life.OPEN,
                id=f"event-{number}",
                device="bench",
                stream="bench",
                time=utc_text(clock.now_ns()),
                clock=ClockState.UNSYNCED,
                boot_id="",
                severity=Severity.WARNING,
                text="pressure 7.2 spreads above its usual mean",
            )
            outbox.put(event, decided_ns=clock.monotonic_ns(), open_events=[])
        stats = outbox.stats()
        outbox.close()
    return [
        Figure("from decision to commit on disk, median", stats.commit_p50_ms or 0.0, "ms"),
        Figure("from decision to commit on disk, p99", stats.commit_p99_ms or 0.0, "ms"),
    ]


def fast_figures() -> list[Figure]:
    """Feed 10 kHz x 3 channels in binary frames in real time and look at the processor time of the whole agent."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    block = vibration(int(FAST_HZ) * FAST_SECONDS)
    source = serial(os.ttyname(slave), 'format = "binary"\ntime_column = "time"')
    with running_agent(fast_bundle(), source) as (_, before, config):
        used_s = _cpu_s(before)
        time.sleep(0.3)
        begin = time.monotonic()
        for number, at in enumerate(range(0, len(block), FRAME_ROWS)):
            part = type(block)(values=block.values[at : at + FRAME_ROWS], t_ns=block.t_ns[at : at + FRAME_ROWS])
            os.write(master, encode_frame(part, number, period_ns=round(1e9 / FAST_HZ)))
            time.sleep(max(0.0, begin + (at + FRAME_ROWS) / FAST_HZ - time.monotonic()))
        time.sleep(1.0)
        after = status(config)
        spent_s = _cpu_s(after) - used_s
    os.close(master)
    os.close(slave)
    name = f"10 kHz x 3 through a serial port, T = {FAST_WINDOW}, stride {FAST_STRIDE}"
    return [
        Figure(f"{name}: whole agent", 100 * spent_s / FAST_SECONDS, "% of a core", 5.0),
        Figure(f"{name}: readings lost", float(len(block) - after["counts"]["bench"]["readings"]), "of 100,000", 500.0),
    ]


def _cpu_s(now: dict[str, Any]) -> float:
    """Processor seconds of the agent's process."""
    fields = Path(f"/proc/{now['pid']}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def all_figures() -> list[Figure]:
    """Measure everything of this module."""
    return [import_figure(), *start_figures(), *commit_figures(), *fast_figures()]


if __name__ == "__main__":
    main(all_figures, __doc__)
