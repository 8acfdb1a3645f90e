"""The bundles that are measured: trained and converted on simulated machines by the commands of an engineer, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from edge_agent.contract.records import NS, Block
from edge_agent.contract.wire import utc_text
from edge_agent.sources.inspection import InspectionScene
from edge_agent.sources.pump import PUMP_CHANNELS, Pump
from edge_agent.sources.synthetic_scene import SceneSettings

OUT = Path("out/bench")
"""Where they are kept between runs; `make clean` removes it."""

FAST_HZ = 10_000.0
"""Readings a second of the fast sensor, an accelerometer: the highest rate that the design promises."""

FAST_WINDOW, FAST_STRIDE = 128, 100
"""Window and stride of the fast sensor: 12.8 ms of vibration, looked at every 10 ms."""

_RECIPE = """\
name = "{name}"

[data]
time_column = "time"

[windows]
rate_hz = {rate_hz}
rows = {rows}
stride = {stride}

[detector]
type = "{detector}"

[training]
epochs = {epochs}
"""


_IMAGE_RECIPE = """\
name = "{name}"

[images]
path = "{images}"

[frame]
height = 224
width = 224

[detector]
type = "{detector}"
"""

STATION = SceneSettings(seed=5, frames=60)
"""The simulated inspection station that image detectors are measured with; a recipe is content with 60 images."""


def pump_bundle(detector: str) -> Path:
    """A detector of the simulated pump: 5 channels, 1 Hz, T = 32."""
    pump = Pump(seed=5, rate_hz=1.0)
    names = [channel.name for channel in PUMP_CHANNELS]
    return _bundle(f"pump-{detector}", detector, pump.take(1800), names, rate_hz=1.0, rows=32, stride=1)


def fast_bundle() -> Path:
    """A convolutional autoencoder of three axes of vibration at 10 kHz."""
    return _bundle(
        "vibration",
        "conv_autoencoder",
        vibration(30_000),
        ["x", "y", "z"],
        rate_hz=FAST_HZ,
        rows=FAST_WINDOW,
        stride=FAST_STRIDE,
    )


def station_bundle(detector: str) -> Path:
    """A detector of images of the simulated inspection station, 224 x 224."""
    name = f"station-{detector}"
    bundle = OUT / f"{name}.bundle"
    if bundle.exists():
        return bundle
    print(f"making {bundle} …", flush=True)
    images, recipe = station_images(), OUT / f"{name}.toml"
    recipe.write_text(_IMAGE_RECIPE.format(name=name, images=images.parent.name, detector=detector), encoding="utf-8")
    _build(recipe, station_run(detector), bundle)
    return bundle


def station_run(detector: str) -> Path:
    """The run folder that `station_bundle` is made of."""
    return OUT / f"run-station-{detector}"


def station_images(width: int = STATION.width, height: int = STATION.height) -> Path:
    """A folder of normal images of the station, as a camera of that size sees them."""
    import cv2

    usual = (width, height) == (STATION.width, STATION.height)
    folder = OUT / ("station" if usual else f"station-{width}x{height}") / "normal"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        scene = InspectionScene(STATION.seed, STATION.width, STATION.height)
        for number in range(STATION.frames):
            pixels = cv2.resize(scene.pixels(number), (width, height))
            cv2.imwrite(str(folder / f"{number:03}.png"), pixels[..., ::-1])
    return folder


def vibration(rows: int) -> Block:
    """Three axes of a rotating machine: 50 Hz and its harmonics, with noise."""
    rng = np.random.default_rng(3)
    t_s = np.arange(rows) / FAST_HZ
    axes = [np.sin(2 * np.pi * 50 * t_s + p) + 0.4 * np.sin(2 * np.pi * 350 * t_s + 2 * p) for p in (0.0, 1.1, 2.3)]
    values = np.stack(axes, axis=1) + 0.05 * rng.standard_normal((rows, 3))
    start_ns = 1_767_225_600 * NS
    return Block(values=values.astype(np.float32), t_ns=start_ns + np.rint(t_s * NS).astype(np.int64))


def _bundle(
    name: str, detector: str, normal: Block, channels: list[str], *, rate_hz: float, rows: int, stride: int
) -> Path:
    bundle = OUT / f"{name}.bundle"
    if bundle.exists():
        return bundle
    OUT.mkdir(parents=True, exist_ok=True)
    print(f"making {bundle} …", flush=True)
    recording, recipe = OUT / f"{name}.csv", OUT / f"{name}.toml"
    lines = [",".join(["time", *channels])]
    for t_ns, row in zip(normal.t_ns.tolist(), normal.values.tolist(), strict=True):
        written = f"{t_ns / NS:.4f}" if rate_hz > 1 else utc_text(t_ns)
        lines.append(",".join([written, *(f"{value:.6g}" for value in row)]))
    recording.write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = _RECIPE.format(name=name, rate_hz=rate_hz, rows=rows, stride=stride, detector=detector, epochs=10)
    recipe.write_text(text, encoding="utf-8")
    _build(recipe, OUT / f"run-{name}", bundle, "--data", recording)
    return bundle


def _build(recipe: Path, run: Path, bundle: Path, *options: str | Path) -> None:
    """Fit and convert, by the commands of an engineer."""
    _step("training", "fit", recipe, "--out", run, "--quiet", *options)
    _step("converters", "build", run, "--out", bundle, "--provisional")


def _step(module: str, *arguments: str | Path) -> None:
    words = [sys.executable, "-m", module, *map(str, arguments)]
    result = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{result.stdout[-2000:]}{result.stderr[-2000:]}")
