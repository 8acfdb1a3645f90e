"""Reading bundles: whole ones are read, and every hostile form is refused by its own message."""

from __future__ import annotations

import json
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.contract import bundle as bundle_module
from edge_agent.contract.arrays import write_npz
from edge_agent.contract.bundle import MAX_BUNDLE_BYTES, Bundle
from edge_agent.contract.prefilter import Mode
from edge_agent.errors import BundleError, DigestMismatch, ManifestError, UnsupportedFormat
from tests.bundles import bundle_bytes, manifest, members, zipped

GOOD = bundle_bytes()


def test_a_bundle_is_read_from_bytes_and_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "pump.bundle"
    path.write_bytes(GOOD)
    for read in (Bundle.read(GOOD), Bundle.read(path), Bundle.read(str(path))):
        assert read.manifest.name == "pump"
        assert read.graph("float32").startswith(b"\0\0\0\0TFL3")


def test_prefilter_and_golden_data_come_out_as_they_went_in() -> None:
    read = Bundle.read(GOOD)
    assert (read.prefilter().lower, read.prefilter().upper) == (1.0, 1e4)
    assert read.manifest.prefilter.mode is Mode.WATCH
    assert read.golden()["score_float32"].tolist() == [1, 2, 3]


def test_a_format_the_bundle_lacks_is_named_with_those_it_has() -> None:
    with pytest.raises(ManifestError, match="no int8 graph, only float32"):
        Bundle.read(GOOD).graph("int8")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nothing\.bundle cannot be read: No such file"):
        Bundle.read(tmp_path / "nothing.bundle")


def test_a_file_that_is_no_zip_is_no_bundle() -> None:
    with pytest.raises(BundleError, match="does not begin as a zip"):
        Bundle.read(b"#!/bin/sh\n" * 10)


def test_an_empty_file_is_no_bundle() -> None:
    with pytest.raises(BundleError, match="does not begin as a zip"):
        Bundle.read(b"")


@pytest.mark.parametrize("size", [30, len(GOOD) // 2, len(GOOD) - 1])
def test_a_truncated_file_is_said_to_be_truncated(size: int) -> None:
    with pytest.raises(BundleError, match="truncated"):
        Bundle.read(GOOD[:size])


def test_bytes_appended_to_a_bundle_are_refused() -> None:
    with pytest.raises(BundleError, match="appended"):
        Bundle.read(GOOD + b"x")


def test_a_file_above_the_limit_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", 100)
    path = tmp_path / "large.bundle"
    path.write_bytes(GOOD)
    with pytest.raises(BundleError, match="101 bytes, at most 100"):
        Bundle.read(path)


def test_a_zip_bomb_is_refused_by_its_ratio() -> None:
    with pytest.raises(BundleError, match="zip bomb"):
        Bundle.read(bundle_bytes(files={"report.html": bytes(10 << 20)}))


def test_members_that_unpack_beyond_the_limit_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "MAX_BUNDLE_BYTES", len(GOOD) + 10)
    with pytest.raises(BundleError, match="unpacks to 5 files"):
        Bundle.read(GOOD)


def test_a_member_that_lies_about_its_size_is_refused() -> None:
    lying = bytearray(GOOD)
    entry = lying.index(b"PK\x01\x02", lying.index(b"PK\x01\x02") + 1)
    lying[entry + 24 : entry + 28] = struct.pack("<I", 5)
    with pytest.raises(BundleError):
        Bundle.read(bytes(lying))


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../evil", "..\\evil", "C:\\evil"])
def test_a_path_that_leads_out_of_the_bundle_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="leads out of it"):
        Bundle.read(zipped([("manifest.json", b"{}"), (name, b"x")]))


@pytest.mark.parametrize("name", ["folder/file", "folder/", ".hidden", "a b", "x" * 101])
def test_a_name_that_is_no_plain_file_name_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="plain file names"):
        Bundle.read(zipped([("manifest.json", b"{}"), (name, b"x")]))


def test_a_name_given_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = zipped([("manifest.json", b"{}"), ("golden.npz", b"a"), ("golden.npz", b"b")])
    with pytest.raises(BundleError, match=r"'golden\.npz' twice"):
        Bundle.read(data)


def test_a_link_is_refused() -> None:
    with pytest.raises(BundleError, match="link or special file"):
        Bundle.read(
            zipped([("manifest.json", b"/etc/shadow")], external_attr=(stat.S_IFLNK | 0o777) << 16, create_system=3)
        )


def test_an_encrypted_member_is_refused() -> None:
    data = bytearray(zipped([("manifest.json", b"{}")]))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BundleError, match="encrypted: refused"):
        Bundle.read(bytes(data))


def test_a_long_table_of_contents_is_refused_before_it_is_built() -> None:
    with pytest.raises(BundleError, match="lists 2000 files"):
        Bundle.read(zipped([(f"file{number}", b"") for number in range(2000)]))


