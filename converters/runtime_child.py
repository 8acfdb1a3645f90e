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
from edge_agent.contract.records import Floats
from edge_agent.scoring.interpreter import TFLiteScorer


def main(folder: Path) -> None:
    """Score the cases with and without XNNPACK."""
    model = (folder / "runtime_model.tflite").read_bytes()
    text = (folder / "runtime_face.json").read_bytes()
    face = strict_json.read(GraphFace, strict_json.parse(text, place="runtime_face.json", max_bytes=len(text)), "face")
    inputs = np.load(folder / "runtime_inputs.npy", allow_pickle=False)
    scorers = [TFLiteScorer(model, face, runtime="tflite", delegate=delegate) for delegate in ("auto", "none")]
    scores, plain_scores = (_scores(scorer, inputs) for scorer in scorers)
    np.savez(folder / "runtime_scores.npz", scores=scores, plain_scores=plain_scores)
    sys.stdout.write(str(scorers[0].describe()["runtime_version"]))


def _scores(scorer: TFLiteScorer, inputs: Floats) -> Floats:
    if not scorer.streaming:
        return np.array([scorer.score(window).value for window in inputs], np.float32)
    rows = []
    for sequence in inputs:
        scorer.reset()
        rows.append([scorer.score(row[np.newaxis]).value for row in sequence])
    return np.array(rows, np.float32)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
