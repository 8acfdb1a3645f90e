"""Score cases with tflite-runtime, run by the interpreter of its own environment (Python 3.11, numpy 1).

    python -m converters.runtime_child FOLDER

Imports nothing but numpy and the device's own code. Prints the version of the runtime.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.running import load, run_cases
from edge_agent.contract import strict_json
from edge_agent.contract.arrays import write_npz
from edge_agent.contract.frame_manifest import FrameFace
from edge_agent.contract.manifest import GraphFace


def main(folder: Path) -> None:
    """Score the cases with and without XNNPACK."""
    model = (folder / "runtime_model.tflite").read_bytes()
    text = (folder / "runtime_face.json").read_bytes()
    said = strict_json.parse(text, place="runtime_face.json", max_bytes=len(text))
    face: GraphFace | FrameFace = (
        strict_json.read(FrameFace, said, "face") if "frame" in said else strict_json.read(GraphFace, said, "face")
    )
    inputs = np.load(folder / "runtime_inputs.npy", allow_pickle=False)
    graphs = [load(model, face, runtime="tflite", delegate=delegate) for delegate in ("auto", "none")]
    found: dict[str, NDArray[np.generic]] = {}
    for name, graph in zip(("usual", "plain"), graphs, strict=True):
        outputs = run_cases(graph, inputs)
        given = {field.name: getattr(outputs, field.name) for field in fields(outputs)}
        found |= {f"{name}_{each}": values for each, values in given.items() if values is not None}
    (folder / "runtime_scores.npz").write_bytes(write_npz(found))
    sys.stdout.write(str(graphs[0].describe()["runtime_version"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
