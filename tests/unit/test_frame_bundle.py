"""Reading bundles for cameras: whole ones are read, and every hostile form is refused by its own message."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.contract import bundle as bundle_module
from edge_agent.contract.bundle import Bundle, FrameBundle, read_bundle
from edge_agent.errors import BundleError, DigestMismatch, ManifestError
from tests import bundles
from tests.bundles import zipped
from tests.frame_bundles import HEIGHT, WIDTH, bundle_bytes, golden, manifest, members

GOOD = bundle_bytes()


def test_a_bundle_is_read_from_bytes_and_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "weld.bundle"
    path.write_bytes(GOOD)
    for read in (FrameBundle.read(GOOD), FrameBundle.read(path), read_bundle(str(path))):
        assert read.manifest.name == "weld"
        assert read.graph("float32").startswith(b"\0\0\0\0TFL3")


def test_golden_data_come_out_as_they_went_in() -> None:
    read = FrameBundle.read(GOOD).golden()
    for name, array in golden().items():
        np.testing.assert_array_equal(read[name], array)


def test_the_kind_decides_what_is_read() -> None:
    assert isinstance(read_bundle(GOOD), FrameBundle)
    assert isinstance(read_bundle(bundles.bundle_bytes()), Bundle)


def test_a_bundle_for_a_camera_is_refused_where_sensors_are_meant() -> None:
    with pytest.raises(ManifestError, match="for the frames of a camera"):
        Bundle.read(GOOD)


def test_a_bundle_for_sensors_is_refused_where_a_camera_is_meant() -> None:
    with pytest.raises(ManifestError, match="for the readings of sensors"):
        FrameBundle.read(bundles.bundle_bytes())


def test_a_member_that_was_changed_is_refused() -> None:
    files = members()
    text = json.dumps(manifest(files).to_dict()).encode()
    with pytest.raises(DigestMismatch, match=r"report\.html is not the file the manifest names"):
        FrameBundle.read(zipped([("manifest.json", text), *(files | {"report.html": b"<p>fine</p>"}).items()]))


def test_a_file_that_the_manifest_does_not_name_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"does not name: prefilter\.npz"):
        FrameBundle.read(_packed({}, extra={"prefilter.npz": b"x"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": np.zeros((3, HEIGHT, WIDTH, 3), np.float32)}, r"`frames` uint8 \[g, 12, 16, 3\]"),
        ({"frames": np.zeros((3, WIDTH, HEIGHT, 3), np.uint8)}, r"`frames` uint8 \[g, 12, 16, 3\]"),
        ({"frames": np.zeros((0, HEIGHT, WIDTH, 3), np.uint8)}, r"`frames` uint8"),
        ({"frames": np.zeros((), np.uint8)}, r"`frames` uint8"),
        ({"frames": None}, r"`frames` uint8"),
        ({"score_float32": np.zeros(2, np.float32)}, r"`score_float32` float32 \[3\]"),
        ({"score_float32": np.zeros((3, 1), np.float32)}, r"`score_float32` float32 \[3\]"),
        ({"score_float32": np.full(3, np.nan, np.float32)}, r"finite `score_float32`"),
        ({"score_float32": np.zeros(3)}, r"`score_float32` float32"),
        ({"map_float32": None}, r"`map_float32` float32 \[3, h, w\]"),
        ({"map_float32": np.zeros((2, 3, 4), np.float32)}, r"`map_float32` float32 \[3, h, w\]"),
        ({"map_float32": np.zeros((3, 12), np.float32)}, r"`map_float32` float32 \[3, h, w\]"),
        ({"map_float32": np.zeros((3, 0, 4), np.float32)}, r"`map_float32` float32 \[3, h, w\]"),
        ({"map_float32": np.full((3, 3, 4), np.inf, np.float32)}, r"finite `map_float32`"),
        ({"map_float32": np.zeros((3, 1 << 10, (1 << 10) + 1), np.float32)}, "at most 1048576 cells"),
    ],
)
def test_golden_data_that_no_graph_could_give_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    read = FrameBundle.read(_packed(change))
    with pytest.raises(ManifestError, match=message):
        read.golden()


def test_the_golden_sequences_of_a_streaming_detector_have_a_score_a_frame_and_a_map_each() -> None:
    data = {
        "sequences": np.zeros((2, 5, HEIGHT, WIDTH, 3), np.uint8),
        "score_float32": np.zeros((2, 5), np.float32),
        "map_float32": np.zeros((2, 3, 4), np.float32),
    }
    files = members(data)
    values = manifest(files).to_dict()
    values["input"]["streaming"] = True
    values["graphs"][0]["states"] = [{"name": "h", "input": 1, "output": 2, "shape": [1, 4]}]
    read = read_bundle(zipped([("manifest.json", json.dumps(values).encode()), *files.items()]))
    assert read.golden()["sequences"].shape == (2, 5, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("kinds", "problem"),
    [
        (np.full((3, 3, 4, 2), 0.5, np.float32), ""),
        (None, r"finite `kinds_float32` float32 \[3, 3, 4, 2\]"),
        (np.full((3, 3, 4, 3), 0.3, np.float32), r"finite `kinds_float32` float32 \[3, 3, 4, 2\]"),
        (np.full((3, 4, 3, 2), 0.5, np.float32), r"finite `kinds_float32`"),
        (np.full((3, 3, 4, 2), np.nan, np.float32), r"finite `kinds_float32`"),
    ],
    ids=["of each cell and class", "none", "more than the classes", "of other cells", "not finite"],
)
def test_golden_kinds_are_those_of_the_map_and_the_classes(kinds: np.ndarray | None, problem: str) -> None:
    files = members(golden() | ({} if kinds is None else {"kinds_float32": kinds}))
    values = manifest(files).to_dict()
    values["input"]["classes"] = ["crack", "scratch"]
    values["graphs"][0]["kinds"] = 11
    read = FrameBundle.read(zipped([("manifest.json", json.dumps(values).encode()), *files.items()]))
    with pytest.raises(ManifestError, match=problem) if problem else contextlib.nullcontext():
        read.golden()


def test_golden_data_are_bounded_before_they_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    read = FrameBundle.read(GOOD)
    monkeypatch.setattr("edge_agent.contract.arrays.MAX_ARRAYS_BYTES", 1000)
    with pytest.raises(ManifestError, match="more than 64 arrays or 1000 bytes"):
        read.golden()


def test_a_file_above_the_limit_is_refused_whatever_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", 100)
    with pytest.raises(BundleError, match="at most 100"):
        read_bundle(GOOD)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["manifest.json", "golden.npz"]))
def test_no_mutated_member_raises_anything_but_a_bundle_error(noise: bytes, name: str) -> None:
    files = members()
    base = json.dumps(manifest(files).to_dict()).encode() if name == "manifest.json" else files[name]
    place = len(noise) * 7919 % len(base)
    changed = base[:place] + noise + base[place + len(noise) // 2 :]
    text = changed if name == "manifest.json" else None
    if text is None:
        files[name] = changed
        text = json.dumps(manifest(files).to_dict()).encode()
    with contextlib.suppress(BundleError):
        read_bundle(zipped([("manifest.json", text), *files.items()])).golden()


def _packed(change: dict[str, np.ndarray | None], extra: dict[str, bytes] | None = None) -> bytes:
    """A bundle whose golden arrays were replaced, or left out where None, before the manifest named them."""
    data = {name: array for name, array in (golden() | change).items() if array is not None}
    files = members(data)
    text = json.dumps(manifest(files).to_dict()).encode()
    return zipped([("manifest.json", text), *files.items(), *(extra or {}).items()])
