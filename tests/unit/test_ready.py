"""Ready recipes: complete, explained, up to date with the detectors, and each one builds its detector."""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib

import numpy as np
import pytest

from edge_agent.contract.strict_json import plain
from training.guess import READY
from training.recipe import parse_recipe

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's own

FILES = sorted(path.stem for path in READY.glob("*.toml"))
OF_IMAGES = sorted(path.stem for path in (READY / "images").glob("*.toml"))


def test_there_is_one_for_every_detector() -> None:
    from training.detectors import DETECTORS

    assert sorted(DETECTORS) == FILES, "run python -m training.ready"


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_what_the_detector_says_of_itself(name: str) -> None:
    from training.ready import ready_recipe

    text = (READY / f"{name}.toml").read_text(encoding="utf-8")
    assert text == ready_recipe(name), "run python -m training.ready"
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", FILES)
def test_it_builds_its_detector_with_every_setting_written_out(name: str) -> None:
    from training.detectors import make_detector
    from training.graph import Front
    from training.ready import CLEANING, TUNED
    from training.recipe import Scaling

    text = (READY / f"{name}.toml").read_text(encoding="utf-8")
    recipe = parse_recipe(text)
    rows = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    detector = make_detector(recipe, Front.fit(rows, Scaling.ROBUST, recipe.scaling.body_range))
    table = re.split(r"\n\[", text.partition("\n[detector]\n")[2])[0]
    written = set(re.findall(r"^(?:# )?(\w+) = ", table, flags=re.MULTILINE))
    assert written == {"type", *(field.name for field in dataclasses.fields(detector.Settings))}
    assert recipe.detector["type"] == name
    assert recipe.split.fit_rows == (None if detector.needs_labels else 400)
    assert plain(recipe.cleaning) == CLEANING | TUNED.get(name, {}).get("cleaning", {})


def test_the_steps_written_out_are_those_that_a_recipe_without_any_gets() -> None:
    from training.detectors.pca import PcaDetector

    recipe = parse_recipe((READY / "pca.toml").read_text(encoding="utf-8"))
    assert recipe.steps == PcaDetector.usual_steps(recipe.windows.rows)


def test_there_is_one_for_every_image_detector() -> None:
    from training.images.detectors import IMAGE_DETECTORS

    assert sorted(IMAGE_DETECTORS) == OF_IMAGES, "run python -m training.ready"


@pytest.mark.parametrize("name", OF_IMAGES)
def test_that_of_an_image_detector_is_what_it_says_of_itself_and_builds_it(name: str) -> None:
    from training.images.detectors import make_image_detector
    from training.images.recipe import parse_image_recipe
    from training.ready import image_ready_recipe

    text = (READY / "images" / f"{name}.toml").read_text(encoding="utf-8")
    assert text == image_ready_recipe(name), "run python -m training.ready"
    assert max(map(len, text.splitlines())) <= 120
    detector = make_image_detector(parse_image_recipe(text))
    table = text.partition("\n[detector]\n")[2].partition("\n[training]\n")[0]
    written = set(re.findall(r"^(?:# )?(\w+) = |^\[detector\.(\w+)\]", table, flags=re.MULTILINE))
    fields = {field.name for field in dataclasses.fields(detector.Settings)}
    assert {"type", *fields} <= {name for names in written for name in names}


@dataclasses.dataclass
class Inner:
    """Settings in a table of their own."""

    deep: int = 1
    """Inside."""


@dataclasses.dataclass
class Example:
    """Fields as settings have them."""

    plain: int = 3
    """Short, as it is."""
    long: float | None = None
    """None: estimated. A text that is too long to stand beside its setting on the same line, because it goes on and on
    and on."""
    bare: str = 'a"b'
    list_of: tuple[int, ...] = (1, 2)
    """EM finds its own."""
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_a_setting_is_explained_beside_it_or_above_it_and_one_without_a_value_is_a_comment() -> None:
    from training.ready import table

    text = table("[example]", Example, {"plain": 4, "type": "x"}, type_name="x")
    assert text == (
        '\n[example]\ntype = "x"\n'
        "plain = 4  # short, as it is\n"
        "# without this line: estimated. A text that is too long to stand beside its setting on the same line, because it goes on\n"
        "# and on and on\n"
        "# long = …\n"
        'bare = "a\\"b"\n'
        "list_of = [1, 2]  # EM finds its own\n"
        "\n[example.inner]\ndeep = 1  # inside\n"
    )
    expected = {"type": "x", "plain": 4, "bare": 'a"b', "list_of": [1, 2], "inner": {"deep": 1}}
    assert tomllib.loads(text)["example"] == expected
