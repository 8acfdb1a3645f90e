"""What is inside a `.tflite`: operators, dynamic shapes, and the tensor indices behind each name of the signature.

A converted graph is judged here before anything runs it. Refused are the forms that load and then give NaN, keep hidden
state between calls, or need code that no device runtime has:

- variables (VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, CALL_ONCE): what TensorFlow writes, without any error, when
  the weights were not frozen;
- fused recurrent operators and any other with variable tensors: their state survives `invoke()`;
- Flex and custom operators: need a runtime of hundreds of megabytes, or one that does not exist;
- dynamic shapes: slower, larger, and some operators then fail at run time.

The order of a graph's outputs is alphabetical and its tensor names are generated, so indices come from the signature
alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.refusal import Refused

IDENTIFIER = b"TFL3"
"""Bytes 4 to 7 of a `.tflite`."""

HIDDEN_STATE = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"})
"""Operators on variables: state or unset weights outside the graph's own inputs and outputs."""

BODY_SCOPE = "body"
"""Name scope of the operators whose weights may be stored in fewer bits; front and head stay float32."""

SIGNATURE = "serving_default"
"""The signature that a run folder's graph has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFacts:
    """One input or output of the signature."""

    index: int
    shape: tuple[int, ...]
    type: str
    """FLOAT32, INT8, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphFacts:
    """What a flatbuffer holds."""

    operators: Mapping[str, int]
    """Count by name; custom operators as `CUSTOM:<code>`."""
    types: Mapping[str, int]
    """Operators by the type of their first output: how much of the graph is int8."""
    inputs: Mapping[str, TensorFacts]
    outputs: Mapping[str, TensorFacts]
    problems: tuple[str, ...]
    """Why the device could not run it; empty when it can."""


def inspect(model: bytes) -> GraphFacts:
    """Read a flatbuffer.

    Raises:
        Refused: the bytes are not a flatbuffer with the signature of a run folder.
    """
    from ai_edge_litert import schema_py_generated as schema

    if model[4:8] != IDENTIFIER:
        raise Refused("the conversion gave no .tflite file (its identifier TFL3 is missing)")
    root = schema.ModelT.InitFromPackedBuf(model, 0)
    types = names_of("TensorType")
    codes = operator_names(root)
    operators: Counter[str] = Counter()
    output_types: Counter[str] = Counter()
    for graph in root.subgraphs:
        for operator in graph.operators:
            operators[codes[operator.opcodeIndex]] += 1
            if len(operator.outputs):
                output_types[types[graph.tensors[operator.outputs[0]].type]] += 1
    inputs, outputs = _signature(root, types)
    return GraphFacts(
        operators=operators,
        types=output_types,
        inputs=inputs,
        outputs=outputs,
        problems=tuple(_problems(root, operators)),
    )


def check(model: bytes, graph_format: str) -> GraphFacts:
    """Inspect, and refuse what a device cannot run.

    Raises:
        Refused: with every reason.
    """
    facts = inspect(model)
    if facts.problems:
        raise Refused(f"the {graph_format} graph cannot run on a device: {'; '.join(facts.problems)}")
    return facts


def names_of(enumeration: str) -> dict[int, str]:
    """Names of the values of an enumeration of the schema, such as `TensorType`."""
    from ai_edge_litert import schema_py_generated as schema

    return {value: name for name, value in vars(getattr(schema, enumeration)).items() if isinstance(value, int)}


def operator_names(root: Any) -> list[str]:
    """Name of each operator code of an unpacked file; custom ones as `CUSTOM:<code>`."""
    names = names_of("BuiltinOperator")
    found = [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in root.operatorCodes]
    return [
        f"CUSTOM:{code.customCode.decode('utf-8', 'replace')}" if name == "CUSTOM" else name
        for name, code in zip(found, root.operatorCodes, strict=True)
    ]


def packed(root: Any) -> bytes:
    """The file of an unpacked model."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(root.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _signature(root: Any, types: Mapping[int, str]) -> tuple[dict[str, TensorFacts], dict[str, TensorFacts]]:
    for signature in root.signatureDefs or ():
        if signature.signatureKey.decode() == SIGNATURE:
            tensors = root.subgraphs[signature.subgraphIndex].tensors
            return _facts(signature.inputs, tensors, types), _facts(signature.outputs, tensors, types)
    raise Refused(f"the converted graph has no signature {SIGNATURE!r}: export it with one, as the run folder asks")


def _facts(side: Any, tensors: Any, types: Mapping[int, str]) -> dict[str, TensorFacts]:
    return {
        item.name.decode(): TensorFacts(
            index=int(item.tensorIndex),
            shape=tuple(map(int, tensors[item.tensorIndex].shape)),
            type=types[tensors[item.tensorIndex].type],
        )
        for item in side
    }


def _problems(root: Any, operators: Mapping[str, int]) -> list[str]:
    problems = []
    hidden = sorted(HIDDEN_STATE & set(operators))
    if hidden:
        problems.append(
            f"{', '.join(hidden)}: its variables were not frozen to constants, so its weights would be unset"
        )
    custom = sorted(name.removeprefix("CUSTOM:") for name in operators if name.startswith("CUSTOM:"))
    flex = [name for name in custom if name.startswith("Flex")]
    if flex:
        problems.append(f"{', '.join(flex)}: TensorFlow operators, which device runtimes do not have")
    if set(custom) - set(flex):
        problems.append(
            f"{', '.join(sorted(set(custom) - set(flex)))}: custom operators, which device runtimes do not have"
        )
    tensors = [tensor for graph in root.subgraphs for tensor in graph.tensors]
    if any(tensor.isVariable for tensor in tensors):
        problems.append(
            "a recurrent operator keeps hidden state between calls: unroll it, or carry its state as `state_*`"
        )
    dynamic = [
        tensor.name.decode()
        for tensor in tensors
        if tensor.shapeSignature is not None and (tensor.shapeSignature < 0).any()
    ]
    if dynamic:
        problems.append(
            f"dynamic shapes ({len(dynamic)} tensors, first {dynamic[0]}): export with batch size 1 and fixed lengths"
        )
    return problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator of the main graph."""

    name: str
    """FULLY_CONNECTED, …"""
    outputs: tuple[str, ...]
    """Names of the tensors it gives: the name scopes it was built in, joined by `;` where several were fused."""


def operators(model: bytes) -> list[Operator]:
    """The operators of the main graph, in order."""
    from ai_edge_litert import schema_py_generated as schema

    root = schema.ModelT.InitFromPackedBuf(model, 0)
    names, tensors = operator_names(root), root.subgraphs[0].tensors
    return [
        Operator(
            name=names[operator.opcodeIndex],
            outputs=tuple(tensors[index].name.decode() for index in operator.outputs),
        )
        for operator in root.subgraphs[0].operators
    ]


def in_body(tensor: str) -> bool:
    """Whether the operator that gives this tensor was built in the body; the first of the names fused into it tells."""
    return f"/{BODY_SCOPE}/" in f"/{tensor.split(';', maxsplit=1)[0]}"
