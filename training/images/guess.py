"""`init` on a folder of images: look at it and write a recipe with what was found, every setting explained.

Found are the layout, how many images there are of each kind, their sizes, and what cannot be read. The frame gets the
shape of most images and the area of the ready recipe's. All else comes from the ready recipe of the detector.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.contract.words import counted
from training.data import DataError
from training.guess import Written, model_name, ready_text, toml_text
from training.images.folders import ImageFolder, Layout, read_folder
from training.images.parts import FEW_VALIDATION, FEWEST_TRAINING, FEWEST_VALIDATION, in_folds
from training.images.recipe import OF_A_SCENE, ImagesSettings, parse_image_recipe
from training.images.stock import Stock, readable, repeated, take_stock
from training.recipe import RecipeError

READY = Path(__file__).parents[1] / "recipes" / "images"

DEFAULT = "padim"
"""Ready recipe to start from: fits in a minute and needs few images."""

STEP = 32
"""Height and width of a frame are multiples of so many pixels, which every detector takes."""

NEARLY_SQUARE = 1.15
"""Images whose sides differ less keep the frame of the ready recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a folder looks like."""

    folder: ImageFolder
    stock: Stock

    @property
    def height_width(self) -> tuple[int, int]:
        """Of most images, in pixels."""
        return self.stock.sizes.most_common(1)[0][0]


def look(path: Path, *, progress: bool) -> Found:
    """Look at a folder, decoding every image once.

    Raises:
        DataError: none of the layouts, or no image can be read.
    """
    settings = ImagesSettings()
    folder = read_folder(path, seed=settings.seed, test_share=settings.test_share, labelled=False)
    stock = take_stock([*folder.train, *(image.path for image in folder.test)], progress=progress)
    sound = readable(folder, stock)
    if not sound.train:
        raise DataError(f"{path}: no normal image can be read; {stock.remark()}")
    return Found(folder=sound, stock=stock)


def write_image_recipe(path: Path, detector: str, out: Path, *, replace: bool, progress: bool) -> Written:
    """Write the recipe for a folder and check that it parses.

    Args:
        path: the folder.
        detector: name of the ready recipe to start from.
        out: file to write.
        replace: it may be there already.
        progress: draw a bar.

    Raises:
        RecipeError: there is no such ready recipe, or the file exists and `replace` is not set.
        DataError: the folder cannot be used.
    """
    ready = ready_text(READY, detector)
    if out.exists() and not replace:
        raise RecipeError(f"{out} exists: give another --out, or --force to replace it")
    found = look(path, progress=progress)
    text = _filled(ready, found, path, out)
    parse_image_recipe(text, out.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    return Written(path=out, summary=_summary(found), advice="\n".join(_advice(found, ready, detector)))


def frame_size(height: int, width: int, area: int) -> tuple[int, int]:
    """Height and width of a frame with the shape of an image and about this area, multiples of `STEP`."""
    shape = math.sqrt(width / height)
    sides = (math.sqrt(area) / shape, math.sqrt(area) * shape)
    tall, wide = (max(round(side / STEP), 1) * STEP for side in sides)
    return tall, wide


def _filled(ready: str, found: Found, path: Path, out: Path) -> str:
    """The ready recipe with what was found."""
    height, width = found.height_width
    recipe = parse_image_recipe(ready)
    frame = recipe.frame.height, recipe.frame.width
    if max(height / width, width / height) > NEARLY_SQUARE:
        frame = frame_size(height, width, frame[0] * frame[1])
    folder, near = path.resolve(), out.resolve().parent
    shown = folder.relative_to(near).as_posix() if folder.is_relative_to(near) else folder.as_posix()
    values = {"name": toml_text(model_name(out)), "path": toml_text(shown), "height": str(frame[0])}
    values["width"] = str(frame[1])
    if found.folder.layout is Layout.SEQUENCE:
        values |= {key: str(value) for key, value in OF_A_SCENE.items()}
    head = f"# Recipe written by `python -m training init {path.name}`. Check it, then:\n"
    lines = [f"{head}#   python -m training fit {out.name}", *ready[ready.index("\nname = ") :].splitlines()]
    return "\n".join(_set(line, values) for line in lines) + "\n"


def _set(line: str, values: Mapping[str, str]) -> str:
    """A line of a recipe with the value of its key replaced where there is one; its comment stays."""
    key, is_setting, rest = line.partition(" = ")
    if not is_setting or key not in values:
        return line
    _, has_comment, comment = rest.partition("  # ")
    return f"{key} = {values[key]}" + (f"  # {comment}" if has_comment else "")


def _summary(found: Found) -> str:
    """What was found, in a line."""
    folder, (height, width) = found.folder, found.height_width
    sizes = f"{width} x {height} pixels" + (
        "" if len(found.stock.sizes) == 1 else f" mostly, {len(found.stock.sizes)} sizes in all"
    )
    tested = Counter(image.kind for image in folder.test)
    kinds = ", ".join(f"{count} {kind}" for kind, count in tested.items()) or "none"
    masks = ", with masks" if folder.has_masks else ""
    return (
        f"{folder.layout} layout, {counted(len(folder.train), 'normal image')} to fit on, to test on {kinds}{masks}; "
        f"{sizes}"
    )


def _advice(found: Found, ready: str, detector: str) -> list[str]:
    """What is odd about the images, and what to do before `fit`."""
    told = [found.stock.remark(), repeated(found.folder, found.stock)]
    normal, settings = len(found.folder.train), ImagesSettings()
    in_turn = FOLDS in ready and in_folds(found.folder, settings.folds)
    validation = normal if in_turn else max(round(settings.validation_share * normal), FEWEST_VALIDATION)
    can_turn = FOLDS in ready and found.folder.layout is not Layout.SEQUENCE
    fewest = FEWEST_TRAINING + (1 if can_turn else FEWEST_VALIDATION)
    if normal < fewest:
        told.append(f"too few images: {normal} normal to fit on, expected {fewest} at least; some hundred are good")
    elif validation < FEW_VALIDATION:
        told.append(
            f"few images: {validation} of {normal} normal ones set the threshold, which will be rough; some hundred "
            "are good"
        )
    if not any(image.defective for image in found.folder.test):
        told.append("no defective images: `evaluate` can say nothing of how well defects are found")
        if LEARNS_DEFECTS in ready:
            told.append(
                f"{detector} learns from defective images: add some, or take another detector, such as {DEFAULT}"
            )
    if LEARNS_TIME in ready and found.folder.layout is not Layout.SEQUENCE:
        told.append(f"{detector} learns how frames follow each other: it needs train/, test/ and labels.csv")
    return [each for each in told if each]


FOLDS = "\nfolds = "
"""What a ready recipe has where its detector is fitted without each fold."""

LEARNS_DEFECTS = "It learns from defective images too"
"""What the head of a ready recipe says where its detector needs labels; asking the detector itself takes TensorFlow."""

LEARNS_TIME = "It learns how frames follow each other"
"""What it says where its detector needs a sequence."""
