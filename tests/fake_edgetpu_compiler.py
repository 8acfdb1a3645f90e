"""Stands for `edgetpu_compiler`, which is not to be had: what goes in, what is printed, what comes out.

    python -m tests.fake_edgetpu_compiler -s -o FOLDER MODEL.tflite

The operators that the documented rules allow become one custom operator; tensors get other indices, keep their names,
and the signature is lost: what a caller may not rely on. The report has the form of compiler 16.
"""

import itertools
import sys
from collections import Counter
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from converters.edgetpu.mapping import mapping
from converters.flatbuffer import packed


def main(folder: Path, source: Path) -> None:
    model = source.read_bytes()
    placed = mapping(model)
    root = schema.ModelT.InitFromPackedBuf(model, 0)
    _join(root, placed.mapped)
    _renumber(root)
    root.signatureDefs = None
    (folder / f"{source.stem}_edgetpu.tflite").write_bytes(packed(root))
    status = {True: "Mapped to Edge TPU", False: "More than one subgraph is not supported"}
    rows = Counter((each.name, status[not each.reason]) for each in placed.operators)
    print("Edge TPU Compiler version 16.0.384591198\nStarted a compilation timeout timer of 180 seconds.\n")
    print("Model compiled successfully in 12 ms.\n")
    print(f"Input model: {source}\nOn-chip memory used for caching model parameters: 3.21MiB")
    print("On-chip memory remaining for caching model parameters: 3.78MiB")
    print("Off-chip memory used for streaming uncached model parameters: 0.00B\nNumber of Edge TPU subgraphs: 1\n")
    print("Operator                       Count      Status\n")
    for (name, said), count in rows.items():
        print(f"{name:<30} {count:<10} {said}")
    print("Compilation child process completed within timeout period.\nCompilation succeeded! ")


def _join(root, mapped: int) -> None:
    graph = root.subgraphs[0]
    run, rest = graph.operators[:mapped], graph.operators[mapped:]
    if not run:
        return
    given = set(itertools.chain.from_iterable(map(int, each) for each in (operator.outputs for operator in run)))
    taken = {int(i) for operator in rest for i in operator.inputs} | set(map(int, graph.outputs))
    code, one = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"edgetpu-custom-op"
    one.opcodeIndex, one.inputs, one.outputs = len(root.operatorCodes), list(graph.inputs), sorted(given & taken)
    root.operatorCodes.append(code)
    graph.operators = [one, *rest]


def _renumber(root) -> None:
    graph = root.subgraphs[0]
    last = len(graph.tensors) - 1
    graph.tensors = graph.tensors[::-1]
    for each in (graph, *graph.operators):
        each.inputs = [last - i if i >= 0 else i for i in each.inputs]
        each.outputs = [last - i for i in each.outputs]


if __name__ == "__main__":
    main(Path(sys.argv[3]), Path(sys.argv[4]))
