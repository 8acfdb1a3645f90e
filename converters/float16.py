"""Store the body's weights as float16: half the size, float32 arithmetic, front and head untouched.

TensorFlow's own float16 conversion also halves the constants of front and head. There a channel's centre, or the
inverse of a covariance, loses three digits, and scores move: on a T-squared graph the fault-to-normal ratio changed
by 6 %, on a forecaster by 36 %. So the float32 file is rewritten instead: each constant of an operator in the body
becomes float16, with a DEQUANTIZE in front of its users, which is the form that TensorFlow writes and that runtimes
fold away when they load it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.flatbuffer import in_body, packed
from converters.refusal import Refused

MIN_VALUES = 32
"""Fewest values worth storing as float16: a DEQUANTIZE operator takes some 60 bytes of the file."""

DEQUANTIZE_VERSION = 3
"""Version of DEQUANTIZE that takes float16; tflite-runtime 2.14 knows up to 6."""


def with_float16_weights(model: bytes) -> bytes:
    """Rewrite a float32 flatbuffer with the weights of its body in float16.

    Raises:
        Refused: the body has no weights worth it.
    """
    from ai_edge_litert import schema_py_generated as schema

    root = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = root.subgraphs[0]
    weights = _weights(root, graph, schema)
    if not weights:
        raise Refused("the detector has no body with weights to shrink: front and head stay float32")
    code = _dequantize_code(root, schema)
    conversions = []
    for index in weights:
        operator, halved = _halved(root, graph, index, schema)
        operator.opcodeIndex = code
        conversions.append(operator)
        for user in graph.operators:
            if in_body(graph.tensors[user.outputs[0]].name.decode()):
                user.inputs = np.where(user.inputs == index, halved, user.inputs)
    _drop_unused(root, graph, weights)
    graph.operators = conversions + graph.operators
    return packed(root)


def _weights(root: Any, graph: Any, schema: Any) -> list[int]:
    """Indices of the float32 constants that operators of the body take."""
    taken = {
        int(index)
        for operator in graph.operators
        if in_body(graph.tensors[operator.outputs[0]].name.decode())
        for index in operator.inputs
        if index >= 0
    }
    return sorted(
        index
        for index in taken
        if graph.tensors[index].type == schema.TensorType.FLOAT32
        and _values(root, graph, index).size >= MIN_VALUES
        and np.abs(_values(root, graph, index)).max() <= np.finfo(np.float16).max
    )


def _values(root: Any, graph: Any, index: int) -> np.ndarray:
    """The constant's values; empty for a tensor that is computed."""
    data = root.buffers[graph.tensors[index].buffer].data
    return np.empty(0, np.float32) if data is None else np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.float32)


def _dequantize_code(root: Any, schema: Any) -> int:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = DEQUANTIZE_VERSION
    root.operatorCodes.append(code)
    return len(root.operatorCodes) - 1


def _halved(root: Any, graph: Any, index: int, schema: Any) -> tuple[Any, int]:
    """Add a float16 copy of a constant and what DEQUANTIZE makes of it; return the operator and that tensor."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(_values(root, graph, index).astype(np.float16).tobytes(), np.uint8)
    root.buffers.append(buffer)
    old = graph.tensors[index]
    stored, widened = schema.TensorT(), schema.TensorT()
    for tensor, kind, ending in (
        (stored, schema.TensorType.FLOAT16, b"_float16"),
        (widened, schema.TensorType.FLOAT32, b"_float32"),
    ):
        tensor.name, tensor.shape, tensor.shapeSignature, tensor.type, tensor.hasRank = (
            old.name + ending,
            old.shape,
            old.shapeSignature,
            kind,
            True,
        )
    stored.buffer = len(root.buffers) - 1
    graph.tensors += [stored, widened]
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = (
        np.array([len(graph.tensors) - 2], np.int32),
        np.array([len(graph.tensors) - 1], np.int32),
    )
    return operator, len(graph.tensors) - 1


def _drop_unused(root: Any, graph: Any, weights: list[int]) -> None:
    """Empty the buffers of constants that nothing takes any more; indices stay as they are."""
    used = {int(index) for operator in graph.operators for index in operator.inputs}
    for index in set(weights) - used:
        buffer = graph.tensors[index].buffer
        if all(other.buffer != buffer for position, other in enumerate(graph.tensors) if position != index):
            root.buffers[buffer].data = None
