"""Tiny `.tflite` graphs on frames, of which score and map can be computed by hand."""

from __future__ import annotations

from edge_agent.contract.frame_manifest import FrameFace
from edge_agent.contract.manifest import GraphFormat, StateTensor
from tests.tiny_graphs import Graph, schema

H, W = 12, 16


def _pixels(graph: Graph, height: int = H, width: int = W, kind: int = schema.TensorType.UINT8) -> tuple[int, int]:
    """An input of pixels, and the same as float32."""
    frame = graph.tensor(1, height, width, 3, kind=kind)
    options = schema.BuiltinOptions.CastOptions, schema.CastOptionsT()
    return frame, graph.operator(schema.BuiltinOperator.CAST, [frame], graph.tensor(1, height, width, 3), options)


def face(**given: object) -> FrameFace:
    """How to call a graph."""
    return FrameFace(format=GraphFormat.FLOAT32, **given)


def adding(*, height: int = H, width: int = W) -> tuple[bytes, FrameFace]:
    """Score: the sum of all values of the frame; map [1, H, W]: that of each pixel."""
    graph = Graph()
    frame, values = _pixels(graph, height, width)
    cells = graph.sum(values, [3], graph.tensor(1, height, width))
    score = graph.sum(cells, [1, 2], graph.tensor(1))
    return graph.content([frame], [score, cells]), face(frame=frame, score=score, map=cells)


def without_map() -> tuple[bytes, FrameFace]:
    """Score: the sum of all values of the frame."""
    graph = Graph()
    frame, values = _pixels(graph)
    score = graph.sum(values, [1, 2, 3], graph.tensor(1))
    return graph.content([frame], [score]), face(frame=frame, score=score)


def telling(*, height: int = H, width: int = W) -> tuple[bytes, FrameFace]:
    """As `adding`, and of each pixel three kinds: the softmax of its red, green and blue."""
    graph = Graph()
    frame, values = _pixels(graph, height, width)
    cells = graph.sum(values, [3], graph.tensor(1, height, width))
    score = graph.sum(cells, [1, 2], graph.tensor(1))
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    options = schema.BuiltinOptions.SoftmaxOptions, softmax
    kinds = graph.operator(schema.BuiltinOperator.SOFTMAX, [values], graph.tensor(1, height, width, 3), options)
    return (
        graph.content([frame], [score, cells, kinds]),
        face(frame=frame, score=score, map=cells, kinds=kinds),
    )


def logarithm() -> tuple[bytes, FrameFace]:
    """Score: the logarithm of the sum, so -inf for a black frame; map: the logarithm of each pixel's sum."""
    graph = Graph()
    frame, values = _pixels(graph)
    cells = graph.sum(values, [3], graph.tensor(1, H, W))
    score = graph.log(graph.sum(cells, [1, 2], graph.tensor(1)), graph.tensor(1))
    strange = graph.log(cells, graph.tensor(1, H, W))
    return graph.content([frame], [score, strange]), face(frame=frame, score=score, map=strange)


def adding_up() -> tuple[bytes, FrameFace]:
    """A streaming graph; map: the sum of all frames since the reset; score: the sum of the map."""
    graph = Graph()
    frame, values = _pixels(graph)
    before = graph.tensor(1, H, W)
    total = graph.add(graph.sum(values, [3], graph.tensor(1, H, W)), before, graph.tensor(1, H, W))
    cells = graph.operator(
        schema.BuiltinOperator.RELU, [total], graph.tensor(1, H, W)
    )  # an output of its own: a tensor may be given under one name only
    score = graph.sum(total, [1, 2], graph.tensor(1))
    state = StateTensor(name="total", input=before, output=total, shape=(1, H, W))
    return (
        graph.content([frame, before], [score, cells, total]),
        face(frame=frame, score=score, map=cells, states=(state,)),
    )


def of_floats() -> tuple[bytes, FrameFace]:
    """What no frame may be put into: pixels as float32."""
    graph = Graph()
    frame = graph.tensor(1, H, W, 3)
    score = graph.sum(frame, [1, 2, 3], graph.tensor(1))
    return graph.content([frame], [score]), face(frame=frame, score=score)


def of_grey() -> tuple[bytes, FrameFace]:
    """A frame of one channel."""
    graph = Graph()
    frame = graph.tensor(1, H, W, 1, kind=schema.TensorType.UINT8)
    options = schema.BuiltinOptions.CastOptions, schema.CastOptionsT()
    values = graph.operator(schema.BuiltinOperator.CAST, [frame], graph.tensor(1, H, W, 1), options)
    score = graph.sum(values, [1, 2, 3], graph.tensor(1))
    return graph.content([frame], [score]), face(frame=frame, score=score)
