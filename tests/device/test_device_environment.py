"""What a device gets: a small wheel, a small environment, no TensorFlow, and the same scores on both runtimes."""

import os
import subprocess
import time
import zipfile
from pathlib import Path

from tests.device.environment import Device, run
from tests.frame_bundles import running_bundle
from tests.golden import DETECTORS

MAX_ENVIRONMENT_BYTES = 200_000_000
"""Of the design: an environment must fit beside the system on a small SD card or eMMC."""


def size_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def test_the_wheel_holds_the_agent_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edge_agent"}


def test_the_environment_is_small_and_has_no_tensorflow(device: Device) -> None:
    size = size_bytes(device.folder)
    print(f"\n{device.runtime}: environment {size / 1e6:.0f} MB of at most {MAX_ENVIRONMENT_BYTES / 1e6:.0f}")
    assert size < MAX_ENVIRONMENT_BYTES
    packages = {path.name.lower() for path in (device.folder / "lib").glob("python*/site-packages/*")}
    assert not {name for name in packages if name.startswith(("tensorflow", "keras", "torch"))}


def test_nothing_that_a_package_asks_for_is_missing(device: Device) -> None:
    broken = [] if device.runtime == "litert" else ["anomalite"]  # asks for LiteRT, which tflite-runtime replaces
    result = subprocess.run([str(device.python), "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert [line.split()[0] for line in result.stdout.splitlines() if " requires " in line] == broken, result.stdout


def test_every_module_imports_without_the_workstation(device: Device) -> None:
    found = device.inside("imports")
    print(f"\n{device.runtime}: {found['modules']} modules imported in {found['seconds']} s")
    assert found["modules"] > 20
    assert str(found["file"]).startswith(str(device.folder))


def test_the_command_line_answers_at_once(device: Device) -> None:
    environment = os.environ | {"PYTHONPATH": ""}
    run(device.python.with_name("edge-agent"), "--help", env=environment)
    started = time.perf_counter()
    text = run(device.python.with_name("edge-agent"), "--help", env=environment)
    print(f"\n{device.runtime}: edge-agent --help in {time.perf_counter() - started:.2f} s")
    assert "run" in text


def test_golden_data_replay_within_their_tolerances(device: Device, bundle: Path) -> None:
    found = device.inside("golden", bundle, "--runtime", device.runtime)
    print(f"\n{device.runtime}, {bundle.stem}: peak memory {found['rss_mib']:.0f} MiB")
    for row in found["graphs"]:
        print(
            f"  {row['format']:<8} {row['delegate']:<8} {row['us_per_call']:>8.1f} us a call, "
            f"golden error {row['golden_error']:.2g} of {row['tolerance']:.2g} {row['problem']}"
        )
    assert [row["problem"] for row in found["graphs"]] == [""] * 2 * len(DETECTORS[bundle.stem])


def test_a_frame_is_scored_and_mapped(device: Device, tmp_path: Path) -> None:
    (tmp_path / "frame.bundle").write_bytes(running_bundle())
    found = device.inside("golden", tmp_path / "frame.bundle", "--runtime", device.runtime)
    assert [(row["delegate"], row["problem"]) for row in found["graphs"]] == [("xnnpack", ""), ("none", "")]
