"""Tiny `.tflite` graphs written operator by operator, so that the scorer's tests need no TensorFlow and no second.

Every graph's score can be computed by hand: `summing` gives the sum of the window.
"""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_agent.contract.manifest import GraphFace, GraphFormat, StateTensor

T, C = 4, 2


class Graph:
    """Collects tensors and operators; `content` gives the file."""

    def __init__(self) -> None:
        self._tensors: list[schema.TensorT] = []
        self._buffers = [schema.BufferT()]
        self._codes: list[schema.OperatorCodeT] = []
        self._operators: list[schema.OperatorT] = []

    def tensor(self, *shape: int, kind: int = schema.TensorType.FLOAT32, data: np.ndarray | None = None) -> int:
        """Add a tensor, constant where it has data, and return its index."""
        made = schema.TensorT()
        made.shape, made.type, made.name = list(shape), kind, f"tensor {len(self._tensors)}".encode()
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            made.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(made)
        return len(self._tensors) - 1

    def operator(self, code: int, inputs: list[int], output: int, options: tuple[int, object] | None = None) -> int:
        """Add an operator and return its output."""
        known, made = schema.OperatorCodeT(), schema.OperatorT()
        known.builtinCode = known.deprecatedBuiltinCode = code
        made.opcodeIndex, made.inputs, made.outputs = len(self._codes), inputs, [output]
        if options is not None:
            made.builtinOptionsType, made.builtinOptions = options
        self._codes.append(known)
        self._operators.append(made)
        return output

    def sum(self, tensor: int, axes: list[int], output: int) -> int:
        """Sum over axes."""
        axis = self.tensor(len(axes), kind=schema.TensorType.INT32, data=np.array(axes, np.int32))
        options = schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT()
        return self.operator(schema.BuiltinOperator.SUM, [tensor, axis], output, options)

    def add(self, a: int, b: int, output: int) -> int:
        """Add two tensors."""
        return self.operator(
            schema.BuiltinOperator.ADD, [a, b], output, (schema.BuiltinOptions.AddOptions, schema.AddOptionsT())
        )

    def log(self, tensor: int, output: int) -> int:
        """Natural logarithm: NaN below 0, -inf at 0."""
        return self.operator(schema.BuiltinOperator.LOG, [tensor], output)

    def content(self, inputs: list[int], outputs: list[int]) -> bytes:
        """Return the file."""
        subgraph, model = schema.SubGraphT(), schema.ModelT()
        subgraph.tensors, subgraph.operators = self._tensors, self._operators
        subgraph.inputs, subgraph.outputs = inputs, outputs
        model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, self._buffers, self._codes, [subgraph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def face(**given: object) -> GraphFace:
    """How to call a graph."""
    return GraphFace(format=GraphFormat.FLOAT32, **given)


def summing(*, contributions: bool = True) -> tuple[bytes, GraphFace]:
    """Score: the sum of the window; contributions: the sums of the channels."""
    graph = Graph()
    window = graph.tensor(1, T, C)
    score = graph.sum(window, [1, 2], graph.tensor(1))
    parts = graph.sum(window, [1], graph.tensor(1, C))
    outputs = [score, parts] if contributions else [score]
    return graph.content([window], outputs), face(
        window=window, score=score, contributions=parts if contributions else None
    )


def logarithm() -> tuple[bytes, GraphFace]:
    """Score: the logarithm of the sum, so NaN for a window below 0."""
    graph = Graph()
    window = graph.tensor(1, T, C)
    score = graph.log(graph.sum(window, [1, 2], graph.tensor(1)), graph.tensor(1))
    return graph.content([window], [score]), face(window=window, score=score)


def adding_up(*, broken: bool = False) -> tuple[bytes, GraphFace]:
    """A streaming graph; score: the sum of all rows since the reset; `broken`: the logarithm of that."""
    graph = Graph()
    window, before = graph.tensor(1, 1, C), graph.tensor(1)
    total = graph.add(graph.sum(window, [1, 2], graph.tensor(1)), before, graph.tensor(1))
    zero = graph.tensor(1, data=np.zeros(1, np.float32))
    score = graph.log(total, graph.tensor(1)) if broken else graph.add(total, zero, graph.tensor(1))
    state = StateTensor(name="total", input=before, output=total, shape=(1,))
    return graph.content([window, before], [score, total]), face(window=window, score=score, states=(state,))
