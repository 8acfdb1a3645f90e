"""The main job of a camera, visibly: record good parts, train, quantize, bundle, watch, raise alerts with pictures.

    simulated inspection station, by edge-agent record | DATA=folder
      good parts  -> python -m training init, fit, evaluate -> python -m converters build -> bundle
      the rest    -> edge-agent run -> MQTT broker -> printed here; JPEGs, overlays and report.html

Every step is the command that a user would type; it is printed before it runs. The parts that are watched are pictures
of the test part, which neither the model nor its threshold ever saw. The exit code is 0 only if a defective one raised
an alert that came through the broker.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_agent.contract.words import counted
from training.data import DataError
from training.experiments.demo_camera_report import verdict, write_report
from training.experiments.demo_device import command
from training.experiments.demo_parts import SCENE_SEED, Watched, draw_defective, lay_out
from training.experiments.demo_watch import OTHER_VIEWS, SHOWN_S, keep_pictures, watch
from training.image_artifacts import FrameRun
from training.images.folders import ANOMALY, Layout, read_folder

GOOD_PARTS = 90
"""Good parts that the simulated station shows: 27 are tested on, 63 are fitted on and set the threshold."""
SIMULATED = "A simulated inspection station: plates in a fixture, some of them scratched, some missing."
"""What is shown without a folder."""

FORMATS = "int8,float32"
"""What is built: the small graph, and the one to fall back on; all formats take twice as long."""

STATION = """\
[streams.station.source]
kind = "synthetic_scene"
seed = {seed}
rate_hz = 1.0  # a part a second
speed = 0.0  # as fast as they can be drawn
frames = {frames}
"""
"""Settings of the simulated station while it is recorded."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration."""
    options = _parser().parse_args(arguments)
    out: Path = options.out
    _claim(out)
    folder = options.data or _record(out)
    _check(folder)
    recipe, run, bundle = out / f"{folder.absolute().name}.toml", out / "run", out / "camera.bundle"
    command("training", "init", folder, "--detector", options.detector, "--out", recipe, "--force")
    command("training", "fit", recipe, "--out", run)
    command("training", "evaluate", run)
    command("converters", "build", run, "--out", bundle, "--formats", options.formats, "--provisional")
    made = FrameRun.read(run)
    parts = lay_out(made.parts, out / "watched")
    views = "" if options.data is None else OTHER_VIEWS
    watched = watch(parts, bundle, out, interval_s=made.input.interval_s, shown_s=options.seconds, more=views)
    kept = keep_pictures(watched, out)
    title = f"{folder.name}: pictures that the model never saw." if options.data else SIMULATED
    report = write_report(out / "report.html", watched, kept, title, run)
    return _told(watched, kept, report, f"{counted(len(made.validation), 'normal picture')} set the threshold", recipe)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.experiments.demo_camera", description="Show the main job of a camera from end to end."
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="a folder of pictures instead of the simulated station (docs/images.md)",
    )
    parser.add_argument("--detector", default="padim", help="recipe to train (default: padim)")
    parser.add_argument("--formats", default=FORMATS, help=f"graphs to build and compare (default: {FORMATS})")
    parser.add_argument(
        "--seconds", type=float, default=SHOWN_S, help=f"how long each part is shown (default: {SHOWN_S:g})"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo-camera"), help="folder for all results (default: out/demo-camera)"
    )
    return parser


def _claim(out: Path) -> None:
    """Make the folder of the results, in which former ones are replaced; refuse one that holds something else."""
    mark = out / ".demo-camera"
    if out.is_dir() and any(out.iterdir()) and not mark.exists():
        raise SystemExit(f"{out} holds something else: give another --out")
    out.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _record(out: Path) -> Path:
    """Record good parts of the simulated station, and draw defective ones beside them; return their folder."""
    folder, settings = out / "station", out / "station.config.toml"
    shutil.rmtree(folder, ignore_errors=True)
    device = 'device = "demo"\nmqtt = { host = "127.0.0.1" }\n\n'
    settings.write_text(device + STATION.format(seed=SCENE_SEED, frames=GOOD_PARTS), encoding="utf-8")
    print(SIMULATED)
    command("edge_agent", "record", "--config", settings, "--for", "10m", "--out", folder)
    draw_defective(folder, GOOD_PARTS)
    print(f"drew defective parts beside them, some scratched, some missing: {folder / ANOMALY}\n")
    return folder


def _check(folder: Path) -> None:
    """Refuse, before anything takes time, a folder in which nothing can be watched."""
    try:
        found = read_folder(folder, seed=0)
    except (DataError, OSError) as error:
        raise SystemExit(
            f"nothing can be shown with these pictures: {error}\nPut good parts into FOLDER/normal and defective ones "
            "into FOLDER/anomaly, some dozens of each; more: docs/images.md"
        ) from error
    if found.layout is Layout.SEQUENCE:
        raise SystemExit(
            f"{folder} is a sequence: parts that come one by one are shown here; a sequence is judged by "
            "`python -m training evaluate`"
        )


def _told(watched: Watched, overlays: dict[int, Path], report: Path, threshold: str, recipe: Path) -> int:
    """Say what was found, what might have been, and where to look; return the exit code."""
    print(verdict(watched))
    for defective, k in ((True, "smaller k"), (False, "larger k")):
        if watched.judged(defective=defective, alarmed=not defective):
            print(f"{threshold}, which is rough: more of them, or a {k} in {recipe}, may change that (docs/images.md)")
    if overlays:
        print(f"the JPEGs that came with them, and their overlays: {next(iter(overlays.values())).parent}")
    found = watched.judged(defective=True, alarmed=True)
    if not found:
        print("NO defective part raised an alert")
    print(f"open this in a browser: {report}")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
