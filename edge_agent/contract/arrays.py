"""Arrays from strangers: the `.npz` members of a bundle, read without pickle and without trusting any size in them.

`numpy.load` allocates what a header claims before it reads; here the header must agree with the bytes that are there.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ManifestError

MAX_ARRAYS_BYTES = 64 << 20
"""Unpacked size of one `.npz`; the golden windows of a 64 x 128 input with 32 cases take 1 MiB, the prefilter of 500
channels 50 MB."""

MAX_ARRAYS = 64
"""Arrays in one `.npz`; golden data has one per graph and one or two inputs."""

KINDS = "fiubU"
"""Kinds of array that are read: floats, integers, truth values, text; never objects."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time given to every member written: the first that a zip can hold, so that equal arrays give equal bytes."""


def read_npz(data: bytes, place: str) -> dict[str, NDArray[np.generic]]:
    """Read the arrays of an `.npz`.

    Raises:
        ManifestError: not an `.npz`, too large, or an array whose header does not agree with its bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > MAX_ARRAYS or sum(info.file_size for info in infos) > MAX_ARRAYS_BYTES:
                raise ManifestError(f"{place} unpacks to more than {MAX_ARRAYS} arrays or {MAX_ARRAYS_BYTES} bytes")
            return {info.filename.removesuffix(".npy"): _array(archive, info) for info in infos}
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        SyntaxError,
    ) as error:
        raise ManifestError(f"{place} does not hold numpy arrays that can be read safely: {error}") from error


def write_npz(arrays: dict[str, NDArray[np.generic]]) -> bytes:
    """Write arrays as an `.npz`, in the order given, with fixed times: equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=EPOCH)
            archive.writestr(info, member.getvalue(), compress_type=zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[np.generic]:
    with archive.open(info) as member:
        stream = io.BytesIO(member.read(info.file_size + 1))
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"{info.filename} has .npy version {version}, expected (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.kind not in KINDS:
        raise ValueError(f"{info.filename} holds {dtype}, expected numbers or text")
    left = stream.getbuffer().nbytes - stream.tell()
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != left:
        raise ValueError(f"{info.filename} claims {list(shape)} of {dtype} but holds {left} bytes")
    values = np.frombuffer(stream.getvalue(), dtype=dtype, offset=stream.tell())
    return values.reshape(shape, order="F" if fortran else "C")
