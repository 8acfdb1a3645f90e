"""The detectors by the name a recipe gives them.

A new one is a file here, a line in `DETECTORS` and a recipe in `training/recipes`.
"""

from __future__ import annotations

import difflib
from typing import Any

from edge_agent.contract import strict_json
from edge_agent.errors import ManifestError
from training.detectors.base import Detector
from training.detectors.conv_autoencoder import ConvAutoencoder
from training.detectors.gaussian import GaussianDetector
from training.detectors.knn_classifier import KnnClassifierDetector
from training.detectors.logistic import LogisticDetector
from training.detectors.lstm_autoencoder import LstmAutoencoder
from training.detectors.lstm_forecaster import LstmForecaster
from training.detectors.pca import PcaDetector
from training.detectors.svm import SvmDetector
from training.graph import Front
from training.recipe import Recipe, RecipeError

DETECTORS: dict[str, type[Detector[Any]]] = {
    "gaussian": GaussianDetector,
    "pca": PcaDetector,
    "svm": SvmDetector,
    "knn_classifier": KnnClassifierDetector,
    "logistic": LogisticDetector,
    "conv_autoencoder": ConvAutoencoder,
    "lstm_forecaster": LstmForecaster,
    "lstm_autoencoder": LstmAutoencoder,
}


def detector_class(recipe: Recipe) -> type[Detector[Any]]:
    """The class that the recipe's `detector.type` names.

    Raises:
        RecipeError: there is none of that name; the message has the nearest.
    """
    name = recipe.detector["type"]
    if name not in DETECTORS:
        near = difflib.get_close_matches(name, DETECTORS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(DETECTORS)}"
        raise RecipeError(f"{recipe.name}: detector.type {name!r} is not known, {hint}")
    return DETECTORS[name]


def make_detector(recipe: Recipe, front: Front) -> Detector[Any]:
    """Build the detector of a recipe with its settings checked.

    Raises:
        RecipeError: the type or a setting is not known or not possible.
    """
    cls = detector_class(recipe)
    given = {key: value for key, value in recipe.detector.items() if key != "type"}
    try:
        settings = strict_json.read(cls.Settings, given, f"{recipe.name}.detector")
        cls.check(settings, recipe.windows.rows)
    except (ManifestError, ValueError) as error:
        raise RecipeError(str(error)) from error
    if recipe.steps and not cls.uses_steps:
        raise RecipeError(
            f"{recipe.name}: a {recipe.detector['type']} sees the window itself, leave [[steps]] out, "
            "or take a detector on features: " + ", ".join(name for name, of in DETECTORS.items() if of.uses_steps)
        )
    return cls(settings, recipe.training, front, 1 if cls.streaming else recipe.windows.rows, recipe.steps)
