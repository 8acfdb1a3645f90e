"""The detectors by the name a recipe gives them.

A new one is a file here, a line in `DETECTORS` and a recipe in `training/recipes`.
"""

from __future__ import annotations

from typing import Any

from edge_agent.contract import strict_json
from edge_agent.errors import ManifestError
from training.detectors.agglomerative import AgglomerativeDetector
from training.detectors.base import Detector
from training.detectors.bayesian_gaussian import BayesianGaussianDetector
from training.detectors.bisecting_kmeans import BisectingKMeansDetector
from training.detectors.bsmle import BsmleDetector
from training.detectors.ce_kde import CeKdeDetector
from training.detectors.conv_autoencoder import ConvAutoencoder
from training.detectors.dbscan import DbscanDetector
from training.detectors.denclue import DenclueDetector
from training.detectors.drift_gaussian import DriftGaussianDetector
from training.detectors.ensemble import EnsembleDetector
from training.detectors.gaussian import GaussianDetector
from training.detectors.isolation import IsolationDetector
from training.detectors.kde import KdeDetector
from training.detectors.kdemle import KdemleDetector
from training.detectors.kmeans import KMeansDetector
from training.detectors.knn import KnnDetector
from training.detectors.knn_classifier import KnnClassifierDetector
from training.detectors.logistic import LogisticDetector
from training.detectors.lstm_autoencoder import LstmAutoencoder
from training.detectors.lstm_forecaster import LstmForecaster
from training.detectors.mixture import MixtureDetector
from training.detectors.ocsvm import OcsvmDetector
from training.detectors.optics import OpticsDetector
from training.detectors.pca import PcaDetector
from training.detectors.pseudo_labels import PseudoLabelsDetector
from training.detectors.svm import SvmDetector
from training.graph import Front
from training.recipe import Recipe, RecipeError, nearest

DETECTORS: dict[str, type[Detector[Any]]] = {
    "gaussian": GaussianDetector,
    "bayesian_gaussian": BayesianGaussianDetector,
    "bsmle": BsmleDetector,
    "kde": KdeDetector,
    "kdemle": KdemleDetector,
    "ce_kde": CeKdeDetector,
    "denclue": DenclueDetector,
    "mixture": MixtureDetector,
    "kmeans": KMeansDetector,
    "bisecting_kmeans": BisectingKMeansDetector,
    "agglomerative": AgglomerativeDetector,
    "dbscan": DbscanDetector,
    "optics": OpticsDetector,
    "pca": PcaDetector,
    "isolation": IsolationDetector,
    "ocsvm": OcsvmDetector,
    "knn": KnnDetector,
    "drift_gaussian": DriftGaussianDetector,
    "svm": SvmDetector,
    "knn_classifier": KnnClassifierDetector,
    "logistic": LogisticDetector,
    "pseudo_labels": PseudoLabelsDetector,
    "ensemble": EnsembleDetector,
    "conv_autoencoder": ConvAutoencoder,
    "lstm_forecaster": LstmForecaster,
    "lstm_autoencoder": LstmAutoencoder,
}


def detector_class(recipe: Recipe) -> type[Detector[Any]]:
    """The class that the recipe's `detector.type` names.

    Raises:
        RecipeError: there is none of that name; the message has the nearest.
    """
    return class_named(str(recipe.detector.get("type")), f"{recipe.name}: detector.type")


def make_detector(recipe: Recipe, front: Front) -> Detector[Any]:
    """Build the detector of a recipe with its settings checked.

    Raises:
        RecipeError: the type or a setting is not known or not possible.
    """
    cls, settings = read_settings(recipe.detector, f"{recipe.name}.detector", recipe.windows.rows)
    if recipe.steps and not cls.uses_steps:
        raise RecipeError(
            f"{recipe.name}: a {recipe.detector['type']} sees the window itself, leave [[steps]] out, "
            "or take a detector that uses them: " + ", ".join(name for name, of in DETECTORS.items() if of.uses_steps)
        )
    rows = 1 if cls.streaming else recipe.windows.rows
    try:
        return cls(settings, recipe.training, front, rows, recipe.steps)
    except RecipeError as error:
        raise RecipeError(f"{recipe.name}: {error}") from error


def read_settings(table: dict[str, Any], place: str, rows: int) -> tuple[type[Detector[Any]], Any]:
    """Class and checked settings of a `[detector]` table, for windows of `rows` rows.

    Raises:
        RecipeError: the type or a setting is not known or not possible.
    """
    cls = class_named(str(table.get("type")), f"{place}.type")
    given = {key: value for key, value in table.items() if key != "type"}
    try:
        settings = strict_json.read(cls.Settings, given, place)
        cls.check(settings, rows)
    except (ManifestError, ValueError) as error:
        raise RecipeError(str(error)) from error
    return cls, settings


def class_named(name: str, place: str) -> type[Detector[Any]]:
    """The class of a detector; `place` is where the name was given.

    Raises:
        RecipeError: there is none of that name; the message has the nearest.
    """
    if name not in DETECTORS:
        raise RecipeError(f"{place} {name!r} is not known, {nearest(name, DETECTORS)}")
    return DETECTORS[name]
