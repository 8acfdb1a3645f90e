"""The reader of PyTorch files takes tensors out of them and runs nothing that they ask for."""

import io
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from training.images.torch_file import MAGIC, PROTOCOL, TorchFileError, read_state_dict

VALUES = np.arange(6, dtype="<f4")


class Storage:
    """Pickled as PyTorch pickles a storage: by a persistent id."""

    def __init__(self, storage_type: str = "FloatStorage") -> None:
        self.storage_type = storage_type


class Named:
    """Pickled as the global of this name."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickled as a call of a global."""

    def __init__(self, function: Named, *arguments: object) -> None:
        self.function, self.arguments = function, arguments


class Pickler(pickle._Pickler):  # the one in Python lets a global be written that cannot be imported
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", Named("torch", obj.storage_type), "key", "cpu", len(VALUES), None)
        return None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Named):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], storage: str = "FloatStorage") -> Call:
    rebuild = Named("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, Storage(storage), offset, shape, strides, False, OrderedDict())


def torch_file(path: Path, state: object, *, data: bytes = struct.pack("<q", 6) + VALUES.tobytes()) -> Path:
    out = io.BytesIO()
    for each in (MAGIC, PROTOCOL, {"little_endian": True}, state, ["key"]):
        Pickler(out, protocol=2).dump(each)
    path.write_bytes(out.getvalue() + data)
    return path


def test_a_tensor_is_read_with_its_shape(tmp_path):
    read = read_state_dict(torch_file(tmp_path / "a.pth", OrderedDict(w=tensor(0, (2, 3), (3, 1)))))
    assert read["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_axes_may_be_stored_in_another_order(tmp_path):
    read = read_state_dict(torch_file(tmp_path / "a.pth", OrderedDict(w=tensor(0, (3, 2), (1, 3)))))
    assert read["w"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_tensor_may_begin_within_its_storage(tmp_path):
    read = read_state_dict(torch_file(tmp_path / "a.pth", OrderedDict(w=tensor(4, (2,), (1,)))))
    assert read["w"].tolist() == [4, 5]


def test_a_call_of_anything_else_is_refused_and_not_made(tmp_path):
    made = tmp_path / "made"
    state = OrderedDict(w=Call(Named("os", "mkdir"), str(made)))
    with pytest.raises(TorchFileError, match=r"os\.mkdir.*refused"):
        read_state_dict(torch_file(tmp_path / "a.pth", state))
    assert not made.exists()


def test_a_call_in_front_of_the_state_is_refused_too(tmp_path):
    made, path, out = tmp_path / "made", tmp_path / "a.pth", io.BytesIO()
    Pickler(out, protocol=2).dump(Call(Named("os", "mkdir"), str(made)))
    path.write_bytes(out.getvalue())
    with pytest.raises(TorchFileError, match="refused"):
        read_state_dict(path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (1, (2, 3), (3, 1)),
        (0, (7,), (1,)),
        (0, (2,), (6,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (1000, 1000), (0, 0)),
        (0, (-2,), (1,)),
    ],
    ids=[
        "past the end",
        "too long",
        "by its strides",
        "before the start",
        "backwards",
        "repeated without end",
        "negative",
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(tmp_path, offset, shape, strides):
    with pytest.raises(TorchFileError, match="reaches out of its storage"):
        read_state_dict(torch_file(tmp_path / "a.pth", OrderedDict(w=tensor(offset, shape, strides))))


@pytest.mark.parametrize("data", [b"", struct.pack("<q", 6) + VALUES.tobytes()[:-1], struct.pack("<q", 7) + bytes(28)])
def test_a_file_cut_short_is_refused(tmp_path, data):
    with pytest.raises(TorchFileError, match="cut short"):
        read_state_dict(torch_file(tmp_path / "a.pth", OrderedDict(w=tensor(0, (6,), (1,))), data=data))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 the newer format", pickle.dumps("other"), pickle.dumps(MAGIC)])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(TorchFileError, match=r"a\.pth: expected a PyTorch state dict"):
        read_state_dict(path)


def test_what_is_no_dict_of_tensors_is_refused(tmp_path):
    with pytest.raises(TorchFileError, match="no dict of tensors"):
        read_state_dict(torch_file(tmp_path / "a.pth", OrderedDict(w=1)))
