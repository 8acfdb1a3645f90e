"""The image detectors by the name a recipe gives them.

A new one is a file here and a line in `IMAGE_DETECTORS`; its ready recipe is written by `python -m training.ready`.
Each is imported when it is asked for: what one needs, a backbone's weights for instance, is nothing to the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edge_agent.contract import strict_json
from edge_agent.errors import ManifestError
from training.images.detector import ImageDetector
from training.images.recipe import ImageRecipe
from training.recipe import RecipeError, nearest

IMAGE_DETECTORS: dict[str, str] = {
    "padim": "training.images.detectors.padim:Padim",
    "padim_small": "training.images.detectors.padim_small:PadimSmall",
    "pooled_gaussian": "training.images.detectors.pooled_gaussian:PooledGaussian",
    "memory": "training.images.detectors.memory:Memory",
    "student_teacher": "training.images.detectors.student_teacher:StudentTeacher",
    "frame_autoencoder": "training.images.detectors.frame_autoencoder:FrameAutoencoder",
    "frame_vae": "training.images.detectors.frame_vae:FrameVae",
    "frame_gan": "training.images.detectors.frame_gan:FrameGan",
    "content_style": "training.images.detectors.content_style:ContentStyle",
    "frame_cnn": "training.images.detectors.frame_cnn:FrameCnn",
    "transfer": "training.images.detectors.transfer:Transfer",
    "clip_convolution": "training.images.detectors.clip_convolution:ClipConvolution",
    "clip_lstm": "training.images.detectors.clip_lstm:ClipLstm",
}
"""By name, the module and the class."""


def image_detector(name: str, place: str = "detector.type") -> type[ImageDetector[Any]]:
    """The class of an image detector; `place` is where the name was given.

    Raises:
        RecipeError: there is none of that name; the message has the nearest.
    """
    if name not in IMAGE_DETECTORS:
        raise RecipeError(f"{place} {name!r} is not known for images, {nearest(name, IMAGE_DETECTORS)}")
    module, _, cls = IMAGE_DETECTORS[name].partition(":")
    found: type[ImageDetector[Any]] = getattr(import_module(module), cls)
    return found


def make_image_detector(recipe: ImageRecipe) -> ImageDetector[Any]:
    """Build the detector of a recipe with its settings checked.

    Raises:
        RecipeError: the type or a setting is not known or not possible with frames of this size.
    """
    place = f"{recipe.name}.detector"
    cls = image_detector(str(recipe.detector["type"]), f"{place}.type")
    given = {key: value for key, value in recipe.detector.items() if key != "type"}
    size = recipe.frame.height, recipe.frame.width
    try:
        settings = strict_json.read(cls.Settings, given, place)
        cls.check(settings, *size)
    except (ManifestError, ValueError) as error:
        raise RecipeError(str(error)) from error
    return cls(settings, recipe.training, *size)
