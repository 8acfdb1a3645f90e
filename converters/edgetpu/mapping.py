"""Which operators of a `.tflite` an Edge TPU would take, by the rules that its compiler is documented with.

The compiler maps one run of operators, from the first on. What comes after the first that it does not take runs on the
CPU, whatever it is, so that one is named, with its index and why. A rule that depends on sizes nobody has published
(RESIZE_BILINEAR "to avoid a loss of precision", RESHAPE of large tensors) is left to the compiler: it may map less than
is said here, which its own report then shows. None of this was compared with a compiler or run on an accelerator.

Source: "TensorFlow models on the Edge TPU", supported operations and their limitations, Coral, for compiler 16 and
runtime 14.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.flatbuffer import IDENTIFIER, names_of, operator_names
from converters.refusal import Refused

LISTED = frozenset(
    """ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION LOGISTIC
    MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE
    STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV""".split()  # noqa: SIM905 - 39 lines say no more
)
"""The compiler's operators."""

NEWEST = {
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 6,
    "FULLY_CONNECTED": 9,
    "TRANSPOSE_CONV": 3,
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 3,
}
"""Newest version that the compiler reads, of the operators that have come in newer ones since."""

WEIGHTED = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}
"""Operators with weights, and which of their inputs these are."""

WITHOUT_ACTIVATION = frozenset({"AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D"})
"""Operators that are taken without a fused activation only."""

MOST_DIMENSIONS = 3
"""Dimensions of a tensor above 1, the innermost ones."""

LAST_AXIS_MULTIPLE = 4
"""A mean along the last dimension needs a multiple of so many there."""

CACHE_BYTES = 8 << 20
"""Memory on the chip; weights beyond it are sent for every frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One operator and where it runs."""

    index: int
    name: str
    version: int
    macs: int
    """Multiply-accumulates of one call; 0 for operators that are not products."""
    weights: int
    """Bytes of its constants."""
    reason: str
    """Why it runs on the CPU; empty: on the Edge TPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Where the operators of a graph run."""

    operators: tuple[Placed, ...]

    @property
    def mapped(self) -> int:
        """Operators on the Edge TPU."""
        return sum(not each.reason for each in self.operators)

    @property
    def macs_share(self) -> float:
        """Share of the multiply-accumulates on the Edge TPU; 0 where there are none."""
        total = sum(each.macs for each in self.operators)
        return sum(each.macs for each in self.operators if not each.reason) / total if total else 0.0

    @property
    def weights(self) -> int:
        """Bytes of the constants on the Edge TPU."""
        return sum(each.weights for each in self.operators if not each.reason)

    @property
    def first_on_cpu(self) -> Placed | None:
        """The operator from which on the CPU runs everything; None: there is none."""
        return next((each for each in self.operators if each.reason), None)

    def figures(self) -> dict[str, Any]:
        """As the provenance of a bundle keeps them."""
        first = self.first_on_cpu
        return {
            "operators": len(self.operators),
            "mapped": self.mapped,
            "macs_share": round(self.macs_share, 6),
            "weights": self.weights,
            "first_on_cpu": None if first is None else f"{first.index} {first.name}: {first.reason}",
        }

    def sentence(self) -> str:
        """What a person is told."""
        first = self.first_on_cpu
        rest = "" if first is None else f"; from operator {first.index} on the CPU: {first.name}, {first.reason}"
        cache = f", more than the {CACHE_BYTES:,} on the chip" if self.weights > CACHE_BYTES else ""
        return (
            f"{self.mapped} of {len(self.operators)} operators, {self.macs_share:.1%} of the multiply-accumulates and "
            f"{self.weights:,} bytes of weights{cache} would run on an Edge TPU{rest}"
        )


def mapping(model: bytes) -> Mapping:
    """Place the operators of a `.tflite`, by the documented rules.

    Raises:
        Refused: it is none.
    """
    from ai_edge_litert import schema_py_generated as schema

    if model[4:8] != IDENTIFIER:
        raise Refused("the file is no .tflite (its identifier TFL3 is missing)")
    try:
        root = schema.ModelT.InitFromPackedBuf(model, 0)
    except (struct.error, TypeError, IndexError, ValueError, UnicodeDecodeError) as error:
        raise Refused(f"the file is a damaged .tflite ({error}): make or copy it anew") from error
    own = reasons(root)
    first = next((number for number, reason in enumerate(own) if reason), len(own))
    return Mapping(
        operators=tuple(
            Placed(
                index=view.index,
                name=view.name,
                version=view.version,
                macs=view.macs(),
                weights=view.constant_bytes(),
                reason=own[number] if number <= first else own[number] or f"after operator {first}",
            )
            for number, view in enumerate(_views(root))
        )
    )


