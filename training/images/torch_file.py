"""Read the tensors of a PyTorch file without PyTorch, and without running anything that the file asks for.

The legacy format (before PyTorch 1.6) is a row of pickles: a magic number, a protocol version, facts on the machine,
the state dict, the keys of its storages; then each storage as int64 length and raw values. A pickle can call any
function it names, so every one of them goes through an unpickler that knows an ordered dict, one tensor constructor
and the names of the storage types, and refuses all else.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
"""First two pickles of every legacy file."""

DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ByteStorage": "u1",
}
"""Storage types by their PyTorch names; values are little-endian on every machine that wrote such files."""


class TorchFileError(Exception):
    """The file is not a legacy PyTorch state dict, is damaged, or asks for what is not allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Storage:
    """Values that tensors look into; they stand at the end of the file."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    """Values before its first."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """Values from one to the next along each axis; axes may be stored in any order."""


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Tensors by name.

    Raises:
        TorchFileError: not such a file, damaged, or it asks for what no state dict needs.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        try:
            return _read(file)
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise TorchFileError(f"{path}: expected a PyTorch state dict of the legacy format: {error}") from error


def _read(file: IO[bytes]) -> dict[str, NDArray[Any]]:
    if (head := [_Unpickler(file).load(), _Unpickler(file).load()]) != [MAGIC, PROTOCOL]:
        raise ValueError(f"it starts with {head}, not with {[MAGIC, PROTOCOL]}")
    _Unpickler(file).load()
    tensors = _Unpickler(file).load()
    if not isinstance(tensors, OrderedDict) or not all(isinstance(each, _Tensor) for each in tensors.values()):
        raise ValueError("it holds no dict of tensors")
    storages = {each.storage.key: each.storage for each in tensors.values()}
    values = {key: _values(file, storages[key]) for key in _Unpickler(file).load()}
    return {name: _array(tensor, values) for name, tensor in tensors.items()}


def _values(file: IO[bytes], storage: _Storage) -> NDArray[Any]:
    head = file.read(8)
    if len(head) < 8 or struct.unpack("<q", head)[0] != storage.count:
        raise ValueError(f"storage {storage.key} is cut short or not of {storage.count} values")
    size = storage.count * np.dtype(storage.dtype).itemsize
    if len(data := file.read(size)) < size:
        raise ValueError(f"storage {storage.key} is cut short: expected {size} bytes, got {len(data)}")
    return np.frombuffer(data, storage.dtype)


def _array(tensor: _Tensor, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Copy a tensor out of its storage, whatever the order its axes are stored in."""
    stored = values[tensor.storage.key][max(tensor.offset, 0) :]
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    sane = tensor.offset >= 0 and min(tensor.shape, default=1) > 0 and min(tensor.strides, default=0) >= 0
    if not sane or last >= len(stored) or prod(tensor.shape) > len(stored):
        raise ValueError(f"a tensor reaches out of its storage of {tensor.storage.count} values: {tensor}")
    strides = [step * stored.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(stored, tensor.shape, strides, writeable=False).copy()


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_others: object
) -> _Tensor:
    """What stands in for `torch._utils._rebuild_tensor_v2`; what it is told of gradients does not matter here."""
    return _Tensor(storage=storage, offset=offset, shape=shape, strides=strides)


class _Unpickler(pickle.Unpickler):
    """Knows the names that a state dict needs; any other is refused before it is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in DTYPES:
            return name
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no state dict needs: refused")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _device, count, view = pid
        if kind != "storage" or view is not None:
            raise pickle.UnpicklingError(f"it asks for a {kind} or a view of a storage: refused")
        return _Storage(key=key, dtype=DTYPES[storage_type], count=count)
