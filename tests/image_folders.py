"""Small image folders: noisy grey pictures, the defective ones with a bright blob."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 32


def picture(rng: np.random.Generator, *, blob: bool = False) -> NDArray[np.uint8]:
    """Grey noise uint8 [32, 32, 3] and, perhaps, a blob of 8 x 8 in the upper left quarter."""
    pixels = rng.normal(100, 5, (SIDE, SIDE, 3))
    if blob:
        pixels[4:12, 4:12] += 80
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write(path: Path, pixels: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def plain_folder(path: Path, *, normal: int = 40, defective: int = 8, seed: int = 0) -> Path:
    """normal/ and anomaly/, with masks."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:12, 4:12] = 255
    for number in range(normal):
        write(path / "normal" / f"{number:03}.png", picture(rng))
    for number in range(defective):
        write(path / "anomaly" / f"{number:03}.png", picture(rng, blob=True))
        write(path / "ground_truth" / "anomaly" / f"{number:03}.png", mask)
    return path


def mvtec_folder(path: Path, *, train: int = 30, test: int = 6, kinds: tuple[str, ...] = ("dent", "scratch")) -> Path:
    """train/good, test/good and test/<kind>, without masks."""
    rng = np.random.default_rng(1)
    for part, count in (("train", train), ("test", test)):
        for number in range(count):
            write(path / part / "good" / f"{number:03}.png", picture(rng))
    for kind in kinds:
        for number in range(test):
            write(path / "test" / kind / f"{number:03}.png", picture(rng, blob=True))
    return path


def sequence_folder(path: Path, *, train: int = 40, test: int = 20, anomalous: range = range(10, 15)) -> Path:
    """train/, test/ and labels.csv: a blob in the anomalous frames of the test."""
    rng = np.random.default_rng(2)
    for number in range(train):
        write(path / "train" / f"{number}.png", picture(rng))
    for number in range(test):
        write(path / "test" / f"{number}.png", picture(rng, blob=number in anomalous))
    lines = [f"{number}.png,{int(number in anomalous)}" for number in range(test)]
    (path / "labels.csv").write_text("\n".join(["frame,anomaly", *lines]) + "\n")
    return path


def recipe_text(folder: Path, detector: str = "difference", extra: str = "") -> str:
    """A recipe for a folder of such pictures."""
    return f"""\
name = "blobs"
[images]
path = "{folder}"
[frame]
height = {SIDE}
width = {SIDE}
[detector]
type = "{detector}"
{extra}
"""
