"""What `init`, `fit` and `evaluate` do with images, for the command line; each returns what is printed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_agent.contract.calibration import Grade
from edge_agent.contract.words import counted
from training.data import DataError
from training.evaluation.evaluate import Choice
from training.evaluation.frame_report import write_frame_report
from training.evaluation.frame_scoring import FrameGraph
from training.evaluation.frames import evaluate_frames
from training.image_artifacts import FrameRun
from training.images.fit import fit_images
from training.images.recipe import ImageRecipe


def fit_command(recipe: ImageRecipe, text: str, options: argparse.Namespace, *, progress: bool) -> str:
    """Fit a recipe of images."""
    folder = _folder(recipe, options.recipe, options.data)
    run = fit_images(recipe, text, folder, options.out or Path("runs") / recipe.name, progress=progress)
    images = run.metrics["fit"]["images"]
    parts = [f"{counted(images['training'], 'normal image')} to fit on"]
    if run.input.classes:
        parts.append(f"{images['defective']} defective ones ({', '.join(run.input.classes)})")
    if images["stopping"]:
        parts.append(f"{images['stopping']} for early stopping")
    in_turn = "thresholds from further fits, each without some of them"
    parts.append(f"{images['validation']} for thresholds" if run.optimism is None else in_turn)
    parts.append(f"{images['test']} to test on")
    return f"wrote {run.path}: {run.info.detector}, {', '.join(parts)}\nnext: `python -m training evaluate {run.path}`"


def evaluate_command(
    run: FrameRun, options: argparse.Namespace, choice: Choice, device: Mapping[str, FrameGraph], *, progress: bool
) -> str:
    """Evaluate a run on images."""
    evaluation = evaluate_frames(run, threshold=options.threshold, choice=choice, device=device, progress=progress)
    unfounded = evaluation.float_graph.calibration.grade is Grade.PROVISIONAL
    provisional = " --provisional" if unfounded else ""
    return (
        f"{write_frame_report(run, evaluation)}\nwrote {run.path / 'metrics.json'} and {run.path / 'report.html'}\n"
        f"next: look at the report, then `python -m converters build {run.path}{provisional}`"
    )


def _folder(recipe: ImageRecipe, recipe_file: Path, given: Sequence[Path]) -> Path:
    """The folder of the command line, or the recipe's relative to its file.

    Raises:
        DataError: neither names one, or more than one is given.
    """
    if len(given) > 1:
        raise DataError(f"a recipe of images takes one folder, got {len(given)} with --data")
    if given:
        return given[0]
    if not recipe.images.path:
        raise DataError("no images: name a folder in the recipe under [images] path, or give --data FOLDER")
    return recipe_file.parent / recipe.images.path