def test_a_64_bit_zip_is_refused() -> None:
    with pytest.raises(BundleError, match="lists"):
        Bundle.read(GOOD[:-42] + b"PK\x06\x07" + GOOD[-38:])


def test_a_bundle_without_manifest_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"holds no manifest\.json"):
        Bundle.read(zipped([("golden.npz", b"x")]))


def test_a_huge_manifest_is_refused_unread() -> None:
    noise = np.random.default_rng(0).bytes(2 << 20)
    with pytest.raises(ManifestError, match=r"manifest\.json has 2097152 bytes"):
        Bundle.read(zipped([("manifest.json", noise)]))


def test_a_member_that_was_changed_is_refused_by_its_digest() -> None:
    weights = bytearray(members()["model_float32.tflite"])
    weights[-1] ^= 1
    with pytest.raises(DigestMismatch, match=r"model_float32\.tflite is not the file the manifest names"):
        Bundle.read(bundle_bytes(files={"model_float32.tflite": bytes(weights)}))


def test_a_member_of_another_size_is_refused() -> None:
    with pytest.raises(DigestMismatch, match=r"5 bytes"):
        Bundle.read(bundle_bytes(files={"golden.npz": b"short"}))


def test_a_missing_member_is_named() -> None:
    files = members()
    kept = [
        ("manifest.json", json.dumps(manifest(files).to_dict()).encode()),
        *((k, v) for k, v in files.items() if k != "golden.npz"),
    ]
    with pytest.raises(ManifestError, match=r"holds no golden\.npz"):
        Bundle.read(zipped(kept))


def test_a_file_the_manifest_does_not_name_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"does not name: extra\.so"):
        Bundle.read(bundle_bytes(files={"extra.so": b"\x7fELF"}))


def test_a_bundle_of_a_newer_format_names_the_version_it_needs() -> None:
    with pytest.raises(UnsupportedFormat, match="has format 2, this agent reads format 1: update the agent"):
        Bundle.read(bundle_bytes({"format": 2, "a_key_of_the_future": True}))


def test_golden_data_without_a_graphs_scores_are_refused() -> None:
    golden = write_npz({"windows": np.zeros((3, 4, 2), np.float32)})
    with pytest.raises(ManifestError, match="score_float32"):
        _with_member("golden.npz", golden).golden()


def test_golden_scores_that_are_not_finite_are_refused() -> None:
    golden = write_npz({"windows": np.zeros((1, 4, 2), np.float32), "score_float32": np.array([np.nan], np.float32)})
    with pytest.raises(ManifestError, match="finite"):
        _with_member("golden.npz", golden).golden()


def test_golden_windows_of_other_channels_are_refused() -> None:
    golden = write_npz({"windows": np.zeros((1, 4, 3), np.float32), "score_float32": np.zeros(1, np.float32)})
    with pytest.raises(ManifestError, match=r"float32 \[g, rows, 2\]"):
        _with_member("golden.npz", golden).golden()


def test_a_prefilter_that_is_none_is_refused() -> None:
    with pytest.raises(ManifestError):
        _with_member("prefilter.npz", b"not arrays").prefilter()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_mutated_bundle_raises_anything_but_a_bundle_error(data: st.DataObject) -> None:
    mutated = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(mutated) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "repeat"]))
        if kind == "flip":
            mutated[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del mutated[place : place + data.draw(st.integers(1, 40))]
        else:
            mutated[place:place] = mutated[place : place + 40]
        if not mutated:
            break
    _read_all(bytes(mutated))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["manifest.json", "golden.npz", "prefilter.npz"]))
def test_no_mutated_member_raises_anything_but_a_bundle_error(noise: bytes, name: str) -> None:
    files = members()
    base = json.dumps(manifest(files).to_dict()).encode() if name == "manifest.json" else files[name]
    place = len(noise) * 7919 % len(base)
    changed = base[:place] + noise + base[place + len(noise) // 2 :]
    if name == "manifest.json":
        _read_all(zipped([(name, changed), *files.items()]))
    else:
        files[name] = changed
        _read_all(zipped([("manifest.json", json.dumps(manifest(files).to_dict()).encode()), *files.items()]))


def _with_member(name: str, data: bytes) -> Bundle:
    files = members() | {name: data}
    return Bundle.read(zipped([("manifest.json", json.dumps(manifest(files).to_dict()).encode()), *files.items()]))


def _read_all(data: bytes) -> None:
    try:
        read = Bundle.read(data)
        read.golden()
        read.prefilter()
    except BundleError:
        pass


def test_the_limit_on_a_bundle_fits_a_zip_without_64_bit_forms() -> None:
    assert MAX_BUNDLE_BYTES < zipfile.ZIP64_LIMIT
