"""From an int8 graph to one that an Edge TPU can begin with: the frame goes into the body as the integers it is.

    int8       frame -> CAST -> normalise in float32 -> QUANTIZE -> int8 body -> float head
    edgetpu    frame, with a scale and a zero point ---> QUANTIZE -> int8 body -> float head

CAST is no operator of the Edge TPU, and after the first that it has not all the rest runs on the CPU. A normalisation
a p + b of pixels p, alike for all of them, is a quantization with scale a and zero point -b / a, so the frame says so
itself and its float copy is left out. A zero point is a whole number: at most half a grey level is lost. Where the head
needs the normalised frame as well (an autoencoder's residual), those operators stay, behind the body. Masks, a product
with 0 or 1, become the least of the integers and what QUANTIZE makes of 0 or 255: the same, as it rises with the pixel.

Operators that an Edge TPU takes are moved to the front as far as they depend on no others, since it takes one run of
operators from the first on.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.edgetpu.mapping import reasons
from converters.flatbuffer import operator_names, packed
from converters.refusal import Refused

PIXELS = np.array([0.0, 255.0])
"""Ends of the range of a pixel: an affine normalisation is told by what it makes of them."""

MINIMUM_VERSION = 2
"""Version of MINIMUM that takes int8."""

AFFINE: dict[str, Callable[[Any, float], Any]] = {
    "CAST": lambda values, _: values,
    "ADD": lambda values, constant: values + constant,
    "SUB": lambda values, constant: values - constant,
    "MUL": lambda values, constant: values * constant,
    "DIV": lambda values, constant: values / constant,
}
"""Operators of a normalisation, and what they do to values with their constant on the right."""


def with_integer_input(model: bytes) -> bytes:
    """Rewrite an int8 graph on frames.

    Raises:
        Refused: the body does not begin with one normalisation that is alike for all pixels and channels.
    """
    from ai_edge_litert import schema_py_generated as schema

    root = schema.ModelT.InitFromPackedBuf(model, 0)
    graph, names = root.subgraphs[0], operator_names(root)
    frame = _frame(root)
    mask = _mask(root, names, frame)
    quantize = _first_quantize(graph, names)
    scale, zero_point = _quantization(root, names, frame if mask is None else mask.outputs[0], quantize.inputs[0])
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = np.array([scale], np.float32), np.array([zero_point], np.int64)
    graph.tensors[frame].quantization = quantization
    quantize.inputs = np.array([frame], np.int32)
    if mask is not None:
        _mask_integers(root, mask, quantize, scale, zero_point)
    _drop_unused(root)
    _integers_first(root)
    return packed(root)


def _frame(root: Any) -> int:
    """Index of the input of pixels."""
    from ai_edge_litert import schema_py_generated as schema

    graph = root.subgraphs[0]
    found = [int(index) for index in graph.inputs if graph.tensors[index].type == schema.TensorType.UINT8]
    if len(found) != 1:
        raise Refused(f"expected one input of uint8 pixels, the graph has {len(found)}: edgetpu is made of frames")
    return found[0]


def _mask(root: Any, names: list[str], frame: int) -> Any:
    """The operator that blackens parts of the frame, a product of the cast frame with 0 or 1; None without masks."""
    graph = root.subgraphs[0]
    for cast in graph.operators:
        if names[cast.opcodeIndex] == "CAST" and int(cast.inputs[0]) == frame:
            for operator in graph.operators:
                taken = names[operator.opcodeIndex] == "MUL" and int(operator.inputs[0]) == int(cast.outputs[0])
                if taken and set(np.unique(_values(root, graph.tensors[operator.inputs[1]]))) == {0.0, 1.0}:
                    return operator
    return None


def _mask_integers(root: Any, mask: Any, quantize: Any, scale: float, zero_point: int) -> None:
    """Put the mask behind QUANTIZE, on int8: all who took what QUANTIZE gives take the masked one."""
    from ai_edge_litert import schema_py_generated as schema

    graph, seen = root.subgraphs[0], int(quantize.outputs[0])
    of_seen, watched = graph.tensors[seen].quantization, graph.tensors[mask.inputs[1]]
    steps = np.round((PIXELS[1] * _values(root, watched) - zero_point) * scale / of_seen.scale[0])
    buffer, code, least = schema.BufferT(), schema.OperatorCodeT(), schema.OperatorT()
    integers = np.clip(steps + of_seen.zeroPoint[0], -128, 127).astype(np.int8)
    buffer.data = np.frombuffer(integers.tobytes(), np.uint8)
    root.buffers.append(buffer)
    most, masked = copy(watched), copy(graph.tensors[seen])
    most.buffer, most.type, most.quantization = len(root.buffers) - 1, schema.TensorType.INT8, of_seen
    for tensor in (most, masked):
        tensor.name += b"_masked"
    graph.tensors += [most, masked]
    given = len(graph.tensors) - 1
    for operator in graph.operators:
        operator.inputs = np.where(np.asarray(operator.inputs) == seen, given, operator.inputs)
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MINIMUM
    code.version = MINIMUM_VERSION
    root.operatorCodes.append(code)
    least.opcodeIndex, least.inputs = len(root.operatorCodes) - 1, np.array([seen, given - 1], np.int32)
    least.outputs = np.array([given], np.int32)
    least.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
    least.builtinOptions = schema.MaximumMinimumOptionsT()
    graph.operators.insert(graph.operators.index(quantize) + 1, least)


def _first_quantize(graph: Any, names: list[str]) -> Any:
    for operator in graph.operators:
        if names[operator.opcodeIndex] == "QUANTIZE":
            return operator
    raise Refused("the int8 graph quantizes nothing: there is no body that an Edge TPU could run")


def _quantization(root: Any, names: list[str], frame: int, tensor: int) -> tuple[float, int]:
    """Scale and zero point of the frame that say what the operators between it and this tensor compute.

    Raises:
        Refused: they are not one normalisation, or have no zero point in 0..255.
    """
    low, high = _affine(root, names, frame, tensor)
    if not high > low:
        raise Refused(f"the normalisation makes {low:g}..{high:g} of pixels 0..255; an Edge TPU's scale is above 0")
    scale = (high - low) / (PIXELS[1] - PIXELS[0])
    zero_point = round(-low / scale)
    if not PIXELS[0] <= zero_point <= PIXELS[1]:
        raise Refused(
            f"the normalisation makes {low:g}..{high:g} of pixels 0..255, which leaves out 0; an Edge TPU's input "
            "needs a pixel value that stands for 0"
        )
    return scale, zero_point


def _affine(root: Any, names: list[str], frame: int, tensor: int) -> Any:
    """What the operators between frame and tensor make of the ends of the range of a pixel."""
    if tensor == frame:
        return PIXELS
    graph = root.subgraphs[0]
    producer = next((operator for operator in graph.operators if tensor in operator.outputs), None)
    name = "nothing" if producer is None else names[producer.opcodeIndex]
    if producer is None or name not in AFFINE:
        raise Refused(
            f"{name} stands between the frame and the body, which an Edge TPU takes only as one normalisation "
            f"({', '.join(AFFINE)}) alike for all pixels"
        )
    values = _affine(root, names, frame, int(producer.inputs[0]))
    constant = 0.0 if name == "CAST" else _constant(root, graph.tensors[producer.inputs[1]], name)
    return AFFINE[name](values, constant)


def _constant(root: Any, tensor: Any, name: str) -> float:
    values = np.unique(_values(root, tensor))
    if not len(values):
        raise Refused(
            f"the {name} of the normalisation depends on the frame, which an Edge TPU cannot begin with: fit without "
            "evening out the light (light = 1 beside the layers)"
        )
    if len(values) != 1:
        raise Refused(
            f"the {name} of the normalisation has {len(values)} different constants: an Edge TPU takes one scale for "
            "all channels, so normalise them alike"
        )
    return float(values[0])


def _values(root: Any, tensor: Any) -> NDArray[np.float32]:
    """Of a float32 constant, flat; empty for a tensor that is computed."""
    data = root.buffers[tensor.buffer].data
    return np.frombuffer(b"" if data is None else np.asarray(data, np.uint8).tobytes(), np.float32)


def _drop_unused(root: Any) -> None:
    """Leave out operators whose results nobody takes, and empty the constants that only they took."""
    graph = root.subgraphs[0]
    count = -1
    while count != len(graph.operators):
        count = len(graph.operators)
        used = {int(index) for operator in graph.operators for index in operator.inputs} | set(map(int, graph.outputs))
        graph.operators = [operator for operator in graph.operators if used & set(map(int, operator.outputs))]
    used |= {int(index) for operator in graph.operators for index in operator.outputs}
    kept = {graph.tensors[index].buffer for index in used if index >= 0}
    for number, buffer in enumerate(root.buffers):
        if number not in kept and buffer.data is not None and number not in _metadata(root):
            buffer.data = None


def _metadata(root: Any) -> set[int]:
    return {each.buffer for each in root.metadata or ()}


def _integers_first(root: Any) -> None:
    """Move the operators that an Edge TPU takes to the front, as far as all they depend on is there."""
    graph, late = root.subgraphs[0], set[int]()
    early, rest = [], []
    for operator, reason in zip(graph.operators, reasons(root), strict=True):
        if reason or late & set(map(int, operator.inputs)):
            late |= set(map(int, operator.outputs))
            rest.append(operator)
        else:
            early.append(operator)
    graph.operators = early + rest
