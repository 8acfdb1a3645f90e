"""What the whole path costs a window, against the bare `invoke()` of the same graph: `python -m benchmarks.path`.

Bare means `invoke()` alone on an interpreter whose input is already set. The path is all the agent does between
readings and decision: windower, prefilter, set, invoke, get, decision. Both are measured in turns in one run. The
limit of the design is 1.3 x the bare invoke and 30 us, in blocks of 64 readings; single readings are shown beside it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.bundles import FAST_HZ, FAST_STRIDE, FAST_WINDOW, fast_bundle, pump_bundle, vibration
from benchmarks.figures import Figure, main, medians
from edge_agent.contract.bundle import Bundle
from edge_agent.contract.manifest import GraphSpec
from edge_agent.contract.prefilter import Mode
from edge_agent.contract.records import Block
from edge_agent.errors import ScoringError
from edge_agent.pipeline import Pipeline, PrefilterSettings, bundle_pipeline
from edge_agent.scoring.interpreter import TFLiteScorer
from edge_agent.scoring.runtime import find_runtime
from edge_agent.sources.pump import Pump

DETECTORS = ("gaussian", "pca", "conv_autoencoder", "lstm_forecaster", "lstm_autoencoder")
"""The ready recipes, from the cheapest graph to the dearest."""

BLOCK = 64
"""Readings a block, in which the limits of the design are stated."""


def pipeline_of(bundle: Bundle, spec: GraphSpec, mode: Mode) -> Pipeline:
    """The path as the device runs it, with the graph of one format."""
    ids = itertools.count()
    scorer = TFLiteScorer(bundle.graph(spec.format), spec)
    return bundle_pipeline(
        bundle, spec, scorer, new_id=lambda: f"event-{next(ids)}", prefilter=PrefilterSettings(mode=mode)
    )


def feeding(pipeline: Pipeline, following: Callable[[], Block]) -> Callable[[], object]:
    """What is timed: the next block through the pipeline."""
    return lambda: pipeline.feed(following())


def repeating(invoke: Callable[[], object]) -> Callable[[], None]:
    """As many calls as a block has windows, so that both find the same in the processor's cache."""

    def calls() -> None:
        for _ in range(BLOCK):
            invoke()

    return calls


class Stream:
    """A pump without end, in blocks of one size."""

    def __init__(self, size: int) -> None:
        self._pump, self._size = Pump(seed=5), size
        self._ahead: Iterator[Block] = iter(())

    def next(self) -> Block:
        """Return the next block; readings are made ahead, so that making them is not measured."""
        block = next(self._ahead, None)
        if block is None:
            many = self._pump.take(self._size * 400)
            cuts = range(0, len(many), self._size)
            self._ahead = iter(
                [Block(values=many.values[i : i + self._size], t_ns=many.t_ns[i : i + self._size]) for i in cuts]
            )
            block = next(self._ahead)
        return block


def path_figures(detector: str) -> list[Figure]:
    """Measure one detector in every format of its bundle."""
    bundle = Bundle.read(pump_bundle(detector))
    figures: list[Figure] = []
    for spec in bundle.manifest.graphs:
        bare, _ = find_runtime().interpreter(bundle.graph(spec.format), threads=1, delegate="auto")
        shape = (1, bundle.manifest.input.window, len(bundle.manifest.input.channels))
        bare.set_tensor(spec.window, np.zeros(shape, np.float32))
        block, single = pipeline_of(bundle, spec, Mode.WATCH), pipeline_of(bundle, spec, Mode.WATCH)
        blocks, rows = Stream(BLOCK), Stream(1)
        for _ in range(2):
            block.feed(blocks.next())
        for _ in range(BLOCK):
            single.feed(rows.next())
        taken = medians(
            {
                "bare": repeating(bare.invoke),
                "block": feeding(block, blocks.next),
                "single": feeding(single, rows.next),
            }
        )
        name, a_window, invoke = f"{detector} {spec.format}", taken["block"] / BLOCK, taken["bare"] / BLOCK
        figures += [
            Figure(f"{name}: bare invoke()", invoke, "us"),
            Figure(f"{name}: whole path a window, blocks of {BLOCK}", a_window, "us", 1.3 * invoke + 30),
            Figure(f"{name}: whole path a window, single readings", taken["single"], "us"),
        ]
    return figures


def format_figures(figures: list[Figure]) -> list[Figure]:
    """Compare int8 with float32 of the same detector."""
    bare = {
        figure.what.removesuffix(": bare invoke()"): figure.value
        for figure in figures
        if figure.what.endswith("bare invoke()")
    }
    return [
        Figure(f"{name}: bare invoke, int8 / float32", bare[f"{name} int8"] / bare[f"{name} float32"], "x")
        for name in DETECTORS
        if f"{name} int8" in bare
    ]


def saving_figures() -> list[Figure]:
    """What the prefilter costs and saves before a network that is worth sparing: the LSTM autoencoder."""
    bundle = Bundle.read(pump_bundle("lstm_autoencoder"))
    spec = max(bundle.manifest.graphs, key=lambda graph: graph.size)
    watched, gated = (pipeline_of(bundle, spec, mode) for mode in (Mode.WATCH, Mode.GATE))
    streams = Stream(BLOCK), Stream(BLOCK)
    taken = medians(
        {"watch": lambda: watched.feed(streams[0].next()), "gate": lambda: gated.feed(streams[1].next())}, rounds=100
    )
    return [
        Figure("lstm_autoencoder: share of normal windows that gating spares", gated.counts.skipped_share, "of 1"),
        Figure(
            "lstm_autoencoder: time of the gated path / of the path that scores all",
            taken["gate"] / taken["watch"],
            "x",
        ),
    ]


def fast_figures() -> list[Figure]:
    """Measure 10 kHz x 3 channels through the pipeline alone."""
    bundle = Bundle.read(fast_bundle())
    figures = []
    for spec in bundle.manifest.graphs:
        pipeline = pipeline_of(bundle, spec, Mode.WATCH)
        many = vibration(400 * 200)
        blocks = iter(
            [
                dataclasses.replace(many, values=many.values[i : i + 400], t_ns=many.t_ns[i : i + 400])
                for i in range(0, len(many), 400)
            ]
        )
        taken = medians({"feed": feeding(pipeline, blocks.__next__)}, rounds=190)
        what = f"10 kHz x 3, T = {FAST_WINDOW}, stride {FAST_STRIDE}, {spec.format}: pipeline"
        figures.append(Figure(what, taken["feed"] / 400 * FAST_HZ / 1e4, "% of a core", 5.0))
    return figures


def all_figures() -> list[Figure]:
    """Measure everything of this module."""
    figures: list[Figure] = []
    for detector in DETECTORS:
        try:
            figures += path_figures(detector)
        except ScoringError as error:
            raise SystemExit(f"{detector}: {error}") from error
    return figures + format_figures(figures) + saving_figures() + fast_figures()


if __name__ == "__main__":
    main(all_figures, __doc__)
