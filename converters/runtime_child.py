"""Score cases with tflite-runtime, run by the interpreter of its own environment (Python 3.11, numpy 1).

    python -m converters.runtime_child FOLDER

Imports nothing but numpy and the device's own code. Prints the version of the runtime.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edge_agent.contract import strict_json
from edge_agent.contract.manifest import GraphFace
from edge_agent.scoring.interpreter import TFLiteScorer
from edge_agent.scoring.selection import golden_scores


def main(folder: Path) -> None:
    """Score the cases with and without XNNPACK."""
    model = (folder / "runtime_model.tflite").read_bytes()
    text = (folder / "runtime_face.json").read_bytes()
    face = strict_json.read(GraphFace, strict_json.parse(text, place="runtime_face.json", max_bytes=len(text)), "face")
    inputs = np.load(folder / "runtime_inputs.npy", allow_pickle=False)
    scorers = [TFLiteScorer(model, face, runtime="tflite", delegate=delegate) for delegate in ("auto", "none")]
    scores, plain_scores = (
        golden_scores(scorer, {"sequence" if scorer.streaming else "windows": inputs}) for scorer in scorers
    )
    np.savez(folder / "runtime_scores.npz", scores=scores, plain_scores=plain_scores)
    sys.stdout.write(str(scorers[0].describe()["runtime_version"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
