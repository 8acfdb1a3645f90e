"""Arrays from strangers: what was written is read, and no header is believed that its bytes do not bear out."""

from __future__ import annotations

import contextlib
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.contract.arrays import read_npz, write_npz
from edge_agent.errors import ManifestError

GOOD = {
    "windows": np.arange(24, dtype=np.float32).reshape(2, 4, 3),
    "names": np.array(["a", "bc"]),
    "empty": np.zeros((0, 2)),
    "number": np.array(3.5),
    "by_column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


def archive(member: bytes, name: str = "x.npy") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, member)
    return buffer.getvalue()


def npy(array: np.ndarray, *, shape: tuple[int, ...] | None = None, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=allow_pickle)
    text = buffer.getvalue()
    if shape is not None:
        old = repr(array.shape).encode()
        new = repr(shape).encode()
        text = text.replace(old + b", }" + b" " * (len(new) - len(old)), new + b", }")
    return text


def test_arrays_come_back_as_they_were() -> None:
    read = read_npz(write_npz(GOOD), "x.npz")
    assert list(read) == list(GOOD)
    for name, array in GOOD.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


def test_what_numpy_saves_is_read() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **GOOD)
    for name, array in read_npz(buffer.getvalue(), "x.npz").items():
        np.testing.assert_array_equal(array, GOOD[name], strict=True)


def test_equal_arrays_give_equal_bytes() -> None:
    assert write_npz(GOOD) == write_npz(dict(GOOD))


def test_a_header_that_claims_more_than_is_there_is_not_believed() -> None:
    with pytest.raises(ManifestError, match=r"x\.npy claims \[99999999999\] of float64 but holds 8 bytes"):
        read_npz(archive(npy(np.zeros(1), shape=(99_999_999_999,))), "x.npz")


def test_objects_are_refused() -> None:
    with pytest.raises(ManifestError, match="holds object, expected numbers"):
        read_npz(archive(npy(np.array([{}], dtype=object), allow_pickle=True)), "x.npz")


def test_arrays_that_unpack_beyond_the_limit_are_refused() -> None:
    with pytest.raises(ManifestError, match="more than 64 arrays or"):
        read_npz(archive(bytes(70 << 20)), "x.npz")


def test_many_arrays_are_refused() -> None:
    with pytest.raises(ManifestError, match="more than 64 arrays"):
        read_npz(write_npz({f"a{number}": np.zeros(1) for number in range(65)}), "x.npz")


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_raise_anything_but_a_manifest_error(noise: bytes, place: int) -> None:
    good = write_npz(GOOD)
    for data in (
        noise,
        good[:place] + noise + good[place + len(noise) :],
        archive(noise),
        archive(b"\x93NUMPY\x01\x00" + noise),
    ):
        with contextlib.suppress(ManifestError):
            read_npz(data, "x.npz")
