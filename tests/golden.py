"""Real bundles for the tests of devices: trained and converted here, by the commands an engineer types.

One windowed graph with an int8 body and one streaming graph with state: what differs most between runtimes.
"""

import os
import subprocess
import sys
from pathlib import Path

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.wire import utc_text
from edge_agent.sources.pump import PUMP_CHANNELS, Pump

PROJECT = Path(__file__).parents[1]

DETECTORS = {"lstm_autoencoder": ("int8", "float32"), "lstm_forecaster": ("float32",)}
"""Detectors and the formats in their bundles: so short a training gives no streaming int8 that passes parity."""

ROWS = 900
"""Readings to train on: enough for the int8 ranges, and a fit takes seconds. The models are not meant to be good."""

_STEP_TIMEOUT_S = 300

_RECIPE = """\
name = "{name}"

[data]
time_column = "time"

[windows]
rate_hz = 1.0
rows = 16

[detector]
type = "{detector}"

[training]
epochs = 8
"""


def build_bundle(detector: str, folder: Path, tflite_python: Path | None = None) -> Path:
    """Train and convert one detector; with `tflite_python` its int8 tolerances are measured on that runtime, too."""
    recording = folder / "pump.csv"
    write_recording(recording)
    recipe = folder / f"{detector}.toml"
    recipe.write_text(_RECIPE.format(name=detector.replace("_", "-"), detector=detector))
    run, bundle = folder / f"run-{detector}", folder / f"{detector}.bundle"
    _step("training", "fit", recipe, "--data", recording, "--out", run, "--quiet")
    formats = ",".join(DETECTORS.get(detector, ("float32",)))
    other = ["--tflite-python", tflite_python] if tflite_python else []
    said = _step("converters", "build", run, "--out", bundle, "--formats", formats, "--provisional", *other)
    held = {str(graph.format) for graph in Bundle.read(bundle).manifest.graphs}
    assert held == set(DETECTORS.get(detector, ("float32",))), (
        said
    )  # a format that fails parity is left out, with the figures
    return bundle


def write_recording(path: Path) -> None:
    """Write a stretch of a healthy pump as CSV."""
    block = Pump(seed=5, rate_hz=1.0).take(ROWS)
    lines = [",".join(["time", *(channel.name for channel in PUMP_CHANNELS)])]
    for t_ns, row in zip(block.t_ns.tolist(), block.values.tolist(), strict=True):
        lines.append(",".join([utc_text(t_ns), *(f"{value:.6g}" for value in row)]))
    path.write_text("\n".join(lines) + "\n")


def _step(module: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    result = subprocess.run(
        command, cwd=PROJECT, env=os.environ, capture_output=True, text=True, timeout=_STEP_TIMEOUT_S, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-4000:]}{result.stderr[-4000:]}"
    return result.stdout + result.stderr
