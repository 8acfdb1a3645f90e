"""The main job, visibly: train, quantize, bundle, watch a serial port, raise an alert, report.

    simulated pump | DATA=file.csv
      first rows -> python -m training fit, evaluate -> python -m converters build -> bundle
      the rest   -> pseudo-terminal -> edge-agent run -> MQTT broker -> printed here, and report.html

Every step is the command that a user would type; it is printed before it runs. The exit code is 0 only if an alert came
through the broker inside a fault.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.contract.records import NS, Block, Channel
from edge_agent.contract.wire import utc_text
from edge_agent.sources.pump import PUMP_CHANNELS, Pump, PumpFault, PumpFaultKind
from training.data import as_channels, find_channels, read_recording
from training.experiments.broker import Broker, running_broker
from training.experiments.demo_report import write_report
from training.experiments.feeder import SerialFeeder
from training.recipe import read_recipe

SPEED = 60.0
"""Times real speed at which the sensor is played: twenty minutes of a machine in twenty seconds."""
FIT_ROWS = 400
"""Rows of a recording that are trained on, as in the protocol of the SKAB leaderboard."""
PUMP_FIT_ROWS = 7200
"""Rows of the simulated pump that are trained on: two hours at one reading a second."""
PUMP_WATCH_ROWS = 1200
"""Rows of the simulated pump that are watched."""
PUMP_FAULT = PumpFault(
    kind=PumpFaultKind.CAVITATION, start_s=PUMP_FIT_ROWS + 420.0, duration_s=240.0, severity=0.6, onset_s=20.0
)
"""What goes wrong with it: seven minutes into the watch it begins to cavitate, for four minutes."""
STOP_S = 20.0
"""Longest wait for the agent to decide the last readings, and to end, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is trained on and what is watched."""

    title: str
    channels: tuple[Channel, ...]
    watched: Block
    faulty: NDArray[np.bool_] | None
    """bool [n], the readings in which something is known to be wrong; None where nothing is known."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration."""
    options = _parser().parse_args(arguments)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    recipe = out / f"{options.data.stem if options.data else 'pump'}.toml"
    training_file, rows = (
        (options.data, ("--fit-rows", str(options.fit_rows))) if options.data else (_pump_recording(out), ())
    )
    _command("training", "init", training_file, "--detector", options.detector, *rows, "--out", recipe, "--force")
    plan = _recording(options.data, recipe, options.fit_rows) if options.data else _pump()
    how = f"{len(plan.watched)} readings of {len(plan.channels)} channels will be watched"
    print(f"\n{plan.title}\n{how}, {options.speed:g} x as fast as they came\n")
    run, bundle = out / "run", out / "pump.bundle"
    _command("training", "fit", recipe, "--out", run)
    _command("training", "evaluate", run)
    _command("converters", "build", run, "--out", bundle, "--provisional")
    alerts = _watch(plan, bundle, out, options.speed)
    report = write_report(out / "report.html", plan, alerts, run)
    return _verdict(plan, alerts, report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.experiments.demo", description="Show the main job from end to end."
    )
    parser.add_argument(
        "--data", type=Path, help="a recording (CSV) instead of the simulated pump; a column `anomaly` marks faults"
    )
    parser.add_argument("--detector", default="conv_autoencoder", help="recipe to train (default: conv_autoencoder)")
    parser.add_argument(
        "--fit-rows", type=int, default=FIT_ROWS, help=f"rows of DATA to train on (default: {FIT_ROWS})"
    )
    parser.add_argument("--speed", type=float, default=SPEED, help=f"times real speed (default: {SPEED:g})")
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="folder for everything made (default: out/demo)"
    )
    return parser


def _simulation() -> tuple[Pump, Block]:
    """The pump after two hours, and what it gave until then, which is normal."""
    pump = Pump(seed=7, rate_hz=1.0, faults=(PUMP_FAULT,))
    return pump, pump.take(PUMP_FIT_ROWS)


def _pump_recording(out: Path) -> Path:
    path = out / "normal.csv"
    _write_csv(path, PUMP_CHANNELS, _simulation()[1])
    return path