def reasons(root: Any) -> list[str]:
    """Why an Edge TPU would not take each operator of the main graph, whatever stands before it; empty: it would."""
    if len(root.subgraphs) > 1:
        return [f"the file has {len(root.subgraphs)} subgraphs, one is taken"] * len(root.subgraphs[0].operators)
    return [view.reason() for view in _views(root)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _View:
    """An operator with its tensors, as the rules see it."""

    root: Any
    index: int
    name: str
    version: int
    operator: Any

    def _tensors(self, indices: Any) -> list[Any]:
        return [self.root.subgraphs[0].tensors[index] for index in indices if index >= 0]

    def _data(self, tensor: Any) -> Any:
        return self.root.buffers[tensor.buffer].data

    def _activations(self) -> list[Any]:
        taken = [tensor for tensor in self._tensors(self.operator.inputs) if self._data(tensor) is None]
        return [*taken, *self._tensors(self.operator.outputs)]

    def reason(self) -> str:
        if self.name not in LISTED:
            return "not among the Edge TPU's operators"
        if self.version > (newest := NEWEST.get(self.name, self.version)):
            return f"version {self.version}, its compiler reads up to {newest}"
        return self._reason_of_tensors() or self._reason_of_kind()

    def _reason_of_tensors(self) -> str:
        types = names_of("TensorType")
        allowed = {"INT8", "UINT8"} if self.name == "QUANTIZE" else {"INT8"}
        for tensor in self._activations():
            shape = [int(size) for size in tensor.shape]
            if types[tensor.type] not in allowed:
                return f"works on {types[tensor.type].lower()}"
            if tensor.shapeSignature is not None and (np.asarray(tensor.shapeSignature) < 0).any():
                return "its shape is dynamic"
            if any(size > 1 for size in shape[:-MOST_DIMENSIONS]):
                return f"a tensor {shape} has more than {MOST_DIMENSIONS} dimensions above 1, or a batch"
        return ""

    def _reason_of_kind(self) -> str:
        inputs = self._tensors(self.operator.inputs)
        if self.name in WEIGHTED and self._data(inputs[WEIGHTED[self.name]]) is None:
            return "its weights are computed, not constant"
        options = self.operator.builtinOptions
        if self.name in WITHOUT_ACTIVATION and options is not None and options.fusedActivationFunction:
            return "has a fused activation"
        if self.name == "FULLY_CONNECTED" and sum(size > 1 for size in self._output_shape()) > 1:
            return f"gives {self._output_shape()}, one dimension above 1 is taken"
        if self.name in {"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"}:
            return self._reason_of_reduction(inputs)
        return ""

    def _reason_of_reduction(self, inputs: list[Any]) -> str:
        shape, data = [int(size) for size in inputs[0].shape], self._data(inputs[1])
        if data is None:
            return "its axes are computed, not constant"
        axes = {int(axis) % len(shape) for axis in np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.int32)}
        if 0 in axes:
            return "reduces the batch dimension"
        if self.name == "MEAN" and len(shape) - 1 in axes and shape[-1] % LAST_AXIS_MULTIPLE:
            return f"a mean along {shape[-1]} channels, a multiple of {LAST_AXIS_MULTIPLE} is taken"
        return ""

    def _output_shape(self) -> list[int]:
        return [int(size) for size in self._tensors(self.operator.outputs)[0].shape]

    def constant_bytes(self) -> int:
        data = (self._data(tensor) for tensor in self._tensors(self.operator.inputs))
        return sum(len(each) for each in data if each is not None)

    def macs(self) -> int:
        """Of the products; a transposed convolution spreads every input value over its kernel."""
        shapes = [[int(size) for size in tensor.shape] for tensor in self._tensors(self.operator.inputs)]
        given = int(np.prod(self._output_shape()))
        if self.name in {"CONV_2D", "FULLY_CONNECTED"}:
            return given * int(np.prod(shapes[1][1:]))
        if self.name == "DEPTHWISE_CONV_2D":
            return given * int(np.prod(shapes[1][1:3]))
        if self.name == "TRANSPOSE_CONV":
            return int(np.prod(shapes[2])) * int(np.prod(shapes[1][:3]))
        return given * shapes[0][-1] if self.name == "BATCH_MATMUL" else 0


def _views(root: Any) -> list[_View]:
    names = operator_names(root)
    return [
        _View(
            root=root,
            index=number,
            name=names[operator.opcodeIndex],
            version=int(root.operatorCodes[operator.opcodeIndex].version),
            operator=operator,
        )
        for number, operator in enumerate(root.subgraphs[0].operators)
    ]
