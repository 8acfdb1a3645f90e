"""The hashed requirements say what the project says, and carry nothing of the machine they were compiled on."""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "requirements"
DEVICE = ("device-litert", "device-litert-camera", "device-tflite", "device-tflite-camera")
SETS = ("dev", *DEVICE)


def pins(name: str) -> dict[str, set[str]]:
    """Return the versions pinned for each package: a package may have one a Python version."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9_.-]+)==(\S+)", (FOLDER / f"{name}.txt").read_text(), re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


def asked(text: str) -> set[str]:
    """Return the requirements of a `.in` file."""
    return {line for line in text.splitlines() if line and not line.startswith("#")}


@pytest.mark.parametrize("name", SETS)
def test_every_package_is_pinned_with_its_hashes(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    requirements = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    assert len(requirements) >= 4
    assert [each.splitlines()[0] for each in requirements if not re.search(r"--hash=sha256:[0-9a-f]{64}", each)] == []
    assert [each.splitlines()[0] for each in requirements if "==" not in each.splitlines()[0]] == []


@pytest.mark.parametrize("name", SETS)
def test_no_address_and_no_local_path_is_in_it(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    assert not re.search(r"://|--index|--find-links|@ |(^|\s)/", text)


@pytest.mark.parametrize("name", DEVICE)
def test_a_device_gets_no_tensorflow(name: str) -> None:
    assert not {"tensorflow", "keras", "scipy", "pandas", "torch"} & set(pins(name))


def test_the_device_runs_the_versions_that_were_tested() -> None:
    tested = pins("dev")
    assert {name: version for name, version in pins("device-litert-camera").items() if tested[name] != version} == {}


def test_the_device_set_is_what_the_wheel_asks_for() -> None:
    wheel = set(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"])
    litert = asked((FOLDER / "device-litert.in").read_text())
    assert wheel <= litert
    assert wheel <= asked((FOLDER / "dev.in").read_text())


@pytest.mark.parametrize("runtime", ["litert", "tflite"])
def test_a_device_with_a_camera_has_opencv_and_else_the_same(runtime: str) -> None:
    bare, camera = pins(f"device-{runtime}"), pins(f"device-{runtime}-camera")
    assert camera.pop("opencv-python-headless")
    assert camera == bare


def test_tflite_runtime_is_kept_from_numpy_2() -> None:
    assert [version for version in pins("device-tflite")["numpy"] if not version.startswith("1.")] == []