def _pump() -> Plan:
    pump, _ = _simulation()
    watched = pump.take(PUMP_WATCH_ROWS)
    return Plan(
        title="A simulated pump, five sensors once a second; it will begin to cavitate.",
        channels=PUMP_CHANNELS,
        watched=watched,
        faulty=pump.faulty(watched.t_ns),
    )


def _recording(path: Path, recipe_path: Path, fit_rows: int) -> Plan:
    """Take a recording apart: its first rows are trained on, the rest is watched."""
    recipe = read_recipe(recipe_path)
    channels = recipe.channels or find_channels(path, recipe.data)
    recording = read_recording(path, recipe.data, channels, recipe.windows.rate_hz, None)
    if len(recording) <= fit_rows:
        raise SystemExit(
            f"{path} has {len(recording)} rows, and {fit_rows} are to be trained on: nothing is left to watch"
        )
    rest = slice(fit_rows, None)
    return Plan(
        title=f"{path.name}: trained on its first {fit_rows} rows, watched on the rest.",
        channels=as_channels(channels),
        watched=Block(values=recording.values[rest], t_ns=recording.t_ns[rest]),
        faulty=None if recording.labels is None else np.asarray(recording.labels[rest], np.bool_),
    )


def _write_csv(path: Path, channels: tuple[Channel, ...], readings: Block) -> None:
    names = ",".join(["time", *(channel.heading for channel in channels)])
    rows = (
        ",".join([utc_text(t_ns), *(f"{value:.7g}" for value in row)])
        for t_ns, row in zip(readings.t_ns.tolist(), readings.values, strict=True)
    )
    path.write_text("\n".join([names, *rows]) + "\n", encoding="utf-8")


def _command(module: str, *arguments: str | Path) -> None:
    """Print a command as the user would type it, and run it."""
    words = ["python", "-m", module, *map(str, arguments)]
    print(f"$ {shlex.join(words)}", flush=True)
    ended = subprocess.run([sys.executable, *words[1:]], check=False, stdin=subprocess.DEVNULL)
    if ended.returncode:
        raise SystemExit(ended.returncode)
    print(flush=True)


def _watch(plan: Plan, bundle: Path, out: Path, speed: float) -> list[dict[str, Any]]:
    """Play the readings to the agent over a serial port and return the alerts that came through the broker."""
    with running_broker(out) as broker, tempfile.TemporaryDirectory(prefix="anomalite-") as state:
        feeder = SerialFeeder(plan.channels, plan.watched, speed)
        settings = out / "config.toml"
        settings.write_text(_settings(broker, feeder.port, Path(state)), encoding="utf-8")
        print(f"{broker.name} listens on 127.0.0.1:{broker.port}; the sensor is on {feeder.port}")
        subscriber = Subscriber(broker.port)
        _agent("install", bundle, settings)
        print(f"$ edge-agent run --config {settings}", flush=True)
        with (out / "agent.log").open("wb") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "run", "--config", str(settings)],
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
            try:
                subscriber.wait_online(agent)
                print("the agent is online; the sensor begins to speak\n", flush=True)
                feeder.start()
                _until_decided(feeder, agent, settings, len(plan.watched))
            finally:
                agent.terminate()
                agent.wait(STOP_S)
                feeder.close()
        return subscriber.stop()


def _settings(broker: Broker, port: str, state: Path) -> str:
    return f"""\
device = "demo"
state_dir = {json.dumps(str(state))}

[mqtt]
host = "127.0.0.1"
port = {broker.port}
protocol = "{broker.protocol}"

[streams.pump]
no_data_s = 60.0

[streams.pump.source]
kind = "serial"
port = {json.dumps(port)}
format = "csv"
time_column = "time"
"""


def _agent(command: str, *arguments: Path) -> None:
    bundle, settings = arguments
    print(f"$ edge-agent {command} {bundle} --config {settings}", flush=True)
    words = [sys.executable, "-m", "edge_agent", command, str(bundle), "--config", str(settings)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)


