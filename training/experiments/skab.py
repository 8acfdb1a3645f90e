"""Every detector on the water loop of SKAB, by the protocol of its leaderboard, from the graphs that ship.

    python -m training.experiments.skab --data FOLDER/valve1 --out out/skab

Per file: fit on the first 400 rows with the ready recipe of the detector, unchanged; convert; score every row with the
device's pipeline, in order, without a look ahead; a row of the rest is alarmed when its window's score is above the
threshold that the converter set from those 400 rows alone. Rows that cannot be scored (sensor fault, warming up) count
as not alarmed. F1, FAR and MAR are counted over the rows of all files together, VUS-PR is the mean over files.

Two controls stand in the same table: `always 1`, and `time of row`, which alarms rows 175 to 575 of every test part
and sees no data at all. It shows why no detector may see elapsed time; ours see windows only.

What is done is kept in the folder, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import Block, Doubles
from edge_agent.pipeline import PrefilterSettings, bundle_pipeline
from edge_agent.scoring.interpreter import TFLiteScorer
from training.data import Recording, find_channels, read_recording
from training.evaluation.metrics import Confusion, confusion, vus_pr
from training.recipe import Recipe, parse_recipe, recipe_text

DETECTORS = ("gaussian", "pca", "conv_autoencoder", "lstm_forecaster", "lstm_autoencoder")
RECIPES = Path(__file__).parents[1] / "recipes"
FIT_ROWS = 400
"""Rows at the start of each file that are trained on: the leaderboard's protocol."""
LARGEST_BUFFER = 100
"""Longest buffer of VUS-PR, rows, as in its source."""
CLOCK_ROWS = slice(175, 575)
"""Rows of the test part that the control `time of row` alarms."""
BLOCK_ROWS = 64

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one graph said about the test rows of one file."""

    labels: Flags
    alarms: Flags
    scores: Doubles

    def figures(self) -> dict[str, float | None]:
        """Figures of this file alone."""
        counted = confusion(self.labels, self.alarms)
        return {
            "f1": counted.f1,
            "far": counted.far_percent,
            "mar": counted.mar_percent,
            "vus_pr": vus_pr(self.labels, self.scores, LARGEST_BUFFER),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not done yet and print the table."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    files = sorted(options.data.glob("*.csv"), key=lambda path: (len(path.stem), path.stem))
    if not files:
        print(f"error: no CSV files in {options.data}", file=sys.stderr)
        return 1
    judged: dict[str, list[Judged]] = {}
    steps = tqdm(
        [(detector, file) for detector in options.detectors.split(",") for file in files], unit="file", disable=None
    )
    for detector, file in steps:
        steps.set_description(f"{detector} {file.stem}")
        for graph_format, one in judge_file(detector, file, options.out).items():
            judged.setdefault(f"{detector} {graph_format}", []).append(one)
    table = {name: pooled(ones) for name, ones in (controls(next(iter(judged.values()))) | judged).items()}
    options.out.mkdir(parents=True, exist_ok=True)
    per_file = {name: [one.figures() for one in ones] for name, ones in judged.items()}
    document = {"files": [file.name for file in files], "pooled": table, "per_file": per_file}
    (options.out / "results.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(markdown(table))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.experiments.skab", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of SKAB files, such as SKAB/data/valve1")
    parser.add_argument("--detectors", default=",".join(DETECTORS), help="which ready recipes (default: all)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/skab"),
        help="folder for runs, bundles and results.json (default: out/skab)",
    )
    return parser


def judge_file(detector: str, file: Path, out: Path) -> dict[str, Judged]:
    """Fit, convert and score one file; gives each shipped format."""
    text = recipe_text(RECIPES / f"{detector}.toml")
    recipe = parse_recipe(text, detector)
    path = out / detector / f"{file.stem}.bundle"
    if not path.exists():
        _make_bundle(recipe, text, file, path)
    bundle = Bundle.read(path)
    recording = read_recording(
        file, recipe.data, recipe.channels or find_channels(file, recipe.data), recipe.windows.rate_hz
    )
    return {str(spec.format): judge(bundle, str(spec.format), recording) for spec in bundle.manifest.graphs}


def _make_bundle(recipe: Recipe, text: str, file: Path, path: Path) -> None:
    from converters.build import Options, build
    from training.fit import fit, locate

    run = fit(recipe, locate(recipe, text, RECIPES, [file]), path.with_suffix(".run"), progress=False)
    silent: Callable[[str], None] = lambda _: None  # noqa: E731 - a progress that shows nothing
    made = build(
        run, Options(formats=("float32", "int8") if run.info.has_body else ("float32",), provisional=True), silent
    )
    path.write_bytes(made.data)


def judge(bundle: Bundle, graph_format: str, recording: Recording) -> Judged:
    """Score a file row by row with one graph, as the device would."""
    spec = bundle.manifest.graph(graph_format)
    scorer = TFLiteScorer(bundle.graph(graph_format), spec)
    pipeline = bundle_pipeline(
        bundle, spec, scorer, new_id=lambda: "event", prefilter=PrefilterSettings(mode=Mode.WATCH)
    )
    row_of = {t_ns: row for row, t_ns in enumerate(recording.t_ns.tolist())}
    scores = np.full(len(recording), np.nan)
    for at in range(0, len(recording), BLOCK_ROWS):
        part = slice(at, at + BLOCK_ROWS)
        for decision in pipeline.feed(Block(values=recording.values[part], t_ns=recording.t_ns[part])):
            if decision.fault is None and decision.score is not None:
                scores[row_of[decision.t_ns]] = decision.score
    test = scores[FIT_ROWS:]
    known = np.where(np.isnan(test), np.nanmin(scores), test)
    assert recording.labels is not None  # noqa: S101 - the recipes name the label column
    return Judged(
        labels=np.asarray(recording.labels[FIT_ROWS:], np.bool_),
        alarms=known > spec.calibration.threshold,
        scores=known,
    )


def controls(files: list[Judged]) -> dict[str, list[Judged]]:
    """What needs no data: every row, and the rows of a fixed time."""
    always, clock = [], []
    for file in files:
        rows = np.zeros(len(file.labels), np.bool_)
        rows[CLOCK_ROWS] = True
        always.append(Judged(labels=file.labels, alarms=np.ones_like(rows), scores=np.ones(len(rows))))
        clock.append(Judged(labels=file.labels, alarms=rows, scores=rows.astype(np.float64)))
    return {"control: always 1": always, "control: time of row": clock}


def pooled(files: list[Judged]) -> dict[str, Any]:
    """Figures over the rows of all files together; VUS-PR is their mean."""
    counts = [confusion(file.labels, file.alarms) for file in files]
    names = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    total = Confusion(**{name: sum(getattr(count, name) for count in counts) for name in names})
    areas = [area for file in files if (area := file.figures()["vus_pr"]) is not None]
    figures = {"f1": total.f1, "far": total.far_percent, "mar": total.mar_percent, "vus_pr": float(np.mean(areas))}
    return {"files": len(files)} | figures


def markdown(table: dict[str, dict[str, Any]]) -> str:
    """Return the table as Markdown; fewer files in a row: the converter refused that format on the others."""
    lines = ["| detector and graph | files | F1 | FAR % | MAR % | VUS-PR |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {name} | {row['files']} | {row['f1']:.3f} | {row['far']:.1f} | {row['mar']:.1f} | {row['vus_pr']:.3f} |"
        for name, row in table.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
