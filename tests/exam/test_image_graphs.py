"""From a folder of images to graphs that the device's runtime scores, by the command that measures them."""

import cv2
import numpy as np
import pytest

from training.experiments import images

SIZE = 64


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


def test_both_formats_find_the_defects_and_show_where(folder, capsys):
    assert images.main(["--data", str(folder), "--size", str(SIZE)]) == 0
    header, _, *lines = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines())
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    assert [row["format"] for row in rows] == ["float32", "int8"]
    for row in rows:
        assert float(row["image_auroc"]) == 1
        assert float(row["pixel_auroc"]) > 0.95
        assert float(row["aupro"]) > 0.7
    assert float(rows[0]["parity"]) > 0.999
    assert float(rows[1]["parity"]) > 0.9
    size = [int(row["bytes"].replace(",", "")) for row in rows]
    assert size[1] < 0.5 * size[0]


def test_a_folder_of_another_layout_is_an_error_on_one_line(tmp_path, capsys):
    assert images.main(["--data", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: expected train/good")