def _until_decided(feeder: SerialFeeder, agent: subprocess.Popen[bytes], settings: Path, readings: int) -> None:
    """Wait until the agent has decided every reading."""
    until = None
    while agent.poll() is None:
        if feeder.finished.is_set():
            until = until or time.monotonic() + STOP_S
            if _readings_seen(settings) >= readings:
                time.sleep(1.0)
                return
            if time.monotonic() > until:
                print(
                    f"the agent saw {_readings_seen(settings)} of {readings} readings within {STOP_S:.0f} s",
                    file=sys.stderr,
                )
                return
        time.sleep(0.3)
    raise SystemExit(f"the agent ended by itself with code {agent.returncode}; see agent.log")


def _readings_seen(settings: Path) -> int:
    words = [sys.executable, "-m", "edge_agent", "status", "--json", "--config", str(settings)]
    answer = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    try:
        return int(json.loads(answer.stdout)["counts"]["pump"]["readings"])
    except (ValueError, KeyError):
        return 0


class Subscriber:
    """A plain MQTT client: what Home Assistant, Node-RED or a fleet tool would see."""

    def __init__(self, port: int) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="demo-subscriber")
        self._client.on_connect = lambda client, *_: client.subscribe("anomalite/#", qos=1)
        self._client.on_message = self._on_message
        self._seen: set[tuple[str, int]] = set()
        self._online = False
        self.alerts: list[dict[str, Any]] = []
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def wait_online(self, agent: subprocess.Popen[bytes]) -> None:
        """Wait until the agent says that it is online."""
        until = time.monotonic() + STOP_S
        while not self._online:
            if agent.poll() is not None or time.monotonic() > until:
                raise SystemExit("the agent did not come online; see agent.log")
            time.sleep(0.05)

    def stop(self) -> list[dict[str, Any]]:
        """Disconnect and return the alerts."""
        self._client.disconnect()
        self._client.loop_stop()
        return self.alerts

    def _on_message(self, client: mqtt.Client, data: object, message: mqtt.MQTTMessage) -> None:
        del client, data
        if message.topic.endswith("/state") and message.payload == b"online":
            self._online = True
        if not message.topic.endswith("/event"):
            return
        alert = json.loads(message.payload)
        key = (alert["session"], alert["seq"])
        if key not in self._seen:
            self._seen.add(key)
            self.alerts.append(alert)
            print(alert_line(alert), flush=True)


def alert_line(alert: dict[str, Any]) -> str:
    """Return an alert as one line for a person."""
    when = alert["window"]["end"] if alert["window"] else alert["time"]
    level = "" if alert["level"] is None else f"  level {alert['level']:.2f}"
    return f"{when}  {alert['event_type']:<16}{alert['severity']:<9}{level}  {alert['text']}"


def _verdict(plan: Plan, alerts: list[dict[str, Any]], report: Path) -> int:
    """Say whether the fault was found."""
    opened = [alert for alert in alerts if alert["event_type"] == "anomaly"]
    told = [alert for alert in alerts if alert["event_type"] in {"anomaly", "anomaly_update"}]
    print(f"\n{len(alerts)} alerts came through the broker, {len(opened)} of them opened an anomaly")
    print(f"open this in a browser: {report}")
    if plan.faulty is None or not plan.faulty.any():
        print("nothing in what was watched is labelled faulty, so whether that is right only you can tell")
        return 0
    inside = [alert for alert in told if _is_faulty(plan, alert)]
    if not inside:
        print("NO alert was raised inside the fault")
        return 1
    delay_s = (min(map(_end_ns, inside)) - int(plan.watched.t_ns[int(plan.faulty.argmax())])) / NS
    found = {alert["id"] for alert in inside}
    outside = [alert for alert in opened if alert["id"] not in found]
    print(f"the first alert inside a fault came {delay_s:.0f} s after the fault began")
    print(f"{len(outside)} anomalies were raised outside")
    return 0


def _is_faulty(plan: Plan, alert: dict[str, Any]) -> bool:
    assert plan.faulty is not None  # noqa: S101 - asked only where faults are known
    row = int(np.searchsorted(plan.watched.t_ns, _end_ns(alert), side="right")) - 1
    return 0 <= row < len(plan.faulty) and bool(plan.faulty[row])


def _end_ns(alert: dict[str, Any]) -> int:
    from edge_agent.sources.times import to_ns

    return to_ns(alert["window"]["end"])


if __name__ == "__main__":
    sys.exit(main())
