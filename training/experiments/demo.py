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
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.contract.records import NS, Block, Channel
from edge_agent.contract.wire import utc_text
from edge_agent.sources.pump import PUMP_CHANNELS, Pump, PumpFault, PumpFaultKind
from edge_agent.sources.times import to_ns
from training.data import as_channels, find_channels, read_recording
from training.experiments.broker import running_broker
from training.experiments.demo_device import STOP_S, RunningAgent, command, running_agent, write_settings
from training.experiments.demo_report import write_report
from training.experiments.demo_subscriber import Payload, Subscriber
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
STREAM = """\
[streams.pump]
no_data_s = 60.0

[streams.pump.source]
kind = "serial"
port = {port}
format = "csv"
time_column = "time"
"""
"""Settings of the stream."""


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
    command("training", "init", training_file, "--detector", options.detector, *rows, "--out", recipe, "--force")
    plan = _recording(options.data, recipe, options.fit_rows) if options.data else _pump()
    how = f"{len(plan.watched)} readings of {len(plan.channels)} channels will be watched"
    print(f"\n{plan.title}\n{how}, {options.speed:g} x as fast as they came\n")
    run, bundle = out / "run", out / "pump.bundle"
    command("training", "fit", recipe, "--out", run)
    command("training", "evaluate", run)
    command("converters", "build", run, "--out", bundle, "--provisional")
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


def _watch(plan: Plan, bundle: Path, out: Path, speed: float) -> list[Payload]:
    """Play the readings to the agent over a serial port and return the alerts that came through the broker."""
    with running_broker(out) as broker:
        feeder = SerialFeeder(plan.channels, plan.watched, speed)
        print(f"{broker.name} listens on 127.0.0.1:{broker.port}; the sensor is on {feeder.port}")
        settings = write_settings(out / "config.toml", broker, STREAM.format(port=json.dumps(feeder.port)))
        command("edge_agent", "install", bundle, "--config", settings)
        with Subscriber(broker) as subscriber:
            try:
                with running_agent(settings) as agent:
                    subscriber.wait_online(agent.process)
                    print("the agent is online; the sensor begins to speak\n", flush=True)
                    feeder.start()
                    _until_decided(feeder, agent, len(plan.watched))
            finally:
                feeder.close()
        return subscriber.alerts


def _until_decided(feeder: SerialFeeder, agent: RunningAgent, readings: int) -> None:
    """Wait until the agent has decided every reading."""
    until = None
    while agent.process.poll() is None:
        if feeder.finished.is_set():
            until = until or time.monotonic() + STOP_S
            seen = _readings_seen(agent)
            if seen >= readings:
                time.sleep(1.0)
                return
            if time.monotonic() > until:
                print(f"the agent saw {seen} of {readings} readings within {STOP_S:.0f} s", file=sys.stderr)
                return
        time.sleep(0.3)
    raise SystemExit(f"the agent ended by itself with code {agent.process.returncode}; see agent.log")


def _readings_seen(agent: RunningAgent) -> int:
    try:
        return int(agent.status()["counts"]["pump"]["readings"])
    except KeyError:
        return 0


def _verdict(plan: Plan, alerts: list[Payload], report: Path) -> int:
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


def _is_faulty(plan: Plan, alert: Payload) -> bool:
    assert plan.faulty is not None  # noqa: S101 - asked only where faults are known
    row = int(np.searchsorted(plan.watched.t_ns, _end_ns(alert), side="right")) - 1
    return 0 <= row < len(plan.faulty) and bool(plan.faulty[row])


def _end_ns(alert: Payload) -> int:
    return to_ns(alert["window"]["end"])


if __name__ == "__main__":
    sys.exit(main())
