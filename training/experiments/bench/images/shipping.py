"""An image detector fitted on a folder and converted: the run and the bundle that would ship. Needs TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.build import Options
from converters.conversion import Child
from converters.frames.build import FrameBuild, build_frames
from training.experiments.bench.images.data import ImageSet
from training.experiments.bench.images.entrants import ImageEntrant
from training.images.fit import fit_images

CHILD = Child()
"""Converts for this process as long as it lives, as that of `bench.shipping`."""


def ship(entrant: ImageEntrant, data: ImageSet, seed: int, formats: Sequence[str], folder: Path) -> FrameBuild:
    """Fit the entrant on the images to fit on alone, and convert it.

    A threshold that the data do not support is packed all the same, and its grade says so.

    Args:
        entrant: the detector and its settings.
        data: the folder.
        seed: of split and fit.
        formats: to convert to.
        folder: for the run; replaced.

    Raises:
        DataError: the images cannot be used.
        RecipeError: a setting does not go with the detector.
        Refused: the converter ships no format.
    """
    text = entrant.recipe_text(seed)
    folder.mkdir(parents=True, exist_ok=True)
    run = fit_images(entrant.recipe(seed), text, data.folder.path, folder / "run", progress=False)
    return build_frames(run, Options(formats=tuple(formats), provisional=True), lambda _: None, CHILD)
