"""How often a growing fault lowers the score of a shipped graph, from its alarm threshold on.

    python -m training.experiments.growth --bench out/skab --data skab:SKAB/data/valve1 --detectors conv_autoencoder

Takes the bundles that `python -m training bench` left in its folder, and the same data. In each case, a fault of every
kind that can grow without end grows from half a spread to 2e5 spreads in every channel of some windows of the last rows
that were fitted on, which set the threshold and no network saw. It counts as fallen where its score, once above the
threshold, is later below the largest score so far by more than rounding; how far is told down to the threshold at most.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from edge_agent.contract.bundle import Bundle
from edge_agent.contract.faults import FaultKind, inject
from edge_agent.contract.features import CLAMP
from edge_agent.contract.manifest import InputSpec
from edge_agent.contract.records import Doubles, Floats
from edge_agent.errors import EdgeAgentError
from edge_agent.scoring.interpreter import TFLiteScorer
from training.data import DataError
from training.experiments.bench.cases import Case
from training.experiments.bench.kinds import read_data
from training.experiments.bench.running import default_graph, kept_folder
from training.graph import Front
from training.recipe import Scaling, SplitSettings

KINDS = tuple(kind for kind in FaultKind if not kind.relative)
"""The faults that can grow without end."""

PIECES = 4
"""Held-out windows of a case that faults grow in."""

HELD_OUT = SplitSettings().validation
"""Share of the fitted rows, at their end, that no network saw, as in the ready recipes."""

FAULTY_ROWS = 24
"""Of a streaming graph: rows behind the warm-up that a fault lies in."""

SEVERITIES = np.geomspace(0.5, CLAMP / 5, 50)
"""Training spreads. A fault of white noise has rows five times as far off, and what is beyond `CLAMP` is limited to it:
a noise that is larger still looks smaller."""

DRAWS = 2
"""Of place and sign, for each kind in each channel."""

ROUNDING = 1e-4
"""Share of a score by which float32 may let it fall."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Grow the faults and print a line a detector."""
    options = _parser().parse_args(arguments)
    try:
        (data,) = read_data([options.data], options.fit_rows)
        names = options.detectors.split(",")
        bundles = {
            name: [_bundle(kept_folder(options.bench, data.name, name, case.name)) for case in data.cases]
            for name in names
        }
    except (DataError, EdgeAgentError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("| detector | growing faults | alarmed | of these, fallen | largest fall |\n|---|---|---|---|---|")
    for name in names:
        pairs = zip(bundles[name], data.cases, strict=True)
        bar = tqdm(pairs, total=len(data.cases), desc=name, unit="case", leave=False, disable=None)
        found = [falls(bundle, case) for bundle, case in bar]
        fell = np.concatenate(found)
        alarmed = np.isfinite(fell)
        largest = np.max(fell, where=alarmed, initial=0.0)
        print(
            f"| {name} | {len(fell)} | {alarmed.sum()} | {(fell[alarmed] > ROUNDING).sum()} | {100 * largest:.1f} % |"
        )
    return 0


def _bundle(folder: Path) -> Bundle:
    path = folder / "model.bundle"
    if not path.is_file():
        raise DataError(f"{path} is not there: let a bench write it first, with this data and detector")
    return Bundle.read(path.read_bytes())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.experiments.growth", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--bench", type=Path, required=True, help="folder that a bench has written (--out)")
    parser.add_argument("--data", required=True, help="KIND:PATH, as given to the bench")
    parser.add_argument("--fit-rows", type=int, metavar="N", help="as given to the bench")
    parser.add_argument("--detectors", required=True, help="rows of its tables, with commas between")
    return parser


def falls(bundle: Bundle, case: Case) -> Doubles:
    """Largest fall of each growing fault as a share of the score before, float64 [k]; NaN: never alarmed.

    Pieces that alarm without any fault are left out: there a fault may well undo what is strange.
    """
    spec = default_graph(bundle)
    scorer = TFLiteScorer(bundle.graph(spec.format), spec)
    spread = Front.fit(case.train.values, Scaling.ROBUST, CLAMP).spread
    clean, start = _pieces(bundle.manifest.input, case.train.values)
    threshold = spec.calibration.threshold
    clean = clean[[_score(scorer, piece, start) <= threshold for piece in clean]]
    scores: list[list[float]] = []
    for seed, (kind, channel) in enumerate(itertools.product(KINDS * DRAWS, range(len(spread)))):
        grown = np.tile(clean, (len(SEVERITIES), 1, 1, 1))
        for larger, severity in zip(grown, SEVERITIES, strict=True):
            rng = np.random.default_rng(seed)
            larger[:, start:] = inject(clean[:, start:], kind, float(severity), spread, rng, channel)
        scores += [[_score(scorer, piece, start) for piece in same] for same in grown.swapaxes(0, 1)]
    return largest_falls(np.reshape(scores, (-1, len(SEVERITIES))), threshold)


def largest_falls(scores: Doubles, threshold: float) -> Doubles:
    """Largest fall of each row of scores as the fault grows, down to the threshold at most.

    Args:
        scores: float64 [k, s], of any sign, weakest fault first.
        threshold: above it the device alarms.

    Returns:
        float64 [k], as shares of the largest score before; NaN: never above the threshold.
    """
    above = np.maximum(scores, threshold)
    largest = np.maximum.accumulate(above, axis=1)
    fell = ((largest - above) / np.maximum(np.abs(largest), np.finfo(float).tiny)).max(axis=1)
    return np.where(above.max(axis=1) > threshold, fell, np.nan)


def _pieces(spec: InputSpec, rows: Floats) -> tuple[Floats, int]:
    """Held-out pieces float32 [k, L, C], and the row from which faults lie in them."""
    start = spec.warm_up if spec.streaming else 0
    length = start + (FAULTY_ROWS if spec.streaming else spec.window)
    held_out = rows[len(rows) - round(HELD_OUT * len(rows)) :]
    known = [
        first for first in range(len(held_out) - length + 1) if np.isfinite(held_out[first : first + length]).all()
    ]
    chosen: list[int] = np.linspace(0, len(known) - 1, PIECES).astype(int).tolist() if known else []
    return np.reshape(
        [held_out[known[each] : known[each] + length] for each in chosen], (-1, length, rows.shape[1])
    ), start


def _score(scorer: TFLiteScorer, piece: Floats, start: int) -> float:
    """Of a window [T, C]; of a streaming graph the largest from row `start` on."""
    scorer.reset()
    windows = piece[:, np.newaxis] if scorer.streaming else piece[np.newaxis]
    return max([scorer.score(window).value for window in windows][start:])


if __name__ == "__main__":
    sys.exit(main())
