"""The watch of a camera's demonstration: parts pass one by one before the agent, and what it publishes is kept."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_agent.alerts.kept_evidence import find
from edge_agent.cli.evidence import draw
from edge_agent.cli.reading import Progress
from edge_agent.contract.wire import ImageKind
from training.experiments.broker import running_broker
from training.experiments.demo_device import command, running_agent, write_settings
from training.experiments.demo_parts import Part, Watched, part_number
from training.experiments.demo_subscriber import Payload, Subscriber

SHOWN_S = 1.5
"""Seconds that a part is before the camera: scores are published once a second at most, and each is to be shown."""

WATCH = """\
[streams.station.source]
kind = "images"
path = {path}
rate_hz = {rate_hz:g}
speed = {speed:g}
"""
"""Settings while parts pass; what decides is in the bundle."""

OTHER_VIEWS = """
[streams.station.camera]  # pictures from anywhere: there is no usual view that a camera might lose
health = { checks = ["dark", "covered"] }
prefilter = { mode = "off" }
"""
"""More of it where nobody knows whether all pictures are of one camera that stands still."""


def watch(
    parts: Sequence[Part], bundle: Path, out: Path, *, interval_s: float, shown_s: float, more: str = ""
) -> Watched:
    """Show parts to the agent, one by one; return what came through the broker.

    Args:
        parts: their pictures are alone in a folder, in the order of their names.
        bundle: what watches them.
        out: folder for settings and logs, and what the agent keeps.
        interval_s: reading time between two parts: that of the bundle.
        shown_s: seconds that it takes here.
        more: settings of the stream, TOML.
    """
    among = f"{sum(part.defective for part in parts)} of them defective"
    print(f"{len(parts)} parts that the model never saw will pass, {among}, one every {shown_s:g} s")
    path = json.dumps(str(parts[0].picture.parent.absolute()))
    stream = WATCH.format(path=path, rate_hz=1 / interval_s, speed=interval_s / shown_s) + more
    show = Show(parts, interval_s)
    with running_broker(out) as broker:
        print(f"{broker.name} listens on 127.0.0.1:{broker.port}")
        settings = write_settings(out / "config.toml", broker, stream)
        command("edge_agent", "install", bundle, "--config", settings)
        with Subscriber(broker, show.alert, show.score) as subscriber, running_agent(settings) as agent:
            subscriber.wait_online(agent.process)
            print("the agent is online; the parts pass\n", flush=True)
            agent.wait_end(len(parts) * shown_s)
    show.progress.done()
    return Watched(
        parts=tuple(parts),
        interval_s=interval_s,
        alerts=tuple(subscriber.alerts),
        scores=tuple(subscriber.scores),
        pictures=subscriber.pictures,
    )


class Show:
    """Tells on the terminal what comes through the broker: a line for each alert, and one for where the watch is."""

    def __init__(self, parts: Sequence[Part], interval_s: float) -> None:
        self._parts, self._interval_s = parts, interval_s
        self.progress = Progress(sys.stdout)

    def alert(self, alert: Payload) -> None:
        """Print an alert and the part that it is of; that it is over goes without saying when the next one comes."""
        if alert["event_type"] == "anomaly_cleared":
            return
        self.progress.done()
        part = self._part(alert["window"]["end"]) if alert["window"] else None
        print(f"{part.words if part else alert['time']}: {alert['severity']}, {alert['text']}", flush=True)

    def score(self, score: Payload) -> None:
        """Say which part is before the camera."""
        if (part := self._part(score["time"])) and score["level"] is not None:
            self.progress.show(f"{part.words}: level {score['level']:.2f}")

    def _part(self, time: str) -> Part | None:
        number = part_number(time, self._interval_s)
        return self._parts[number] if number < len(self._parts) else None


def keep_pictures(watched: Watched, out: Path) -> dict[int, Path]:
    """Keep the JPEGs that came with the alerts, and draw their overlays; return these by the number of their part."""
    folder = out / "alerts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    overlays: dict[int, Path] = {}
    for number, alert in sorted(watched.first_alerts().items()):
        name = folder / f"part-{number:03d}"
        for kind, jpeg in watched.pictures.get(alert["id"], {}).items():
            name.with_suffix(".jpg" if kind is ImageKind.IMAGE else f".{kind}.jpg").write_bytes(jpeg)
        overlays[number] = name.with_suffix(".overlay.jpg")
        if len(overlays) == 1:
            words = ("evidence", alert["id"], "--overlay", overlays[number], "--config", out / "config.toml")
            command("edge_agent", *words)
        else:
            draw(find(out / "agent-state" / "evidence", alert["id"]), overlays[number])
    if len(overlays) > 1:
        print(f"and so for the other {len(overlays) - 1}: {folder}\n")
    return overlays
