"""From a folder of images to a graph that the device's runtime scores, by the command that measures them: the recommended detector."""

import json

import cv2
import numpy as np
import pytest

from training.__main__ import main

SIZE = 64
RECIPE = f"""\
[frame]
height = {SIZE}
width = {SIZE}
[detector]
type = "padim"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Grey noise on a ramp; a red square is the defect. MVTec layout, with masks."""
    path, rng = tmp_path_factory.mktemp("station"), np.random.default_rng(0)
    for part, count in (("train/good", 24), ("test/good", 6), ("test/red", 6)):
        (path / part).mkdir(parents=True)
        for number in range(count):
            frame = np.linspace(60, 160, SIZE)[:, np.newaxis, np.newaxis] + rng.normal(0, 8, (SIZE, SIZE, 3))
            mask = np.zeros((SIZE, SIZE), np.uint8)
            if part == "test/red":
                row, column = rng.integers(0, SIZE - 16, 2)
                mask[row : row + 16, column : column + 16] = 255
                frame[mask > 0] = (40, 40, 220)
                (path / "ground_truth/red").mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path / "ground_truth/red" / f"{number}.png"), mask)
            cv2.imwrite(str(path / part / f"{number}.png"), frame.clip(0, 255).astype(np.uint8))
    return path


def test_the_shipped_graph_finds_the_defects_and_shows_where(folder, tmp_path):
    (tmp_path / "small.toml").write_text(RECIPE)
    asked = ["bench", "--data", f"images:{folder}", "--detectors", str(tmp_path / "small.toml"), "--out", str(tmp_path)]
    assert main([*asked, "--formats", "float32"]) == 0
    (row,) = (row for row in json.loads((tmp_path / "results.json").read_text()) if row["detector"] == "small")
    assert not row["failed"], row["reason"]
    assert row["image_auroc"] == 1
    assert row["pixel_auroc"] > 0.95
    assert row["aupro"] > 0.7
    assert row["rank_correlation"] > 0.999
