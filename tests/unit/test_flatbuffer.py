"""The judge of flatbuffers, on files put together operator by operator."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.flatbuffer import check, in_body, inspect, operators
from converters.refusal import Refused


def tensor(
    name: str, shape: list[int], *, kind: int = schema.TensorType.FLOAT32, dynamic: bool = False, variable: bool = False
) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.isVariable = name.encode(), np.array(shape, np.int32), kind, variable
    made.shapeSignature = np.array([-1, *shape[1:]], np.int32) if dynamic else None
    return made


def model(*codes: str, signature: str = "serving_default", **tensor_options: bool) -> bytes:
    """A chain of operators from `window` to `score`; a code with a lower-case letter is a custom operator."""
    root, graph = schema.ModelT(), schema.SubGraphT()
    root.version, root.subgraphs, root.buffers = 3, [graph], [schema.BufferT()]
    root.operatorCodes = [_code(name) for name in codes]
    graph.tensors = [tensor("window", [1, 4, 2])]
    graph.operators = []
    for number in range(len(codes)):
        operator = schema.OperatorT()
        operator.opcodeIndex = number
        operator.inputs, operator.outputs = np.array([number], np.int32), np.array([number + 1], np.int32)
        graph.operators.append(operator)
        graph.tensors.append(tensor(f"out{number}", [1], **tensor_options))
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([len(codes)], np.int32)
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = signature.encode(), 0
    made.inputs, made.outputs = [_map("window", 0)], [_map("score", len(codes))]
    root.signatureDefs = [made]
    builder = flatbuffers.Builder(1024)
    builder.Finish(root.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(name: str) -> Any:
    code = schema.OperatorCodeT()
    custom = name != name.upper()
    code.builtinCode = schema.BuiltinOperator.CUSTOM if custom else getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    code.customCode = name.encode() if custom else None
    return code


def _map(name: str, index: int) -> Any:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name.encode(), index
    return made


def test_operators_are_counted_and_indices_come_from_the_signature() -> None:
    facts = check(model("ABS", "MEAN", "ABS"), "float32")
    assert facts.operators == {"ABS": 2, "MEAN": 1}
    assert (facts.inputs["window"].index, facts.inputs["window"].shape) == (0, (1, 4, 2))
    assert (facts.outputs["score"].index, facts.outputs["score"].type) == (3, "FLOAT32")


def test_the_types_of_the_operators_show_how_much_is_quantized() -> None:
    assert inspect(model("ABS", kind=schema.TensorType.INT8)).types == {"INT8": 1}  # type: ignore[arg-type]


def test_operators_are_listed_with_what_they_give() -> None:
    assert [(operator.name, operator.outputs) for operator in operators(model("ABS", "MEAN"))] == [
        ("ABS", ("out0",)),
        ("MEAN", ("out1",)),
    ]


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("body/conv1d/Conv2D", True),
        ("score/body/Relu;head/Maximum", True),
        ("head/Maximum;body/conv1d/Squeeze", False),
        ("front/Minimum", False),
        ("bodywork/MatMul", False),
        ("PartitionedCall:1", False),
    ],
)
def test_the_first_fused_name_tells_whether_an_operator_is_in_the_body(name: str, inside: bool) -> None:
    assert in_body(name) is inside


@pytest.mark.parametrize("code", ["VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"])
def test_variables_are_refused(code: str) -> None:
    with pytest.raises(Refused, match=f"{code}: its variables were not frozen"):
        check(model("ABS", code), "float32")


def test_flex_operators_are_refused() -> None:
    with pytest.raises(Refused, match="FlexBesselI0: TensorFlow operators"):
        check(model("FlexBesselI0"), "float32")


def test_custom_operators_are_refused() -> None:
    with pytest.raises(Refused, match="MyOwn: custom operators"):
        check(model("MyOwn"), "float32")


def test_dynamic_shapes_are_refused() -> None:
    with pytest.raises(Refused, match=r"dynamic shapes \(1 tensors, first out0\)"):
        check(model("ABS", dynamic=True), "float32")


def test_hidden_state_is_refused() -> None:
    with pytest.raises(Refused, match="hidden state between calls"):
        check(model("UNIDIRECTIONAL_SEQUENCE_LSTM", variable=True), "float32")


def test_all_reasons_are_given_at_once() -> None:
    with pytest.raises(Refused, match=r"VAR_HANDLE.*custom operators.*dynamic shapes"):
        check(model("VAR_HANDLE", "MyOwn", dynamic=True), "int8")


def test_a_graph_without_the_signature_is_refused() -> None:
    with pytest.raises(Refused, match="no signature 'serving_default'"):
        check(model("ABS", signature="other"), "float32")


def test_bytes_that_are_no_flatbuffer_are_refused() -> None:
    with pytest.raises(Refused, match=r"no \.tflite file"):
        check(b"\0" * 100, "float32")
